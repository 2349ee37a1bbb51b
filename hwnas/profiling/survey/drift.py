"""Summary of a survey, and the drift of its device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hwnas.spaces.architecture import split_string

Row = Mapping[str, str]  # from column to string


@dataclass(frozen=True, slots=True)
class Drift:
    """Variation of one metric over the repeated measurements of the anchor.

    Attributes
    ----------
    metric, unit
        ``"latency@cuda"``, ``"ms"``.
    count
        Number of measurements.
    minimum, maximum
        Extremes in the unit of the metric; NaN if there are no measurements.
    spread
        Difference of the extremes, in % of the median.
    """

    metric: str
    unit: str
    count: int
    minimum: float
    maximum: float
    spread: float


@dataclass(frozen=True, slots=True)
class Summary:
    """Summary of a survey.

    Attributes
    ----------
    measured, failed
        Numbers of architectures of the design.
    per_minute
        Architectures per minute, including repeated and failed measurements; NaN before the first.
    drifts
        Drift of each metric.
    imprecise
        Number of values that missed the requested precision.
    """

    measured: int
    failed: int
    per_minute: float
    drifts: tuple[Drift, ...]
    imprecise: int = 0

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return the drifts as a table: its header and its rows."""
        header = ["anchor's", "unit", "count", "min", "max", "spread %"]
        return header, [
            [
                drift.metric,
                drift.unit,
                str(drift.count),
                f"{drift.minimum:.5g}",
                f"{drift.maximum:.5g}",
                f"{drift.spread:.2f}",
            ]
            for drift in self.drifts
        ]

    def __str__(self) -> str:
        text = (
            f"{self.measured} architectures measured, {self.failed} failed, "
            f"{self.per_minute:.3g} per minute"
        )
        if self.imprecise:
            text += f"; {self.imprecise} values missed the requested precision (column imprecise)"
        return text


def summarize(rows: Sequence[Row], units: Mapping[str, str]) -> Summary:
    """Summarize the rows of a survey.

    Parameters
    ----------
    rows
        Rows of the CSV file.
    units
        Units of the metrics, by name.

    Examples
    --------
    >>> row = {"role": "anchor", "status": "ok", "seconds": "6", "latency@cpu": "2.0"}
    >>> summarize([row, {**row, "latency@cpu": "2.1"}], {"latency@cpu": "ms"}).drifts[0].maximum
    2.1
    """
    design, anchors = rows_with_role(rows, "design"), rows_with_role(rows, "anchor")
    measured = sum(row["status"] == "ok" for row in design)
    minutes = sum(float(row["seconds"]) for row in rows) / 60
    # Drift of each metric over the anchor's rows; failed measurements have empty cells.
    drifts = []
    for name, unit in units.items():
        values = np.array([float(row[name]) for row in anchors if row[name]] or [np.nan])
        minimum, maximum = float(values.min()), float(values.max())
        spread = 100 * (maximum - minimum) / float(np.median(values))
        count = int(np.isfinite(values).sum())
        drifts.append(Drift(name, unit, count, minimum, maximum, spread))
    per_minute = len(rows) / minutes if minutes else float("nan")
    imprecise = sum(len(_imprecise(row)) for row in rows)
    return Summary(measured, len(design) - measured, per_minute, tuple(drifts), imprecise)


def rows_with_role(rows: Sequence[Row], role: str) -> list[Row]:
    """Return the rows of a role, ``"anchor"`` or ``"design"``."""
    return [row for row in rows if row["role"] == role]


def describe_row(row: Row, units: Mapping[str, str]) -> str:
    """Return a row as one line of text; `units` has the units of the metrics by name.

    Values that missed the requested precision are marked.
    """
    _, (n_layer, embed_dim, *_), _ = split_string(row["arch"], "")
    mark = dict.fromkeys(_imprecise(row), " (imprecise)")
    values = [
        f"{name} {float(row[name]):.4g} {units[name]}{mark.get(name, '')}"
        for name in units
        if row.get(name)
    ]
    description = ", ".join([*values, row["reason"]] if row["reason"] else values)
    return f"{n_layer} layers of {embed_dim}: {description}, {float(row['seconds']):.1f} s"


def _imprecise(row: Row) -> list[str]:
    """Return the metrics whose values in a row missed the requested precision."""
    return row.get("imprecise", "").split()
