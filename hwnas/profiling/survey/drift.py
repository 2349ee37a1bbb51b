"""What a survey has come to, and how far its device drifted meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hwnas.spaces.architecture import Architecture

Row = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Drift:
    """What the anchor's measurements of one metric say of the device.

    Attributes
    ----------
    metric, unit
        ``"latency@cuda"``, ``"ms"``.
    times
        How often it was measured.
    least, greatest
        In the metric's unit; NaN if it never was.
    spread
        From the least to the greatest, in % of the median.
    """

    metric: str
    unit: str
    times: int
    least: float
    greatest: float
    spread: float


@dataclass(frozen=True, slots=True)
class Summary:
    """What a survey has come to.

    Attributes
    ----------
    measured, failed
        Networks of the design.
    per_minute
        Networks measured a minute, those measured again and those that failed included; NaN before
        the first.
    drifts
        Of each metric.
    """

    measured: int
    failed: int
    per_minute: float
    drifts: tuple[Drift, ...]

    def table(self) -> tuple[list[str], list[list[str]]]:
        """The drifts for people: header, rows."""
        header = ["anchor's", "unit", "times", "least", "greatest", "spread %"]
        return header, [
            [
                d.metric,
                d.unit,
                str(d.times),
                f"{d.least:.5g}",
                f"{d.greatest:.5g}",
                f"{d.spread:.2f}",
            ]
            for d in self.drifts
        ]

    def __str__(self) -> str:
        return (
            f"{self.measured} networks measured, {self.failed} failed, {self.per_minute:.3g} a "
            "minute"
        )


def summary(rows: Sequence[Row], units: Mapping[str, str]) -> Summary:
    """What the rows of a survey come to; `units` has the metrics' units by name."""
    design, anchors = rows_of(rows, "design"), rows_of(rows, "anchor")
    measured = sum(row["status"] == "ok" for row in design)
    minutes = sum(float(row["seconds"]) for row in rows) / 60
    drifts = []
    for name, unit in units.items():
        values = np.array([float(row[name]) for row in anchors if row[name]] or [np.nan])
        least, greatest = float(values.min()), float(values.max())
        spread = 100 * (greatest - least) / float(np.median(values))
        times = int(np.isfinite(values).sum())
        drifts.append(Drift(name, unit, times, least, greatest, spread))
    per_minute = len(rows) / minutes if minutes else float("nan")
    return Summary(measured, len(design) - measured, per_minute, tuple(drifts))


def rows_of(rows: Sequence[Row], role: str) -> list[Row]:
    """The rows of a role, ``"anchor"`` or ``"design"``."""
    return [row for row in rows if row["role"] == role]


def told(row: Row, units: Mapping[str, str]) -> str:
    """A row for people, in one line; `units` has units of metrics by name."""
    arch = Architecture.parse(row["arch"])
    values = [f"{name} {float(row[name]):.4g} {units[name]}" for name in units if row.get(name)]
    said = ", ".join([*values, row["reason"]] if row["reason"] else values)
    return f"{arch.n_layer} layers of {arch.embed_dim}: {said}, {float(row['seconds']):.1f} s"
