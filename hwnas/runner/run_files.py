"""Files of the searches of a run: which of them are its own, and which are copies."""

from __future__ import annotations

import os
import re
from pathlib import Path

from hwnas.errors import ExperimentError, InvalidInput, describe_value
from hwnas.experiment import NAME, Experiment, validate_form
from hwnas.form_errors import MAX_NAME
from hwnas.runner.storage import Store, Trials
from hwnas.spaces import SearchSpace
from hwnas.typing import Codes
from hwnas.yaml_loader import parse_yaml


def search_folders(path: Path) -> list[Path]:
    """Return the directories of a run that are named as those of searches are, sorted.

    A copy such as ``seed-0 copy`` or ``seed-0.bak`` is none of them.
    """
    folders = (folder for folder in path.glob("*/seed-*") if folder.is_dir())
    return sorted(folder for folder in folders if re.fullmatch(r"seed-\d+", folder.name))


def refuse_sweep(path: Path) -> None:
    """Refuse the directory of a sweep where that of a run is expected.

    Raises
    ------
    InvalidInput
        Naming one of its runs.
    """
    if (path / "sweep.yaml").is_file():
        runs = sorted(file.parent for file in path.glob("*/experiment.yaml"))
        raise InvalidInput(f"{path}: is a sweep; name one of its runs, such as {[*runs, path][0]}")


def search_databases(path: Path) -> list[Path]:
    """Return the ``trials.db`` of each search of a run, sorted; copies of a search are left out.

    Raises
    ------
    InvalidInput
        A file is damaged, or stands elsewhere than its search belongs while nothing stands there.
    """
    refuse_links(path)
    databases = []
    for folder in search_folders(path):
        file = folder / "trials.db"
        if not file.exists():
            continue
        home = home_of(file, path)
        if home == folder:
            databases.append(file)
        elif not (home / file.name).exists():
            raise InvalidInput(f"{folder}: holds the trials of {home}; expected it by that name")
    return databases


def stored_experiment(text: str, file: Path) -> Experiment:
    """Return the experiment of the text that a store holds.

    Raises
    ------
    ExperimentError
        The text is no experiment; the message begins with the file of the store.
    """
    try:
        content = parse_yaml(text)
    except InvalidInput as error:
        raise ExperimentError(str(file), "experiment", str(error)) from None
    return validate_form(content, str(file))


def stored_search(file: Path) -> tuple[Trials, list[tuple[int, Codes]], dict[str, str]]:
    """Return the trials, the recommendations and the texts of a store."""
    with Store.open(file) as store:
        trials = store.trials()
        return trials, store.recommendations(trials.codes.shape[1]), store.meta


def check_trials(trials: Trials, space: SearchSpace, n_values: int, place: Path) -> None:
    """Check that trials are of a problem.

    Parameters
    ----------
    trials
        Trials of a search.
    space
        Search space of its experiment.
    n_values
        Number of its objectives and constraints.
    place
        File or directory that holds them, for error texts.

    Raises
    ------
    InvalidInput
        They are of another one.
    """
    n_found, limits = trials.values.shape[1], space.cardinalities
    if n_found != n_values:
        raise InvalidInput(f"{place}: expected {n_values} values of a trial, found {n_found}")
    if trials.codes.shape[1] != len(limits) or (
        len(trials) and not ((trials.codes >= 0) & (trials.codes < limits)).all()
    ):
        raise InvalidInput(f"{place}: its trials are no members of {space.name}")


def refuse_links(path: Path) -> None:
    """Refuse a run with a link out of it, by which files of its searches would be written there.

    Files beside the searches are replaced, not written to, and plots are drawn in no link.

    Raises
    ------
    InvalidInput
        Naming the link.
    """
    home = _real(path)
    for folder, folders, files in os.walk(path):
        for entry in (Path(folder, name) for name in (*folders, *files)):
            is_beside = entry.parent == path and (entry.name == "plots" or entry.is_file())
            if entry.is_symlink() and not is_beside and not _real(entry).is_relative_to(home):
                raise InvalidInput(
                    f"{entry}: is a link out of the run, expected the file or directory itself; "
                    "replace the link by what it leads to"
                )


def _real(path: Path) -> Path:
    """Return a path without links; one that links to itself stays as it is."""
    return Path(os.path.realpath(path))


def home_of(file: Path, path: Path) -> Path:
    """Return the directory in the run `path` that the search of a ``trials.db`` belongs in.

    Raises
    ------
    InvalidInput
        The file is no store of a search.
    """
    with Store.open(file) as store:
        meta = store.meta
    for key in ("experiment", "reference", "optimizer", "seed"):
        if key not in meta:
            raise InvalidInput(f"{file}: expected a store of a search, found no {key} in it")
    name = meta["optimizer"]
    if len(name) > MAX_NAME or re.fullmatch(NAME, name) is None:
        raise InvalidInput(
            f"{file}: expected the name of an optimizer, found {describe_value(name)}"
        )
    if re.fullmatch(r"\d{1,30}", meta["seed"]) is None:
        raise InvalidInput(f"{file}: expected a number as seed, found {meta['seed'][:80]!r}")
    return path / meta["optimizer"] / f"seed-{meta['seed']}"
