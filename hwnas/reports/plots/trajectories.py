"""Hypervolume of an optimizer over its seeds and over evaluations, cost or time.

Plots and HTML reports both draw these curves.
"""

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

# Possible x axes, which are columns of hypervolume.csv, and their labels.
PROGRESS = {
    "evaluations": "evaluations",
    "cost": "cost (s of evaluation)",
    "seconds": "time (s)",
}
SEEDS_FOR_INTERVAL = 5  # with fewer, the interval of the mean is wider than the range of seeds

_MAX_RANK_POINTS = 200  # numbers of evaluations at which ranks are computed


def curves(result: Result, optimizer: str, x: str) -> tuple[Array, Array]:
    """Return the normalized hypervolume of each seed of an optimizer at every step of any seed.

    Between these positions no seed changes. A seed has a hypervolume of 0 before its first step
    and keeps its last value after its end. Curves end where the first unfinished seed is.

    Parameters
    ----------
    result
        The run.
    optimizer
        Name of the optimizer in the run.
    x
        Unit of the positions, one of `PROGRESS`.

    Returns
    -------
    positions : (k,)
        Ascending, in the unit of `x`.
    normalised : (seeds, k)
        Normalized hypervolume of each seed at each position.
    """
    seeds = [
        (trajectory.columns()[x].astype(np.float64), trajectory.normalised, "finished" in s.meta)
        for s, trajectory in zip(result.searches, result.trajectories, strict=True)
        if s.optimizer == optimizer and len(trajectory.normalised)
    ]
    # An unfinished seed may still improve: beyond its last step nothing is known of it.
    end = min((steps[-1] for steps, _, finished in seeds if not finished), default=np.inf)
    positions = np.unique(np.concatenate([np.empty(0), *(steps for steps, _, _ in seeds)]))
    positions = positions[(positions > 0) & (positions <= end)]
    return positions, np.array([values_at(steps, y, positions) for steps, y, _ in seeds])


def values_at(steps: Array, values: Array, positions: Array) -> Array:
    """Return the values (t,) of a step function at some positions (t,); 0 before its first step.

    Examples
    --------
    >>> values_at(np.array([1.0, 3.0]), np.array([0.5, 0.8]), np.array([0.0, 1.0, 2.0, 4.0]))
    array([0. , 0.5, 0.5, 0.8])
    """
    return np.concatenate([[0.0], values])[np.searchsorted(steps, positions, side="right")]


def front_names(result: Result) -> dict[str, str]:
    """Return the names of optimizers, with the number of front members that were never measured.

    Under noise an optimizer may recommend architectures that it never measured. Its front can then
    be better than that of any k measured ones, see `Result.bound`.
    """
    names = {}
    for optimizer in style.unique_names([search.optimizer for search in result.searches]):
        searches = [search for search in result.searches if search.optimizer == optimizer]
        unmeasured = sum(search.n_unmeasured for search in searches)
        size = sum(len(search.front) for search in searches)
        note = f" ({unmeasured:,} of {size:,} members unmeasured)" if unmeasured else ""
        names[optimizer] = optimizer + note
    return names


def measured_end(result: Result, optimizer: str) -> float | None:
    """Return the mean normalized hypervolume of the measured members of an optimizer's fronts.

    It is ``None`` where all members were measured, and while a search is unfinished.
    """
    searches = [search for search in result.searches if search.optimizer == optimizer]
    finished = all("finished" in search.meta for search in searches)
    if not finished or not any(search.n_unmeasured for search in searches):
        return None
    rows = [row for row in result.summary if row["optimizer"] == optimizer]
    return float(np.mean([row["normalised_measured"] for row in rows]))


def has_enough_seeds(result: Result) -> bool:
    """Return whether every optimizer has enough seeds for an interval of their mean."""
    counts = Counter(search.optimizer for search in result.searches)
    return min(counts.values()) >= SEEDS_FOR_INTERVAL


def band(hypervolumes: Array, use_interval: bool) -> tuple[Array, Array]:
    """Return the lower and upper limits (k,) of hypervolumes (seeds, k).

    They are the 95 % interval of the mean if `use_interval` is set and there are two seeds or more,
    and the range of the seeds otherwise.
    """
    if not use_interval or len(hypervolumes) < 2:
        return hypervolumes.min(axis=0), hypervolumes.max(axis=0)
    low, high = np.array([interval(column) for column in hypervolumes.T]).T
    # Student's interval does not know that a normalized hypervolume is between 0 and 1.
    return np.maximum(low, 0.0), np.minimum(high, max(1.0, hypervolumes.max()))


def band_name(result: Result) -> str:
    """Return the name of the band that is drawn for a run."""
    return "95 % interval" if has_enough_seeds(result) else "range"


def has_costs(result: Result) -> bool:
    """Return whether any evaluation of a run took time, so that cost can be an x axis."""
    return any(bool(trajectory.cost.any()) for trajectory in result.trajectories)


def last_evaluation(result: Result) -> int:
    """Return the number of evaluations of the longest search of a run."""
    return max(int(search.trials.evaluations.sum()) for search in result.searches)


def bound_name(result: Result) -> str:
    """Return the name of the curve `Result.bound`.

    Under noise it holds for measured architectures alone: an optimizer may recommend others.
    """
    scope = " on measured members" if result.experiment.noise else ""
    return f"bound{scope}: best k of the exact front"


def floor(result: Result) -> float:
    """Return the lower end of a linear axis of normalized hypervolume.

    It is a little below the least value of any search after its first 20 evaluations, or after a
    quarter of them in a shorter run, so that the steep start does not compress the rest. It is
    below `measured_end`, too.
    """
    start = min(20, last_evaluation(result) / 4)
    lowest = min(_min_hypervolume(trajectory, start) for trajectory in result.trajectories)
    for optimizer in style.unique_names([search.optimizer for search in result.searches]):
        measured = measured_end(result, optimizer)
        lowest = lowest if measured is None else min(lowest, measured)
    return max(0.0, lowest - 0.02)


def mean_ranks(results: Sequence[Result]) -> tuple[list[str], Array, Array]:
    """Return mean ranks by hypervolume, see `hwnas.reports.plots.convergence.plot_mean_ranks`.

    Returns
    -------
    names
        The k optimizers.
    positions : (t,)
        Numbers of evaluations.
    mean : (k, t)
        Mean rank of each optimizer, 1 is the best.

    Raises
    ------
    InvalidInput
        There are not two optimizers with a seed in common.
    """
    names = _common_optimizers(results)
    positions = _rank_positions(results, names)
    # One block for each run and seed for which all optimizers have a trajectory.
    blocks = []
    for result in results:
        values = {
            (search.optimizer, search.seed): values_at(
                trajectory.evaluations.astype(np.float64), trajectory.normalised, positions
            )
            for search, trajectory in zip(result.searches, result.trajectories, strict=True)
        }
        for seed in sorted({seed for _, seed in values}):
            if all((name, seed) in values for name in names):
                blocks.append([values[name, seed] for name in names])
    if len(names) < 2 or not blocks:
        raise InvalidInput("ranks: expected two optimizers or more with a seed in common")
    scores = np.array(blocks)  # (blocks, k, t)
    mean = np.stack([ranks(-scores[:, :, i]) for i in range(len(positions))], axis=1)
    return names, positions, mean


def _common_optimizers(results: Sequence[Result]) -> list[str]:
    """Return the optimizers that all runs have."""
    names = style.unique_names([search.optimizer for search in results[0].searches])
    for result in results[1:]:
        present = {search.optimizer for search in result.searches}
        names = [name for name in names if name in present]
    return names


def _rank_positions(results: Sequence[Result], names: Sequence[str]) -> Array:
    """Return numbers of evaluations (t,), evenly on a logarithmic axis.

    They end where the shortest run or the first unfinished search ends. Searches that finished
    earlier keep their last value.
    """
    ends = [last_evaluation(result) for result in results]
    ends += [
        int(search.trials.evaluations.sum())
        for result in results
        for search in result.searches
        if search.optimizer in names and "finished" not in search.meta
    ]
    grid = np.geomspace(1, max(min(ends), 1), _MAX_RANK_POINTS)
    return np.unique(grid.astype(np.int64)).astype(np.float64)


def _min_hypervolume(trajectory: Trajectory, start: float) -> float:
    """Return the least normalized hypervolume of a search from `start` evaluations on."""
    first = max(0, int(np.searchsorted(trajectory.evaluations, start, side="right")) - 1)
    return float(np.min(trajectory.normalised[first:], initial=1.0))
