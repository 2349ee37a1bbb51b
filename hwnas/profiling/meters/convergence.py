"""How sure a median is, and whether samples have stopped changing: pure functions on arrays."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

WINDOW = 5


@lru_cache
def median_rank(n: int) -> int:
    """Rank whose order statistic and its mirror hold the median with at least 95 % probability.

    The number of n independent samples below the median is binomial with p = 1/2, whatever their
    distribution, so the k-th smallest and the k-th largest miss the median with probability
    ``2 P(B <= k - 1)`` (David and Nagaraja 2003, Order Statistics, section 7.1).

    Returns
    -------
    int
        The largest such k, counted from 1; 0 where even the extremes are not that sure (n < 6).
    """
    below, term, k = 0, 1, 0  # whole numbers of 2**n, so nothing is rounded
    while 40 * (below + term) <= 2**n:  # 2.5 % on each side
        below += term
        term = term * (n - k) // (k + 1)
        k += 1
    return k


def median_interval(samples: ArrayLike) -> tuple[float, float]:
    """95 % interval of the median, from order statistics.

    Parameters
    ----------
    samples : (n,) numbers

    Returns
    -------
    low, high
        Two of the samples; NaN for fewer than six.
    """
    ordered = np.sort(np.asarray(samples, dtype=np.float64))
    k = median_rank(len(ordered))
    return (float(ordered[k - 1]), float(ordered[-k])) if k else (math.nan, math.nan)


def is_precise(samples: ArrayLike, within: float) -> bool:
    """Whether no end of the median's interval is further from it than a share of it."""
    low, high = median_interval(samples)
    median = float(np.median(np.asarray(samples, dtype=np.float64))) if low == low else math.nan
    return max(median - low, high - median) <= within * median


def is_steady(samples: ArrayLike, *, within: float = 0.01) -> bool:
    """Whether the last samples are like those before them.

    The median of the last five has to lie in the range of the five before, widened by a share of
    itself: what still falls or rises by more than its noise does not.

    Parameters
    ----------
    samples : (n,) numbers
        In the order in which they were taken; fewer than ten are not steady.
    """
    array = np.asarray(samples, dtype=np.float64)
    if len(array) < 2 * WINDOW:
        return False
    before, last = array[-2 * WINDOW : -WINDOW], float(np.median(array[-WINDOW:]))
    violation = within * last
    return bool(before.min() - violation <= last <= before.max() + violation)
