"""Comparison of optimizers over problems: mean ranks and tests, or differences seed to seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hwnas import statistics
from hwnas.errors import UnknownName
from hwnas.reports.comparison import notes
from hwnas.reports.comparison.cliques import cliques
from hwnas.reports.comparison.pairwise import PairwiseTest, mean_to_minimize, pairwise_tests
from hwnas.reports.comparison.problem_comparison import (
    ProblemComparison,
    Source,
    optimizer_names,
    problem_comparisons,
)
from hwnas.reports.comparison.quality_indicators import METRICS
from hwnas.reports.comparison.seed_differences import (
    SeedDifference,
    seed_difference,
    seed_differences,
)
from hwnas.runner.results import Result
from hwnas.typing import Array, BoolArray


@dataclass(frozen=True, eq=False)
class Comparison:
    """Comparison of optimizers over all problems.

    Attributes
    ----------
    problems
        Scores of the optimizers on each problem.
    metric
        Quality indicator of ranks and tests.
    at
        Number of evaluations after which searches are scored; ``None``: at their ends.
    level
        Significance level.
    optimizers : tuple of k names
        Optimizers that are scored on every problem, best mean rank first.
    ranks : (k,)
        Their mean ranks over problems, by means over seeds.
    friedman
        p-value of Friedman's test over problems that all rank alike; NaN with fewer than three
        optimizers or without `pairs`.
    pairs
        Tests of pairs of optimizers over problems; none if the problems are too few for any
        significant difference.
    seed_differences
        For each problem the differences of pairs seed to seed; none if there are `pairs`.
    """

    problems: tuple[ProblemComparison, ...]
    metric: str
    at: int | None
    level: float
    optimizers: tuple[str, ...]
    ranks: Array
    friedman: float
    pairs: tuple[PairwiseTest, ...]
    seed_differences: tuple[tuple[SeedDifference, ...], ...]

    @property
    def significant(self) -> BoolArray:
        """Mask (k, k) of the ranked optimizers that differ significantly by pairwise tests."""
        # The first of a pair is the better one, so compare pairs regardless of their order.
        significant = {frozenset((p.first, p.second)) for p in self.pairs if p.p_holm < self.level}
        # The reshape keeps two dimensions if no optimizer is ranked.
        return np.array(
            [[frozenset((a, b)) in significant for b in self.optimizers] for a in self.optimizers],
            dtype=bool,
        ).reshape(len(self.optimizers), -1)

    @property
    def cliques(self) -> list[tuple[int, ...]]:
        """Neighbors in rank of which no two differ; none without tests over problems.

        See `hwnas.reports.comparison.cliques.cliques`.
        """
        return cliques(self.ranks, self.significant) if self.pairs else []

    def leaders(self, problem: ProblemComparison) -> tuple[set[str], set[str] | None]:
        """Return the best optimizers on a problem, and those that are not clearly worse.

        The best is found by the mean over seeds. Another is clearly worse if the interval of its
        difference to the best, seed to seed on this problem, excludes 0.

        Returns
        -------
        best
            More than one optimizer if means are equal.
        close : set or None
            Optimizers that are not clearly worse, without the best; ``None`` if a pair shares too
            few seeds for an interval.
        """
        scores = problem.by_optimizer
        best = self.best(problem, self.metric)
        if not best:
            return set(), None
        # Optimizers with equal means are all best, so none of them is compared.
        leader = scores[next(name for name in scores if name in best)]
        differences = {
            name: seed_difference(leader, score, self.metric, self.level)
            for name, score in scores.items()
            if name not in best
        }
        if any(d.n < statistics.seeds_needed(self.level) for d in differences.values()):
            return best, None
        return best, {name for name, d in differences.items() if not d.is_clear}

    def best(self, problem: ProblemComparison, metric: str) -> set[str]:
        """Return the optimizers with the best mean over seeds on a problem."""
        scores = problem.by_optimizer
        means = {name: mean_to_minimize(score, metric) for name, score in scores.items()}
        return {name for name, mean in means.items() if mean == min(means.values())}

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """Remarks that a reader needs to interpret the numbers, one line each."""
        means = notes.mean_notes(self.problems, self.at)
        if len(optimizer_names(self.problems)) < 2:
            return (*means, "one optimizer: nothing is tested")
        unranked = notes.unranked_notes(self.problems, self.optimizers)
        if self.pairs:
            return (*means, *unranked, *notes.power_notes(self.problems, self.pairs, self.level))
        differences = notes.difference_notes(self.problems, self.seed_differences, self.level)
        return (*means, *unranked, *differences)


def compare(
    results: Sequence[Result],
    *,
    metric: str = "normalised",
    at: int | None = None,
    level: float = 0.05,
    of: Source = "measured",
) -> Comparison:
    """Compare the optimizers of several runs.

    Mean ranks, Friedman's test and tests of pairs are over problems alone, by means over seeds, as
    Demšar (2006) recommends: each problem is one block. If there are too few problems for any
    significant difference (`hwnas.statistics.problems_needed`), optimizers are compared seed to
    seed on each problem instead, by intervals from a paired bootstrap.

    Parameters
    ----------
    results
        Runs of one problem or of several, see
        `hwnas.reports.comparison.problem_comparison.problem_comparisons`.
    metric
        One of `hwnas.reports.comparison.quality_indicators.METRICS`.
    at
        Score the front of every search after this number of evaluations.
    level
        Significance level.
    of
        Members of fronts that are scored under noise, see
        `hwnas.reports.comparison.problem_comparison.problem_comparisons`.

    Raises
    ------
    UnknownName
        There is no such metric.
    InvalidInput
        See `hwnas.reports.comparison.problem_comparison.problem_comparisons`.
    """
    if metric not in METRICS:
        raise UnknownName("metric", metric, METRICS)
    problems = problem_comparisons(results, at=at, of=of)
    return compare_problems(problems, metric=metric, at=at, level=level)


def compare_problems(
    problems: Sequence[ProblemComparison],
    *,
    metric: str = "normalised",
    at: int | None = None,
    level: float = 0.05,
) -> Comparison:
    """Rank and test optimizers by their scores on problems; parameters are those of `compare`."""
    names = optimizer_names(problems)
    # Ranks need every optimizer on every problem.
    complete = [name for name in names if all(name in p.by_optimizer for p in problems)]
    scores = np.array(
        [[mean_to_minimize(p.by_optimizer[name], metric) for name in complete] for p in problems]
    )
    ranks = statistics.ranks(scores) if complete else np.zeros(0)
    order = np.argsort(ranks, kind="stable")
    ranked = [complete[i] for i in order]
    # Unranked optimizers are still tested on the problems that they share with others.
    unranked = [name for name in names if name not in complete]
    pairs = pairwise_tests(problems, [*ranked, *unranked], metric, level)
    differences = [seed_differences(p, metric, level) for p in problems] if not pairs else []
    return Comparison(
        tuple(problems),
        metric,
        at,
        level,
        tuple(ranked),
        ranks[order],
        statistics.friedman(scores) if pairs and len(ranked) > 2 else float("nan"),
        tuple(pairs),
        tuple(differences),
    )
