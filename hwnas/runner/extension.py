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

_PROBLEM = ("space", "backend", "objectives", "constraints", "noise", "reference", "warm_start")
_ABSENT = object()  # a key that one of two mappings lacks

Search = tuple[str, int]  # name of an optimizer, and a seed


@dataclass(frozen=True)
class Change:
    """One key of an experiment that is not what it was.

    Attributes
    ----------
    key
        Path of the key: ``"budget.evaluations"``.
    before, after
        Its values, ``None`` where it was or is not given.
    """

    key: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.key}: {_text(self.before)} -> {_text(self.after)}"

    @property
    def assignment(self) -> str:
        """Argument of the command line that makes this change."""
        return f"--set {shlex.quote(f'{self.key}={json.dumps(self.after)}')}"


def changes(
    before: Experiment, after: Experiment, measured: Collection[Search] = ()
) -> list[Change]:
    """Return what extends an experiment, or changes its limits, labels and files.

    Parameters
    ----------
    before
        Experiment of the trials that there are.
    after
        Experiment that is to go on with them.
    measured
        Searches that have trials, which `after` must have too.

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
    >>> before = validate_form(content)
    >>> after = validate_form({**content, "budget": {"evaluations": 50}})
    >>> print(*changes(before, after))
    budget.evaluations: 10 -> 50
    >>> changes(before, validate_form({**content, "noise": True}))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    hwnas.errors.InvalidInput: noise was False and cannot become True...
    """
    _refuse_other_problem(before, after)
    _refuse_other_optimizers(before.optimizers, after.optimizers, measured)
    for name, seed in measured:
        if name in {entry.name for entry in before.optimizers} and seed not in after.seeds:
            raise InvalidInput(
                f"seeds: {name} seed {seed} has trials here; expected seeds that include "
                f"{before.seeds}, found {after.seeds}"
            )
    # What is left extends the run.
    found = [
        Change(f"budget.{limit}", getattr(before.budget, limit), getattr(after.budget, limit))
        for limit in Budget.model_fields
    ]
    found += [
        Change(key, getattr(before, key), getattr(after, key))
        for key in ("name", "seeds", "plugins")
    ]
    entries = [_plain(experiment)["optimizers"] for experiment in (before, after)]
    found.append(Change("optimizers", *entries))
    return [change for change in found if change.before != change.after]


def lowered_limits(found: Collection[Change]) -> list[str]:
    """Return the limits of the budget that are lower than they were, as names of `Budget`."""
    return [
        change.key.removeprefix("budget.")
        for change in found
        if change.key.startswith("budget.")
        and change.after is not None
        and (change.before is None or change.after < change.before)
    ]


def _refuse_other_problem(before: Experiment, after: Experiment) -> None:
    """Refuse a difference between two problems."""
    old, new = _plain(before), _plain(after)
    for key in _PROBLEM:
        if difference := _first_difference(key, old.get(key), new.get(key)):
            raise InvalidInput(_refusal(*difference, "a run has one problem; put it back"))


def _refuse_other_optimizers(
    before: list[OptimizerEntry], after: list[OptimizerEntry], measured: Collection[Search]
) -> None:
    """Refuse other settings of an optimizer, another name, and the loss of one with trials."""
    old, new = (
        {entry.name: entry.model_dump(exclude_none=True) for entry in entries}
        for entries in (before, after)
    )
    for name in old.keys() & new.keys():
        if difference := _first_difference(f"{name}: ", old[name], new[name]):
            reason = "its trials have these settings; give new settings a name of their own"
            raise InvalidInput(_refusal(*difference, reason))
    for name in old.keys() - new.keys():
        if name not in {optimizer for optimizer, _ in measured}:
            continue
        renamed = [
            other for other in new.keys() - old.keys() if {**new[other], "name": name} == old[name]
        ]
        found = f"found it renamed {renamed[0]!r}" if renamed else f"found {', '.join(new)}"
        raise InvalidInput(
            f"optimizers: {name!r} has trials here; expected it beside any others, {found}"
        )


def _refusal(key: str, before: Any, after: Any, reason: str) -> str:
    """Return why a value cannot change, and what to do."""
    return (
        f"{key} was {_text(before)} and cannot become {_text(after)}: {reason}, or begin another "
        "run with: hwnas run FILE --out DIR"
    )


def _first_difference(path: str, before: Any, after: Any) -> tuple[str, Any, Any] | None:
    """Return path and values of the first difference of two plain values, if there is any.

    >>> _first_difference("space", {"depth": [1, 2]}, {"depth": [1, 3]})
    ('space.depth[1]', 2, 3)
    """
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = enumerate(zip(before, after, strict=True))
        different = (_first_difference(f"{path}[{i}]", *pair) for i, pair in pairs)
        return next(filter(None, different), None)
    if not (isinstance(before, Mapping) and isinstance(after, Mapping)):
        return None if before == after else (path, before, after)
    separator = "" if path.endswith(" ") else "."
    for key in dict.fromkeys([*before, *after]):
        values = before.get(key, _ABSENT), after.get(key, _ABSENT)
        if difference := _first_difference(f"{path}{separator}{key}", *values):
            return difference
    return None


def _text(value: Any) -> str:
    """Return a value as a short text."""
    return "not given" if value is None or value is _ABSENT else describe_value(value)


def _plain(experiment: Experiment) -> dict[str, Any]:
    """Return an experiment as plain values."""
    return experiment.model_dump(exclude_none=True)
