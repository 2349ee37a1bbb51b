"""Regularised evolution for several objectives: the oldest go, whatever they are worth."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import InvalidInput
from hwnas.optimizers import Optimizer, UniqueSampler
from hwnas.spaces import Codes, SearchSpace
from hwnas.typing import Array

from ._mutation import stepped
from ._nondominated_sort import standing, total_violation

_ROUNDS = 10  # of tournaments that bring nothing new, before what is missing comes at random


class MOREA(Optimizer):
    """Multi-objective regularised (aging) evolution.

    A child is the best of a random sample of the population, changed in a few choices; each result
    takes the place of the oldest. The best is that of the first non-dominated front, and within a
    front the loneliest; in the original, which has one objective, the most accurate.

    Parameters
    ----------
    pop_size
        Population: the last so many results. As many networks are random at first.
    sample_size
        How many compete to be a parent.
    steps
        How many choices a child is changed in, on average (the original: 1).

    References
    ----------
    Real, Aggarwal, Huang and Le, "Regularized evolution for image classifier architecture search",
    AAAI 2019.
    """

    batch = 5

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
        self._sampler = UniqueSampler(space, self.rng)
        # The population, oldest first.
        self._codes = space.encode([])
        self._losses = np.empty((0, n_objectives))
        self._violation = np.empty(0)

    def ask(self, n: int) -> Codes:
        """`n` children, or random networks while there are too few results for a population."""
        if len(self._codes) < self.pop_size or len(self._sampler) == self.space.size:
            return self._sampler.sample(n)
        places = standing(self._losses, self._violation)
        parts: list[Codes] = []
        missing = n
        for _ in range(_ROUNDS):
            parts.append(self._sampler.take(self._children(places, missing)))
            missing -= len(parts[-1])
            if missing == 0:
                return np.concatenate(parts)
        # Around the population nearly everything is known.
        if len(self._sampler) < self.space.size:
            parts.append(self._sampler.sample(missing))
        return np.concatenate(parts)

    def _children(self, places: NDArray[np.intp], n: int) -> Codes:
        """Mutants (n, d) of the winners of as many tournaments."""
        drawn = self.rng.integers(len(places), size=(n, self.sample_size))
        winners = drawn[np.arange(n), places[drawn].argmin(axis=1)]
        children: Codes = self._codes[winners]
        steps = self.rng.geometric(1 / self.steps, size=n)
        while (moving := steps > 0).any():
            children[moving] = stepped(self.space, children[moving], self.rng)
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
        """Let the results, whoever proposed them, take the places of the oldest."""
        self._sampler.take(codes)
        violation = total_violation(constraints, len(codes))
        self._codes = np.concatenate([self._codes, codes])[-self.pop_size :]
        self._losses = np.concatenate([self._losses, losses])[-self.pop_size :]
        self._violation = np.concatenate([self._violation, violation])[-self.pop_size :]
