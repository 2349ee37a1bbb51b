"""The command that opens the explorer in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwnas.cli.console import Tables, echo


def explore(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[RUN_DIR]...", help="Runs to draw, which may still be running."),
    ] = None,
    space: Annotated[
        list[str] | None,
        typer.Option(metavar="SPACE", help="Also this space, or its YAML file; can be repeated."),
    ] = None,
    tables: Tables = None,
    port: Annotated[
        int, typer.Option(help="The port; 0 for any free one.", min=0, max=65535)
    ] = 8730,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the address, open no browser.")
    ] = False,
) -> None:
    """Explore Pareto fronts in the browser: bounds by sliders, layers and numbers by a click.

    The page is served on this machine alone, until Ctrl-C.

    Examples:

    hwnas explore

    hwnas explore runs/quickstart --no-browser --port 0
    """
    from hwnas.explorer.server import explore as serve

    serve(
        runs or (),
        spaces=space or (),
        tables=tables or (),
        port=port,
        open_browser=not no_browser,
        announce=lambda address: echo(f"hwnas: explorer at {address}, stop with Ctrl-C", err=True),
    )
