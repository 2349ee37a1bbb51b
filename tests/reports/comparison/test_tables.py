"""Tables of comparisons."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from hwnas.reports.comparison import tables
from hwnas.reports.comparison.comparison import compare, compare_problems
from hwnas.reports.comparison.quality_indicators import METRICS

sys.path.insert(0, str(Path(__file__).parent))
from score_builders import problem_of


def test_problem_table(make_run: Any) -> None:
    comparison = compare([make_run("three-seeds", seeds=3)])
    (problem,) = comparison.problems
    header, rows = tables.problem_table(comparison, problem)
    assert header[:6] == [
        "optimizer",
        "seeds",
        "evaluations",
        "normalised",
        "95 % interval",
        "best",
    ]
    assert [row[0] for row in rows] == ["uniform", "random"]
    best = problem.by_optimizer["uniform"]
    low, high = best.interval("normalised")
    assert rows[0][1:6] == [
        "3",
        "40",
        f"{best.mean('normalised'):.4f}",
        f"{low:.4f} to {high:.4f}",
        f"{best.best('normalised'):.4f}",
    ]
    header, rows = tables.problem_table(
        compare([make_run("three-seeds", seeds=3)], metric="igd_plus"), problem
    )
    assert header[3] == "igd_plus"
    assert header[6:] == ["normalised", "hypervolume", "epsilon", "r2", "status"]
    assert [row[0] for row in rows] == ["uniform", "random"]


@pytest.mark.parametrize("values", [[0.5], [0.25, 0.75]])
def test_fewer_than_three_seeds_have_no_interval(values: list[float]) -> None:
    problem = problem_of("p", a=values)
    _, ((*row,),) = tables.problem_table(compare_problems([problem]), problem)
    assert row[3:6] == ["0.5000", "", f"{max(values):.4f}"]


def test_tidy_table(make_run: Any) -> None:
    comparison = compare(
        [make_run("three-seeds", seeds=3), make_run("one", optimizers=["random"])], metric="r2"
    )
    header, rows = tables.tidy_table(comparison)
    assert header == ["problem", "optimizer", "indicator", "seeds", "mean", "low", "high", "best"]
    assert len(rows) == 3 * len(METRICS)
    row = next(row for row in rows if row[1:3] == ["uniform", "epsilon"])
    score = comparison.problems[0].by_optimizer["uniform"]
    assert row[3:] == [
        3,
        score.mean("epsilon"),
        *score.interval("epsilon"),
        score.values["epsilon"].min(),
    ]
    _, rows = tables.tidy_table(compare_problems([problem_of("p", a=[0.1])]))
    assert rows[-1] == ["p", "a", "r2", 1, 0.1, "", "", 0.1]
