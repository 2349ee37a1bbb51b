"""Dominance, Pareto fronts and quality indicators. Arrays in, arrays out, everything minimized.

Based on moocore, except for what it does not provide. A point dominates another if it is nowhere
worse and somewhere better.
"""

from __future__ import annotations

from functools import cache
from itertools import combinations
from math import comb

import moocore
import numpy as np
from numpy.typing import ArrayLike

from hwnas.typing import Array, BoolArray, IndexArray

_CHUNK = 1024  # points that are compared with a front in one call
_FEW = 16  # members of a front that most points are compared with alone
_GAPS = 128  # points whose weighted distances are computed in one call
_MAX_WEIGHTS = 1000  # of the discrete R2


def non_dominated(points: ArrayLike, *, keep_equal: bool = False) -> BoolArray:
    """Return a mask of the points that no other point dominates.

    Parameters
    ----------
    points : (n, m)
        Finite.
    keep_equal
        Keep every copy of a point, not only the first.

    Returns
    -------
    (n,) bool

    Raises
    ------
    ValueError
        The points are not of shape (n, m) with m of at least 1.

    Examples
    --------
    >>> non_dominated([[0, 1], [1, 0], [1, 1], [0, 1]]).tolist()
    [True, True, False, False]
    """
    array = _as_points(points)
    if len(array) == 0:
        return np.zeros(0, dtype=bool)
    if array.shape[1] == 1:
        is_best: BoolArray = array[:, 0] == array.min()
        return is_best if keep_equal else np.arange(len(array)) == np.argmax(is_best)
    return np.asarray(moocore.is_nondominated(array, keep_weakly=keep_equal), dtype=bool)


def hypervolume(points: ArrayLike, reference: ArrayLike) -> float:
    """Return the volume that points dominate within the box bounded by the reference point.

    Points that are not below the reference in every objective contribute nothing.

    Parameters
    ----------
    points : (n, m)
    reference : (m,)

    References
    ----------
    Zitzler and Thiele 1998; computed by Fonseca, Paquete and López-Ibáñez 2006 (moocore).

    Examples
    --------
    >>> hypervolume([[1, 2], [2, 1]], reference=[3, 3])  # two boxes of area 2 that share one cell
    3.0
    """
    array, ref = _as_points(points), np.asarray(reference, dtype=np.float64)
    if len(array) == 0:
        return 0.0
    if array.shape[1] == 1:
        # moocore needs two objectives; with one, the volume is a length.
        return float(max(0.0, ref[0] - array.min()))
    return float(moocore.hypervolume(array, ref=ref))


def hypervolume_steps(points: ArrayLike, reference: ArrayLike) -> tuple[IndexArray, Array]:
    """Return the points that raise the hypervolume of a growing sequence, and its values there.

    Parameters
    ----------
    points : (n, m)
        In the order in which they were evaluated; a row that has a NaN contributes nothing.
    reference : (m,)

    Returns
    -------
    indices : (k,) intp
        Points that raise the hypervolume, ascending.
    values : (k,)
        Hypervolume of all points up to and including each of them.

    Examples
    --------
    >>> indices, values = hypervolume_steps([[2, 2], [2, 2], [1, 2], [3, 0]], reference=[3, 3])
    >>> indices.tolist(), values.tolist()
    ([0, 2], [1.0, 2.0])
    """
    array, ref = _as_points(points), np.asarray(reference, dtype=np.float64)
    front = np.empty((0, array.shape[1]))
    indices, values = [], []
    inside = np.flatnonzero((array < ref).all(axis=1))
    for chunk in np.split(inside, range(_CHUNK, len(inside), _CHUNK)):
        # Most points are dominated by much earlier ones: these are dropped together, and most of
        # them by one of a few members.
        for members in (front[:: 1 + len(front) // _FEW], front):
            chunk = chunk[~np.all(members <= array[chunk][:, None], axis=2).any(axis=1)]
        for i in chunk:
            point = array[i]
            if (front <= point).all(axis=1).any():
                continue
            front = np.vstack([front[~(point <= front).all(axis=1)], point])
            indices.append(i)
            values.append(hypervolume(front, ref))
    return np.array(indices, dtype=np.intp), np.array(values)


def igd_plus(points: ArrayLike, front: ArrayLike) -> float:
    """Return the modified inverted generational distance of points to a front.

    The mean distance from members of the front to the points, where only objectives in which a
    point is worse count.

    Parameters
    ----------
    points : (n, m)
    front : (k, m)

    References
    ----------
    Ishibuchi, Masuda, Tanigaki and Nojima 2015.

    Examples
    --------
    >>> igd_plus([[3, 4]], front=[[0, 0]])
    5.0
    >>> igd_plus([[2, 0]], front=[[1, 1]])  # better in the second objective
    1.0
    """
    return float(moocore.igd_plus(_as_points(points), ref=_as_points(front)))


def epsilon(points: ArrayLike, front: ArrayLike) -> float:
    """Return the additive epsilon indicator of points with respect to a front.

    The smallest amount by which every objective of the points would have to decrease for them to
    weakly dominate the front.

    Parameters
    ----------
    points : (n, m)
    front : (k, m)

    References
    ----------
    Zitzler, Thiele, Laumanns, Fonseca and Grunert da Fonseca 2003.

    Examples
    --------
    >>> epsilon([[3, 4]], front=[[0, 0]])
    4.0
    """
    return float(moocore.epsilon_additive(_as_points(points), ref=_as_points(front)))


def r2(points: ArrayLike, ideal: ArrayLike) -> float:
    """Return the R2 indicator: the mean over weights of the minimum weighted Chebyshev distance.

    The distance is to the ideal point; smaller is better. With two objectives this is the mean over
    all weights, exactly, in O(n log n). Otherwise it is the mean over up to 1,000 fixed weights,
    evenly spread over the simplex (with two objectives, that would be the midpoint rule).

    Parameters
    ----------
    points : (n, m)
        At least one. Coordinates below the ideal are raised to it.
    ideal : (m,)
        No worse than any front that is to be judged.

    Raises
    ------
    ValueError
        There are no points.

    References
    ----------
    Hansen and Jaszkiewicz 1998; Brockhoff, Wagner and Trautmann, "On the properties of the R2
    indicator", GECCO 2012; exact: Schäpermeier and Kerschke 2025 (moocore).

    Examples
    --------
    The mean of max(w, 1 - w) over w from 0 to 1:

    >>> round(r2([[1, 1]], ideal=[0, 0]), 12)
    0.75
    """
    ideal = np.asarray(ideal, dtype=np.float64)
    array = np.maximum(_as_points(points), ideal)
    if len(array) == 0:
        raise ValueError("expected at least one point, found none")
    m = array.shape[1]
    if m == 2:
        return float(moocore.r2_exact(array, ref=ideal))
    return _mean_chebyshev(array[non_dominated(array)] - ideal, _simplex_weights(m, _MAX_WEIGHTS))


def _mean_chebyshev(gaps: Array, weights: Array) -> float:
    """Return the mean over weights (w, m) of the minimum weighted Chebyshev norm of gaps (n, m)."""
    # In chunks, so that the (w, chunk, m) products stay in the cache.
    minima = np.full(len(weights), np.inf)
    for chunk in np.split(gaps, range(_GAPS, len(gaps), _GAPS)):
        norms = (weights[:, None] * chunk).max(axis=2)  # (w, chunk)
        minima = np.minimum(minima, norms.min(axis=1))
    return float(minima.mean())


@cache
def _simplex_weights(m: int, max_count: int) -> Array:
    """Return at most `max_count` weights (w, m) that are evenly spread within the simplex.

    They are the centers of the upright cells of a simplex lattice, all above 0: a weight of 0 would
    ignore its objective.
    """
    if m == 1:
        return np.ones((1, 1))
    parts = 0
    while comb(parts + m, m - 1) <= max_count:
        parts += 1
    # Stars and bars: the positions of the m - 1 bars give the number of parts of each objective.
    bars = np.array(list(combinations(range(parts + m - 1), m - 1)))
    ends = np.full((len(bars), 1), parts + m - 1)
    counts = np.diff(np.hstack([np.full_like(ends, -1), bars, ends]), axis=1) - 1
    return np.asarray((counts + 1 / m) / (parts + 1))


def best_subset(points: ArrayLike, reference: ArrayLike, k: int) -> IndexArray:
    """Return the `k` points of a two-objective front with the largest hypervolume together.

    Exact, in O(n (k + log n)): with the points sorted, the hypervolume of a best chain that ends
    in point j is an upper envelope of lines at j, one for each predecessor, and lines and queries
    come in order of slope.

    Parameters
    ----------
    points : (n, 2)
        Any points; dominated ones and those not below the reference are never chosen.
    reference : (2,)
    k
        Number of points, at least 1.

    Returns
    -------
    (min(k, members),) intp
        Indices, in ascending order of the first objective.

    Raises
    ------
    ValueError
        The points do not have two objectives, or `k` is less than 1.

    References
    ----------
    Bringmann, Friedrich and Klitzke, "Two-dimensional subset selection for hypervolume and
    epsilon-indicator", GECCO 2014.

    Examples
    --------
    >>> best_subset([[2, 0], [1, 1], [0, 2]], reference=[3, 3], k=1).tolist()
    [1]
    """
    order, choices, _ = _best_chains(points, reference, k)
    k = min(k, len(order))
    if k == 0:
        return np.zeros(0, dtype=np.intp)
    # Backtrack from the last point of the best chain of k points.
    chain = [int(choices[k - 1][-1])]
    for row in reversed(choices[1:k]):
        chain.append(int(row[chain[-1]]))
    return order[chain[::-1]]


def best_hypervolumes(points: ArrayLike, reference: ArrayLike, k: int) -> Array:
    """Return the largest hypervolumes of 1, 2, ..., `k` points of a two-objective front.

    Parameters and errors are those of `best_subset`.

    Returns
    -------
    (k,)

    Examples
    --------
    >>> best_hypervolumes([[2, 0], [1, 1], [0, 2]], reference=[3, 3], k=4).tolist()
    [4.0, 5.0, 6.0, 6.0]
    """
    _, _, values = _best_chains(points, reference, k)
    if len(values) == 0:
        return np.zeros(k)
    return np.concatenate([values[:k], np.full(max(0, k - len(values)), values[-1])])


def _best_chains(
    points: ArrayLike, reference: ArrayLike, k: int
) -> tuple[IndexArray, list[IndexArray], Array]:
    """Return the best chains of 1 ... k points: sorted members, predecessors, hypervolumes.

    The last entry of each array of predecessors is the last point of the best chain of that length.
    """
    array, ref = _as_points(points), np.asarray(reference, dtype=np.float64)
    if array.shape[1] != 2:
        raise ValueError(f"expected points of two objectives, found {array.shape[1]}")
    if k < 1:
        raise ValueError(f"expected k of at least 1, found {k}")
    # Members of the front below the reference, by the first objective.
    members = np.flatnonzero(non_dominated(array) & (array < ref).all(axis=1))
    order = members[np.argsort(array[members, 0])]
    n = len(order)
    if n == 0:
        return order, [], np.zeros(0)
    x = ref[0] - array[order, 0]  # width of each point's box, descending
    y = ref[1] - array[order, 1]  # height, ascending
    # best[j]: largest hypervolume of a chain of this length that ends in j. A successor i > j adds
    # x[i] * (y[i] - y[j]), so best'[i] = x[i] * y[i] + max over j < i of (best[j] - x[i] * y[j]).
    best = x * y
    predecessors = [np.array([np.argmax(best)], dtype=np.intp)]
    values = [best.max()]
    for _ in range(1, min(k, n)):
        gains, sources = _upper_envelope(best, y, x)
        best = x * y + gains
        end = int(np.argmax(best))
        predecessors.append(np.append(sources, end))
        values.append(best[end])
    return order, predecessors, np.array(values)


def _upper_envelope(best: Array, y: Array, x: Array) -> tuple[Array, IndexArray]:
    """Return for each i the maximum of ``best[j] - x[i] * y[j]`` over j < i, and its j.

    `y` ascends and `x` descends, so lines come in order of slope and queries move one way: the
    convex hull trick with a monotone queue. Where there is no j, minus infinity and 0.
    """
    # The envelope as parallel lists, of which entries from `head` on are in use; Python lists,
    # because this loop takes nearly all the time.
    intercepts: list[float] = []
    slopes: list[float] = []
    lines: list[int] = []
    head = 0
    gains, sources = [-np.inf], [0]
    previous, heights, widths = best.tolist(), y.tolist(), x.tolist()
    for i in range(1, len(previous)):
        # 1. Append line i - 1, which is the steepest so far.
        b, h, w = previous[i - 1], heights[i - 1], widths[i]
        if b > -np.inf:
            while len(lines) - head >= 2:
                b2, h2 = intercepts[-1], slopes[-1]
                # The last line is hidden where the new one overtakes it before it is reached.
                if (b - b2) * (h2 - slopes[-2]) < (b2 - intercepts[-2]) * (h - h2):
                    break
                intercepts.pop()
                slopes.pop()
                lines.pop()
            intercepts.append(b)
            slopes.append(h)
            lines.append(i - 1)
        if head == len(lines):
            gains.append(-np.inf)
            sources.append(0)
            continue
        # 2. Query at w: lines at the front that are overtaken here stay so for all smaller w.
        gain = intercepts[head] - w * slopes[head]
        while head + 1 < len(lines):
            gain_next = intercepts[head + 1] - w * slopes[head + 1]
            if gain > gain_next:
                break
            gain = gain_next
            head += 1
        gains.append(gain)
        sources.append(lines[head])
    return np.array(gains), np.array(sources, dtype=np.intp)


def _as_points(points: ArrayLike) -> Array:
    array = np.asarray(points, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] == 0:
        raise ValueError(f"expected points of shape (n, m), found {array.shape}")
    return np.ascontiguousarray(array)
