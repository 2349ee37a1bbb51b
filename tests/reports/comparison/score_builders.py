"""Comparisons built from plain values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hwnas.reports.comparison.comparison import Comparison, compare_problems
from hwnas.reports.comparison.problem_comparison import OptimizerScore, ProblemComparison
from hwnas.reports.comparison.quality_indicators import METRICS


def score_of(
    name: str,
    values: Any,
    seeds: Sequence[int] | None = None,
    *,
    evaluations: int = 100,
    settings: str = "",
) -> OptimizerScore:
    """Return the score of an optimizer with the same values (s,) in all metrics."""
    array = np.asarray(values, dtype=float)
    seeds = tuple(range(len(array)) if seeds is None else seeds)
    counts = np.full(len(array), evaluations)
    return OptimizerScore(name, seeds, counts, dict.fromkeys(METRICS, array), "done", settings)


def problem_of(name: str, **values: Any) -> ProblemComparison:
    """Return a problem from the values of each optimizer's seeds."""
    return ProblemComparison(name, "exact front", tuple(score_of(*item) for item in values.items()))


def random_problems(n: int, seeds: int = 2) -> list[ProblemComparison]:
    """Return problems with random values of four optimizers, the last of them the largest."""
    rng = np.random.default_rng(n)
    values = rng.normal([[[0.0], [0.1], [1.0], [3.0]]], 1, (n, 4, seeds)).round(1)
    return [
        problem_of(f"p{i}", **dict(zip("abcd", row, strict=True))) for i, row in enumerate(values)
    ]


def graded_problem(name: str, optimizers: Sequence[str]) -> ProblemComparison:
    """Return a problem of three optimizers: the best by R2, one near it, and one far behind."""
    seeds = np.arange(10.0)
    noise = np.array([3, -4, 5, -6, 7, -8, 9, -10, 11, -12]) / 10
    values = (seeds, seeds + noise + 0.4, seeds + 20)
    return problem_of(name, **dict(zip(optimizers, values, strict=True)))


SPECIAL = "a_b%&{c}"


def special_comparison() -> Comparison:
    """Return a comparison whose names have special characters of LaTeX and Markdown."""
    problem = graded_problem("x_y; params <= 5 on 50%", [SPECIAL, "b", "c"])
    return compare_problems([problem], metric="r2")
