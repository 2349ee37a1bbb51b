"""The front door: from an experiment to a directory of results."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from hwnas.errors import HwnasError, HwnasWarning, InvalidInput
from hwnas.experiment import Experiment, Problem, load, load_plugins, problem_of
from hwnas.optimizers import MultiFidelityOptimizer
from hwnas.registry import lookup
from hwnas.runner.executors import run_all
from hwnas.runner.reference_point import Reference, reference_of
from hwnas.runner.results import Result
from hwnas.runner.search_loop import SearchRun, search
from hwnas.runner.storage import Store
from hwnas.runner.warm_start import FILE as WARM_START
from hwnas.runner.warm_start import Known, collect
from hwnas.yaml_loader import read_yaml


class SearchFailed(RuntimeError):
    """An optimizer or the framework raised in some searches; the others have run to their end."""


Progress = Callable[[SearchRun, int], None]
REFERENCE = "reference"  # the directory of networks that were measured for a reference


def run(
    source: str | Path | Mapping[str, Any] | Experiment,
    out: str | Path | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    workers: int = 1,
    progress: Progress = lambda cell, evaluations: None,
    plugins: Sequence[str | Path] = (),
    allow_plugins: bool = False,
) -> Result:
    """Run an experiment and leave its results in a directory.

    Parameters
    ----------
    source
        A YAML file, the name of an experiment that hwnas ships, or the content itself.
    out
        The directory to make; ``runs/<name>`` by default.
    overrides
        Values by dotted path, ``{"budget.evaluations": 50}``.
    workers
        How many processes run cells side by side; it changes nothing else.
    progress
        Called with a cell and how many evaluations it has done.
    plugins
        Python files that register optimizers or backends.
    allow_plugins
        Whether the plugins that the experiment itself lists may run.

    Returns
    -------
    Result
        With `summary`, `fronts` and `path`.

    Raises
    ------
    ExperimentError
        The experiment is wrong, see `hwnas.experiment.load`.
    InvalidInput
        The directory exists and is not empty.
    SearchFailed
        An optimizer raised; the other searches have run to their end.
    """
    _checked_workers(workers)
    experiment = load(source, overrides, plugins=plugins, allow_plugins=allow_plugins)
    path = Path("runs", experiment.name) if out is None else Path(out)
    _refuse_existing(path, experiment)
    problem = problem_of(experiment)
    _checked_workers(workers, problem)
    known = _known(experiment, problem)
    _warn_of_one_fidelity(experiment, problem)
    slow = problem.backend.on_hardware
    made = _missing_parents(path)
    path.mkdir(parents=True, exist_ok=True)
    try:
        with _locked(path):
            _refuse_existing(path, experiment)  # another run may have begun in between
            if known is not None:
                known.save(path / f"{WARM_START}.part")
            described = json.dumps(environment(experiment), indent=2) + "\n"
            reference = None if slow else reference_of(experiment, problem)
            _write(path / "experiment.yaml", experiment.to_yaml())
            _write(path / "environment.json", described)
            if known is not None:
                (path / f"{WARM_START}.part").replace(path / WARM_START)
            if reference is None:  # takes its time, and a killed run goes on with it
                reference = reference_of(experiment, problem, path / REFERENCE)
            return _finish(path, experiment, reference, workers, progress)
    except InvalidInput:
        for parent in made:
            with contextlib.suppress(OSError):
                parent.rmdir()  # only what is empty, and only what was made here
        raise


def resume(
    path: str | Path,
    *,
    workers: int = 1,
    progress: Progress = lambda cell, evaluations: None,
    allow_plugins: bool = False,
) -> Result:
    """Go on with a run that was stopped, to the trials of an uninterrupted one.

    Parameters
    ----------
    path
        The directory of the run.
    workers, progress, allow_plugins
        As for `run`; every file of plugins that the run had is now its own.

    Raises
    ------
    InvalidInput
        The directory holds no run, is in use by another process, or a file in it is damaged.
    """
    _checked_workers(workers)
    path = Path(path)
    if not (path / "experiment.yaml").is_file():
        raise InvalidInput(f"{path}: no experiment.yaml here, expected the directory of a run")
    experiment = load(path / "experiment.yaml", allow_plugins=allow_plugins)
    _checked_workers(workers, problem_of(experiment))
    with _locked(path):
        if experiment.warm_start and not (path / WARM_START).exists():
            known = _known(experiment, problem_of(experiment))  # killed before it was in place
            assert known is not None
            known.save(path / WARM_START)
        databases = sorted(path.glob("*/seed-*/trials.db"))
        reference = None
        for file in databases:
            with Store.open(file) as store:
                reference = Reference.from_json(store.meta["reference"])
        if reference is None:
            reference = reference_of(experiment, problem_of(experiment), path / REFERENCE)
        return _finish(path, experiment, reference, workers, progress)


def _finish(
    path: Path, experiment: Experiment, reference: Reference, workers: int, progress: Progress
) -> Result:
    """Run what is left of every cell, then write and draw the results."""
    from hwnas.reports.html.page import write_page
    from hwnas.reports.plots.kinds import draw

    warm_start = path / WARM_START if experiment.warm_start else None
    cells = [
        SearchRun(
            experiment, entry, seed, path / entry.name / f"seed-{seed}", reference, warm_start
        )
        for entry in experiment.optimizers
        for seed in experiment.seeds
    ]
    raised = run_all(
        search, cells, workers=workers, progress=lambda i, done: progress(cells[i], done)
    )
    failures = [(cell, error) for cell, error in zip(cells, raised, strict=True) if error]
    for cell, error in failures:
        _note_error(cell, error)
    if any(cell.database.exists() for cell in cells):
        result = Result(path, allow_plugins=True)  # they have run by now
        result.write()
        _note_divergence(path, result)
        draw(result)
        write_page(result)
    if failures:
        cell, error = next((f for f in failures if not isinstance(f[1], HwnasError)), failures[0])
        if isinstance(error, HwnasError):
            raise error
        raise SearchFailed(
            f"{len(failures)} of {len(cells)} searches failed, first {cell} with "
            f"{type(error).__name__}: {error}; see {cell.path / 'error.txt'}"
        ) from error
    return result


def _known(experiment: Experiment, problem: Problem) -> Known | None:
    """What the experiment's warm start knows, if it has one."""
    if experiment.warm_start is None:
        return None
    try:
        return collect(Path(experiment.warm_start), problem)
    except InvalidInput as error:
        raise InvalidInput(f"warm_start: {error}") from error


def _note_error(cell: SearchRun, error: BaseException) -> None:
    cell.path.mkdir(parents=True, exist_ok=True)
    text = "".join(traceback.format_exception(error))
    (cell.path / "error.txt").write_text(text, encoding="utf-8")
    if isinstance(error, HwnasError) or not cell.database.exists():
        return
    with contextlib.suppress(HwnasError), Store.open(cell.database) as store:
        store.note("error", f"{type(error).__name__}: {error}")


def _note_divergence(path: Path, result: Result) -> None:
    """Keep from which trial on a resumed cell is not what it would have been."""
    diverged = {
        f"{c.optimizer}/seed-{c.seed}": int(c.meta["diverged"])
        for c in result.cells
        if "diverged" in c.meta
    }
    if diverged:
        file = path / "environment.json"
        content = json.loads(file.read_text(encoding="utf-8"))
        content["not_identical_from_trial"] = diverged
        _write(file, json.dumps(content, indent=2) + "\n")


def environment(experiment: Experiment) -> dict[str, Any]:
    """What a run depends on beside its experiment: versions, machine, hashes."""
    versions = {}
    for name in ("hwnas", "numpy", "moocore", "pymoo", "torch", "botorch", "optuna", "syne-tune"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    kinds = {entry.type for entry in experiment.optimizers}
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "python": platform.python_version(),
        "versions": versions,
        "platform": platform.platform(),
        "processor": platform.machine(),
        "cpus": os.cpu_count(),
        "seeds": list(experiment.seeds),
        "optimizers": {kind: _source_hash(lookup("optimizer", kind)) for kind in sorted(kinds)},
        "backend": _source_hash(lookup("backend", experiment.backend.type)),
        "data": problem_of(experiment).truth.data_hash(),
        "plugins": load_plugins(experiment),
    }


def _source_hash(cls: type) -> str:
    """SHA-256 of the file that defines a class; empty where there is none."""
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""


def _warn_of_one_fidelity(experiment: Experiment, problem: Problem) -> None:
    for entry in experiment.optimizers:
        several = len(problem.backend.fidelities or ()) > 1
        if issubclass(lookup("optimizer", entry.type), MultiFidelityOptimizer) and not several:
            warnings.warn(
                f"{entry.name}: there is one fidelity here, so it is random search; on the "
                "surrogate, repeats under noise: true are fidelities",
                HwnasWarning,
                stacklevel=3,
            )


def _checked_workers(workers: int, problem: Problem | None = None) -> None:
    if workers < 1:
        raise InvalidInput(f"workers: expected at least 1, found {workers}")
    if problem is not None and problem.backend.on_hardware and workers > 1:
        raise InvalidInput(
            f"workers: searches that measure on this machine would disturb each other, expected 1, "
            f"found {workers}"
        )


def _refuse_existing(path: Path, experiment: Experiment) -> None:
    if not path.exists():
        return
    if path.is_dir() and all(file.suffix == ".part" for file in path.iterdir()):
        return  # empty, or killed before it began
    if not path.is_dir():
        raise InvalidInput(f"{path}: is a file, expected a directory to make")
    if not (path / "experiment.yaml").is_file():
        raise InvalidInput(f"{path}: is not empty and holds no run; choose another with --out")
    there = read_yaml(path / "experiment.yaml")
    if there == _plain(experiment):
        raise InvalidInput(
            f"{path}: already holds this experiment; go on with: hwnas resume {path}"
        )
    raise InvalidInput(f"{path}: holds another experiment; choose another directory with --out")


def _plain(experiment: Experiment) -> dict[str, Any]:
    return experiment.model_dump(exclude_none=True)


def _missing_parents(path: Path) -> list[Path]:
    """The path and those of its parents that do not exist, innermost first."""
    return [p for p in (path, *path.parents) if not p.exists()]


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the directory against a second run; the system lets go when the process dies."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InvalidInput(f"{path}: another process is running here; wait for it") from None
        yield
    finally:
        os.close(descriptor)


def _write(path: Path, text: str) -> None:
    draft = path.with_name(path.name + ".part")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


__all__ = ["Result", "resume", "run"]
