"""Summary of a run."""

from __future__ import annotations

import numpy as np

from hwnas.reports.summary_table import summary_table
from hwnas.runner.results import Result


def test_summary_table(finished_run: Result) -> None:
    header, rows = summary_table(finished_run)
    assert [row[0] for row in rows] == ["random", "uniform"]
    assert all(len(row) == len(header) for row in rows)
    mean = np.mean([r["normalised"] for r in finished_run.summary if r["optimizer"] == "random"])
    assert rows[0][header.index("normalised")] == f"{mean:.4f}"
