"""The test suite loses no tests without an error."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(("module", "exit_code"), [("os", 0), ("no_such_module", 2)])
def test_file_that_cannot_be_imported_is_an_error(
    module: str, exit_code: int, tmp_path: Path
) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    folder = tmp_path / "tests"
    folder.mkdir()
    shutil.copy(ROOT / "tests" / "conftest.py", folder)
    source = f"import {module}\n\n\ndef test_nothing() -> None:\n    pass\n"
    (folder / "test_one.py").write_text(source, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "tests"]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert process.returncode == exit_code, process.stdout
