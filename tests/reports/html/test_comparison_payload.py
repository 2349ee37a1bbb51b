"""Comparison of a run's optimizers in its report."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from hwnas.api import run
from hwnas.reports.comparison.comparison import compare
from hwnas.reports.comparison.tables import overall_tables
from hwnas.reports.html.page import render_page
from hwnas.reports.html.payload import report_payload
from hwnas.runner.results import Result

SMALL = {
    "name": "small",
    "space": "gpt-s",
    "objectives": ["perplexity", "latency@rtx3080"],
    "budget": {"evaluations": 20},
}


@pytest.mark.parametrize("optimizers", [["random"], ["random", "uniform"]])
@pytest.mark.parametrize("seeds", [1, 2, 6])
def test_reports_have_the_tables_and_notes_of_compare(
    optimizers: list[str], seeds: int, tmp_path: Path
) -> None:
    form = {**SMALL, "optimizers": optimizers, "seeds": seeds}
    result = run(form, out=tmp_path / "x", draw=False)
    payload = report_payload(result)["comparison"]
    comparison = compare([result])
    assert payload["notes"] == [*comparison.notes]
    assert payload["notes"]
    expected = [[*table] for table in overall_tables(comparison)]
    assert [[*table.values()] for table in payload["tables"]] == expected
    assert len(payload["tables"]) == len(optimizers) - 1
    # The page has the payload as data.
    page = render_page(result)
    assert all(json.dumps(note).replace("<", "\\u003c") in page for note in payload["notes"])


def test_a_run_without_finished_searches_has_no_comparison(finished_run: Result) -> None:
    result = copy.copy(finished_run)
    result.searches = [copy.copy(search) for search in finished_run.searches]
    for search in result.searches:
        meta = {key: value for key, value in search.meta.items() if key != "finished"}
        object.__setattr__(search, "meta", meta)
    assert report_payload(result)["comparison"] == {"tables": [], "notes": []}
