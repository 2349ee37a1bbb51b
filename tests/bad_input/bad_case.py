"""One malformed input of the corpus, and the command that reads it in this process."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import typer

from hwnas.cli import main as command_line

# Typer builds it anew for every call, which takes longer than most commands.
COMMAND = typer.main.get_command(command_line.app)

MAX_LENGTH = 1010  # characters of a line that people read
PATIENCE_S = 20  # for a command; most take milliseconds


@dataclass(frozen=True)
class Case:
    """Malformed input, the command that must refuse it, and the words that its line must have.

    Attributes
    ----------
    name
        Name of the test.
    arguments
        Arguments of the command; it runs in an empty directory with the files.
    words
        Parts of the line on standard error: the place first, such as file, key or line.
    files
        Content by path relative to that directory.
    stdin
        Standard input.
    needs_run
        Whether there is a finished run in ``run``, which the files damage.
    sql
        Statements that damage the store of its only search.
    """

    name: str
    arguments: tuple[str, ...]
    words: tuple[str, ...]
    files: Mapping[str, bytes] = field(default_factory=dict)
    stdin: bytes = b""
    needs_run: bool = False
    sql: str = ""


@dataclass(frozen=True)
class Outcome:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str


def run_command(*arguments: str, stdin: bytes = b"") -> Outcome:
    """Run a command of hwnas in this process, as `main` would in a process of its own."""

    def give_up(number: int, frame: object) -> None:
        raise AssertionError(f"no answer after {PATIENCE_S} s: {arguments}")

    out, err = _text_stream(), _text_stream()
    former = sys.argv, sys.stdin, warnings.showwarning, sys.stdout, sys.stderr
    app, command_line.app = command_line.app, cast(typer.Typer, COMMAND)
    sys.argv = ["hwnas", *arguments]
    sys.stdin = io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8")
    code = 0
    handler = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(PATIENCE_S)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            command_line.main()
    except SystemExit as exit_:
        code = int(exit_.code or 0)
    finally:
        signal.alarm(0)
        command_line.app = app
        signal.signal(signal.SIGALRM, handler)
        sys.argv, sys.stdin, warnings.showwarning, sys.stdout, sys.stderr = former
    return Outcome(code, _text_of(out), _text_of(err))


def _text_stream() -> io.TextIOWrapper:
    """Return a stream with the limits of a real one: it cannot hold half a character."""
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)


def _text_of(stream: io.TextIOWrapper) -> str:
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode()


def write_files(files: Mapping[str, bytes], folder: Path) -> None:
    """Write files, with their parents, below a folder."""
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def snapshot(folder: Path) -> dict[str, bytes | str | None]:
    """Return the content of every file below a folder, ``None`` of a directory."""
    content: dict[str, bytes | str | None] = {}
    for path in sorted(folder.rglob("*")):
        # Python's own files, and those of SQLite while a database is open, are no output.
        if "__pycache__" in path.parts or path.name.endswith(("-shm", "-wal")):
            continue
        name = str(path.relative_to(folder))
        if path.is_symlink():
            content[name] = os.readlink(path)
        else:
            content[name] = path.read_bytes() if path.is_file() else None
    return content


def check_refused(outcome: Outcome, *words: str) -> None:
    """Check for exit code 2 and one line on standard error that has some words."""
    assert outcome.code == 2, f"exit code {outcome.code}: {outcome.out[-500:]}{outcome.err[-2000:]}"
    lines = outcome.err.splitlines()
    assert len(lines) == 1, outcome.err[-2000:]
    assert outcome.err.startswith("hwnas: "), outcome.err
    assert outcome.out == "", outcome.out[-500:]
    assert all(c.isprintable() for c in lines[0]), repr(lines[0])
    assert len(lines[0]) <= MAX_LENGTH, f"{len(lines[0])} characters: {lines[0][:2000]}"
    for word in words:
        assert word in lines[0], f"{word!r} is missing: {lines[0]}"
