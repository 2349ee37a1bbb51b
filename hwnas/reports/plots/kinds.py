"""Kinds of plots of a run by name, and the files that they are written to."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from hwnas.errors import InvalidInput, UnknownName
from hwnas.files import write_csv
from hwnas.fronts import Front
from hwnas.reports.plots import convergence, figures, style
from hwnas.reports.plots.attribution import attribution_table, fit_attribution
from hwnas.reports.plots.trajectories import PROGRESS
from hwnas.runner.results import Result

Table = tuple[list[str], list[list[Any]]]  # header and rows


@dataclass(frozen=True)
class Kind:
    """A kind of plot.

    Attributes
    ----------
    figure
        Returns the figure of a run. The first line of its docstring describes the kind.
    default
        Whether it is drawn when no kinds are named.
    takes_x
        Whether `figure` has a parameter `x`, one of `PROGRESS`.
    table
        Returns the table of a run that is written beside the plot.
    """

    figure: Callable[..., Figure]
    default: bool = False
    takes_x: bool = False
    table: Callable[[Result], Table] | None = None


KINDS: dict[str, Kind] = {
    "fronts": Kind(figures.fronts_figure, default=True),
    "hypervolume": Kind(figures.hypervolume_figure, default=True, takes_x=True),
    "ranks": Kind(figures.ranks_figure),
    "attainment": Kind(figures.attainment_figure),
    "difference": Kind(figures.difference_figure),
    "parallel": Kind(figures.parallel_figure),
    "attribution": Kind(
        figures.attribution_figure,
        table=lambda result: attribution_table(fit_attribution(result)),
    ),
    "predicted": Kind(figures.predicted_figure),
    "calibration": Kind(figures.calibration_figure),
    "distribution": Kind(figures.distribution_figure),
    "effect": Kind(figures.effect_figure),
    "correlation": Kind(figures.correlation_matrices_figure),
    "scatter": Kind(figures.scatter_figure),
}
DEFAULT = tuple(name for name, kind in KINDS.items() if kind.default)


def describe_kinds() -> list[list[str]]:
    """Return name, time of drawing and description of each kind of plot."""
    return [
        [
            name,
            "by default" if kind.default else "on request",
            (kind.figure.__doc__ or "").partition("\n")[0],
        ]
        for name, kind in KINDS.items()
    ]


def draw_front(front: Front, title: str, file: Path) -> Path:
    """Draw a front of the backend to a file, a panel for each pair of objectives."""
    pairs = list(itertools.combinations(range(len(front.objectives)), 2))
    figure = style.make_figure(len(pairs), title, width=6.4, height=4.8)
    panels = figure.subplots(1, len(pairs), squeeze=False)[0]
    for panel, (x, y) in zip(panels, pairs, strict=True):
        convergence.plot_known_front(panel, front, x, y)
        labels = [style.axis_label(front.objectives[j]) for j in (x, y)]
        style.format_axes(panel, x=labels[0], y=labels[1])
    return style.save(figure, file)


def draw(
    result: Result,
    kinds: Sequence[str] | None = None,
    *,
    x: str | None = None,
    suffix: str = "png",
    out: Path | None = None,
) -> list[Path]:
    """Draw plots of a run to files.

    Parameters
    ----------
    result
        The run.
    kinds
        Names in `KINDS`; those in `DEFAULT` by default.
    x
        Unit of the x axis of trajectories, one of `PROGRESS`; evaluations by default. Any other is
        a part of the file's name. It has no effect on default kinds without trajectories.
    suffix
        ``"png"``, ``"pdf"`` or ``"svg"``.
    out
        Directory of the files; the run's ``plots`` by default.

    Returns
    -------
    list of Path
        The files, with the tables that belong to plots at the end.

    Raises
    ------
    UnknownName
        There is no such kind, or no such `x`.
    InvalidInput
        A kind in `kinds` draws no trajectories and so cannot take `x`; or the run lacks what a kind
        shows; or the directory cannot be made.
    """
    _check_kinds(kinds or (), x)
    # All figures are drawn before the first file is written: an error leaves no files behind.
    drawings: dict[str, Figure] = {}
    tables: dict[str, Table] = {}
    for name in kinds or DEFAULT:
        kind = KINDS[name]
        if kind.takes_x and x not in (None, "evaluations"):
            drawings[f"{name}-{x}"] = kind.figure(result, x=x)
        else:
            drawings[name] = kind.figure(result)
        if kind.table is not None:
            tables[name] = kind.table(result)
    folder = result.path / "plots" if out is None else out
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"{folder}: cannot write plots here: {error}") from error
    files = [style.save(figure, folder / f"{name}.{suffix}") for name, figure in drawings.items()]
    for name, table in tables.items():
        files.append(folder / f"{name}.csv")
        write_csv(files[-1], *table)
    return files


def _check_kinds(kinds: Sequence[str], x: str | None) -> None:
    """Check that kinds exist, and that they take `x` if there is one."""
    with_x = [name for name, kind in KINDS.items() if kind.takes_x]
    for name in kinds:
        if name not in KINDS:
            raise UnknownName("kind of plot", name, KINDS)
        if x is not None and name not in with_x:
            raise InvalidInput(f"{name}: has no x axis {x}; only {', '.join(with_x)} can have it")


__all__ = ["DEFAULT", "KINDS", "PROGRESS", "Kind", "describe_kinds", "draw", "draw_front"]
