"""Tables of the command line: available components, devices and metrics, and their values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from hwnas.backends import EXACT_METRICS, Backend, all_metrics, metric_of
from hwnas.cli.components import Table, component_table, experiment_table, space_table
from hwnas.cli.device_listing import device_table, measured_figures
from hwnas.cli.metric_listing import metric_table, workload_table
from hwnas.cli.metric_listing import published_figures as published_figures
from hwnas.cli.space_values import ClosedForms, backend_of, encode, has_metrics, space_of, values_of
from hwnas.errors import InvalidInput, UnknownName
from hwnas.fronts import Front
from hwnas.objectives import Objective, parse_constraints, parse_objectives
from hwnas.registry import Kind
from hwnas.spaces import LanguageModelSpace, SearchSpace, load_space
from hwnas.spaces.arch_input import LocatedArchitecture
from hwnas.spaces.architecture import Architecture
from hwnas.surrogates import Surrogate
from hwnas.typing import Codes
from hwnas.workloads import BUILT_IN, Workload, load_workloads

_STATISTICS = {"": "median", "all": "all quantiles"}


def listing(kind: str, verbose: bool = False, scale: str = "gpt-s") -> Table:
    """Return a table of all components of a kind.

    Parameters
    ----------
    kind
        ``"optimizers"``, ``"backends"``, ``"spaces"``, ``"devices"``, ``"metrics"``,
        ``"workloads"``, ``"experiments"`` or ``"loggers"``.
    verbose
        Whether to add details: settings, defaults, references, how optimizers
        treat constraints, the protocols of devices; see `fit` for the source of figures.
    scale
        Name of the space of devices and metrics, or its YAML file, which may define workloads.

    Raises
    ------
    InvalidInput
        The space has no figures of devices, or no metrics at all.

    Examples
    --------
    >>> header, rows = listing("spaces")
    >>> rows[0][:3]
    ['gpt-s', 'gpt', '1.9e+12']
    """
    if kind in ("optimizers", "backends", "loggers"):
        return component_table(cast(Kind, kind.removesuffix("s")), verbose)
    if kind == "spaces":
        return space_table()
    if kind == "experiments":
        return experiment_table()
    if kind == "workloads":
        return workload_table(load_workloads(scale))
    space = load_space(scale)
    if kind == "devices":
        return device_table(published_figures(space), verbose)
    return metric_table(space)


@dataclass(frozen=True)
class Fit:
    """Source of the figures of a space, and their accuracy.

    Attributes
    ----------
    tables
        By title, tables with a row for each device: errors on held-out architectures.
    lines
        By title, everything else: method, source, licence, citation.
    """

    tables: dict[str, Table]
    lines: dict[str, str]


def fit(scale: str) -> Fit:
    """Return the source of the figures of a space, and their accuracy; empty without figures."""
    space = load_space(scale)
    try:
        bench = published_figures(space)
    except InvalidInput:
        return Fit({}, {})
    tables: dict[str, Table] = {}
    lines = {"space": bench.space.name}
    for key, value in bench.provenance.items():
        title = key.replace("_", " ")
        if isinstance(value, dict):
            # Entries of devices make a table, the others a line.
            device_values = {k: v for k, v in value.items() if "@" in k}
            if device_values:
                tables[title] = _device_table(device_values)
            value = ", ".join(f"{k} {v}" for k, v in value.items() if k not in device_values)
        elif isinstance(value, list):
            value = ", ".join(map(str, value))
        if value and key != "devices":
            lines[title] = str(value)
    shipped = bench.added.shipped
    for title, devices in {
        f"devices of hwnas on {bench.space.name}": shipped.values(),
        "devices of the user": [d for n, d in bench.added.devices.items() if n not in shipped],
    }.items():
        if any(device.figures for device in devices):
            tables[title] = measured_figures(devices)
    return Fit(tables, lines)


def figures(
    archs: Sequence[LocatedArchitecture],
    metrics: Sequence[str] = (),
    devices: Sequence[str] = (),
    space: SearchSpace | None = None,
    workloads: Mapping[str, Workload] = BUILT_IN,
    tables: Sequence[str] = (),
) -> Table:
    """Return the surrogate benchmark's values of architectures, a row for each.

    Parameters
    ----------
    archs
        Architectures of one space.
    metrics
        Metrics and quantiles; one that needs a device and names none stands for each of `devices`.
        All by default.
    devices
        All by default.
    space
        Space of the architectures; by default the one that they name.
    workloads
        Workloads that metrics may name.
    tables
        Files of ``hwnas fit``.

    Returns
    -------
    header, rows
        Architecture strings and numbers in raw units, of which params and flops are integers.

    Raises
    ------
    InvalidInput
        The architectures are of several spaces, the space has no figures, or a metric, a device or
        a statistic does not exist.
    """
    # A space may bring its own values, and closed forms need nothing else.
    backend = backend_of(space_of(archs, space), metrics, workloads)
    if backend is not None and not (devices or tables) and has_metrics(backend, metrics):
        return values_of(archs, metrics, backend)
    # 1. Predict all columns at once.
    bench, codes = _encode(archs, space, workloads, tables)
    objectives = _select_metrics(bench, metrics, devices)
    values = bench.predict(codes, objectives)
    # 2. Exact metrics are counts: print them as integers.
    columns: list[list[Any]] = [
        (column.astype(np.int64) if objective.metric in EXACT_METRICS else column).tolist()
        for objective, column in zip(objectives, values.T, strict=True)
    ]
    header = ["arch", *map(str, objectives)]
    names = (str(item.arch) for item in archs)
    return header, [list(row) for row in zip(names, *columns, strict=True)]


def figures_of_one(
    arch: LocatedArchitecture,
    devices: Sequence[str] = (),
    space: SearchSpace | None = None,
    tables: Sequence[str] = (),
) -> Table:
    """Return the surrogate benchmark's values of one architecture, a row for each metric.

    Parameters
    ----------
    arch
        The architecture.
    devices
        All by default.
    space
        Space of the architecture; by default the one that it names.
    tables
        Files of ``hwnas fit``.

    Returns
    -------
    header, rows
        Metric, unit, median, 0.1 and 0.9 quantile; the quantiles are empty for a metric without
        noise.

    Raises
    ------
    InvalidInput
        The architecture is not in its space, the space has no figures, or a device does not exist.
    """
    new_header = ["metric", "unit", "median", "p10", "p90"]
    backend = backend_of(space_of([arch], space))
    if backend is not None and not (devices or tables):
        metrics = all_metrics(backend)
        header, [[_, *values]] = values_of([arch], (), backend)
        pairs = zip(header[1:], values, strict=True)
        return new_header, [[name, metrics[name].unit, value, "", ""] for name, value in pairs]
    # The table has one row, whose columns are the rows of the new table.
    header, [[_, *medians]] = figures([arch], devices=devices, space=space, tables=tables)
    bench, codes = _encode([arch], space, tables=tables)
    metrics = all_metrics(bench)
    rows = []
    for name, median in zip(header[1:], medians, strict=True):
        quantiles: list[Any] = ["", ""]
        if metrics[name].quantiles:
            quantiles = bench.quantiles(codes, name, levels=[0.1, 0.9])[0].tolist()
        rows.append([name, metrics[name].unit, median, *quantiles])
    return new_header, rows


@dataclass(frozen=True)
class NamedFront:
    """Front with its architectures, the name of their space, a title and notes on objectives."""

    front: Front
    archs: list[Architecture]
    space: str
    title: str
    notes: Sequence[str] = ()

    @property
    def values(self) -> list[list[Any]]:
        """Values of each architecture in raw units; closed forms count, so they are integers."""
        types = [
            int if o.key in LanguageModelSpace.closed_forms else float
            for o in self.front.objectives
        ]
        rows = self.front.values.tolist()
        return [[of(value) for of, value in zip(types, row, strict=True)] for row in rows]


def exact_front(
    name: str,
    objectives: list[str],
    constraints: list[str],
    best: int | None = None,
    tables: Sequence[str] = (),
) -> NamedFront:
    """Return the exact Pareto front of the surrogate benchmark, or its `best` members.

    Parameters
    ----------
    name
        Name of a space, or its YAML file.
    objectives, constraints
        In the grammar of `hwnas.objectives`.
    best
        Number of members with the greatest hypervolume; all by default.
    tables
        Files of ``hwnas fit``.

    Raises
    ------
    InvalidInput
        The space has no figures, an objective is wrong, or no exact front is known for these.
    """
    space = load_space(name)
    parsed_objectives, limits = parse_objectives(objectives), parse_constraints(constraints)
    own = backend_of(space)
    # No front follows from closed forms alone.
    is_known = own is not None and not isinstance(own, ClosedForms)
    if own is not None and is_known and not tables:
        bench: Backend = own
    else:
        bench = published_figures(space, load_workloads(name), tables)
    for objective in parsed_objectives + limits:
        metric_of(bench, objective)
    front = bench.front(parsed_objectives, limits)
    if front is None:
        # Label setting has exceeded its limit, or the objective does not decompose into layers.
        reason = "too many candidates; expected fewer objectives, or tighter constraints"
        if any(len(o.devices) > 1 for o in limits):
            reason = "the worst ratio over devices takes upper bounds alone; expected <="
        names = ", ".join(objectives + constraints)
        raise InvalidInput(f"no exact front is known for {names}: {reason}")
    title = f"{bench.space.name}: {front.exactness}, {len(front)} architectures"
    if best is not None:
        front = front.best(best)
        title += f", the best {len(front)}"
    notes = bench.notes(parsed_objectives + limits)
    return NamedFront(front, bench.space.decode(front.codes), bench.space.name, title, notes)


def _device_table(values: Mapping[str, Any]) -> Table:
    """Return values by ``METRIC@DEVICE`` or ``METRIC@DEVICE:STATISTIC``, a row for each device."""
    rows: dict[str, dict[str, str]] = {}
    columns: dict[str, None] = {}  # in the order of their first use
    for key, value in values.items():
        metric, _, device_and_statistic = key.partition("@")
        name, _, statistic = device_and_statistic.partition(":")
        column = f"{metric} {_STATISTICS.get(statistic, statistic)}".rstrip()
        columns.setdefault(column)
        rows.setdefault(name, {})[column] = str(value)
    header = ["device", *columns]
    return header, [[name, *(row.get(c, "") for c in columns)] for name, row in rows.items()]


def _encode(
    archs: Sequence[LocatedArchitecture],
    space: SearchSpace | None,
    workloads: Mapping[str, Workload] = BUILT_IN,
    tables: Sequence[str] = (),
) -> tuple[Surrogate, Codes]:
    """Return the benchmark of the one space of architectures, and their codes."""
    bench = published_figures(space_of(archs, space), workloads, tables)
    return bench, encode(archs, bench.space)


def _select_metrics(
    bench: Surrogate, metrics: Sequence[str], devices: Sequence[str]
) -> list[Objective]:
    """Return the requested metrics, each on one device or none."""
    known = (*bench.devices, *bench.added.names)
    for name in devices:
        if name not in known:
            reason = "there are no figures of it here"
            raise UnknownName("device", name, known, reason=reason)
    # Devices by metric and workload, in their order; none for a metric without a device.
    offered: dict[str, list[str]] = {}
    keys = all_metrics(bench)
    for key in keys:
        quantity, at, device_name = key.partition("@")
        offered.setdefault(quantity, []).extend([device_name] if at else [])
    selected: list[Objective] = []
    for text in metrics or offered:
        objective = Objective.parse(text)
        if objective != objective.value:
            raise InvalidInput(f"metric {text!r}: expected neither sign nor bound")
        # A metric of devices that names none stands for the requested devices, or all of them.
        having = [] if objective.devices else offered.get(objective.quantity, [])
        if not having or objective.key in keys:
            selected.append(objective)
        # Where none of the requested devices has a metric that is named, the error says so.
        chosen = [name for name in devices or having if name in having or metrics]
        if having:
            selected += [replace(objective, devices=(name,)) for name in chosen]
    return list(dict.fromkeys(selected))
