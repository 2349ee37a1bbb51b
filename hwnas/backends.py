"""What answers for a network: the base of every backend, and the one call that asks it.

A backend author implements `Backend.evaluate` and declares `Backend.metrics`; everything else has
a default. The loop asks through `measure`, which adds the closed forms (``params``, ``flops``),
the worst ratio over several devices, and turns whatever a backend does wrong into failed trials.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import InvalidInput, MachineFailed, UnknownName, shortened
from hwnas.fronts import Front
from hwnas.metrics import Metric
from hwnas.objectives import Objective
from hwnas.spaces import Codes, SearchSpace
from hwnas.typing import Array

Status = Literal["ok", "failed", "infeasible"]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a backend says of n networks.

    Attributes
    ----------
    values : (n, m) float64
        One column for each objective asked for, in raw units; NaN where there is none.
    std : (n, m) float64, optional
        Standard error of each value; ``None`` where the values are exact.
    status : n of "ok", "failed", "infeasible", optional
        ``"infeasible"``: stopped at a bound before the dear part. All ok by default.
    seconds : (n,) float64, optional
        What each evaluation took.
    reasons : n strings, optional
        Why a trial failed; empty for the others.
    """

    values: Array
    std: Array | None = None
    status: Sequence[Status] | None = None
    seconds: Array | None = None
    reasons: Sequence[str] | None = None


class Backend(ABC):
    """The base of every backend.

    Parameters
    ----------
    space
        Whose networks it answers for.

    Attributes
    ----------
    metrics
        What it can measure, by name.
    missing
        Why it cannot measure something that a user may well ask for, by name.
    fidelities
        How well it can measure, in increasing order; None where there is one way.
    on_hardware
        Whether it measures on this machine, and takes its time. Then no two searches run beside
        each other, a trial is stored as soon as it is measured, and a network that breaks a bound
        on ``params`` or ``flops`` is not measured at all.

    Notes
    -----
    Settings are named keyword arguments of ``__init__``. One that takes ``noise: bool`` can be run
    with ``noise: true``; then `evaluate` draws from nothing but `seeds`.
    """

    metrics: Mapping[str, Metric] = {}
    missing: Mapping[str, str] = {}
    fidelities: tuple[int, ...] | None = None
    on_hardware: bool = False

    def __init__(self, space: SearchSpace) -> None:
        self.space = space

    @abstractmethod
    def evaluate(
        self,
        codes: Codes,
        objectives: Sequence[Objective],
        *,
        seeds: NDArray[np.uint64],
        fidelity: int | None = None,
    ) -> Evaluation:
        """Measure networks.

        Parameters
        ----------
        codes : (n, d) int8
            Canonical codes of `space`.
        objectives
            The m things to measure, each of one metric on one device, not ``params`` or ``flops``;
            one with a bound is a constraint, and a trial that breaks it may be stopped there.
        seeds : (n,) uint64
            One a trial.
        fidelity
            One of `fidelities`; ``None`` for a plain evaluation.
        """

    def on_start(self, folder: Path) -> None:  # noqa: B027 - most backends keep nothing
        """A search begins, or goes on: `folder` is its own, for what is to outlast this process."""

    def on_end(self) -> None:  # noqa: B027
        """The search has come to its end: what was only there to go on with can go."""

    def front(
        self, objectives: Sequence[Objective], constraints: Sequence[Objective] = ()
    ) -> Front | None:
        """The Pareto front of the networks that keep the constraints, where it is known.

        Exact, unless its `epsilon` says something else.
        """
        return None

    def evaluations(self, fidelity: int, done: int) -> int:
        """What a trial at a fidelity counts for in a budget, when `done` of it was paid before.

        By default a network counts once, however well it is measured.
        """
        return int(done == 0)

    def data_hash(self) -> str:
        """SHA-256 of the data that answers rest on; empty where there is none."""
        return ""


# What every backend has, because it follows from the network alone.
EXACT_METRICS: Mapping[str, Metric] = {"params": Metric("", "free"), "flops": Metric("", "free")}


def all_metrics(backend: Backend) -> dict[str, Metric]:
    """A backend's own metrics and the exact ones, by name."""
    return {**EXACT_METRICS, **backend.metrics}


def metric_of(backend: Backend, objective: Objective) -> Metric:
    """The metric behind an objective.

    For several devices it is the first one's, without a unit.

    Raises
    ------
    UnknownName
        The backend has no such metric, or not on that device.
    InvalidInput
        A device is missing or superfluous, or the metric has no quantiles, or the worst ratio over
        several devices is asked of a backend that does not know each device's optimum.
    """
    known = all_metrics(backend)
    devices: dict[str, list[str]] = {}
    for key in known:
        name, _, device = key.partition("@")
        devices.setdefault(name, []).append(device)
    for key in objective.keys:
        if key in backend.missing:
            raise InvalidInput(f"{key} cannot be measured here: {backend.missing[key]}")
    if objective.metric not in devices:
        raise UnknownName("metric", objective.metric, devices)
    offered = devices[objective.metric]
    if not objective.devices and objective.key not in known:
        raise InvalidInput(
            f"{objective.metric} needs a device, as in {objective.metric}@{offered[0]}; "
            f"known: {shortened(offered)}"
        )
    for device in objective.devices:
        if offered == [""]:
            raise InvalidInput(f"{objective.metric} takes no device, found {objective.key!r}")
        if device not in offered:
            raise UnknownName("device", device, (d for d in offered if d))
    metrics = [known[key] for key in objective.keys]
    if objective.level is not None and not all(metric.quantiles for metric in metrics):
        raise InvalidInput(f"{objective.key} has no quantiles, found {str(objective)!r}")
    if len(metrics) == 1:
        return metrics[0]
    if objective.maximise:
        raise InvalidInput(f"{objective}: the worst ratio to the optima can only be minimised")
    if any(_optimum(backend, key, objective.level) is None for key in objective.keys):
        raise InvalidInput(
            f"{objective.key}: this backend does not know the devices' optima, expected one device"
        )
    return replace(metrics[0], unit="")


def measure(
    backend: Backend,
    codes: Codes,
    objectives: Sequence[Objective],
    *,
    seeds: NDArray[np.uint64] | None = None,
    fidelity: int | None = None,
) -> Evaluation:
    """Ask a backend for objectives and constraints of any kind; its mistakes become failed trials.

    Parameters
    ----------
    codes : (n, d) int8
        Canonical codes.
    objectives
        The m things wanted, each checked by `metric_of`.
    seeds : (n,) uint64, optional
        One a trial; zeros by default.
    fidelity
        One of the backend's fidelities.

    Returns
    -------
    Evaluation
        Complete: all but `std` is there. A trial whose backend raised, or whose values are not
        finite, has status ``"failed"`` and its reason.

    Raises
    ------
    MachineFailed
        The backend says so: nothing can be measured any more.
    """
    n = len(codes)
    seeds = np.zeros(n, dtype=np.uint64) if seeds is None else seeds
    asked: dict[tuple[str, float | None], Objective] = {}
    for objective in objectives:
        for device, key in zip(objective.devices or (None,), objective.keys, strict=True):
            one = replace(objective, devices=(device,) if device else (), maximise=False)
            bounded = len(objective.devices) <= 1 and one.bound is not None
            if key not in EXACT_METRICS and (bounded or (key, one.level) not in asked):
                asked[key, one.level] = one if bounded else one.value
    columns = {request: j for j, request in enumerate(asked)}
    values = np.full((n, len(objectives)), np.nan)
    std = np.zeros_like(values)
    broken = [""] * n  # bounds on what is known beforehand
    for j, objective in enumerate(objectives):
        if objective.key in EXACT_METRICS:
            values[:, j] = getattr(backend.space, objective.key)(codes)
            if backend.on_hardware and objective.bound is not None:
                for i in np.flatnonzero(objective.violation(values[:, j]) > 0):
                    broken[i] = broken[i] or breach(objective, values[i, j])
    going = np.flatnonzero([not reason for reason in broken])
    answer = _ask(backend, codes[going], list(asked.values()), seeds[going], fidelity)
    if len(going) < n:
        answer = _among_stopped(answer, going, broken)
    assert answer.status is not None

    for j, objective in enumerate(objectives):
        if objective.key in EXACT_METRICS:
            continue
        parts = [columns[key, objective.level] for key in objective.keys]
        scale = np.ones(len(parts))
        if len(parts) > 1:
            optima = [_optimum(backend, key, objective.level) for key in objective.keys]
            scale = 1 / np.array(optima, dtype=np.float64)
        ratios = answer.values[:, parts] * scale
        worst = ratios.argmax(axis=1)
        values[:, j] = ratios[np.arange(n), worst]
        if answer.std is not None:
            std[:, j] = (answer.std[:, parts] * scale)[np.arange(n), worst]

    status, reasons = list(answer.status), list(answer.reasons or [""] * n)
    for i in np.flatnonzero(~np.isfinite(values).all(axis=1)):
        if status[i] == "ok":
            missing = [
                str(o) for o, v in zip(objectives, values[i], strict=True) if not np.isfinite(v)
            ]
            status[i], reasons[i] = "failed", f"not finite: {', '.join(missing)}"
    return Evaluation(values, None if answer.std is None else std, status, answer.seconds, reasons)


def breach(objective: Objective, value: float) -> str:
    """The reason of a trial that was stopped at a bound, which a value of it breaks."""
    return f"stopped at {objective}: {value:.6g}"


def _among_stopped(part: Evaluation, rows: NDArray[np.intp], reasons: list[str]) -> Evaluation:
    """A complete evaluation of some rows, put among those that were stopped for a reason."""
    n = len(reasons)

    def filled(values: Array | None, rest: float) -> Array:
        assert values is not None
        out = np.full((n, *values.shape[1:]), rest)
        out[rows] = values
        return out

    status: list[Status] = ["infeasible"] * n
    for row, word, reason in zip(rows, part.status or (), part.reasons or (), strict=True):
        status[row], reasons[row] = word, reason
    std = None if part.std is None else filled(part.std, 0.0)
    return Evaluation(filled(part.values, np.nan), std, status, filled(part.seconds, 0.0), reasons)


def _ask(
    backend: Backend,
    codes: Codes,
    requests: list[Objective],
    seeds: NDArray[np.uint64],
    fidelity: int | None,
) -> Evaluation:
    """The backend's answer, completed; where it raises, network by network."""
    n, m = len(codes), len(requests)
    start = time.perf_counter()
    if n == 0 or m == 0:
        return Evaluation(np.empty((n, m)), None, ["ok"] * n, np.zeros(n), [""] * n)
    rows = [slice(i, i + 1) for i in range(n)]
    if n > 1 and backend.on_hardware:  # what was measured is not measured again for one that fails
        return _joined([_ask(backend, codes[i], requests, seeds[i], fidelity) for i in rows])
    try:
        answer = backend.evaluate(codes, requests, seeds=seeds, fidelity=fidelity)
        took = (time.perf_counter() - start) / n
        return _completed(answer, (n, m), took)
    except MachineFailed:
        raise
    except Exception as error:  # a backend runs a user's code, drivers and trainings
        if n > 1:  # one bad network must not take the others with it
            return _joined([_ask(backend, codes[i], requests, seeds[i], fidelity) for i in rows])
        reason = f"{type(error).__name__}: {error}".replace("\n", " ")
        spent = np.array([time.perf_counter() - start])
        return Evaluation(np.full((1, m), np.nan), None, ["failed"], spent, [reason])


def _completed(answer: Evaluation, shape: tuple[int, int], seconds: float) -> Evaluation:
    """A backend's answer with its defaults filled in, once its shapes are right."""
    n = shape[0]

    def array(name: str, value: object, expected: tuple[int, ...]) -> Array:
        out = np.asarray(value, dtype=np.float64)
        if out.shape != expected:
            raise ValueError(f"expected {name} of shape {expected}, found {out.shape}")
        return out

    status: list[Status] = ["ok"] * n if answer.status is None else list(answer.status)
    if len(status) != n or not set(status) <= set(get_args(Status)):
        raise ValueError(f"expected status of {n} of {get_args(Status)}, found {status}")
    reasons = [""] * n if answer.reasons is None else list(map(str, answer.reasons))
    if len(reasons) != n:
        raise ValueError(f"expected {n} reasons, found {len(reasons)}")
    return Evaluation(
        array("values", answer.values, shape),
        None if answer.std is None else array("std", answer.std, shape),
        status,
        np.full(n, seconds) if answer.seconds is None else array("seconds", answer.seconds, (n,)),
        reasons,
    )


def _joined(parts: list[Evaluation]) -> Evaluation:
    """Complete evaluations one below the other."""
    std = None
    if any(part.std is not None for part in parts):
        std = np.concatenate([np.zeros_like(p.values) if p.std is None else p.std for p in parts])
    return Evaluation(
        np.concatenate([part.values for part in parts]),
        std,
        [status for part in parts for status in part.status or ()],
        np.concatenate([part.seconds for part in parts if part.seconds is not None]),
        [reason for part in parts for reason in part.reasons or ()],
    )


def _optimum(backend: Backend, key: str, level: float | None) -> float | None:
    """Least value of a metric over the whole space, where the backend knows it."""
    metric, _, device = key.partition("@")
    front = backend.front((Objective(metric, (device,) if device else (), level),))
    return None if front is None else float(front.values[0, 0])
