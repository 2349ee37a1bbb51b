"""What can be said of optimizers from a few repeated searches: intervals, tests, ranks.

Pure functions on arrays. Throughout, less is better: of what is maximised, pass the negative. SciPy
is loaded by the functions that need it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from hwnas.typing import Array


def interval(values: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Student's t interval of the mean of independent values.

    Parameters
    ----------
    values : (n,)
    level
        How often such an interval holds the mean, above 0 and below 1.

    Returns
    -------
    low, high : float
        NaN where there are fewer than two values or one is not finite: nothing is then known.
    """
    if not 0 < level < 1:
        raise ValueError(f"expected a level between 0 and 1, found {level}")
    array = np.asarray(values, dtype=np.float64)
    n = len(array)
    if n < 2 or not np.isfinite(array).all():
        return float("nan"), float("nan")
    from scipy.stats import t

    half = float(t.ppf((1 + level) / 2, n - 1)) * float(array.std(ddof=1)) / n**0.5
    mean = float(array.mean())
    return mean - half, mean + half


def wilcoxon(first: ArrayLike, second: ArrayLike) -> float:
    """Two-sided p-value of Wilcoxon's signed-rank test that pairs differ by 0 in the middle.

    Pairs that are equal, two infinities too, say nothing and are left out; where no others are
    left the p-value is 1. For few pairs without ties it is exact.

    Parameters
    ----------
    first, second : (n,)
        Values of pairs, none of them NaN.

    References
    ----------
    Wilcoxon 1945; computed by SciPy.
    """
    a, b = (np.asarray(values, dtype=np.float64) for values in (first, second))
    if a.ndim != 1 or a.shape != b.shape or np.isnan(a).any() or np.isnan(b).any():
        raise ValueError(f"expected pairs without NaN, found shapes {a.shape} and {b.shape}")
    differ = a != b
    if not differ.any():
        return 1.0
    from scipy.stats import wilcoxon as signed_ranks

    return float(signed_ranks(a[differ] - b[differ]).pvalue)


def holm(p: ArrayLike) -> Array:
    """p-values that hold for all of several tests together.

    Parameters
    ----------
    p : (n,)
        Of each test alone.

    Returns
    -------
    (n,)
        In the same order, none less than it was.

    References
    ----------
    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 6, 1979.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    alone = np.asarray(p, dtype=np.float64)
    order = np.argsort(alone, kind="stable")
    together = np.empty(len(alone))
    steps = alone[order] * np.arange(len(alone), 0, -1)
    together[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return together


def ranks(scores: ArrayLike) -> Array:
    """Mean rank of each optimizer over problems; 1 is the best there can be.

    Parameters
    ----------
    scores : (n, k)
        Of k optimizers on n problems, less is better. Equal ones share the mean of their ranks.

    Returns
    -------
    (k,)
    """
    from scipy.stats import rankdata

    return np.asarray(rankdata(_scores(scores), axis=1).mean(axis=0))


def friedman(scores: ArrayLike) -> float:
    """p-value of Friedman's test that all optimizers rank alike.

    Parameters
    ----------
    scores : (n, k)
        Of k optimizers on n problems, less is better.

    Returns
    -------
    float
        1 where all are equal on every problem, NaN of fewer than three optimizers: that is
        `wilcoxon`'s case.

    References
    ----------
    Friedman 1937; with ties, by SciPy.
    """
    array = _scores(scores)
    if array.shape[1] < 3:
        return float("nan")
    if (array == array[:, :1]).all():
        return 1.0
    from scipy.stats import friedmanchisquare

    return float(friedmanchisquare(*array.T).pvalue)


def critical_difference(k: int, n: int, alpha: float = 0.05) -> float:
    """By how much mean ranks must differ to do so significantly, by Nemenyi's test.

    It looks at ranks alone, whichever optimizers they are among; Wilcoxon's test of each pair,
    corrected by Holm, finds more (`cliques`).

    Parameters
    ----------
    k
        Optimizers, at least 2.
    n
        Problems, at least 1.
    alpha
        Level of significance, above 0 and below 1.

    References
    ----------
    Nemenyi 1963; Demšar, "Statistical comparisons of classifiers over multiple data sets", JMLR 7,
    2006, section 3.2.2.

    Examples
    --------
    >>> round(critical_difference(4, 14, 0.10), 2)  # Demšar's own example
    1.12
    """
    if k < 2 or n < 1 or not 0 < alpha < 1:
        raise ValueError(f"expected k >= 2, n >= 1, 0 < alpha < 1, found {k}, {n}, {alpha}")
    from scipy.stats import studentized_range

    q = float(studentized_range.ppf(1 - alpha, k, np.inf)) / 2**0.5
    return q * float(np.sqrt(k * (k + 1) / (6 * n)))


def cliques(mean_ranks: ArrayLike, differ: ArrayLike) -> list[tuple[int, ...]]:
    """Neighbours in rank of which no two differ: what a bar joins in a diagram of ranks.

    Which pairs differ is for tests of pairs to say, as Benavoli et al. recommend: Nemenyi's
    critical difference depends on which other optimizers are in the comparison. Two that do not
    differ are in no clique together where one between them differs from either.

    Parameters
    ----------
    mean_ranks : (k,)
    differ : (k, k) bool
        Which pairs differ, symmetric.

    Returns
    -------
    list of tuples of int
        Indices by rank, at least two each, best first; none lies within another.

    References
    ----------
    Benavoli, Corani and Mangili, "Should we really use post-hoc tests based on mean-ranks?",
    JMLR 17, 2016.
    """
    order = np.argsort(np.asarray(mean_ranks, dtype=np.float64), kind="stable").tolist()
    apart = np.asarray(differ, dtype=bool)
    found: list[tuple[int, ...]] = []
    reached = 0
    for start in range(len(order)):
        end = start + 1
        while end < len(order) and not apart[order[end], order[start:end]].any():
            end += 1
        if end > max(reached, start + 1):
            found.append(tuple(order[start:end]))
            reached = end
    return found


def least_p(pairs: Sequence[int]) -> float:
    """The least p-value that `holm` can leave of tests over so many pairs each.

    >>> least_p([5, 5])  # two tests of five pairs: 2 * 2 / 2**5
    0.125
    """
    alone = np.array([1.0 if n == 0 else 2.0 ** (1 - n) for n in pairs])
    return float(holm(alone).min()) if len(alone) else 1.0


def _scores(scores: ArrayLike) -> Array:
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim != 2 or 0 in array.shape or np.isnan(array).any():
        raise ValueError(f"expected scores (n, k) without NaN, found shape {array.shape}")
    return array
