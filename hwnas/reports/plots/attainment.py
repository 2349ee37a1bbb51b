"""Empirical attainment: which points how many of several searches attain."""

from __future__ import annotations

from collections.abc import Sequence

import moocore
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import Normalize

from hwnas import pareto
from hwnas.errors import InvalidInput
from hwnas.reports.plots import style
from hwnas.reports.plots.convergence import truth
from hwnas.runner.results import Result
from hwnas.typing import Array


def surface(fronts: Sequence[Array], share: float) -> Array:
    """The best points that at least a share of fronts attain: of points they weakly dominate.

    Parameters
    ----------
    fronts : n of (k_i, 2)
        Losses.
    share
        Above 0, at most 1: 1 / n is what any attains, 1 what all do.

    Returns
    -------
    (k, 2)
        Mutually non-dominated, the first loss ascending.

    References
    ----------
    Grunert da Fonseca, Fonseca and Hall, "Inferential performance assessment of stochastic
    optimisers and the attainment function", EMO 2001; computed by Fonseca, Guerreiro, López-Ibáñez
    and Paquete 2011 (moocore).
    """
    kept = [front for front in fronts if len(front)]
    needed = int(np.ceil(share * len(fronts) - 1e-9))
    if needed > len(kept):
        return np.empty((0, 2))
    points = np.concatenate(kept)
    sets = np.repeat(np.arange(len(kept)), [len(front) for front in kept])
    found = moocore.eaf(points, sets, percentiles=[100 * needed / len(kept)])[:, :2]
    return np.asarray(found[np.argsort(found[:, 0], kind="stable")])


def differences(first: Sequence[Array], second: Sequence[Array]) -> tuple[Array, Array]:
    """Where one of two kinds of search attains more than the other.

    Parameters
    ----------
    first, second : (k_i, 2) each
        Losses of the fronts of each kind, as many of one as of the other.

    Returns
    -------
    boxes : (b, 4)
        Least and greatest first loss, least and greatest second; infinite where they do not end.
    lead : (b,)
        Share of `first` that attains a box, less that of `second`.

    References
    ----------
    López-Ibáñez, Paquete and Stützle, "Exploratory analysis of stochastic local search algorithms
    in biobjective optimization", 2010 (moocore).
    """
    sides = [
        np.concatenate([np.column_stack([f, np.full(len(f), i)]) for i, f in enumerate(fronts)])
        for fronts in (first, second)
    ]
    if not len(sides[0]) or not len(sides[1]):
        return np.empty((0, 4)), np.empty(0)
    try:
        found = np.asarray(moocore.eafdiff(*sides, rectangles=True))
    except ValueError:  # moocore 0.3 has no way to say that there is no difference anywhere
        return np.empty((0, 4)), np.empty(0)
    return found[:, [0, 2, 1, 3]], found[:, 4] / len(first)


def attainment(axes: Axes, result: Result) -> None:
    """What half of the seeds of each optimizer attain, from what any does to what all do as a band.

    Parameters
    ----------
    axes
        Where to draw.
    result
        A run with two objectives.

    Raises
    ------
    InvalidInput
        The run has not two objectives.
    """
    _expect_two(result, "attainment")
    if result.known is not None:
        truth(axes, result.known)
    for index, optimizer in enumerate(style.names([cell.optimizer for cell in result.searches])):
        look, fronts = style.look(index), fronts_of(result, optimizer)
        best, median, worst = (
            _outline(surface(fronts, share), result) for share in (1 / len(fronts), 0.5, 1.0)
        )
        axes.fill(
            *np.concatenate([best, worst[::-1]]).T, color=look["color"], alpha=0.15, linewidth=0
        )
        axes.plot(*median.T, color=look["color"], linestyle=look["linestyle"], label=optimizer)
    _tidy(axes, result)
    style.legend(axes)


def difference(axes: Axes, result: Result, first: str, second: str) -> PolyCollection:
    """Where more seeds of one optimizer attain a point than of another, and where fewer.

    Lines are what any of all their seeds attains, and what all do.

    Parameters
    ----------
    axes
        Where to draw.
    result
        A run with two objectives.
    first, second
        The optimizers.

    Returns
    -------
    PolyCollection
        The boxes, for a colour bar: from -1, where `second` alone attains, to 1.

    Raises
    ------
    InvalidInput
        The run has not two objectives.
    """
    _expect_two(result, "difference")
    both = fronts_of(result, first), fronts_of(result, second)
    n = min(map(len, both))
    both = both[0][:n], both[1][:n]
    boxes, lead = differences(*both)
    low, high = _floor(result), result.reference.point
    x0, x1 = (np.clip(boxes[:, [0, 1]], low[0], high[0])).T
    y0, y1 = (np.clip(boxes[:, [2, 3]], low[1], high[1])).T
    corners = np.stack(
        [np.stack(c, axis=1) for c in ((x0, y0), (x1, y0), (x1, y1), (x0, y1))], axis=1
    )
    drawn = PolyCollection(
        list(corners * _signs(result)),
        array=lead,
        cmap=style.DIVERGING,
        norm=Normalize(-1, 1),
        linewidths=0,
        rasterized=True,  # thousands of boxes would make a slow vector file
    )
    axes.add_collection(drawn)
    everyone = [*both[0], *both[1]]
    for share, dash in ((1 / len(everyone), "-"), (1.0, (0, (4, 2)))):
        outline = _outline(surface(everyone, share), result)
        axes.plot(*outline.T, color="black", linewidth=0.8, linestyle=dash)
    _tidy(axes, result)
    axes.set_title(f"{first} against {second}", fontsize=9)
    return drawn


def fronts_of(result: Result, optimizer: str) -> list[Array]:
    """Losses (k_i, 2) of the front of each seed of an optimizer."""
    return [cell.front.losses for cell in result.searches if cell.optimizer == optimizer]


def _expect_two(result: Result, what: str) -> None:
    if len(result.objectives) != 2:
        raise InvalidInput(
            f"{what}: expected a run with two objectives, found {len(result.objectives)}"
        )


def _signs(result: Result) -> Array:
    """1 for what is minimised, -1 for what is maximised."""
    return np.array([-1.0 if objective.maximise else 1.0 for objective in result.objectives])


def _floor(result: Result) -> Array:
    """The least loss (2,) that anything drawn has."""
    found = [cell.front.losses.min(axis=0) for cell in result.searches if len(cell.front)]
    return np.asarray(np.min([result.reference.ideal, *found], axis=0))


def _outline(points: Array, result: Result) -> Array:
    """The border (c, 2), in raw units, of what points dominate up to the reference point."""
    reference = result.reference.point
    points = points[(points < reference).all(axis=1)]
    points = points[pareto.non_dominated(points)] if len(points) else points
    points = points[np.argsort(points[:, 0])]
    # Down to each point's height where it begins, and along it to the next.
    x = np.repeat(np.append(points[:, 0], reference[0]), 2)[:-1]
    y = np.repeat(np.append(reference[1], points[:, 1]), 2)[1:]
    return np.stack([x, y], axis=1) * _signs(result)


def _tidy(axes: Axes, result: Result) -> None:
    x, y = result.objectives
    style.tidy(axes, x=style.label(x), y=style.label(y))
