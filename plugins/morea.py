"""Regularized evolution for several objectives: the oldest individual is replaced."""

from __future__ import annotations

import numpy as np

from hwnas.errors import InvalidInput
from hwnas.optimizers import Optimizer, UniqueSampler
from hwnas.spaces import SearchSpace
from hwnas.typing import Array, Codes, IndexArray

from ._mutation import mutate_one
from ._nondominated_sort import nondominated_sort, total_violation

_MAX_ROUNDS = 10  # of tournaments, before random architectures fill the proposal


class MOREA(Optimizer):
    """Multi-objective regularized (aging) evolution.

    The best of a random sample of the population is mutated in a few choices, and each result
    replaces the oldest individual. Individuals are compared by non-dominated front, then by
    crowding distance; in the original, which has one objective, by accuracy.

    Parameters
    ----------
    pop_size
        Size of the population, which consists of the latest results. As many random architectures
        start the search.
    sample_size
        Number of competitors in a tournament for a parent.
    steps
        Mean number of mutations of a child (in the original: 1).

    References
    ----------
    Real, Aggarwal, Huang and Le, "Regularized evolution for image classifier architecture search",
    AAAI 2019.
    """

    batch = 5
    asynchronous = True

    def __init__(
        self,
        space: SearchSpace,
        n_objectives: int,
        *,
        seed: int,
        n_constraints: int = 0,
        pop_size: int = 50,
        sample_size: int = 25,
        steps: float = 2.0,
    ) -> None:
        if pop_size < 1:
            raise InvalidInput(f"pop_size: expected at least 1, found {pop_size}")
        if sample_size < 1:
            raise InvalidInput(f"sample_size: expected at least 1, found {sample_size}")
        if not 1 <= steps < np.inf:
            raise InvalidInput(f"steps: expected at least 1, found {steps}")
        super().__init__(space, n_objectives, seed=seed, n_constraints=n_constraints)
        self.pop_size, self.sample_size, self.steps = pop_size, sample_size, steps
        self.n_initial = pop_size
        self._sampler = UniqueSampler(space, self.rng)
        # The population, oldest first.
        self._codes = space.encode([])
        self._losses = np.empty((0, n_objectives))
        self._violation = np.empty(0)

    def ask(self, n: int) -> Codes:
        """Return `n` children, or random architectures until the population is complete."""
        if len(self._codes) < self.pop_size or len(self._sampler) == self.space.size:
            return self._sampler.sample(n)
        ranks = nondominated_sort(self._losses, self._violation)
        parts: list[Codes] = []
        n_missing = n
        for _ in range(_MAX_ROUNDS):
            parts.append(self._sampler.take(self._children(ranks, n_missing)))
            n_missing -= len(parts[-1])
            if n_missing == 0:
                return np.concatenate(parts)
        # Nearly all architectures around the population are known.
        if len(self._sampler) < self.space.size:
            parts.append(self._sampler.sample(n_missing))
        return np.concatenate(parts)

    def _children(self, ranks: IndexArray, n: int) -> Codes:
        """Return mutants (n, d) of the winners of n tournaments."""
        competitors = self.rng.integers(len(ranks), size=(n, self.sample_size))
        winners = competitors[np.arange(n), ranks[competitors].argmin(axis=1)]
        children: Codes = self._codes[winners]
        # The number of mutations is geometric: at least 1, of mean `steps`.
        steps = self.rng.geometric(1 / self.steps, size=n)
        while (mask := steps > 0).any():
            children[mask] = mutate_one(self.space, children[mask], self.rng)
            steps -= 1
        return children

    def update(
        self,
        codes: Codes,
        losses: Array,
        *,
        std: Array | None = None,
        constraints: Array | None = None,
    ) -> None:
        """Replace the oldest individuals by the new results, also of unasked architectures."""
        self._sampler.take(codes)
        violation = total_violation(constraints, len(codes))
        self._codes = np.concatenate([self._codes, codes])[-self.pop_size :]
        self._losses = np.concatenate([self._losses, losses])[-self.pop_size :]
        self._violation = np.concatenate([self._violation, violation])[-self.pop_size :]
