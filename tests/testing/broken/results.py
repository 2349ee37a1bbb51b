"""Optimizers with a fault in how they handle results."""

from __future__ import annotations

from typing import Any

import numpy as np

from broken.correct import HillClimber
from hwnas import pareto
from hwnas.optimizers import Optimizer
from hwnas.related_trials import RelatedTrials
from hwnas.typing import Codes


class RequiresOrder(HillClimber):
    """Accepts results of its proposals only in the order in which it made them."""

    def ask(self, n: int) -> Codes:
        codes = super().ask(n)
        self.__dict__.setdefault("_queue", []).extend(map(bytes, codes))
        return codes

    def update(
        self, codes: Codes, losses: Any, *, std: Any = None, constraints: Any = None
    ) -> None:
        # Foreign results are not in the queue and pass.
        queue = self.__dict__.setdefault("_queue", [])
        for key in map(bytes, codes):
            if key in queue and key != queue.pop(0):
                raise IndexError("results out of order")
        self._sampler.take(codes)

    def fail(self, codes: Codes, reason: str) -> None:
        for key in map(bytes, codes):
            self.__dict__["_queue"].remove(key)


class WaitsThoughAsynchronous(HillClimber):
    """Declares that it can be asked at any time, but waits until all results are told."""

    asynchronous = True
    _pending: frozenset[bytes] = frozenset()

    def ask(self, n: int) -> Codes:
        if self._pending:
            return self.space.encode([])
        codes = super().ask(n)
        self._pending = frozenset(map(bytes, codes))
        return codes

    def update(
        self, codes: Codes, losses: Any, *, std: Any = None, constraints: Any = None
    ) -> None:
        self._pending -= frozenset(map(bytes, codes))
        self._sampler.take(codes)

    def fail(self, codes: Codes, reason: str) -> None:
        self._pending -= frozenset(map(bytes, codes))


class OwnProposalsOnly(HillClimber):
    """Raises at a result of an architecture that it did not propose."""

    def ask(self, n: int) -> Codes:
        codes = super().ask(n)
        self.__dict__.setdefault("_proposals", set()).update(map(bytes, codes))
        return codes

    def update(
        self, codes: Codes, losses: Any, *, std: Any = None, constraints: Any = None
    ) -> None:
        assert set(map(bytes, codes)) <= self.__dict__.get("_proposals", set())


class IgnoresForeignResults(HillClimber):
    """Proposes architectures whose results it was told."""

    def update(
        self, codes: Codes, losses: Any, *, std: Any = None, constraints: Any = None
    ) -> None:
        pass


class ProposesDesign(HillClimber):
    """Proposes the architectures with which it is told to start."""

    def start_with(self, codes: Codes) -> None:
        self.__dict__["_given"] = codes

    def ask(self, n: int) -> Codes:
        given = self.__dict__.pop("_given", None)
        return super().ask(n) if given is None else given[:n]


class TakesRelatedForResults(HillClimber):
    """Tells itself related trials as if they were results."""

    def tell_related(self, related: RelatedTrials) -> None:
        self.tell(related.codes, np.repeat(related.values, self.n_objectives, axis=1))


class WaitsForFailures(HillClimber):
    """Proposes nothing until all results are told, also those of failed evaluations."""

    _n_pending = 0

    def ask(self, n: int) -> Codes:
        if self._n_pending > 0:
            return self.space.encode([])
        codes = super().ask(n)
        self._n_pending = len(codes)
        return codes

    def update(
        self, codes: Codes, losses: Any, *, std: Any = None, constraints: Any = None
    ) -> None:
        self._n_pending -= len(codes)
        self._sampler.take(codes)


# An optimizer's own `tell` is taken for its `update`; one of a mix-in replaces the template method.


class _TellWithoutValidation:
    def tell(
        self: Any, codes: Any, losses: Any, *, std: Any = None, constraints: Any = None
    ) -> None:
        k, c = len(codes), self.n_constraints
        self.history.add(
            np.array(codes),
            np.array(losses),
            np.zeros((k, self.n_objectives)) if std is None else std,
            np.zeros((k, c)) if constraints is None else constraints,
        )
        self._sampler.take(np.array(codes))


class NoValidation(_TellWithoutValidation, HillClimber):
    """Accepts any results."""


class _CountingTell:
    _n_tells = 0

    def tell(self, *args: Any, **kwargs: Any) -> None:
        self._n_tells += 1
        super().tell(*args, **kwargs)  # type: ignore[misc]


class CountsRefusedResults(_CountingTell, HillClimber):
    """Draws as many numbers as it had calls of tell, refused ones included."""

    def ask(self, n: int) -> Codes:
        self.rng.random(self._n_tells)
        return super().ask(n)


class DividesByRange(HillClimber):
    """Divides by the range of the losses."""

    def update(
        self, codes: Codes, losses: Any, *, std: Any = None, constraints: Any = None
    ) -> None:
        if len(self.history) > 1:
            1 / float(np.ptp(self.history.losses))
        self._sampler.take(codes)


class NoStandardErrors(HillClimber):
    """Accepts exact losses only."""

    def update(
        self, codes: Codes, losses: Any, *, std: Any = None, constraints: Any = None
    ) -> None:
        if std is not None:
            raise NotImplementedError
        self._sampler.take(codes)


class TwoObjectivesOnly(HillClimber):
    """Accepts two objectives only, and does not refuse others in the constructor."""

    def update(
        self, codes: Codes, losses: Any, *, std: Any = None, constraints: Any = None
    ) -> None:
        _first, _second = losses.T
        self._sampler.take(codes)


class RecommendsFirst(HillClimber):
    """Recommends the first observation."""

    # The search itself continues from the front, so that the other checks pass.
    def parents(self) -> Codes:
        return Optimizer.recommend(self)

    def recommend(self, n: int | None = None) -> Codes:
        return self.history.codes[:1]


class RecommendsInfeasible(HillClimber):
    """Recommends without regard to the constraints."""

    def parents(self) -> Codes:
        return Optimizer.recommend(self)

    def recommend(self, n: int | None = None) -> Codes:
        return self.history.codes[pareto.non_dominated(self.history.losses)][:n]


class DisregardsConstraintsThroughout(RecommendsInfeasible):
    """Declares that it does not handle constraints, and recommends infeasible architectures."""

    handles_constraints = False

    def parents(self) -> Codes:
        return self.recommend()
