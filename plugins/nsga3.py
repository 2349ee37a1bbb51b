"""NSGA-III on integer codes (pymoo)."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from pymoo.algorithms.moo.nsga3 import NSGA3 as PymooNSGA3
from pymoo.algorithms.moo.nsga3 import ReferenceDirectionSurvival
from pymoo.core.algorithm import Algorithm
from pymoo.operators.selection.tournament import TournamentSelection

from hwnas.spaces import SearchSpace
from hwnas.typing import IndexArray

from ._pymoo import GenerationalOptimizer, reference_directions


class NSGA3(GenerationalOptimizer):
    """Non-dominated sorting genetic algorithm with reference directions, for many objectives.

    Parameters
    ----------
    pop_size
        Size of the population and of each generation of offspring. The number of reference
        directions is that of the largest lattice within it: for 16 individuals 16 with two
        objectives, 15 with three, 10 with four and 15 with five.

    References
    ----------
    Deb and Jain, "An evolutionary many-objective optimization algorithm using reference-point-based
    nondominated sorting approach, part I", IEEE Transactions on Evolutionary Computation 2014.
    """

    def __init__(
        self,
        space: SearchSpace,
        n_objectives: int,
        *,
        seed: int,
        n_constraints: int = 0,
        pop_size: int = 16,
    ) -> None:
        super().__init__(
            space, n_objectives, seed=seed, n_constraints=n_constraints, pop_size=pop_size
        )

    def _create_algorithm(self) -> Algorithm:
        directions = reference_directions(self.n_objectives, self.pop_size)
        return PymooNSGA3(
            directions,
            pop_size=self.pop_size,
            selection=TournamentSelection(func_comp=compare_violations),
            survival=WarningSafeSurvival(directions),
            **self._operators(),
        )


class WarningSafeSurvival(ReferenceDirectionSurvival):
    """Survival of pymoo, without its lasting change of the process's warning filters."""

    def _do(self, *args: Any, **kwargs: Any) -> Any:
        with warnings.catch_warnings():
            return super()._do(*args, **kwargs)


def compare_violations(
    pop: Any, pairs: IndexArray, *, random_state: np.random.Generator, **kwargs: Any
) -> IndexArray:
    """Return the less violating individual of each pair, a random one if both are equal.

    Unlike pymoo's comparison, it draws ties between infeasible individuals from a seeded generator.

    Parameters
    ----------
    pop
        Population.
    pairs : (n, 2)
        Indices of individuals.
    random_state
        Source of randomness.

    Returns
    -------
    (n, 1) intp
    """
    violation = pop.get("CV")[:, 0][pairs]
    # The winner of a tie is drawn for every pair, so that the stream does not depend on ties.
    tie_winner = random_state.integers(2, size=len(pairs))
    minimum = violation.argmin(axis=1)
    winner = np.where(violation[:, 0] == violation[:, 1], tie_winner, minimum)
    return np.take_along_axis(pairs, winner[:, None], axis=1)
