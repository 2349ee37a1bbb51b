"""Commands run in this process, each test in an empty directory."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from hwnas.cli.main import main

sys.path.insert(0, str(Path(__file__).parent))
from command_line import SMALL, CommandResult, Terminal


@pytest.fixture
def hw(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    """Function that runs a command in an empty directory; with piped=None, on a terminal."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, piped: str | bytes | None = "") -> CommandResult:
        content = piped.encode() if isinstance(piped, str) else piped
        stdin = Terminal() if content is None else io.TextIOWrapper(io.BytesIO(content))
        monkeypatch.setattr(sys, "argv", ["hwnas", *arguments])
        monkeypatch.setattr(sys, "stdin", stdin)
        with pytest.raises(SystemExit) as exit_info:
            main()
        output = capsys.readouterr()
        return CommandResult(int(exit_info.value.code or 0), output.out, output.err)

    return call


@pytest.fixture
def small(tmp_path: Path) -> str:
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(SMALL))
    return "small.yaml"
