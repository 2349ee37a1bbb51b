"""MOEA/D on integer codes (with pymoo's loop, operators and decompositions)."""

from __future__ import annotations

from typing import Any

import numpy as np
from pymoo.algorithms.base.genetic import GeneticAlgorithm
from pymoo.algorithms.moo.moead import NeighborhoodSelection
from pymoo.core.algorithm import Algorithm
from pymoo.core.survival import Survival
from pymoo.decomposition.pbi import PBI
from pymoo.decomposition.tchebicheff import Tchebicheff

from hwnas import pareto
from hwnas.errors import InvalidInput
from hwnas.spaces import SearchSpace
from hwnas.typing import Array, IndexArray

from ._pymoo import GenerationalOptimizer, reference_directions

_N_OFFSPRING = 20  # in a generation


class MOEAD(GenerationalOptimizer):
    """Evolution of one architecture for each of many scalarizations, with mating of neighbours.

    Objectives are scaled by the population's front. The scalarizations are Tchebycheff's for two
    objectives and penalty boundary intersections for more. An offspring is assigned to its best
    scalarization, and replaces the members of that scalarization's neighbourhood that violate the
    constraints more, or as much and have a larger value. pymoo's own `MOEAD` has no constraints
    and no scaling, and needs results one at a time.

    Parameters
    ----------
    pop_size
        Maximum number of scalarizations, of which a lattice allows: with two objectives all, with
        three 15 of 16 or 91 of 100. As many random architectures start the search.
    neighbours
        Number of nearest scalarizations that form a neighbourhood for mating and replacement; all
        of them if there are fewer.

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
        pop_size: int = 16,
        neighbours: int = 20,
    ) -> None:
        if neighbours < 2:
            raise InvalidInput(f"neighbours: expected at least 2, found {neighbours}")
        self.neighbours = neighbours
        super().__init__(
            space, n_objectives, seed=seed, n_constraints=n_constraints, pop_size=pop_size
        )
        # Small generations, because the original updates the population after each offspring.
        self.batch = self.generation = min(_N_OFFSPRING, self.pop_size)

    def _create_algorithm(self) -> Algorithm:
        directions = reference_directions(self.n_objectives, self.pop_size)
        # Neighbours are the nearest directions; a stable sort puts a direction itself first.
        distance = np.linalg.norm(directions[:, None] - directions, axis=2)
        neighbours = np.argsort(distance, axis=1, kind="stable")[:, : self.neighbours]
        return GeneticAlgorithm(
            pop_size=len(directions),
            n_offsprings=min(_N_OFFSPRING, self.pop_size),
            selection=NeighbourhoodMating(neighbours),
            survival=NeighbourhoodReplacement(directions, neighbours),
            advance_after_initial_infill=True,
            **self._operators(),
        )


class NeighbourhoodMating(NeighborhoodSelection):
    """Selection of parents in the neighbourhoods of random scalarizations, sometimes anywhere.

    Parameters
    ----------
    neighbours : (k, t)
        Indices of the neighbours of each of k scalarizations.
    """

    def __init__(self, neighbours: IndexArray) -> None:
        super().__init__(prob=0.9)
        self.neighbours = neighbours

    def _do(
        self,
        problem: Any,
        pop: Any,
        n: int,
        n_parents: int,
        random_state: Any = None,
        **kwargs: Any,
    ) -> Any:
        neighbours = self.neighbours[random_state.integers(len(self.neighbours), size=n)]
        return super()._do(
            problem, pop, n, n_parents, neighbors=neighbours, random_state=random_state
        )


class NeighbourhoodReplacement(Survival):
    """Survival of the best individual of each scalarization, in the order of scalarizations.

    Parameters
    ----------
    directions : (k, m)
        Weights of the scalarizations.
    neighbours : (k, t)
        Indices of the neighbours of each direction, itself first.
    """

    def __init__(self, directions: Array, neighbours: IndexArray) -> None:
        super().__init__(filter_infeasible=False)
        self.neighbours = neighbours
        # Weights of 0 would make a scalarization blind to an objective.
        self.directions = np.maximum(directions, 1e-3)
        self.decomposition = Tchebicheff() if directions.shape[1] == 2 else PBI()

    def _do(self, problem: Any, pop: Any, algorithm: Any = None, **kwargs: Any) -> Any:
        losses, violation = pop.get("F").astype(float), pop.get("CV")[:, 0]
        values = self.decomposition.do(
            scale_losses(losses, violation), self.directions, _type="many_to_many"
        )  # (n, k)
        k = len(self.neighbours)
        # The first k individuals are the current members; at the start all individuals are new,
        # and arbitrary ones fill the positions.
        n_members = k if algorithm.is_initialized else 0
        members = np.resize(np.arange(n_members or len(pop)), k)
        for i in range(n_members, len(pop)):
            # Wang et al. 2016: replacement around the scalarization that suits the offspring best.
            near = self.neighbours[values[i].argmin()]
            current = members[near]
            # Jan and Khanum 2013: less violation, or as much and a smaller value.
            better = (violation[i] < violation[current]) | (
                (violation[i] == violation[current]) & (values[i, near] < values[current, near])
            )
            members[near[better]] = i
        return pop[members]


def scale_losses(losses: Array, violation: Array) -> Array:
    """Return losses (n, m) with the ideal point at 0 and the nadir of the front at 1.

    Both points are those of the individuals of least violation (n,).

    >>> scale_losses(np.array([[0.0, 4.0], [2.0, 0.0], [4.0, 4.0]]), np.zeros(3))
    array([[0., 1.],
           [1., 0.],
           [2., 1.]])
    """
    feasible = losses[violation == violation.min()]
    ideal = feasible.min(axis=0)
    span = feasible[pareto.non_dominated(feasible)].max(axis=0) - ideal
    return np.asarray((losses - ideal) / np.where(span > 0, span, 1.0))
