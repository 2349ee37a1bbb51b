"""What the command line shows: tables, and how far a search is."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
AllowPlugins = Annotated[
    bool, typer.Option("--allow-plugins", help="Run the Python files that an experiment lists.")
]
Workers = Annotated[int, typer.Option(help="Processes that run searches side by side.", min=1)]

_FOLD = 24  # characters beyond which a table's cell may be folded


class Progress:
    """A bar on a terminal, a plain line now and then in a log, nothing when quiet.

    Meanwhile what the package logs, such as how a training goes, is shown too.

    Parameters
    ----------
    total
        Evaluations of each search, if that is known.
    quiet
        Whether to show nothing.
    """

    def __init__(self, total: int | None, quiet: bool) -> None:
        self.total = total
        self.bar: Any = None
        self.tasks: dict[str, Any] = {}
        self.last: dict[str, float] = {}
        self.silent = quiet
        self.lines = _Lines(self.say)
        self.log = logging.getLogger("hwnas")
        self.level = self.log.level
        if not quiet and sys.stderr.isatty():
            from rich import progress
            from rich.console import Console

            self.bar = progress.Progress(console=Console(stderr=True), transient=True)

    def __enter__(self) -> Progress:
        if self.bar:
            self.bar.start()
        if not self.silent:
            self.log.addHandler(self.lines)
            self.log.setLevel(logging.INFO)
        return self

    def __exit__(self, *exception: object) -> None:
        self.log.removeHandler(self.lines)
        self.log.setLevel(self.level)
        if self.bar:
            self.bar.stop()

    def say(self, line: str) -> None:
        """Show a line, above the bars if there are some."""
        if self.silent:
            return
        if self.bar:
            self.bar.console.print(line, highlight=False, markup=False)
        else:
            typer.echo(line, err=True)

    def at(self, cell: object, done: int) -> None:
        """A cell has done so many evaluations."""
        name = str(cell)
        if self.bar:
            if name not in self.tasks:
                self.tasks[name] = self.bar.add_task(name, total=self.total)
            self.bar.update(self.tasks[name], completed=done)
        elif not self.silent:
            now = time.monotonic()
            if done == self.total or now - self.last.setdefault(name, now) > 10:
                self.last[name] = now
                typer.echo(f"{name}: {done} evaluations", err=True)


class _Lines(logging.Handler):
    """Passes what is logged on to a function, a line each."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__()
        self.say = say

    def emit(self, record: logging.LogRecord) -> None:
        self.say(record.getMessage())


def print_figures(header: list[str], rows: list[list[Any]], format_: str) -> None:
    """Print figures as a ``"table"`` for people, or in full as ``"csv"`` or ``"json"``."""
    if format_ == "table":
        print_table(header, [[_short(value) for value in row] for row in rows])
    elif format_ == "json":
        import json

        records = [dict(zip(header, row, strict=True)) for row in rows]
        typer.echo(json.dumps(records, indent=2))
    else:
        import csv

        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _short(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def print_table(header: list[str], rows: list[list[str]]) -> None:
    """Print aligned columns, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    numeric = [bool(rows) and all(_is_number(row[j]) for row in rows) for j in range(len(header))]
    if not sys.stdout.isatty():  # no width to wrap at: whole lines, and fast, however many
        look = [
            f"{'>' if right else '<'}{width}" for right, width in zip(numeric, widths, strict=True)
        ]
        for row in (header, *rows):
            cells = (f"{cell:{how}}" for cell, how in zip(row, look, strict=True))
            typer.echo("  ".join(cells).rstrip())
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # Only long cells are folded: no name or number is worth reading in two halves.
    console = Console()
    console.width = max(console.width, sum(min(width, _FOLD) + 2 for width in widths))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, right, width in zip(header, numeric, widths, strict=True):
        table.add_column(
            Text(name),
            justify="right" if right else "left",
            overflow="fold",
            no_wrap=width <= _FOLD,
        )
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


def _is_number(text: str) -> bool:
    return text[:1].isdigit() or text[:1] in "-.+"
