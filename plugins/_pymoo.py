"""Ask and tell on pymoo's genetic algorithms over integer codes."""

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
from hwnas.spaces import Codes, SearchSpace
from hwnas.typing import Array

# Of mating in search of new networks, before what is missing comes at random. pymoo's 100 take
# seconds where a space is nearly exhausted.
_ROUNDS = 10


class Generational(Optimizer):
    """A pymoo algorithm that proposes whole generations, handed out and taken back piecemeal.

    pymoo shrinks its population when it is told part of a generation; so a generation is told
    once every network of it has a result or has failed. Losses are told in units of their range
    over the first generation, because pymoo compares some with small constants.

    Parameters
    ----------
    pop_size
        How many networks come at random before the algorithm proposes any; also the `batch`, for
        an algorithm whose later generations are as large.
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
        if pop_size < 2:
            raise InvalidInput(f"pop_size: expected at least 2, found {pop_size}")
        super().__init__(space, n_objectives, seed=seed, n_constraints=n_constraints)
        self.pop_size = self.batch = pop_size
        self._sampler = UniqueSampler(space, self.rng)
        self._problem = Problem(
            n_var=len(space.columns),
            n_obj=n_objectives,
            n_ieq_constr=n_constraints,
            xl=np.zeros(len(space.columns)),
            xu=space.cardinalities - 1,
            vtype=int,
        )
        self._algorithm = self._made()
        self._algorithm.setup(self._problem, termination=NoTermination(), seed=seed)
        self._algorithm.mating.n_max_iterations = _ROUNDS
        self._units: Array | None = None
        self._queue: Codes = np.empty((0, len(space.columns)), dtype=np.int8)
        self._outstanding: set[bytes] = set()
        self._results: list[tuple[Codes, Array, Array]] = []

    @abstractmethod
    def _made(self) -> Algorithm:
        """The algorithm, with `_operators`."""

    def _operators(self) -> dict[str, Any]:
        """What makes new networks of old ones, as arguments of a pymoo algorithm."""
        return {
            "crossover": UniformCrossover(),
            "mutation": PolynomialMutation(eta=3.0, vtype=float),
            "repair": Canonical(self.space),
            "eliminate_duplicates": Fresh(self._sampler),
        }

    def ask(self, n: int) -> Codes:
        """The next networks of the generation; none while it waits for results."""
        # Somebody else's results may have come before their turn.
        waiting = [row.tobytes() in self._outstanding for row in self._queue]
        self._queue = self._queue[waiting]
        if len(self._queue) == 0:
            if self._outstanding:
                return self._queue
            self._queue = self._generation()
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
        """Keep the results until the generation is complete."""
        if len(codes):
            violations = np.empty((len(codes), 0)) if constraints is None else constraints
            self._results.append((self._unseen_also(codes), losses, violations))

    def fail(self, codes: Codes, reason: str) -> None:
        """Go on without these networks."""
        self._unseen_also(codes)

    def tell_infeasible(self, codes: Codes, constraints: Array) -> None:
        """Let violations select among these networks; as losses they get the worst there are."""
        told = self.history.losses
        worst = told.max(axis=0) if len(told) else np.zeros(self.n_objectives)
        violations = np.nan_to_num(constraints)
        self._results.append(
            (self._unseen_also(codes), np.tile(worst, (len(codes), 1)), violations)
        )

    def _unseen_also(self, codes: Codes) -> Codes:
        """Mark networks as known, whoever proposed them."""
        self._sampler.take(codes)
        self._outstanding.difference_update(row.tobytes() for row in codes)
        return codes

    def _generation(self) -> Codes:
        known = sum(len(codes) for codes, _, _ in self._results)
        if not self._algorithm.is_initialized and known < self.pop_size:
            return self._sampler.sample(self.pop_size - known)  # also in place of what failed
        if self._results:
            codes, losses, violations = map(np.concatenate, zip(*self._results, strict=True))
            self._results = []
            if self._units is None:
                span = np.ptp(losses, axis=0)
                self._units = np.where(span > 0, span, 1.0)
            told = Population.new(X=codes.astype(int))
            Evaluator().eval(
                StaticProblem(self._problem, F=losses / self._units, G=violations), told
            )
            self._algorithm.tell(infills=told)
        proposed = self._algorithm.ask()
        # pymoo would end where crossing and mutation find nothing new.
        self._algorithm.termination.force_termination = False
        codes = self._sampler.take(self.space.encode([]) if proposed is None else _codes(proposed))
        missing = self._algorithm.n_offsprings - len(codes)
        if missing and (len(codes) == 0 or len(self._sampler) < self.space.size):
            codes = np.concatenate([codes, self._sampler.sample(missing)])
        return codes


class Fresh(DuplicateElimination):
    """Drops networks that were proposed before, and copies."""

    def __init__(self, unseen: UniqueSampler) -> None:
        super().__init__()
        self.sampler = unseen

    def do(self, pop: Any, *others: Any, **kwargs: Any) -> Any:
        """The individuals of `pop` that are new, each network once."""
        if len(pop) == 0:
            return pop
        # The population before the last of `others` was proposed, and so is known to be seen.
        taken = {code.tobytes() for code in _codes(others[-1])} if others else set()
        keep = []
        for i, code in enumerate(_codes(pop)):
            if (key := code.tobytes()) not in taken and code not in self.sampler:
                taken.add(key)
                keep.append(i)
        return pop[keep]


class Canonical(Repair):
    """Rounds to codes and clears inactive layers, so that equal networks are equal."""

    def __init__(self, space: SearchSpace) -> None:
        super().__init__()
        self.space = space

    def _do(self, problem: Problem, X: NDArray[Any], **kwargs: Any) -> NDArray[np.int64]:
        return self.space.canonical(np.rint(X.astype(float))).astype(int)


def reference_directions(n_objectives: int, pop_size: int) -> Array:
    """As many evenly spread directions as a lattice has that are no more than the population.

    Returns
    -------
    (k, m)
        Non-negative, of sum 1; the corners are among them.

    Raises
    ------
    InvalidInput
        There is one objective, or there are too few individuals for the corners.

    References
    ----------
    Das and Dennis, "Normal-boundary intersection", SIAM Journal on Optimization 1998.
    """
    if n_objectives < 2:
        raise InvalidInput(f"n_objectives: expected at least 2, found {n_objectives}")
    if pop_size < n_objectives:
        raise InvalidInput(
            f"pop_size: expected at least {n_objectives}, one an objective, found {pop_size}"
        )
    partitions = get_partition_closest_to_points(pop_size, n_objectives)
    directions = get_reference_directions("das-dennis", n_objectives, n_partitions=partitions)
    return np.asarray(directions, dtype=np.float64)


def _codes(pop: Any) -> Codes:
    if len(pop) == 0:
        return np.empty((0, 0), dtype=np.int8)
    return np.ascontiguousarray(pop.get("X"), dtype=np.int8)
