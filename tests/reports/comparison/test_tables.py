"""Tables of comparisons."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from hwnas.errors import UnknownName
from hwnas.reports.comparison import tables
from hwnas.reports.comparison.comparison import compare, compare_problems
from hwnas.reports.comparison.quality_indicators import METRICS

sys.path.insert(0, str(Path(__file__).parent))
from score_builders import problem_of, random_problems


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
        f"{best.mean('normalised'):.4f} ± {best.values['normalised'].std(ddof=1):.4f}",
        f"{low:.4f} to {high:.4f}",
        f"{best.best('normalised'):.4f}",
    ]
    header, rows = tables.problem_table(
        compare([make_run("three-seeds", seeds=3)], metric="igd_plus"), problem
    )
    assert header[3] == "igd_plus"
    assert header[6:] == ["normalised", "epsilon", "r2", "status"]
    assert [row[0] for row in rows] == ["uniform", "random"]


@pytest.mark.parametrize("values", [[0.5], [0.25, 0.75]])
def test_fewer_than_three_seeds_have_no_interval(values: list[float]) -> None:
    problem = problem_of("p", a=values)
    _, ((*row,),) = tables.problem_table(compare_problems([problem]), problem)
    std = " ± 0.3536" if len(values) > 1 else ""
    assert row[3:6] == [f"0.5000{std}", "", f"{max(values):.4f}"]


def test_deviations_have_a_significant_digit() -> None:
    problem = problem_of("p", a=[0.1551, 0.1552, 0.1553], b=[0.25, 0.25, 0.25])
    _, rows = tables.problem_table(compare_problems([problem]), problem, ["r2"])
    assert rows == [["b", "0.2500 ± 0.0000"], ["a", "0.1552 ± 0.0001"]]
    # Rounding errors do not decide the number of decimals.
    problem = problem_of("p", a=[0.5, 0.5 + 1e-15])
    assert tables.problem_table(compare_problems([problem]), problem, ["r2"])[1] == [
        ["a", "0.50000 ± 0.00000"]
    ]


def test_chosen_columns() -> None:
    problem = problem_of("p", a=[0.5], b=[0.25])
    comparison = compare_problems([problem])
    header, rows = tables.problem_table(comparison, problem, ["best", "hypervolume", "best"])
    assert header == ["optimizer", "best", "hypervolume"]
    assert rows[0] == ["a", "0.5000", "0.5000"]
    with pytest.raises(UnknownName, match="unknown column 'intervals'; did you mean 'interval'"):
        tables.problem_table(comparison, problem, ["intervals"])


@pytest.mark.parametrize(
    ("n", "seeds", "titles"),
    [
        (1, 2, ["seed to seed on this problem"]),
        (1, 6, ["seed to seed on this problem"]),
        (2, 6, ["mean rank by", "seed to seed on p0", "seed to seed on p1"]),
        (
            8,
            2,
            [
                "mean rank by",
                "Wilcoxon's signed-rank tests by normalized hypervolume over problems",
            ],
        ),
    ],
)
def test_tests_are_over_problems_and_differences_over_seeds(
    n: int, seeds: int, titles: list[str]
) -> None:
    tested = list(tables.overall_tables(compare_problems(random_problems(n, seeds))))
    assert [title.startswith(start) for (title, *_), start in zip(tested, titles, strict=True)]
    text = " ".join(title for title, *_ in tested)
    assert ("Friedman" in text) == ("Nemenyi" in text) == ("Wilcoxon" in text) == (n == 8)
    for title, header, rows in tested:
        assert {len(row) for row in rows} == {len(header)}
        if title.startswith("seed to seed"):
            assert "bootstrap of the pairs of searches with the same seed" in title
            assert header[-1] == "95 % interval"
            assert all(bool(row[-1]) == (seeds >= 6) for row in rows)


def test_tidy_table(make_run: Any) -> None:
    comparison = compare(
        [make_run("three-seeds", seeds=3), make_run("one", optimizers=["random"])], metric="r2"
    )
    header, rows = tables.tidy_table(comparison)
    assert header == [
        "problem",
        "optimizer",
        "indicator",
        "seeds",
        "mean",
        "low",
        "high",
        "best",
        "std",
    ]
    assert len(rows) == 3 * len(METRICS)
    row = next(row for row in rows if row[1:3] == ["uniform", "epsilon"])
    score = comparison.problems[0].by_optimizer["uniform"]
    assert row[3:] == [
        3,
        score.mean("epsilon"),
        *score.interval("epsilon"),
        score.values["epsilon"].min(),
        score.std("epsilon"),
    ]
    _, rows = tables.tidy_table(compare_problems([problem_of("p", a=[0.1])]))
    assert rows[-1] == ["p", "a", "r2", 1, 0.1, "", "", 0.1, ""]
