"""What a backend owes: values that depend on the network, the metric and the seed alone."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from hwnas.backends import EXACT_METRICS, Backend, Evaluation, Status
from hwnas.errors import HwnasError
from hwnas.fronts import Front
from hwnas.metrics import Metric
from hwnas.objectives import Objective, constraint_violations
from hwnas.pareto import non_dominated
from hwnas.registry import backend
from hwnas.spaces import Codes, SearchSpace
from hwnas.spaces import space as space_of
from hwnas.testing.checks import (
    MADE_UP,
    CheckFailed,
    NotJudged,
    Subject,
    changed_randomness,
    demand,
    global_randomness,
    refuses,
    seed_global_randomness,
    well_formed,
)
from hwnas.typing import Array

_EXACTLY = 1e-9  # relative; sums may be taken in another order in another batch
_ROUNDED = 1e-6  # relative; a front may come from another formula than its networks' values


class Measured(Subject):
    """A backend that is checked.

    Parameters
    ----------
    tested
        A registered name, or a class.
    space
        Whose networks it is asked for.
    networks
        How many it is asked for at once; few where each takes long.
    **settings
        Its own settings.
    """

    def __init__(
        self,
        tested: str | type[Backend],
        *,
        space: SearchSpace | str = "gpt-s",
        networks: int = 16,
        **settings: Any,
    ) -> None:
        super().__init__("backend", tested, settings)
        self.space = space_of(space) if isinstance(space, str) else space
        rng = np.random.default_rng(0)
        self.codes = np.unique(self.space.sample(networks, rng), axis=0)
        self.seeds = rng.integers(0, 2**63, size=len(self.codes)).astype(np.uint64)
        try:
            self.made()
        except HwnasError:  # of the space or the settings
            raise
        except Exception:  # the checks will say so, one by one
            return

    def made(self, noise: bool = False) -> Backend:
        """A fresh instance."""
        return backend(self.tested, self.space, noise=noise, **self.settings)

    @property
    def noisy(self) -> bool:
        """Whether it can be run with noise."""
        return "noise" in inspect.signature(self.cls).parameters

    @cached_property
    def plain(self) -> Backend:
        """An instance without noise."""
        return self.made()

    @property
    def objectives(self) -> list[Objective]:
        """One for each metric, but for what a clock or a counter of this machine says."""
        clocked = self.plain.on_hardware
        judged = [k for k, m in self.plain.metrics.items() if not (clocked and m.cost == "cheap")]
        return [Objective.parse(key) for key in judged or self.plain.metrics]

    @cached_property
    def first(self) -> Array:
        """What it said of all networks and metrics first, (n, m)."""
        return self.values(self.plain)

    def values(
        self,
        made: Backend,
        rows: NDArray[np.intp] | slice = slice(None),
        objectives: Sequence[Objective] | None = None,
        *,
        seeds: NDArray[np.uint64] | None = None,
        fidelity: int | None = None,
        state: int | None = 0,
    ) -> Array:
        """What an instance says, (n, m), of some of the networks and of all metrics by default.

        The global generators are first put into a state, so that who reads them is caught once.
        """
        if state is not None:
            seed_global_randomness(state)
        codes, asked = (
            self.codes[rows].copy(),
            self.objectives if objectives is None else objectives,
        )
        seeds = (self.seeds if seeds is None else seeds)[rows].copy()
        answer = made.evaluate(codes, list(asked), seeds=seeds, fidelity=fidelity)
        demand(isinstance(answer, Evaluation), f"evaluate answered a {type(answer).__name__}")
        found = np.asarray(answer.values, dtype=np.float64)
        shape = (len(codes), len(asked))
        demand(found.shape == shape, f"values of shape {found.shape}, expected {shape}")
        return found


def settings(measured: Measured) -> str:
    """It has a docstring, named and annotated settings, and refuses unknown ones."""
    well_formed(measured, ("space",))
    refuses(lambda: measured.cls(measured.space, **measured.settings, **{MADE_UP: 1}))
    return "with noise" if measured.noisy else "without noise"


def metrics(measured: Measured) -> str:
    """It declares at least one metric, by names that objectives can have, and its fidelities."""
    known = measured.plain.metrics
    demand(len(known), "no metrics")
    for key, metric in known.items():
        demand(isinstance(metric, Metric), f"metrics[{key!r}] is a {type(metric).__name__}")
        demand(metric.cost in ("free", "cheap", "dear"), f"{key} costs {metric.cost!r}")
        demand(key not in EXACT_METRICS, f"{key}, which hwnas computes itself")
        try:
            parsed = Objective.parse(key)
        except HwnasError as error:
            raise CheckFailed(str(error)) from error
        plain = parsed.key == key and len(parsed.devices) <= 1 and parsed.level is None
        demand(plain and parsed.bound is None, f"{key!r} is not a metric or a metric@device")
    levels = measured.plain.fidelities
    if levels is not None:
        whole = all(isinstance(level, int) and level > 0 for level in levels)
        demand(whole and list(levels) == sorted(set(levels)), f"fidelities {levels!r}")
    return f"{len(known)} metrics"


def values(measured: Measured) -> str:
    """It answers (n, m) finite values with status, errors and seconds that fit, of any n."""
    for n in (1, len(measured.codes)):
        answer = measured.plain.evaluate(
            measured.codes[:n].copy(), measured.objectives, seeds=measured.seeds[:n].copy()
        )
        demand(isinstance(answer, Evaluation), f"evaluate answered a {type(answer).__name__}")
        shape = n, len(measured.objectives)
        found = np.asarray(answer.values)
        demand(found.shape == shape, f"values of shape {found.shape}, expected {shape}")
        status = ["ok"] * n if answer.status is None else list(answer.status)
        demand(len(status) == n and set(status) <= set(get_args(Status)), f"status {status}")
        ok = np.array(status) == "ok"
        demand(ok.any(), f"all of {n} networks are {status[0]}: {_reason(answer)}")
        lacking = ~np.isfinite(found[ok]).all(axis=0)
        keys = [o.key for o, lacks in zip(measured.objectives, lacking, strict=True) if lacks]
        demand(not keys, f"{', '.join(keys[:3])} of networks that are ok is not finite")
        if answer.std is not None:
            std = np.asarray(answer.std)
            demand(std.shape == shape, f"std of shape {std.shape}, expected {shape}")
            demand((std[ok] >= 0).all(), "std below 0 or NaN")
        if answer.seconds is not None:
            took = np.asarray(answer.seconds)
            demand(took.shape == (n,) and (took >= 0).all(), f"seconds {took!r:.60}")
        if answer.reasons is not None:
            demand(len(answer.reasons) == n, f"{len(answer.reasons)} reasons, expected {n}")
    return f"{len(measured.codes)} networks, {len(measured.objectives)} metrics"


def deterministic(measured: Measured) -> str:
    """The same networks and seeds have the same values, in this instance and a fresh one."""
    once = measured.values(measured.made())
    for what, again in (("the same instance", measured.plain), ("a fresh one", measured.made())):
        _equal(once, measured.values(again), f"asked again, of {what}")
    _equal(once, measured.values(measured.plain), "asked again, of the same instance")
    return "the same values"


def global_random(measured: Measured) -> str:
    """It neither reads nor changes the global generators of random, numpy and torch."""
    found = []
    for state in (1, 2):
        seed_global_randomness(state)
        before = global_randomness()
        found.append(measured.values(measured.made(), state=None))
        changed = changed_randomness(before)
        demand(not changed, f"the global state of {', '.join(changed)} was changed")
    _must_repeat(measured)
    _equal(found[0], found[1], "as the global generators were in another state")
    return "neither read nor changed"


def batches(measured: Measured) -> str:
    """A network's values do not depend on the networks beside it, or on their order."""
    _must_repeat(measured)
    turned = np.arange(len(measured.codes))[::-1]
    made = measured.plain
    _equal(measured.first[turned], measured.values(made, turned), "in another order")
    for i in (0, len(measured.codes) - 1):
        row = np.array([i])
        _equal(measured.first[row], measured.values(made, row), "asked for alone")
    return "the same values"


def columns(measured: Measured) -> str:
    """A metric's values do not depend on what else is asked for, and come in the order asked."""
    _must_repeat(measured)
    _equal(
        measured.first[:, ::-1],
        measured.values(measured.plain, objectives=measured.objectives[::-1]),
        "asked for in another order",
    )
    for j in sorted({0, len(measured.objectives) - 1}):
        one = [measured.objectives[j]]
        alone = measured.values(measured.plain, objectives=one)
        _equal(measured.first[:, [j]], alone, f"{one[0].key} asked for alone")
    return "the same values"


def noise(measured: Measured) -> str:
    """With noise the seeds alone decide the draws; without, they decide nothing."""
    if not measured.noisy:
        raise NotJudged("it does not take noise")
    _must_repeat(measured)
    other = measured.seeds + np.uint64(1)
    without = measured.values(measured.plain, seeds=other)
    _equal(measured.first, without, "with other seeds and no noise")
    drawn = measured.values(measured.made(noise=True))
    again = measured.values(measured.made(noise=True))
    _equal(drawn, again, "drawn again with the same seeds")
    row = np.array([len(measured.codes) - 1])
    if _differs(measured.first[row], measured.values(measured.plain, row)) is None:
        alone = measured.values(measured.made(noise=True), row)
        _equal(drawn[row], alone, "drawn for one network alone")
    fresh = measured.values(measured.made(noise=True), seeds=other)
    changed = np.asarray(~np.isclose(drawn, fresh, rtol=_EXACTLY, atol=0).all(axis=0))
    demand(changed.any(), "other seeds drew the same values of every metric")
    return f"{int(changed.sum())} of {len(changed)} metrics are drawn"


def fidelities(measured: Measured) -> str:
    """It answers at every fidelity, and only metrics declared to do so depend on it."""
    made = measured.made(noise=True) if measured.noisy else measured.plain
    if made.fidelities is None:
        raise NotJudged("it has no fidelities")
    _must_repeat(measured)
    keys = [objective.key for objective in measured.objectives]
    fixed = np.array([not made.metrics[key].fidelity_dependent for key in keys])
    first = measured.values(made, fidelity=made.fidelities[0])
    done = 0
    for level in made.fidelities:
        found = measured.values(made, fidelity=level)
        lost = np.isfinite(measured.first) & ~np.isfinite(found)
        demand(not lost.any(), f"values at fidelity {level} that are not finite")
        moved = ~np.isclose(first, found, rtol=_EXACTLY, atol=0).all(axis=0) & fixed
        demand(not moved.any(), f"{keys[int(moved.argmax())]} differs at fidelity {level}")
        count = made.evaluations(level, done)
        demand(isinstance(count, int) and count >= 0, f"evaluations({level}, {done}) is {count!r}")
        done = level
    return ", ".join(map(str, made.fidelities))


def unknown_metric(measured: Measured) -> str:
    """It raises for a metric that it does not have, or says that the evaluation failed."""
    try:
        answer = measured.plain.evaluate(
            measured.codes[:1].copy(), [Objective(MADE_UP)], seeds=measured.seeds[:1].copy()
        )
    except Exception as error:
        return f"{type(error).__name__}"
    failed = answer.status is not None and list(answer.status) != ["ok"]
    known = np.isfinite(np.asarray(answer.values, dtype=np.float64)).any()
    demand(failed or not known, f"{MADE_UP} is {np.asarray(answer.values).ravel()[:1].tolist()}")
    return "failed"


def front(measured: Measured) -> str:
    """A front that it knows is of networks with these values, and none dominates another."""
    pair = tuple(measured.objectives[:2])
    asked: list[tuple[Objective, ...]] = [pair[:1], *([pair] if len(pair) > 1 else [])]
    seen = []
    for wanted in asked:
        named = " and ".join(o.key for o in wanted)
        found = measured.plain.front(wanted)
        if found is None:
            seen.append(f"none of {named}")
            continue
        _sound(measured, found, wanted, named)
        seen.append(f"{len(found.codes)} networks of {named}")
    # A bound that half of the networks keep.
    middle = float(np.median(measured.first[:, 0]))
    bound = Objective.parse(f"{pair[0].key} <= {middle:.12g}")
    found = measured.plain.front(pair, (bound,))
    if found is not None:
        measures = _measure(measured, found.codes, [bound.value])
        broken = (constraint_violations((bound,), measures) > _ROUNDED * abs(middle)).any()
        demand(not broken, f"a network of the front breaks {bound}")
    return "; ".join(seen)


def inputs(measured: Measured) -> str:
    """It does not change the codes, seeds and objectives that it is given."""
    codes, seeds, asked = measured.codes.copy(), measured.seeds.copy(), measured.objectives
    measured.plain.evaluate(codes, asked, seeds=seeds)
    demand(np.array_equal(codes, measured.codes), "evaluate changed the codes")
    demand(np.array_equal(seeds, measured.seeds), "evaluate changed the seeds")
    demand(asked == measured.objectives, "evaluate changed the list of objectives")
    return "unchanged"


def data_hash(measured: Measured) -> str:
    """Its data_hash is a SHA-256 as text, always the same; empty where there are no data."""
    found = measured.plain.data_hash()
    form = isinstance(found, str) and re.fullmatch(r"([0-9a-f]{64})?", found)
    demand(form, f"{found!r:.80}")
    again = measured.made().data_hash()
    demand(again == found, f"{found[:12]}, and {again[:12]} of a fresh instance")
    return f"{found[:12]}..." if found else "empty"


BACKENDS = (
    settings,
    metrics,
    values,
    deterministic,
    global_random,
    batches,
    columns,
    noise,
    fidelities,
    unknown_metric,
    front,
    inputs,
    data_hash,
)


def _sound(measured: Measured, found: Front, wanted: Sequence[Objective], named: str) -> None:
    """Demand that a front is one."""
    demand(len(found.codes), f"an empty front of {named}")
    demand(measured.space.is_valid(found.codes).all(), f"codes of {named} that are not canonical")
    values = _measure(measured, found.codes, wanted)
    far = ~np.isclose(values, found.values, rtol=_ROUNDED, atol=0).all(axis=1)
    if far.any():
        i = int(far.argmax())
        raise CheckFailed(
            f"{named} of a network of the front is {found.values[i].tolist()}, "
            f"and {values[i].tolist()} when evaluated"
        )
    demand(non_dominated(found.values).all(), f"the front of {named} has dominated networks")
    if found.epsilon is None:
        return
    others = measured.first[:, : len(wanted)]
    violation = found.epsilon * np.ptp(found.values, axis=0) + _ROUNDED * np.abs(others)
    beaten = ((others + violation)[:, None] < found.values[None]).all(axis=2).any()
    demand(not beaten, f"a sampled network is better than one of the front of {named}")


def _measure(measured: Measured, codes: Codes, asked: Sequence[Objective]) -> Array:
    seeds = np.zeros(len(codes), dtype=np.uint64)
    answer = measured.plain.evaluate(codes.copy(), list(asked), seeds=seeds)
    return np.asarray(answer.values, dtype=np.float64)


def _must_repeat(measured: Measured) -> None:
    """Do not judge a backend whose answers cannot be compared."""
    if _differs(measured.first, measured.values(measured.made())) is not None:
        raise NotJudged("it does not repeat its values")


def _differs(first: Array, second: Array) -> tuple[int, int] | None:
    far = ~np.isclose(first, second, rtol=_EXACTLY, atol=0, equal_nan=True)
    return None if not far.any() else tuple(np.argwhere(far)[0].tolist())


def _equal(first: Array, second: Array, when: str) -> None:
    where = _differs(first, second)
    if where is not None:
        raise CheckFailed(f"{first[where]:.12g} became {second[where]:.12g}, {when}")


def _reason(answer: Evaluation) -> str:
    return str(answer.reasons[0]) if answer.reasons else "no reason given"
