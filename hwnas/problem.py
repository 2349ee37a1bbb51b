"""Problems: what an experiment names, built and checked to fit together."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hwnas import registry
from hwnas.backends import Backend, is_closed_form, metric_of
from hwnas.errors import ExperimentError, HwnasError, InvalidInput, SearchFailed
from hwnas.experiment import Budget, Experiment, OptimizerEntry, read_experiment
from hwnas.fault_location import fault_location
from hwnas.objectives import Objective, parse_constraints, parse_objectives
from hwnas.optimizers import Optimizer
from hwnas.spaces import SearchSpace, space
from hwnas.sweeps import Cell
from hwnas.workloads import Workload, parse_workloads


@dataclass(frozen=True)
class Problem:
    """Space, backend, objectives and constraints of an experiment.

    It is built once a process and handed on.

    Attributes
    ----------
    space
        Search space.
    backend
        Backend that evaluates; it draws noise if the experiment has any.
    truth
        The same backend without noise.
    objectives, constraints
        Parsed objectives and constraints.
    """

    space: SearchSpace
    backend: Backend
    truth: Backend
    objectives: tuple[Objective, ...]
    constraints: tuple[Objective, ...]

    @property
    def measured(self) -> tuple[Objective, ...]:
        """Objectives, then constraints: the columns that are stored of a trial."""
        return self.objectives + self.constraints

    @property
    def noisy(self) -> bool:
        """True if evaluations are noisy draws."""
        return self.backend is not self.truth

    @cached_property
    def fidelity_dependent(self) -> list[int]:
        """Indices of `measured` whose values change with the fidelity."""
        return [
            j for j, o in enumerate(self.measured) if metric_of(self.backend, o).fidelity_dependent
        ]


def load_experiment(
    source: str | Path | Mapping[str, Any] | Experiment,
    overrides: Mapping[str, Any] | None = None,
    *,
    plugins: Sequence[str | Path] = (),
    allow_plugins: bool = False,
    allowed_hashes: Mapping[str, str] = MappingProxyType({}),
    allowed_address: str | None = None,
    cell: Cell | None = None,
) -> tuple[Experiment, Problem]:
    """Read an experiment, build its problem and check that every optimizer can be built.

    Parameters
    ----------
    source, overrides, plugins, allow_plugins, allowed_hashes, allowed_address, cell
        See `hwnas.experiment.read_experiment`.

    Raises
    ------
    ExperimentError
        Naming the file and the key at fault.
    """
    experiment, file = read_experiment(
        source,
        overrides,
        plugins=plugins,
        allow_plugins=allow_plugins,
        allowed_hashes=allowed_hashes,
        allowed_address=allowed_address,
        cell=cell,
    )
    try:
        problem = build_problem(experiment)
        # Building an optimizer checks its settings against the space and the objectives.
        for i, entry in enumerate(experiment.optimizers):
            with _errors_at(f"optimizers[{i}]"):
                build_optimizer(entry, problem, seed=0)
        for i, logger in enumerate(experiment.loggers or ()):
            with _errors_at(f"loggers[{i}]"):
                registry.checked_settings("logger", logger.type, logger.settings)
    except ExperimentError as error:
        raise ExperimentError(file, "", str(error)) from error.__cause__
    return experiment, problem


def build_problem(experiment: Experiment) -> Problem:
    """Build what an experiment names and check that it fits together.

    Raises
    ------
    ExperimentError
        Naming the key at fault.
    """
    with _errors_at("space"):
        search_space = space(experiment.space)
    with _errors_at("workloads"):
        workloads = _workloads(experiment, search_space)
    with _errors_at("backend"):
        name, settings = experiment.backend.type, experiment.backend.settings
        registry.checked_settings("backend", name, settings)
        settings = {**settings, "workloads": workloads}
        # Without noise, backend and truth are one object.
        with _errors_of_constructor("backend", name):
            truth = backend = registry.backend(name, search_space, **settings)
            if experiment.noise:
                backend = registry.backend(name, search_space, noise=True, **settings)
    with _errors_at("objectives"):
        objectives = parse_objectives(experiment.objectives)
    with _errors_at("constraints"):
        constraints = parse_constraints(experiment.constraints)
    _check_metrics(backend, objectives, constraints, noise=experiment.noise)
    _check_budget(experiment.budget, objectives + constraints, search_space)
    if experiment.reference is not None and len(experiment.reference) != len(objectives):
        with _errors_at("reference"):
            raise InvalidInput(
                f"expected one number an objective, {len(objectives)}, found "
                f"{len(experiment.reference)}"
            )
    return Problem(search_space, backend, truth, objectives, constraints)


def _workloads(experiment: Experiment, search_space: SearchSpace) -> dict[str, Workload]:
    """Return the workloads of an experiment, after a check that its own ones fit the space."""
    workloads = parse_workloads(experiment.workloads)
    for name in experiment.workloads or ():
        try:
            workloads[name].check(search_space)
        except InvalidInput as error:
            raise InvalidInput(f"{name}: {error}") from None
    return workloads


def build_optimizer(entry: OptimizerEntry, problem: Problem, *, seed: int) -> Optimizer:
    """Build the optimizer of an entry for a problem.

    Raises
    ------
    InvalidInput, MissingExtra
        See `hwnas.registry.optimizer`; a `ValueError` of its constructor becomes one too.
    SearchFailed
        The constructor has a bug.
    """
    registry.checked_settings("optimizer", entry.type, entry.settings)
    with _errors_of_constructor("optimizer", entry.type):
        return registry.optimizer(
            entry.type,
            problem.space,
            len(problem.objectives),
            seed=seed,
            n_constraints=len(problem.constraints),
            fidelities=problem.backend.fidelities,
            **entry.settings,
        )


@contextlib.contextmanager
def _errors_of_constructor(kind: registry.Kind, name: str) -> Iterator[None]:
    """Turn errors of a plugin's constructor into one line with the plugin's file and line."""
    try:
        yield
    except HwnasError:
        raise
    except ValueError as error:
        raise InvalidInput(f"{kind} {name!r}: {error}") from error
    except Exception as error:
        location = fault_location(error, registry.lookup(kind, name))
        suffix = f" ({location})" if location else ""
        text = f"{kind} {name!r} cannot be built: {type(error).__name__}: {error}{suffix}"
        raise SearchFailed(text) from error


def _check_metrics(
    backend: Backend,
    objectives: tuple[Objective, ...],
    constraints: tuple[Objective, ...],
    *,
    noise: bool,
) -> None:
    """Check that the backend has every metric, and that noisy draws can show it."""
    for key, parsed in (("objectives", objectives), ("constraints", constraints)):
        for i, objective in enumerate(parsed):
            with _errors_at(f"{key}[{i}]"):
                metric_of(backend, objective)
                if noise and objective.level is not None:
                    raise InvalidInput(
                        f"{str(objective)!r} is a statistic, which one noisy draw cannot show; "
                        "expected the metric itself, or noise: false"
                    )


def _check_budget(
    budget: Budget, measured: tuple[Objective, ...], search_space: SearchSpace
) -> None:
    """Check that a budget of cost alone is ever spent."""
    # Closed forms cost nothing, so a budget of cost alone would never be spent.
    by_cost_alone = budget == Budget(cost=budget.cost)
    if by_cost_alone and all(is_closed_form(search_space, objective) for objective in measured):
        with _errors_at("budget.cost"):
            raise InvalidInput(
                "what is asked for takes no time to evaluate, so no search would end; expected "
                "'evaluations' or 'seconds' as well"
            )


@contextlib.contextmanager
def _errors_at(key_path: str) -> Iterator[None]:
    """Turn errors into experiment errors at a key."""
    try:
        yield
    except HwnasError as error:
        raise ExperimentError("", key_path, str(error)) from error
