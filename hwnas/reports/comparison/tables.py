"""Tables of a comparison of runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from hwnas import statistics
from hwnas.errors import UnknownName
from hwnas.reports.comparison.comparison import Comparison
from hwnas.reports.comparison.notes import format_count
from hwnas.reports.comparison.pairwise import mean_to_minimize
from hwnas.reports.comparison.problem_comparison import OptimizerScore, ProblemComparison
from hwnas.reports.comparison.quality_indicators import (
    LARGER_IS_BETTER,
    METRICS,
    metric_in_prose,
)

# Columns of a problem's table that can be chosen; the optimizer always comes first.
COLUMNS = (
    *("seeds", "evaluations", *METRICS, "interval", "best"),
    *("measured", "recommended", "feasible", "slack", "status"),
)

_HEADERS = {"interval": "95 % interval"}
_TIDY = ["problem", "optimizer", "indicator", "seeds", "mean", "low", "high", "best", "std"]


def default_columns(metric: str, problem: ProblemComparison) -> tuple[str, ...]:
    """Return the columns of a problem's table for a comparison by a metric."""
    secondary = [name for name in METRICS if name not in (metric, "hypervolume")]
    measured = ("measured", "recommended") if problem.has_unmeasured else ()
    constraints = ("feasible", "slack") if problem.slack_columns else ()
    start = ("seeds", "evaluations", metric, "interval", "best")
    return (*start, *measured, *secondary, *constraints, "status")


def problem_table(
    comparison: Comparison,
    problem: ProblemComparison,
    columns: Sequence[str] | None = None,
    slack_columns: Sequence[str] | None = None,
) -> tuple[list[str], list[list[str]]]:
    """Return a row for each optimizer on a problem, best first.

    Indicators are means ± standard deviations over seeds. ``interval`` is the 95 % interval of
    the mean of the comparison's metric, ``best`` its value for the best seed. ``measured`` is the
    normalized hypervolume of the recommended architectures that were measured, ``recommended`` that
    of all of them, ``feasible`` the
    mean number of feasible trials, and ``slack`` stands for a column for each constraint: its
    smallest slack on the fronts of all seeds, positive inside the bound. Optimizers without scored
    seeds come last.

    Parameters
    ----------
    columns
        Some of `COLUMNS`, in their order; `default_columns` by default.
    slack_columns
        Names of the columns that ``slack`` stands for, where several problems share a header; by
        default those of the problem.

    Returns
    -------
    header, rows

    Raises
    ------
    UnknownName
        There is no such column.
    """
    metric, scores = comparison.metric, problem.by_optimizer.values()
    chosen = default_columns(metric, problem) if columns is None else tuple(dict.fromkeys(columns))
    for name in chosen:
        if name not in COLUMNS:
            raise UnknownName("column", name, COLUMNS)
    slacks = problem.slack_columns if slack_columns is None else slack_columns
    chosen = tuple(
        part for name in chosen for part in (slacks or (name,) if name == "slack" else (name,))
    )
    digits = {name: _column_decimals(scores, name) for name in METRICS}
    rows = []
    for score in sorted(scores, key=lambda score: mean_to_minimize(score, metric)):
        cells = _cells(score, metric, digits)
        rows.append([score.optimizer, *(cells.get(name, "") for name in chosen)])
    # Keep optimizers whose searches are all missing or unfinished visible.
    for score in problem.scores:
        if not score.seeds:
            left_out = {"seeds": "0", "status": score.status}
            rows.append([score.optimizer, *(left_out.get(name, "") for name in chosen)])
    return ["optimizer", *(_HEADERS.get(name, name) for name in chosen)], rows


def overall_tables(comparison: Comparison) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Yield title, header and rows of each table that compares optimizers.

    These are mean ranks and pairwise tests over problems, or differences seed to seed on each
    problem where the problems are too few. One optimizer has none.
    """
    # Ranks on one problem are the order of its table.
    if len(comparison.optimizers) > 1 and len(comparison.problems) > 1:
        yield rank_table(comparison)
    if comparison.pairs:
        yield pairwise_table(comparison)
    for i, differences in enumerate(comparison.seed_differences):
        if differences:
            yield seed_table(comparison, i)


def rank_table(comparison: Comparison) -> tuple[str, list[str], list[list[str]]]:
    """Return mean ranks, best first.

    Returns
    -------
    title, header, rows
        The title has Friedman's test and Nemenyi's critical difference, if there are tests.
    """
    k, n, level = len(comparison.optimizers), len(comparison.problems), comparison.level
    title = f"mean rank by {metric_in_prose(comparison.metric)} over {format_count(n, 'problems')}"
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
    """Return a row for the test of each pair of optimizers over problems.

    Returns
    -------
    title, header, rows
    """
    digits = decimals((pair.lead for pair in comparison.pairs), 2)
    rows = [
        [
            pair.first,
            pair.second,
            str(pair.n),
            str(pair.wins),
            f"{pair.lead:.{digits}f}",
            f"{pair.p:.2g}",
            f"{pair.p_holm:.2g}",
        ]
        for pair in comparison.pairs
    ]
    title = (
        f"Wilcoxon's signed-rank tests by {metric_in_prose(comparison.metric)} over problems, "
        f"corrected by Holm for {format_count(len(rows), 'pairs')}"
    )
    return title, ["better", "than", "problems", "wins", "lead", "p", "p (Holm)"], rows


def seed_table(comparison: Comparison, index: int) -> tuple[str, list[str], list[list[str]]]:
    """Return a row for the difference of each pair of optimizers, seed to seed on one problem.

    Parameters
    ----------
    index
        Index of the problem.

    Returns
    -------
    title, header, rows
        The interval of a pair with too few seeds is empty.
    """
    differences = comparison.seed_differences[index]
    digits = decimals((difference.lead for difference in differences), 2)
    rows = [
        [
            difference.first,
            difference.second,
            str(difference.n),
            str(difference.wins),
            f"{difference.lead:.{digits}f}",
            ""
            if math.isnan(difference.low)
            else f"{difference.low:.{digits}f} to {difference.high:.{digits}f}",
        ]
        for difference in differences
    ]
    of_problem = (
        "on this problem"
        if len(comparison.problems) == 1
        else f"on {comparison.problems[index].name}"
    )
    interval = f"{100 * (1 - comparison.level):g} % interval"
    title = (
        f"seed to seed {of_problem}: differences of mean {metric_in_prose(comparison.metric)} over "
        f"shared seeds; {interval} by a bootstrap of the pairs of searches with the same seed"
    )
    return title, ["better", "than", "seeds", "wins", "lead", interval], rows


def tidy_table(comparison: Comparison) -> tuple[list[str], list[list[Any]]]:
    """Return a row for each problem, optimizer and value, with unrounded numbers.

    The values are the indicators and, under noise or with constraints, the others of
    `OptimizerScore.values`.

    Returns
    -------
    header, rows
        A value that cannot be computed is empty.
    """
    rows: list[list[Any]] = []
    for problem in comparison.problems:
        for score in problem.by_optimizer.values():
            for metric in score.values:
                low, high = score.interval(metric)
                numbers = (score.mean(metric), low, high, score.best(metric), score.std(metric))
                keys = [problem.name, score.optimizer, metric, len(score.seeds)]
                rows.append([*keys, *("" if math.isnan(x) else x for x in numbers)])
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


def _column_decimals(scores: Iterable[OptimizerScore], metric: str) -> int:
    """Return the decimals of all values in a column, enough for the smallest of them."""
    digits = decimals(
        (score.mean(metric) for score in scores), 4 if metric in LARGER_IS_BETTER else 3
    )
    # A small deviation has one significant digit if two more decimals suffice.
    return max(digits, min(digits + 2, decimals((score.std(metric) for score in scores), 1)))


def _cells(score: OptimizerScore, metric: str, digits: dict[str, int]) -> dict[str, str]:
    """Return the texts of an optimizer's row, by column."""
    low, high = (f"{bound:.{digits[metric]}f}" for bound in score.interval(metric))
    return {
        "seeds": str(len(score.seeds)),
        "evaluations": f"{score.evaluations.mean():.0f}",
        **{
            name: f"{score.mean(name):.{digits[name]}f}{_plus_minus(score.std(name), digits[name])}"
            for name in METRICS
        },
        "interval": "" if low == "nan" else f"{low} to {high}",
        "best": f"{score.best(metric):.{digits[metric]}f}",
        **_extra_cells(score, digits["normalised"]),
        "status": score.status,
    }


def _extra_cells(score: OptimizerScore, digits: int) -> dict[str, str]:
    """Return the texts of values that only noise or constraints have, by column."""
    cells: dict[str, str] = {}
    for name in score.values:
        if name in ("measured", "recommended"):
            cells[name] = f"{score.mean(name):.{digits}f}{_plus_minus(score.std(name), digits)}"
        elif name == "feasible":
            cells[name] = f"{score.mean(name):.0f}"
        elif name not in METRICS:
            # A seed with an empty front has no slack.
            slacks = [value for value in score.values[name] if not math.isnan(value)]
            cells[name] = f"{min(slacks):+.4g}" if slacks else ""
    return cells


def _plus_minus(std: float, digits: int) -> str:
    """Return a standard deviation as it follows a mean; nothing if it is not known."""
    return "" if math.isnan(std) else f" ± {std:.{digits}f}"
