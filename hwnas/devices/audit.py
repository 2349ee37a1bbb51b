"""Audit of a front: predicted values of its members against measured ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hwnas import pareto
from hwnas.distributions import kendall_tau
from hwnas.fronts import reference_point
from hwnas.typing import Array, BoolArray, IndexArray

LEVEL = 0.95  # of intervals
_REACH = 1.96  # standard errors within which the order of two members is contested
_RESAMPLES = 1000

# Measures metrics, by their columns, of the member at an index: values and standard errors (k,),
# NaN where one could not be measured.
Measure = Callable[[int, Sequence[int]], tuple[Array, Array]]


@dataclass(frozen=True, eq=False)
class Measured:
    """Measured values of the members of a front.

    Attributes
    ----------
    values, std : (n, k)
        Means over repeated measurements and their standard errors; NaN where there are none.
    counts : (n, k) intp
        Numbers of measurements.
    """

    values: Array
    std: Array
    counts: IndexArray


@dataclass(frozen=True)
class Agreement:
    """Agreement of the predicted values of one metric with the measured ones.

    Attributes
    ----------
    count
        Number of members.
    kendall, low, high
        Kendall's rank correlation and its 95 % bootstrap interval; NaN with fewer than 3 members.
    error, bias
        Mean of the absolute, and of the signed, relative error of the predictions.
    contested
        Number of members whose order among the measured is within their noise.
    """

    count: int
    kendall: float
    low: float
    high: float
    error: float
    bias: float
    contested: int


def agreement(predicted: Array, measured: Array, std: Array, rng: np.random.Generator) -> Agreement:
    """Compare predicted with measured values of one metric.

    Parameters
    ----------
    predicted, measured, std : (n,)
        Positive values, and standard errors of the measured ones. Members with NaN are left out.
    rng
        Random numbers of the bootstrap.

    Examples
    --------
    >>> values = np.array([1.0, 2.0, 4.0])
    >>> found = agreement(1.1 * values, values, 0.01 * values, np.random.default_rng(0))
    >>> found.kendall, round(found.error, 3), round(found.bias, 3), found.contested
    (1.0, 0.1, 0.1, 0)
    """
    rows = np.isfinite(predicted) & np.isfinite(measured)
    x, y, noise = predicted[rows], measured[rows], std[rows]
    errors = x / y - 1
    low, high = kendall_interval(x, y, rng)
    return Agreement(
        count=len(x),
        kendall=_kendall(x, y),
        low=low,
        high=high,
        error=float(abs(errors).mean()) if len(x) else math.nan,
        bias=float(errors.mean()) if len(x) else math.nan,
        contested=int(contested(y, noise).sum()),
    )


def kendall_interval(
    first: Array, second: Array, rng: np.random.Generator, level: float = LEVEL
) -> tuple[float, float]:
    """Return a percentile bootstrap interval of Kendall's tau-b of pairs (n,).

    Pairs are resampled; equal copies of one pair count neither for nor against. NaN with fewer
    than 3 pairs.

    Examples
    --------
    >>> low, high = kendall_interval(np.arange(5.0), -np.arange(5.0), np.random.default_rng(0))
    >>> round(low, 6), round(high, 6)
    (-1.0, -1.0)
    """
    n = len(first)
    if n < 3:
        return math.nan, math.nan
    draws = rng.integers(n, size=(_RESAMPLES, n))
    taus = np.array([_kendall(first[rows], second[rows]) for rows in draws])
    taus = taus[np.isfinite(taus)]  # one pair drawn n times has no order
    if not len(taus):
        return math.nan, math.nan
    low, high = np.quantile(taus, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def contested(values: Array, std: Array) -> BoolArray:
    """Return a mask (n,) of the members whose order with another one is within noise.

    Two members are contested if their values differ by less than 1.96 standard errors of the
    difference.

    Parameters
    ----------
    values, std : (n,)
        Measured values and their standard errors; NaN is never contested.

    Examples
    --------
    >>> contested(np.array([1.0, 1.1, 2.0]), np.array([0.1, 0.1, 0.1])).tolist()
    [True, True, False]
    """
    gaps = abs(values[:, None] - values[None])
    is_close = gaps < _REACH * np.hypot(std[:, None], std[None])
    np.fill_diagonal(is_close, False)
    return np.asarray(is_close.any(axis=1))


def combine(values: Sequence[float], std: Sequence[float]) -> tuple[float, float]:
    """Return the mean of repeated measurements, weighted by precision, and its standard error.

    Where repeats scatter more than their standard errors say, as on a machine that drifts, the
    standard error of the mean is enlarged accordingly (Birge 1932).

    Examples
    --------
    >>> combine([1.0, 3.0], [2.0, 2.0])[0], combine([1.0, 1.0], [2.0, 2.0])[1] < 2
    (2.0, True)
    """
    x, s = np.array(values, dtype=np.float64), np.array(std, dtype=np.float64)
    if len(x) == 1 or not (s > 0).all():
        mean = float(x.mean())
        scatter = float(x.std(ddof=1)) / len(x) ** 0.5 if len(x) > 1 else 0.0
        return mean, max(scatter, float(s.max()) / len(x) ** 0.5)
    weights = 1 / s**2
    mean = float(np.average(x, weights=weights))
    birge = float((weights * (x - mean) ** 2).sum() / (len(x) - 1)) ** 0.5
    return mean, float(weights.sum() ** -0.5) * max(1.0, birge)


def measure_members(
    n: int, k: int, measure: Measure, rng: np.random.Generator, repeats: int = 2
) -> Measured:
    """Measure all members once, and again those whose order is contested within noise.

    Parameters
    ----------
    n, k
        Numbers of members and of metrics.
    measure
        Called with a member and the columns to measure. A KeyboardInterrupt that it raises ends
        the measurements; those that are finished are returned.
    rng
        Random numbers of the order, so that drift of the machine is not taken for one of a front.
    repeats
        Most further measurements of one member.

    Examples
    --------
    >>> def measure(member, columns):
    ...     return np.full(1, 1.0 + member), np.full(1, 0.1)
    >>> measure_members(3, 1, measure, np.random.default_rng(0)).counts.ravel().tolist()
    [1, 1, 1]
    """
    samples: list[list[list[tuple[float, float]]]] = [[[] for _ in range(k)] for _ in range(n)]
    open_cells = np.ones((n, k), dtype=bool)
    try:
        for _ in range(1 + repeats):
            rows = np.flatnonzero(open_cells.any(axis=1))
            for i in rng.permutation(rows).tolist():
                columns = np.flatnonzero(open_cells[i]).tolist()
                for j, value, std in zip(columns, *measure(i, columns), strict=True):
                    if math.isfinite(value):
                        samples[i][j].append((float(value), float(std)))
            summary = _summary(samples)
            pairs = [contested(summary.values[:, j], summary.std[:, j]) for j in range(k)]
            open_cells = np.stack(pairs, axis=1)
    except KeyboardInterrupt:
        pass
    return _summary(samples)


def hypervolume_change(predicted: Array, measured: Array) -> float:
    """Return the hypervolume won (positive) or lost, relative to that of the predictions.

    The reference point is that of the points of both.

    Parameters
    ----------
    predicted, measured : (n, m)
        Losses of the same members, to be minimized, finite.

    Examples
    --------
    >>> front = np.array([[1.0, 2.0], [2.0, 1.0]])
    >>> hypervolume_change(front, front), hypervolume_change(front, front + [0.5, 0]) < 0
    (0.0, True)
    """
    if not len(predicted):
        return math.nan
    reference = reference_point(np.concatenate([predicted, measured]))
    volume_predicted, volume_measured = (
        pareto.hypervolume(points, reference) for points in (predicted, measured)
    )
    return volume_measured / volume_predicted - 1 if volume_predicted > 0 else math.nan


def spread_members(values: Array, count: int) -> IndexArray:
    """Return at most `count` members evenly spread over the order of values (n,), with both ends.

    Examples
    --------
    >>> spread_members(np.array([5.0, 1, 4, 2, 3]), 3).tolist()
    [1, 4, 0]
    """
    order = np.argsort(values, kind="stable")
    positions = np.linspace(0, len(order) - 1, min(count, len(order)))
    return order[np.round(positions).astype(np.intp)]


def _kendall(first: Array, second: Array) -> float:
    """Return Kendall's tau-b, NaN where it is not defined."""
    return math.nan if len(first) < 2 else kendall_tau(first, second)


def _summary(samples: Sequence[Sequence[Sequence[tuple[float, float]]]]) -> Measured:
    """Return means and standard errors of the measurements of each member and metric."""
    counts = np.array([[len(cell) for cell in row] for row in samples], dtype=np.intp)
    values, std = np.full(counts.shape, np.nan), np.full(counts.shape, np.nan)
    for i, j in zip(*np.nonzero(counts), strict=True):
        xs, errors = zip(*samples[i][j], strict=True)
        values[i, j], std[i, j] = combine(xs, errors)
    return Measured(values, std, counts)
