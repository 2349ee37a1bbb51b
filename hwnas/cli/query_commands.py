"""Commands that list components and print values of the surrogate benchmark."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hwnas.cli.console import Tables, echo, print_figures, print_table
from hwnas.cli.usage import unknown_option
from hwnas.errors import InvalidInput

_MAX_MB = 256  # of standard input, as of a CSV file


class Listing(StrEnum):
    """Listings of the command `list`."""

    optimizers = "optimizers"
    backends = "backends"
    spaces = "spaces"
    devices = "devices"
    metrics = "metrics"
    workloads = "workloads"
    experiments = "experiments"
    loggers = "loggers"


class Format(StrEnum):
    """Output formats of a table."""

    table = "table"
    csv = "csv"
    json = "json"


def list_(
    kind: Annotated[Listing, typer.Argument(help="The kind of components to list.")],
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print details.")] = False,
    space: Annotated[
        str | None,
        typer.Option(
            help="The space or its YAML file, for devices, metrics and workloads [gpt-s]."
        ),
    ] = None,
) -> None:
    """List optimizers, backends, spaces, devices, metrics, workloads, experiments or loggers.

    For a device: ranges of the median latency (ms) and energy (mWh) over all architectures.

    Examples:

    hwnas list optimizers

    hwnas list devices --space gpt-l --verbose
    """
    from hwnas.cli import listing

    has_figures = kind in (Listing.devices, Listing.metrics)
    if space is not None and not has_figures and kind is not Listing.workloads:
        raise InvalidInput(
            f"list {kind.value}: takes no --space; devices, metrics and workloads do"
        )
    scale = space or "gpt-s"
    print_table(*listing.listing(kind.value, verbose, scale))
    if verbose and has_figures:
        # The source of the figures, and their errors on held-out architectures.
        fit = listing.fit(scale)
        for title, table in fit.tables.items():
            echo(f"\n{title}")
            print_table(*table)
        if fit.lines:
            echo()
        for title, text in fit.lines.items():
            echo(f"{title}: {text}")


def query(
    archs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ARCH]...",
            help="Architectures, such as gpt-s-12-768-...; with none, or -, from standard input: "
            "one in each line, JSON, or CSV with a column arch.",
        ),
    ] = None,
    device: Annotated[
        list[str] | None, typer.Option(help="Only this device; can be repeated.")
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this metric, such as latency, latency@h100:p90 or kv_cache.serve; can be "
            "repeated."
        ),
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(help="The space or its YAML file; by default that of the strings."),
    ] = None,
    tables: Tables = None,
    format_: Annotated[Format, typer.Option("--format", help="Output format.")] = Format.table,
) -> None:
    """Print known values of architectures: of the surrogate benchmark, a table, closed forms.

    One row for each architecture; for a single one without --metric, one row for each metric.

    Examples:

    hwnas query gpt-s-10-192-2-2-2-2-2-2-2-2-2-2-4-4-4-4-4-4-4-4-4-4-True

    hwnas front gpt-l perplexity latency@h100 --csv | hwnas query --format csv
    """
    from hwnas.cli import listing
    from hwnas.spaces import arch_input, load_space
    from hwnas.workloads import load_workloads

    chosen_space = None if space is None else load_space(space)
    # A single architecture has one row for each metric, with quantiles; several have one row each.
    if archs and "-" not in archs:
        if named := next(filter(os.path.isfile, archs), None):
            raise InvalidInput(f"{named}: is a file, which is read by: hwnas query - < {named}")
        architectures = arch_input.parse_arguments(archs, chosen_space)
        if len(architectures) == 1 and not metric:
            table = listing.figures_of_one(
                architectures[0], device or (), chosen_space, tables or ()
            )
            print_figures(*table, format_)
            return
    elif archs and len(archs) > 1:
        raise InvalidInput("query: expected either architectures or -, found both")
    else:
        text = _read_standard_input(requested=bool(archs))
        architectures = arch_input.parse_text(text, chosen_space)
    workloads = load_workloads(space)
    table = listing.figures(
        architectures, metric or (), device or (), chosen_space, workloads, tables or ()
    )
    print_figures(*table, format_)


def front(
    context: typer.Context,
    space: Annotated[str, typer.Argument(help="Name of a space, or its YAML file.")],
    objectives: Annotated[
        list[str], typer.Argument(help="Metrics to minimize; -flops is maximized.")
    ],
    constraint: Annotated[
        list[str] | None,
        typer.Option(help="A constraint, such as 'params <= 1e8'; can be repeated."),
    ] = None,
    best: Annotated[
        int | None, typer.Option(help="Only the K members with the largest hypervolume.", min=1)
    ] = None,
    tables: Tables = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    plot: Annotated[bool, typer.Option("--plot", help="Also draw front-SPACE.png.")] = False,
) -> None:
    """Print the exact Pareto front of the surrogate benchmark, a table or a test problem.

    Examples:

    hwnas front gpt-s perplexity latency@h100 --constraint 'params <= 1e8'

    hwnas front gpt-l perplexity energy@a100 --best 10 --plot
    """
    from hwnas.cli import listing

    # The setting that allows -flops lets misspelled options through too.
    for text in objectives:
        if text.startswith("--"):
            options = [name for p in context.command.params for name in p.opts]
            raise unknown_option(text, options)
    if plot and len(objectives) < 2:
        raise InvalidInput("--plot: expected two objectives or more, found one")
    exact = listing.exact_front(space, objectives, constraint or [], best, tables or ())
    for note in exact.notes:
        echo(f"hwnas: {note}", err=True)
    header = ["arch", *map(str, exact.front.objectives)]
    rows = [[str(arch), *values] for arch, values in zip(exact.archs, exact.values, strict=True)]
    print_figures(header, rows, Format.csv if csv else Format.table)
    if not rows:
        reason = f"keeps {', '.join(constraint)}" if constraint else "has finite values"
        echo(f"hwnas: the front is empty: no architecture of {exact.space} {reason}", err=True)
    elif plot:
        from hwnas.reports.plots.kinds import draw_front

        file = draw_front(exact.front, exact.title, Path(f"front-{exact.space}.png"))
        echo(str(file), err=csv)


def _read_standard_input(*, requested: bool) -> str:
    """Return the text on standard input; on a terminal only if it was requested by ``-``."""
    if sys.stdin is None or (sys.stdin.isatty() and not requested):
        raise InvalidInput("query: expected architectures, as arguments or on standard input")
    content = sys.stdin.buffer.read(_MAX_MB * 1_000_000 + 1)
    if len(content) > _MAX_MB * 1_000_000:
        raise InvalidInput(f"standard input: is larger than {_MAX_MB} MB, the limit")
    try:
        # Some programs begin a file with a byte order mark.
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidInput("standard input: expected UTF-8 text") from None
