"""Where device files lie: in the package, in the user's data directory, or where a path says."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from hwnas.errors import HwnasWarning, InvalidInput, UnknownName
from hwnas.spaces import SearchSpace
from hwnas.surrogates.added_devices import is_within
from hwnas.surrogates.device_file import DEVICE, DeviceFile, check_device_name, read_device_file
from hwnas.surrogates.devices import DEVICES

SUFFIX = ".npz"
SHIPPED = Path(__file__).parent / "data" / "devices"


@cache
def shipped_names() -> tuple[str, ...]:
    """Return the names of the devices that hwnas ships, measured by its own meters, sorted."""
    return tuple(sorted(file.stem for file in SHIPPED.glob(f"*{SUFFIX}")))


def shipped_devices(space: SearchSpace | None = None) -> dict[str, DeviceFile]:
    """Return the devices that hwnas ships by name, each read once a process.

    Parameters
    ----------
    space
        Space whose figures are read; by default those of all spaces.
    """
    devices = {}
    for name in shipped_names():
        measured = _read_shipped(name, ()).spaces
        if space is not None:
            measured = tuple(part for part in measured if is_within(space, part))
        devices[name] = _read_shipped(name, tuple(part.name for part in measured))
    return devices


@cache
def _read_shipped(name: str, spaces: tuple[str, ...]) -> DeviceFile:
    """Return a shipped device with the figures of some spaces."""
    return read_device_file(SHIPPED / f"{name}{SUFFIX}", spaces)


def device_folder() -> Path:
    """Return the directory of added devices: ``hwnas/devices`` in the user's data directory."""
    data_home = os.environ.get("XDG_DATA_HOME")
    return (Path(data_home) if data_home else Path.home() / ".local/share") / "hwnas" / "devices"


def device_path(name: str, folder: Path | None = None) -> Path:
    """Return the file of a device in a folder, by default the user's; it need not exist.

    Raises
    ------
    InvalidInput
        The name is none of a user's device, or that of a shipped one.
    """
    check_own_name(check_device_name(name))
    return (device_folder() if folder is None else folder) / (name + SUFFIX)


def check_own_name(name: str) -> None:
    """Check that a device of a user has no name of a shipped one.

    Raises
    ------
    InvalidInput
        It has.
    """
    if name.lower() in (shipped.lower() for shipped in shipped_names()):
        raise InvalidInput(
            f"{name} comes with hwnas, so it is neither added nor removed; expected another name, "
            f"such as {name}-mine"
        )


def device_names(folder: Path | None = None) -> list[str]:
    """Return the names of the devices in a folder, by default the user's, sorted."""
    folder = device_folder() if folder is None else folder
    try:
        return sorted(file.stem for file in folder.iterdir() if file.suffix == SUFFIX)
    except OSError:
        return []  # most users have added none


def load_device(source: str) -> DeviceFile:
    """Return a device by its name or its path.

    Parameters
    ----------
    source
        Name of a shipped device, or of one in the user's data directory; or a path, which ends in
        ``.npz``.

    Raises
    ------
    UnknownName
        There is no device of that name.
    InvalidInput
        The file cannot be read, or holds another device than its name says.
    """
    path = Path(source)
    if source in shipped_names():
        return shipped_devices()[source]
    if not source.endswith(SUFFIX):
        if source not in (sources := [*shipped_names(), *device_names()]):
            if source in DEVICES:
                raise InvalidInput(
                    f"{source!r} is a published device, see hwnas list devices; expected one of "
                    f"{', '.join(sources)}"
                )
            reason = "it has not been added, see hwnas device add"
            raise UnknownName("device", source, sources, reason=reason)
        path = device_path(source)
    device = read_device_file(path)
    if device.kind != DEVICE:
        raise InvalidInput(
            f"{path}: holds tables of metrics and is no device; give it as tables, as in backend: "
            f"{{type: surrogate, tables: {path}}}"
        )
    if device.name != path.stem:
        raise InvalidInput(f"{path}: holds the device {device.name!r}; name it {device.name}.npz")
    try:
        check_own_name(device.name)
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}") from None
    return device


def load_devices(sources: Sequence[str] | None) -> dict[str, DeviceFile]:
    """Return devices by name.

    Parameters
    ----------
    sources
        Names or paths; ``None`` for all in the user's data directory, of which a file that cannot
        be read costs a warning. Shipped ones are among them only if they are named.

    Raises
    ------
    InvalidInput
        One of the sources is no device, or two have one name.
    """
    devices: dict[str, DeviceFile] = {}
    own = [str(device_folder() / f"{name}{SUFFIX}") for name in device_names()]
    for source in own if sources is None else sources:
        try:
            device = load_device(source)
        except InvalidInput as error:
            if sources is not None:
                raise
            warnings.warn(f"a device is left out: {error}", HwnasWarning, stacklevel=2)
            continue
        if device.name in devices:
            raise InvalidInput(f"devices: expected distinct names, found two {device.name!r}")
        devices[device.name] = device
    return devices


def load_tables(sources: str | Sequence[str]) -> list[DeviceFile]:
    """Return files of tables, those of ``hwnas fit`` or of devices.

    Parameters
    ----------
    sources
        One path or several.

    Raises
    ------
    InvalidInput
        One cannot be read, or is listed twice.
    """
    paths = [sources] if isinstance(sources, str) else list(sources)
    files = []
    for path in paths:
        if paths.count(path) > 1:
            raise InvalidInput(f"tables: expected distinct files, found {path} twice")
        file = read_device_file(Path(path))
        # Texts name tables by their file, and devices by their name.
        files.append(file if file.kind == DEVICE else replace(file, name=path))
    return files
