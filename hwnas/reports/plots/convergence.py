"""What searches found: fronts, and hypervolume and ranks as they grew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from mpl_toolkits.mplot3d import Axes3D

from hwnas.errors import InvalidInput, UnknownName
from hwnas.fronts import Front
from hwnas.reports.plots import style, trajectories
from hwnas.reports.plots.subset import evenly
from hwnas.reports.plots.trajectories import PROGRESS
from hwnas.runner.results import Result
from hwnas.typing import Array

_FEW = 40  # members of a front that can still be told apart
_CLOUD = 3000  # members of a front that a picture can hold


def fronts(axes: Axes, result: Result, x: int = 0, y: int = 1) -> None:
    """The fronts that were found, projected on two objectives, and the backend's own behind them.

    With two objectives they are steps, which bound what each front dominates.

    Parameters
    ----------
    axes
        Where to draw.
    result
        The run.
    x, y
        Which objectives.
    """
    objectives = result.objectives
    if result.known is not None:
        truth(axes, result.known, x, y)
    optimizers = style.names([cell.optimizer for cell in result.searches])
    for index, optimizer in enumerate(optimizers):
        look = style.look(index)
        for i, cell in enumerate(c for c in result.searches if c.optimizer == optimizer):
            values = cell.front.values
            if len(objectives) == 2:
                style.steps(axes, values, objectives, color=look["color"], linewidth=0.9, alpha=0.8)
            axes.plot(
                values[:, x],
                values[:, y],
                linestyle="none",
                marker=look["marker"],
                color=look["color"],
                markersize=3.2,
                markeredgewidth=0,
                alpha=0.85,
                label=optimizer if i == 0 else None,
                zorder=3,
            )
    style.tidy(axes, x=style.label(objectives[x]), y=style.label(objectives[y]))
    for constraint in result.constraints:
        for objective, line in ((x, axes.axvline), (y, axes.axhline)):
            if constraint.value == objectives[objective].value and constraint.bound is not None:
                line(constraint.bound, color=style.GREY, linewidth=0.8, linestyle=":")
    style.legend(axes)


def fronts_in_space(axes: Axes3D, result: Result, x: int = 0, y: int = 1, z: int = 2) -> None:
    """The fronts that were found in three objectives, and the backend's own as a cloud.

    Parameters
    ----------
    axes
        Three-dimensional axes to draw in.
    result
        The run.
    x, y, z
        Which objectives.
    """
    shown = [x, y, z]
    if result.known is not None:
        values = result.known.values[:, shown]
        some = values[evenly(np.arange(len(values)), _CLOUD)]
        axes.scatter(*some.T, s=2, color=style.GREY, alpha=0.25, linewidths=0)
    for index, optimizer in enumerate(style.names([cell.optimizer for cell in result.searches])):
        look = style.look(index)
        cells = [cell for cell in result.searches if cell.optimizer == optimizer]
        values = np.concatenate([cell.front.values for cell in cells])[:, shown]
        axes.scatter(*values.T, s=12, color=look["color"], marker=look["marker"], linewidths=0)
    for objective, name in zip(shown, "xyz", strict=True):
        getattr(axes, f"set_{name}label")(style.label(result.objectives[objective]), fontsize=8)
    axes.tick_params(labelsize=7)
    axes.view_init(elev=22, azim=40)


def truth(axes: Axes, front: Front, x: int = 0, y: int = 1) -> None:
    """The backend's front: grey and broad, to lie behind others; of a few members, marked ones."""
    look: dict[str, Any] = {"color": style.GREY, "alpha": 0.55, "zorder": 1}
    look |= {"label": front.exactness, "marker": ".", "markersize": 3}
    if len(front.objectives) == 2:
        look["markersize"] = 7 if len(front) <= _FEW else 0
        style.steps(axes, front.values, front.objectives, linewidth=2.2, **look)
    else:
        some = front.values[evenly(np.arange(len(front)), _CLOUD)]
        axes.plot(some[:, x], some[:, y], linestyle="none", rasterized=True, **look)


def hypervolume(
    axes: Axes,
    result: Result,
    *,
    x: str = "evaluations",
    missing: bool = False,
    legend: bool = True,
) -> None:
    """Normalised hypervolume as it grew: mean over seeds, and how far they differ as a band.

    The band is the 95 % interval of the mean where every optimizer has 5 seeds, and the range of
    its seeds otherwise. A mark is where the last seed of an optimizer ended.

    Parameters
    ----------
    axes
        Where to draw.
    result
        The run.
    x
        What it grew over, one of `PROGRESS`.
    missing
        Draw what is missing to 1, on a logarithmic scale.
    legend
        Name the lines within the axes.

    Raises
    ------
    UnknownName
        `x` is none of them.
    InvalidInput
        Nothing of `x` was used: metrics that follow from the network alone cost nothing.
    """
    if x not in PROGRESS:
        raise UnknownName("x axis", x, PROGRESS)
    if x == "cost" and not trajectories.costs(result):
        raise InvalidInput("x axis 'cost': no evaluation of this run took any time")

    def shown(normalised: Array) -> Array:
        return np.maximum(1 - normalised, 1e-6) if missing else normalised

    for index, optimizer in enumerate(style.names([cell.optimizer for cell in result.searches])):
        at, grown = trajectories.curves(result, optimizer, x)
        if len(at) == 0:
            continue
        look = style.look(index)
        low, high = trajectories.band(grown, trajectories.enough_seeds(result))
        axes.fill_between(
            at,
            shown(low),
            shown(high),
            step="post",
            color=look["color"],
            alpha=0.18,
            linewidth=0,
        )
        axes.step(
            at,
            shown(grown.mean(axis=0)),
            where="post",
            **look,
            linewidth=1.7,
            markersize=4,
            markevery=[-1],
            label=optimizer,
        )
    if x == "evaluations" and len(bound := result.bound[: trajectories.last_evaluation(result)]):
        axes.plot(
            np.arange(1, len(bound) + 1),
            shown(bound),
            color="black",
            linewidth=1.0,
            linestyle=(0, (2, 2)),
            label=trajectories.bound_name(result),
        )
    source = result.standard
    what = "missing hypervolume (1 - normalised)" if missing else "normalised hypervolume"
    style.tidy(axes, x=PROGRESS[x], y=f"{what}\nrelative to the {source}")
    axes.set_xscale("log")
    style.plain_logs(axes.xaxis, "{x:,.0f}" if x == "evaluations" else "{x:g}")
    if missing:
        axes.set_yscale("log")
        style.plain_logs(axes.yaxis, "{x:g}")
    else:
        axes.set_ylim(trajectories.floor(result), 1.004)
    if legend:
        style.legend(axes, loc="lower left" if missing else "lower right")


def ranks(axes: Axes, results: Sequence[Result]) -> None:
    """Mean rank of each optimizer by hypervolume, as it changes with the evaluations.

    Optimizers are ranked for each seed of each run, best first, those that have the same share
    their ranks. Only optimizers and seeds count that all have trials for.

    Parameters
    ----------
    axes
        Where to draw.
    results
        Runs with the same optimizers.

    Raises
    ------
    InvalidInput
        There are not two optimizers with a seed in common.
    """
    names, at, mean = trajectories.mean_ranks(results)
    for index, name in enumerate(names):
        look = style.look(index)
        axes.plot(at, mean[index], **look, linewidth=1.7, markersize=4, markevery=[-1], label=name)
    style.tidy(axes, x="evaluations", y="mean rank by hypervolume (1 is best)")
    axes.set_xscale("log")
    style.plain_logs(axes.xaxis, "{x:,.0f}")
    axes.set_ylim(len(names) + 0.2, 0.8)
    axes.set_yticks(range(1, len(names) + 1))
