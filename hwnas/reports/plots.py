"""Plots of a run: one function a kind, each of which draws into axes that it is given."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hwnas import pareto
from hwnas.errors import UnknownName
from hwnas.reports import style
from hwnas.results import Result

_BOUND_AT_MOST = 1000  # members of the best subset; beyond, the bound is 1 to the eye


def fronts(axes: Axes, result: Result, x: int = 0, y: int = 1) -> None:
    """The fronts that were found, projected on two objectives, and the exact one behind them.

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
    stepped = len(result.objectives) == 2
    known = result.reference.front
    if known is not None:
        values = np.stack([o.loss(known[:, j]) for j, o in enumerate(result.objectives)], axis=1)
        _front(axes, values[:, [x, y]], result, (x, y), stepped, "exact front", -1)
    optimizers = style.names([cell.optimizer for cell in result.cells])
    for index, optimizer in enumerate(optimizers):
        for i, cell in enumerate(c for c in result.cells if c.optimizer == optimizer):
            text = optimizer if i == 0 else ""
            _front(axes, cell.front.values[:, [x, y]], result, (x, y), stepped, text, index)
    style.tidy(axes, x=style.label(result.objectives[x]), y=style.label(result.objectives[y]))
    for constraint in result.constraints:
        for objective, line in ((x, axes.axvline), (y, axes.axhline)):
            if constraint.value == result.objectives[objective].value and constraint.bound:
                line(constraint.bound, color=style.GREY, linewidth=0.8, linestyle=":")
    axes.legend(frameon=False, fontsize=8)


def _front(
    axes: Axes,
    values: NDArray[np.float64],
    result: Result,
    pair: tuple[int, int],
    stepped: bool,
    text: str,
    index: int,
) -> None:
    values = values[np.argsort(values[:, 0], kind="stable")]
    exact = index < 0
    colour = style.GREY if exact else style.look(index)["color"]
    if stepped:
        # What lies between two members is dominated up to the corner that is worse in both.
        axes.step(
            values[:, 0],
            values[:, 1],
            where="pre" if result.objectives[pair[0]].maximise else "post",
            color=colour,
            linewidth=2.2 if exact else 0.9,
            alpha=0.55 if exact else 0.8,
            label=text if exact else None,
            zorder=1 if exact else 2,
        )
        if exact:
            return
    axes.plot(
        values[:, 0],
        values[:, 1],
        linestyle="none",
        marker="." if exact else style.look(index)["marker"],
        color=colour,
        markersize=3.2,
        markeredgewidth=0,
        alpha=0.5 if exact else 0.85,
        label=text,
        zorder=1 if exact else 3,
    )


def hypervolume(axes: Axes, result: Result, *, missing: bool = False) -> None:
    """Normalised hypervolume over evaluations: mean over seeds, lowest to highest as a band.

    Parameters
    ----------
    axes
        Where to draw.
    result
        The run.
    missing
        Draw what is missing to 1, on a logarithmic scale.
    """

    def shown(normalised: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.maximum(1 - normalised, 1e-6) if missing else normalised

    last = max(int(cell.trials.evaluations.sum()) for cell in result.cells)
    grid = np.unique(np.geomspace(1, max(last, 2), 300).round())
    floor = 1.0
    optimizers = style.names([cell.optimizer for cell in result.cells])
    for index, optimizer in enumerate(optimizers):
        curves = []
        for cell in result.cells:
            if cell.optimizer == optimizer and len(cell.trials):
                steps = result.trajectory(cell)
                at = np.searchsorted(steps.evaluations, grid, side="right") - 1
                curve = np.where(at < 0, 0.0, steps.normalised[np.maximum(at, 0)])
                curves.append(np.where(grid > steps.evaluations[-1], np.nan, curve))
        if not curves:
            continue
        stack = np.array(curves)
        covered = ~np.isnan(stack).any(axis=0)  # where every seed has a value
        drawn, x = shown(stack[:, covered]), grid[covered]
        look = style.look(index)
        axes.fill_between(
            x, drawn.min(axis=0), drawn.max(axis=0), color=look["color"], alpha=0.18, linewidth=0
        )
        axes.plot(
            x,
            drawn.mean(axis=0),
            color=look["color"],
            linestyle=look["linestyle"],
            linewidth=1.7,
            label=optimizer,
        )
        early = stack[:, covered & (grid >= min(10, last / 4))]
        floor = min(floor, early.min()) if early.size else floor
    _bound(axes, result, last, shown)
    source = "union of all fronts" if result.reference.front is None else "exact front"
    what = "missing hypervolume (1 - normalised)" if missing else "normalised hypervolume"
    style.tidy(axes, x="evaluations", y=f"{what}\nrelative to the {source}")
    axes.set_xscale("log")
    if missing:
        axes.set_yscale("log")
        axes.grid(True, which="minor", axis="y", color="#f0f0f0", linewidth=0.5)
    else:
        axes.set_ylim(max(0.0, floor - 0.02), 1.004)
    axes.legend(frameon=False, fontsize=8, loc="lower left" if missing else "lower right")


def _bound(
    axes: Axes,
    result: Result,
    last: int,
    shown: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> None:
    """The most that any optimizer could have after k evaluations, where it is known."""
    front = result.reference.front
    if front is None or front.shape[1] != 2 or not result.best_hypervolume:
        return
    k = min(last, _BOUND_AT_MOST, len(front))
    best = pareto.best_hypervolumes(front, result.reference.point, k) / result.best_hypervolume
    axes.plot(
        np.arange(1, k + 1),
        shown(best),
        color="black",
        linewidth=1.0,
        linestyle=(0, (2, 2)),
        label="bound: best k of the exact front",
    )


def fronts_figure(result: Result) -> Figure:
    """A panel of `fronts` for each pair of objectives."""
    pairs = list(itertools.combinations(range(len(result.objectives)), 2))
    made = style.figure(len(pairs), _title(result), width=6.4, height=4.8)
    for panel, (x, y) in zip(made.subplots(1, len(pairs), squeeze=False)[0], pairs, strict=True):
        fronts(panel, result, x, y)
    return made


def hypervolume_figure(result: Result) -> Figure:
    """`hypervolume`, as it is and what is missing."""
    made = style.figure(2, _title(result))
    left, right = made.subplots(1, 2)
    hypervolume(left, result)
    hypervolume(right, result, missing=True)
    return made


def _title(result: Result) -> str:
    seeds = len(result.experiment.seeds)
    over = "1 seed" if seeds == 1 else f"{seeds} seeds, mean and lowest to highest"
    return f"{result.experiment.name}: {result.space.name}, {over}"


KINDS: dict[str, Callable[[Result], Figure]] = {
    "fronts": fronts_figure,
    "hypervolume": hypervolume_figure,
}


def draw(
    result: Result, kinds: list[str] | None = None, *, suffix: str = "png", out: Path | None = None
) -> list[Path]:
    """Draw plots of a run into files.

    Parameters
    ----------
    result
        The run.
    kinds
        Which of `KINDS`; all by default.
    suffix
        ``"png"``, ``"pdf"`` or ``"svg"``.
    out
        The directory to write to; the run's ``plots`` by default.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    UnknownName
        There is no such kind.
    """
    for kind in kinds or ():
        if kind not in KINDS:
            raise UnknownName("kind of plot", kind, KINDS)
    folder = result.path / "plots" if out is None else out
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{kind}.{suffix}" for kind in kinds or KINDS]
    for file in files:
        KINDS[file.stem](result).savefig(file)
    return files
