"""Data of the additive models that plots fit to a run's trials."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas import pareto
from hwnas.errors import InvalidInput
from hwnas.history import History
from hwnas.objectives import losses_of
from hwnas.reports.plots.subset import select_evenly
from hwnas.runner.results import Result
from hwnas.typing import Array, Codes, IndexArray

_MIN_ARCHITECTURES = 8  # to fit a model to
_MAX_ARCHITECTURES = 400  # the time of a fit grows with their cube


def training_data(result: Result, purpose: str) -> tuple[Codes, Array, Array]:
    """Return at most 400 architectures of a run with their values, to fit a model to.

    Parameters
    ----------
    result
        The run.
    purpose
        Use of the model, for an error.

    Returns
    -------
    codes, values, std : (k, d), (k, m), (k, m)

    Raises
    ------
    InvalidInput
        Fewer than 8 architectures were measured.
    """
    codes, values, std = distinct_architectures(result)
    if len(codes) < _MIN_ARCHITECTURES:
        raise InvalidInput(
            f"{purpose}: expected at least {_MIN_ARCHITECTURES} measured architectures, "
            f"found {len(codes)}"
        )
    rows = training_subset(losses_of(result.objectives, values))
    return codes[rows], values[rows], std[rows]


def complete_trials(result: Result, column: str) -> NDArray[Any]:
    """Return a column of all trials with complete values, see `Result.has_full_fidelity`."""
    masks = [(search, result.has_full_fidelity(search)) for search in result.searches]
    # The arrays of a search without trials do not even have the right number of columns.
    parts = [getattr(search.trials, column)[mask] for search, mask in masks if mask.any()]
    return np.concatenate(parts) if parts else np.empty((0, len(result.space.columns)), np.int8)


def distinct_architectures(result: Result) -> tuple[Codes, Array, Array]:
    """Return distinct architectures (k, d), means of their values (k, m) and their errors (k, m).

    Of an architecture with several fidelities, the highest counts. Searches with the same seed have
    noise draws in common: each draw counts once.
    """
    m = len(result.objectives)
    codes = complete_trials(result, "codes")
    history = History(len(result.space.columns), m, 0)
    if len(codes):
        fidelity = complete_trials(result, "fidelity")
        values = complete_trials(result, "values")[:, :m]
        std = complete_trials(result, "std")[:, :m]
        # Keep the trials with the highest fidelity of their architecture.
        group = np.unique(codes, axis=0, return_inverse=True)[1].ravel()
        highest = np.full(len(codes), fidelity.min())
        np.maximum.at(highest, group, fidelity)
        rows = np.flatnonzero(fidelity == highest[group])
        # Drop repetitions of a draw, and keep the order of trials.
        draws = np.concatenate([codes, values, std], axis=1)[rows]
        rows = rows[np.sort(np.unique(draws, axis=0, return_index=True)[1])]
        history.add(codes[rows], values[rows], std[rows], np.empty((len(rows), 0)))
    return history.averaged()[:3]


def training_subset(losses: Array) -> IndexArray:
    """Return at most 400 indices into losses (n, m): the front, then evenly from the others."""
    mask = pareto.non_dominated(losses, keep_equal=True)
    front = select_evenly(np.flatnonzero(mask), _MAX_ARCHITECTURES)
    dominated = select_evenly(np.flatnonzero(~mask), _MAX_ARCHITECTURES - len(front))
    return np.sort(np.concatenate([front, dominated]))
