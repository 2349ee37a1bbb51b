"""Hypervolume that points add to a front of two objectives, exactly and for many points at once."""

from __future__ import annotations

import numpy as np

from hwnas import pareto
from hwnas.typing import Array


def sorted_front(points: Array, reference: Array) -> Array:
    """Return the non-dominated points below the reference, by the first objective.

    Parameters
    ----------
    points : (n, 2)
        Losses.
    reference : (2,)
        Reference point; points that are not below it in both objectives dominate nothing.

    Returns
    -------
    (f, 2)

    Examples
    --------
    >>> sorted_front(np.array([[2.0, 1.0], [1.0, 2.0], [2.0, 2.0]]), np.array([3.0, 3.0])).tolist()
    [[1.0, 2.0], [2.0, 1.0]]
    """
    front = points[(points < reference).all(axis=1)]
    front = front[pareto.non_dominated(front)]
    return front[np.argsort(front[:, 0])]


def added_areas(front: Array, points: Array, reference: Array) -> Array:
    """Return the hypervolume that each point alone adds to a front.

    Parameters
    ----------
    front : (f, 2)
        As `sorted_front` returns it.
    points : (k, 2)
        Losses.
    reference : (2,)
        Reference point.

    Returns
    -------
    (k,)

    Examples
    --------
    >>> front = np.array([[1.0, 2.0], [2.0, 1.0]])
    >>> added_areas(front, np.array([[1.5, 1.5], [2.0, 2.0]]), np.array([3.0, 3.0])).tolist()
    [0.25, 0.0]
    """
    # Strip j spans x[j - 1] to x[j]; its part below y[j] is not dominated by the front.
    x = np.append(front[:, 0], reference[0])  # (f + 1,)
    y = np.append(reference[1], front[:, 1])
    # Cumulative sums make the area over any range of strips a difference of two entries.
    width = np.diff(x, prepend=x[0])
    widths = np.append(0.0, np.cumsum(width))
    areas = np.append(0.0, np.cumsum(width * y))
    # Strips first ... last - 1 end right of the point and reach above it.
    first = np.searchsorted(x, points[:, 0], side="right")
    last = np.searchsorted(-y, -points[:, 1])
    improves = last > first
    first = np.minimum(first, len(x) - 1)
    last = np.maximum(last, first + 1)
    # The first strip counts from the point on, the others over their whole width.
    partial = (x[first] - points[:, 0]) * (y[first] - points[:, 1])
    complete = areas[last] - areas[first + 1] - points[:, 1] * (widths[last] - widths[first + 1])
    return np.where(improves, partial + complete, 0.0)
