"""Plots of searches: fronts, and hypervolume and ranks over the course of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from mpl_toolkits.mplot3d import Axes3D

from hwnas.errors import InvalidInput, UnknownName
from hwnas.fronts import Front
from hwnas.reports.plots import style, trajectories
from hwnas.reports.plots.subset import select_evenly
from hwnas.reports.plots.trajectories import PROGRESS
from hwnas.runner.results import Result
from hwnas.typing import Array

_MAX_MARKERS = 40  # members of a front that get a marker each
_MAX_POINTS = 3000  # members of a front that are drawn in three dimensions


def plot_fronts(axes: Axes, result: Result, x: int = 0, y: int = 1) -> None:
    """Plot the fronts of all searches on two objectives, in front of the backend's own.

    With two objectives they are steps, the borders of the regions that they dominate.

    Parameters
    ----------
    axes
        Axes to draw in.
    result
        The run.
    x, y
        Indices of the objectives.
    """
    objectives = result.objectives
    if result.known is not None:
        plot_known_front(axes, result.known, x, y)
    names = trajectories.front_names(result)
    for index, optimizer in enumerate(names):
        look = style.line_style(index)
        fronts = [s.front.values for s in result.searches if s.optimizer == optimizer]
        if len(objectives) == 2:
            for values in fronts:
                style.plot_steps(
                    axes, values, objectives, color=look["color"], linewidth=0.9, alpha=0.8
                )
        # The points of all seeds are one artist, so that the legend finds equal optimizers.
        values = np.concatenate(fronts)
        axes.plot(
            values[:, x],
            values[:, y],
            linestyle="none",
            marker=look["marker"],
            color=look["color"],
            markersize=3.2,
            markeredgewidth=0,
            alpha=0.85,
            label=names[optimizer],
            zorder=3,
        )
    x_label, y_label = (style.axis_label(objectives[j], result.units) for j in (x, y))
    style.format_axes(axes, x=x_label, y=y_label)
    # Dotted lines at constraints on the plotted metrics.
    for constraint in result.constraints:
        for objective, line in ((x, axes.axvline), (y, axes.axhline)):
            if constraint.value == objectives[objective].value and constraint.bound is not None:
                line(constraint.bound, color=style.GREY, linewidth=0.8, linestyle=":")
    style.legend(axes)


def plot_fronts_3d(axes: Axes3D, result: Result, x: int = 0, y: int = 1, z: int = 2) -> None:
    """Plot the fronts of all searches on three objectives, with the backend's own as a cloud.

    Parameters
    ----------
    axes
        Three-dimensional axes to draw in.
    result
        The run.
    x, y, z
        Indices of the objectives.
    """
    objectives = [x, y, z]
    if result.known is not None:
        values = result.known.values[:, objectives]
        values = values[select_evenly(np.arange(len(values)), _MAX_POINTS)]
        axes.scatter(*values.T, s=2, color=style.GREY, alpha=0.25, linewidths=0)
    optimizers = style.unique_names([search.optimizer for search in result.searches])
    for index, optimizer in enumerate(optimizers):
        look = style.line_style(index)
        searches = [search for search in result.searches if search.optimizer == optimizer]
        values = np.concatenate([search.front.values for search in searches])[:, objectives]
        axes.scatter(*values.T, s=12, color=look["color"], marker=look["marker"], linewidths=0)
    for objective, name in zip(objectives, "xyz", strict=True):
        label = style.axis_label(result.objectives[objective], result.units)
        getattr(axes, f"set_{name}label")(label, fontsize=8)
    axes.tick_params(labelsize=7)
    axes.view_init(elev=22, azim=40)


def plot_known_front(axes: Axes, front: Front, x: int = 0, y: int = 1) -> None:
    """Plot the backend's front as a broad grey line or, with three objectives or more, as points.

    Members of a small front get a marker each.
    """
    # Behind the fronts of searches, which have zorder 3.
    look: dict[str, Any] = {"color": style.GREY, "alpha": 0.55, "zorder": 1}
    look |= {"label": front.exactness, "marker": ".", "markersize": 3}
    if len(front.objectives) == 2:
        look["markersize"] = 7 if len(front) <= _MAX_MARKERS else 0
        style.plot_steps(axes, front.values, front.objectives, linewidth=2.2, **look)
    else:
        values = front.values[select_evenly(np.arange(len(front)), _MAX_POINTS)]
        axes.plot(values[:, x], values[:, y], linestyle="none", rasterized=True, **look)


def plot_hypervolume(
    axes: Axes,
    result: Result,
    *,
    x: str = "evaluations",
    missing: bool = False,
    legend: bool = True,
) -> None:
    """Plot the mean normalized hypervolume of each optimizer, with the spread of seeds as a band.

    The band is the 95 % interval of the mean if every optimizer has 5 seeds, and the range of its
    seeds otherwise. A marker shows the end of the last seed of an optimizer; a hollow one beside it
    the hypervolume of the measured members of its fronts, where there are others.

    Parameters
    ----------
    axes
        Axes to draw in.
    result
        The run.
    x
        Unit of the x axis, one of `PROGRESS`.
    missing
        Draw 1 - normalized hypervolume on a logarithmic scale.
    legend
        Add a legend to the axes.

    Raises
    ------
    UnknownName
        `x` is not in `PROGRESS`.
    InvalidInput
        `x` is ``"cost"``, but no evaluation took time: metrics that follow from the architecture
        alone cost nothing.
    """
    if x not in PROGRESS:
        raise UnknownName("x axis", x, PROGRESS)
    if x == "cost" and not trajectories.has_costs(result):
        raise InvalidInput("x axis 'cost': no evaluation of this run took any time")
    for index, (optimizer, label) in enumerate(trajectories.front_names(result).items()):
        _plot_optimizer(axes, result, optimizer, index, label=label, x=x, missing=missing)
    _plot_measured_ends(axes, result, x=x, missing=missing)
    if x == "evaluations":
        _plot_bound(axes, result, missing=missing)
    quantity = "missing hypervolume (1 - normalized)" if missing else "normalized hypervolume"
    style.format_axes(axes, x=PROGRESS[x], y=f"{quantity}\nrelative to the {result.standard}")
    # Most improvements are early: a linear axis would squeeze them together.
    axes.set_xscale("log")
    style.format_log_axis(axes.xaxis, "{x:,.0f}" if x == "evaluations" else "{x:g}")
    if missing:
        axes.set_yscale("log")
        style.format_log_axis(axes.yaxis, "{x:g}")
    else:
        axes.set_ylim(trajectories.floor(result), 1.004)
    if legend:
        style.legend(axes, loc="lower left" if missing else "lower right")


def _plot_optimizer(
    axes: Axes, result: Result, optimizer: str, index: int, *, label: str, x: str, missing: bool
) -> None:
    """Plot mean and band of one optimizer, unless no seed has a trajectory yet."""
    positions, hypervolumes = trajectories.curves(result, optimizer, x)
    if len(positions) == 0:
        return
    look = style.line_style(index)
    low, high = trajectories.band(hypervolumes, trajectories.has_enough_seeds(result))
    axes.fill_between(
        positions,
        _plotted_values(low, missing),
        _plotted_values(high, missing),
        step="post",
        color=look["color"],
        alpha=0.18,
        linewidth=0,
    )
    axes.step(
        positions,
        _plotted_values(hypervolumes.mean(axis=0), missing),
        where="post",
        **look,
        linewidth=1.7,
        markersize=4,
        markevery=[-1],
        label=label,
    )


def _plot_measured_ends(axes: Axes, result: Result, *, x: str, missing: bool) -> None:
    """Plot a hollow marker at the end of each curve whose fronts have unmeasured members."""
    label = "hollow: measured members alone"
    for index, optimizer in enumerate(trajectories.front_names(result)):
        measured = trajectories.measured_end(result, optimizer)
        if measured is None:
            continue
        look = style.line_style(index)
        axes.plot(
            trajectories.curves(result, optimizer, x)[0][-1:],
            _plotted_values(np.array([measured]), missing),
            linestyle="none",
            marker=look["marker"],
            color=look["color"],
            markerfacecolor="white",
            markersize=6,
            zorder=4,
            label=label,
        )
        label = "_nolegend_"  # the legend has one entry for all of them


def _plot_bound(axes: Axes, result: Result, *, missing: bool) -> None:
    """Plot the greatest hypervolume for each number of evaluations, where it is known."""
    bound = result.bound[: trajectories.last_evaluation(result)]
    if len(bound):
        axes.plot(
            np.arange(1, len(bound) + 1),
            _plotted_values(bound, missing),
            color="black",
            linewidth=1.0,
            linestyle=(0, (2, 2)),
            label=trajectories.bound_name(result),
        )


def _plotted_values(normalised: Array, missing: bool) -> Array:
    # A logarithmic axis cannot show 0, which is reached with the exact front.
    return np.maximum(1 - normalised, 1e-6) if missing else normalised


def plot_mean_ranks(axes: Axes, results: Sequence[Result]) -> None:
    """Plot the mean rank of each optimizer by hypervolume over evaluations.

    For each seed of each run optimizers are ranked, the best first; ties share their mean rank.
    Only optimizers that all runs have count, and only seeds that all these optimizers have.

    Parameters
    ----------
    axes
        Axes to draw in.
    results
        Runs with the same optimizers.

    Raises
    ------
    InvalidInput
        There are not two optimizers with a seed in common.
    """
    names, positions, mean = trajectories.mean_ranks(results)
    for index, name in enumerate(names):
        look = style.line_style(index)
        axes.plot(
            positions, mean[index], **look, linewidth=1.7, markersize=4, markevery=[-1], label=name
        )
    style.format_axes(axes, x="evaluations", y="mean rank by hypervolume (1 is best)")
    axes.set_xscale("log")
    style.format_log_axis(axes.xaxis, "{x:,.0f}")
    # The best rank is at the top.
    axes.set_ylim(len(names) + 0.2, 0.8)
    axes.set_yticks(range(1, len(names) + 1))
