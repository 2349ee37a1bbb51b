"""Commands for plots, reports and comparisons of runs, and for reproductions of papers."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwnas.cli.console import (
    AllowPlugins,
    Progress,
    Quiet,
    Tables,
    Workers,
    echo,
    print_figures,
    print_table,
)
from hwnas.errors import InvalidInput

if TYPE_CHECKING:
    from hwnas.reports.comparison.comparison import Comparison


class XAxis(StrEnum):
    """Variables on the x axis of a trajectory."""

    evaluations = "evaluations"
    cost = "cost"
    seconds = "seconds"


class Suffix(StrEnum):
    """File types of a plot."""

    png = "png"
    pdf = "pdf"
    svg = "svg"


class OutputFormat(StrEnum):
    """Output formats of a comparison."""

    table = "table"
    markdown = "markdown"
    latex = "latex"
    csv = "csv"


# The same names as METRICS, repeated so that the command line starts without numpy.
class Indicator(StrEnum):
    """Quality indicators for ranks and tests."""

    normalised = "normalised"
    hypervolume = "hypervolume"
    igd_plus = "igd_plus"
    epsilon = "epsilon"
    r2 = "r2"


class Members(StrEnum):
    """Members of a front that a comparison scores under noise."""

    measured = "measured"
    recommended = "recommended"


def plot(
    directory: Annotated[Path | None, typer.Argument(help="The directory of a run.")] = None,
    kind: Annotated[
        list[str] | None, typer.Option(help="Kind of plot, or all; can be repeated [see --list].")
    ] = None,
    format_: Annotated[Suffix, typer.Option("--format", help="File type.")] = Suffix.png,
    x: Annotated[
        XAxis | None, typer.Option(help="Variable on the x axis of hypervolume [evaluations].")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The directory for the plots [plots/ in that of the run].")
    ] = None,
    allow_plugins: AllowPlugins = False,
    list_kinds: Annotated[bool, typer.Option("--list", help="List the kinds.")] = False,
) -> None:
    """Draw the plots of a run, finished or still running.

    A plot that cannot be drawn leaves the others alone; the exit code is 2 if it was named.

    Examples:

    hwnas plot runs/quickstart --kind attainment

    hwnas plot runs/quickstart --kind hypervolume --x seconds --format pdf
    """
    # Import matplotlib and the runner only in commands that need them, to keep `--help` fast.
    from hwnas.reports.plots import kinds
    from hwnas.runner.results import Result

    if list_kinds:
        print_table(["kind", "drawn", "shows"], kinds.describe_kinds())
        return
    if directory is None:
        raise InvalidInput("plot: expected the directory of a run, or --list")
    result = Result(directory, allow_plugins=allow_plugins)
    files: list[Path] = []
    requested_failed = False
    # One kind after another: what can be drawn is drawn.
    for drawing in kinds.draw_each(result, kind, x=x and x.value, suffix=format_.value, out=out):
        for file in drawing.files:
            echo(str(file))
        if drawing.reason:
            echo(f"hwnas: {drawing.kind}: {drawing.reason}", err=True)
            requested_failed |= drawing.kind in (kind or ())
        files += drawing.files
    if requested_failed or not files:
        raise typer.Exit(2)


def report(
    directory: Annotated[Path, typer.Argument(help="The directory of a run.")],
    out: Annotated[
        Path | None, typer.Option(help="The file to write [report.html in the directory].")
    ] = None,
    allow_plugins: AllowPlugins = False,
) -> None:
    """Write the report of a run, finished or still running, as one HTML file.

    The file opens in any browser, offline. It has interactive fronts and trajectories, the
    architectures on the front, statistics, settings and the environment.

    Examples:

    hwnas report runs/quickstart

    hwnas report runs/quickstart --out shared.html
    """
    from hwnas.reports.html.page import write_page
    from hwnas.runner.results import Result

    result = Result(directory, allow_plugins=allow_plugins)
    echo(str(write_page(result, out)))


def compare(
    directories: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="DIR...", help="The directories of runs; with --transfer, metrics to compare."
        ),
    ] = None,
    format_: Annotated[
        OutputFormat, typer.Option("--format", help="Output format.")
    ] = OutputFormat.table,
    metric: Annotated[
        Indicator, typer.Option(help="Quality indicator for ranks and tests.")
    ] = Indicator.normalised,
    at: Annotated[
        int | None,
        typer.Option(metavar="N", help="Compare the fronts after N evaluations.", min=1),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also draw a diagram of mean ranks, or the losses of --transfer: "
            "FILE.png, .pdf or .svg.",
        ),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            help="Columns of the problems' tables; with commas, or repeated. Any of: seeds, "
            "evaluations, normalised, hypervolume, igd_plus, epsilon, r2, interval, best, "
            "measured, recommended, feasible, slack, status."
        ),
    ] = None,
    caption: Annotated[
        str | None,
        typer.Option(help="Caption of the first LaTeX table, as plain text [from the problem]."),
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="Label of the first LaTeX table [from the problem].")
    ] = None,
    of: Annotated[
        Members, typer.Option(help="Members of a noisy search's front that are scored.")
    ] = Members.measured,
    transfer: Annotated[
        bool,
        typer.Option(
            "--transfer",
            help="Compare devices and workloads instead: what the exact front for each loses on "
            "each other one.",
        ),
    ] = False,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            help="With --transfer: metrics such as latency@a100 or tpot.serve@mine; several with "
            "blanks between them, or repeated [the latency on all devices]."
        ),
    ] = None,
    space: Annotated[
        str | None, typer.Option(help="With --transfer: the space or its YAML file [gpt-s].")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(help="With --transfer: the other objective of all fronts [perplexity]."),
    ] = None,
    metric_tables: Tables = None,
    allow_plugins: AllowPlugins = False,
) -> None:
    """Compare optimizers over runs by quality indicators, mean ranks and tests.

    Runs of the same problem share a table; there is one table for each problem. Ranks and tests
    are over problems; where they are too few, optimizers are compared seed to seed on each problem.

    Examples:

    hwnas compare runs/h100 runs/a100 --plot ranks.png

    hwnas compare runs/h100 --at 100 --metric igd_plus --format latex
    """
    of_transfer = {"--metrics": metrics, "--space": space, "--against": against}
    of_transfer["--tables"] = metric_tables
    if transfer:
        from hwnas.cli.transfer_command import PERPLEXITY, compare_transfer

        _refuse_options({"--at": at, "--columns": columns, "--caption": caption, "--label": label})
        for path in directories or ():
            if path.exists():
                raise InvalidInput(
                    f"{path}: expected metrics with --transfer, found a file or a run"
                )
        names = [*(metrics or ()), *map(str, directories or ())]
        if not all(name.strip() for name in names):
            raise InvalidInput("--metrics: expected metrics such as latency@h100, found ''")
        compare_transfer(
            space or "gpt-s",
            [name for text in names for name in text.split()],
            against=against or PERPLEXITY,
            tables=metric_tables or (),
            format_=format_.value,
            plot=plot,
        )
        return
    _refuse_options(of_transfer, "expected --transfer with it")
    if not directories:
        raise InvalidInput("compare: expected the directories of runs, or --transfer")
    from hwnas.reports.comparison import comparison, export, latex, tables
    from hwnas.sweep_runs import results_of

    _check_format_options(format_, columns, caption, label)
    chosen = [name.strip() for text in columns or () for name in text.split(",")] or None
    results = [r for d in directories for r in results_of(d, allow_plugins=allow_plugins)]
    compared = comparison.compare(results, metric=metric.value, at=at, of=of.value)
    if plot is not None:
        from hwnas.reports.comparison.critical_difference import draw

        # Draw first, so that a plot that cannot be drawn is refused before anything is printed.
        draw(compared, plot)
    if format_ is OutputFormat.table:
        _print_comparison(compared, chosen)
    elif format_ is OutputFormat.csv:
        print_figures(*tables.tidy_table(compared), "csv")
        for note in compared.notes:
            echo(note, err=True)
    elif format_ is OutputFormat.latex:
        echo(latex.latex(compared, chosen, caption=caption, label=label))
    else:
        echo(export.markdown(compared, chosen))
    if plot is not None:
        # Only a table may share standard output with the path; other formats are often piped.
        echo(str(plot), err=format_ is not OutputFormat.table)


def _refuse_options(
    options: Mapping[str, object], reason: str = "expected no --transfer with it"
) -> None:
    """Raise InvalidInput if one of some options is given."""
    for option, value in options.items():
        if value:
            raise InvalidInput(f"{option}: {reason}")


def _check_format_options(
    format_: OutputFormat, columns: list[str] | None, caption: str | None, label: str | None
) -> None:
    """Raise InvalidInput if an option says nothing about the format."""
    if columns and format_ is OutputFormat.csv:
        raise InvalidInput("--columns: csv has all of them; expected another --format")
    for option, value in (("--caption", caption), ("--label", label)):
        if value is not None and format_ is not OutputFormat.latex:
            raise InvalidInput(f"{option}: found --format {format_.value}, expected latex")


def _print_comparison(comparison: Comparison, columns: list[str] | None) -> None:
    """Print a table for each problem, then ranks and tests or differences, and notes."""
    from hwnas.reports.comparison import tables

    for problem in comparison.problems:
        header, rows = tables.problem_table(comparison, problem, columns)
        echo(f"{problem.name}, relative to: {problem.standard}")
        print_table(header, rows)
        echo()
    for title, header, rows in tables.overall_tables(comparison):
        echo(title)
        print_table(header, rows)
        echo()
    for note in comparison.notes:
        echo(note)


def reproduce(
    paper: Annotated[
        str, typer.Argument(metavar="PAPER", help="The paper: hw-gpt-bench.")
    ] = "hw-gpt-bench",
    figure: Annotated[
        list[str] | None, typer.Option(help="Figure to draw; can be repeated [all, see --list].")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A small selection, in minutes.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="The directory [runs/PAPER, or runs/PAPER-quick].")
    ] = None,
    draw_only: Annotated[
        bool, typer.Option("--draw", help="Draw the results that exist, and run nothing.")
    ] = False,
    list_figures: Annotated[bool, typer.Option("--list", help="List the figures.")] = False,
    workers: Workers = 1,
    quiet: Quiet = False,
) -> None:
    """Run the experiments of a paper, draw its figures, and list which claims agree.

    The expected time is printed first. Results that exist are not computed again: if stopped, the
    same command continues.

    Examples:

    hwnas reproduce hw-gpt-bench --quick --workers 2

    hwnas reproduce hw-gpt-bench --figure fronts
    """
    from hwnas.reproductions import reproduce as papers

    if list_figures:
        print_table(["figure", "shows"], papers.describe_figures())
        return
    try:
        with Progress(quiet) as progress:
            page = papers.reproduce(
                paper,
                out,
                figures=figure or (),
                quick=quick,
                run=not draw_only,
                workers=workers,
                progress=progress.update,
                say=progress.print_line,
            )
    except KeyboardInterrupt:
        # Finished trials are on disk, so the command can continue later.
        echo("hwnas: stopped; results so far are kept, the same command continues", err=True)
        raise typer.Exit(2) from None
    if not quiet:
        echo(str(page))
