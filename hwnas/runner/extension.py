"""Differences between two experiments: those that extend a run, and those that change its problem.

A run directory means one problem. A greater budget, more seeds and more optimizers extend every
search of it; what would make its trials answers to another question is refused.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from hwnas.errors import InvalidInput, describe_value
from hwnas.experiment import Budget, Experiment, OptimizerEntry

_PROBLEM = (
    "space",
    "backend",
    "workloads",
    "objectives",
    "constraints",
    "noise",
    "reference",
    "warm_start",
    "initial",
)
_ABSENT = object()  # a key that one of two mappings lacks

Search = tuple[str, int]  # name of an optimizer, and a seed


@dataclass(frozen=True)
class Change:
    """One key of an experiment that is not what it was.

    Attributes
    ----------
    key
        Path of the key: ``"budget.evaluations"``.
    former, new
        Its values, ``None`` where it was or is not given.
    """

    key: str
    former: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.key}: {_text(self.former)} -> {_text(self.new)}"

    @property
    def assignment(self) -> str:
        """Argument of the command line that makes this change."""
        return f"--set {shlex.quote(f'{self.key}={json.dumps(self.new)}')}"


def changes(former: Experiment, new: Experiment, measured: Collection[Search] = ()) -> list[Change]:
    """Return what extends an experiment, or changes its limits, labels and files.

    Parameters
    ----------
    former
        Experiment of the trials that there are.
    new
        Experiment that is to go on with them.
    measured
        Searches that have trials, which `new` must have too.

    Raises
    ------
    InvalidInput
        The problem or the settings of an optimizer differ, or a search of `measured` is gone.

    Examples
    --------
    >>> from hwnas.experiment import validate_form
    >>> content = {
    ...     "name": "example",
    ...     "space": "gpt-s",
    ...     "objectives": ["perplexity", "latency@h100"],
    ...     "optimizers": ["random"],
    ...     "budget": {"evaluations": 10},
    ... }
    >>> former = validate_form(content)
    >>> new = validate_form({**content, "budget": {"evaluations": 50}})
    >>> print(*changes(former, new))
    budget.evaluations: 10 -> 50
    >>> changes(former, validate_form({**content, "noise": True}))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    hwnas.errors.InvalidInput: noise was False and cannot become True...
    """
    _refuse_other_problem(former, new)
    _refuse_other_optimizers(former.optimizers, new.optimizers, measured)
    for name, seed in measured:
        if name in {entry.name for entry in former.optimizers} and seed not in new.seeds:
            raise InvalidInput(
                f"seeds: {name} seed {seed} has trials here; expected seeds that include "
                f"{former.seeds}, found {new.seeds}"
            )
    # What is left extends the run.
    differences = [
        Change(f"budget.{limit}", getattr(former.budget, limit), getattr(new.budget, limit))
        for limit in Budget.model_fields
    ]
    differences += [
        Change(key, getattr(former, key), getattr(new, key)) for key in ("name", "seeds", "plugins")
    ]
    for key in ("optimizers", "executor", "loggers"):
        entries = [_plain(experiment).get(key) for experiment in (former, new)]
        differences.append(Change(key, *entries))
    return [change for change in differences if change.former != change.new]


def lowered_limits(differences: Collection[Change]) -> list[str]:
    """Return the limits of the budget that are lower than they were, as names of `Budget`.

    A share that may be missing can change at will: the search ends at the next estimate.
    """
    return [
        change.key.removeprefix("budget.")
        for change in differences
        if change.key.startswith("budget.")
        and change.key != "budget.within"
        and change.new is not None
        and (change.former is None or change.new < change.former)
    ]


def _refuse_other_problem(former: Experiment, new: Experiment) -> None:
    """Refuse a difference between two problems."""
    contents = _plain(former), _plain(new)
    for key in _PROBLEM:
        if difference := _first_difference(key, *(content.get(key) for content in contents)):
            raise InvalidInput(_refusal(*difference, "a run has one problem; put it back"))


def _refuse_other_optimizers(
    former: list[OptimizerEntry], new: list[OptimizerEntry], measured: Collection[Search]
) -> None:
    """Refuse other settings of an optimizer, another name, and the loss of one with trials."""
    old_entries, new_entries = (
        {entry.name: entry.model_dump() for entry in entries} for entries in (former, new)
    )
    for name in old_entries.keys() & new_entries.keys():
        if difference := _first_difference(f"{name}: ", old_entries[name], new_entries[name]):
            reason = "its trials have these settings; give new settings a name of their own"
            raise InvalidInput(_refusal(*difference, reason))
    for name in old_entries.keys() - new_entries.keys():
        if name not in {optimizer for optimizer, _ in measured}:
            continue
        renamed = [
            new_name
            for new_name in new_entries.keys() - old_entries.keys()
            if {**new_entries[new_name], "name": name} == old_entries[name]
        ]
        names = f"it renamed {renamed[0]!r}" if renamed else ", ".join(new_entries)
        raise InvalidInput(
            f"optimizers: {name!r} has trials here; expected it beside any others, found {names}"
        )


def _refusal(key: str, former: Any, new: Any, reason: str) -> str:
    """Return why a value cannot change, and what to do."""
    return (
        f"{key} was {_text(former)} and cannot become {_text(new)}: {reason}, or begin another "
        "run with: hwnas run FILE --out DIR"
    )


def _first_difference(path: str, former: Any, new: Any) -> tuple[str, Any, Any] | None:
    """Return path and values of the first difference of two plain values, if there is any.

    >>> _first_difference("space", {"depth": [1, 2]}, {"depth": [1, 3]})
    ('space.depth[1]', 2, 3)
    """
    if isinstance(former, list) and isinstance(new, list) and len(former) == len(new):
        pairs = enumerate(zip(former, new, strict=True))
        different = (_first_difference(f"{path}[{i}]", *pair) for i, pair in pairs)
        return next(filter(None, different), None)
    if not (isinstance(former, Mapping) and isinstance(new, Mapping)):
        return None if former == new else (path, former, new)
    separator = "" if path.endswith(" ") else "."
    for key in dict.fromkeys([*former, *new]):
        values = former.get(key, _ABSENT), new.get(key, _ABSENT)
        if difference := _first_difference(f"{path}{separator}{key}", *values):
            return difference
    return None


def _text(value: Any) -> str:
    """Return a value as a short text."""
    return "not given" if value is None or value is _ABSENT else describe_value(value)


def _plain(experiment: Experiment) -> dict[str, Any]:
    """Return an experiment as plain values."""
    return experiment.model_dump()
