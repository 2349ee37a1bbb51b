"""Tables of results: what is said of constraints, of unmeasured members and of failures."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hwnas
from hwnas import pareto
from hwnas.objectives import parse_constraints
from hwnas.reports.summary_table import search_notes, summary_table
from hwnas.runner.results import Result
from hwnas.runner.summary import SUMMARY, summary_columns

EXPERIMENT: dict[str, Any] = {
    "name": "small",
    "space": "gpt-s",
    "objectives": ["perplexity", "latency@h100"],
    "optimizers": ["random", "additive"],
    "budget": {"evaluations": 40},
    "seeds": 1,
}
BOUNDS = ["bfloat16_memory <= 300", "params >= 2e7", "latency@h100 <= 40"]


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open() as lines:
        return list(csv.DictReader(lines))


@pytest.fixture(scope="module", params=[False, True], ids=["median", "noise"])
def constrained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Result:
    content = EXPERIMENT | {"constraints": BOUNDS, "noise": request.param}
    return hwnas.run(content, tmp_path_factory.mktemp("runs") / "x", draw=False)


def test_every_constraint_has_its_value_and_its_slack_on_the_front(constrained: Result) -> None:
    bench = hwnas.surrogate("gpt-s")
    for search in constrained.searches:
        rows = rows_of(search.path / "front.csv")
        assert len(rows) == len(search.front)
        for constraint in parse_constraints(BOUNDS):
            true = bench.predict(search.front.codes, [str(constraint.value)])[:, 0]
            values = [float(row[str(constraint)]) for row in rows]
            slacks = [float(row[f"slack of {constraint}"]) for row in rows]
            assert values == pytest.approx(true)
            sign = 1 if constraint.relation == "<=" else -1
            assert constraint.bound is not None
            assert slacks == pytest.approx([sign * (constraint.bound - v) for v in values])
            assert min(slacks) >= 0


def test_the_summary_has_the_smallest_slack_and_the_feasible_trials(constrained: Result) -> None:
    rows = rows_of(constrained.path / "summary.csv")
    assert tuple(rows[0]) == constrained.summary_columns
    for row, search in zip(rows, constrained.searches, strict=True):
        assert int(row["feasible"]) == np.isfinite(search.losses).all(axis=1).sum()
        front = rows_of(search.path / "front.csv")
        for constraint in constrained.constraints:
            column = f"slack of {constraint}"
            assert float(row[column]) == min(float(member[column]) for member in front)


def test_an_empty_front_has_no_slack(tmp_path: Path) -> None:
    # The bound is met by the exact front, but not by the few architectures of this search.
    space = hwnas.space("gpt-s")
    bound = f"params <= {int(space.params(space.canonical([[0] * len(space.columns)]))[0])}"
    content = EXPERIMENT | {"constraints": [bound], "budget": {"evaluations": 2}}
    result = hwnas.run(content | {"optimizers": ["random"]}, tmp_path / "x", draw=False)
    (row,) = result.summary
    assert row["front_size"] == row["feasible"] == 0
    assert math.isnan(row[f"slack of {bound}"])
    header, [cells] = summary_table(result)
    assert dict(zip(header, cells, strict=True))[f"slack of {bound}"] == ""
    assert search_notes(result) == [
        "random seed 0: no architecture within all constraints was found"
    ]


def test_columns_are_added_only_where_they_say_something() -> None:
    bounds = parse_constraints(["params <= 10"])
    assert summary_columns((), noise=False) == SUMMARY
    assert summary_columns((), noise=True) == (*SUMMARY, "normalised_measured", "unmeasured")
    assert summary_columns(bounds, noise=False) == (*SUMMARY, "feasible", "slack of params <= 10")


def test_members_without_a_measurement_are_counted_and_left_out(tmp_path: Path) -> None:
    result = hwnas.run(EXPERIMENT | {"noise": True}, tmp_path / "x", draw=False)
    point, best = result.reference.point, result.best_hypervolume
    by_name = {row["optimizer"]: row for row in result.summary}
    assert by_name["random"]["unmeasured"] == 0
    assert by_name["random"]["normalised_measured"] == by_name["random"]["normalised"]
    assert by_name["additive"]["unmeasured"] > 0
    for search in result.searches:
        measured = {row.tobytes() for row in search.trials.codes}
        mask = np.array([row.tobytes() in measured for row in search.front.codes])
        row = by_name[search.optimizer]
        assert row["unmeasured"] == (~mask).sum()
        # What an unmeasured member dominates still counts as measured.
        last = search.recommended[-1]
        expected = pareto.hypervolume(last.losses[last.measured], point) / best
        assert expected >= pareto.hypervolume(search.front.losses[mask], point) / best
        assert row["normalised_measured"] == pytest.approx(expected)


def test_notes_name_objectives(tmp_path: Path) -> None:
    result = hwnas.run(EXPERIMENT | {"optimizers": ["additive"]}, tmp_path / "x", draw=False)
    (note,) = search_notes(result)
    assert "perplexity" in note
    assert "latency@h100" in note
    assert "objective" not in note
