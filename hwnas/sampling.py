"""Samples of a search space without repetition."""

from __future__ import annotations

import numpy as np

from hwnas.errors import SpaceExhausted
from hwnas.spaces import SearchSpace
from hwnas.typing import Codes


class UniqueSampler:
    """Uniform samples of a space without repetition.

    Parameters
    ----------
    space
        Search space.
    rng
        Source of randomness.

    Examples
    --------
    >>> space = SearchSpace("pairs", {"a": [0, 1], "b": [0, 1, 2]})
    >>> sampler = UniqueSampler(space, np.random.default_rng(0))
    >>> len(sampler.sample(4)), len(sampler.sample(4))
    (4, 2)
    """

    def __init__(self, space: SearchSpace, rng: np.random.Generator) -> None:
        self.space = space
        self.rng = rng
        self._sampled: set[bytes] = set()
        self._remaining: Codes | None = None  # listed once few enough codes are left

    def __len__(self) -> int:
        return len(self._sampled)

    def __contains__(self, code: Codes) -> bool:
        return code.tobytes() in self._sampled

    def take(self, codes: Codes) -> Codes:
        """Mark codes as sampled, and return those that were new, each once, in order."""
        fresh = []
        for i, row in enumerate(codes):
            if (key := row.tobytes()) not in self._sampled:
                self._sampled.add(key)
                fresh.append(i)
        return codes[fresh]

    def sample(self, n: int) -> Codes:
        """Sample up to `n` new codes and mark them as sampled.

        Returns
        -------
        (k, d) int8
            Fewer than `n` only when the space has no more.

        Raises
        ------
        SpaceExhausted
            The space has no new code left.
        """
        n_left = self.space.size - len(self._sampled)
        if n_left <= 0:
            raise SpaceExhausted(
                f"all {self.space.size} architectures of {self.space.name} are taken"
            )
        n = min(n, n_left)
        parts: list[Codes] = []
        n_sampled = 0
        while n_sampled < n:
            # Rejection sampling until most draws are rejected; a space that small can be listed.
            if len(self._sampled) > self.space.size // 2:
                parts.append(self._sample_from_list(n - n_sampled))
            else:
                parts.append(self.take(self.space.sample(n - n_sampled, self.rng)))
            n_sampled += len(parts[-1])
        return np.concatenate([self.space.encode([]), *parts])

    def _sample_from_list(self, n: int) -> Codes:
        # The list is shuffled once; codes that were taken meanwhile are dropped at every call.
        if self._remaining is None:
            codes = np.concatenate(list(self.space.enumerate()))
            self._remaining = codes[self.rng.permutation(len(codes))]
        new = [row.tobytes() not in self._sampled for row in self._remaining]
        codes = self._remaining[new]
        self._remaining = codes[n:]
        return self.take(codes[:n])
