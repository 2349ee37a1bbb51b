"""Output of the command line: tables, and the progress of searches."""

from __future__ import annotations

import io
import logging
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwnas.cli.streams import printable

if TYPE_CHECKING:
    from hwnas.runner.results import Result
    from hwnas.runner.search_loop import SearchRun

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
AllowPlugins = Annotated[
    bool,
    typer.Option(
        "--allow-plugins",
        help="Run the Python files that an experiment lists, and join the Ray cluster that it "
        "names; of a run only needed for what has changed since it started.",
    ),
]
Tables = Annotated[
    list[str] | None,
    typer.Option(
        "--tables",
        metavar="FILE",
        help="Tables of hwnas fit, whose metrics take precedence; can be repeated.",
    ),
]
NoDraw = Annotated[bool, typer.Option("--no-draw", help="Write no plots and no report.")]
ExecutorName = Annotated[
    str | None,
    typer.Option(
        "--executor",
        metavar="NAME",
        help="Where trials are evaluated: serial, process, ray, or with settings, "
        "as in '{type: process, workers: 4}'.",
    ),
]
Workers = Annotated[int, typer.Option(help="Processes that run searches side by side.", min=1)]

_FOLD = 24  # characters beyond which a table's cell may be folded
_SECONDS_BETWEEN_LINES = 10  # of progress in a log
_SECONDS_BETWEEN_NOTES = 3  # on the hypervolume of a search
_MAX_SHARE_OF_NOTES = 0.02  # of the time of a run


def echo(text: str = "", *, err: bool = False) -> None:
    """Print a text as lines, with control characters escaped."""
    typer.echo(printable(text), err=err)


class Progress:
    """Progress of searches: a bar on a terminal; in a log a line every ten seconds and at the end.

    Meanwhile log messages of the package, such as those of trainings, are printed too.

    Parameters
    ----------
    quiet
        Whether to print nothing.
    """

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.bar: Any = None
        # By the directory of a search.
        self.tasks: dict[Path, Any] = {}
        self.line_times: dict[Path, float] = {}
        self.unprinted: dict[Path, str] = {}
        self.starts: dict[Path, tuple[float, int]] = {}  # time and evaluations of the first update
        self.notes = _HypervolumeNotes()
        self.handler = _LineHandler(self.print_line)
        self.log = logging.getLogger("hwnas")
        self.level = self.log.level
        if not quiet and sys.stderr.isatty():
            # Rich is imported only where there is a bar to draw.
            from rich import progress
            from rich.console import Console

            columns = [*progress.Progress.get_default_columns()]
            columns.append(progress.TextColumn("{task.fields[note]}"))
            self.bar = progress.Progress(*columns, console=Console(stderr=True), transient=True)

    def __enter__(self) -> Progress:
        if self.bar:
            self.bar.start()
        if not self.quiet:
            self.log.addHandler(self.handler)
            self.log.setLevel(logging.INFO)
        return self

    def __exit__(self, *exception: object) -> None:
        self.log.removeHandler(self.handler)
        self.log.setLevel(self.level)
        if self.bar:
            self.bar.stop()
        # Searches that ended before their number of evaluations: by cost, by seconds or an error.
        for line in self.unprinted.values():
            echo(line, err=True)
        self.unprinted.clear()

    def print_line(self, line: str) -> None:
        """Print a line, above the bars if there are any."""
        if self.quiet:
            return
        if self.bar:
            self.bar.console.print(printable(line), highlight=False, markup=False)
        else:
            echo(line, err=True)

    def update(self, run: SearchRun, evaluations: int) -> None:
        """Show the number of evaluations of a search so far.

        Parameters
        ----------
        run
            The search; its budget has the number at which it ends, if any.
        evaluations
            Number of its evaluations.
        """
        total = run.experiment.budget.evaluations
        # A search gets its bar with its first update, in the order in which searches start.
        if self.bar:
            if run.path not in self.tasks:
                self.tasks[run.path] = self.bar.add_task(str(run), total=total, note="")
            note = self.notes.of(run)
            self.bar.update(self.tasks[run.path], completed=evaluations, note=note)
        elif not self.quiet:
            now = time.monotonic()
            # The first update starts the clock of a search; its last evaluation is always printed.
            elapsed = now - self.line_times.setdefault(run.path, now)
            start, first = self.starts.setdefault(run.path, (now, evaluations))
            line = f"{run}: {evaluations} evaluations"
            if evaluations == total or elapsed > _SECONDS_BETWEEN_LINES:
                self.line_times[run.path] = now
                self.unprinted.pop(run.path, None)
                left = (total or 0) - evaluations
                if left > 0 and (note := self.notes.of(run)):
                    line += f", {note}"
                echo(line + _time_left(now - start, evaluations - first, left), err=True)
            else:
                self.unprinted[run.path] = line


class _HypervolumeNotes:
    """Notes on the hypervolume of running searches, renewed from time to time."""

    def __init__(self) -> None:
        self._notes: dict[Path, str] = {}
        self._due: dict[Path, float] = {}  # when a note is next computed

    def of(self, run: SearchRun) -> str:
        """Return the note on a search; empty where there is nothing to say yet."""
        start = time.monotonic()
        if start >= self._due.get(run.path, start):
            from hwnas.runner.running_hypervolume import running_hypervolume

            value = running_hypervolume(run)
            name = "observed hypervolume" if run.experiment.noise else "hypervolume"
            self._notes[run.path] = "" if value is None else f"{name} {value:.4g}"
            now = time.monotonic()
            # Large stores take long to read, so they are read less often.
            wait = max(_SECONDS_BETWEEN_NOTES, (now - start) / _MAX_SHARE_OF_NOTES)
            self._due[run.path] = now + wait
        return self._notes.get(run.path, "")


def _time_left(seconds: float, done: int, left: int) -> str:
    """Return the time that a search may still take, at its mean speed; empty where it is short.

    >>> _time_left(60, 10, 50), _time_left(1, 10, 50), _time_left(60, 10, 0)
    (', about 5 min left', '', '')
    """
    if done <= 0 or left <= 0 or (rest := seconds / done * left) < _SECONDS_BETWEEN_LINES:
        return ""
    return f", about {rest:.0f} s left" if rest < 120 else f", about {rest / 60:.0f} min left"


class _LineHandler(logging.Handler):
    """Log handler that passes each message to a function."""

    def __init__(self, print_line: Callable[[str], None]) -> None:
        super().__init__()
        self.print_line = print_line

    def emit(self, record: logging.LogRecord) -> None:
        self.print_line(record.getMessage())


def print_figures(header: list[str], rows: list[list[Any]], format_: str) -> None:
    """Print figures as a ``"table"`` for people, or in full as ``"csv"`` or ``"json"``."""
    if format_ == "table":
        print_table(header, [[_format_value(value) for value in row] for row in rows])
    elif format_ == "json":
        import json

        records = [dict(zip(header, row, strict=True)) for row in rows]
        echo(json.dumps(records, indent=2))
    else:
        import csv

        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([header, *rows])
        # A file gets the values as they are, a terminal what it can show.
        content = text.getvalue()
        sys.stdout.write(printable(content) if sys.stdout.isatty() else content)


def _format_value(value: Any) -> str:
    """Return a value as text, a float with five significant digits."""
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def print_table(header: list[str], rows: list[list[str]]) -> None:
    """Print aligned columns, those of numbers to the right."""
    header, *rows = ([*map(printable, row)] for row in (header, *rows))
    # A column of numbers is aligned to the right; the header does not count.
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    numeric = [bool(rows) and all(_is_number(row[j]) for row in rows) for j in range(len(header))]
    if not sys.stdout.isatty():
        # A file has no width at which to wrap, and plain formatting is fast for many rows.
        formats = [
            f"{'>' if right else '<'}{width}" for right, width in zip(numeric, widths, strict=True)
        ]
        for row in (header, *rows):
            cells = (f"{cell:{spec}}" for cell, spec in zip(row, formats, strict=True))
            echo("  ".join(cells).rstrip())
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # Only long cells are folded: names and numbers stay on one line, beyond the width if need be.
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


def print_summary(result: Result, *, has_plots: bool) -> None:
    """Print the summary of a run, notes on its searches and the names of its files."""
    from hwnas.reports.summary_table import search_notes, summary_table, table_notes

    print_table(*summary_table(result))
    for note in (*table_notes(result), *search_notes(result)):
        echo(note)
    for line in pick_lines(result):
        echo(line)
    names = ["report.html", "summary.csv", "plots/"] if has_plots else ["summary.csv"]
    present = [name for name in names if (result.path / name).exists()]
    files = ", ".join(present) + "," * (len(present) > 1)
    echo(f"{result.path}: {files} and files of each search")


def print_sweep(path: Path, results: Mapping[str, Result]) -> None:
    """Print one table over all runs of a sweep, what its columns mean, and where the runs are.

    Parameters
    ----------
    path
        Directory of the sweep.
    results
        Results by the name of the cell.
    """
    from hwnas.reports.summary_table import table_notes
    from hwnas.sweep_runs import TABLE, sweep_table

    print_table(*sweep_table(path, results))
    for note in dict.fromkeys(note for r in results.values() for note in table_notes(r)[:1]):
        echo(note)
    echo(f"{path}: {TABLE} and a run for each combination; compare them with: hwnas compare {path}")


def pick_lines(result: Result) -> list[str]:
    """Return the picks of a front of language models with their values, and the command."""
    from hwnas.errors import InvalidInput
    from hwnas.reports.front_picks import PICKS, pick
    from hwnas.spaces import LanguageModelSpace

    if not isinstance(result.space, LanguageModelSpace):
        return []
    lines = []
    for name in PICKS:
        try:
            member = pick(result, name)
        except InvalidInput:  # an empty front, or none of its objectives is a time
            continue
        pairs = zip(result.objectives, member.values.tolist(), strict=True)
        values = ", ".join(f"{objective.value} {value:.4g}" for objective, value in pairs)
        lines.append(f"{name}: {values}: {member.arch}")
    if lines:
        lines.append(
            f"a network of the front as files: hwnas build {result.path} --pick knee --out DIR"
        )
    return lines
