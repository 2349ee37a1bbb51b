"""Wilcoxon tests of pairs of optimizers over problems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from hwnas import statistics
from hwnas.reports.comparison.problem_comparison import OptimizerScore, ProblemComparison
from hwnas.reports.comparison.quality_indicators import LARGER_IS_BETTER
from hwnas.typing import Array


@dataclass(frozen=True)
class PairwiseTest:
    """Wilcoxon's signed-rank test of two optimizers over problems, by means over seeds.

    Attributes
    ----------
    first, second
        Names of the optimizers; the first is better by `lead`.
    n
        Number of problems.
    wins
        Number of problems on which the first is better.
    lead
        Mean difference in the metric by which the first is better; NaN where it is not finite.
    p
        p-value of the test.
    p_holm
        The p-value with Holm's correction for all pairs of the comparison.
    """

    first: str
    second: str
    n: int
    wins: int
    lead: float
    p: float
    p_holm: float


def to_minimize(values: Array, metric: str) -> Array:
    """Return values (n,) of a metric with their sign set so that smaller is better."""
    return -values if metric in LARGER_IS_BETTER else values


def mean_to_minimize(score: OptimizerScore, metric: str) -> float:
    """Return the mean over seeds with its sign set so that smaller is better."""
    return float(to_minimize(np.array(score.mean(metric)), metric))


def pairwise_tests(
    problems: Sequence[ProblemComparison], optimizers: Sequence[str], metric: str, level: float
) -> list[PairwiseTest]:
    """Test pairs of optimizers over the problems that both share, corrected by Holm.

    A problem is one block: seeds of one problem are no sample of problems. Pairs that share too
    few problems for any significant difference are left out, so that they do not weaken the rest.

    Returns
    -------
    list of PairwiseTest
        Empty if no difference could be significant after the correction.

    References
    ----------
    Demšar, "Statistical comparisons of classifiers over multiple data sets", JMLR 7, 2006.
    """
    shared = {
        pair: [p.by_optimizer for p in problems if all(name in p.by_optimizer for name in pair)]
        for pair in combinations(optimizers, 2)
    }
    min_problems = statistics.problems_needed(2, level)
    testable = {pair: scores for pair, scores in shared.items() if len(scores) >= min_problems}
    if statistics.min_adjusted_p([len(scores) for scores in testable.values()]) >= level:
        return []
    tests = [_test_pair(*pair, scores, metric) for pair, scores in testable.items()]
    # Holm's step-down correction controls the family-wise error of all pairs.
    corrected = statistics.holm([test.p for test in tests]).tolist()
    return [replace(test, p_holm=p) for test, p in zip(tests, corrected, strict=True)]


def order_by_lead(
    first: str, second: str, a: Array, b: Array
) -> tuple[str, str, Array, Array, float]:
    """Return two optimizers and their values (n,) with the better first, and its mean lead.

    The better one has the smaller mean, or more wins if the mean difference is not finite: the
    lead is NaN then.
    """
    # Equal infinities differ by 0, not by NaN.
    differences = np.subtract(b, a, out=np.zeros(len(a)), where=a != b)
    is_finite = len(differences) > 0 and np.isfinite(differences).all()
    lead = float(differences.mean()) if is_finite else float("nan")
    if lead < 0 or (np.isnan(lead) and (a > b).sum() > (a < b).sum()):
        return second, first, b, a, -lead
    return first, second, a, b, lead


def _test_pair(
    first: str, second: str, scores: Sequence[dict[str, OptimizerScore]], metric: str
) -> PairwiseTest:
    """Test two optimizers over problems that both have, without correction."""
    a, b = (
        np.array([mean_to_minimize(score[name], metric) for score in scores])
        for name in (first, second)
    )
    first, second, a, b, lead = order_by_lead(first, second, a, b)
    p = statistics.wilcoxon(a, b)
    return PairwiseTest(first, second, len(a), int((a < b).sum()), lead, p, p)
