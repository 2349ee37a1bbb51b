"""Errors of the surrogate against the published figures: measures, and a page of them.

The measures are of networks that the fit has not seen. A published distribution is known at nine
levels; it is taken as linear between them (crossing ones in order), and its outer pieces as going
on at the same slope.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

from hwnas.surrogates.quantiles import LEVELS, MEDIAN
from hwnas.typing import Array

Reduce = Callable[[list[float]], Any]

GRID = (np.arange(200) + 0.5) / 200  # levels at which a published distribution is integrated


@dataclass(frozen=True)
class Fidelity:
    """Accuracy of the predictions of one metric.

    Attributes
    ----------
    metric
        ``"latency@h100"``.
    error
        Mean absolute error of the median, in percent.
    in_noise
        The same in standard deviations of the published noise; NaN where there is none.
    kendall, kendall_within
        Rank correlation over all networks, and its mean within each embed_dim.
    all_levels
        Mean absolute error of the nine quantiles, in percent.
    coverage, coverage_within : (Q,), (E, Q)
        Probability that the published distributions put below each predicted quantile, over all
        networks and within each embed_dim.
    pinball
        Expected pinball loss of the predicted quantiles over that of the published ones.
    """

    metric: str
    error: float
    kendall: float
    kendall_within: float = np.nan
    in_noise: float = np.nan
    all_levels: float = np.nan
    coverage: Array = field(default_factory=lambda: np.full(len(LEVELS), np.nan))
    coverage_within: Array = field(default_factory=lambda: np.full((1, len(LEVELS)), np.nan))
    pinball: float = np.nan


def of_values(metric: str, values: Array, published: Array, widths: NDArray[np.int8]) -> Fidelity:
    """Fidelity of values (n,) to published ones (n,)."""
    overall, within = _kendall(values, published, widths)
    return Fidelity(metric, _percentage(values, published), overall, within)


def of_quantiles(
    metric: str, values: Array, published: Array, widths: NDArray[np.int8]
) -> Fidelity:
    """Fidelity of quantiles (n, 9) to published ones (n, 9); `widths` (n,) are embed_dim's."""
    published_values = published.astype(np.float64)
    median = published_values[:, MEDIAN]
    published = np.sort(published_values, axis=1)
    overall, within = _kendall(values[:, MEDIAN], median, widths)
    noise = (published[:, -1] - published[:, 0]) / 2.563  # of a normal distribution
    below = np.stack([probability(q, published) for q in values.T], axis=1)
    return Fidelity(
        metric,
        _percentage(values[:, MEDIAN], median),
        overall,
        within,
        float((np.abs(values[:, MEDIAN] - median) / noise).mean()),
        _percentage(values, published_values),
        below.mean(axis=0),
        np.stack([below[widths == e].mean(axis=0) for e in np.unique(widths)]),
        float(pinball(values, published).mean() / pinball(published, published).mean()),
    )


def probability(quantile: Array, published: Array) -> Array:
    """Probability (n,) that distributions with quantiles (n, 9) put below values (n,)."""
    rows = np.arange(len(published))
    k = np.clip((published <= quantile[:, None]).sum(axis=1) - 1, 0, len(LEVELS) - 2)
    low, high = published[rows, k], published[rows, k + 1]
    step = np.maximum(high - low, 1e-12 * np.abs(high))
    levels = np.array(LEVELS)[k] + (quantile - low) / step * (LEVELS[1] - LEVELS[0])
    return np.asarray(np.clip(levels, 0, 1))


def pinball(quantiles: Array, published: Array) -> Array:
    """Expected pinball loss (n, 9) of quantiles (n, 9) under distributions (n, 9)."""
    k = np.clip(np.searchsorted(LEVELS, GRID) - 1, 0, len(LEVELS) - 2)
    weight = (GRID - np.array(LEVELS)[k]) / (LEVELS[1] - LEVELS[0])
    draws = published[:, k] + weight * (published[:, k + 1] - published[:, k])
    out = np.empty_like(quantiles)
    for j, level in enumerate(LEVELS):
        over = draws - quantiles[:, [j]]
        out[:, j] = np.maximum(level * over, (level - 1) * over).mean(axis=1)
    return out


def _percentage(values: Array, published: Array) -> float:
    return 100 * float(np.abs(values / published.astype(np.float64) - 1).mean())


def _kendall(values: Array, published: Array, widths: NDArray[np.int8]) -> tuple[float, float]:
    def tau(rows: NDArray[np.bool_]) -> float:
        return float(kendalltau(values[rows], published[rows]).statistic)

    each = [tau(widths == e) for e in np.unique(widths)]
    return tau(np.ones(len(values), dtype=bool)), float(np.mean(each))


Fidelities = Mapping[str, Sequence[Fidelity]]
Row = tuple[str, Sequence[float], int, str]  # name, one value a scale, digits, what is wanted


def overview(fidelities: Fidelities, wanted: Mapping[str, str]) -> list[str]:
    """The lines of the table of all scales, each with what is wanted of it."""
    rows: list[Row] = []
    for metric in ("perplexity", "float16_memory", "bfloat16_memory"):
        metric_fidelities = [
            next(f for f in fidelities[s] if f.metric == metric) for s in fidelities
        ]
        rows.append((f"{metric}, error %", [f.error for f in metric_fidelities], 3, ""))
    for kind in ("latency", "energy"):
        rows += _of_kind(
            kind, [[f for f in fidelities[s] if f.metric.startswith(kind)] for s in fidelities]
        )
    lines = [
        "| | " + " | ".join(fidelities) + " | wanted |",
        "|---|" + "---:|" * len(fidelities) + "---|",
    ]
    for name, values, digits, want in rows:
        cells = " | ".join(f"{v:.{digits}f}" for v in values)
        lines.append(f"| {name} | {cells} | {wanted.get(name, want)} |")
    return lines


def _of_kind(kind: str, scales: Sequence[Sequence[Fidelity]]) -> list[Row]:
    """The rows of latency or energy; `scales` has a list of devices for each."""

    def row(
        name: str, value: Callable[[Fidelity], float], over: Reduce, digits: int = 3, want: str = ""
    ) -> Row:
        values = [float(over([value(f) for f in devices])) for devices in scales]
        return (f"{kind}, {name}", values, digits, want)

    def off(f: Fidelity) -> float:
        return float(np.abs(f.coverage - np.array(LEVELS)).max())

    def off_on_average(f: Fidelity) -> float:
        return float(np.abs(f.coverage - np.array(LEVELS)).mean())

    def off_within(f: Fidelity) -> float:
        return float(np.abs(f.coverage_within - np.array(LEVELS)).max())

    bounds = {"latency": ("0.94", "0.88"), "energy": ("0.89", "0.848")}[kind]
    return [
        row("error %, mean of devices", lambda f: f.error, np.mean),
        row("error %, worst device", lambda f: f.error, np.max),
        row("error in deviations of the noise, mean", lambda f: f.in_noise, np.mean),
        row("error % of all nine quantiles, mean", lambda f: f.all_levels, np.mean),
        row("Kendall, worst device", lambda f: f.kendall, np.min, want=f"at least {bounds[0]}"),
        row(
            "Kendall within an embed_dim, mean",
            lambda f: f.kendall_within,
            np.mean,
            want=f"at least {bounds[1]}",
        ),
        row("coverage off by, mean", off_on_average, np.mean, 4, "at most 0.01"),
        row("coverage off by, any device and level", off, np.max, 4, "at most 0.03"),
        row("coverage off by, any embed_dim", off_within, np.max, 4, "at most 0.05"),
        row("pinball loss over the least, mean", lambda f: f.pinball, np.mean, 4, "at most 1.02"),
        row("pinball loss over the least, worst", lambda f: f.pinball, np.max, 4, ""),
    ]


def by_device(fidelities: Fidelities, kind: str) -> list[str]:
    """The lines of latency or energy, device by device."""
    heads = [f"{s} {measure}" for s in fidelities for measure in ("error %", "in noise", "Kendall")]
    lines = ["| device | " + " | ".join(heads) + " |", "|---|" + "---:|" * len(heads)]
    scales = [[f for f in fidelities[s] if f.metric.startswith(kind)] for s in fidelities]
    for same in zip(*scales, strict=True):
        cells = [f"{f.error:.2f} | {f.in_noise:.2f} | {f.kendall:.3f}" for f in same]
        lines.append(f"| {same[0].metric.partition('@')[2]} | " + " | ".join(cells) + " |")
    return lines
