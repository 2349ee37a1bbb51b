"""Fitted figures of one space and metric, with what their errors are on unseen architectures."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from hwnas.devices.fit import FittedMetric, fit_tables
from hwnas.devices.fit_prior import Prior
from hwnas.devices.groups import average_repeats, limit_points, subset
from hwnas.devices.measurements import Measurements
from hwnas.distributions import kendall_tau
from hwnas.errors import InvalidInput
from hwnas.surrogates.device_file import DeviceFigure
from hwnas.surrogates.tables import AdditiveTable
from hwnas.typing import Array, Codes

LEVEL = 0.9  # of the intervals whose coverage is told
_MIN_VALIDATED = 10  # architectures from which some are left out
_FOLDS = 5
_MANY = 200  # architectures above which one fold is enough
_SAMPLE = 200  # architectures over which the width of intervals is averaged
_TABLE_MB = 8  # of the tables of one metric


def fit_figure(group: Measurements, prior: Prior | None = None) -> DeviceFigure:
    """Return the fitted figure of measurements of one space and metric.

    Parameters
    ----------
    group
        The measurements.
    prior
        What is known from other devices, see `hwnas.devices.fit_known`.

    Raises
    ------
    InvalidInput
        There are fewer than 6 architectures, or the space's tables would be too large.
    """
    group = limit_points(average_repeats(group))
    fit = fit_tables(
        group.space, group.codes, group.values, group.std, metric=group.quantity, prior=prior
    )
    table = AdditiveTable.from_function(group.space, fit.predict)
    if megabytes(table) > _TABLE_MB:
        raise InvalidInput(
            f"space {group.space.name!r}: its tables take {megabytes(table):.0f} MB, expected at "
            f"most {_TABLE_MB}; use fewer values of n_layer or of the choices of a layer"
        )
    kendall, coverage = validate(group, prior)
    return DeviceFigure(
        group.space,
        group.quantity,
        table,
        fit.n_points,
        fit.error,
        kendall,
        group.workload,
        coverage=coverage,
        spread=typical_spread(fit),
        prior="none" if prior is None else f"other devices, {fit.known:.0%}",
        **group.texts,
    )


def typical_spread(fit: FittedMetric) -> float:
    """Return the relative standard deviation of an unmeasured architecture, mean of a sample.

    A normal distribution with it has the mean width of the 90 % intervals.
    """
    codes = fit.space.sample(_SAMPLE, np.random.default_rng(0))
    low, high = fit.interval(codes, LEVEL).T
    reach = NormalDist().inv_cdf((1 + LEVEL) / 2)
    return float(np.abs((high - low) / (high + low)).mean() / reach)


def validate(group: Measurements, prior: Prior | None = None) -> tuple[float, float]:
    """Return rank correlation and coverage on architectures that a fit has not seen.

    Parameters
    ----------
    group
        Measurements with one value for each architecture.
    prior
        What is known from other devices.

    Returns
    -------
    kendall
        Kendall's tau, the mean over the values of ``embed_dim`` weighted by pairs: architectures of
        different widths are told apart by any model. NaN where no width has three.
    coverage
        Share of values within their 90 % interval.

    Notes
    -----
    Cross-validation with five folds; of more than 200 architectures one fifth is left out once.
    Both are NaN with fewer than 10.
    """
    n = len(group.values)
    if n < _MIN_VALIDATED:
        return math.nan, math.nan
    predictions, half = np.full(n, np.nan), np.full(n, np.nan)
    fold = np.random.default_rng(0).permutation(n) % _FOLDS
    for k in range(_FOLDS if n <= _MANY else 1):
        left_out = fold == k
        rest = subset(group, np.flatnonzero(~left_out))
        fit = fit_tables(group.space, rest.codes, rest.values, rest.std, prior=prior)
        predictions[left_out] = fit.predict(group.codes[left_out])
        low, high = fit.interval(group.codes[left_out], LEVEL).T
        half[left_out] = (high - low) / 2
    rows = np.flatnonzero(np.isfinite(predictions))
    seen, predictions = subset(group, rows), predictions[rows]
    # Intervals are of true values: a measured one is off by its own error too.
    noise = 0 if seen.std is None else NormalDist().inv_cdf((1 + LEVEL) / 2) * seen.std
    reach = np.hypot(half[rows], noise)
    coverage = float((np.abs(seen.values - predictions) <= reach).mean())
    return _kendall_by_width(seen.codes, seen.values, predictions), coverage


def _kendall_by_width(codes: Codes, values: Array, predictions: Array) -> float:
    """Return the mean rank correlation over the values of the first column."""
    total = weight = 0.0
    for width in np.unique(codes[:, 0]):
        rows = codes[:, 0] == width
        count = int(rows.sum())
        if count >= 3:
            tau = kendall_tau(values[rows], predictions[rows])
            if math.isfinite(tau):
                pairs = count * (count - 1) / 2
                total, weight = total + pairs * tau, weight + pairs
    return total / weight if weight else math.nan


def megabytes(table: AdditiveTable) -> float:
    """Return the size of a table in memory."""
    return (table.base.nbytes + table.layers.nbytes) / 1e6
