"""Tables of a comparison of runs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from hwnas import statistics
from hwnas.reports.comparison.comparison import Comparison, format_count
from hwnas.reports.comparison.pairwise import mean_to_minimize
from hwnas.reports.comparison.problem_comparison import ProblemComparison
from hwnas.reports.comparison.quality_indicators import LARGER_IS_BETTER, METRICS

_TIDY = ["problem", "optimizer", "indicator", "seeds", "mean", "low", "high", "best"]


def problem_table(
    comparison: Comparison, problem: ProblemComparison
) -> tuple[list[str], list[list[str]]]:
    """Return a row for each optimizer on a problem, best first: means over seeds.

    The fourth column is the comparison's metric, followed by the 95 % interval of its mean and
    the value of the best seed. Optimizers without scored seeds come last.

    Returns
    -------
    header, rows
    """
    metric, scores = comparison.metric, problem.by_optimizer.values()
    secondary = [name for name in METRICS if name != metric]
    # All values of a column have the same decimals, enough for the smallest of them.
    digits = {
        name: decimals((score.mean(name) for score in scores), 4 if name in LARGER_IS_BETTER else 3)
        for name in METRICS
    }
    rows = []
    for score in sorted(scores, key=lambda score: mean_to_minimize(score, metric)):
        low, high = (f"{bound:.{digits[metric]}f}" for bound in score.interval(metric))
        rows.append(
            [
                score.optimizer,
                str(len(score.seeds)),
                f"{score.evaluations.mean():.0f}",
                f"{score.mean(metric):.{digits[metric]}f}",
                "" if low == "nan" else f"{low} to {high}",
                f"{score.best(metric):.{digits[metric]}f}",
                *(f"{score.mean(name):.{digits[name]}f}" for name in secondary),
                score.status,
            ]
        )
    # Keep optimizers whose searches are all missing or unfinished visible.
    for score in problem.scores:
        if not score.seeds:
            rows.append([score.optimizer, "0", *[""] * (len(secondary) + 4), score.status])
    header = ["optimizer", "seeds", "evaluations", metric, "95 % interval", "best", *secondary]
    return [*header, "status"], rows


def rank_table(comparison: Comparison) -> tuple[str, list[str], list[list[str]]]:
    """Return mean ranks, best first.

    Returns
    -------
    title, header, rows
        The title has the blocks of the ranks, Friedman's test and Nemenyi's critical difference.
    """
    k, n, level = len(comparison.optimizers), comparison.n_blocks, comparison.level
    title = f"mean rank by {comparison.metric} over {comparison.ranked_over}"
    # Nemenyi's distance is context only; bars and p-values are by pairwise tests.
    if not math.isnan(comparison.friedman):
        critical = statistics.critical_difference(k, n, level)
        title += (
            f"; Friedman's test that all are alike: p = {comparison.friedman:.2g}; "
            f"Nemenyi's critical difference at {100 * level:g} %: {critical:.2f}"
        )
    rows = [
        [f"{rank:.2f}", name]
        for name, rank in zip(comparison.optimizers, comparison.ranks, strict=True)
    ]
    return title, ["rank", "optimizer"], rows


def pairwise_table(comparison: Comparison) -> tuple[str, list[str], list[list[str]]]:
    """Return a row for the test of each pair of optimizers.

    Returns
    -------
    title, header, rows
    """
    digits = decimals((pair.lead for pair in comparison.pairs), 2)
    rows = [
        [
            pair.first,
            pair.second,
            format_count(pair.n, pair.over),
            str(pair.wins),
            f"{pair.lead:.{digits}f}",
            f"{pair.p:.2g}",
            f"{pair.p_holm:.2g}",
        ]
        for pair in comparison.pairs
    ]
    title = (
        f"Wilcoxon's signed-rank tests by {comparison.metric}, corrected by Holm for "
        f"{format_count(len(rows), 'pairs')}"
    )
    return title, ["better", "than", "over", "wins", "lead", "p", "p (Holm)"], rows


def tidy_table(comparison: Comparison) -> tuple[list[str], list[list[Any]]]:
    """Return a row for each problem, optimizer and indicator, with unrounded numbers.

    Returns
    -------
    header, rows
        An interval that cannot be computed is empty.
    """
    rows: list[list[Any]] = []
    for problem in comparison.problems:
        for score in problem.by_optimizer.values():
            for metric in METRICS:
                mean, best = score.mean(metric), score.best(metric)
                bounds = ["" if math.isnan(bound) else bound for bound in score.interval(metric)]
                keys = [problem.name, score.optimizer, metric, len(score.seeds)]
                rows.append([*keys, mean, *bounds, best])
    return list(_TIDY), rows


def decimals(values: Iterable[float], digits: int) -> int:
    """Return the decimals that show `digits` significant digits of the smallest nonzero value.

    >>> decimals([0.0123, 7.0], 3), decimals([4321.0], 3)
    (4, 0)
    """
    sizes = [abs(value) for value in values if value and math.isfinite(value)]
    if not sizes:
        return digits
    # Position of the leading digit of the smallest value, at most 8 decimals.
    return min(8, max(0, digits - 1 - math.floor(math.log10(min(sizes)))))
