"""MOEA/D on integer codes (pymoo's frame, operators and decompositions)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymoo.algorithms.base.genetic import GeneticAlgorithm
from pymoo.algorithms.moo.moead import NeighborhoodSelection
from pymoo.core.algorithm import Algorithm
from pymoo.core.survival import Survival
from pymoo.decomposition.pbi import PBI
from pymoo.decomposition.tchebicheff import Tchebicheff

from hwnas import pareto
from hwnas.errors import InvalidInput
from hwnas.spaces import SearchSpace
from hwnas.typing import Array

from ._pymoo import Generational, reference_directions

_OFFSPRING = 20  # a generation


class MOEAD(Generational):
    """Evolution of one network for each of many scalarizations, neighbours helping each other.

    Objectives are scaled by the population's front; the scalarizations are Tchebycheff's for two
    objectives and penalty boundary intersections for more. An offspring may replace those around
    the scalarization that suits it best, where it breaks the constraints less, or no more and is
    better. pymoo's own `MOEAD` takes no constraints, scales nothing and wants one result at a time.

    Parameters
    ----------
    pop_size
        At most so many scalarizations, as many as a lattice has: with two objectives as many, with
        three 91 for 100. As many networks are random at first.
    neighbours
        How many scalarizations, the nearest, mate and are replaced together.

    References
    ----------
    Zhang and Li, "MOEA/D: A multiobjective evolutionary algorithm based on decomposition", IEEE
    Transactions on Evolutionary Computation 2007; replacement: Wang, Zhang, Zhou, Gong and Jiao,
    "Adaptive replacement strategies for MOEA/D", IEEE Transactions on Cybernetics 2016;
    constraints: Jan and Khanum, "A study of two penalty-parameterless constraint handling
    techniques in the framework of MOEA/D", Applied Soft Computing 2013.
    """

    def __init__(
        self,
        space: SearchSpace,
        n_objectives: int,
        *,
        seed: int,
        n_constraints: int = 0,
        pop_size: int = 100,
        neighbours: int = 20,
    ) -> None:
        if neighbours < 2:
            raise InvalidInput(f"neighbours: expected at least 2, found {neighbours}")
        self.neighbours = neighbours
        super().__init__(
            space, n_objectives, seed=seed, n_constraints=n_constraints, pop_size=pop_size
        )
        # Few at a time, for the next to learn from: the original has one.
        self.batch = min(_OFFSPRING, self.pop_size)

    def _made(self) -> Algorithm:
        directions = reference_directions(self.n_objectives, self.pop_size)
        apart = np.linalg.norm(directions[:, None] - directions, axis=2)
        near = np.argsort(apart, axis=1, kind="stable")[:, : self.neighbours]
        return GeneticAlgorithm(
            pop_size=len(directions),
            n_offsprings=min(_OFFSPRING, self.pop_size),
            selection=Neighbours(near),
            survival=Replacement(directions, near),
            advance_after_initial_infill=True,
            **self._operators(),
        )


class Neighbours(NeighborhoodSelection):
    """Parents from the neighbourhoods of scalarizations drawn at random, sometimes from anywhere.

    Parameters
    ----------
    near : (k, t)
        The neighbours of each of k scalarizations.
    """

    def __init__(self, near: NDArray[np.intp]) -> None:
        super().__init__(prob=0.9)
        self.near = near

    def _do(
        self,
        problem: Any,
        pop: Any,
        n: int,
        n_parents: int,
        random_state: Any = None,
        **kwargs: Any,
    ) -> Any:
        drawn = self.near[random_state.integers(len(self.near), size=n)]
        return super()._do(problem, pop, n, n_parents, neighbors=drawn, random_state=random_state)


class Replacement(Survival):
    """Each scalarization keeps its best; the k-th individual is that of the k-th.

    Parameters
    ----------
    directions : (k, m)
    near : (k, t)
        The neighbours of each direction, itself first.
    """

    def __init__(self, directions: Array, near: NDArray[np.intp]) -> None:
        super().__init__(filter_infeasible=False)
        self.near = near
        self.directions = np.maximum(directions, 1e-3)
        self.decomposition = Tchebicheff() if directions.shape[1] == 2 else PBI()

    def _do(self, problem: Any, pop: Any, algorithm: Any = None, **kwargs: Any) -> Any:
        losses, violation = pop.get("F").astype(float), pop.get("CV")[:, 0]
        values = self.decomposition.do(
            scaled(losses, violation), self.directions, _type="many_to_many"
        )  # (n, k)
        k = len(self.near)
        # At first everyone is new and any will do to hold a place; later the first k hold theirs.
        held_before = k if algorithm.is_initialized else 0
        holder = np.resize(np.arange(held_before or len(pop)), k)
        for i in range(held_before, len(pop)):
            around = self.near[values[i].argmin()]
            held = holder[around]
            better = (violation[i] < violation[held]) | (
                (violation[i] == violation[held]) & (values[i, around] < values[held, around])
            )
            holder[around[better]] = i
        return pop[holder]


def scaled(losses: Array, violation: Array) -> Array:
    """Losses (n, m) with the best at 0 and the worst of the front at 1, of what is feasible."""
    counted = losses[violation == violation.min()]
    low = counted.min(axis=0)
    span = counted[pareto.non_dominated(counted)].max(axis=0) - low
    return np.asarray((losses - low) / np.where(span > 0, span, 1.0))
