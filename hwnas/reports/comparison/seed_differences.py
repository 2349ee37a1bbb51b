"""Differences of two optimizers on one problem, seed to seed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from hwnas import statistics
from hwnas.reports.comparison.pairwise import mean_to_minimize, order_by_lead, to_minimize
from hwnas.reports.comparison.problem_comparison import OptimizerScore, ProblemComparison
from hwnas.typing import Array

_BOOTSTRAP_SEED = 0  # so that a comparison always prints the same interval


@dataclass(frozen=True)
class SeedDifference:
    """Difference of two optimizers on one problem, over the seeds that both have.

    Searches of the same seed are a pair. The interval says how much the difference depends on
    the seed; it holds for this problem alone.

    Attributes
    ----------
    first, second
        Names of the optimizers; the first is better by `lead`.
    n
        Number of shared seeds.
    wins
        Number of seeds with which the first is better.
    lead
        Difference of the means in the metric by which the first is better; NaN where it is not
        finite.
    low, high
        Interval of the lead by a paired bootstrap over seeds; NaN with fewer than
        `hwnas.statistics.seeds_needed`, or where a value is not finite.
    """

    first: str
    second: str
    n: int
    wins: int
    lead: float
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """True if the interval excludes 0."""
        return not math.isnan(self.low) and not self.low <= 0 <= self.high


def seed_differences(
    problem: ProblemComparison, metric: str, level: float
) -> tuple[SeedDifference, ...]:
    """Return the differences of all pairs of optimizers that share a seed, the best first."""
    scores = problem.by_optimizer.values()
    pairs = combinations(sorted(scores, key=lambda score: mean_to_minimize(score, metric)), 2)
    differences = (seed_difference(*pair, metric, level) for pair in pairs)
    return tuple(difference for difference in differences if difference.n)


def seed_difference(
    a: OptimizerScore, b: OptimizerScore, metric: str, level: float
) -> SeedDifference:
    """Return the difference of two optimizers over the seeds that both have, perhaps none.

    Parameters
    ----------
    level
        Significance level; the interval has the confidence level 1 - `level`.
    """
    first, second, x, y, lead = order_by_lead(a.optimizer, b.optimizer, *_paired(a, b, metric))
    low = high = float("nan")
    if len(x) >= statistics.seeds_needed(level):
        rng = np.random.default_rng(_BOOTSTRAP_SEED)
        low, high = statistics.bootstrap_interval(y, x, rng, 1 - level)
    return SeedDifference(first, second, len(x), int((x < y).sum()), lead, low, high)


def _paired(a: OptimizerScore, b: OptimizerScore, metric: str) -> tuple[Array, Array]:
    """Return the values (s,) of two optimizers on the seeds that both have, to minimize."""
    shared = sorted(set(a.seeds) & set(b.seeds))
    first, second = (
        to_minimize(score.values[metric][[score.seeds.index(seed) for seed in shared]], metric)
        for score in (a, b)
    )
    return first, second
