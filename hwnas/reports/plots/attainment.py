"""Empirical attainment functions (EAF): the points that a share of several searches attains.

A search attains a point if its front has a member that is no worse in any objective.
"""

from __future__ import annotations

from collections.abc import Sequence

import moocore
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import Normalize

from hwnas import pareto
from hwnas.errors import InvalidInput
from hwnas.reports.plots import style, trajectories
from hwnas.reports.plots.convergence import plot_known_front
from hwnas.runner.results import Result
from hwnas.typing import Array


def attainment_surface(fronts: Sequence[Array], share: float) -> Array:
    """Return the best points that at least a share of fronts attain.

    Parameters
    ----------
    fronts : n of (k_i, 2)
        Losses.
    share
        Above 0, at most 1: points that any front attains have the share 1 / n, points that all
        attain the share 1.

    Returns
    -------
    (k, 2)
        Mutually non-dominated losses, the first one ascending.

    References
    ----------
    Grunert da Fonseca, Fonseca and Hall, "Inferential performance assessment of stochastic
    optimisers and the attainment function", EMO 2001; computed by Fonseca, Guerreiro, López-Ibáñez
    and Paquete 2011 (moocore).

    Examples
    --------
    >>> fronts = [np.array([[1.0, 3.0], [3.0, 1.0]]), np.array([[2.0, 2.0]])]
    >>> attainment_surface(fronts, 1.0)
    array([[2., 3.],
           [3., 2.]])
    """
    non_empty = [front for front in fronts if len(front)]
    # An empty front attains nothing, but counts as one of n. The tolerance is for rounding errors:
    # 0.07 * 100 > 7.
    required = int(np.ceil(share * len(fronts) - 1e-9))
    if required > len(non_empty):
        return np.empty((0, 2))
    points = np.concatenate(non_empty)
    sets = np.repeat(np.arange(len(non_empty)), [len(front) for front in non_empty])
    surface = moocore.eaf(points, sets, percentiles=[100 * required / len(non_empty)])[:, :2]
    return np.asarray(surface[np.argsort(surface[:, 0], kind="stable")])


def attainment_differences(first: Sequence[Array], second: Sequence[Array]) -> tuple[Array, Array]:
    """Return the regions that one optimizer attains more often than another.

    Parameters
    ----------
    first, second : (k_i, 2) each
        Losses of the fronts of each optimizer, the same number of fronts for both.

    Returns
    -------
    boxes : (b, 4)
        Minimum and maximum of the first loss, then of the second; infinite where a region has no
        end.
    lead : (b,)
        Share of `first` that attains a box, minus that of `second`.

    References
    ----------
    López-Ibáñez, Paquete and Stützle, "Exploratory analysis of stochastic local search algorithms
    in biobjective optimization", 2010 (moocore).
    """
    # moocore takes the points of each side with the number of their front as a third column.
    sides = [
        np.concatenate([np.column_stack([f, np.full(len(f), i)]) for i, f in enumerate(fronts)])
        for fronts in (first, second)
    ]
    if not len(sides[0]) or not len(sides[1]):
        return np.empty((0, 4)), np.empty(0)
    try:
        rectangles = np.asarray(moocore.eafdiff(*sides, rectangles=True))
    except ValueError:  # moocore 0.3 fails where there is no difference at all
        return np.empty((0, 4)), np.empty(0)
    # Its columns are (x min, y min, x max, y max, difference in fronts).
    return rectangles[:, [0, 2, 1, 3]], rectangles[:, 4] / len(first)


def plot_attainment(axes: Axes, result: Result) -> None:
    """Plot the median attainment surface of each optimizer, in a band from best to worst.

    The band ends at the points that any seed attains and at those that all attain.

    Parameters
    ----------
    axes
        Axes to draw in.
    result
        A run with two objectives.

    Raises
    ------
    InvalidInput
        The run does not have two objectives.
    """
    _check_two_objectives(result, "attainment")
    if result.known is not None:
        plot_known_front(axes, result.known)
    for index, (optimizer, label) in enumerate(trajectories.front_names(result).items()):
        look, fronts = style.line_style(index), fronts_of(result, optimizer)
        best, median, worst = (
            _outline(attainment_surface(fronts, share), result)
            for share in (1 / len(fronts), 0.5, 1.0)
        )
        # One polygon: along the best surface, and back along the worst.
        polygon = np.concatenate([best, worst[::-1]])
        axes.fill(*polygon.T, color=look["color"], alpha=0.15, linewidth=0)
        axes.plot(*median.T, color=look["color"], linestyle=look["linestyle"], label=label)
    _format_axes(axes, result)
    style.legend(axes)


def plot_difference(axes: Axes, result: Result, first: str, second: str) -> PolyCollection:
    """Plot the regions that more seeds of one optimizer attain than of another.

    Two lines show the points that any seed of both attains, and those that all attain. Where one
    optimizer has more seeds, its last ones are left out.

    Parameters
    ----------
    axes
        Axes to draw in.
    result
        A run with two objectives.
    first, second
        Names of the optimizers.

    Returns
    -------
    PolyCollection
        The regions, for a color bar: from -1, where only `second` attains, to 1.

    Raises
    ------
    InvalidInput
        The run does not have two objectives.
    """
    _check_two_objectives(result, "difference")
    # The difference is defined for equal numbers of fronts.
    pairs = list(zip(fronts_of(result, first), fronts_of(result, second), strict=False))
    first_fronts, second_fronts = [a for a, _ in pairs], [b for _, b in pairs]
    boxes, lead = attainment_differences(first_fronts, second_fronts)
    regions = PolyCollection(
        list(_corners(boxes, _min_losses(result), result.reference.point) * _signs(result)),
        array=lead,
        cmap=style.DIVERGING,
        norm=Normalize(-1, 1),
        linewidths=0,
        rasterized=True,  # a vector file of thousands of boxes is slow to display
    )
    axes.add_collection(regions)
    # The solid line is what any of all seeds attains, the dashed one what all attain.
    fronts = [*first_fronts, *second_fronts]
    for share, dash in ((1 / len(fronts), "-"), (1.0, (0, (4, 2)))):
        outline = _outline(attainment_surface(fronts, share), result)
        axes.plot(*outline.T, color="black", linewidth=0.8, linestyle=dash)
    _format_axes(axes, result)
    axes.set_title(f"{first} against {second}", fontsize=9)
    return regions


def fronts_of(result: Result, optimizer: str) -> list[Array]:
    """Return the losses (k_i, 2) of the front of each seed of an optimizer."""
    return [search.front.losses for search in result.searches if search.optimizer == optimizer]


def _check_two_objectives(result: Result, kind: str) -> None:
    if len(result.objectives) != 2:
        raise InvalidInput(
            f"{kind}: expected a run with two objectives, found {len(result.objectives)}"
        )


def _signs(result: Result) -> Array:
    """Return the factors (2,) from losses to raw values: 1 for minimized ones, -1 otherwise."""
    return np.array([-1.0 if objective.maximise else 1.0 for objective in result.objectives])


def _min_losses(result: Result) -> Array:
    """Return the least losses (2,) of the ideal point and of all fronts."""
    minima = [search.front.losses.min(axis=0) for search in result.searches if len(search.front)]
    return np.asarray(np.min([result.reference.ideal, *minima], axis=0))


def _corners(boxes: Array, low: Array, high: Array) -> Array:
    """Return the corners (b, 4, 2) of boxes (b, 4), clipped to low (2,) and high (2,)."""
    # Boxes without an end would be infinitely large: they end with the axes.
    x0, x1 = (np.clip(boxes[:, [0, 1]], low[0], high[0])).T
    y0, y1 = (np.clip(boxes[:, [2, 3]], low[1], high[1])).T
    corners = ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
    return np.stack([np.stack(corner, axis=1) for corner in corners], axis=1)


def _outline(points: Array, result: Result) -> Array:
    """Return the border (c, 2) of the region between points (k, 2) and the reference point.

    The border is in raw units and has only horizontal and vertical pieces.
    """
    reference = result.reference.point
    points = points[(points < reference).all(axis=1)]
    points = points[pareto.non_dominated(points)] if len(points) else points
    points = points[np.argsort(points[:, 0])]
    # At the x of each point the border goes down to its y, then right to the next point.
    x = np.repeat(np.append(points[:, 0], reference[0]), 2)[:-1]
    y = np.repeat(np.append(reference[1], points[:, 1]), 2)[1:]
    return np.stack([x, y], axis=1) * _signs(result)


def _format_axes(axes: Axes, result: Result) -> None:
    x, y = result.objectives
    labels = [style.axis_label(objective, result.units) for objective in (x, y)]
    style.format_axes(axes, x=labels[0], y=labels[1])
