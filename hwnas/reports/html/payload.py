"""Payload of a report: all that the page of a run shows, as plain data."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np

from hwnas.objectives import Objective
from hwnas.reports.html.comparison_payload import comparison_payload
from hwnas.reports.html.search_payload import (
    ArchitectureIndex,
    failure_notes,
    failures_payload,
    known_front_payload,
    optimizer_names,
    optimizer_notes,
    round_number,
    searches_payload,
    union_payload,
)
from hwnas.reports.html.space_payload import member_size, members_payload, space_payload
from hwnas.reports.plots import style, trajectories
from hwnas.reports.summary_table import search_notes, summary_table, table_notes
from hwnas.runner.environment import read_environment
from hwnas.runner.results import Result
from hwnas.runner.summary import slack_column
from hwnas.typing import Array, IndexArray

MAX_TRIALS = 60_000  # of all searches; with more the page would open slowly

_MAX_CHARACTERS = 6_000_000  # of all architectures, one for each column
_MAX_POINTS = 600  # of a trajectory; more would fall on the same pixels
_FORMATS = {
    "hypervolume": "#.6g",
    "normalised": ".4f",
    "normalised_measured": ".4f",
    "igd_plus": ".4f",
    "epsilon": ".4f",
    "seconds": ".2f",
}


def report_payload(result: Result, *, trials: int = MAX_TRIALS) -> dict[str, Any]:
    """Return all that a report shows of a run, as lists, numbers and texts.

    Numbers have six significant digits; whole numbers are exact. A missing value is ``None``.

    Parameters
    ----------
    result
        The run.
    trials
        Maximum number of trials of all searches. If there are more, trials on fronts are selected
        first, then others evenly; ``of`` has the full count. In a space with very many columns the
        maximum is lower, so that the page still opens.

    Returns
    -------
    dict
        Keys that ``report.html`` reads. ``networks`` has the code of every architecture once, a
        character for each column; elsewhere an architecture is its index in ``networks``. So it is
        in ``texts``, the names of architectures that do not follow from their choices.
    """
    limit = max(1, min(trials, _MAX_CHARACTERS // member_size(result.space)))
    # Architectures get their indices in the order in which these three add them.
    architectures = ArchitectureIndex()
    searches, members = searches_payload(result, architectures, limit)
    known_front = known_front_payload(result, architectures, limit)
    failures = failures_payload(result, architectures)
    return {
        "name": result.experiment.name,
        "space": space_payload(result.space),
        "noise": result.experiment.noise,
        "warm_start": result.experiment.warm_start,
        "band": trajectories.band_name(result),
        "standard": result.standard,
        "objectives": [_objective_payload(objective, result) for objective in result.objectives],
        "constraints": [_objective_payload(bounded, result) for bounded in result.constraints],
        "optimizers": [
            {"name": name, "look": _look_payload(i), "note": note}
            for i, (name, note) in enumerate(
                zip(optimizer_names(result), optimizer_notes(result), strict=True)
            )
        ],
        "searches": searches,
        "union": union_payload(result, members),
        "known": known_front,
        **members_payload(result.space, architectures.codes(result.space)),
        "curves": _curves_payload(result),
        "bound": _bound_payload(result),
        "floor": round_number(trajectories.floor(result)),
        # Tables are formatted here, so that the page and the command line agree.
        "overview": _table_payload(*summary_table(result)),
        "overview_notes": table_notes(result),
        "seeds": _table_payload(*_seed_table(result)),
        "notes": search_notes(result),
        "comparison": comparison_payload(result),
        "failed": failure_notes(result),
        "failures": failures,
        "settings": result.experiment.to_yaml(),
        "environment": _environment_rows(result),
    }


def _look_payload(index: int) -> dict[str, Any]:
    """Return the style of an optimizer in plots, in terms of a canvas."""
    look = style.line_style(index)
    # Matplotlib has "-" or (offset, lengths); a canvas needs the lengths.
    dash = look["linestyle"]
    return {
        "colour": look["color"],
        "mark": look["marker"],
        "dash": [] if isinstance(dash, str) else list(dash[1]),
    }


def _objective_payload(objective: Objective, result: Result) -> dict[str, Any]:
    """Return name, unit, direction, bound and meaning of an objective or constraint."""
    return {
        "name": str(objective),
        "value": str(objective.value),
        "unit": style.unit(objective, result.units),
        "maximise": objective.maximise,
        "relation": objective.relation,
        "bound": objective.bound,
        "meaning": _meaning(objective, result),
    }


def _meaning(objective: Objective, result: Result) -> str:
    """Return how the metric of an objective was measured; empty where this is not known here."""
    metric = result.metrics.get(str(objective.value))
    meaning = metric.meaning if metric is not None else ""
    parts = [f"{objective.level:g} quantile" if objective.level is not None else "", meaning]
    if len(objective.devices) > 1:
        parts.insert(0, "worst ratio to each device's own optimum")
    return "; ".join(filter(None, parts))


def _curves_payload(result: Result) -> dict[str, Any]:
    """Return mean and band of each optimizer's normalized hypervolume, by kind of x axis."""
    payload: dict[str, Any] = {}
    for x, label in trajectories.PROGRESS.items():
        # A surrogate answers at once: without costs there is no such axis.
        if x == "cost" and not trajectories.has_costs(result):
            continue
        lines = [_line_payload(result, optimizer, x) for optimizer in optimizer_names(result)]
        payload[x] = {"label": label, "lines": lines}
    return payload


def _line_payload(result: Result, optimizer: str, x: str) -> dict[str, Any]:
    """Return mean and band of one optimizer over one kind of x axis.

    ``measured`` is the end of the curve for measured members of fronts alone, where it differs.
    """
    xs, hypervolumes = trajectories.curves(result, optimizer, x)
    line: dict[str, Any] = {"at": [], "mean": [], "low": [], "high": [], "measured": None}
    if len(xs):
        points = _log_spaced_points(xs)
        low, high = trajectories.band(hypervolumes, trajectories.has_enough_seeds(result))
        # Seven decimals resolve the logarithmic scale of 1 - normalized.
        line["at"] = [round_number(value) for value in xs[points].tolist()]
        for name, values in (("mean", hypervolumes.mean(axis=0)), ("low", low), ("high", high)):
            line[name] = values[points].round(7).tolist()
        line["measured"] = trajectories.measured_end(result, optimizer)
    return line


def _log_spaced_points(xs: Array) -> IndexArray:
    """Return indices of increasing values (k,) to draw on a logarithmic axis, with the last."""
    if len(xs) <= _MAX_POINTS:
        return np.arange(len(xs))
    # Equal steps on a logarithmic axis are equal distances in pixels.
    nearest = np.searchsorted(xs, np.geomspace(xs[0], xs[-1], _MAX_POINTS)[:-1])
    return np.unique(np.append(nearest, len(xs) - 1))


def _bound_payload(result: Result) -> dict[str, Any] | None:
    """Return the bound on hypervolume by number of evaluations, where it is known."""
    values = result.bound[: trajectories.last_evaluation(result)]
    if not len(values):
        return None
    return {"name": trajectories.bound_name(result), "values": values.round(7).tolist()}


def _seed_table(result: Result) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of ``summary.csv``, with rounded numbers."""
    columns = list(result.summary_columns)
    forms = {**_FORMATS, **{slack_column(constraint): "+.6g" for constraint in result.constraints}}
    return columns, [
        [format(row[name], forms.get(name, "")) for name in columns] for row in result.summary
    ]


def _table_payload(header: list[str], rows: list[list[str]]) -> dict[str, Any]:
    return {"header": header, "rows": rows}


def _environment_rows(result: Result) -> list[list[str]]:
    """Return the rows of ``environment.json``, nested keys with dots; none if unreadable."""
    environment = read_environment(result.path)  # a damaged one must not prevent the report
    environment.pop("metrics", None)  # they are on the page already
    return [*_flatten("", environment)] if environment else []


def _flatten(key: str, value: Any) -> Iterable[list[str]]:
    """Yield key and text of each leaf of nested dictionaries."""
    if isinstance(value, dict) and value:
        for name, content in value.items():
            yield from _flatten(f"{key}.{name}" if key else name, content)
    else:
        yield [key, value if isinstance(value, str) else json.dumps(value)]
