"""How hypervolume grew, over all seeds of an optimizer: what plots and pages draw."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hwnas.results import Result, Trajectory

# What a trajectory can be drawn over, columns of hypervolume.csv, and what the axis then says.
PROGRESS = {
    "evaluations": "evaluations",
    "cost": "cost (s of evaluation)",
    "seconds": "time (s)",
}


def curves(
    result: Result, optimizer: str, x: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Normalised hypervolume wherever any seed of an optimizer takes a step.

    Between two of these places no seed changes. Before its first step a seed has nothing, after
    its end it keeps what it has; where one has not ended yet, all are cut.

    Parameters
    ----------
    result
        The run.
    optimizer
        Its name in the run.
    x
        What it grew over, one of `PROGRESS`.

    Returns
    -------
    at : (k,)
        The places, in the unit of `x`.
    normalised : (seeds, k)
        What each seed then has.
    """
    own = [
        (steps.columns()[x].astype(np.float64), steps.normalised, "finished" in cell.meta)
        for cell, steps in zip(result.cells, result.trajectories, strict=True)
        if cell.optimizer == optimizer and len(steps.normalised)
    ]
    end = min((reached[-1] for reached, _, finished in own if not finished), default=np.inf)
    at = np.unique(np.concatenate([np.empty(0), *(reached for reached, _, _ in own)]))
    at = at[(at > 0) & (at <= end)]
    grown = [
        np.concatenate([[0.0], normalised])[np.searchsorted(reached, at, side="right")]
        for reached, normalised, _ in own
    ]
    return at, np.array(grown)


def costs(result: Result) -> bool:
    """Whether any evaluation of a run took time, so that there is a cost to draw over."""
    return any(bool(steps.cost.any()) for steps in result.trajectories)


def last_evaluation(result: Result) -> int:
    """How many evaluations the longest search of a run had."""
    return max(int(cell.trials.evaluations.sum()) for cell in result.cells)


def bound_name(result: Result) -> str:
    """What the curve of `Result.bound` is.

    Under noise it bounds nothing: an optimizer may recommend more networks than it measured.
    """
    kind = "" if result.experiment.noise else "bound: "
    return f"{kind}best k of the exact front"


def floor(result: Result) -> float:
    """From where on normalised hypervolume is worth drawing: a little below what all soon have."""
    early = min(20, last_evaluation(result) / 4)
    return max(0.0, min(_least(steps, early) for steps in result.trajectories) - 0.02)


def _least(steps: Trajectory, early: float) -> float:
    """The least normalised hypervolume from so many evaluations on."""
    first = max(0, int(np.searchsorted(steps.evaluations, early, side="right")) - 1)
    return float(np.min(steps.normalised[first:], initial=1.0))
