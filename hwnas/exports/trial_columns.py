"""All trials of runs as columns: what was proposed, what was measured and the architecture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from hwnas.runner.results import Result
from hwnas.runner.search_result import SearchResult
from hwnas.spaces import SearchSpace
from hwnas.typing import Array, Codes

Columns = dict[str, list[Any]]


def trial_columns(results: Sequence[Result]) -> Columns:
    """Return the trials of runs as columns of equal length, ``None`` where there is no value.

    Parameters
    ----------
    results
        One run, or those of a sweep. A column that a run does not have is empty in its rows.

    Returns
    -------
    dict of str to list
        Run, optimizer, seed, number of the trial, status, reason, whether the trial is the first of
        a member of the search's front, architecture; objectives and constraints in raw units, each
        with its standard error where one was measured; fidelity, repeat, evaluations, seconds,
        elapsed; then a column for each choice of the architecture.

    Examples
    --------
    >>> import hwnas, tempfile
    >>> experiment = {"name": "example", "space": "gpt-s", "objectives": ["perplexity", "params"],
    ...               "optimizers": ["random"], "budget": {"evaluations": 5}, "seeds": 1}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     columns = trial_columns([hwnas.run(experiment, f"{folder}/example", draw=False)])
    >>> columns["trial"], columns["seed"]
    ([0, 1, 2, 3, 4], [0, 0, 0, 0, 0])
    >>> len(columns["perplexity"]), len(columns["mlp_ratio_11"])
    (5, 5)
    """
    parts = [_search_columns(result, search) for result in results for search in result.searches]
    return _joined(parts)


def choice_columns(space: SearchSpace, codes: Codes) -> Columns:
    """Return the choices of codes (n, d) as one column each, ``None`` where a choice is inactive.

    Examples
    --------
    >>> space = SearchSpace("mlp", {"depth": [1, 2]}, layers={"width": [16, 32]})
    >>> choice_columns(space, space.canonical([[0, 1, 0], [1, 0, 1]]))
    {'depth': [1, 2], 'width_0': [32, 16], 'width_1': [None, 32]}
    """
    active = space.active(codes)
    columns: Columns = {}
    for j, (name, values) in enumerate(column_values(space).items()):
        pairs = zip(codes[:, j].tolist(), active[:, j].tolist(), strict=True)
        columns[name] = [values[code] if is_active else None for code, is_active in pairs]
    return columns


def column_values(space: SearchSpace) -> dict[str, tuple[Any, ...]]:
    """Return the values of each column of a space's codes, by the name of the column."""
    per_layer = [*space.layers.values()] * len(space.layer_columns)
    values = [*space.choices.values(), *per_layer]
    return {name: tuple(v) for name, v in zip(space.columns, values, strict=True)}


def metric_columns(result: Result, search: SearchResult) -> Columns:
    """Return objectives and constraints of a search, and standard errors that are not all 0.

    Names are those of the experiment; a constraint that is an objective with a bound keeps its
    bound in the name.
    """
    columns: Columns = {}
    measured = (*result.objectives, *result.constraints)
    for name, values, errors in zip(
        map(str, measured), search.trials.values.T, search.trials.std.T, strict=True
    ):
        columns[name] = _finite(values)
        if np.nan_to_num(errors).any():
            columns[f"std of {name}"] = _finite(errors)
    return columns


def units(result: Result) -> dict[str, str]:
    """Return the units of objectives and constraints by the names of their columns."""
    unit_of = result.units
    named = {
        str(o): unit_of.get(str(o.value), "") for o in (*result.objectives, *result.constraints)
    }
    return {name: unit for name, unit in named.items() if unit}


def _search_columns(result: Result, search: SearchResult) -> Columns:
    """Return the columns of one search; names of metrics and bookkeeping precede the choices."""
    trials, n = search.trials, len(search.trials)
    is_on_front = np.zeros(n, dtype=bool)
    is_on_front[search.front_trials[search.front_trials >= 0]] = True
    columns: Columns = {
        "run": [result.experiment.name] * n,
        "optimizer": [search.optimizer] * n,
        "seed": [search.seed] * n,
        "trial": [*range(n)],
        "status": [*trials.status],
        "reason": [reason or None for reason in trials.reason],
        "on_front": is_on_front.tolist(),
        "arch": [str(arch) for arch in result.space.decode(trials.codes)],
        **metric_columns(result, search),
        "fidelity": [fidelity if fidelity >= 0 else None for fidelity in trials.fidelity.tolist()],
        "repeat": trials.repeat.tolist(),
        "evaluations": trials.evaluations.tolist(),
        "seconds": trials.seconds.tolist(),
        "elapsed": trials.elapsed.tolist(),
    }
    # A choice of a user's own space may be named as one of the columns above.
    for name, values in choice_columns(result.space, trials.codes).items():
        columns[f"choice {name}" if name in columns else name] = values
    return columns


def _joined(parts: Sequence[Columns]) -> Columns:
    """Return columns below each other; the names are in the order in which they first occur."""
    names = [*dict.fromkeys(name for part in parts for name in part)]
    return {name: [*_values(parts, name)] for name in names}


def _values(parts: Sequence[Columns], name: str) -> Iterator[Any]:
    for part in parts:
        yield from part.get(name) or [None] * len(part["trial"])


def _finite(values: Array) -> list[float | None]:
    """Return values (n,) as a list with ``None`` for NaN."""
    return [value if value == value else None for value in values.tolist()]
