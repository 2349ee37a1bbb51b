"""Code of others in experiments: the files that would run, whether they may, and running them.

An experiment lists plugin files, its backend ``python`` names a function in a module, and its
executor may name a Ray cluster, whose answers are pickles.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hwnas.errors import ExperimentError, InvalidInput, describe_value
from hwnas.function_source import function_file, is_defined_here, load_function
from hwnas.objectives import Objective
from hwnas.plugin_files import hash_of_file, load_plugin_file


def refuse_plugins(
    files: Sequence[str],
    experiment_file: str,
    allowed_hashes: Mapping[str, str],
    *,
    key: str = "plugins",
) -> None:
    """Refuse to run files that an experiment lists, unless their content is allowed.

    Parameters
    ----------
    files
        Absolute paths.
    experiment_file
        File of the experiment, for error texts.
    allowed_hashes
        SHA-256 by path of files that may run.
    key
        Key of the experiment that lists them.

    Raises
    ------
    ExperimentError
        Naming the option that allows the others.
    """
    for file in files:
        changed = ""
        if file in allowed_hashes:
            # A file that is gone is reported where it would be run.
            if not Path(file).is_file() or hash_of_file(file) == allowed_hashes[file]:
                continue
            changed = ", and has changed since the run started"
        message = f"{file} runs code of others{changed}; read it, and allow it with --allow-plugins"
        raise ExperimentError(experiment_file, key, message)


def refuse_cluster(
    executor: Mapping[str, Any],
    experiment_file: str,
    overrides: Mapping[str, Any],
    allowed_address: str | None,
) -> None:
    """Refuse to join a cluster that an experiment names, unless its address is allowed.

    Parameters
    ----------
    executor
        Settings of the executor.
    experiment_file
        File of the experiment, for error texts.
    overrides
        Values by dotted path that the user has set, who may name any cluster.
    allowed_address
        Address that may be joined.

    Raises
    ------
    ExperimentError
        Naming the options that allow it.
    """
    address = executor.get("address")
    is_of_user = not overrides.keys().isdisjoint({"executor", "executor.address"})
    if address is not None and address != allowed_address and not is_of_user:
        raise ExperimentError(
            experiment_file,
            "executor.address",
            f"whoever runs the cluster {describe_value(address)} can run code here; if it is yours "
            "to trust, give it with --executor, or allow it with --allow-plugins",
        )


def run_files(plugins: Sequence[str], backend: str, settings: Mapping[str, Any]) -> dict[str, str]:
    """Run plugin files and import the function of a backend; return their SHA-256 by path.

    Parameters
    ----------
    plugins
        Plugin files.
    backend, settings
        Type of the backend and its settings.

    Raises
    ------
    InvalidInput
        A file is missing, raises an error or registers nothing.
    FunctionError
        The function cannot be imported.
    """
    hashes = {file: load_plugin_file(file).sha256 for file in plugins}
    if (function := _function(backend, settings)) is not None:
        load_function(*function)
    return {**hashes, **{file: hash_of_file(file) for file in function_files(backend, settings)}}


def function_files(backend: str, settings: Mapping[str, Any]) -> list[str]:
    """Return the file of the function that a backend calls, if it calls one that is imported.

    Raises
    ------
    FunctionError
        It is not found, or only the program that has defined it can call it.
    """
    function = _function(backend, settings)
    if function is None or is_defined_here(function[0]):
        return []
    return [str(function_file(*function))]


def completed_settings(
    backend: str, settings: Mapping[str, Any], folder: Path, measured: Sequence[str]
) -> dict[str, Any]:
    """Return the settings of a backend with absolute files and the names of a function's values.

    Parameters
    ----------
    backend, settings
        Type of the backend and its settings.
    folder
        Absolute folder, which files in the settings are relative to.
    measured
        Objectives and constraints of the experiment.
    """
    completed = dict(settings)
    # Values of a wrong type are refused when the backend is built.
    if backend == "python":
        completed.setdefault("returns", _value_names(measured))
        is_path = isinstance(settings.get("folder", ""), str)
        if is_path and not is_defined_here(str(settings.get("function"))):
            completed["folder"] = str(folder / settings.get("folder", ""))
    if backend == "table" and isinstance(settings.get("file"), str):
        completed["file"] = str(folder / settings["file"])
    if backend == "surrogate":
        completed |= _completed_devices(settings, folder, measured)
        if tables := settings.get("tables"):
            completed["tables"] = _absolute(tables, folder)
    return completed


def _completed_devices(
    settings: Mapping[str, Any], folder: Path, measured: Sequence[str]
) -> dict[str, Any]:
    """Return the setting ``devices``: files as absolute paths, and the devices objectives name.

    A device is one that hwnas ships; else the file ``NAME.npz`` in the folder of the experiment, if
    there is one, or that in the user's data directory. So a run records the devices that it rests
    on.
    """
    from hwnas.surrogates.device_library import device_names, shipped_names  # only for experiments
    from hwnas.surrogates.devices import DEVICES

    listed = settings.get("devices", ())
    if not isinstance(listed, list | tuple) or not all(isinstance(d, str) for d in listed):
        return {}  # refused when the backend is built
    devices = [str(folder / d) if d.endswith(".npz") else d for d in listed]
    listed_names = {Path(d).stem if d.endswith(".npz") else d for d in devices}
    named = [name for key in _value_names(measured) for name in [key.partition("@")[2]] if name]
    for name in dict.fromkeys(named):
        if name in listed_names or name in DEVICES:
            continue
        if name in shipped_names():
            devices.append(name)
        elif (file := folder / f"{name}.npz").is_file():
            devices.append(str(file))
        elif name in device_names():
            devices.append(name)
    return {"devices": devices} if devices else {}


def _absolute(files: Any, folder: Path) -> Any:
    """Return a file or a list of files as absolute paths; anything else as it is."""
    if isinstance(files, list | tuple) and all(isinstance(file, str) for file in files):
        return [str(folder / file) for file in files]
    return str(folder / files) if isinstance(files, str) else files


def _function(backend: str, settings: Mapping[str, Any]) -> tuple[str, Path] | None:
    """Return name and folder of the function of the backend ``python``."""
    name, folder = settings.get("function"), settings.get("folder", ".")
    is_named = isinstance(name, str) and isinstance(folder, str)
    return (str(name), Path(str(folder))) if backend == "python" and is_named else None


def _value_names(measured: Sequence[str]) -> list[str]:
    """Return the distinct names of the values in objectives and constraints, in their order."""
    names: dict[str, None] = {}
    for text in measured:
        with contextlib.suppress(InvalidInput):  # reported where the problem is built
            names |= dict.fromkeys(Objective.parse(text).keys)
    return list(names)
