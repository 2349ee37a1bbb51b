"""Choice of the executor that an experiment names."""

from __future__ import annotations

import importlib
from typing import Any

from hwnas.backends import metric_of
from hwnas.errors import ExperimentError, HwnasError, InvalidInput, UnknownName
from hwnas.experiment import ExecutorEntry
from hwnas.problem import Problem
from hwnas.runner.executors.interface import EvaluatorFactory, Executor
from hwnas.setting_checks import check_settings_of

SERIAL = "serial"
# Each is called with the factory of its evaluators and the settings of the experiment.
_PARALLEL = {
    "process": "hwnas.runner.executors.process:ProcessExecutor",
    "ray": "hwnas.runner.executors.ray:RayExecutor",
}


def is_parallel(entry: ExecutorEntry | None) -> bool:
    """Return whether trials are evaluated by an executor, not one after another in the search."""
    return entry is not None and entry.type != SERIAL


def create_executor(entry: ExecutorEntry, factory: EvaluatorFactory) -> Executor:
    """Return the executor of an entry, which is not serial.

    Parameters
    ----------
    entry
        Executor and its settings.
    factory
        Factory of the evaluators of the search.

    Raises
    ------
    InvalidInput, MissingExtra
        A setting is wrong, or a library is not installed.
    """
    cls = _executor_class(entry.type)
    settings = check_settings_of(cls, f"executor {entry.type!r}", entry.settings)
    executor: Executor = cls(factory, **settings)
    return executor


def check_executor(entry: ExecutorEntry | None, problem: Problem, workers: int) -> None:
    """Check an executor before a run starts.

    Parameters
    ----------
    entry
        Executor and its settings, ``None`` for the serial one.
    problem
        Problem to evaluate.
    workers
        Number of searches side by side.

    Raises
    ------
    ExperimentError
        There is no such executor, a setting is wrong, or it does not fit the rest.
    """
    try:
        if entry is None:
            return
        if entry.type == SERIAL:
            if entry.settings:
                raise InvalidInput(f"serial takes no settings, found {', '.join(entry.settings)}")
            return
        cls = _executor_class(entry.type)
        cls.check(**check_settings_of(cls, f"executor {entry.type!r}", entry.settings))
        if workers > 1:
            raise InvalidInput(
                f"{entry.type} evaluates the trials of one search at a time, so that --workers is "
                f"1, found {workers}; give the executor its own 'workers:' instead"
            )
        if problem.backend.on_hardware and not problem.backend.side_by_side:
            _refuse_disturbed(entry, problem)
    except ExperimentError:
        raise
    except HwnasError as error:
        raise ExperimentError("", "executor", str(error)) from error


def _refuse_disturbed(entry: ExecutorEntry, problem: Problem) -> None:
    """Refuse trials that share a device while they measure its speed; a training may share one."""
    metrics = [metric_of(problem.backend, objective) for objective in problem.measured]
    if entry.type == "process":
        raise InvalidInput(
            "trials that measure on this machine would disturb each other; expected serial, "
            "found process"
        )
    gpus = float(entry.settings.get("gpus", 0))
    if (gpus == 0 or gpus % 1) and any(metric.cost == "cheap" for metric in metrics):
        raise InvalidInput(
            f"trials that share a device would disturb each other's measurements; expected gpus: "
            f"1, found {gpus:g}"
        )


def _executor_class(name: str) -> Any:
    if name not in _PARALLEL:
        raise UnknownName("executor", name, [SERIAL, *_PARALLEL])
    module, _, cls = _PARALLEL[name].partition(":")
    return getattr(importlib.import_module(module), cls)
