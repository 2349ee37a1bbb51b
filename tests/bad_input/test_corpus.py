"""A corpus of malformed input: exit code 2, one line that names the place, nothing written."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import bad_architectures
import bad_experiments
import bad_options
import bad_tables
from bad_case import Case, check_refused, run_command, snapshot, write_files

CASES = [
    case
    for module in (bad_experiments, bad_tables, bad_architectures, bad_options)
    for case in module.CASES
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_is_refused_in_one_line(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_files(case.files, tmp_path)
    before = snapshot(tmp_path)
    check_refused(run_command(*case.arguments, stdin=case.stdin), *case.words)
    assert snapshot(tmp_path) == before
