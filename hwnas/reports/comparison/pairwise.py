"""Wilcoxon tests of pairs of optimizers, over problems or over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np

from hwnas import statistics
from hwnas.reports.comparison.problem_comparison import OptimizerScore, ProblemComparison
from hwnas.reports.comparison.quality_indicators import LARGER_IS_BETTER
from hwnas.typing import Array

Over = Literal["problems", "seeds"]

MIN_PROBLEMS = 5  # for a test over problems; with fewer it is over seeds


@dataclass(frozen=True)
class PairwiseTest:
    """Wilcoxon's signed-rank test of two optimizers.

    Attributes
    ----------
    first, second
        Names of the optimizers; the first is better by `lead`.
    over
        Samples of the test: problems, by means over seeds, or seeds on each problem.
    n
        Number of samples.
    wins
        Number of samples in which the first is better.
    lead
        Mean difference in the metric by which the first is better; NaN where it is not finite.
    p
        p-value of the test.
    p_holm
        The p-value with Holm's correction for all pairs of the comparison.
    """

    first: str
    second: str
    over: Over
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


def shared_seeds(a: OptimizerScore, b: OptimizerScore, metric: str) -> tuple[Array, Array]:
    """Return the values (s,) of two optimizers on the seeds that both have, to minimize."""
    # Seeds pair the values of two searches that start with the same samples.
    shared = sorted(set(a.seeds) & set(b.seeds))
    first, second = (
        to_minimize(score.values[metric][[score.seeds.index(seed) for seed in shared]], metric)
        for score in (a, b)
    )
    return first, second


def pairwise_tests(
    problems: Sequence[ProblemComparison], optimizers: Sequence[str], metric: str
) -> list[PairwiseTest]:
    """Test all pairs of optimizers that share problems or seeds, corrected by Holm."""
    tests = [
        test
        for first, second in combinations(optimizers, 2)
        if (test := _test_pair(problems, first, second, metric))
    ]
    # Holm's step-down correction controls the family-wise error of all pairs.
    corrected = statistics.holm([test.p for test in tests]).tolist()
    return [replace(test, p_holm=p) for test, p in zip(tests, corrected, strict=True)]


def _test_pair(
    problems: Sequence[ProblemComparison], first: str, second: str, metric: str
) -> PairwiseTest | None:
    """Test two optimizers without correction; return ``None`` if they share no sample."""
    scores = [
        (problem.by_optimizer[first], problem.by_optimizer[second])
        for problem in problems
        if first in problem.by_optimizer and second in problem.by_optimizer
    ]
    # A test over problems is preferred, because its conclusions hold beyond one problem.
    over: Over = "problems" if len(scores) >= MIN_PROBLEMS else "seeds"
    if over == "problems":
        a, b = np.array([[mean_to_minimize(score, metric) for score in pair] for pair in scores]).T
    elif scores:
        # Seeds of different problems are pooled.
        samples = [shared_seeds(*pair, metric) for pair in scores]
        a, b = (np.concatenate(side) for side in zip(*samples, strict=True))
    if not scores or len(a) == 0:
        return None
    # Equal infinities differ by 0, not by NaN.
    differences = np.subtract(b, a, out=np.zeros(len(a)), where=a != b)
    lead = float(differences.mean()) if np.isfinite(differences).all() else float("nan")
    # Name the better optimizer first: by the mean difference, or by wins if it is not finite.
    if lead < 0 or (np.isnan(lead) and (a > b).sum() > (a < b).sum()):
        first, second, a, b, lead = second, first, b, a, -lead
    p = statistics.wilcoxon(a, b)
    return PairwiseTest(first, second, over, len(a), int((a < b).sum()), lead, p, p)
