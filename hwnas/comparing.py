"""The command that compares runs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwnas.terminal import print_figures, print_table

if TYPE_CHECKING:
    from hwnas.reports.comparisons import Comparison


class Form(StrEnum):
    """How a comparison is printed."""

    table = "table"
    markdown = "markdown"
    latex = "latex"
    csv = "csv"


class Judge(StrEnum):
    """What ranks and tests are of."""

    normalised = "normalised"
    hypervolume = "hypervolume"
    igd_plus = "igd_plus"
    epsilon = "epsilon"
    r2 = "r2"


def compare(
    directories: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="The directories of runs.")
    ],
    format_: Annotated[Form, typer.Option("--format", help="How to print.")] = Form.table,
    metric: Annotated[Judge, typer.Option(help="What ranks and tests are of.")] = Judge.normalised,
    at: Annotated[
        int | None,
        typer.Option(metavar="N", help="Judge what was found after N evaluations.", min=1),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw mean ranks as well: FILE.png, .pdf or .svg."),
    ] = None,
    allow_plugins: Annotated[
        bool, typer.Option("--allow-plugins", help="Run the Python files that runs list.")
    ] = False,
) -> None:
    """Compare optimizers over runs: indicators, mean ranks and tests.

    Runs of the same problem stand side by side, others one below the other.
    """
    from hwnas.reports import comparisons, markups, tables
    from hwnas.results import Result

    results = [Result(path, allow_plugins=allow_plugins) for path in directories]
    found = comparisons.compare(results, metric=metric.value, at=at)
    if plot is not None:
        from hwnas.reports.rankings import draw

        draw(found, plot)
    if format_ is Form.table:
        _print(found)
    elif format_ is Form.csv:
        print_figures(*tables.tidy(found), "csv")
        for note in found.notes:
            typer.echo(note, err=True)
    else:
        typer.echo(markups.latex(found) if format_ is Form.latex else markups.markdown(found))
    if plot is not None:
        typer.echo(str(plot), err=format_ is not Form.table)


def _print(found: Comparison) -> None:
    from hwnas.reports import tables

    for contest in found.contests:
        typer.echo(f"{contest.name}, relative to: {contest.standard}")
        print_table(*tables.standings(found, contest))
        typer.echo()
    overall = [tables.ranking(found)] if len(found.optimizers) > 1 else []
    for title, header, rows in overall + ([tables.pairs(found)] if found.pairs else []):
        typer.echo(title)
        print_table(header, rows)
        typer.echo()
    for note in found.notes:
        typer.echo(note)
