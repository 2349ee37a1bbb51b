"""Ranking by non-dominated fronts, crowding distance and constraint violation (NSGA-II)."""

from __future__ import annotations

import numpy as np

from hwnas import pareto
from hwnas.typing import Array, IndexArray


def nondominated_sort(losses: Array, violation: Array) -> IndexArray:
    """Return the rank of each architecture, 0 for the best.

    Feasible architectures come first, by non-dominated front and, within a front, by descending
    crowding distance; then the infeasible ones by ascending violation.

    Parameters
    ----------
    losses : (n, m)
    violation : (n,)
        Total constraint violation, 0 where feasible.

    Returns
    -------
    (n,) intp, a permutation

    References
    ----------
    Deb, Pratap, Agarwal and Meyarivan 2002, sections III-A, III-B and VI-A.

    Examples
    --------
    >>> losses = np.array([[1.0, 1.0], [2.0, 2.0], [0.0, 0.0]])
    >>> nondominated_sort(losses, violation=np.array([0.0, 0.0, 5.0])).tolist()
    [0, 1, 2]
    """
    feasible = violation <= 0
    # Infeasible architectures stay in one front behind all others.
    front = np.where(feasible, 0, len(losses))
    crowding = np.zeros(len(losses))
    remaining = np.flatnonzero(feasible)
    rank = 0
    # Peel off one non-dominated front after the other.
    while len(remaining):
        mask = pareto.non_dominated(losses[remaining], keep_equal=True)
        members = remaining[mask]
        front[members] = rank
        crowding[members] = crowding_distance(losses[members])
        remaining = remaining[~mask]
        rank += 1
    # lexsort compares by the last key first: front, violation, crowding.
    ranks = np.empty(len(losses), dtype=np.intp)
    ranks[np.lexsort((-crowding, violation, front))] = np.arange(len(losses))
    return ranks


def crowding_distance(losses: Array) -> Array:
    """Return the distance between the neighbours of each point, summed over the objectives.

    Parameters
    ----------
    losses : (n, m)
        One front.

    Returns
    -------
    (n,)
        In units of the range of the front; infinite at its ends.

    Examples
    --------
    >>> crowding_distance(np.array([[0.0, 4.0], [1.0, 1.0], [4.0, 0.0]]))
    array([inf,  2., inf])
    """
    n, m = losses.shape
    if n == 0:
        return np.zeros(0)
    order = np.argsort(losses, axis=0, kind="stable")
    ascending = np.take_along_axis(losses, order, axis=0)
    # Gap between the two neighbours in each objective, relative to its range.
    gaps = np.full((n, m), np.inf)
    spread = ascending[-1] - ascending[0]
    gaps[1:-1] = (ascending[2:] - ascending[:-2]) / np.where(spread > 0, spread, 1.0)
    out = np.zeros(n)
    # Back to the order of the points.
    for j in range(m):
        out[order[:, j]] += gaps[:, j]
    return out


def total_violation(constraints: Array | None, n: int) -> Array:
    """Return the sum (n,) of the positive violations of each architecture.

    Parameters
    ----------
    constraints : (n, c), optional
        Constraint violations, at most 0 where feasible.
    n
        Number of architectures.

    Examples
    --------
    >>> total_violation(np.array([[-1.0, 2.0], [-1.0, 0.0]]), 2)
    array([2., 0.])
    """
    if constraints is None:
        return np.zeros(n)
    return np.asarray(np.maximum(constraints, 0.0).sum(axis=1))
