"""The command `fit`: tables of any metric from measurements or from a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwnas.cli.console import AllowPlugins, echo, print_table

if TYPE_CHECKING:
    from hwnas.surrogates.device_file import DeviceFigure

FIGURE_HEADER = ["space", "metric", "points", "expected error", "Kendall", "in 90 % interval"]


def fit(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="SOURCE...",
            help="CSVs with the columns arch and METRIC, and directories of runs.",
        ),
    ],
    metric: Annotated[
        list[str],
        typer.Option(help="Metric to fit, such as perplexity or tpot.serve@mine; can be repeated."),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The file to write, NAME.npz.")],
    space: Annotated[
        str | None,
        typer.Option(help="The space of CSVs, or its YAML file; by default that the rows name."),
    ] = None,
    workload_file: Annotated[
        Path | None, typer.Option(help="YAML with your own workloads [that of --space].")
    ] = None,
    card: Annotated[
        str | None,
        typer.Option(help="Card whose rows count, where a file has rows of several."),
    ] = None,
    allow_plugins: AllowPlugins = False,
) -> None:
    """Fit tables of any metric to measurements of 6 architectures or more.

    The surrogate answers from them, with exact fronts: backend: {type: surrogate, tables: FILE} in
    a YAML, and --tables FILE of hwnas query, front and compare.

    Examples:

    hwnas fit runs/gpu --metric perplexity --out perplexity.npz

    hwnas fit mine.csv --metric accuracy --out mine.npz
    """
    from hwnas.fitting import fit as fit_metrics
    from hwnas.spaces import load_space
    from hwnas.workloads import load_workloads

    tables = fit_metrics(
        list(sources),
        metric,
        out,
        space=None if space is None else load_space(space),
        workloads=load_workloads(str(workload_file) if workload_file else space),
        card=card,
        allow_plugins=allow_plugins,
        report=lambda figure: echo(progress(figure), err=True),
    )
    print_table(FIGURE_HEADER, [figure_row(figure) for figure in tables.figures])
    echo(f"\n{out}")


def figure_row(figure: DeviceFigure) -> list[str]:
    """Return space, metric, points, and errors on unseen architectures, as texts."""
    is_known = figure.kendall == figure.kendall
    kendall = f"{figure.kendall:.3f}" if is_known else ""
    coverage = f"{figure.coverage:.0%}" if figure.coverage == figure.coverage else ""
    error = f"{figure.error:.2%}"
    return [figure.space.name, figure.quantity, str(figure.points), error, kendall, coverage]


def progress(figure: DeviceFigure) -> str:
    """Return a line on a figure that has been fitted."""
    return f"hwnas: fitted {figure.quantity} on {figure.space.name} to {figure.points} networks"
