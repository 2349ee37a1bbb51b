"""Plots of a run: one function a kind, each of which draws into axes that it is given."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from hwnas.errors import InvalidInput, UnknownName
from hwnas.fronts import Front
from hwnas.objectives import Objective
from hwnas.reports import attributions, curves, style
from hwnas.reports.attributions import Attribution
from hwnas.reports.curves import PROGRESS
from hwnas.results import Result, write_csv

_FEW = 40  # members of a front that can still be told apart
_ENOUGH = 0.95  # of an objective's variance, for what adds up over layers to tell much of it


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
        _truth(axes, result.known, x, y)
    optimizers = style.names([cell.optimizer for cell in result.cells])
    for index, optimizer in enumerate(optimizers):
        look = style.look(index)
        for i, cell in enumerate(c for c in result.cells if c.optimizer == optimizer):
            values = cell.front.values
            if len(objectives) == 2:
                _steps(axes, values, objectives, color=look["color"], linewidth=0.9, alpha=0.8)
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


def _truth(axes: Axes, front: Front, x: int = 0, y: int = 1) -> None:
    """The backend's front: grey and broad, to lie behind others; of a few members, marked ones."""
    look: dict[str, Any] = {"color": style.GREY, "alpha": 0.55, "zorder": 1}
    look |= {"label": front.standing, "marker": ".", "markersize": 3}
    if len(front.objectives) == 2:
        look["markersize"] = 7 if len(front) <= _FEW else 0
        _steps(axes, front.values, front.objectives, linewidth=2.2, **look)
    else:
        axes.plot(front.values[:, x], front.values[:, y], linestyle="none", **look)


def _steps(
    axes: Axes, values: NDArray[np.float64], objectives: tuple[Objective, ...], **look: Any
) -> None:
    """A line along what values (n, 2) dominate.

    What lies between two members is dominated up to the corner that is worse in both.
    """
    values = values[np.argsort(values[:, 0], kind="stable")]
    where: Literal["pre", "post"] = "pre" if objectives[0].maximise else "post"
    axes.step(values[:, 0], values[:, 1], where=where, **look)


def hypervolume(
    axes: Axes,
    result: Result,
    *,
    x: str = "evaluations",
    missing: bool = False,
    legend: bool = True,
) -> None:
    """Normalised hypervolume as it grew: mean over seeds, lowest to highest as a band.

    A mark is where the last seed of an optimizer ended.

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
    if x == "cost" and not curves.costs(result):
        raise InvalidInput("x axis 'cost': no evaluation of this run took any time")

    def shown(normalised: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.maximum(1 - normalised, 1e-6) if missing else normalised

    for index, optimizer in enumerate(style.names([cell.optimizer for cell in result.cells])):
        at, grown = curves.curves(result, optimizer, x)
        if len(at) == 0:
            continue
        drawn, look = shown(grown), style.look(index)
        axes.fill_between(
            at,
            drawn.min(axis=0),
            drawn.max(axis=0),
            step="post",
            color=look["color"],
            alpha=0.18,
            linewidth=0,
        )
        axes.step(
            at,
            drawn.mean(axis=0),
            where="post",
            **look,
            linewidth=1.7,
            markersize=4,
            markevery=[-1],
            label=optimizer,
        )
    last = curves.last_evaluation(result)
    if x == "evaluations" and len(bound := result.bound[:last]):
        axes.plot(
            np.arange(1, len(bound) + 1),
            shown(bound),
            color="black",
            linewidth=1.0,
            linestyle=(0, (2, 2)),
            label=curves.bound_name(result),
        )
    source = result.standard
    what = "missing hypervolume (1 - normalised)" if missing else "normalised hypervolume"
    style.tidy(axes, x=PROGRESS[x], y=f"{what}\nrelative to the {source}")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:,.0f}" if x == "evaluations" else "{x:g}")
    if missing:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
    else:
        axes.set_ylim(curves.floor(result), 1.004)
    if legend:
        style.legend(axes, loc="lower left" if missing else "lower right")


def effects(axes: Axes, found: Attribution, objective: int = 0, choice: int = 0) -> None:
    """What a choice of each layer changes of an objective, with its 90 % interval as a band.

    Parameters
    ----------
    axes
        Where to draw.
    found
        What was learned from a run.
    objective, choice
        Which of its objectives and choices.
    """
    at = np.arange(1, found.depth + 1)
    axes.axhline(0, color=style.GREY, linewidth=0.8)
    for index, width in enumerate(found.widths):
        where, look = (objective, index, choice), style.look(index)
        low, high = found.low[where], found.high[where]
        axes.fill_between(at, low, high, color=look["color"], alpha=0.18, linewidth=0)
        label = f"embed_dim {width}"
        axes.plot(at, found.effect[where], **look, linewidth=1.4, markersize=3.5, label=label)
    value, unit = found.objectives[objective], found.units[objective]
    name, least, greatest = found.choices[choice]
    share = found.explained[objective]
    title = (
        f"{textwrap.fill(str(value), 60)}\n"
        f"{name} {least} to {greatest}: {100 * share:.4g} % of the variance adds up over layers"
    )
    if share < _ENOUGH:
        title += f"\nless than {100 * _ENOUGH:.0f} %: the picture tells little"
    style.tidy(axes, title=title, x="layer", y=f"change ({unit})" if unit else "change")
    axes.set_xlim(0.5, found.depth + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def fronts_figure(result: Result) -> Figure:
    """The Pareto fronts that were found, with the backend's own front behind them."""
    pairs = list(itertools.combinations(range(len(result.objectives)), 2))
    made = style.figure(len(pairs), _title(result), width=6.4, height=4.8)
    for panel, (x, y) in zip(made.subplots(1, len(pairs), squeeze=False)[0], pairs, strict=True):
        fronts(panel, result, x, y)
    return made


def hypervolume_figure(result: Result, x: str = "evaluations") -> Figure:
    """Hypervolume over evaluations, cost or time, and what is missing to the best known."""
    made = style.figure(2, f"{_title(result)}: mean and range")
    left, right = made.subplots(1, 2)
    hypervolume(left, result, x=x, legend=False)
    hypervolume(right, result, x=x, missing=True, legend=False)
    style.legend(made, *left.get_legend_handles_labels(), loc="outside lower center", ncols=6)
    return made


def attribution_figure(result: Result) -> Figure:
    """What each layer's mlp_ratio and n_head cost and bring, and attribution.csv beside it."""
    found = attributions.attribution(result)
    title = (
        f"{_title(result)}: change with a layer's choice, mean and 90 % interval\n"
        f"{found.depth} layers, with{'' if found.bias else 'out'} bias, "
        f"by a model of {found.networks} networks that takes all depths to be alike"
    )
    m, c = len(found.objectives), len(found.choices)
    made = style.figure(c, title, height=0.8 + 3.1 * m)
    for j, row in enumerate(made.subplots(m, c, squeeze=False)):
        for choice, panel in enumerate(row):
            effects(panel, found, j, choice)
    style.legend(made, *panel.get_legend_handles_labels(), loc="outside lower center", ncols=6)
    return made


def _title(result: Result) -> str:
    seeds = len(result.experiment.seeds)
    return f"{result.experiment.name} on {result.space.name}, {seeds} seed{'s'[: seeds > 1]}"


KINDS: dict[str, Callable[..., Figure]] = {
    "fronts": fronts_figure,
    "hypervolume": hypervolume_figure,
    "attribution": attribution_figure,
}
DEFAULT = ("fronts", "hypervolume")  # drawn unless others are asked for; attribution takes a fit
_OVER = ("hypervolume",)  # those that take an x, one of `PROGRESS`


def described() -> list[list[str]]:
    """The kinds of plots, when they are drawn, and what each shows."""
    return [
        [
            kind,
            "by default" if kind in DEFAULT else "if asked for",
            (function.__doc__ or "").partition("\n")[0],
        ]
        for kind, function in KINDS.items()
    ]


def draw_front(front: Front, title: str, file: Path) -> Path:
    """Draw a front of the backend into a file, a panel for each pair of objectives."""
    pairs = list(itertools.combinations(range(len(front.objectives)), 2))
    made = style.figure(len(pairs), title, width=6.4, height=4.8)
    for panel, (x, y) in zip(made.subplots(1, len(pairs), squeeze=False)[0], pairs, strict=True):
        _truth(panel, front, x, y)
        style.tidy(panel, x=style.label(front.objectives[x]), y=style.label(front.objectives[y]))
    made.savefig(file)
    return file


def draw(
    result: Result,
    kinds: list[str] | None = None,
    *,
    x: str | None = None,
    suffix: str = "png",
    out: Path | None = None,
) -> list[Path]:
    """Draw plots of a run into files.

    Parameters
    ----------
    result
        The run.
    kinds
        Which of `KINDS`; those in `DEFAULT` by default.
    x
        What trajectories are drawn over, one of `PROGRESS`; evaluations by default, and any other
        is part of the file's name. Kinds that draw none are as always, unless named in `kinds`.
    suffix
        ``"png"``, ``"pdf"`` or ``"svg"``.
    out
        The directory to write to; the run's ``plots`` by default.

    Returns
    -------
    list of Path
        The files; attribution's table is one of them.

    Raises
    ------
    UnknownName
        There is no such kind, or no such `x`.
    InvalidInput
        A kind that is asked for draws no trajectory, and so has no `x`; or there is too little to
        learn an attribution from.
    """
    for kind in kinds or ():
        if kind not in KINDS:
            raise UnknownName("kind of plot", kind, KINDS)
        if x is not None and kind not in _OVER:
            raise InvalidInput(f"{kind}: is not drawn over {x}; only {', '.join(_OVER)} can be")
    made = {}
    for kind in kinds or DEFAULT:
        if kind in _OVER and x not in (None, "evaluations"):
            made[f"{kind}-{x}"] = KINDS[kind](result, x=x)
        else:
            made[kind] = KINDS[kind](result)
    folder = result.path / "plots" if out is None else out
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, drawn in made.items():
        files.append(folder / f"{name}.{suffix}")
        drawn.savefig(files[-1])
    if "attribution" in made:
        files.append(folder / "attribution.csv")
        write_csv(files[-1], *attributions.rows(attributions.attribution(result)))
    return files
