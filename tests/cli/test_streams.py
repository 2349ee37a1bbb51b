"""Standard output and error that are closed, full, or a pipe that is read no further."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hwnas.cli.main import app

sys.path.insert(0, str(Path(__file__).parent))
from command_line import ARCH, SMALL, assert_user_error

HWNAS = Path(sys.executable).with_name("hwnas")

# A call of each command that prints something.
CALLS = {
    "run": ("run", "small.yaml", "--no-draw"),
    "resume": ("resume", "finished", "--no-draw"),
    "list": ("list", "spaces"),
    "query": ("query", ARCH, "--format", "csv"),
    "front": ("front", "gpt-s", "perplexity", "params", "--csv"),
    "check": ("check", "random"),
    "schema": ("schema",),
    "plot": ("plot", "--list"),
    "report": ("report", "finished"),
    "compare": ("compare", "finished"),
    "reproduce": ("reproduce", "--list"),
    "profile": ("profile", "--space", "tiny.yaml", "--count", "1", "--out", "it.csv"),
    "fit": ("fit", "finished", "--metric", "perplexity", "--out", "fit.npz"),
    "export": ("export", "finished", "--to", "csv", "--out", "trials.csv"),
    "init": ("init", "new.yaml"),
    "build": ("build", "tiny-1-8-2-1-True", "--space", "tiny.yaml", "--out", "model"),
    "evaluate": ("evaluate", "built", "--text", "it.txt", "--tokenizer", "bytes"),
    "--help": ("--help",),
    "--version": ("--version",),
}
TINY = (
    "space: {name: tiny, embed_dim: [8], n_layer: [1], mlp_ratio: [2], n_head: [1], head_size: 4, "
    "context: 8, vocab_size: 20}"
)


class FullFile(io.StringIO):
    """File on a disk without space, or a terminal with the same fault."""

    def __init__(self, is_terminal: bool = False) -> None:
        super().__init__()
        self.is_terminal = is_terminal

    def isatty(self) -> bool:
        return self.is_terminal

    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def prepared(hw: Any, small: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Function that runs a command, where there is what the calls of `CALLS` need."""
    import hwnas
    from hwnas.profiling.export.directory import export_model
    from hwnas.profiling.gpt import GPT
    from hwnas.profiling.survey.drift import Summary
    from hwnas.spaces.architecture import Architecture

    monkeypatch.setattr("hwnas.testing.outcomes", lambda *names, **settings: [])
    monkeypatch.setattr(
        "hwnas.profiling.survey.survey.run_survey",
        lambda *arguments, **settings: Summary(1, 0, 12.0, ()),
    )
    (tmp_path / "tiny.yaml").write_text(TINY)
    (tmp_path / "it.txt").write_text("a text")
    arch = Architecture.parse("tiny-1-8-2-1-True")
    export_model(GPT(arch, head_size=4, context=8, vocab_size=257), tmp_path / "built")
    hwnas.run({**SMALL, "budget": {"evaluations": 8}}, tmp_path / "finished", draw=False)
    return hw


def test_calls_cover_every_command() -> None:
    commands = {
        info.name or (info.callback.__name__ if info.callback else "")
        for info in app.registered_commands
    }
    # The explorer serves until Ctrl-C and prints its address on standard error; an audit and shrink
    # measure.
    assert (commands | {"--help", "--version"}) - {"explore", "audit", "shrink"} == set(CALLS)


@pytest.mark.parametrize("name", CALLS)
def test_full_output_is_one_line(prepared: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    if name == "list":  # without the fault the call succeeds
        assert prepared(*CALLS[name]).code == 0
    monkeypatch.setattr(sys, "stdout", FullFile())
    result = prepared(*CALLS[name])
    assert result.code == 2
    progress = ("random seed 0: ", "hwnas: fitted ")
    lines = [line for line in result.err.splitlines() if not line.startswith(progress)]
    assert lines == [
        "hwnas: standard output: cannot be written to: No space left on device; redirect it to "
        "another file"
    ]


@pytest.mark.parametrize("name", CALLS)
def test_closed_output_is_one_line(
    prepared: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    result = prepared(*CALLS[name])
    assert result.code == 2
    assert result.err.endswith("cannot be written to: it is closed; redirect it to another file\n")
    assert "Traceback" not in result.err


def test_table_on_a_terminal_that_fails(hw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", FullFile(is_terminal=True))
    assert_user_error(hw("list", "spaces"), "No space left on device")


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("stream", [None, FullFile()], ids=["closed", "full"])
def test_faulty_error_stream_changes_nothing(
    prepared: Any, monkeypatch: pytest.MonkeyPatch, name: str, stream: Any
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    result = prepared(*CALLS[name])
    assert result.code == 0
    assert result.out
    assert prepared("list", "nothing").code == 2


def test_an_error_of_another_file_is_not_hidden(hw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> None:
        raise BrokenPipeError(errno.EPIPE, "a pipe of a worker")

    monkeypatch.setattr("hwnas.cli.listing.listing", fail)
    # Typer takes every broken pipe for that of the output and exits with 1.
    assert hw("list", "spaces").code == 1

    def fail_otherwise(*arguments: Any) -> None:
        raise PermissionError(errno.EACCES, "no access")

    monkeypatch.setattr("hwnas.cli.listing.listing", fail_otherwise)
    with pytest.raises(PermissionError):
        hw("list", "spaces")


@pytest.mark.parametrize(
    ("redirection", "code", "reason"),
    [
        (">&-", 2, "it is closed"),
        ("> /dev/full", 2, "No space left on device"),
        (">&- <&- 2>&-", 2, ""),
        ("> /dev/full 2>&1", 2, ""),
        ("2>&-", 0, ""),
        ("2> /dev/full", 0, ""),
        ("| head -1", 0, ""),
        ("| true", 0, ""),
    ],
)
# A long output fails while it is printed, a short one when the interpreter ends.
@pytest.mark.parametrize("command", ["--version", "front gpt-s perplexity latency@h100 --csv"])
def test_installed_command_with_redirected_streams(
    command: str, redirection: str, code: int, reason: str
) -> None:
    process = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{HWNAS} {command} {redirection}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == code, process.stderr
    assert reason in process.stderr
    assert process.stderr.count("\n") == bool(reason)
    assert bool(process.stdout) == (redirection in ("2>&-", "2> /dev/full", "| head -1"))


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_without_a_character_shows_another(encoding: str, tmp_path: Path) -> None:
    start = "from hwnas.cli.streams import guarded_streams\n"
    code = start + "with guarded_streams():\n    print('1 ± 2 → 3')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"1 ")
    assert done.stdout.endswith(b" 3\n")
