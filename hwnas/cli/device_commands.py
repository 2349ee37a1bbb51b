"""Commands for devices: add one from measurements, show it, list and remove those of the user."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwnas.cli.console import echo, print_table
from hwnas.cli.fit_command import FIGURE_HEADER, figure_row, progress
from hwnas.errors import InvalidInput, UnknownName

if TYPE_CHECKING:
    from hwnas.surrogates.device_file import DeviceFile

device = typer.Typer(
    help="Devices of yours: added from measurements, then named like the published ones.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
_Folder = Annotated[
    Path | None,
    typer.Option(help="Where device files lie, such as that of a YAML [the user's data]."),
]


@device.command()
def add(
    name: Annotated[str, typer.Argument(help="Name of the device in metrics: latency@NAME.")],
    from_: Annotated[
        list[Path],
        typer.Option(
            "--from",
            metavar="FILE",
            help="CSV of hwnas profile, or with the columns arch, latency, tpot.serve and the "
            "like; or a device file, NAME.npz; can be repeated.",
        ),
    ],
    space: Annotated[
        str | None,
        typer.Option(help="The space or its YAML file; by default those that the rows name."),
    ] = None,
    workload_file: Annotated[
        Path | None, typer.Option(help="YAML with your own workloads [that of --space].")
    ] = None,
    card: Annotated[
        str | None,
        typer.Option(help="Card whose rows count, where a file has rows of several."),
    ] = None,
    folder: _Folder = None,
    update: Annotated[
        bool, typer.Option("--update", help="Add to a device that there is.")
    ] = False,
) -> None:
    """Add a device from measurements of 6 architectures or more, 10 to 50 are better.

    Every metric and space in the files gets tables, from which hwnas query, front and run work.

    Examples:

    hwnas device add mine --from mine.csv

    hwnas device add mine --from more.csv --update
    """
    from hwnas.devices.add import device_of_measurements
    from hwnas.spaces import load_space
    from hwnas.surrogates.device_file import read_device_file
    from hwnas.surrogates.device_library import SUFFIX, device_path
    from hwnas.workloads import load_workloads

    path = device_path(name, folder)
    _check_folder(folder)
    if workload_file is not None and workload_file.suffix not in (".yaml", ".yml"):
        raise InvalidInput(f"{workload_file}: expected a name that ends in .yaml, .yml")
    if path.exists() and not update:
        raise InvalidInput(
            f"there is a device {name} already; add to it with --update, or remove it first with: "
            f"hwnas device remove {name}"
        )
    former = read_device_file(path) if path.exists() else None
    if any(file.suffix == SUFFIX for file in from_):
        if card is not None:
            raise InvalidInput("--card: expected CSVs alone, a device file is of one device")
        added = _shared(name, from_, former)
    else:
        source = str(workload_file) if workload_file else space
        added = device_of_measurements(
            name,
            from_,
            space=None if space is None else load_space(space),
            workloads=load_workloads(source),
            card=card,
            former=former,
            report=lambda figure: echo(progress(figure), err=True),
        )
    added.write(path)
    print_table(FIGURE_HEADER, [figure_row(figure) for figure in added.figures])
    echo(f"\n{path}")


@device.command()
def show(
    name: Annotated[str, typer.Argument(help="Name of a device, or its file.")],
    folder: _Folder = None,
) -> None:
    """Print what is known of a device: metrics, errors and the protocol of each.

    Examples:

    hwnas device show mine
    """
    found = _load(name, folder)
    print_table(
        [*FIGURE_HEADER, "prior", "workload", "protocol", "card", "date", "versions"],
        [
            [
                *figure_row(figure),
                figure.prior,
                figure.workload.meaning if figure.workload else "one forward pass",
                figure.protocol,
                figure.card,
                figure.date,
                figure.versions,
            ]
            for figure in found.figures
        ],
    )


@device.command("list")
def list_(folder: _Folder = None) -> None:
    """List the devices that were added; hwnas list devices has the published ones too.

    Examples:

    hwnas device list
    """
    from hwnas.surrogates.device_library import device_folder, device_names

    _check_folder(folder)
    names = device_names(folder)
    rows = []
    for name in names:
        try:
            found = _load(name, folder)
        except InvalidInput as error:
            rows.append([name, "", str(error), "", ""])
            continue
        spaces = dict.fromkeys(figure.space.name for figure in found.figures)
        metrics = dict.fromkeys(figure.quantity for figure in found.figures)
        cards = dict.fromkeys(figure.card for figure in found.figures if figure.card)
        dates = sorted({figure.date for figure in found.figures if figure.date})[-1:]
        rows.append([name, *(", ".join(texts) for texts in (spaces, metrics, cards, dates))])
    if rows:
        print_table(["name", "spaces", "metrics", "card", "date"], rows)
    else:
        place = device_folder() if folder is None else folder
        echo(f"no devices in {place}; add one with: hwnas device add NAME --from FILE.csv")


@device.command()
def remove(
    name: Annotated[str, typer.Argument(help="Name of a device.")], folder: _Folder = None
) -> None:
    """Remove a device that was added; runs that used it keep their results.

    Examples:

    hwnas device remove mine
    """
    from hwnas.surrogates.device_library import device_names, device_path

    names = device_names(folder)
    if name not in names:
        raise UnknownName("device", name, names, reason="it has not been added")
    path = device_path(name, folder)
    path.unlink()
    echo(f"removed {path}")


def _check_folder(folder: Path | None) -> None:
    """Refuse a file in place of the folder of devices."""
    if folder is not None and folder.exists() and not folder.is_dir():
        raise InvalidInput(f"{folder}: is a file, expected a directory")


def _load(name: str, folder: Path | None) -> DeviceFile:
    """Return a device by its name in a folder, or by its path."""
    from hwnas.surrogates.device_library import (
        SUFFIX,
        device_names,
        device_path,
        load_device,
        shipped_names,
    )

    if folder is None or name.endswith(SUFFIX) or name in shipped_names():
        return load_device(name)
    path = device_path(name, folder)
    if not path.is_file():
        raise UnknownName("device", name, device_names(folder))
    return load_device(str(path))


def _shared(name: str, files: Sequence[Path], former: DeviceFile | None) -> DeviceFile:
    """Return the device in a file that someone shared, under a name of the user's choice."""
    from dataclasses import replace

    from hwnas.surrogates.device_file import DEVICE, read_device_file

    if len(files) > 1 or former is not None:
        raise InvalidInput("--from: expected a single device file, and a new name for it")
    shared = read_device_file(files[0])
    if shared.kind != DEVICE:
        raise InvalidInput(
            f"{files[0]}: holds tables of metrics and is no device; use it with --tables"
        )
    return replace(shared, name=name)
