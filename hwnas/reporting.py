"""The command that makes a run's report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwnas.terminal import AllowPlugins


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
    from hwnas.reports.pages import write_page
    from hwnas.results import Result

    result = Result(directory, allow_plugins=allow_plugins)
    typer.echo(str(write_page(result, out)))
