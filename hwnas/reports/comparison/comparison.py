"""Comparison of optimizers over problems and seeds: mean ranks and pairwise tests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from hwnas import statistics
from hwnas.errors import UnknownName
from hwnas.reports.comparison.pairwise import (
    MIN_PROBLEMS,
    Over,
    PairwiseTest,
    mean_to_minimize,
    pairwise_tests,
    shared_seeds,
    to_minimize,
)
from hwnas.reports.comparison.problem_comparison import ProblemComparison, problem_comparisons
from hwnas.reports.comparison.quality_indicators import METRICS
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
        Their mean ranks.
    over, n_blocks
        Blocks that the optimizers are ranked on (problems or seeds), and their number.
    friedman
        p-value of Friedman's test that all rank alike; NaN with fewer than three optimizers.
    pairs
        Tests of all pairs of optimizers that share problems or seeds.
    """

    problems: tuple[ProblemComparison, ...]
    metric: str
    at: int | None
    level: float
    optimizers: tuple[str, ...]
    ranks: Array
    over: Over
    n_blocks: int
    friedman: float
    pairs: tuple[PairwiseTest, ...]

    @property
    def ranked_over(self) -> str:
        """Blocks of the ranks in words: ``"24 problems"``, ``"20 seeds of 2 problems"``."""
        problems = format_count(len(self.problems), "problems")
        seeds = f"{format_count(self.n_blocks, 'seeds')} of {problems}"
        return seeds if self.over == "seeds" else problems

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
        """Neighbors in rank of which no two differ, see `hwnas.statistics.cliques`."""
        return statistics.cliques(self.ranks, self.significant)

    def leaders(self, problem: ProblemComparison) -> tuple[set[str], set[str] | None]:
        """Return the best optimizers on a problem, and those not significantly worse.

        The best is found by the mean over seeds. The others are tested against it by Wilcoxon's
        signed-rank test over the seeds that both have, corrected by Holm.

        Returns
        -------
        best
            More than one optimizer if means are equal.
        equivalent : set or None
            Optimizers that are not significantly worse, without the best; ``None`` if there are
            too few seeds for any significant difference.
        """
        scores = problem.by_optimizer
        means = {name: mean_to_minimize(score, self.metric) for name, score in scores.items()}
        if not means:
            return set(), None
        leader = min(means, key=lambda name: means[name])
        # Optimizers with equal means are all best, so none of them is tested.
        worse = [name for name in means if means[name] > means[leader]]
        best = set(means) - set(worse)
        samples = [shared_seeds(scores[leader], scores[name], self.metric) for name in worse]
        # If even unanimous seeds give no significant p, a test says nothing.
        if statistics.min_adjusted_p([len(a) for a, _ in samples]) >= self.level:
            return best, None
        p = statistics.holm([statistics.wilcoxon(*pair) for pair in samples])
        return best, {name for name, value in zip(worse, p, strict=True) if value >= self.level}

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """Remarks that a reader needs to interpret the numbers, one line each."""
        notes = [*_problem_notes(self), *_settings_notes(self)]
        if len(_optimizer_names(self.problems)) < 2:
            return (*notes, "one optimizer: nothing is tested")
        return (*notes, *_coverage_notes(self), *_power_notes(self))


def compare(
    results: Sequence[Result],
    *,
    metric: str = "normalised",
    at: int | None = None,
    level: float = 0.05,
) -> Comparison:
    """Compare the optimizers of several runs.

    Pairwise tests and mean ranks are over problems, by means over seeds, if at least five
    problems are shared, as Demšar (2006) recommends; otherwise over the shared seeds. The first
    samples of a seed are the same on all problems of a space, so with few seeds p-values over
    problems are too small for differences early in a search.

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

    Raises
    ------
    UnknownName
        There is no such metric.
    InvalidInput
        See `hwnas.reports.comparison.problem_comparison.problem_comparisons`.
    """
    if metric not in METRICS:
        raise UnknownName("metric", metric, METRICS)
    return compare_problems(problem_comparisons(results, at=at), metric=metric, at=at, level=level)


def compare_problems(
    problems: Sequence[ProblemComparison],
    *,
    metric: str = "normalised",
    at: int | None = None,
    level: float = 0.05,
) -> Comparison:
    """Rank and test optimizers by their scores on problems; parameters are those of `compare`."""
    names = _optimizer_names(problems)
    # Ranks need every optimizer on every block.
    complete = [name for name in names if all(name in p.by_optimizer for p in problems)]
    # Average the ranks over blocks (Demšar 2006, section 3.2.2).
    over, scores = _rank_blocks(problems, complete, metric)
    ranks = statistics.ranks(scores) if scores.size else np.zeros(0)
    order = np.argsort(ranks, kind="stable")
    ranked = [complete[i] for i in order]
    # Friedman's test needs at least three optimizers and two blocks.
    testable = scores.shape[1] > 2 and len(scores) > 1
    # Unranked optimizers are still tested on the problems that they share with others.
    unranked = [name for name in names if name not in complete]
    return Comparison(
        tuple(problems),
        metric,
        at,
        level,
        tuple(ranked),
        ranks[order],
        over,
        len(scores),
        statistics.friedman(scores) if testable else float("nan"),
        tuple(pairwise_tests(problems, [*ranked, *unranked], metric)),
    )


def format_count(n: int, plural: str) -> str:
    """Return a number with its noun, which is passed in the plural.

    >>> format_count(1, "seeds")
    '1 seed'
    """
    return f"{n} {plural if n != 1 else plural[:-1]}"


def _optimizer_names(problems: Sequence[ProblemComparison]) -> list[str]:
    """Return the names of all optimizers that are scored on any problem, in order."""
    return list(dict.fromkeys(name for problem in problems for name in problem.by_optimizer))


def _rank_blocks(
    problems: Sequence[ProblemComparison], optimizers: Sequence[str], metric: str
) -> tuple[Over, Array]:
    """Return the kind of blocks that optimizers are ranked on, and scores (n_blocks, k).

    Blocks are problems, or the seeds that all optimizers have if there are few problems.
    """
    scores = [[problem.by_optimizer[name] for name in optimizers] for problem in problems]
    # With enough problems each problem is one block, scored by means over seeds.
    means = np.array([[mean_to_minimize(score, metric) for score in row] for row in scores])
    if not optimizers or len(problems) >= MIN_PROBLEMS:
        return "problems", means.reshape(len(problems), -1)
    # Otherwise each seed that all optimizers have is a block.
    blocks = []
    for row in scores:
        for seed in sorted(set.intersection(*(set(score.seeds) for score in row))):
            blocks.append([score.values[metric][score.seeds.index(seed)] for score in row])
    return ("seeds", to_minimize(np.array(blocks), metric)) if blocks else ("problems", means)


def _problem_notes(comparison: Comparison) -> Iterator[str]:
    """Yield the notes of each problem, then searches of unequal lengths."""
    for problem in comparison.problems:
        yield from (f"{problem.name}: {note}" for note in problem.notes)
    # After a fixed number of evaluations all searches have equal lengths.
    if comparison.at is not None:
        return
    for problem in comparison.problems:
        used = {int(n) for score in problem.scores for n in score.evaluations}
        if len(used) > 1:
            yield (
                f"{problem.name}: searches used {min(used)} to {max(used)} evaluations; "
                "--at N compares all after N"
            )


def _settings_notes(comparison: Comparison) -> Iterator[str]:
    """Yield optimizers with different settings on different problems."""
    for name in _optimizer_names(comparison.problems):
        scores = [p.by_optimizer[name] for p in comparison.problems if name in p.by_optimizer]
        if len({score.settings for score in scores}) > 1:
            yield f"{name}: its settings are not the same on all problems"


def _coverage_notes(comparison: Comparison) -> Iterator[str]:
    """Yield optimizers that are not ranked and pairs that are not tested."""
    names = _optimizer_names(comparison.problems)
    if unranked := [name for name in names if name not in comparison.optimizers]:
        yield f"not on every problem and so not ranked: {', '.join(unranked)}"
    tested = {frozenset((pair.first, pair.second)) for pair in comparison.pairs}
    untested = [
        f"{a} and {b}" for a, b in combinations(names, 2) if frozenset((a, b)) not in tested
    ]
    if untested:
        yield f"not tested, because they share no seed of a problem: {', '.join(untested)}"


def _power_notes(comparison: Comparison) -> Iterator[str]:
    """Yield limits on the conclusions that the pairwise tests allow."""
    # Smallest p-value after correction if one optimizer wins all samples of a pair.
    min_p = statistics.min_adjusted_p([pair.n for pair in comparison.pairs])
    if comparison.pairs and min_p >= comparison.level:
        yield (
            f"with so few samples p (Holm) is at least {min_p:.2g}: no difference could be "
            "significant"
        )
    kinds = {pair.over for pair in comparison.pairs}
    # Seeds of one problem are no sample of problems: results do not generalize to others.
    if "seeds" in kinds:
        yield (
            f"with fewer than {MIN_PROBLEMS} shared problems, tests are over seeds: their results "
            "hold for these problems alone, and a few seeds give little evidence, because the "
            "first samples of a seed are the same for all optimizers and on all problems of a space"
        )
    # Problems are not independent either, because a seed starts with the same samples on all.
    if "problems" in kinds:
        scores = [s for problem in comparison.problems for s in problem.by_optimizer.values()]
        seeds = {seed for score in scores for seed in score.seeds}
        yield (
            "the first samples of a seed are the same on all problems of a space: early in a "
            f"search, differences rest on {len(seeds)} independent samples, one per seed, and "
            "p-values over problems are too small"
        )
