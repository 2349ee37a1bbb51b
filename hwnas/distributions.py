"""Quantiles and tail probabilities of the distributions that comparisons of searches need.

They are closed forms, or sums and integrals of a few lines, and agree with `scipy.stats`
(``tests/test_distributions.py``). SciPy would be almost half of an installation, and its import
takes longer than most commands.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from hwnas.typing import Array

_NORMAL = NormalDist()
_MAX_EXACT = 50  # pairs without ties up to which the signed-rank test is exact
_MAX_EXACT_TIES = 13  # and with ties
_GRID = np.linspace(-8.0, 8.0, 2001)  # for integrals over the normal density


def t_quantile(p: float, df: int) -> float:
    """Return a quantile of Student's t distribution.

    Parameters
    ----------
    p
        Probability, above 0 and below 1.
    df
        Degrees of freedom, at least 1.

    References
    ----------
    Abramowitz and Stegun, Handbook of Mathematical Functions, 1964, equations 26.7.3 and 26.7.4.

    Examples
    --------
    >>> round(t_quantile(0.975, 9), 4)
    2.2622
    """
    if p < 0.5:
        return -t_quantile(1 - p, df)
    # The angle whose tangent is t / sqrt(df); the probability increases with it.
    low, high = 0.0, math.pi / 2
    while high - low > 1e-15 * high:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if _t_probability(middle, df) < 2 * p - 1 else (low, middle)
    return math.sqrt(df) * math.tan((low + high) / 2)


def _t_probability(angle: float, df: int) -> float:
    """Return the probability that \\|t\\| is at most sqrt(df) tan(angle)."""
    sine, cosine = math.sin(angle), math.cos(angle)
    is_odd = df % 2
    # cos + 2/3 cos^3 + 2 4/(3 5) cos^5 ... for odd df, 1 + 1/2 cos^2 + ... for even.
    total, term = 0.0, cosine if is_odd else 1.0
    for k in range(is_odd, df - 1, 2):
        total += term
        term *= cosine**2 * (k + 1) / (k + 2)
    return 2 / math.pi * (angle + sine * total) if is_odd else sine * total


def chi2_tail(x: float, df: int) -> float:
    """Return the probability that a chi-squared variable exceeds x.

    Parameters
    ----------
    x
        At least 0.
    df
        Degrees of freedom, at least 1.

    References
    ----------
    Abramowitz and Stegun 1964, equations 26.4.4 and 26.4.5.

    Examples
    --------
    >>> round(chi2_tail(7.815, 3), 3)
    0.05
    """
    half = x / 2
    if df % 2:
        total = math.erfc(math.sqrt(half))
        exponents = [k + 0.5 for k in range((df - 1) // 2)]
    else:
        total = 0.0
        exponents = [float(k) for k in range(df // 2)]
    if half > 0:
        logs = [k * math.log(half) - half - math.lgamma(k + 1) for k in exponents]
        total += sum(math.exp(log) for log in logs)
    else:
        total = 1.0
    return min(total, 1.0)


def normal_range_quantile(p: float, k: int) -> float:
    """Return a quantile of the range of k independent standard normal variables.

    This is the Studentized range with infinitely many degrees of freedom.

    Parameters
    ----------
    p
        Probability, above 0 and below 1.
    k
        Number of variables, at least 2.

    Examples
    --------
    >>> round(normal_range_quantile(0.95, 3), 4)
    3.3145
    """
    density = np.exp(-(_GRID**2) / 2) / math.sqrt(2 * math.pi)
    below, step = _normal_cdf(_GRID), float(_GRID[1] - _GRID[0])
    low, high = 0.0, 60.0
    for _ in range(60):
        middle = (low + high) / 2
        # The largest is at z, all others at most `middle` below it.
        inside = (below - _normal_cdf(_GRID - middle)) ** (k - 1)
        is_below = k * float((density * inside).sum()) * step < p
        low, high = (middle, high) if is_below else (low, middle)
    return (low + high) / 2


def _normal_cdf(z: Array) -> Array:
    return np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in z.tolist()])


def normal_tail(z: float) -> float:
    """Return the probability that a standard normal variable exceeds z."""
    return 0.5 * math.erfc(z / math.sqrt(2))


def average_ranks(values: Array) -> Array:
    """Return the ranks (n,) of values (n,) from 1 on; equal values share the mean of theirs.

    Examples
    --------
    >>> average_ranks(np.array([3.0, 1.0, 3.0])).tolist()
    [2.5, 1.0, 2.5]
    """
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse.ravel()])


def signed_rank_p(differences: Array) -> float:
    """Return the two-sided p-value of Wilcoxon's signed-rank test.

    It is exact for up to 50 differences, with ties among their sizes for up to 13; beyond, by the
    normal approximation with its correction for ties.

    Parameters
    ----------
    differences : (n,)
        None of them 0, at least one.

    Examples
    --------
    >>> signed_rank_p(np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))
    0.03125
    """
    n = len(differences)
    ranks = average_ranks(np.abs(differences))
    _, counts = np.unique(ranks, return_counts=True)
    positive = float(ranks[differences > 0].sum())
    if n <= (_MAX_EXACT if (counts == 1).all() else _MAX_EXACT_TIES):
        # Numbers of sets of signs by twice the sum of positive ranks, one rank after the other.
        doubled = np.rint(2 * ranks).astype(int)
        ways = np.zeros(doubled.sum() + 1)
        ways[0] = 1.0
        for rank in doubled:
            ways[rank:] = ways[rank:] + ways[: len(ways) - rank]
        statistic = round(2 * positive)
        tail = min(ways[: statistic + 1].sum(), ways[statistic:].sum())
        return min(1.0, 2 * float(tail) / 2.0**n)
    variance = n * (n + 1) * (2 * n + 1) / 24 - float((counts**3 - counts).sum()) / 48
    return 2 * normal_tail(abs(positive - n * (n + 1) / 4) / math.sqrt(variance))


def friedman_p(scores: Array) -> float:
    """Return the p-value of Friedman's test for n problems and k treatments (n, k).

    Examples
    --------
    >>> round(friedman_p(np.array([[1.0, 2.0, 3.0]] * 4)), 4)
    0.0183
    """
    n, k = scores.shape
    ranks = np.stack([average_ranks(row) for row in scores])
    ties = sum(
        float((counts**3 - counts).sum())
        for counts in (np.unique(row, return_counts=True)[1] for row in ranks)
    )
    squares = float((ranks.sum(axis=0) ** 2).sum())
    statistic = 12 / (k * n * (k + 1)) * squares - 3 * n * (k + 1)
    return chi2_tail(max(statistic, 0.0) / (1 - ties / (k * (k * k - 1) * n)), k - 1)


def kendall_tau(first: Array, second: Array) -> float:
    """Return Kendall's rank correlation of values (n,), tau-b; NaN where one has no differences.

    Complexity
    ----------
    Quadratic in n.

    Examples
    --------
    >>> kendall_tau(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0]))
    0.3333333333333333
    """
    rows, columns = np.triu_indices(len(first), 1)
    a, b = (np.sign(values[rows] - values[columns]) for values in (first, second))
    size = math.sqrt(float(np.abs(a).sum()) * float(np.abs(b).sum()))
    return float(a @ b) / size if size > 0 else math.nan
