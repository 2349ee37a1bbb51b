"""Optimizers that ask and tell a genetic algorithm of pymoo over integer codes."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymoo.core.algorithm import Algorithm
from pymoo.core.duplicate import DuplicateElimination
from pymoo.core.evaluator import Evaluator
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.repair import Repair
from pymoo.core.termination import NoTermination
from pymoo.operators.crossover.ux import UniformCrossover
from pymoo.operators.mutation.pm import PolynomialMutation
from pymoo.problems.static import StaticProblem
from pymoo.util.ref_dirs import get_reference_directions
from pymoo.util.reference_direction import get_partition_closest_to_points

from hwnas.errors import InvalidInput
from hwnas.optimizers import Optimizer, UniqueSampler
from hwnas.spaces import SearchSpace
from hwnas.spaces.choice_features import categorical_columns
from hwnas.typing import Array, Codes, IntArray

# Attempts to find new offspring before random ones are added. pymoo's default of 100 takes seconds
# where a space is nearly exhausted.
_MATING_ROUNDS = 10
_MAX_POP_SIZE = 100_000  # in gigabytes: pymoo compares every member with every other


class GenerationalOptimizer(Optimizer):
    """Base class of optimizers around a pymoo algorithm, which proposes whole generations.

    pymoo shrinks its population when it is told part of a generation. So results are collected
    until every architecture of the generation has one or has failed. Losses are divided by their
    range over the first generation, because pymoo compares some with small constants.

    Parameters
    ----------
    pop_size
        Number of random architectures before the algorithm proposes any; also the `batch`, for an
        algorithm whose later generations are as large.
    """

    def __init__(
        self,
        space: SearchSpace,
        n_objectives: int,
        *,
        seed: int,
        n_constraints: int = 0,
        pop_size: int,
    ) -> None:
        if not 2 <= pop_size <= _MAX_POP_SIZE:
            raise InvalidInput(f"pop_size: expected 2 to {_MAX_POP_SIZE}, found {pop_size}")
        super().__init__(space, n_objectives, seed=seed, n_constraints=n_constraints)
        self.pop_size = self.batch = self.generation = self.n_initial = pop_size
        self._sampler = UniqueSampler(space, self.rng)
        self._problem = Problem(
            n_var=len(space.columns),
            n_obj=n_objectives,
            n_ieq_constr=n_constraints,
            xl=np.zeros(len(space.columns)),
            xu=space.cardinalities - 1,
            vtype=int,
        )
        # pymoo's own termination and random initial population are not used.
        self._algorithm = self._create_algorithm()
        self._algorithm.setup(self._problem, termination=NoTermination(), seed=seed)
        self._algorithm.mating.n_max_iterations = _MATING_ROUNDS
        self._units: Array | None = None  # ranges (m,) of the losses of the first generation
        self._queue: Codes = np.empty((0, len(space.columns)), dtype=np.int8)  # not yet asked for
        self._outstanding: set[bytes] = set()  # members of the generation without a result
        self._results: list[tuple[Codes, Array, Array]] = []  # codes, losses, violations

    @abstractmethod
    def _create_algorithm(self) -> Algorithm:
        """Return the algorithm, built with `_operators`."""

    def _operators(self) -> dict[str, Any]:
        """Return the variation operators, as arguments of a pymoo algorithm."""
        return {
            "crossover": UniformCrossover(),
            "mutation": ChoiceMutation(self.space),
            "repair": CanonicalRepair(self.space),
            "eliminate_duplicates": RepeatElimination(self._sampler),
        }

    def ask(self, n: int) -> Codes:
        """Return the next architectures of the generation; none while it waits for results."""
        # Results of queued architectures may have been told before they were asked for.
        mask = [row.tobytes() in self._outstanding for row in self._queue]
        self._queue = self._queue[mask]
        # A new generation starts only when the last one is complete.
        if len(self._queue) == 0:
            if self._outstanding:
                return self._queue
            self._queue = self._next_generation()
            self._outstanding = {row.tobytes() for row in self._queue}
        codes, self._queue = self._queue[:n], self._queue[n:]
        return codes

    def update(
        self,
        codes: Codes,
        losses: Array,
        *,
        std: Array | None = None,
        constraints: Array | None = None,
    ) -> None:
        """Store the results until the generation is complete."""
        if len(codes):
            violations = np.empty((len(codes), 0)) if constraints is None else constraints
            self._mark_evaluated(codes)
            self._results.append((codes, losses, violations))

    def fail(self, codes: Codes, reason: str) -> None:
        """Continue without the failed architectures."""
        self._mark_evaluated(codes)

    def tell_infeasible(self, codes: Codes, constraints: Array) -> None:
        """Store the violations, and the worst losses so far in place of the missing ones."""
        losses = self.history.losses
        worst = losses.max(axis=0) if len(losses) else np.zeros(self.n_objectives)
        self._mark_evaluated(codes)
        self._results.append((codes, np.tile(worst, (len(codes), 1)), np.nan_to_num(constraints)))

    def _mark_evaluated(self, codes: Codes) -> None:
        """Exclude architectures from proposals and from those without a result."""
        self._sampler.take(codes)
        self._outstanding.difference_update(row.tobytes() for row in codes)

    def _next_generation(self) -> Codes:
        """Return the random first generation, then the algorithm's offspring (k, d)."""
        n_results = sum(len(codes) for codes, _, _ in self._results)
        if not self._algorithm.is_initialized and n_results < self.pop_size:
            return self._sampler.sample(self.pop_size - n_results)  # failed ones are replaced
        if self._results:
            self._tell_algorithm()
        offspring = self._algorithm.ask()
        # pymoo would terminate where mating finds nothing new.
        self._algorithm.termination.force_termination = False
        codes = self.space.encode([]) if offspring is None else _population_codes(offspring)
        codes = self._sampler.take(codes)
        # Random architectures complete the generation.
        n_missing = self._algorithm.n_offsprings - len(codes)
        if n_missing and (len(codes) == 0 or len(self._sampler) < self.space.size):
            codes = np.concatenate([codes, self._sampler.sample(n_missing)])
        return codes

    def _tell_algorithm(self) -> None:
        """Hand the stored results to the algorithm, losses in units of their first range."""
        codes, losses, violations = map(np.concatenate, zip(*self._results, strict=True))
        self._results = []
        if self._units is None:
            span = np.ptp(losses, axis=0)
            self._units = np.where(span > 0, span, 1.0)
        population = Population.new(X=codes.astype(int))
        Evaluator().eval(
            StaticProblem(self._problem, F=losses / self._units, G=violations), population
        )
        self._algorithm.tell(infills=population)


class ChoiceMutation(PolynomialMutation):
    """Polynomial mutation of ordered choices; any other choice alike where there is no order."""

    def __init__(self, space: SearchSpace) -> None:
        super().__init__(eta=3.0, vtype=float)
        self.categorical = np.flatnonzero(categorical_columns(space))
        self.cardinalities = space.cardinalities[self.categorical]

    def _do(
        self, problem: Any, X: NDArray[Any], *args: Any, random_state: Any = None, **kwargs: Any
    ) -> Any:
        mutated = super()._do(problem, X, *args, random_state=random_state, **kwargs)
        if len(self.categorical):
            own = mutated[:, self.categorical]
            draws = random_state.integers(self.cardinalities, size=own.shape)
            # A choice is redrawn wherever the polynomial mutation has moved its index.
            mutated[:, self.categorical] = np.where(own != X[:, self.categorical], draws, own)
        return mutated


class RepeatElimination(DuplicateElimination):
    """Elimination of architectures that were sampled before, and of copies.

    Parameters
    ----------
    sampler
        Record of the architectures sampled before.
    """

    def __init__(self, sampler: UniqueSampler) -> None:
        super().__init__()
        self.sampler = sampler

    def do(self, pop: Any, *populations: Any, **kwargs: Any) -> Any:
        """Return the individuals of `pop` that are new, each architecture once."""
        if len(pop) == 0:
            return pop
        # Only the last of `populations` holds unsampled individuals: the offspring so far.
        keys = (
            {code.tobytes() for code in _population_codes(populations[-1])}
            if populations
            else set()
        )
        indices = []
        # Keep the first individual of every new code.
        for i, code in enumerate(_population_codes(pop)):
            if (key := code.tobytes()) not in keys and code not in self.sampler:
                keys.add(key)
                indices.append(i)
        return pop[indices]


class CanonicalRepair(Repair):
    """Rounding to codes in canonical form, so that equal architectures have equal codes."""

    def __init__(self, space: SearchSpace) -> None:
        super().__init__()
        self.space = space

    def _do(self, problem: Problem, X: NDArray[Any], **kwargs: Any) -> IntArray:
        return self.space.canonical(np.rint(X.astype(float))).astype(int)


def reference_directions(n_objectives: int, pop_size: int) -> Array:
    """Return the evenly spread directions of the largest simplex lattice within `pop_size`.

    Parameters
    ----------
    n_objectives
        Number m of objectives.
    pop_size
        Maximum number of directions.

    Returns
    -------
    (k, m)
        Non-negative, of sum 1; the corners of the simplex are among them.

    Raises
    ------
    InvalidInput
        There is one objective, or fewer individuals than corners.

    References
    ----------
    Das and Dennis, "Normal-boundary intersection", SIAM Journal on Optimization 1998.

    Examples
    --------
    >>> reference_directions(2, 3)
    array([[0. , 1. ],
           [0.5, 0.5],
           [1. , 0. ]])
    """
    if n_objectives < 2:
        raise InvalidInput(f"n_objectives: expected at least 2, found {n_objectives}")
    if pop_size < n_objectives:
        raise InvalidInput(
            f"pop_size: expected at least {n_objectives}, one an objective, found {pop_size}"
        )
    # The number of directions is the binomial coefficient of partitions + m - 1 over m - 1.
    partitions = get_partition_closest_to_points(pop_size, n_objectives)
    directions = get_reference_directions("das-dennis", n_objectives, n_partitions=partitions)
    return np.asarray(directions, dtype=np.float64)


def _population_codes(population: Any) -> Codes:
    """Return the codes (n, d) of a population of pymoo."""
    if len(population) == 0:
        return np.empty((0, 0), dtype=np.int8)
    return np.ascontiguousarray(population.get("X"), dtype=np.int8)
