"""A corpus of malformed input: exit code 2, one line that names the place, nothing written."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import sys
from pathlib import Path

import pytest

import hwnas

sys.path.insert(0, str(Path(__file__).parent))
import bad_architectures
import bad_experiments
import bad_options
import bad_runs
import bad_tables
from bad_case import Case, check_refused, run_command, snapshot, write_files

CASES = [
    case
    for module in (bad_experiments, bad_tables, bad_architectures, bad_options, bad_runs)
    for case in module.CASES
]


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    experiment = {
        "name": "good",
        "space": "gpt-s",
        "objectives": ["perplexity", "latency@h100"],
        "optimizers": ["random"],
        "budget": {"evaluations": 10},
        "seeds": 1,
    }
    return hwnas.run(experiment, folder / "run", draw=False).path


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_is_refused_in_one_line(
    case: Case, finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if case.needs_run:
        shutil.copytree(finished_run, "run")
    write_files(case.files, tmp_path)
    if case.sql:
        with contextlib.closing(sqlite3.connect(bad_runs.STORE)) as db:
            db.executescript(case.sql)
    before = snapshot(tmp_path)
    check_refused(run_command(*case.arguments, stdin=case.stdin), *case.words)
    assert snapshot(tmp_path) == before
