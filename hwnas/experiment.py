"""From a YAML to a validated experiment: the one loader.

`load` reads and checks the form, `problem_of` builds what the experiment names and checks that it
fits together. Whatever is wrong becomes an `ExperimentError`: one line with the file, the key's
path, what was found and what would be right.
"""

from __future__ import annotations

import contextlib
import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import pydantic
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from hwnas import registry
from hwnas.backends import EXACT_METRICS, Backend, metric_of
from hwnas.errors import HwnasError, InvalidInput, UnknownName
from hwnas.objectives import Objective, parse_constraints, parse_objectives
from hwnas.optimizers import Optimizer
from hwnas.spaces import SearchSpace, space
from hwnas.yaml_loader import read_yaml

NAME = r"^[A-Za-z0-9._-]*[A-Za-z0-9_-][A-Za-z0-9._-]*$"  # a file name, and not dots alone
Name = Annotated[str, Field(pattern=NAME)]


class ExperimentError(InvalidInput):
    """An experiment that cannot be run: file, key path, what was found, what would be right."""

    def __init__(self, file: str, path: str, message: str) -> None:
        super().__init__(": ".join(part for part in (file, path, message) if part))


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Component(BaseModel):
    """Something registered, with settings of its own beside the keys it shares with others."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)
    type: str

    @property
    def settings(self) -> dict[str, Any]:
        """The component's own settings."""
        return dict(self.model_extra or {})


class BackendEntry(_Component):
    """Which backend answers, and its settings."""


class OptimizerEntry(_Component):
    """Which optimizer searches, what the run calls it, and its settings."""

    name: Name
    batch: int | None = Field(default=None, ge=1)


class Budget(_Strict):
    """When a search ends: whichever comes first.

    Attributes
    ----------
    evaluations
        How many there may be.
    cost
        Seconds that all evaluations together may take. A resumed search ends where it would have
        ended, because what each trial took is stored with it.
    seconds
        Time since the search began, for proposals as well.
    """

    evaluations: int | None = Field(default=None, ge=1)
    cost: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    seconds: float | None = Field(default=None, gt=0, allow_inf_nan=False)


def _typed(entry: Any) -> Any:
    return {"type": entry} if isinstance(entry, str) else entry


def _named(entry: Any) -> Any:
    entry = _typed(entry)
    if isinstance(entry, dict) and "name" not in entry and isinstance(entry.get("type"), str):
        entry = {**entry, "name": entry["type"]}
    return entry


def _listed(seeds: Any) -> Any:
    if type(seeds) is int and seeds < 1:
        raise ValueError("expected at least 1 seed")
    return list(range(seeds)) if type(seeds) is int else seeds


def _or_text(model: type[BaseModel]) -> WithJsonSchema:
    entry = model.model_json_schema()
    entry["required"] = ["type"]
    return WithJsonSchema({"anyOf": [{"type": "string"}, entry]})


Seed = Annotated[int, Field(ge=0)]
AnyBackend = Annotated[BackendEntry, BeforeValidator(_typed), _or_text(BackendEntry)]
AnyOptimizer = Annotated[OptimizerEntry, BeforeValidator(_named), _or_text(OptimizerEntry)]
Seeds = Annotated[
    list[Seed],
    BeforeValidator(_listed),
    Field(min_length=1),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1},
                {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1},
            ]
        }
    ),
]


class Experiment(_Strict):
    """What a YAML says, completed: optimizers have names, seeds are a list.

    Attributes
    ----------
    name
        Name of the experiment and of its directory.
    space
        Name of a space, or its choices.
    backend
        What answers.
    objectives, constraints
        In the grammar of `hwnas.objectives`.
    optimizers
        What searches; names are distinct.
    budget
        When each search ends.
    seeds
        One search each for every optimizer.
    noise
        Whether draws of the backend's noise are observed, in place of medians.
    reference
        The reference point of the hypervolume, one number an objective, in raw units.
    warm_start
        The directory of an earlier run, of whose trials every optimizer is told before it begins.
    plugins
        Python files that register optimizers or backends.
    """

    name: Name
    space: str | dict[str, Any]
    backend: AnyBackend = BackendEntry(type="surrogate")
    objectives: list[str] = Field(min_length=2, max_length=5)
    constraints: list[str] = []
    optimizers: list[AnyOptimizer] = Field(min_length=1)
    budget: Budget
    seeds: Seeds = [0, 1, 2]
    noise: bool = False
    reference: list[float] | None = None
    warm_start: str | None = None
    plugins: list[str] = []

    def to_yaml(self) -> str:
        """The experiment as a YAML that loads as the same experiment."""
        plain = self.model_dump(exclude_none=True)
        return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)


@dataclass(frozen=True)
class Problem:
    """What an experiment names, built.

    Attributes
    ----------
    space
        Where to search.
    backend
        What answers; it draws noise if the experiment has any.
    truth
        The same without noise.
    objectives, constraints
        What is wanted.
    """

    space: SearchSpace
    backend: Backend
    truth: Backend
    objectives: tuple[Objective, ...]
    constraints: tuple[Objective, ...]

    @property
    def measured(self) -> tuple[Objective, ...]:
        """Objectives, then constraints: the columns of what is stored for a trial."""
        return self.objectives + self.constraints

    @property
    def noisy(self) -> bool:
        """Whether draws are observed."""
        return self.backend is not self.truth

    @cached_property
    def fidelity_dependent(self) -> list[int]:
        """Which of `measured` change with the fidelity."""
        return [
            j for j, o in enumerate(self.measured) if metric_of(self.backend, o).fidelity_dependent
        ]


def load(
    source: str | Path | Mapping[str, Any] | Experiment,
    overrides: Mapping[str, Any] | None = None,
    *,
    plugins: Sequence[str | Path] = (),
    allow_plugins: bool = False,
) -> Experiment:
    """Read an experiment and check its form.

    Parameters
    ----------
    source
        A YAML file, the name of an experiment that hwnas ships, or the content itself.
    overrides
        Values by dotted path, ``{"budget.evaluations": 50}``.
    plugins
        Python files to run that register what the experiment names, beside those it lists itself.
    allow_plugins
        Whether the files that it lists may run. They can do whatever you can.

    Raises
    ------
    ExperimentError
        What is wrong, where, and what would be right.
    """
    folder = Path()
    if isinstance(source, Experiment):
        content, file = source.model_dump(exclude_none=True), ""
    elif isinstance(source, Mapping):
        content, file = copy.deepcopy(dict(source)), ""
    else:
        path = shipped(str(source)) or Path(source)
        content, file, folder = read_yaml(path), str(path), path.parent
    for dotted, value in (overrides or {}).items():
        _override(content, dotted, value)
    experiment = load_form(content, file)
    listed = [str((folder / name).absolute()) for name in experiment.plugins]
    refuse_plugins(listed, allow_plugins, file)
    given = [str(Path(name).absolute()) for name in plugins]
    files = list(dict.fromkeys([*listed, *given]))
    experiment = experiment.model_copy(update={"plugins": files})
    load_plugins(experiment)
    try:
        problem = problem_of(experiment)
        for i, entry in enumerate(experiment.optimizers):
            with _at(f"optimizers[{i}]"):
                optimizer_of(experiment, entry, problem, seed=0)
    except ExperimentError as error:
        raise ExperimentError(file, "", str(error)) from error.__cause__
    return experiment


def load_form(content: Mapping[str, Any], file: str = "") -> Experiment:
    """Check an experiment's form alone; nothing that it names need be installed.

    Parameters
    ----------
    content
        What the YAML says.
    file
        Where it comes from, for the error's text.

    Raises
    ------
    ExperimentError
        What is wrong, where, and what would be right.
    """
    try:
        experiment = Experiment.model_validate(content)
    except pydantic.ValidationError as error:
        raise ExperimentError(file, *_first(error)) from None
    names = [entry.name for entry in experiment.optimizers]
    for i, name in enumerate(names):
        if name in names[:i]:
            message = f"a second {name!r}; give one of them another 'name:'"
            raise ExperimentError(file, f"optimizers[{i}].name", message)
    if len(set(experiment.seeds)) != len(experiment.seeds):
        raise ExperimentError(file, "seeds", f"expected distinct seeds, found {experiment.seeds}")
    if experiment.budget == Budget():
        raise ExperimentError(file, "budget", "expected 'evaluations', 'cost' or 'seconds'")
    return experiment


def refuse_plugins(listed: Sequence[str], allow_plugins: bool, file: str) -> None:
    """Refuse to run the files of plugins that an experiment lists, unless they may.

    Raises
    ------
    ExperimentError
        Naming the option that allows them.
    """
    if listed and not allow_plugins:
        message = "runs code of others; read it, and allow it with --allow-plugins"
        raise ExperimentError(file, "plugins", message)


def load_plugins(experiment: Experiment) -> dict[str, str]:
    """Run the files of plugins of an experiment that may; their SHA-256 by path.

    Raises
    ------
    InvalidInput
        A file is missing, does not run, or registers nothing.
    """
    return {file: registry.load_file(file).sha256 for file in experiment.plugins}


def problem_of(experiment: Experiment) -> Problem:
    """Build what an experiment names and check that it fits together.

    Raises
    ------
    ExperimentError
        Naming the key at fault.
    """
    with _at("space"):
        where = space(experiment.space)
    with _at("backend"):
        name, settings = experiment.backend.type, experiment.backend.settings
        registry.checked_settings("backend", name, settings)
        truth = backend = registry.backend(name, where, **settings)
        if experiment.noise:
            backend = registry.backend(name, where, noise=True, **settings)
    with _at("objectives"):
        objectives = parse_objectives(experiment.objectives)
    with _at("constraints"):
        constraints = parse_constraints(experiment.constraints)
    for key, parsed in (("objectives", objectives), ("constraints", constraints)):
        for i, objective in enumerate(parsed):
            with _at(f"{key}[{i}]"):
                metric_of(backend, objective)
                if experiment.noise and objective.level is not None:
                    raise InvalidInput(
                        f"{str(objective)!r} is a statistic, which one noisy draw cannot show; "
                        "expected the metric itself, or noise: false"
                    )
    by_cost_alone = experiment.budget == Budget(cost=experiment.budget.cost)
    if by_cost_alone and all(o.key in EXACT_METRICS for o in objectives + constraints):
        with _at("budget.cost"):
            raise InvalidInput(
                "what is asked for takes no time to evaluate, so no search would end; expected "
                "'evaluations' or 'seconds' as well"
            )
    given = experiment.reference
    if given is not None and len(given) != len(objectives):
        with _at("reference"):
            raise InvalidInput(
                f"expected one number an objective, {len(objectives)}, found {len(given)}"
            )
    return Problem(where, backend, truth, objectives, constraints)


def optimizer_of(
    experiment: Experiment, entry: OptimizerEntry, problem: Problem, *, seed: int
) -> Optimizer:
    """The optimizer that an entry names, made for a problem.

    Raises
    ------
    InvalidInput, MissingExtra
        See `hwnas.registry.optimizer`; a `ValueError` of its constructor is one too.
    """
    registry.checked_settings("optimizer", entry.type, entry.settings)
    try:
        return registry.optimizer(
            entry.type,
            problem.space,
            len(problem.objectives),
            seed=seed,
            n_constraints=len(problem.constraints),
            fidelities=problem.backend.fidelities,
            **entry.settings,
        )
    except HwnasError:
        raise
    except ValueError as error:
        raise InvalidInput(f"optimizer {entry.type!r}: {error}") from error


def shipped(name: str | None = None) -> Path | None:
    """The file of an experiment that comes with hwnas, by its path without suffix.

    That is ``quickstart`` or ``hardware/cpu-tiny``.
    """
    from importlib.resources import files

    try:
        folder = Path(str(files("hwnas_experiments")))
    except ModuleNotFoundError:
        return None
    path = folder / f"{name}.yaml"
    plain = all(re.fullmatch(NAME, part) for part in (name or "").split("/"))
    return path if plain and path.is_file() else None


def _override(content: dict[str, Any], dotted: str, value: Any) -> None:
    *parents, last = dotted.split(".")
    for key in parents:
        child = content.get(key)
        if not isinstance(child, dict):
            raise InvalidInput(f"--set {dotted}: {key!r} holds no keys")
        content = child
    content[last] = value


@contextlib.contextmanager
def _at(path: str) -> Iterator[None]:
    try:
        yield
    except HwnasError as error:
        raise ExperimentError("", path, str(error)) from error


def _first(error: pydantic.ValidationError) -> tuple[str, str]:
    """Key path and message of the first thing that is wrong."""
    first = error.errors()[0]
    location = [part for part in first["loc"] if part not in ("str", "dict[str,any]")]
    path = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in location).lstrip(".")
    if first["type"] == "extra_forbidden":
        owner: type[BaseModel] = Budget if location[0] == "budget" else Experiment
        return path, str(UnknownName("key", str(location[-1]), owner.model_fields))
    if first["type"] == "missing":
        return path, "is required"
    message = first["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    found = repr(first["input"])
    return path, f"{message}, found {found if len(found) < 80 else found[:77] + '...'}"
