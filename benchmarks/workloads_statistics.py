"""Repeatability, additivity and rank correlation of measured networks, for ``workloads.py``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from workloads_pieces import aligned
from workloads_rows import CARDS, ENERGIES, TIMES, Row

import hwnas
from hwnas.spaces import LanguageModelSpace
from hwnas.typing import Array

METRICS = (*TIMES, *ENERGIES)
_SPARE = 2  # networks of a width beyond the coefficients that a model has
_MIN_SHARED = 30  # networks of which a correlation says something


@dataclass(frozen=True)
class Measured:
    """Networks of one space that were measured on one card.

    Attributes
    ----------
    space
        The space.
    rows
        All of their rows.
    archs
        The n architectures, in the order of the sample.
    values
        Medians over the aligned pieces by metric, (n,) float64; NaN where there are none.
    """

    space: LanguageModelSpace
    rows: Sequence[Row]
    archs: list[Any]
    values: dict[str, Array]

    @property
    def widths(self) -> Array:
        """The ``embed_dim`` of each network, (n,)."""
        return np.array([arch.embed_dim for arch in self.archs])

    @property
    def pieces(self) -> list[int]:
        """Numbers of the pieces in which they were measured."""
        return sorted({int(row["piece"]) for row in self.rows})


def main_card(rows: Sequence[Row]) -> str:
    """Return the first of `CARDS` among rows, else the card of most: cards are not mixed."""
    counts = Counter(row["card"] for row in rows)
    return next((card for card in CARDS if card in counts), counts.most_common(1)[0][0])


def measured(name: str, rows: Sequence[Row]) -> Measured:
    """Return the networks of one space from its rows, at least one, of their main card."""
    card = main_card(rows)
    rows = [row for row in rows if row["card"] == card]
    space = hwnas.space(name)
    assert isinstance(space, LanguageModelSpace)
    by_arch: dict[str, list[Row]] = {}
    for row in sorted(aligned(rows), key=lambda row: int(row["index"])):
        by_arch.setdefault(row["arch"], []).append(row)
    values = {
        metric: np.array([_median(_numbers(group, metric)) for group in by_arch.values()])
        for metric in METRICS
    }
    return Measured(space, rows, space.decode(space.encode(list(by_arch))), values)


@dataclass(frozen=True, slots=True)
class Repeatability:
    """Agreement of the anchors of later pieces with those of the first one.

    Attributes
    ----------
    count
        Number of values that were measured again.
    median, worst
        Relative distances from the value of the first piece.
    shift
        Largest relative shift of a piece: the median of its anchors' signed distances.
    """

    count: int
    median: float
    worst: float
    shift: float


def repeatability(networks: Measured, metric: str) -> Repeatability | None:
    """Return the repeatability of a metric; ``None`` where nothing was measured again."""
    anchors: dict[str, dict[int, float]] = {}
    for row in networks.rows:
        if row["anchor"] and row[metric]:
            anchors.setdefault(row["arch"], {})[int(row["piece"])] = float(row[metric])
    off: dict[int, list[float]] = {}
    for by_piece in anchors.values():
        first = min(by_piece)
        for piece in by_piece.keys() - {first}:
            off.setdefault(piece, []).append(by_piece[piece] / by_piece[first] - 1)
    if not off:
        return None
    distances = np.abs(np.concatenate([*off.values()]))
    shift = max((float(np.median(values)) for values in off.values()), key=abs)
    return Repeatability(len(distances), float(np.median(distances)), float(distances.max()), shift)


def features(archs: Sequence[Any]) -> Array:
    """Return what the linear model of one width is linear in, (n, 5) or (n, 6) float64.

    A constant, ``n_layer``, the sum of the MLPs' ratios or widths, the sum of heads, for Llama
    that of the heads of keys and values, and ``bias`` or ``tied``.
    """
    rows: list[tuple[int, ...]]
    if hasattr(archs[0], "mlp_ratio"):
        rows = [(1, a.n_layer, sum(a.mlp_ratio), sum(a.n_head), a.bias) for a in archs]
    else:
        rows = [
            (1, a.n_layer, sum(a.mlp_dim), sum(a.n_head), sum(a.n_kv_head), a.tied) for a in archs
        ]
    return np.array(rows, dtype=np.float64)


def held_out_error(networks: Measured, metric: str) -> float:
    """Return the mean relative leave-one-out error of a linear model for each width.

    Returns
    -------
    float
        NaN where a width has too few networks.
    """
    errors = []
    for width in np.unique(networks.widths):
        x, y = of_width(networks, metric, width)
        if not is_enough(x):
            return float("nan")
        errors.append(np.abs(leave_one_out(x, y) / y))
    return float(np.nanmean(np.concatenate(errors)))


def first_layer_errors(networks: Measured, metric: str) -> tuple[float, float]:
    """Return held-out errors of linear models without and with the heads of the first layer.

    The models of all widths are fitted together, to relative errors, so that the effect of the
    first layer, one for each of its numbers of heads, is that of all of them.

    Returns
    -------
    (2,) float64
        Mean relative leave-one-out errors.
    """
    mask = np.isfinite(networks.values[metric])
    archs, y = (
        [arch for arch, k in zip(networks.archs, mask, strict=True) if k],
        networks.values[metric][mask],
    )
    rows, widths = features(archs), networks.widths[mask]
    plain = np.concatenate([rows * (widths == w)[:, None] for w in np.unique(widths)], axis=1)
    firsts = [(arch.n_head[0], *getattr(arch, "n_kv_head", ())[:1]) for arch in archs]
    kinds = sorted(set(firsts))[1:]  # the effect of the first kind is that of the constants
    effects = np.array([[first == kind for kind in kinds] for first in firsts], dtype=np.float64)
    errors = [
        np.abs(leave_one_out(x / y[:, None], np.ones(len(y))))
        for x in (plain, np.concatenate([plain, effects], axis=1))
    ]
    return float(np.nanmean(errors[0])), float(np.nanmean(errors[1]))


def residuals(networks: Measured, metric: str) -> dict[str, float]:
    """Return relative leave-one-out errors of the linear models of all widths, by architecture.

    Widths with too few networks have none.
    """
    found: dict[str, float] = {}
    for width in np.unique(networks.widths):
        x, y = of_width(networks, metric, width)
        if is_enough(x):
            chosen = (networks.widths == width) & np.isfinite(networks.values[metric])
            archs = [str(networks.archs[k]) for k in np.flatnonzero(chosen)]
            found |= dict(zip(archs, (leave_one_out(x, y) / y).tolist(), strict=True))
    return {arch: error for arch, error in found.items() if np.isfinite(error)}


def residual_correlation(first: Measured, second: Measured, metric: str) -> tuple[int, float]:
    """Return how many networks two cards have measured, and the correlation of their residuals.

    What is the networks' own is alike on both cards, what is noise is not.
    """
    a, b = residuals(first, metric), residuals(second, metric)
    shared = sorted(a.keys() & b.keys())
    if len(shared) < _MIN_SHARED:
        return len(shared), float("nan")
    pair = np.array([[a[arch], b[arch]] for arch in shared])
    return len(shared), float(np.corrcoef(pair.T)[0, 1])


def of_width(networks: Measured, metric: str, width: float) -> tuple[Array, Array]:
    """Return features (k, p) and values (k,) of the networks of one width with a value."""
    values = networks.values[metric]
    chosen = np.flatnonzero((networks.widths == width) & np.isfinite(values))
    x = features(networks.archs)[chosen]
    return x, values[chosen]


def is_enough(x: Array) -> bool:
    """Return whether features (k, p) determine a linear model, with networks to spare."""
    k, p = x.shape
    return bool(k >= p + _SPARE and np.linalg.matrix_rank(x) == p)


def leave_one_out(x: Array, y: Array) -> Array:
    """Return the errors of least-squares predictions of each value from all others.

    Parameters
    ----------
    x : (k, p) float64
        Features of full rank.
    y : (k,) float64
        Values.

    Returns
    -------
    (k,) float64
        Residuals over one minus the leverage (Hastie et al. 2009, equation 7.64); NaN for a value
        on which a coefficient rests alone.

    Examples
    --------
    The mean of the other two:

    >>> leave_one_out(np.ones((3, 1)), np.array([1.0, 2.0, 6.0])).round(6).tolist()
    [-3.0, -1.5, 4.5]
    """
    q, _ = np.linalg.qr(x)
    leverage = (q**2).sum(axis=1)
    residuals = y - q @ (q.T @ y)
    # A network that alone determines a coefficient has a leverage of 1: the others predict nothing.
    return np.asarray(residuals / np.where(leverage > 1 - 1e-9, np.nan, 1 - leverage))


def rank_correlation(networks: Measured, a: str, b: str) -> tuple[float, float]:
    """Return Kendall's tau-b of two metrics over all networks, and its mean within a width.

    The mean weighs widths by their numbers of networks. NaN where fewer than ten have both values.
    """
    # A machine with a GPU alone has no Matplotlib.
    from hwnas.reports.plots.correlation import kendall_tau

    points = np.column_stack([networks.values[a], networks.values[b]])
    mask = np.isfinite(points).all(axis=1)
    if mask.sum() < 10:
        return float("nan"), float("nan")
    points, widths = points[mask], networks.widths[mask]
    taus, counts = [], []
    for width in np.unique(widths):
        inside = points[widths == width]
        if len(inside) > 2:
            taus.append(kendall_tau(inside)[0, 1])
            counts.append(len(inside))
    within = float(np.average(taus, weights=counts)) if taus else float("nan")
    return float(kendall_tau(points)[0, 1]), within


def _numbers(rows: Sequence[Row], metric: str) -> list[float]:
    return [float(row[metric]) for row in rows if row[metric]]


def _median(numbers: Sequence[float]) -> float:
    return float(np.median(numbers)) if numbers else float("nan")
