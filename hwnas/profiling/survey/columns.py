"""Metrics of a survey, and the columns of its CSV file.

=====================  ============================================================================
column                 content
=====================  ============================================================================
number, role, arch     number of the row from 0; ``design`` or ``anchor``; the architecture
latency@cuda           a value in the unit of its metric; likewise ``tpot.serve@cuda``
latency@cuda std       standard error of the value, in its unit; a peak memory has none
latency@cuda p90       0.9 quantile over single passes; of the latency of one forward pass alone
seconds, time          duration of all measurements of the row, and their end (UTC)
status, reason         ``ok``, or ``failed`` and the reason
imprecise              metrics whose values missed the requested precision, separated by spaces
device_name ...        hardware, software and settings, equal in all rows; ``precision``,
                       ``batch_size`` and ``tokens`` are those of a forward pass, and empty where
                       only workloads are measured
clock_mhz,             median clock and maximum temperature of a GPU during the measurements
temperature_c
=====================  ============================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from hwnas.errors import InvalidInput, UnknownName
from hwnas.objectives import Metric, Objective
from hwnas.profiling.device_profiler import MEASURES, Measurement
from hwnas.workloads import Workload

SOFTWARE = ("device_name", "torch", "driver")
CONSTANT_COLUMNS = (*SOFTWARE, "mode", "precision", "batch_size", "tokens", "threads")
# Metrics of one forward pass in the order of their columns.
_PLAIN = ("latency", "energy", "peak_memory")


class Measurable(Protocol):
    """What a `hwnas.profiling.device_profiler.DeviceProfiler` says of its metrics."""

    name: str
    metrics: dict[str, Metric]
    missing: dict[str, str]
    workloads: dict[str, Workload]


def resolve_metrics(
    profiler: Measurable, metrics: Sequence[str], *, workloads: Iterable[str] | None = None
) -> list[str]:
    """Return the full names of metrics, in the order of their columns.

    Parameters
    ----------
    profiler
        Device with its metrics and workloads.
    metrics
        Each a full name, such as ``tpot.serve@cuda``; one without the device, ``tpot.serve``; or a
        metric, ``tpot``, which is that of all `workloads` that have it, and of one forward pass
        where there are none. ``memory`` is ``peak_memory``.
    workloads
        Workloads of a metric without one [those of `profiler`].

    Raises
    ------
    UnknownName
        There is no metric of this name.
    InvalidInput
        A metric cannot be measured here, or occurs twice, or there are no metrics.
    """
    full_names = _full_names(profiler)
    aliases = {name: [name] for name in full_names}
    for name in full_names:
        quantity = name.partition("@")[0]
        aliases[quantity] = [name]
    spread = profiler.workloads if workloads is None else list(workloads)
    for measure in MEASURES:
        of_workloads = [f"{measure}.{workload}@{profiler.name}" for workload in spread]
        of_workloads = [name for name in of_workloads if name in full_names]
        if of_workloads:
            aliases[measure] = of_workloads
    if "peak_memory" in aliases:
        aliases["memory"] = aliases["peak_memory"]
    names = []
    for metric in metrics:
        if metric not in aliases:
            raise UnknownName("metric", metric, aliases)
        for name in aliases[metric]:
            if name not in profiler.metrics:
                reason = profiler.missing.get(name, f"there is no meter on {profiler.name}")
                raise InvalidInput(f"{name}: leave it out, it cannot be measured here: {reason}")
            names.append(name)
    if not names or len(set(names)) < len(names):
        raise InvalidInput(f"expected distinct metrics, found {', '.join(metrics) or 'none'}")
    return sorted(names, key=full_names.index)


def default_metrics(profiler: Measurable) -> list[str]:
    """Return the metrics that are measured unless others are asked for.

    They are all that can be measured of the workloads, if there are any, else of one forward pass.
    """
    names = [name for name in _full_names(profiler) if name in profiler.metrics]
    of_workloads = [name for name in names if Objective.parse(name).workload]
    return of_workloads or names


def _full_names(profiler: Measurable) -> list[str]:
    """Return the full names of all metrics, measurable or not, in the order of their columns."""
    full_names = [f"{measure}@{profiler.name}" for measure in _PLAIN]
    available = {*profiler.metrics, *profiler.missing}
    for workload in profiler.workloads:
        names = (f"{measure}.{workload}@{profiler.name}" for measure in _by_duration())
        full_names += [name for name in names if name in available]
    return full_names


def _by_duration() -> list[str]:
    """Return the measures with those that share a cache and its graphs side by side."""
    return [*(m for m in MEASURES if m != "peak_memory"), "peak_memory"]


def csv_columns(names: Sequence[str]) -> list[str]:
    """Return the columns of a survey of metrics.

    Examples
    --------
    >>> csv_columns(["latency@cuda"])[:6]
    ['number', 'role', 'arch', 'latency@cuda', 'latency@cuda std', 'latency@cuda p90']
    """
    values = [[name, *(f"{name} {s}" for s in _statistics(name))] for name in names]
    return [
        *("number", "role", "arch"),
        *(column for group in values for column in group),
        *("seconds", "time", "status", "reason", "imprecise", *CONSTANT_COLUMNS),
        *("clock_mhz", "temperature_c"),
    ]


def value_cells(results: Mapping[str, Measurement]) -> dict[str, float]:
    """Return the values and statistics of results, by column."""
    cells = {}
    for name, result in results.items():
        cells[name] = result.value
        for statistic in _statistics(name):
            value = result.std if statistic == "std" else result.quantile(0.9)
            cells[f"{name} {statistic}"] = value
    return cells


def imprecise_cell(results: Mapping[str, Measurement]) -> str:
    """Return the metrics whose values missed the requested precision, separated by spaces."""
    return " ".join(name for name, result in results.items() if not result.precise)


def workloads_of(names: Iterable[str], *, plain: bool = False) -> list[str]:
    """Return the workloads of metrics, each once; with `plain` also "" for metrics without one.

    Examples
    --------
    >>> workloads_of(["latency@cpu", "tpot.chat@cpu", "ttft.chat@cpu"])
    ['chat']
    """
    workloads = dict.fromkeys(Objective.parse(name).workload or "" for name in names)
    return [name for name in workloads if name or plain]


def _statistics(name: str) -> tuple[str, ...]:
    """Return the statistics that have columns behind the value of a metric."""
    objective = Objective.parse(name)
    if objective.metric == "peak_memory":
        return ()
    is_pass = objective.metric == "latency" and objective.workload is None
    return ("std", "p90") if is_pass else ("std",)
