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
from pymoo.problems.static import StaticProblem

from hwnas.optimizers import Array, Optimizer, Unseen
from hwnas.spaces import Codes, SearchSpace


class Generational(Optimizer):
    """A pymoo algorithm that proposes whole generations, handed out and taken back piecemeal.

    pymoo shrinks its population when it is told part of a generation; so a generation is told
    once every network of it has a result or has failed.
    """

    def __init__(
        self,
        space: SearchSpace,
        n_objectives: int,
        *,
        seed: int,
        n_constraints: int = 0,
    ) -> None:
        super().__init__(space, n_objectives, seed=seed, n_constraints=n_constraints)
        self._unseen = Unseen(space, self.rng)
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
        self._queue: Codes = np.empty((0, len(space.columns)), dtype=np.int8)
        self._outstanding: set[bytes] = set()
        self._results: list[tuple[Codes, Array, Array]] = []

    @abstractmethod
    def _made(self) -> Algorithm:
        """The algorithm, with the operators of this module."""

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

    def tell(
        self,
        codes: Codes,
        losses: Array,
        *,
        std: Array | None = None,
        constraints: Array | None = None,
    ) -> None:
        """Keep the results until the generation is complete."""
        if len(codes):
            slacks = np.empty((len(codes), 0)) if constraints is None else constraints
            self._results.append((self._unseen_also(codes), losses, slacks))

    def fail(self, codes: Codes, reason: str) -> None:
        """Go on without these networks."""
        self._unseen_also(codes)

    def _unseen_also(self, codes: Codes) -> Codes:
        """Mark networks as known, whoever proposed them."""
        self._unseen.take(codes)
        self._outstanding.difference_update(row.tobytes() for row in codes)
        return codes

    def _generation(self) -> Codes:
        known = sum(len(codes) for codes, _, _ in self._results)
        if not self._algorithm.is_initialized and known < self.batch:
            return self._unseen.sample(self.batch - known)  # also in place of what failed
        if self._results:
            codes, losses, slacks = map(np.concatenate, zip(*self._results, strict=True))
            self._results = []
            told = Population.new(X=codes.astype(int))
            Evaluator().eval(StaticProblem(self._problem, F=losses, G=slacks), told)
            self._algorithm.tell(infills=told)
        proposed = self._algorithm.ask()
        if proposed is not None and len(proposed):
            codes = np.ascontiguousarray(proposed.get("X"), dtype=np.int8)
            return self._unseen.take(codes)
        # Crossing and mutation find nothing new any more: what is left comes at random. pymoo would
        # end here.
        self._algorithm.termination.force_termination = False
        return self._unseen.sample(self.batch)


class Fresh(DuplicateElimination):
    """Drops networks that were proposed before, and copies."""

    def __init__(self, unseen: Unseen) -> None:
        super().__init__()
        self.unseen = unseen

    def do(self, pop: Any, *others: Any, **kwargs: Any) -> Any:
        """The individuals of `pop` that are new, each network once."""
        if len(pop) == 0:
            return pop
        # The population before the last of `others` was proposed, and so is known to be seen.
        taken = {code.tobytes() for code in _codes(others[-1])} if others else set()
        keep = []
        for i, code in enumerate(_codes(pop)):
            if (key := code.tobytes()) not in taken and code not in self.unseen:
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


def _codes(pop: Any) -> Codes:
    if len(pop) == 0:
        return np.empty((0, 0), dtype=np.int8)
    return np.ascontiguousarray(pop.get("X"), dtype=np.int8)
