"""Where the device files of users lie: in the user's data directory, or where a path says."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hwnas.errors import HwnasWarning, InvalidInput, UnknownName
from hwnas.surrogates.device_file import DEVICE, DeviceFile, check_device_name, read_device_file

SUFFIX = ".npz"


def device_folder() -> Path:
    """Return the directory of added devices: ``hwnas/devices`` in the user's data directory."""
    data_home = os.environ.get("XDG_DATA_HOME")
    return (Path(data_home) if data_home else Path.home() / ".local/share") / "hwnas" / "devices"


def device_path(name: str, folder: Path | None = None) -> Path:
    """Return the file of a device in a folder, by default the user's; it need not exist.

    Raises
    ------
    InvalidInput
        The name is none of a user's device.
    """
    return (device_folder() if folder is None else folder) / (check_device_name(name) + SUFFIX)


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
        Name of a device in the user's data directory; or a path, which ends in ``.npz``.

    Raises
    ------
    UnknownName
        There is no device of that name.
    InvalidInput
        The file cannot be read, or holds another device than its name says.
    """
    path = Path(source)
    if not source.endswith(SUFFIX):
        if source not in (known := device_names()):
            reason = "it has not been added, see hwnas device add"
            raise UnknownName("device", source, known, reason=reason)
        path = device_path(source)
    device = read_device_file(path)
    if device.kind != DEVICE:
        raise InvalidInput(
            f"{path}: holds tables of metrics and is no device; give it as tables, as in backend: "
            f"{{type: surrogate, tables: {path}}}"
        )
    if device.name != path.stem:
        raise InvalidInput(f"{path}: holds the device {device.name!r}; name it {device.name}.npz")
    return device


def load_devices(sources: Sequence[str] | None) -> dict[str, DeviceFile]:
    """Return devices by name.

    Parameters
    ----------
    sources
        Names or paths; ``None`` for all in the user's data directory, of which a file that cannot
        be read costs a warning.

    Raises
    ------
    InvalidInput
        One of the sources is no device, or two have one name.
    """
    devices: dict[str, DeviceFile] = {}
    for source in device_names() if sources is None else sources:
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
