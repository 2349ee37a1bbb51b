"""Who is better than whom when there are several objectives."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hwnas import pareto
from hwnas.typing import Array


def standing(losses: Array, violation: Array) -> NDArray[np.intp]:
    """The place of each network, 0 the best.

    What keeps the constraints comes first, by non-dominated front and within a front by crowding
    distance, the lonely first; then the rest by how much it breaks them.

    Parameters
    ----------
    losses : (n, m)
    violation : (n,)
        At least 0, and 0 where the constraints are kept.

    Returns
    -------
    (n,) intp, a permutation

    References
    ----------
    Deb, Pratap, Agarwal and Meyarivan 2002, sections III-A, III-B and VI-A.
    """
    feasible = violation <= 0
    front = np.where(feasible, 0, len(losses))
    crowding = np.zeros(len(losses))
    left = np.flatnonzero(feasible)
    rank = 0
    while len(left):
        here = pareto.non_dominated(losses[left], keep_equal=True)
        front[left[here]] = rank
        crowding[left[here]] = crowding_distance(losses[left[here]])
        left = left[~here]
        rank += 1
    places = np.empty(len(losses), dtype=np.intp)
    places[np.lexsort((-crowding, violation, front))] = np.arange(len(losses))
    return places


def crowding_distance(losses: Array) -> Array:
    """How far apart each point's neighbours are, summed over the objectives.

    Parameters
    ----------
    losses : (n, m)
        One front.

    Returns
    -------
    (n,)
        In ranges of the front; infinite for the ends.
    """
    n, m = losses.shape
    if n == 0:
        return np.zeros(0)
    order = np.argsort(losses, axis=0, kind="stable")
    ascending = np.take_along_axis(losses, order, axis=0)
    gaps = np.full((n, m), np.inf)
    spread = ascending[-1] - ascending[0]
    gaps[1:-1] = (ascending[2:] - ascending[:-2]) / np.where(spread > 0, spread, 1.0)
    out = np.zeros(n)
    for j in range(m):
        out[order[:, j]] += gaps[:, j]
    return out


def total_violation(constraints: Array | None, n: int) -> Array:
    """By how much each of `n` networks breaks the constraints in sum, (n,)."""
    if constraints is None:
        return np.zeros(n)
    return np.asarray(np.maximum(constraints, 0.0).sum(axis=1))
