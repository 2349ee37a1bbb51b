"""Base class of backends: everything that the author of a backend meets.

A backend implements `Backend.evaluate` and declares `Backend.metrics`; everything else has a
default. The search loop asks it through `hwnas.runner.evaluation.measure`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hwnas.deprecation import accept_former_methods, call_renamed, warn_renamed
from hwnas.errors import InvalidInput
from hwnas.fronts import Front
from hwnas.measured_metrics import workload_closed_forms
from hwnas.metric_errors import not_offered, unknown_device
from hwnas.objectives import Metric as Metric  # part of the backends' namespace
from hwnas.objectives import Objective
from hwnas.spaces import LanguageModelSpace, SearchSpace
from hwnas.typing import Array, Codes
from hwnas.workloads import BUILT_IN, CLOSED_FORMS, Workload, workload_named

Status = Literal["ok", "failed", "infeasible"]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Answer of a backend for n architectures and m objectives.

    Attributes
    ----------
    values : (n, m) float64
        One column for each objective, in raw units; NaN where there is no value.
    std : (n, m) float64, optional
        Standard error of each value; ``None`` where the values are exact.
    status : n of "ok", "failed", "infeasible", optional
        ``"infeasible"``: stopped at a violated constraint before the expensive part. All ok by
        default.
    seconds : (n,) float64, optional
        Duration of each evaluation.
    reasons : n strings, optional
        Reasons of failed trials; empty for the others.

    Examples
    --------
    Two architectures, the second of which failed:

    >>> values = np.array([[20.5, 3.1], [np.nan, np.nan]])
    >>> evaluation = Evaluation(values, status=["ok", "failed"], reasons=["", "out of memory"])
    """

    values: Array
    std: Array | None = None
    status: Sequence[Status] | None = None
    seconds: Array | None = None
    reasons: Sequence[str] | None = None


class Backend(ABC):
    """Base class of all backends.

    Parameters
    ----------
    space
        Search space whose architectures are evaluated.

    Attributes
    ----------
    metrics
        Metrics that can be measured, by name.
    missing
        Reasons why metrics that a user may well ask for cannot be measured, by name.
    fidelities
        Fidelities in increasing order; None where there is only one.
    on_hardware
        Whether evaluations measure on this machine and take long. Then searches never run side by
        side, each trial is stored as soon as it is measured, and an architecture that violates a
        constraint on ``params`` or ``flops`` is not measured.
    side_by_side
        Whether searches may run side by side even so, if the user asks for several workers.
    workloads
        Workloads that objectives may name: the built-in ones and those of the experiment.

    Notes
    -----
    Settings are named keyword arguments of ``__init__``. A backend that takes ``noise: bool`` can
    be run with ``noise: true``; `evaluate` then draws its noise from `seeds` alone. One that takes
    ``workloads: Mapping[str, Workload] | None`` is given those of the experiment.

    Examples
    --------
    >>> import hwnas
    >>> class Size(hwnas.Backend):
    ...     metrics = {"size": hwnas.Metric("MB")}
    ...
    ...     def evaluate(self, codes, objectives, *, seeds, fidelity=None):
    ...         return hwnas.Evaluation(self.space.params(codes)[:, None] * 2 / 1e6)
    """

    metrics: Mapping[str, Metric] = {}
    missing: Mapping[str, str] = {}
    fidelities: tuple[int, ...] | None = None
    on_hardware: bool = False
    side_by_side: bool = False
    workloads: Mapping[str, Workload] = BUILT_IN

    def __init__(self, space: SearchSpace) -> None:
        self.space = space

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        accept_former_methods(cls, {"begin": "on_start", "end": "on_end"})

    @abstractmethod
    def evaluate(
        self,
        codes: Codes,
        objectives: Sequence[Objective],
        *,
        seeds: NDArray[np.uint64],
        fidelity: int | None = None,
    ) -> Evaluation:
        """Evaluate architectures.

        Parameters
        ----------
        codes : (n, d) int8
            Canonical codes of `space`.
        objectives
            The m objectives, each of one metric on one device and never a closed form of the space
            (``params``, ``flops``). One with a bound is a constraint; a trial that violates it may
            be stopped there.
        seeds : (n,) uint64
            Noise seed of each trial.
        fidelity
            One of `fidelities`; ``None`` for a plain evaluation.
        """

    def on_start(self, folder: Path) -> None:  # noqa: B027 - most backends keep nothing
        """Prepare for a search that starts or is resumed.

        With an executor every process that evaluates trials calls it too, for the same folder;
        `on_end` is called in the process of the search alone.

        Parameters
        ----------
        folder
            Directory of this search, for whatever must outlast the process.
        """

    def on_end(self) -> None:  # noqa: B027
        """Clean up after a search that has ended: files kept only for a resume can go."""

    def begin(self, folder: Path) -> None:
        """Call `on_start`; deprecated name."""
        warn_renamed("Backend.begin", "Backend.on_start")
        call_renamed(self, "on_start", folder)

    def end(self) -> None:
        """Call `on_end`; deprecated name."""
        warn_renamed("Backend.end", "Backend.on_end")
        call_renamed(self, "on_end")

    def front(
        self, objectives: Sequence[Objective], constraints: Sequence[Objective] = ()
    ) -> Front | None:
        """Return the Pareto front of the feasible architectures; ``None`` where it is unknown.

        It is exact unless its `epsilon` says otherwise.
        """
        return None

    def evaluations(self, fidelity: int, done: int) -> int:
        """Return the budget cost of a trial at a fidelity, in evaluations.

        Parameters
        ----------
        fidelity
            Fidelity of the trial.
        done
            Fidelity that the trial continues from, 0 if it starts anew. By default an architecture
            counts once, however well it is measured.
        """
        return int(done == 0)

    def diagnostics(self) -> list[str]:
        """Return notes for the report at the end of a search, one line each."""
        return []

    def notes(self, objectives: Sequence[Objective]) -> list[str]:
        """Return what a user should know of objectives before a search, one line each."""
        return []

    def data_hash(self) -> str:
        """Return the SHA-256 of the data that answers rest on; empty where there is none."""
        return ""


# Closed forms of language models, which every backend on a space of these has.
EXACT_METRICS: Mapping[str, Metric] = {
    "params": Metric("", "free", meaning="exact number of weights, embeddings included"),
    "flops": Metric(
        "",
        "free",
        meaning="operations of one forward pass of 1 sequence, by a formula: "
        "2 params context + 4 n_layer embed_dim context^2",
    ),
}


def closed_forms(space: SearchSpace) -> dict[str, Metric]:
    """Return the metrics that are closed forms of a space's members, by name.

    Examples
    --------
    >>> import hwnas
    >>> list(closed_forms(hwnas.space("gpt-s")))
    ['params', 'flops']
    """
    if space.family == "gpt":
        return dict(EXACT_METRICS)
    # Another family counts in its own way, of which the first line of its method tells.
    return {name: Metric("", "free", meaning=_meaning(space, name)) for name in space.closed_forms}


def _meaning(space: SearchSpace, name: str) -> str:
    """Return the meaning of a closed form: the first line of its docstring."""
    line = (getattr(type(space), name).__doc__ or "").strip().partition("\n")[0]
    return line.removeprefix("Return ").removeprefix("the ").rstrip(".")


def is_closed_form(space: SearchSpace, objective: Objective) -> bool:
    """Return whether an objective follows from architectures alone, without a measurement.

    Examples
    --------
    >>> import hwnas
    >>> texts = ["params", "kv_cache.serve", "tpot.serve@cuda"]
    >>> [is_closed_form(hwnas.space("gpt-s"), Objective.parse(text)) for text in texts]
    [True, True, False]
    """
    if objective.workload is None:
        return objective.key in space.closed_forms
    is_known = objective.metric in CLOSED_FORMS and not objective.devices
    return is_known and isinstance(space, LanguageModelSpace)


def closed_form_values(backend: Backend, objective: Objective, codes: Codes) -> Array:
    """Return the values (n,) of a closed form of architectures (n, d), see `is_closed_form`.

    >>> import hwnas
    >>> bench = hwnas.surrogate("gpt-s")
    >>> closed_form_values(bench, Objective.parse("params"), bench.space.canonical([[0] * 27]))
    array([22746240.])
    """
    space = backend.space
    if objective.workload is None:
        return np.asarray(getattr(space, objective.key)(codes), dtype=np.float64)
    assert isinstance(space, LanguageModelSpace)
    workload = workload_named(objective.workload, backend.workloads)
    return CLOSED_FORMS[objective.metric](space, codes, workload)


def all_metrics(backend: Backend) -> dict[str, Metric]:
    """Return the backend's own metrics and the closed forms of its space, by name.

    Closed forms of workloads are left out; `metric_of` knows them too.

    >>> import hwnas
    >>> metrics = all_metrics(hwnas.surrogate("gpt-s"))
    >>> metrics["params"].unit, metrics["latency@h100"].unit
    ('', 'ms')
    """
    return {**closed_forms(backend.space), **backend.metrics}


def metric_of(backend: Backend, objective: Objective) -> Metric:
    """Return the metric of an objective.

    For several devices it is the first device's, without a unit.

    Raises
    ------
    UnknownName
        The backend has no such metric, or not on that device; or there is no such workload.
    InvalidInput
        A device or a workload is missing or superfluous, a workload does not fit the space, the
        metric has no quantiles, or the worst ratio over several devices is to be maximized or is
        asked of a backend that does not know each device's optimum.

    Examples
    --------
    >>> import hwnas
    >>> metric_of(hwnas.surrogate("gpt-s"), Objective.parse("energy@h100:p90")).unit
    'mWh'
    """
    if objective.maximise and len(objective.devices) > 1:
        workload = f".{objective.workload}" if objective.workload else ""
        uses = " or ".join(f"{name}{workload}" for name in ("latency", "tpot"))
        raise InvalidInput(
            f"{objective}: the worst ratio to the optima can only be minimised; for several "
            f"devices use {uses if workload else 'latency'}"
        )
    # Devices on which each metric is offered; "" for a metric without a device.
    metrics = all_metrics(backend) | _closed_forms_of_workload(backend, objective)
    devices: dict[str, list[str]] = {}
    for key in metrics:
        name, _, device = key.partition("@")
        devices.setdefault(name, []).append(device)
    # The most specific reason first.
    for key in objective.keys:
        if key in backend.missing:
            raise InvalidInput(f"{key} cannot be measured here: {backend.missing[key]}")
    if objective.quantity not in devices:
        raise not_offered(backend.space, backend.workloads, objective, devices)
    offered = devices[objective.quantity]
    if not objective.devices and objective.key not in metrics:
        raise InvalidInput(
            f"{objective.quantity} needs a device, as in {objective.quantity}@{offered[0]}; "
            f"known: {', '.join(offered)}"
        )
    for device in objective.devices:
        if offered == [""]:
            raise InvalidInput(f"{objective.quantity} takes no device, found {objective.key!r}")
        if device not in offered:
            raise unknown_device(objective, device, devices)
    # All names are known from here on.
    requested = [metrics[key] for key in objective.keys]
    if objective.level is not None and not all(metric.quantiles for metric in requested):
        raise InvalidInput(f"{objective.key} has no quantiles, found {str(objective)!r}")
    if len(requested) == 1:
        return requested[0]
    if any(optimum(backend, key, objective.level) is None for key in objective.keys):
        raise InvalidInput(
            f"{objective.key}: this backend does not know the devices' optima, expected one device"
        )
    return replace(requested[0], unit="")


def _closed_forms_of_workload(backend: Backend, objective: Objective) -> dict[str, Metric]:
    """Return the closed forms of an objective's workload, after a check that it fits the space."""
    workload = backend.workloads.get(objective.workload or "")
    if workload is None or not isinstance(backend.space, LanguageModelSpace):
        return {}
    try:
        workload.check(backend.space)
        if objective.metric in CLOSED_FORMS:
            backend.space.model_sizes(backend.space.encode([]))  # a family may define none
    except InvalidInput as error:
        raise InvalidInput(f"{objective}: {error}") from None
    is_chosen = "precision" in backend.space.choices
    name = str(objective.workload)
    return workload_closed_forms(name, workload, precision_is_chosen=is_chosen)


def optimum(backend: Backend, key: str, level: float | None) -> float | None:
    """Return the minimum of a metric over the whole space; ``None`` where it is unknown.

    >>> import hwnas
    >>> round(optimum(hwnas.surrogate("gpt-s"), "latency@rtx3080", None), 1)
    14.1
    """
    front = backend.front((replace(Objective.parse(key), level=level),))
    return None if front is None else float(front.values[0, 0])


def stop_reason(constraint: Objective, value: float) -> str:
    """Return the reason of a trial that was stopped because its value violates a constraint.

    >>> stop_reason(Objective.parse("latency@h100 <= 20"), 25.125)
    'stopped at latency@h100 <= 20: 25.125'
    """
    return f"stopped at {constraint}: {value:.6g}"
