"""Texts on faults in the form of an experiment: the key, what is expected there, what was found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hwnas.errors import UnknownName, describe_value

if TYPE_CHECKING:
    import pydantic

MAX_NAME = 200  # characters; file systems take 255, with suffixes
MAX_EVALUATIONS = 10**12
MAX_SEEDS = 10_000
MAX_SEED = 2**63 - 1
MAX_SHARED = 10_000  # architectures that all searches of a seed begin with
N_SHARED = 16  # of them by default, as in most initial designs of optimizers
MAX_DEPTH = 100  # of lists and mappings, as of a YAML
# Files and directories of a run beside those of its optimizers.
RUN_FILES = (
    "experiment.yaml",
    "environment.json",
    "summary.csv",
    "plots",
    "report.html",
    "error.txt",
    "reference",
    "warm_start.npz",
    "measurements.jsonl",
    "trials.csv",
    "trials.parquet",
    "optuna.db",
    "loggers.json",
    "tensorboard",
)
ANY_LIMIT = "expected 'evaluations', 'cost', 'seconds' or 'within'"  # of a budget
_NAME_FORM = f"a text of at most {MAX_NAME} letters, digits, '.', '_' and '-'"
# By key, in error texts; [] stands for the items of a list.
EXPECTED = {
    "": "an experiment, as keys and values",
    "name": f"{_NAME_FORM}, which names a directory",
    "space": "the name of a space, such as gpt-s, or its choices as keys and values",
    "backend": "the name of a backend, or keys and values as in {type: surrogate}",
    "backend.type": "the name of a backend, such as surrogate",
    "objectives": "a list of 2 to 5 objectives, as in [perplexity, latency@h100]",
    "objectives[]": "a text, such as latency@h100",
    "constraints": "a list of constraints, as in ['params <= 1e8']",
    "constraints[]": "a text, such as 'params <= 1e8'",
    "optimizers": "a list of at least 1 optimizer, as in [random, nsga2]",
    "optimizers[]": "the name of an optimizer, or keys and values as in {type: nsga2, batch: 4}",
    "optimizers[].type": "the name of an optimizer, such as nsga2",
    "optimizers[].name": f"{_NAME_FORM}, which names a directory",
    "optimizers[].batch": "an integer of at least 1",
    "budget": "keys and values, as in {evaluations: 200}",
    "budget.evaluations": f"an integer from 1 to {MAX_EVALUATIONS:,}",
    "budget.cost": "a finite number of seconds greater than 0",
    "budget.seconds": "a finite number of seconds greater than 0",
    "budget.within": "a share of the hypervolume greater than 0 and less than 1, as in 0.005",
    "seeds": f"a number of seeds from 1 to {MAX_SEEDS:,}, or a list of them as in [0, 1, 2]",
    "seeds[]": f"an integer from 0 to {MAX_SEED}",
    "noise": "true or false",
    "reference": "a list of numbers, one an objective, in raw units",
    "reference[]": "a finite number",
    "warm_start": "the directory of a run, as a text",
    "initial": f"shared, or a number of architectures as in {{shared: {N_SHARED}}}",
    "initial.shared": f"an integer from 1 to {MAX_SHARED:,}",
    "plugins": "a list of Python files, as in [mine.py]",
    "plugins[]": "the path of a Python file, as a text",
    "executor": "serial, process or ray, or keys and values as in {type: process, workers: 4}",
    "executor.type": "the name of an executor, such as process",
    "loggers": "a list of loggers, as in [mlflow, tensorboard]",
    "loggers[]": "the name of a logger, or keys and values as in {type: wandb, project: mine}",
    "loggers[].type": "the name of a logger, such as mlflow",
    "sweep": "names with lists of values, as in {device: [h100, rtx3080]}",
    "workloads": "workloads by name, as in {mine: {prompt: 512, generate: 256, batch: 1}}",
}


def first_fault(error: pydantic.ValidationError) -> tuple[str, str]:
    """Return the key path and the message of one fault of an experiment."""
    # A misspelled key comes first: it may be the reason why another one is missing.
    faults = error.errors()
    fault = min(faults, key=lambda fault: fault["type"] != "extra_forbidden")
    if fault["type"] == "extra_forbidden":
        *parents, key = fault["loc"]
        message = _explain_unknown_key(str(key), ".".join(map(str, parents)))
        return ".".join(map(str, fault["loc"])), message
    path, form = _known_path(fault["loc"])
    if fault["type"] == "missing":
        return path, f"is required; expected {EXPECTED[form]}"
    return path, f"expected {EXPECTED[form]}, found {describe_value(fault['input'])}"


def name_fault(names: Sequence[str]) -> tuple[str, str] | None:
    """Return the key path and the message of the first name that cannot name a directory.

    >>> name_fault(["random", "plots"])
    ('optimizers[1].name', "'plots' is a file of every run; expected another name")
    """
    used_names: set[str] = set()
    for i, name in enumerate(names):
        key = name.lower()  # some file systems take no heed of the case of letters
        if key in RUN_FILES:
            return (
                f"optimizers[{i}].name",
                f"{name!r} is a file of every run; expected another name",
            )
        if key in used_names:
            return f"optimizers[{i}].name", f"a second {name!r}; give one of them another 'name:'"
        used_names.add(key)
    return None


def content_fault(content: Any, key_path: str = "", depth: int = 0) -> tuple[str, str] | None:
    """Return the key path and the message of the first text with a NUL, or of too deep a content.

    No path and no name may have one.

    >>> content_fault({"warm_start": "a\\0b"})
    ('warm_start', "expected a text without NUL characters, found 'a\\\\x00b'")
    """
    if isinstance(content, str):
        message = f"expected a text without NUL characters, found {content!r:.80}"
        return (key_path, message) if "\0" in content else None
    if depth > MAX_DEPTH:
        message = f"expected at most {MAX_DEPTH} lists and mappings within each other"
        return key_path.partition(".")[0], message
    entries: Iterable[tuple[str, Any]] = ()
    if isinstance(content, Mapping):
        entries = ((f"{key_path}.{key}".lstrip("."), value) for key, value in content.items())
    elif isinstance(content, Sequence):
        entries = ((f"{key_path}[{i}]", value) for i, value in enumerate(content))
    faults = (content_fault(value, key, depth + 1) for key, value in entries)
    return next(filter(None, faults), None)


def _known_path(location: Sequence[str | int]) -> tuple[str, str]:
    """Return a validation error's location as a path, and as a key of `EXPECTED`.

    Pydantic adds the members of unions and the keys of free mappings to the location.
    """
    path = form = ""
    for part in location:
        longer = f"{form}[]" if isinstance(part, int) else f"{form}.{part}".lstrip(".")
        if longer not in EXPECTED:
            break
        form = longer
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return path.lstrip("."), form


def _explain_unknown_key(key: str, parent: str) -> str:
    """Return the message on a key that does not exist, with one that it may stand for.

    Parameters
    ----------
    key
        The key.
    parent
        Path of the mapping that it was found in; empty for the experiment itself.
    """
    if parent and key in EXPECTED:
        return f"unknown key {key!r}; it belongs beside {parent!r}, not in it"
    paths = [form.replace("[]", "[0]") for form in EXPECTED if form and not form.endswith("[]")]
    if parent:
        prefix = f"{parent}."
        paths = [path.removeprefix(prefix) for path in paths if path.startswith(prefix)]
    # Of the experiment also keys one level deeper, which are often written without their parent.
    return str(UnknownName("key", key, paths))
