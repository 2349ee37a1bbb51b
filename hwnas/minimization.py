"""Minimization of a Python function with several values over named choices."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.api import ignore_progress, resume, run
from hwnas.errors import InvalidInput, describe_value
from hwnas.function_source import Function, defined_here, name_of
from hwnas.problem import load_experiment
from hwnas.runner.executors.choice import SERIAL
from hwnas.runner.results import Result
from hwnas.runner.run_directory import extension_of_run
from hwnas.runner.run_searches import Progress
from hwnas.runner.workers import NotPicklable, pickled
from hwnas.spaces import SearchSpace
from hwnas.spaces.choices import Value, plain_value
from hwnas.spaces.layer_options import Allowed

Optimizers = str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]]


def minimize(
    function: Function,
    choices: Mapping[str, Sequence[Value]] | SearchSpace,
    objectives: Sequence[str],
    *,
    layers: Mapping[str, Sequence[Value]] | None = None,
    depth: str | None = None,
    conditions: Mapping[str, Mapping[str, Sequence[Value]]] | None = None,
    allowed: Allowed | None = None,
    optimizers: Optimizers = "auto",
    budget: int | Mapping[str, float] = 100,
    constraints: Sequence[str] = (),
    seeds: int | Sequence[int] = 1,
    name: str | None = None,
    out: str | Path | None = None,
    steps: Sequence[int] = (),
    units: Mapping[str, str] | None = None,
    threads: int | None = None,
    reference: Sequence[float] | None = None,
    initial: str | Mapping[str, int] | None = None,
    warm_start: str | Path | None = None,
    plugins: Sequence[str | Path] = (),
    workers: int = 1,
    executor: str | Mapping[str, Any] | None = None,
    loggers: Sequence[str | Mapping[str, Any]] = (),
    progress: Progress = ignore_progress,
    draw: bool = True,
) -> Result:
    """Minimize a function that returns several values, and write a directory with a report.

    Called again with the same arguments it goes on with a run that was stopped, to the trials of an
    uninterrupted one, as far as the function is deterministic; a trial that is stored is not
    evaluated again. Where the function can be imported, ``hwnas resume DIR`` does the same. It
    cannot be if it is a lambda, local to another one, or of the main program or a notebook.

    Parameters
    ----------
    function
        Gets a configuration, a dict with the value of each choice and a tuple for each choice of
        the layers, and returns its values: a dict of numbers by name, or numbers in the order of
        the objectives and then of what else constraints name. An exception is a failed trial, and
        so is a value that is not finite. ``config.seed`` seeds whatever is random in it;
        ``config.report(values, step)`` is for `steps`.
    choices
        Values by name, or a search space.
    objectives
        Two to five names of values; ``"-accuracy"`` is maximized.
    layers, depth, conditions, allowed
        Choices of each layer, and what restricts the choices; see `hwnas.SearchSpace`.
    optimizers
        Name of an optimizer, keys and values as in ``{"type": "nsga2", "pop_size": 20}``, or a list
        of these, each of which runs a search of its own for each seed. By default ``auto`` chooses.
    budget
        Evaluations of each search, or limits by name: ``{"evaluations": 50, "seconds": 600}``. Ten
        further evaluations at the start set the scale of the hypervolume.
    constraints
        As in ``["ms <= 20"]``.
    seeds
        Number of seeds, or a list of them.
    name
        Name of the run; by default that of the function.
    out
        Directory of the run; ``runs/<name>`` by default. A run of this problem that it holds goes
        on, and gets a greater budget, more seeds or more optimizers if they are asked for.
    steps, units, threads
        See `hwnas.problems.python_function.PythonFunction`.
    reference
        Reference point of the hypervolume, one number for each objective.
    initial
        ``"shared"``: all optimizers begin with the same architectures, whose number ``{"shared":
        20}`` sets.
    warm_start
        Directory of an earlier run, also on another space of the family, whose trials the
        optimizers are told first.
    plugins
        Python files that register optimizers.
    workers
        Number of processes that run searches side by side; more than one need a function that can
        be imported.
    executor
        Where configurations are evaluated, several at once: ``"process"``, ``"ray"``, or keys and
        values as in ``{"type": "process", "workers": 4}``. A function that cannot be imported is
        handed over by value, with the variables that it uses.
    loggers
        Names of loggers, or keys and values as in ``{"type": "mlflow", "experiment": "mine"}``.
    progress
        Called with a search and the number of its evaluations so far.
    draw
        Whether to write plots and ``report.html`` too.

    Returns
    -------
    Result
        With `summary`, `fronts` and `path`.

    Raises
    ------
    InvalidInput
        An argument is not as expected, or `out` holds another run.
    SearchFailed
        The function fails whatever the configuration, or an optimizer raised an error.

    Examples
    --------
    >>> import hwnas, tempfile
    >>> def evaluate(config):
    ...     weights = sum(config["width"])
    ...     return {"error": 1 / weights + config["rate"], "ms": weights / 8}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     result = hwnas.minimize(
    ...         evaluate,
    ...         {"depth": [1, 2, 3], "rate": [0.01, 0.1]},
    ...         ["error", "ms"],
    ...         layers={"width": [8, 16, 32]},
    ...         optimizers="random",
    ...         budget=20,
    ...         out=folder,
    ...         draw=False,
    ...     )
    >>> result.summary[0]["evaluations"]
    20
    """
    if not callable(function):
        raise InvalidInput(f"function: expected a function of a configuration, found {function!r}")
    reference_name, folder = name_of(function)
    if folder is None and workers > 1:
        raise InvalidInput(
            f"workers: expected 1, because {reference_name} cannot be imported by other processes, "
            f"found {workers}"
        )
    if name is None:
        name = re.findall(r"[A-Za-z0-9_]+", reference_name)[-1]
    if executor not in (None, SERIAL) and folder is None:
        _check_picklable(function, reference_name)
    space = choices
    if not isinstance(space, SearchSpace):
        space = SearchSpace(
            name, choices, layers=layers, depth=depth, conditions=conditions, allowed=allowed
        )
    elif any(argument is not None for argument in (layers, depth, conditions, allowed)):
        raise InvalidInput(f"layers: the space {space.name} has its own; expected choices by name")
    settings = {
        "function": reference_name,
        "folder": None if folder is None else str(folder),
        "units": dict(units) if isinstance(units, Mapping) else units or None,
        "steps": _list("steps", steps) or None,
        "threads": threads,
    }
    content = {
        "name": name,
        "space": space.to_dict(),
        "backend": {"type": "python", **_given(settings)},
        "objectives": _list("objectives", objectives),
        "constraints": _list("constraints", constraints),
        "optimizers": [optimizers]
        if isinstance(optimizers, str | Mapping)
        else _list("optimizers", optimizers),
        "budget": dict(budget)
        if isinstance(budget, Mapping)
        else {"evaluations": plain_value(budget)},
        "seeds": plain_value(seeds)
        if isinstance(seeds, int | np.integer)
        else _list("seeds", seeds),
        "reference": None if reference is None else _list("reference", reference),
        "initial": dict(initial) if isinstance(initial, Mapping) else initial,
        "warm_start": None if warm_start is None else str(warm_start),
        "executor": dict(executor) if isinstance(executor, Mapping) else executor,
        "loggers": _list("loggers", loggers) or None,
    }
    path = Path("runs", name) if out is None else Path(out)
    is_local = folder is None
    with defined_here({reference_name: function}) if is_local else contextlib.nullcontext():
        experiment, problem = load_experiment(
            _given(content), plugins=_list("plugins", plugins), allow_plugins=True
        )
        extension = extension_of_run(path, experiment)
        if extension is not None:
            if executor is not None:
                extension = {**extension, "executor": content["executor"]}
            return resume(
                path,
                overrides=extension,
                workers=workers,
                progress=progress,
                draw=draw,
                problem=problem,
            )
        return run(experiment, path, workers=workers, progress=progress, draw=draw, problem=problem)


def _check_picklable(function: Function, name: str) -> None:
    """Check that a function which cannot be imported can be handed to another process."""
    try:
        pickled(function)
    except NotPicklable as error:
        reason = " ".join(str(error.__cause__).split())
        raise InvalidInput(
            f"executor: {name} uses what cannot be handed to another process: {reason}; create it "
            "within the function, or leave executor out"
        ) from error


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping without what is ``None``."""
    return {key: value for key, value in values.items() if value is not None}


def _list(name: str, values: Any) -> list[Any]:
    """Return values as a list of Python's own; a text alone is a mistake."""
    if isinstance(values, str | Mapping) or not isinstance(values, Iterable):
        raise InvalidInput(f"{name}: expected a list, found {describe_value(values)}")
    return [plain_value(value) for value in values]
