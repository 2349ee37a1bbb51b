"""Random search: independent uniform choices, without repetition."""

from __future__ import annotations

import numpy as np

from hwnas.errors import InvalidInput, SpaceExhausted
from hwnas.optimizers import Optimizer, UniqueSampler
from hwnas.spaces import SearchSpace
from hwnas.typing import Array, Codes


class Random(Optimizer):
    """Random search.

    Parameters
    ----------
    repeats
        Number of consecutive evaluations of each architecture, to average noise.

    References
    ----------
    Bergstra and Bengio, "Random search for hyper-parameter optimization", JMLR 2012.
    """

    batch = 1000
    asynchronous = True
    claims_to_beat_random = False
    handles_constraints = False

    def __init__(
        self,
        space: SearchSpace,
        n_objectives: int,
        *,
        seed: int,
        n_constraints: int = 0,
        repeats: int = 1,
    ) -> None:
        super().__init__(space, n_objectives, seed=seed, n_constraints=n_constraints)
        if repeats < 1:
            raise InvalidInput(f"repeats: expected at least 1, found {repeats}")
        self.repeats = repeats
        self._sampler = UniqueSampler(space, self.rng)
        self._repeated = space.encode([])  # sampled architectures still to ask for

    def ask(self, n: int) -> Codes:
        """Return the next `n` new architectures, each `repeats` times."""
        # Number of samples that fill up `n`, ceil((n - queued) / repeats) and at least 0.
        if n_missing := len(range(len(self._repeated), n, self.repeats)):
            try:
                samples = np.repeat(self._sampler.sample(n_missing), self.repeats, axis=0)
                self._repeated = np.concatenate([self._repeated, samples])
            except SpaceExhausted:
                if len(self._repeated) == 0:
                    raise
        codes, self._repeated = self._repeated[:n], self._repeated[n:]
        return codes

    def update(
        self,
        codes: Codes,
        losses: Array,
        *,
        std: Array | None = None,
        constraints: Array | None = None,
    ) -> None:
        """Exclude the architectures from later samples, whether they were asked for or not."""
        self._sampler.take(codes)
