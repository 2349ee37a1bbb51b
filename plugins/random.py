"""Random search: every choice independent and uniform, no network twice."""

from __future__ import annotations

import numpy as np

from hwnas.errors import InvalidInput, SpaceExhausted
from hwnas.optimizers import Optimizer, UniqueSampler
from hwnas.spaces import Codes, SearchSpace
from hwnas.typing import Array


class Random(Optimizer):
    """Random search.

    Parameters
    ----------
    repeats
        How often each network is evaluated in a row, to average noise out.

    References
    ----------
    Bergstra and Bengio, "Random search for hyper-parameter optimization", JMLR 2012.
    """

    batch = 1000
    claims_to_beat_random = False

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
        self._again = space.encode([])  # repeats still to ask for

    def ask(self, n: int) -> Codes:
        """The next `n` networks never proposed or told before, each `repeats` times."""
        if missing := len(range(len(self._again), n, self.repeats)):
            try:
                fresh = np.repeat(self._sampler.sample(missing), self.repeats, axis=0)
                self._again = np.concatenate([self._again, fresh])
            except SpaceExhausted:
                if len(self._again) == 0:
                    raise
        codes, self._again = self._again[:n], self._again[n:]
        return codes

    def update(
        self,
        codes: Codes,
        losses: Array,
        *,
        std: Array | None = None,
        constraints: Array | None = None,
    ) -> None:
        """Whoever proposed these networks, they are not proposed again."""
        self._sampler.take(codes)
