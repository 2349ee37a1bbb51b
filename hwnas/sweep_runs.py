"""Run, resume and read sweeps: a directory with a run for each combination of values.

The directory holds ``sweep.yaml``, the experiment with its key ``sweep``; ``sweep.csv``, the rows
of all summaries; and for each cell a run like any other.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwnas import api
from hwnas.errors import ExperimentError, HwnasError, InvalidInput, SearchFailed
from hwnas.experiment import Experiment, override
from hwnas.files import locked, write_csv, write_text
from hwnas.problem import Problem, load_experiment
from hwnas.runner.results import Result
from hwnas.runner.run_directory import new_directory
from hwnas.runner.run_searches import Progress
from hwnas.shipped_experiments import experiment_file, shipped_experiment
from hwnas.sweeps import Cell, sweep_cells
from hwnas.yaml_loader import dump_yaml, read_yaml

FILE = "sweep.yaml"
TABLE = "sweep.csv"


@dataclass(frozen=True)
class Sweep:
    """A sweep that has been checked: what it is made of and its experiments.

    Attributes
    ----------
    name
        Name of its directory.
    content
        Content of the YAML with all changes of the command line.
    cells
        Cells by their order, each with its experiment and problem.
    """

    name: str
    content: dict[str, Any]
    cells: list[tuple[Cell, Experiment, Problem]]

    @property
    def experiments(self) -> list[tuple[Experiment, Problem]]:
        """Experiment and problem of each cell."""
        return [(experiment, problem) for _, experiment, problem in self.cells]


def load_sweep(
    source: str | Path | Mapping[str, Any],
    overrides: Mapping[str, Any] | None = None,
    *,
    plugins: Sequence[str | Path] = (),
    allow_plugins: bool = False,
) -> Sweep | None:
    """Read a sweep and check all its experiments; return ``None`` for a plain experiment.

    Parameters
    ----------
    source, overrides, plugins, allow_plugins
        As for `hwnas.run`.

    Raises
    ------
    ExperimentError
        The sweep, or the experiment of a cell, is wrong.
    """
    file = ""
    if isinstance(source, Mapping):
        content = dict(source)
    else:
        path = shipped_experiment(str(source)) or Path(source)
        if not path.is_file():
            return None  # refused with a list of the experiments that there are
        content, file = read_yaml(path), str(path)
    if not isinstance(content, dict) or "sweep" not in content:
        if "sweep" in (overrides or {}):
            raise ExperimentError(file, "sweep", "expected in the YAML, found among the overrides")
        return None
    override(content, overrides or {})
    cells = []
    for cell in sweep_cells(content, file):
        experiment, problem = load_experiment(
            source, overrides, plugins=plugins, allow_plugins=allow_plugins, cell=cell
        )
        cells.append((cell, experiment, problem))
    if not isinstance(content.get("name"), str):
        raise ExperimentError(file, "name", "is required in a sweep")
    content = _with_resolved_files(content, [experiment for _, experiment, _ in cells])
    return Sweep(content["name"], content, cells)


def run_sweep(
    source: str | Path | Mapping[str, Any] | Sweep,
    out: str | Path | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    workers: int = 1,
    progress: Progress = api.ignore_progress,
    plugins: Sequence[str | Path] = (),
    allow_plugins: bool = False,
    draw: bool = True,
) -> dict[str, Result]:
    """Run the experiments of a sweep; return their results by the name of the cell.

    Parameters
    ----------
    source
        An experiment with the key ``sweep``, or what `load_sweep` returned.
    out
        Directory to create; ``runs/<name>`` by default. Each cell has a directory in it.
    overrides, workers, progress, plugins, allow_plugins, draw
        As for `hwnas.run`.

    Raises
    ------
    ExperimentError
        The sweep, or the experiment of a cell, is wrong; nothing has been run.
    InvalidInput
        The directory exists and is not empty.
    SearchFailed
        A search failed; the other cells have run to their end.

    Examples
    --------
    >>> import hwnas, tempfile
    >>> sweep = {
    ...     "name": "devices",
    ...     "sweep": {"device": ["h100", "rtx3080"]},
    ...     "space": "gpt-s",
    ...     "objectives": ["perplexity", "latency@$device"],
    ...     "optimizers": ["random"],
    ...     "budget": {"evaluations": 10},
    ...     "seeds": 1,
    ... }
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     results = hwnas.run_sweep(sweep, f"{folder}/devices", draw=False)
    >>> [*results]
    ['h100', 'rtx3080']
    """
    sweep = source
    if not isinstance(sweep, Sweep):
        loaded = load_sweep(sweep, overrides, plugins=plugins, allow_plugins=allow_plugins)
        if loaded is None:
            if not isinstance(source, Mapping):
                experiment_file(source)  # a file that is missing is refused as such
            raise InvalidInput("run_sweep: expected an experiment with the key sweep; use run")
        sweep = loaded
    path = Path("runs", sweep.name) if out is None else Path(out)
    refuse_existing_sweep(path, sweep.content)
    with new_directory(path), locked(path):
        refuse_existing_sweep(path, sweep.content)  # another run may have started in between
        write_text(path / FILE, dump_yaml(sweep.content))
        return _run_cells(
            path, sweep, workers=workers, progress=progress, allow_plugins=allow_plugins, draw=draw
        )


def resume_sweep(
    path: str | Path,
    *,
    overrides: Mapping[str, Any] | None = None,
    workers: int = 1,
    progress: Progress = api.ignore_progress,
    allow_plugins: bool = False,
    draw: bool = True,
) -> dict[str, Result]:
    """Resume a sweep, or give more to all its cells: more budget, seeds, optimizers or values.

    Parameters
    ----------
    path
        Directory of the sweep.
    overrides
        As for `hwnas.resume`; ``sweep.device`` may list further values.
    workers, progress, allow_plugins, draw
        As for `hwnas.resume`.

    Raises
    ------
    InvalidInput
        The directory holds no sweep, or a cell would be left out or changed.
    """
    path = Path(path)
    file = path / FILE
    content = read_yaml(file)
    former_names = {cell.name for cell in sweep_cells(content, str(file))}
    override(content, overrides or {})
    cells = sweep_cells(content, str(file))
    if lost := sorted(former_names - {cell.name for cell in cells}):
        raise InvalidInput(f"{path}: expected a sweep that keeps {', '.join(lost)}")
    loaded = []
    for cell in cells:
        # A cell that has begun allows what it was started with; it is loaded when it resumes.
        if not (path / cell.name / "experiment.yaml").is_file():
            new = load_experiment(content, allow_plugins=allow_plugins, cell=cell)
            loaded.append((cell, *new))
    with locked(path):
        sweep = Sweep(str(content["name"]), content, loaded)
        results = _run_cells(
            path,
            sweep,
            workers=workers,
            progress=progress,
            allow_plugins=allow_plugins,
            draw=draw,
            begun=[cell for cell in cells if cell.name not in {c.name for c, _, _ in loaded}],
            changes={k: v for k, v in (overrides or {}).items() if k.split(".")[0] != "sweep"},
        )
        write_text(file, dump_yaml(sweep.content))
    return {cell.name: results[cell.name] for cell in cells if cell.name in results}


def is_sweep(path: Path) -> bool:
    """Return whether a directory holds a sweep."""
    return (path / FILE).is_file()


def results_of(path: Path, *, allow_plugins: bool = False) -> list[Result]:
    """Return the results of a run, or of all runs of a sweep that have begun.

    Parameters
    ----------
    path
        Directory of the run or of the sweep.
    allow_plugins
        As for `hwnas.runner.results.Result`.

    Raises
    ------
    InvalidInput
        The directory holds neither.
    """
    if not is_sweep(path):
        return [Result(path, allow_plugins=allow_plugins)]
    names = [cell.name for cell in sweep_cells(read_yaml(path / FILE), str(path / FILE))]
    begun = [path / name for name in names if any((path / name).glob("*/seed-*/trials.db"))]
    if not begun:
        raise InvalidInput(f"{path}: no trials of the sweep yet; go on with: hwnas resume {path}")
    return [Result(folder, allow_plugins=allow_plugins) for folder in begun]


def refuse_existing_sweep(path: Path, content: Mapping[str, Any]) -> None:
    """Refuse a directory that holds a sweep or anything else.

    Raises
    ------
    InvalidInput
        Naming what to do: resume, or choose another directory.
    """
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not path.is_dir():
        raise InvalidInput(f"{path}: is a file, expected a directory to make")
    if not is_sweep(path):
        raise InvalidInput(f"{path}: is not empty and holds no sweep; choose another with --out")
    if read_yaml(path / FILE) == content:
        raise InvalidInput(f"{path}: already holds this sweep; go on with: hwnas resume {path}")
    raise InvalidInput(
        f"{path}: holds another sweep; choose another directory with --out, or extend it with: "
        f"hwnas resume {path} --set KEY=VALUE"
    )


def sweep_table(path: Path, results: Mapping[str, Result]) -> tuple[list[str], list[list[str]]]:
    """Return the summaries of all cells as one table, the values of the sweep first.

    Parameters
    ----------
    path
        Directory of the sweep.
    results
        Results by the name of the cell.
    """
    from hwnas.reports.summary_table import summary_table

    rows: list[dict[str, str]] = []
    for cell in sweep_cells(read_yaml(path / FILE)):
        if cell.name in results:
            header, cells_rows = summary_table(results[cell.name])
            rows += [cell.labels | dict(zip(header, row, strict=True)) for row in cells_rows]
    names = [*dict.fromkeys(name for row in rows for name in row)]
    # The status ends the table; slacks of later cells would stand behind it.
    names.sort(key=lambda name: name in ("seconds", "status"))
    return names, [[row.get(name, "") for name in names] for row in rows]


def _run_cells(
    path: Path,
    sweep: Sweep,
    *,
    workers: int,
    progress: Progress,
    allow_plugins: bool,
    draw: bool,
    begun: Sequence[Cell] = (),
    changes: Mapping[str, Any] | None = None,
) -> dict[str, Result]:
    """Resume the cells that have begun, run the others, and write the table of all.

    Raises
    ------
    SearchFailed, InvalidInput
        The first failure of a cell, after all have been tried.
    """
    results: dict[str, Result] = {}
    failures: list[tuple[str, SearchFailed | HwnasError]] = []
    settings: dict[str, Any] = {"workers": workers, "progress": progress, "draw": draw}
    for cell in begun:
        with _noted(cell, failures):
            results[cell.name] = api.resume(
                path / cell.name, overrides=changes, allow_plugins=allow_plugins, **settings
            )
    for cell, experiment, problem in sweep.cells:
        with _noted(cell, failures):
            results[cell.name] = api.run(experiment, path / cell.name, problem=problem, **settings)
    _write_table(path, sweep.content, results)
    if failures:
        name, error = failures[0]
        text = f"{len(failures)} runs of the sweep failed, first {name}: {error}"
        raise type(error)(text) if type(error) in (SearchFailed, InvalidInput) else error
    return results


@contextlib.contextmanager
def _noted(cell: Cell, failures: list[tuple[str, SearchFailed | HwnasError]]) -> Iterator[None]:
    """Note the failure of a cell, so that the others run all the same."""
    try:
        yield
    except (SearchFailed, HwnasError) as error:
        failures.append((cell.name, error))


def _write_table(path: Path, content: Mapping[str, Any], results: Mapping[str, Result]) -> None:
    """Write ``sweep.csv``: the rows of all summaries with the values of the sweep."""
    rows: list[dict[str, Any]] = [
        {"run": cell.name, **cell.labels} | row
        for cell in sweep_cells(content)
        if cell.name in results
        for row in results[cell.name].summary
    ]
    names = [*dict.fromkeys(name for row in rows for name in row)]
    write_csv(path / TABLE, names, ([row.get(name, "") for name in names] for row in rows))


def _with_resolved_files(
    content: Mapping[str, Any], experiments: Sequence[Experiment]
) -> dict[str, Any]:
    """Return a sweep's content whose files are absolute, as its experiments have resolved them.

    A sweep is resumed from its directory, which relative files of a YAML are not relative to.
    """
    resolved = dict(content)
    for key in {"plugins", "backend", "space"} & set(content):
        values = [experiment.model_dump()[key] for experiment in experiments]
        # What differs between the cells holds placeholders.
        if all(value == values[0] for value in values):
            resolved[key] = values[0]
    return resolved
