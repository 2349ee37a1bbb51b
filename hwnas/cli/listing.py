"""What there is to choose from, and what is known of it: the tables of the command line."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from hwnas import registry
from hwnas.backends import EXACT_METRICS, all_metrics
from hwnas.errors import HwnasError, InvalidInput, UnknownName
from hwnas.fronts import Front
from hwnas.objectives import Objective, parse_constraints, parse_objectives
from hwnas.spaces import GPT_SPACES, Codes, space
from hwnas.spaces.arch_input import Given
from hwnas.spaces.architecture import Architecture
from hwnas.surrogates import Surrogate, surrogate
from hwnas.surrogates.devices import device

Table = tuple[list[str], list[list[Any]]]

_STATISTICS = {"": "median", "all": "all quantiles"}


def listing(what: str, verbose: bool = False, scale: str = "gpt-s") -> Table:
    """A table of everything of a kind.

    Parameters
    ----------
    what
        ``"optimizers"``, ``"backends"``, ``"spaces"``, ``"devices"`` or ``"metrics"``.
    verbose
        With settings, defaults and references; see `fit` for what is known of figures.
    scale
        The space whose figures give the ranges of devices.

    Raises
    ------
    InvalidInput
        There are no figures for the scale.
    """
    if what in ("optimizers", "backends"):
        return _components(cast(registry.Kind, what.removesuffix("s")), verbose)
    if what == "spaces":
        return _spaces()
    bench = surrogate(scale)
    return _devices(bench) if what == "devices" else _metrics(bench)


@dataclass(frozen=True)
class Fit:
    """What the figures of a space were fitted to, and how well.

    Attributes
    ----------
    tables
        By title, what is known of each device: its errors on held-out networks.
    lines
        By title, the rest: method, source, licence, citation.
    """

    tables: dict[str, Table]
    lines: dict[str, str]


def fit(scale: str) -> Fit:
    """What the figures of a space were fitted to, and how well.

    Raises
    ------
    InvalidInput
        There are no figures for the space.
    """
    bench = surrogate(scale)
    tables: dict[str, Table] = {}
    lines = {"space": bench.space.name}
    for key, value in bench.provenance.items():
        title = key.replace("_", " ")
        if isinstance(value, dict):
            of_devices = {k: v for k, v in value.items() if "@" in k}
            if of_devices:
                tables[title] = _by_device(of_devices)
            value = ", ".join(f"{k} {v}" for k, v in value.items() if k not in of_devices)
        elif isinstance(value, list):
            value = ", ".join(map(str, value))
        if value and key != "devices":
            lines[title] = str(value)
    return Fit(tables, lines)


def figures(
    given: Sequence[Given], metrics: Sequence[str] = (), devices: Sequence[str] = ()
) -> Table:
    """What the surrogate benchmark says of architectures, a row each.

    Parameters
    ----------
    given
        Architectures of one space.
    metrics
        Metrics and quantiles; one that needs a device and names none stands for each of `devices`.
        All by default.
    devices
        All by default.

    Returns
    -------
    header, rows
        Of architecture strings and numbers in raw units, of which params and flops are integers.

    Raises
    ------
    InvalidInput
        An architecture is not of the first one's space, or the space has no figures, or a metric,
        a device or a statistic is not among them.
    """
    bench, codes = _encoded(given)
    wanted = _wanted(bench, metrics, devices)
    values = bench.predict(codes, wanted)
    columns: list[list[Any]] = [
        (column.astype(np.int64) if name.metric in EXACT_METRICS else column).tolist()
        for name, column in zip(wanted, values.T, strict=True)
    ]
    header = ["arch", *map(str, wanted)]
    return header, [list(row) for row in zip((str(g.arch) for g in given), *columns, strict=True)]


def figures_of_one(given: Given, devices: Sequence[str] = ()) -> Table:
    """What the surrogate benchmark says of one architecture, a row for each metric.

    Parameters
    ----------
    given
        The architecture.
    devices
        All by default.

    Returns
    -------
    header, rows
        Metric, unit, median, 0.1 and 0.9 quantile; these are empty where there is only a number.

    Raises
    ------
    InvalidInput
        The architecture is not of its space, the space has no figures, or a device is not known.
    """
    header, [[_, *medians]] = figures([given], devices=devices)
    bench, codes = _encoded([given])
    known = all_metrics(bench)
    rows = []
    for name, median in zip(header[1:], medians, strict=True):
        outer: list[Any] = ["", ""]
        if known[name].quantiles:
            outer = bench.quantiles(codes, name, levels=[0.1, 0.9])[0].tolist()
        rows.append([name, known[name].unit, median, *outer])
    return ["metric", "unit", "median", "p10", "p90"], rows


@dataclass(frozen=True)
class NamedFront:
    """A front, its architectures and a title."""

    front: Front
    archs: list[Architecture]
    title: str


def exact_front(
    name: str, objectives: list[str], constraints: list[str], best: int | None = None
) -> NamedFront:
    """The exact Pareto front of the surrogate benchmark.

    Raises
    ------
    InvalidInput
        The space has no figures, an objective is wrong, or no exact front is known for these.
    """
    bench = surrogate(name)
    wanted, kept = parse_objectives(objectives), parse_constraints(constraints)
    front = bench.front(wanted, kept)
    if front is None:
        why = "too many candidates; expected fewer objectives, or constraints that leave less"
        if any(len(o.devices) > 1 for o in wanted + kept):
            why = "a worst ratio is no sum over layers; expected one device an objective"
        asked = ", ".join(objectives + constraints)
        raise InvalidInput(f"no exact front is known for {asked}: {why}")
    title = f"{name}: {front.exactness}, {len(front)} networks"
    if best is not None:
        front = front.best(best)
        title += f", the best {len(front)}"
    return NamedFront(front, bench.space.decode(front.codes), title)


def _components(kind: registry.Kind, verbose: bool) -> Table:
    rows = []
    for name in registry.names(kind):
        try:
            cls = registry.lookup(kind, name)
        except HwnasError as error:
            rows.append([name, str(error)] + [""] * (2 * verbose))
            continue
        summary, reference = _documentation(cls)
        settings = ", ".join(
            key if p.default is inspect.Parameter.empty else f"{key}={p.default!r}"
            for key, p in registry.settings_of(cls).items()
        )
        rows.append([name, summary] + ([settings, reference] if verbose else []))
    header = ["name", "what it is"]
    return header + (["settings", "reference"] if verbose else []), rows


def _documentation(cls: type) -> tuple[str, str]:
    """First line and references of a class's docstring."""
    text = inspect.getdoc(cls) or ""
    _, _, reference = text.partition("References\n----------\n")
    return text.partition("\n")[0].rstrip("."), " ".join(reference.split())


def _spaces() -> Table:
    rows = []
    for name in GPT_SPACES:
        s = space(name)
        choices = (s.embed_dim, s.n_layer, s.mlp_ratio, s.n_head)
        rows.append([name, f"{s.size:.3g}", *(" ".join(map(str, c)) for c in choices)])
    return ["name", "networks", "embed_dim", "n_layer", "mlp_ratio", "n_head"], rows


def _devices(bench: Surrogate) -> Table:
    rows = []
    for name in bench.devices:
        what = device(name)
        ranges = [
            " to ".join(f"{float(f'{v:.3g}'):g}" for v in bench.range(f"{metric}@{name}"))
            for metric in ("latency", "energy")
        ]
        rows.append([name, what.kind, what.model, what.size, *ranges])
    on = bench.space.name
    return ["name", "kind", "model", "size", f"ms on {on}", f"mWh on {on}"], rows


def _metrics(bench: Surrogate) -> Table:
    rows = []
    for name, metric in all_metrics(bench).items():
        metric_name, at, device_name = name.partition("@")
        if not at or device_name == bench.devices[0]:
            shown = metric_name + ("@DEVICE" if at else "")
            rows.append(
                [shown, metric.unit, metric.cost, "p01 ... p99" if metric.quantiles else ""]
            )
    return ["name", "unit", "cost", "quantiles"], rows


def _by_device(values: Mapping[str, Any]) -> Table:
    """What is known by ``METRIC@DEVICE`` or ``METRIC@DEVICE:STATISTIC``, a row for each device."""
    rows: dict[str, dict[str, str]] = {}
    columns: dict[str, None] = {}  # in the order of their first use
    for key, value in values.items():
        metric, _, rest = key.partition("@")
        name, _, statistic = rest.partition(":")
        column = f"{metric} {_STATISTICS.get(statistic, statistic)}".rstrip()
        columns.setdefault(column)
        rows.setdefault(name, {})[column] = str(value)
    header = ["device", *columns]
    return header, [[name, *(row.get(c, "") for c in columns)] for name, row in rows.items()]


def _encoded(given: Sequence[Given]) -> tuple[Surrogate, Codes]:
    """The benchmark of the space of architectures, and their codes."""
    space_name = given[0].arch.space
    for one in given:
        if one.arch.space != space_name:
            raise InvalidInput(
                f"{one.place}: expected architectures of one space, {space_name!r} as in "
                f"{given[0].place}, found {one.arch.space!r}"
            )
    bench = surrogate(space_name)
    try:
        return bench, bench.space.encode([one.arch for one in given])
    except InvalidInput:
        for one in given:  # which of them?
            try:
                bench.space.encode([one.arch])
            except InvalidInput as error:
                raise InvalidInput(f"{one.place}: {error}") from None
        raise


def _wanted(bench: Surrogate, metrics: Sequence[str], devices: Sequence[str]) -> list[Objective]:
    """The metrics that are asked for, each of one device or none."""
    for name in devices:
        if name not in bench.devices:
            raise UnknownName("device", name, bench.devices)
    known = all_metrics(bench)
    everywhere = dict.fromkeys(name.partition("@")[0] for name in known)
    wanted: list[Objective] = []
    for text in metrics or everywhere:
        objective = Objective.parse(text)
        if objective != objective.value:
            raise InvalidInput(f"metric {text!r}: expected neither sign nor bound")
        if objective.devices or f"{objective.metric}@{bench.devices[0]}" not in known:
            wanted.append(objective)
        else:
            wanted += [replace(objective, devices=(name,)) for name in devices or bench.devices]
    return list(dict.fromkeys(wanted))
