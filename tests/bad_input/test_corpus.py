"""A corpus of malformed input: exit code 2, one line that names the place, nothing written."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import bad_experiments
from bad_case import Case, check_refused, run_command, snapshot, write_files

CASES = [*bad_experiments.CASES]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_is_refused_in_one_line(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_files(case.files, tmp_path)
    before = snapshot(tmp_path)
    check_refused(run_command(*case.arguments, stdin=case.stdin), *case.words)
    assert snapshot(tmp_path) == before
