"""The command `export`: trials of a run for other programs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hwnas.cli.console import AllowPlugins, echo
from hwnas.errors import InvalidInput
from hwnas.files import check_output


class Target(StrEnum):
    """What trials are exported to."""

    optuna = "optuna"
    csv = "csv"
    parquet = "parquet"


def export(
    directory: Annotated[Path, typer.Argument(help="The directory of a run or a sweep.")],
    to: Annotated[Target, typer.Option("--to", help="What to write.")],
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Storage of the Optuna studies [sqlite:///DIR/optuna.db]."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The table to write [DIR/trials.csv or .parquet]."),
    ] = None,
    allow_plugins: AllowPlugins = False,
) -> None:
    """Export all trials of a run, finished or still running.

    optuna: one study for each search, which optuna-dashboard shows. csv, parquet: one row for each
    trial, with a column for each choice of its architecture. The same command later adds what is
    new.

    Examples:

    hwnas export runs/quickstart --to csv

    hwnas export runs/quickstart --to optuna --storage sqlite:///studies.db
    """
    from hwnas.sweep_runs import results_of

    if to is Target.optuna and out is not None:
        raise InvalidInput("--out: is for csv and parquet; expected --storage sqlite:///FILE")
    if storage == "":
        raise InvalidInput("--storage: expected a URL such as sqlite:///x.db, found ''")
    if to is not Target.optuna and storage is not None:
        raise InvalidInput(f"--storage: is for optuna; expected --out FILE for {to.value}")
    if out is not None:
        check_output(out, [f".{to.value}"])
    results = results_of(directory, allow_plugins=allow_plugins)
    if to is Target.optuna:
        from hwnas.exports.optuna_studies import export_studies

        url = storage or f"sqlite:///{directory / 'optuna.db'}"
        for exported in export_studies(results, url):
            echo(str(exported))
        echo(f"{url}: look at it with: optuna-dashboard {url}")
        return
    from hwnas.exports import table_files

    if to is Target.csv:
        echo(str(table_files.export_csv(results, out or directory / "trials.csv")))
    else:
        echo(str(table_files.export_parquet(results, out or directory / "trials.parquet")))
