"""Comparison of a run's optimizers as the report shows it."""

from __future__ import annotations

from typing import Any

from hwnas.errors import InvalidInput
from hwnas.reports.comparison.comparison import compare
from hwnas.reports.comparison.tables import overall_tables
from hwnas.runner.results import Result


def comparison_payload(result: Result) -> dict[str, Any]:
    """Return the tables and notes of `hwnas compare` for one run.

    A run is one problem, so optimizers are compared seed to seed. A run without a finished search
    has neither tables nor notes.
    """
    try:
        comparison = compare([result])
    except InvalidInput:
        return {"tables": [], "notes": []}
    tables = [
        {"title": title, "header": header, "rows": rows}
        for title, header, rows in overall_tables(comparison)
    ]
    # One optimizer has nothing to compare, but its means may be uneven.
    return {"tables": tables, "notes": list(comparison.notes)}
