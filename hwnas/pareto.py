"""Dominance, Pareto fronts and what they are worth. Arrays in, arrays out, everything minimised.

Thin over moocore, except for what it does not have. A point dominates another when it is nowhere
worse and somewhere better.
"""

from __future__ import annotations

from functools import cache
from itertools import combinations
from math import comb

import moocore
import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwnas.typing import Array

_CHUNK = 128
_WEIGHTS = 1000  # of a discrete R2, at most


def non_dominated(points: ArrayLike, *, keep_equal: bool = False) -> NDArray[np.bool_]:
    """Which points no other point dominates.

    Parameters
    ----------
    points : (n, m)
        Finite.
    keep_equal
        Keep every copy of a point, not the first alone.

    Returns
    -------
    (n,) bool
    """
    array = _points(points)
    if len(array) == 0:
        return np.zeros(0, dtype=bool)
    if array.shape[1] == 1:
        best: NDArray[np.bool_] = array[:, 0] == array.min()
        return best if keep_equal else np.arange(len(array)) == np.argmax(best)
    return np.asarray(moocore.is_nondominated(array, keep_weakly=keep_equal), dtype=bool)


def hypervolume(points: ArrayLike, reference: ArrayLike) -> float:
    """Volume that the points dominate within the box that ends at the reference point.

    Array that do not lie below the reference in every objective count nothing.

    Parameters
    ----------
    points : (n, m)
    reference : (m,)

    References
    ----------
    Zitzler and Thiele 1998; computed by Fonseca, Paquete and López-Ibáñez 2006 (moocore).
    """
    array, ref = _points(points), np.asarray(reference, dtype=np.float64)
    if len(array) == 0:
        return 0.0
    if array.shape[1] == 1:
        return float(max(0.0, ref[0] - array.min()))
    return float(moocore.hypervolume(array, ref=ref))


def hypervolume_steps(points: ArrayLike, reference: ArrayLike) -> tuple[NDArray[np.intp], Array]:
    """Where the hypervolume of the first k points grows, as k grows.

    Parameters
    ----------
    points : (n, m)
        In the order in which they were found; a row that holds a NaN counts nothing.
    reference : (m,)

    Returns
    -------
    indices : (k,) intp
        Array that raise the hypervolume, ascending.
    values : (k,)
        Hypervolume from that point on.
    """
    array, ref = _points(points), np.asarray(reference, dtype=np.float64)
    front = np.empty((0, array.shape[1]))
    indices, values = [], []
    inside = np.flatnonzero((array < ref).all(axis=1))
    for chunk in np.split(inside, range(_CHUNK, len(inside), _CHUNK)):
        # Most points are dominated by what came long before: those go all at once.
        beaten = np.all(front <= array[chunk][:, None], axis=2).any(axis=1)
        for i in chunk[~beaten]:
            point = array[i]
            if (front <= point).all(axis=1).any():
                continue
            front = np.vstack([front[~(point <= front).all(axis=1)], point])
            indices.append(i)
            values.append(hypervolume(front, ref))
    return np.array(indices, dtype=np.intp), np.array(values)


def igd_plus(points: ArrayLike, front: ArrayLike) -> float:
    """Modified inverted generational distance of points to a front (Ishibuchi et al. 2015)."""
    return float(moocore.igd_plus(_points(points), ref=_points(front)))


def epsilon(points: ArrayLike, front: ArrayLike) -> float:
    """Additive epsilon: how much better in every objective the points would have to be to weakly
    dominate the front (Zitzler et al. 2003)."""
    return float(moocore.epsilon_additive(_points(points), ref=_points(front)))


def r2(points: ArrayLike, ideal: ArrayLike) -> float:
    """Mean, over weights, of the least weighted Chebyshev distance to the ideal; less is better.

    With two objectives the mean over all weights, exactly, in O(n log n). With others a mean over
    up to 1,000 fixed weights, evenly spread over the simplex: with two it would be the midpoint
    rule of the exact one.

    Parameters
    ----------
    points : (n, m)
        At least one. Where a point is better than the ideal it counts as the ideal.
    ideal : (m,)
        No worse than any front it is to judge.

    References
    ----------
    Hansen and Jaszkiewicz 1998; Brockhoff, Wagner and Trautmann, "On the properties of the R2
    indicator", GECCO 2012; exact: Schäpermeier and Kerschke 2025 (moocore).
    """
    ideal = np.asarray(ideal, dtype=np.float64)
    array = np.maximum(_points(points), ideal)
    if len(array) == 0:
        raise ValueError("expected at least one point, found none")
    if array.shape[1] == 2:
        return float(moocore.r2_exact(array, ref=ideal))
    return _mean_chebyshev(array[non_dominated(array)] - ideal, _lattice(array.shape[1], _WEIGHTS))


def _mean_chebyshev(gaps: Array, weights: Array) -> float:
    """Mean over weights (w, m) of the least weighted Chebyshev norm of gaps (n, m)."""
    least = np.full(len(weights), np.inf)
    for chunk in np.split(gaps, range(_CHUNK, len(gaps), _CHUNK)):
        norms = (weights[:, None] * chunk).max(axis=2)  # (w, chunk)
        least = np.minimum(least, norms.min(axis=1))
    return float(least.mean())


@cache
def _lattice(m: int, most: int) -> Array:
    """At most so many weights (w, m) that are evenly spread within the simplex.

    The centres of the cells of a simplex lattice that point as it does, all above 0: a weight of 0
    would not see its objective.
    """
    if m == 1:
        return np.ones((1, 1))
    parts = 0
    while comb(parts + m, m - 1) <= most:
        parts += 1
    # Stars and bars: where the m - 1 bars stand says how many of the parts each objective has.
    bars = np.array(list(combinations(range(parts + m - 1), m - 1)))
    ends = np.full((len(bars), 1), parts + m - 1)
    counts = np.diff(np.hstack([np.full_like(ends, -1), bars, ends]), axis=1) - 1
    return np.asarray((counts + 1 / m) / (parts + 1))


def best_subset(points: ArrayLike, reference: ArrayLike, k: int) -> NDArray[np.intp]:
    """The `k` points of a two-objective front that have most hypervolume together.

    Exact, in O(n (k + log n)): with the points sorted, the hypervolume of a best chain that ends
    in point j is an upper envelope of lines at j, one for each predecessor, and lines and queries
    come in order of slope.

    Parameters
    ----------
    points : (n, 2)
        Any points; dominated ones and those not below the reference are never chosen.
    reference : (2,)
    k
        How many, at least 1.

    Returns
    -------
    (min(k, members),) intp
        Indices, in ascending order of the first objective.

    Raises
    ------
    ValueError
        The points have not two objectives, or `k` is less than 1.

    References
    ----------
    Bringmann, Friedrich and Klitzke, "Two-dimensional subset selection for hypervolume and
    epsilon-indicator", GECCO 2014.
    """
    order, choice, _ = _best_chains(points, reference, k)
    k = min(k, len(order))
    if k == 0:
        return np.zeros(0, dtype=np.intp)
    chain = [int(choice[k - 1][-1])]
    for row in reversed(choice[1:k]):
        chain.append(int(row[chain[-1]]))
    return order[chain[::-1]]


def best_hypervolumes(points: ArrayLike, reference: ArrayLike, k: int) -> Array:
    """Most hypervolume that 1, 2, ..., `k` points of a two-objective front can have.

    Parameters and errors are those of `best_subset`.

    Returns
    -------
    (k,)
    """
    _, _, values = _best_chains(points, reference, k)
    if len(values) == 0:
        return np.zeros(k)
    return np.concatenate([values[:k], np.full(max(0, k - len(values)), values[-1])])


def _best_chains(
    points: ArrayLike, reference: ArrayLike, k: int
) -> tuple[NDArray[np.intp], list[NDArray[np.intp]], Array]:
    """Best chains of 1 ... k points: sorted members, predecessor tables, hypervolumes.

    The last entry of each table is the last point of the best chain of that length.
    """
    array, ref = _points(points), np.asarray(reference, dtype=np.float64)
    if array.shape[1] != 2:
        raise ValueError(f"expected points of two objectives, found {array.shape[1]}")
    if k < 1:
        raise ValueError(f"expected k of at least 1, found {k}")
    members = np.flatnonzero(non_dominated(array) & (array < ref).all(axis=1))
    order = members[np.argsort(array[members, 0])]
    n = len(order)
    if n == 0:
        return order, [], np.zeros(0)
    x = ref[0] - array[order, 0]  # width of each point's box, descending
    y = ref[1] - array[order, 1]  # height, ascending
    # best[j]: most hypervolume of a chain of this length that ends in j. A successor i > j adds
    # x[i] * (y[i] - y[j]), so best'[i] = x[i] * y[i] + max over j < i of (best[j] - x[i] * y[j]).
    best = x * y
    tables = [np.array([np.argmax(best)], dtype=np.intp)]
    values = [best.max()]
    for _ in range(1, min(k, n)):
        gains, came_from = _upper_envelope(best, y, x)
        best = x * y + gains
        last = int(np.argmax(best))
        tables.append(np.append(came_from, last))
        values.append(best[last])
    return order, tables, np.array(values)


def _upper_envelope(best: Array, y: Array, x: Array) -> tuple[Array, NDArray[np.intp]]:
    """For each i, the most that ``best[j] - x[i] * y[j]`` is over j < i, and for which j.

    `y` ascends and `x` descends, so lines come in order of slope and queries move one way: the
    convex hull trick with a monotone queue. Where there is no j, minus infinity and 0.
    """
    # The envelope, front to back, as parallel lists: this loop is all that takes time.
    intercepts: list[float] = []
    slopes: list[float] = []
    sources: list[int] = []
    head = 0
    gains, came_from = [-np.inf], [0]
    previous, heights, widths = best.tolist(), y.tolist(), x.tolist()
    for i in range(1, len(previous)):
        b, h, w = previous[i - 1], heights[i - 1], widths[i]
        if b > -np.inf:
            while len(sources) - head >= 2:
                b2, h2 = intercepts[-1], slopes[-1]
                # The last line is hidden where the new one overtakes it before it is reached.
                if (b - b2) * (h2 - slopes[-2]) < (b2 - intercepts[-2]) * (h - h2):
                    break
                intercepts.pop()
                slopes.pop()
                sources.pop()
            intercepts.append(b)
            slopes.append(h)
            sources.append(i - 1)
        if head == len(sources):
            gains.append(-np.inf)
            came_from.append(0)
            continue
        gain = intercepts[head] - w * slopes[head]
        while head + 1 < len(sources):
            following = intercepts[head + 1] - w * slopes[head + 1]
            if gain > following:
                break
            gain = following
            head += 1
        gains.append(gain)
        came_from.append(sources[head])
    return np.array(gains), np.array(came_from, dtype=np.intp)


def _points(points: ArrayLike) -> Array:
    array = np.asarray(points, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] == 0:
        raise ValueError(f"expected points of shape (n, m), found {array.shape}")
    return np.ascontiguousarray(array)
