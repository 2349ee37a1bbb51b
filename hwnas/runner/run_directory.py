"""Run directories: creating, locking and describing the directory of a run."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from hwnas.backends import metric_of
from hwnas.errors import InvalidInput
from hwnas.experiment import Experiment, run_plugin_files, validate_form
from hwnas.files import PARTIAL, locked
from hwnas.plugin_files import hash_of_file
from hwnas.problem import Problem
from hwnas.registry import lookup
from hwnas.runner.environment import allowed_cluster, allowed_code
from hwnas.runner.extension import Change, changes, lowered_limits
from hwnas.runner.failures import ERROR_FILE
from hwnas.runner.run_files import search_folders
from hwnas.yaml_loader import read_yaml

_LIBRARIES = ("hwnas", "numpy", "moocore", "pymoo", "torch", "botorch", "optuna", "syne-tune")


@contextlib.contextmanager
def new_directory(path: Path) -> Iterator[None]:
    """Create a directory and its parents; remove them if the block refuses its input."""
    created: list[Path] = []
    try:
        for directory in reversed([path, *path.parents]):
            # Another run may create it at the same time: then it is the other's to remove.
            with contextlib.suppress(FileExistsError):
                if not directory.exists():
                    directory.mkdir()
                    created.append(directory)
        if not path.is_dir():
            raise NotADirectoryError(20, "is a link to nothing, or a file stands in its way")
    except OSError as error:
        raise InvalidInput(
            f"{path}: cannot be made: {error.strerror}; choose another directory with --out"
        ) from None
    try:
        yield
    except InvalidInput:
        for directory in reversed(created):
            with contextlib.suppress(OSError):
                directory.rmdir()  # only what is empty, and only what was created here
        raise


def refuse_running(path: Path) -> None:
    """Refuse the directory of a run while a process of it still lives, if only a worker.

    Raises
    ------
    InvalidInput
        A search in it is held by another process.
    """
    for folder in search_folders(path):
        with locked(folder):
            pass


def refuse_existing(path: Path, experiment: Experiment) -> None:
    """Refuse a directory that holds a run or anything else.

    Raises
    ------
    InvalidInput
        Naming what to do: resume, or choose another directory.
    """
    if "\0" in str(path):
        raise InvalidInput(f"out: expected a path without NUL, found {str(path)!r}")
    if path.is_symlink() and not path.exists():
        raise InvalidInput(
            f"{path}: is a link to {path.readlink()}, which does not exist; make that directory, "
            "or choose another with --out"
        )
    if not path.exists():
        return
    if path.is_dir() and all(
        file.suffix == PARTIAL or file.name == ERROR_FILE for file in path.iterdir()
    ):
        return  # empty, or stopped before the run started
    if not path.is_dir():
        raise InvalidInput(f"{path}: is a file, expected a directory to make")
    if not (path / "experiment.yaml").is_file():
        raise InvalidInput(f"{path}: is not empty and holds no run; choose another with --out")
    # The same experiment was stopped; another one must not be mixed with it.
    if holds_run_of(path, experiment):
        raise InvalidInput(
            f"{path}: already holds this experiment; go on with: hwnas resume {path}"
        )
    raise InvalidInput(f"{path}: holds another experiment{_difference(path, experiment)}")


def _difference(path: Path, experiment: Experiment) -> str:
    """Return how an experiment differs from that of a directory, and what to do."""
    try:
        differences = _changes(path, experiment)
    except InvalidInput as error:
        return f": {error}"
    if lowered_limits(differences):
        return f" ({'; '.join(map(str, differences))}); choose another directory with --out"
    assignments = " ".join(change.assignment for change in differences)
    return f", which this one extends; extend it with: hwnas resume {path} {assignments}"


def _changes(path: Path, experiment: Experiment) -> list[Change]:
    """Return how an experiment extends that of a directory, whose searches it must all have."""
    former = validate_form(read_yaml(path / "experiment.yaml"))
    searches = [(e.name, seed) for e in former.optimizers for seed in former.seeds]
    return changes(former, experiment, searches)


def holds_run_of(path: Path, experiment: Experiment) -> bool:
    """Return whether a directory holds a run of this very experiment."""
    file = path / "experiment.yaml"
    return file.is_file() and read_yaml(file) == experiment.model_dump()


def extension_of_run(path: Path, experiment: Experiment) -> dict[str, Any] | None:
    """Return the values by key with which a directory's run becomes a run of an experiment.

    They are empty where it is one; ``None`` where it holds no run, or one of another problem.
    """
    if not (path / "experiment.yaml").is_file():
        return None
    try:
        differences = _changes(path, experiment)
    except InvalidInput:
        return None
    return {change.key: change.new for change in differences}


def describe_environment(experiment: Experiment, problem: Problem) -> dict[str, Any]:
    """Return what a run depends on beside its experiment: versions, machine, hashes."""
    versions = {}
    for name in _LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    types = {entry.type for entry in experiment.optimizers}
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "python": platform.python_version(),
        "versions": versions,
        "platform": platform.platform(),
        "processor": platform.machine(),
        "cpus": os.cpu_count(),
        "seeds": list(experiment.seeds),
        "optimizers": {name: _source_hash(lookup("optimizer", name)) for name in sorted(types)},
        "backend": _source_hash(lookup("backend", experiment.backend.type)),
        "data": problem.truth.data_hash(),
        # Reports show them without the backend, which may need a plugin or a device.
        "metrics": {
            str(objective.value): {"unit": metric.unit, "meaning": metric.meaning}
            for objective in problem.measured
            for metric in [metric_of(problem.truth, objective)]
        },
        **allowed_code(run_plugin_files(experiment), experiment.backend.settings),
        **allowed_cluster(experiment.executor.settings if experiment.executor else {}),
    }


def _source_hash(cls: type) -> str:
    """Return the SHA-256 of the file that defines a class; empty where there is none."""
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    # A class of an interpreter has a file such as <stdin>.
    return hash_of_file(file) if file and Path(file).is_file() else ""
