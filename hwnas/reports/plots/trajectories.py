"""How hypervolume grew, over all seeds of an optimizer: what plots and pages draw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from hwnas.errors import InvalidInput
from hwnas.reports.plots import style
from hwnas.runner.results import Result
from hwnas.runner.search_result import Trajectory
from hwnas.statistics import interval, ranks
from hwnas.typing import Array

# What a trajectory can be drawn over, columns of hypervolume.csv, and what the axis then says.
PROGRESS = {
    "evaluations": "evaluations",
    "cost": "cost (s of evaluation)",
    "seconds": "time (s)",
}
SEEDS_FOR_INTERVAL = 5  # an interval of the mean of fewer is wider than all that was seen

_MOMENTS = 200  # at which ranks are compared


def curves(result: Result, optimizer: str, x: str) -> tuple[Array, Array]:
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
        for cell, steps in zip(result.searches, result.trajectories, strict=True)
        if cell.optimizer == optimizer and len(steps.normalised)
    ]
    end = min((reached[-1] for reached, _, finished in own if not finished), default=np.inf)
    at = np.unique(np.concatenate([np.empty(0), *(reached for reached, _, _ in own)]))
    at = at[(at > 0) & (at <= end)]
    return at, np.array([after(reached, normalised, at) for reached, normalised, _ in own])


def after(reached: Array, values: Array, at: Array) -> Array:
    """What a search has at some moments (t,), of when it took steps (k,) and to what (k,)."""
    return np.concatenate([[0.0], values])[np.searchsorted(reached, at, side="right")]


def enough_seeds(result: Result) -> bool:
    """Whether every optimizer has the seeds for an interval of their mean."""
    counts = Counter(cell.optimizer for cell in result.searches)
    return min(counts.values()) >= SEEDS_FOR_INTERVAL


def band(grown: Array, enough: bool) -> tuple[Array, Array]:
    """How far seeds differ, of what each has (seeds, k): low (k,) and high (k,).

    The 95 % interval of their mean where there are `enough`, their range otherwise.
    """
    if not enough or len(grown) < 2:
        return grown.min(axis=0), grown.max(axis=0)
    low, high = np.array([interval(column) for column in grown.T]).T
    return np.maximum(low, 0.0), np.minimum(high, max(1.0, grown.max()))


def band_is(result: Result) -> str:
    """What `band` shows of a run, in words."""
    return "95 % interval" if enough_seeds(result) else "range"


def costs(result: Result) -> bool:
    """Whether any evaluation of a run took time, so that there is a cost to draw over."""
    return any(bool(steps.cost.any()) for steps in result.trajectories)


def last_evaluation(result: Result) -> int:
    """How many evaluations the longest search of a run had."""
    return max(int(cell.trials.evaluations.sum()) for cell in result.searches)


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


def mean_ranks(results: Sequence[Result]) -> tuple[list[str], Array, Array]:
    """Mean ranks by hypervolume, see `hwnas.reports.plots.convergence.ranks`.

    Returns
    -------
    names
        The k optimizers.
    at : (t,)
        Numbers of evaluations.
    mean : (k, t)
    """
    names = style.names([cell.optimizer for cell in results[0].searches])
    for result in results[1:]:
        there = {cell.optimizer for cell in result.searches}
        names = [name for name in names if name in there]
    # Up to where all searches got, but for those that ended before: these keep what they have.
    ends = [last_evaluation(result) for result in results]
    ends += [
        int(cell.trials.evaluations.sum())
        for result in results
        for cell in result.searches
        if cell.optimizer in names and "finished" not in cell.meta
    ]
    last = min(ends)
    at = np.unique(np.geomspace(1, max(last, 1), _MOMENTS).astype(np.int64)).astype(np.float64)
    blocks = []
    for result in results:
        found = {
            (cell.optimizer, cell.seed): after(
                steps.evaluations.astype(np.float64), steps.normalised, at
            )
            for cell, steps in zip(result.searches, result.trajectories, strict=True)
        }
        for seed in sorted({seed for _, seed in found}):
            if all((name, seed) in found for name in names):
                blocks.append([found[name, seed] for name in names])
    if len(names) < 2 or not blocks:
        raise InvalidInput("ranks: expected two optimizers or more with a seed in common")
    values = np.array(blocks)  # (b, k, t)
    mean = np.stack([ranks(-values[:, :, i]) for i in range(len(at))], axis=1)
    return names, at, mean


def _least(steps: Trajectory, early: float) -> float:
    """The least normalised hypervolume from so many evaluations on."""
    first = max(0, int(np.searchsorted(steps.evaluations, early, side="right")) - 1)
    return float(np.min(steps.normalised[first:], initial=1.0))
