"""Commands that look at runs: plots, reports, comparisons, and papers run again."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwnas.cli.console import AllowPlugins, Progress, Quiet, Workers, print_figures, print_table
from hwnas.errors import InvalidInput

if TYPE_CHECKING:
    from hwnas.reports.comparison.comparison import Comparison


class X(StrEnum):
    """What `plot` draws a trajectory over."""

    evaluations = "evaluations"
    cost = "cost"
    seconds = "seconds"


class Suffix(StrEnum):
    """What a plot is saved as."""

    png = "png"
    pdf = "pdf"
    svg = "svg"


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


def plot(
    directory: Annotated[Path | None, typer.Argument(help="The directory of a run.")] = None,
    kind: Annotated[list[str] | None, typer.Option(help="Which plots [see --list].")] = None,
    format_: Annotated[Suffix, typer.Option("--format", help="File type.")] = Suffix.png,
    x: Annotated[
        X | None, typer.Option(help="What hypervolume is drawn over [evaluations].")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The directory to draw into [plots, in the run's].")
    ] = None,
    allow_plugins: AllowPlugins = False,
    list_kinds: Annotated[bool, typer.Option("--list", help="List the kinds.")] = False,
) -> None:
    """Draw the plots of a run again, also while it is running."""
    from hwnas.reports.plots import kinds
    from hwnas.runner.results import Result

    if list_kinds:
        print_table(["kind", "drawn", "shows"], kinds.described())
        return
    if directory is None:
        raise InvalidInput("plot: expected the directory of a run, or --list")
    result = Result(directory, allow_plugins=allow_plugins)
    for file in kinds.draw(result, kind, x=x and x.value, suffix=format_.value, out=out):
        typer.echo(str(file))


def report(
    directory: Annotated[Path, typer.Argument(help="The directory of a run.")],
    out: Annotated[
        Path | None, typer.Option(help="The file to write [report.html in the directory].")
    ] = None,
    allow_plugins: AllowPlugins = False,
) -> None:
    """Write the report of a run, one HTML file, also while it is running.

    It opens in any browser, offline: fronts and trajectories to look into, the networks found,
    statistics, settings, environment.
    """
    from hwnas.reports.html.page import write_page
    from hwnas.runner.results import Result

    result = Result(directory, allow_plugins=allow_plugins)
    typer.echo(str(write_page(result, out)))


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
    allow_plugins: AllowPlugins = False,
) -> None:
    """Compare optimizers over runs: indicators, mean ranks and tests.

    Runs of the same problem stand side by side, others one below the other.
    """
    from hwnas.reports.comparison import comparison, export, tables
    from hwnas.runner.results import Result

    results = [Result(path, allow_plugins=allow_plugins) for path in directories]
    found = comparison.compare(results, metric=metric.value, at=at)
    if plot is not None:
        from hwnas.reports.comparison.critical_difference import draw

        draw(found, plot)  # first: what cannot be drawn is refused before anything is printed
    if format_ is Form.table:
        _print(found)
    elif format_ is Form.csv:
        print_figures(*tables.tidy(found), "csv")
        for note in found.notes:
            typer.echo(note, err=True)
    else:
        typer.echo(export.latex(found) if format_ is Form.latex else export.markdown(found))
    if plot is not None:
        typer.echo(str(plot), err=format_ is not Form.table)


def _print(found: Comparison) -> None:
    from hwnas.reports.comparison import tables

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


def reproduce(
    paper: Annotated[
        str, typer.Argument(metavar="PAPER", help="Which paper: hw-gpt-bench.")
    ] = "hw-gpt-bench",
    figure: Annotated[
        list[str] | None, typer.Option(help="Only this figure; can be repeated [see --list].")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A small selection, in minutes.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="The directory [runs/PAPER, or runs/PAPER-quick].")
    ] = None,
    drawn: Annotated[
        bool, typer.Option("--draw", help="Draw what is there, and run nothing.")
    ] = False,
    list_figures: Annotated[bool, typer.Option("--list", help="List the figures.")] = False,
    workers: Workers = 1,
    quiet: Quiet = False,
) -> None:
    """Run a paper's experiments again, draw its kinds of figures, and say what agrees.

    It says first how long that takes. What is there already is not run again: stopped, it goes on
    with the same command.
    """
    from hwnas.reproductions import reproduce as papers

    if list_figures:
        print_table(["figure", "shows"], papers.described())
        return
    try:
        with Progress(None, quiet) as progress:
            page = papers.reproduce(
                paper,
                out,
                figures=figure or (),
                quick=quick,
                run=not drawn,
                workers=workers,
                progress=progress.at,
                say=progress.say,
            )
    except KeyboardInterrupt:
        typer.echo("hwnas: stopped; what was done is kept, the same command goes on", err=True)
        raise typer.Exit(2) from None
    if not quiet:
        typer.echo(str(page))
