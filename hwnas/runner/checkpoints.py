"""Checkpoints: when, under noise, an optimizer is asked for its recommendation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hwnas.runner.storage import Trials

# In evaluations: 1, 2, ... 10 % apart.
CHECKPOINTS = np.array(sorted(set(np.ceil(1.1 ** np.arange(250)).tolist())))


def split_at_checkpoints(trials: Trials, n_before: int) -> Iterator[Trials]:
    """Cut trials behind each checkpoint that they reach, so that a large batch passes none.

    Parameters
    ----------
    trials
        Trials that are told next.
    n_before
        Evaluations before them.
    """
    # A checkpoint lies behind a trial if the number of passed checkpoints grows there.
    total = n_before + np.cumsum(trials.evaluations)
    n_passed = np.searchsorted(CHECKPOINTS, total, side="right")
    n_passed_before = np.searchsorted(CHECKPOINTS, n_before, side="right")
    ends = np.flatnonzero(np.diff(n_passed, prepend=n_passed_before)) + 1
    # Pieces end behind these trials; the last piece ends with the last trial.
    start = 0
    for end in [*ends.tolist(), len(trials)]:
        if end > start:
            yield trials[start:end]
        start = end


def reaches_checkpoint(evaluations: int, last: int) -> bool:
    """Return whether the last trial reached or passed a checkpoint.

    Parameters
    ----------
    evaluations
        Evaluations of all trials.
    last
        Evaluations of the last trial alone.
    """
    n_passed = np.searchsorted(CHECKPOINTS, [evaluations - last, evaluations], side="right")
    return bool(n_passed[0] < n_passed[1])
