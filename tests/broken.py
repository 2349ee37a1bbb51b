"""Optimizers and backends that do one thing wrong each, and two pairs that do nothing wrong."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas import pareto
from hwnas.backends import Backend, Evaluation
from hwnas.errors import SpaceExhausted
from hwnas.fronts import Front
from hwnas.metrics import Metric
from hwnas.objectives import Objective
from hwnas.optimizers import MultiFidelityOptimizer, Optimizer, UniqueSampler
from hwnas.spaces import Codes, SearchSpace
from hwnas.typing import Array

# -- optimizers ----------------------------------------------------------------------------------


class Climber(Optimizer):
    """Goes from members of the front to their neighbours; does nothing wrong."""

    def __init__(
        self, space: SearchSpace, n_objectives: int, *, seed: int, n_constraints: int = 0
    ) -> None:
        super().__init__(space, n_objectives, seed=seed, n_constraints=n_constraints)
        self.begin()
        self._sampler = UniqueSampler(space, self.rng)

    def begin(self) -> None:
        pass

    def parents(self) -> Codes:
        return self.recommend()

    def ask(self, n: int) -> Codes:
        if len(self.history) < 8:
            return self._sampler.sample(n)
        parents = self.parents()
        near = [self.space.neighbours(self.rng.choice(parents)) for _ in range(n)]
        fresh = self._sampler.take(np.stack([self.rng.choice(codes) for codes in near]))
        return fresh if len(fresh) else self._sampler.sample(n)

    def update(
        self, codes: Codes, losses: Any, *, std: Any = None, constraints: Any = None
    ) -> None:
        self._sampler.take(codes)


class RandomSearch(Climber):
    """Learns nothing, and says so."""

    claims_to_beat_random = False

    def ask(self, n: int) -> Codes:
        return self._sampler.sample(n)


class SwallowsSettings(Climber):
    """Takes whatever it is given."""

    def __init__(
        self,
        space: SearchSpace,
        n_objectives: int,
        *,
        seed: int,
        n_constraints: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(space, n_objectives, seed=seed, n_constraints=n_constraints)


class Unseeded(Climber):
    """Forgets its seed: every instance draws something else, but a test always the same."""

    others = itertools.count()

    def begin(self) -> None:
        self.rng = np.random.default_rng(next(self.others))


class SeedOfItsOwn(Climber):
    """Has one seed for all."""

    def begin(self) -> None:
        self.rng = np.random.default_rng(3)


class UnseededLater(Climber):
    """Draws from nowhere once it has results."""

    others = itertools.count()

    def parents(self) -> Codes:
        if len(self.history):
            self.rng = self._sampler.rng = np.random.default_rng(next(self.others))
        return super().parents()


class Shared(Climber):
    """Keeps its generator where every instance finds it."""

    common = np.random.default_rng(0)

    def begin(self) -> None:
        Shared.common = self.rng

    def ask(self, n: int) -> Codes:
        self.rng = self._sampler.rng = Shared.common
        return super().ask(n)


class ReadsGlobal(Climber):
    """Draws from NumPy's global generator."""

    def ask(self, n: int) -> Codes:
        self.rng = np.random.default_rng(np.random.randint(2**31))  # noqa: NPY002
        self._sampler.rng = self.rng
        return super().ask(n)


class SeedsGlobal(Climber):
    """Draws nothing from Python's generator, but seeds it."""

    def ask(self, n: int) -> Codes:
        random.seed(0)
        return super().ask(n)


class NotCanonical(Climber):
    """Leaves choices in layers that there are not."""

    def ask(self, n: int) -> Codes:
        codes = super().ask(n).copy()
        codes[~self.space.active(codes)] = 1
        return codes


class WideCodes(Climber):
    """Proposes int64."""

    def ask(self, n: int) -> Codes:
        return super().ask(n).astype(np.int64)  # type: ignore[return-value]


class ColumnsFirst(Climber):
    """Proposes arrays in Fortran's order."""

    def ask(self, n: int) -> Codes:
        return np.asfortranarray(super().ask(n))


class TooMany(Climber):
    """Proposes one more than it is asked for."""

    def ask(self, n: int) -> Codes:
        return super().ask(n + 1)


class Repeats(Climber):
    """Asks for its first network again and again."""

    _first: Codes | None = None

    def ask(self, n: int) -> Codes:
        if self._first is None or n == 1:
            codes = super().ask(n)
            self._first = codes[:1].copy()
            return codes
        return np.concatenate([super().ask(n - 1), self._first])


class Hesitates(Climber):
    """Answers every other ask with nothing."""

    _turn = False

    def ask(self, n: int) -> Codes:
        self._turn = not self._turn
        return super().ask(n) if self._turn else self.space.encode([])


class GivesUp(Climber):
    """Thinks the space is smaller than it is."""

    def ask(self, n: int) -> Codes:
        if len(self._sampler) >= self.space.size - 2:
            raise SpaceExhausted("that will do")
        return super().ask(min(n, self.space.size - 2 - len(self._sampler)))


class NeverEnds(Climber):
    """Has nothing to propose in the end, and does not say so."""

    def ask(self, n: int) -> Codes:
        try:
            return super().ask(n)
        except SpaceExhausted:
            return self.space.encode([])


class KeepsView(Climber):
    """Hands over an array that it looks at again."""

    _last: Codes | None = None

    def ask(self, n: int) -> Codes:
        if self._last is not None:
            self.rng.random(int(self._last.sum()))
        self._last = super().ask(n)
        return self._last


class InOrderOnly(Climber):
    """Takes results of its own in the order in which it asked for them, or not at all."""

    def ask(self, n: int) -> Codes:
        codes = super().ask(n)
        self.__dict__.setdefault("_queue", []).extend(map(bytes, codes))
        return codes

    def update(
        self, codes: Codes, losses: Any, *, std: Any = None, constraints: Any = None
    ) -> None:
        queue = self.__dict__.setdefault("_queue", [])
        for key in map(bytes, codes):
            if key in queue and key != queue.pop(0):
                raise IndexError("not your turn")
        self._sampler.take(codes)

    def fail(self, codes: Codes, reason: str) -> None:
        for key in map(bytes, codes):
            self.__dict__["_queue"].remove(key)


class OwnOnly(Climber):
    """Knows nothing of networks of others."""

    def ask(self, n: int) -> Codes:
        codes = super().ask(n)
        self.__dict__.setdefault("_mine", {}).update(dict.fromkeys(map(bytes, codes), True))
        return codes

    def update(
        self, codes: Codes, losses: Any, *, std: Any = None, constraints: Any = None
    ) -> None:
        for key in map(bytes, codes):
            assert self.__dict__.get("_mine", {})[key]


class Forgetful(Climber):
    """Proposes what others have told it."""

    def update(
        self, codes: Codes, losses: Any, *, std: Any = None, constraints: Any = None
    ) -> None:
        pass


class WaitsForever(Climber):
    """Asks for nothing until all has been told, also what failed."""

    _open = 0

    def ask(self, n: int) -> Codes:
        if self._open > 0:
            return self.space.encode([])
        codes = super().ask(n)
        self._open = len(codes)
        return codes

    def update(
        self, codes: Codes, losses: Any, *, std: Any = None, constraints: Any = None
    ) -> None:
        self._open -= len(codes)
        self._sampler.take(codes)


class TakesAnything(Climber):
    """Keeps what it is told without a look at it."""


def _raw(self: Any, codes: Any, losses: Any, *, std: Any = None, constraints: Any = None) -> None:
    k, c = len(codes), self.n_constraints
    self.history.add(
        np.array(codes),
        np.array(losses),
        np.zeros((k, self.n_objectives)) if std is None else std,
        np.zeros((k, c)) if constraints is None else constraints,
    )
    self._sampler.take(np.array(codes))


TakesAnything.tell = _raw  # type: ignore[method-assign,assignment]


class Poisoned(Climber):
    """Counts a tell before it looks at it, and acts on the count."""

    _heard = 0

    def ask(self, n: int) -> Codes:
        self.rng.random(self._heard)
        return super().ask(n)


def _counted(self: Any, *args: Any, **kwargs: Any) -> None:
    self._heard += 1
    Climber.update(self, *args, **kwargs)


Poisoned.update = _counted  # type: ignore[method-assign]


class DividesByRange(Climber):
    """Cannot do without differences."""

    def update(
        self, codes: Codes, losses: Any, *, std: Any = None, constraints: Any = None
    ) -> None:
        if len(self.history) > 1:
            1 / float(np.ptp(self.history.losses))
        self._sampler.take(codes)


class ExactOnly(Climber):
    """Does not know what to do with standard errors."""

    def update(
        self, codes: Codes, losses: Any, *, std: Any = None, constraints: Any = None
    ) -> None:
        if std is not None:
            raise NotImplementedError
        self._sampler.take(codes)


class TwoOnly(Climber):
    """Has two objectives in mind and does not say so."""

    def update(
        self, codes: Codes, losses: Any, *, std: Any = None, constraints: Any = None
    ) -> None:
        _first, _second = losses.T
        self._sampler.take(codes)


class Timid(Climber):
    """Recommends what it was told first."""

    def parents(self) -> Codes:
        return Optimizer.recommend(self)

    def recommend(self, n: int | None = None) -> Codes:
        return self.history.codes[:1]


class RecommendsInfeasible(Climber):
    """Recommends without a look at the constraints."""

    def parents(self) -> Codes:
        return Optimizer.recommend(self)

    def recommend(self, n: int | None = None) -> Codes:
        return self.history.codes[pareto.non_dominated(self.history.losses)][:n]


class SignError(Climber):
    """Maximises."""

    claims_to_beat_random = False

    def parents(self) -> Codes:
        return self.history.codes[pareto.non_dominated(-self.history.losses)]


class NoBetter(RandomSearch):
    """Learns nothing, and does not say so."""

    claims_to_beat_random = True


class SumsUp(Climber):
    """Goes on from the least sum of losses, in whatever units."""

    def parents(self) -> Codes:
        told = self.history
        score = told.losses.sum(axis=1) + 1e9 * (told.constraints > 0).sum(axis=1)
        return told.codes[np.argsort(score, kind="stable")[:5]]


class Unconstrained(Climber):
    """Takes violations and looks away; recommends what is feasible."""

    def parents(self) -> Codes:
        return self.history.codes[pareto.non_dominated(self.history.losses)]


class Ladder(MultiFidelityOptimizer):
    """Measures every network at every fidelity; does nothing wrong."""

    claims_to_beat_random = False

    def __init__(
        self,
        space: SearchSpace,
        n_objectives: int,
        *,
        seed: int,
        fidelities: Sequence[int],
        n_constraints: int = 0,
    ) -> None:
        super().__init__(
            space, n_objectives, seed=seed, fidelities=fidelities, n_constraints=n_constraints
        )
        self._sampler = UniqueSampler(space, self.rng)
        self._ready: list[list[Codes]] = [[] for _ in fidelities]
        self._rung: dict[bytes, int] = {}

    def level(self, rung: int) -> int:
        return self.fidelities[rung]

    def ask(self, n: int) -> tuple[Codes, int]:  # type: ignore[override]
        for rung in reversed(range(1, len(self.fidelities))):
            if ready := self._ready[rung]:
                codes, self._ready[rung] = np.stack(ready[:n]), ready[n:]
                break
        else:
            rung = 0
            try:
                codes = self._sampler.sample(n)
            except SpaceExhausted:
                if self._rung:
                    return self.space.encode([]), self.level(0)
                raise
        self._rung.update((code.tobytes(), rung) for code in codes)
        return codes, self.level(rung)

    def update(
        self, codes: Codes, losses: Any, *, std: Any = None, constraints: Any = None
    ) -> None:
        self._sampler.take(codes)
        for code in codes:
            rung = self._rung.pop(code.tobytes(), len(self.fidelities)) + 1
            if rung < len(self.fidelities):
                self._ready[rung].append(code.copy())

    def fail(self, codes: Codes, reason: str) -> None:
        for code in codes:
            self._rung.pop(code.tobytes(), None)


class StaysBelow(Ladder):
    """Never comes to the top."""

    def update(
        self, codes: Codes, losses: Any, *, std: Any = None, constraints: Any = None
    ) -> None:
        self._sampler.take(codes)
        for code in codes:
            self._rung.pop(code.tobytes(), None)


class BetweenRungs(Ladder):
    """Asks for fidelities that nobody gave it."""

    def level(self, rung: int) -> int:
        return self.fidelities[rung] if rung else 2


# The broken ones, by the one check that each fails.
OPTIMIZERS: list[tuple[str, type[Optimizer]]] = [
    ("settings", SwallowsSettings),
    ("seed", Unseeded),
    ("another-seed", SeedOfItsOwn),
    ("replays", UnseededLater),
    ("alone", Shared),
    ("global-random", ReadsGlobal),
    ("global-random", SeedsGlobal),
    ("codes", NotCanonical),
    ("codes", WideCodes),
    ("codes", ColumnsFirst),
    ("codes", TooMany),
    ("duplicates", Repeats),
    ("waiting", Hesitates),
    ("exhausted", GivesUp),
    ("exhausted", NeverEnds),
    ("inputs", KeepsView),
    ("order", InOrderOnly),
    ("foreign", OwnOnly),
    ("foreign", Forgetful),
    ("failures", WaitsForever),
    ("refusals", TakesAnything),
    ("refusals", Poisoned),
    ("flat", DividesByRange),
    ("noise", ExactOnly),
    ("objectives", TwoOnly),
    ("recommends", Timid),
    ("recommends", RecommendsInfeasible),
    ("minimises", SignError),
    ("beats-random", NoBetter),
    ("units", SumsUp),
    ("constraints", Unconstrained),
    ("rungs", StaysBelow),
    ("rungs", BetweenRungs),
]


# -- backends ------------------------------------------------------------------------------------


class Formula(Backend):
    """Answers from closed forms, with noise where it is wanted; does nothing wrong."""

    metrics: Mapping[str, Metric] = {
        "error": Metric("", "dear"),
        "latency@here": Metric("ms", fidelity_dependent=True),
        "memory": Metric("MB"),
    }
    fidelities = (1, 4)

    def __init__(self, space: SearchSpace, *, noise: bool = False) -> None:
        super().__init__(space)
        self.noise = noise

    def evaluate(
        self,
        codes: Codes,
        objectives: Sequence[Objective],
        *,
        seeds: NDArray[np.uint64],
        fidelity: int | None = None,
    ) -> Evaluation:
        values = np.stack([self.column(codes, o.key) for o in objectives], axis=1)
        if self.noise:
            for j, objective in enumerate(objectives):
                if self.metrics[objective.key].fidelity_dependent:
                    values[:, j] += self.drawn(seeds) / np.sqrt(fidelity or 1)
        return Evaluation(values)

    def column(self, codes: Codes, key: str) -> Array:
        params = self.space.params(codes).astype(float)
        columns = {"error": 1e3 / params**0.5, "latency@here": params / 1e6, "memory": params}
        return np.array(columns[key])

    def drawn(self, seeds: NDArray[np.uint64]) -> Array:
        return np.array([np.random.default_rng(seed).random() for seed in seeds])

    def front(
        self, objectives: Sequence[Objective], constraints: Sequence[Objective] = ()
    ) -> Front | None:
        if len(objectives) > 1 or constraints:
            return None
        codes = np.concatenate(list(self.space.enumerate()))
        values = np.stack([self.column(codes, o.key) for o in objectives], axis=1)
        return Front.of(codes, values, tuple(objectives))

    def data_hash(self) -> str:
        return "0" * 64


class Untyped(Formula):
    """Has a setting that nothing is checked against."""

    def __init__(self, space: SearchSpace, *, noise: bool = False, factor=1) -> None:  # type: ignore[no-untyped-def]
        super().__init__(space, noise=noise)


class ComputesParams(Formula):
    """Declares what hwnas computes itself."""

    metrics: Mapping[str, Metric] = {**Formula.metrics, "params": Metric()}

    def column(self, codes: Codes, key: str) -> Array:
        return super().column(codes, "memory" if key == "params" else key)


class Infinite(Formula):
    """Says that all is well, and infinity."""

    def column(self, codes: Codes, key: str) -> Array:
        values = super().column(codes, key)
        return np.full_like(values, np.inf) if key == "memory" else values


class Measures(Formula):
    """Is never the same twice."""

    def column(self, codes: Codes, key: str) -> Array:
        return super().column(codes, key) * (1 + np.random.default_rng().random())

    def front(self, *args: Any) -> None:
        return None


class GlobalNoise(Formula):
    """Draws from NumPy's global generator, and puts it back."""

    def column(self, codes: Codes, key: str) -> Array:
        state = np.random.get_state()  # noqa: NPY002
        factor = 1 + np.random.random()  # noqa: NPY002
        np.random.set_state(state)  # noqa: NPY002
        return super().column(codes, key) * factor

    def front(self, *args: Any) -> None:
        return None


class Batchwise(Formula):
    """Normalises by what is in the batch."""

    def column(self, codes: Codes, key: str) -> Array:
        values = super().column(codes, key)
        return values / values.max()

    def front(self, *args: Any) -> None:
        return None


class OwnOrder(Formula):
    """Answers in alphabetical order, whatever the order asked for."""

    def evaluate(self, codes: Codes, objectives: Any, **how: Any) -> Evaluation:
        return super().evaluate(codes, sorted(objectives, key=lambda o: o.key), **how)


class AlwaysNoisy(Formula):
    """Draws also when no noise was asked for."""

    def evaluate(self, codes: Codes, objectives: Any, *, seeds: Any, **how: Any) -> Evaluation:
        found = super().evaluate(codes, objectives, seeds=seeds, **how).values
        latency = [o.key == "latency@here" for o in objectives]
        return Evaluation(found + self.drawn(seeds)[:, None] * latency)


class OneDraw(Formula):
    """Draws the same for every seed."""

    def drawn(self, seeds: NDArray[np.uint64]) -> Array:
        return np.full(len(seeds), 0.5)


class UndeclaredFidelity(Formula):
    """Has an error that the fidelity changes, and does not declare it."""

    def evaluate(
        self, codes: Codes, objectives: Any, *, fidelity: Any = None, **how: Any
    ) -> Evaluation:
        found = super().evaluate(codes, objectives, fidelity=fidelity, **how).values
        error = [o.key == "error" for o in objectives]
        return Evaluation(found * (1 + np.array(error) / (fidelity or 1)))

    def front(self, *args: Any) -> None:
        return None


class AnswersAnything(Formula):
    """Has a number for every name."""

    def column(self, codes: Codes, key: str) -> Array:
        return super().column(codes, key) if key in self.metrics else np.zeros(len(codes))


class FrontTooGood(Formula):
    """Knows a front that no network has."""

    def front(self, *args: Any) -> Front | None:
        found = super().front(*args)
        return None if found is None else replace(found, values=found.values * 0.9)


class FrontNotBest(Formula):
    """Takes any network for the best one."""

    def front(self, objectives: Sequence[Objective], constraints: Any = ()) -> Front | None:
        codes = self.space.sample(1, np.random.default_rng(0))
        values = np.stack([self.column(codes, o.key) for o in objectives], axis=1)
        return None if constraints else Front.of(codes, values, tuple(objectives))


class Overwrites(Formula):
    """Uses the codes as its scratch paper."""

    def evaluate(self, codes: Codes, objectives: Any, **how: Any) -> Evaluation:
        found = super().evaluate(codes, objectives, **how)
        codes[:] = 0
        return found


class ShortHash(Formula):
    """Names its data instead of hashing them."""

    def data_hash(self) -> str:
        return "version 2"


BACKENDS: list[tuple[str, type[Backend]]] = [
    ("settings", Untyped),
    ("metrics", ComputesParams),
    ("values", Infinite),
    ("deterministic", Measures),
    ("global-random", GlobalNoise),
    ("batches", Batchwise),
    ("columns", OwnOrder),
    ("noise", AlwaysNoisy),
    ("noise", OneDraw),
    ("fidelities", UndeclaredFidelity),
    ("unknown-metric", AnswersAnything),
    ("front", FrontTooGood),
    ("front", FrontNotBest),
    ("inputs", Overwrites),
    ("data-hash", ShortHash),
]
