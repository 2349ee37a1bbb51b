"""Tables of a run, and of a comparison of runs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from hwnas import statistics
from hwnas.reports.comparison.comparison import Comparison, counted
from hwnas.reports.comparison.problem_comparison import GREATER, METRICS, Contest
from hwnas.reports.plots.style import names
from hwnas.runner.results import Result

_TIDY = ["problem", "optimizer", "indicator", "seeds", "mean", "low", "high", "best"]


def overview(result: Result) -> tuple[list[str], list[list[str]]]:
    """A row for each optimizer: the mean over its seeds, and the range of the hypervolume.

    Returns
    -------
    header, rows
    """
    rows = []
    for optimizer in names([cell.optimizer for cell in result.searches]):
        of = [row for row in result.summary if row["optimizer"] == optimizer]
        hypervolumes = [row["normalised"] for row in of]
        mean = {
            key: sum(row[key] for row in of) / len(of)
            for key in ("evaluations", "igd_plus", "epsilon", "front_size", "seconds")
        }
        rows.append(
            [
                optimizer,
                str(len(of)),
                f"{mean['evaluations']:.0f}",
                f"{sum(hypervolumes) / len(of):.4f}",
                f"{min(hypervolumes):.4f} to {max(hypervolumes):.4f}",
                f"{mean['igd_plus']:.4f}",
                f"{mean['epsilon']:.4f}",
                f"{mean['front_size']:.0f}",
                f"{mean['seconds']:.2f}",
                ", ".join(names([row["status"] for row in of])),
            ]
        )
    header = [
        "optimizer",
        "seeds",
        "evaluations",
        "normalised",
        "range",
        "igd_plus",
        "epsilon",
        "front_size",
        "seconds",
        "status",
    ]
    return header, rows


def standings(comparison: Comparison, contest: Contest) -> tuple[list[str], list[list[str]]]:
    """A row for each optimizer on a problem, the best first: means over seeds.

    Of the comparison's metric, which is the fourth column, also the 95 % interval of the mean and
    the best seed.

    Returns
    -------
    header, rows
    """
    first, judged = comparison.metric, contest.judged
    others = [metric for metric in METRICS if metric != first]
    digits = {
        m: decimals((e.mean(m) for e in judged.values()), 4 if m in GREATER else 3) for m in METRICS
    }
    rows = []
    for entry in sorted(
        judged.values(),
        key=lambda entry: entry.mean(first) * (-1 if first in GREATER else 1),
    ):
        low, high = (f"{end:.{digits[first]}f}" for end in entry.interval(first))
        rows.append(
            [
                entry.optimizer,
                str(len(entry.seeds)),
                f"{entry.evaluations.mean():.0f}",
                f"{entry.mean(first):.{digits[first]}f}",
                "" if low == "nan" else f"{low} to {high}",
                f"{entry.best(first):.{digits[first]}f}",
                *(f"{entry.mean(metric):.{digits[metric]}f}" for metric in others),
                entry.status,
            ]
        )
    for entry in contest.entries:
        if not entry.seeds:
            rows.append([entry.optimizer, "0", *[""] * (len(others) + 4), entry.status])
    header = ["optimizer", "seeds", "evaluations", first, "95 % interval", "best", *others]
    return [*header, "status"], rows


def ranking(comparison: Comparison) -> tuple[str, list[str], list[list[str]]]:
    """Mean ranks, best first.

    Returns
    -------
    title, header, rows
        The title says over what, with Friedman's test and Nemenyi's critical difference.
    """
    k, n, level = len(comparison.optimizers), comparison.blocks, comparison.level
    title = f"mean rank by {comparison.metric} over {comparison.ranked_over}"
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


def pairs(comparison: Comparison) -> tuple[str, list[str], list[list[str]]]:
    """A row for the test of each pair of optimizers.

    Returns
    -------
    title, header, rows
    """
    digits = decimals((pair.lead for pair in comparison.pairs), 2)
    rows = [
        [
            pair.first,
            pair.second,
            counted(pair.n, pair.over),
            str(pair.wins),
            f"{pair.lead:.{digits}f}",
            f"{pair.p:.2g}",
            f"{pair.p_holm:.2g}",
        ]
        for pair in comparison.pairs
    ]
    title = (
        f"Wilcoxon's signed-rank tests by {comparison.metric}, corrected by Holm for "
        f"{counted(len(rows), 'pairs')}"
    )
    return title, ["better", "than", "over", "wins", "lead", "p", "p (Holm)"], rows


def tidy(comparison: Comparison) -> tuple[list[str], list[list[Any]]]:
    """A row for each problem, optimizer and indicator, in full; what is not known is empty.

    Returns
    -------
    header, rows
    """
    rows: list[list[Any]] = []
    for contest in comparison.contests:
        for entry in contest.judged.values():
            for metric in METRICS:
                mean, best = entry.mean(metric), entry.best(metric)
                ends = ["" if math.isnan(end) else end for end in entry.interval(metric)]
                named = [contest.name, entry.optimizer, metric, len(entry.seeds)]
                rows.append([*named, mean, *ends, best])
    return list(_TIDY), rows


def decimals(values: Iterable[float], digits: int) -> int:
    """How many decimals show so many digits of the least of values, other than 0.

    >>> decimals([0.0123, 7.0], 3), decimals([4321.0], 3)
    (4, 0)
    """
    sizes = [abs(value) for value in values if value and math.isfinite(value)]
    if not sizes:
        return digits
    return min(8, max(0, digits - 1 - math.floor(math.log10(min(sizes)))))
