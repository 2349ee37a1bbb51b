"""Experiments: the schema of the YAML, and reading one.

`read_experiment` checks the form alone; `hwnas.problem` builds what an experiment names and checks
that it fits together. Every fault becomes an `ExperimentError`: one line with the file, the path of
the key, what was found and what was expected.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

import pydantic
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    WithJsonSchema,
    model_serializer,
)

from hwnas import foreign_code, form_errors
from hwnas.errors import ExperimentError, InvalidInput, UnknownName, describe_value
from hwnas.form_schemas import INITIAL, SEEDS, SPACE, WORKLOADS
from hwnas.function_source import FunctionError
from hwnas.shipped_experiments import experiment_file
from hwnas.sweeps import Cell, cell_content
from hwnas.workloads import Workload, parse_workloads
from hwnas.yaml_loader import dump_yaml, read_yaml

NAME = r"^[A-Za-z0-9._-]*[A-Za-z0-9_-][A-Za-z0-9._-]*$"  # a file name, and not dots alone
Name = Annotated[str, Field(pattern=NAME, max_length=form_errors.MAX_NAME)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out keys that are not given; a setting of null is one that is given."""
        fields = type(self).model_fields
        return {k: v for k, v in handler(self).items() if v is not None or k not in fields}


class _Component(_Strict):
    """A registered name with its own settings beside the keys common to all entries."""

    model_config = ConfigDict(extra="allow")
    type: str

    @property
    def settings(self) -> dict[str, Any]:
        """Own settings of the component."""
        return dict(self.model_extra or {})


class BackendEntry(_Component):
    """Backend and its settings."""


class ExecutorEntry(_Component):
    """Executor of trials and its settings."""


class LoggerEntry(_Component):
    """Logger and its settings."""


class OptimizerEntry(_Component):
    """Optimizer, its name in the run and its settings."""

    name: Name
    batch: int | None = Field(default=None, ge=1)


class Budget(_Strict):
    """Limits of a search, which ends at the first of them.

    Attributes
    ----------
    evaluations
        Number of evaluations.
    cost
        Seconds of all evaluations together. A resumed search ends where it would have ended,
        because the duration of each trial is stored with it.
    seconds
        Time since the search started, proposals included.
    within
        Share of the hypervolume that may be missing, by an estimate (`hwnas.runner.stopping`).
    """

    evaluations: int | None = Field(default=None, ge=1, le=form_errors.MAX_EVALUATIONS)
    cost: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    seconds: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    within: float | None = Field(default=None, gt=0, lt=1)


def _with_type(entry: Any) -> Any:
    return {"type": entry} if isinstance(entry, str) else entry


def _with_name(entry: Any) -> Any:
    entry = _with_type(entry)
    if isinstance(entry, dict) and "name" not in entry and isinstance(entry.get("type"), str):
        # A type such as "moea/d" names no directory; it is refused as a type, with a suggestion.
        name = re.sub(r"[^A-Za-z0-9._-]", "-", entry["type"])
        entry = {**entry, "name": name if re.search(NAME, name) else "unnamed"}
    return entry


def _seed_list(seeds: Any) -> Any:
    if type(seeds) is int and not 1 <= seeds <= form_errors.MAX_SEEDS:
        raise ValueError("too few or too many")  # the text is that of `first_fault`
    return list(range(seeds)) if type(seeds) is int else seeds


def _shared_number(initial: Any) -> Any:
    return {"shared": form_errors.N_SHARED} if initial == "shared" else initial


def _plain_workloads(workloads: Any) -> Any:
    """Return workloads as keys and values, those too that a caller of Python gives as objects."""
    if not isinstance(workloads, Mapping):
        return workloads
    return {k: asdict(w) if isinstance(w, Workload) else w for k, w in workloads.items()}


class _NameOrEntry:
    """Annotation of the JSON Schema: a name, or an entry with settings."""

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: Any) -> dict[str, Any]:
        # Computed when the schema is printed: every run would pay for it at import.
        model = core_schema["schema"]["cls"]
        entry: dict[str, Any] = model.model_json_schema()
        entry["required"] = ["type"]
        return {"anyOf": [{"type": "string"}, entry]}


# Forms that a user may write in short: a name for an entry, a number for a list of seeds.
Seed = Annotated[int, Field(ge=0, le=form_errors.MAX_SEED)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
AnyBackend = Annotated[BackendEntry, BeforeValidator(_with_type), _NameOrEntry()]
AnyExecutor = Annotated[ExecutorEntry, BeforeValidator(_with_type), _NameOrEntry()]
AnyLogger = Annotated[LoggerEntry, BeforeValidator(_with_type), _NameOrEntry()]
AnyOptimizer = Annotated[OptimizerEntry, BeforeValidator(_with_name), _NameOrEntry()]
Seeds = Annotated[
    list[Seed],
    BeforeValidator(_seed_list),
    Field(min_length=1, max_length=form_errors.MAX_SEEDS),
    WithJsonSchema(SEEDS),
]


AnySpace = Annotated[str | dict[str, Any], WithJsonSchema(SPACE)]
AnyInitial = Annotated[
    dict[Literal["shared"], Annotated[int, Field(ge=1, le=form_errors.MAX_SHARED)]],
    BeforeValidator(_shared_number),
    Field(min_length=1),
    WithJsonSchema(INITIAL),
]
# `parse_workloads` checks their form.
AnyWorkloads = Annotated[Any, BeforeValidator(_plain_workloads), WithJsonSchema(WORKLOADS)]


class Experiment(_Strict):
    """Validated and completed content of an experiment YAML.

    Optimizers have names and seeds are a list.

    Attributes
    ----------
    name
        Name of the experiment and of its directory.
    space
        Name of a space, or its choices.
    backend
        Backend that evaluates.
    objectives, constraints
        In the grammar of `hwnas.objectives`.
    optimizers
        Optimizers to run, with distinct names.
    budget
        Limits of each search.
    seeds
        Seeds; every optimizer runs one search for each.
    noise
        Whether to observe draws of the backend's noise in place of medians.
    reference
        Reference point of the hypervolume, one number an objective, in raw units.
    warm_start
        Directory of an earlier run, whose trials every optimizer is told before it starts.
    initial
        ``{"shared": n}`` to give all optimizers of a seed the same n random architectures first.
    plugins
        Python files that register optimizers or backends.
    executor
        Where the trials of a search are evaluated: one after another by default. It is no part of
        the problem, and a run can be resumed with another.
    workloads
        Workloads by name that objectives may refer to, beside those of `hwnas.workloads.BUILT_IN`.
    loggers
        Loggers that get what the run leaves: ``mlflow``, ``wandb``, ``tensorboard``.
    """

    name: Name
    space: AnySpace
    backend: AnyBackend = BackendEntry(type="surrogate")
    objectives: list[str] = Field(min_length=2, max_length=5)
    constraints: list[str] = []
    optimizers: list[AnyOptimizer] = Field(min_length=1)
    budget: Budget
    seeds: Seeds = [0, 1, 2]
    noise: bool = False
    reference: list[Finite] | None = None
    warm_start: str | None = None
    initial: AnyInitial | None = None
    plugins: list[str] = []
    executor: AnyExecutor | None = None
    workloads: AnyWorkloads | None = None
    loggers: list[AnyLogger] | None = None

    def to_yaml(self) -> str:
        """Return a YAML text that loads as the same experiment."""
        return dump_yaml(self.model_dump())


def read_experiment(
    source: str | Path | Mapping[str, Any] | Experiment,
    overrides: Mapping[str, Any] | None = None,
    *,
    plugins: Sequence[str | Path] = (),
    allow_plugins: bool = False,
    allowed_hashes: Mapping[str, str] = MappingProxyType({}),
    allowed_address: str | None = None,
    cell: Cell | None = None,
) -> tuple[Experiment, str]:
    """Read an experiment, check its form and run the plugin files that it may run.

    Parameters
    ----------
    source
        A YAML file, the name of an experiment that hwnas ships, or the content as a mapping.
    overrides
        Values by dotted path, ``{"budget.evaluations": 50}``.
    plugins
        Python files that register what the experiment names, beside those that it lists itself.
    allow_plugins
        Whether the files that it lists may run, and a cluster that it names may be joined. Both
        can do whatever the user can.
    allowed_hashes, allowed_address
        SHA-256 by path of files, and a cluster, that are allowed in any case.
    cell
        The combination of a sweep that is read; an experiment with the key ``sweep`` needs one.

    Returns
    -------
    experiment : Experiment
    file : str
        File that it was read from, for error texts; empty where there is none.

    Raises
    ------
    ExperimentError
        The content is not a valid experiment.
    """
    folder, file = Path(), ""
    if isinstance(source, Experiment):
        content = source.model_dump()
    elif isinstance(source, Mapping):
        content = copy.deepcopy(dict(source))
    else:
        path = experiment_file(source)
        content, file, folder = read_yaml(path), str(path), path.parent
    override(content, overrides or {})
    if cell is not None:
        content = cell_content(content, cell)
    experiment = validate_form(content, file)
    # Files are listed relative to the YAML, and given relative to the working directory.
    listed = [str((folder / name).absolute()) for name in experiment.plugins]
    experiment = _completed(experiment, folder.absolute())
    try:
        function = foreign_code.function_files(experiment.backend.type, experiment.backend.settings)
        if not allow_plugins:
            foreign_code.refuse_plugins(listed, file, allowed_hashes)
            foreign_code.refuse_plugins(function, file, allowed_hashes, key="backend.function")
            if file and experiment.executor:  # a mapping is the caller's own
                settings = experiment.executor.settings
                foreign_code.refuse_cluster(settings, file, overrides or {}, allowed_address)
        named = [plugins] if isinstance(plugins, str | Path) else plugins
        added = [str(Path(name).absolute()) for name in named]
        files = list(dict.fromkeys([*listed, *added]))
        experiment = experiment.model_copy(update={"plugins": files})
        run_plugin_files(experiment)
    except FunctionError as error:
        raise ExperimentError(file, "backend.function", str(error)) from error
    return experiment, file


def validate_form(content: Mapping[str, Any], file: str = "") -> Experiment:
    """Check the form of an experiment alone; nothing that it names need be installed.

    Parameters
    ----------
    content
        Content of the YAML.
    file
        Its file, for error texts.

    Raises
    ------
    ExperimentError
        The content is not a valid experiment.
    """
    if isinstance(content, Mapping) and "sweep" in content:
        text = "is one of several experiments; run it with hwnas run, or hwnas.run_sweep in Python"
        raise ExperimentError(file, "sweep", text)
    try:
        experiment = Experiment.model_validate(content)
    except pydantic.ValidationError as error:
        raise ExperimentError(file, *form_errors.first_fault(error)) from None
    # Checks that span several entries.
    names = [entry.name for entry in experiment.optimizers]
    if fault := form_errors.name_fault(names) or form_errors.content_fault(content):
        raise ExperimentError(file, *fault)
    if len(set(experiment.seeds)) != len(experiment.seeds):
        raise ExperimentError(file, "seeds", f"expected distinct seeds, found {experiment.seeds}")
    try:
        parse_workloads(experiment.workloads)
    except InvalidInput as error:
        raise ExperimentError(file, "workloads", str(error)) from None
    if experiment.budget == Budget():
        raise ExperimentError(file, "budget", form_errors.ANY_LIMIT)
    return experiment


def run_plugin_files(experiment: Experiment) -> dict[str, str]:
    """Run the plugin files of an experiment and import its function; return their SHA-256 by path.

    Raises
    ------
    InvalidInput
        A file is missing, raises an error or registers nothing.
    FunctionError
        The function of the backend ``python`` cannot be imported.
    """
    return foreign_code.run_files(
        experiment.plugins, experiment.backend.type, experiment.backend.settings
    )


def _completed(experiment: Experiment, folder: Path) -> Experiment:
    """Return an experiment whose files are absolute, with the names of its function's values.

    Parameters
    ----------
    experiment
        Experiment of a YAML.
    folder
        Folder of the YAML, which its files are relative to.
    """
    entry, space = experiment.backend, experiment.space
    measured = (*experiment.objectives, *experiment.constraints)
    backend = BackendEntry(
        type=entry.type,
        **foreign_code.completed_settings(entry.type, entry.settings, folder, measured),
    )
    if isinstance(space, dict) and space.get("family") == "table":
        space = {**space, "file": str(folder / str(space.get("file", "")))}
    return experiment.model_copy(update={"space": space, "backend": backend})


def override(content: dict[str, Any], values: Mapping[str, Any]) -> None:
    """Set values of a nested mapping by their dotted paths."""
    if not isinstance(values, Mapping):
        raise InvalidInput(f"overrides: expected values by key, found {describe_value(values)}")
    for key_path, value in values.items():
        _override(content, key_path, value)


def _override(content: dict[str, Any], key_path: str, value: Any) -> None:
    """Set one value of a nested mapping by its dotted path."""
    *parents, last = key_path.split(".")
    for key in parents:
        child = content.get(key)
        if not isinstance(child, dict):
            if key not in content and key not in form_errors.EXPECTED:
                raise UnknownName(f"key in --set {key_path}:", key, content)
            raise InvalidInput(
                f"--set {key_path}: {key!r} holds no keys, found {describe_value(child)}; set it "
                f"as a whole: {form_errors.EXPECTED.get(key, 'keys and values')}"
            )
        content = child
    content[last] = value
