"""Sweeps: one experiment for every combination of some values, in place of a loop.

::

    sweep: {device: [h100, rtx3080], space: [gpt-s, gpt-m]}
    objectives: [perplexity, latency@$device]

Every text of the experiment may hold a placeholder ``$NAME``, which each combination, a *cell*,
replaces by its value; a text that is a placeholder alone becomes the value itself, also a number or
keys and values. A name that is a key of an experiment (``space``, ``budget.evaluations``) sets that
key and needs no placeholder.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hwnas.errors import ExperimentError, UnknownName, describe_value
from hwnas.form_errors import EXPECTED, MAX_NAME

MAX_CELLS = 1000
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")
_PLACEHOLDER = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination of the values of a sweep.

    Attributes
    ----------
    name
        Name of its directory: the values with hyphens between them.
    values
        Values by name, in the order of the sweep.
    """

    name: str
    values: Mapping[str, Any]

    @property
    def labels(self) -> dict[str, str]:
        """Texts that stand for the values in tables, by name."""
        return {name: _label(value) for name, value in self.values.items()}


def sweep_cells(content: Mapping[str, Any], file: str = "") -> list[Cell]:
    """Return the cells of a sweep, the values of the last name varying first.

    Parameters
    ----------
    content
        Content of an experiment YAML with the key ``sweep``.
    file
        Its file, for error texts.

    Raises
    ------
    ExperimentError
        The key is not a mapping of names to lists of distinct values, or a name stands for nothing.

    Examples
    --------
    >>> content = {"sweep": {"device": ["h100", "v100"], "space": ["gpt-s"]},
    ...            "objectives": ["perplexity", "latency@$device"]}
    >>> [cell.name for cell in sweep_cells(content)]
    ['h100-gpt-s', 'v100-gpt-s']
    """
    sweep = content.get("sweep")
    if not isinstance(sweep, Mapping) or not sweep:
        raise _fault(file, "sweep", EXPECTED["sweep"], sweep)
    experiment = {key: value for key, value in content.items() if key != "sweep"}
    used = set(_placeholders(experiment))
    for name, values in sweep.items():
        key_path = f"sweep.{name}"
        if not isinstance(name, str) or _NAME.fullmatch(name) is None:
            raise _fault(file, "sweep", "names of letters, digits and '_'", name)
        if not isinstance(values, list) or not values:
            raise _fault(file, key_path, "a list of values, as in [h100, rtx3080]", values)
        labels = [_label(value) for value in values]
        if len(set(labels)) != len(labels):
            raise _fault(file, key_path, "distinct values", ", ".join(labels))
        _check_use(file, name, experiment, used)
    if unknown := sorted(used - set(sweep)):
        raise ExperimentError(file, "", str(UnknownName("placeholder", unknown[0], list(sweep))))
    return _combinations(sweep, file)


def cell_content(content: Mapping[str, Any], cell: Cell) -> dict[str, Any]:
    """Return the experiment of a cell as the content of a YAML without the key ``sweep``.

    Its name is that of the sweep and that of the cell.

    Examples
    --------
    >>> content = {"name": "x", "sweep": {"n": [5]}, "budget": {"evaluations": "$n"}}
    >>> cell_content(content, Cell("5", {"n": 5}))
    {'name': 'x-5', 'budget': {'evaluations': 5}}
    """
    filled: dict[str, Any] = {
        key: _fill(value, cell.values) for key, value in content.items() if key != "sweep"
    }
    for name, value in cell.values.items():
        *parents, last = name.split(".")
        if parents or (last in EXPECTED and last not in filled):
            target = filled
            for key in parents:
                target = target.setdefault(key, {})
            target[last] = value
    if isinstance(filled.get("name"), str):
        filled["name"] = f"{filled['name']}-{cell.name}"
    return filled


def _combinations(sweep: Mapping[str, list[Any]], file: str) -> list[Cell]:
    """Return a cell for every combination of values."""
    count = 1
    for values in sweep.values():
        count *= len(values)
    if count > MAX_CELLS:
        raise _fault(file, "sweep", f"at most {MAX_CELLS} combinations", count)
    cells = []
    for combination in itertools.product(*sweep.values()):
        label = "-".join(map(_label, combination))
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", label).strip("-.") or "cell"
        cells.append(Cell(name[:MAX_NAME], dict(zip(sweep, combination, strict=True))))
    names = [cell.name.lower() for cell in cells]  # some file systems take no heed of case
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ExperimentError(
            file, "sweep", f"two combinations would be in the directory {twice!r}; rename values"
        )
    return cells


def _check_use(file: str, name: str, experiment: Mapping[str, Any], used: set[str]) -> None:
    """Check that a name is a placeholder of the experiment, or else a key that it leaves open."""
    if name in used:
        return
    is_key = name in EXPECTED or name.partition(".")[0] in ("backend", "executor")
    if name in ("name", "sweep") or not is_key:
        raise ExperimentError(
            file,
            f"sweep.{name}",
            f"is used nowhere; write ${name} where its values belong, as in latency@${name}",
        )
    value: Any = experiment
    for key in name.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    if value is not None:
        raise ExperimentError(
            file, name, f"has a value and is swept; leave it out, or write {name}: ${name}"
        )


def _placeholders(value: Any) -> list[str]:
    """Return the names of all placeholders in a content."""
    if isinstance(value, str):
        return _PLACEHOLDER.findall(value)
    if isinstance(value, Mapping):
        return [name for item in value.values() for name in _placeholders(item)]
    if isinstance(value, list):
        return [name for item in value for name in _placeholders(item)]
    return []


def _fill(value: Any, values: Mapping[str, Any]) -> Any:
    """Return a content with its placeholders replaced."""
    if isinstance(value, Mapping):
        return {key: _fill(item, values) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, values) for item in value]
    if not isinstance(value, str):
        return value
    if (whole := _PLACEHOLDER.fullmatch(value)) is not None:
        return values[whole[1]]
    return _PLACEHOLDER.sub(lambda match: _label(values[match[1]]), value)


def _label(value: Any) -> str:
    """Return the text of a value: of keys and values their name or type, where they have one."""
    if isinstance(value, Mapping):
        named = value.get("name", value.get("type"))
        return str(named) if isinstance(named, str) else "-".join(map(_label, value.values()))
    if isinstance(value, list):
        return "-".join(map(_label, value))
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def _fault(file: str, key_path: str, expected: str, value: Any) -> ExperimentError:
    return ExperimentError(file, key_path, f"expected {expected}, found {describe_value(value)}")
