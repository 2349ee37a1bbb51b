"""Precision of a median and steadiness of samples, as pure functions on arrays."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

NORMAL_97_5 = 1.96  # 97.5 % quantile of the standard normal distribution
WINDOW = 5  # samples in each of the two windows that `is_steady` compares


@lru_cache
def median_rank(n: int) -> int:
    """Return the rank whose order statistic bounds the median's 95 % interval, with its mirror.

    The number of n independent samples below the median is binomial with p = 1/2, whatever their
    distribution, so the k-th smallest and the k-th largest miss the median with probability
    ``2 P(B <= k - 1)`` (David and Nagaraja 2003, Order Statistics, section 7.1).

    Returns
    -------
    int
        The largest such k, counted from 1; 0 if even the interval from the smallest to the largest
        sample covers the median with less than 95 % probability (n < 6).

    Examples
    --------
    >>> median_rank(20)  # from the 6th smallest to the 6th largest of 20 samples
    6
    """
    # Invariant: 2**n P(B < k) = below, 2**n P(B = k) = term. Both are integers, so nothing is
    # rounded. The condition is P(B <= k) <= 2.5 %, the share of one side.
    below, term, k = 0, 1, 0
    while 40 * (below + term) <= 2**n:
        below += term
        term = term * (n - k) // (k + 1)
        k += 1
    return k


def median_interval(samples: ArrayLike) -> tuple[float, float]:
    """Return the 95 % interval of the median, from order statistics.

    Parameters
    ----------
    samples : (n,) numbers

    Returns
    -------
    low, high
        Two of the samples; NaN for fewer than six.

    Examples
    --------
    >>> median_interval([3, 1, 4, 1, 5, 9])
    (1.0, 9.0)
    """
    ordered = np.sort(np.asarray(samples, dtype=np.float64))
    k = median_rank(len(ordered))
    return (float(ordered[k - 1]), float(ordered[-k])) if k else (math.nan, math.nan)


def median_standard_error(samples: ArrayLike) -> float:
    """Return the standard error of the median; for a single sample the median itself.

    Parameters
    ----------
    samples : (n,) numbers

    Examples
    --------
    >>> round(median_standard_error([3, 1, 4, 1, 5, 9]), 2)
    2.04
    """
    array = np.asarray(samples, dtype=np.float64)
    low, high = median_interval(array)
    if math.isfinite(high - low):
        return (high - low) / 2 / NORMAL_97_5
    if len(array) < 2:
        return float(np.median(array))
    # Too few samples for an interval of order statistics: standard error of the median of a normal
    # distribution (Kendall and Stuart 1977, section 10.10).
    return float(math.sqrt(math.pi / 2 / len(array)) * array.std(ddof=1))


def is_precise(samples: ArrayLike, within: float) -> bool:
    """Return whether both ends of the median's interval are within a share of the median.

    Parameters
    ----------
    samples : (n,) numbers
    within
        Maximum distance of an end from the median, relative to the median.
    """
    low, high = median_interval(samples)
    # Without an interval every comparison with NaN is false.
    median = float(np.median(np.asarray(samples, dtype=np.float64))) if low == low else math.nan
    return max(median - low, high - median) <= within * median


def is_steady(samples: ArrayLike, *, within: float = 0.01) -> bool:
    """Return whether the last samples agree with those before them.

    The median of the last five has to lie in the range of the five before, widened by a share of
    the median. A trend that exceeds the noise of the samples violates this.

    Parameters
    ----------
    samples : (n,) numbers
        In the order in which they were measured; fewer than ten are not steady.
    within
        Tolerance relative to the median of the last five.
    """
    array = np.asarray(samples, dtype=np.float64)
    if len(array) < 2 * WINDOW:
        return False
    previous, median = array[-2 * WINDOW : -WINDOW], float(np.median(array[-WINDOW:]))
    tolerance = within * median
    return bool(previous.min() - tolerance <= median <= previous.max() + tolerance)
