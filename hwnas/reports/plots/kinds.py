"""Kinds of plots of a run by name, and the files that they are written to."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
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
ALL = "all"  # stands for all kinds
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


@dataclass(frozen=True)
class Drawing:
    """Files of one kind of plot, or the reason why a run has no such plot.

    Attributes
    ----------
    kind
        Name of the kind.
    files
        The plot, and the table beside it if the kind has one; empty where it cannot be drawn.
    reason
        Why it cannot be drawn; empty where it was drawn.
    """

    kind: str
    files: tuple[Path, ...] = ()
    reason: str = ""


def draw(
    result: Result,
    kinds: Sequence[str] | None = None,
    *,
    x: str | None = None,
    suffix: str = "png",
    out: Path | None = None,
) -> list[Path]:
    """Draw plots of a run to files, all or none.

    Parameters
    ----------
    result
        The run.
    kinds
        Names in `KINDS`, or ``"all"``; those in `DEFAULT` by default.
    x
        Unit of the x axis of trajectories, one of `PROGRESS`; evaluations by default. Any other is
        a part of the file's name. It has no effect on kinds without trajectories that are not named
        in `kinds`.
    suffix
        ``"png"``, ``"pdf"`` or ``"svg"``.
    out
        Directory of the files; the run's ``plots`` by default.

    Returns
    -------
    list of Path
        The files; a table follows the plot it belongs to.

    Raises
    ------
    UnknownName
        There is no such kind, or no such `x`.
    InvalidInput
        A kind in `kinds` draws no trajectories and so cannot take `x`; or the run lacks what a kind
        shows; or a file cannot be written.
    """
    # All figures are drawn before the first file is written: an error leaves no files behind.
    figures_by_name = {name: _draw_one(result, name, x) for name in _kind_names(kinds, x)}
    folder = _make_folder(result, out)
    return [
        file
        for name, (figure, table) in figures_by_name.items()
        for file in _write(name, figure, table, x, suffix, folder)
    ]


def draw_each(
    result: Result,
    kinds: Sequence[str] | None = None,
    *,
    x: str | None = None,
    suffix: str = "png",
    out: Path | None = None,
) -> Iterator[Drawing]:
    """Draw plots of a run one by one, and yield each kind's files or why it cannot be drawn.

    Parameters are those of `draw`.

    Yields
    ------
    Drawing
        In the order of `kinds`, each as soon as its files are written.

    Raises
    ------
    UnknownName
        There is no such kind, or no such `x`; nothing is drawn.
    InvalidInput
        A kind in `kinds` draws no trajectories and so cannot take `x`; or a file cannot be written.

    Examples
    --------
    ::

        for drawing in draw_each(result, ["all"]):
            print(drawing.kind, drawing.reason or drawing.files)
    """
    for name in _kind_names(kinds, x):
        try:
            figure, table = _draw_one(result, name, x)
        except InvalidInput as error:
            yield Drawing(name, reason=str(error).removeprefix(f"{name}: "))
            continue
        folder = _make_folder(result, out)
        yield Drawing(name, tuple(_write(name, figure, table, x, suffix, folder)))


def _kind_names(kinds: Sequence[str] | None, x: str | None) -> list[str]:
    """Return distinct kinds, `ALL` expanded; check that they exist and that named ones take `x`."""
    with_x = [name for name, kind in KINDS.items() if kind.takes_x]
    for name in kinds or ():
        if name not in (*KINDS, ALL):
            raise UnknownName("kind of plot", name, (*KINDS, ALL))
        if x is not None and name not in (*with_x, ALL):
            raise InvalidInput(f"{name}: has no x axis {x}; only {', '.join(with_x)} can have it")
    if x is not None and x not in PROGRESS:
        raise UnknownName("x axis", x, PROGRESS)
    names = [KINDS if name == ALL else [name] for name in kinds or DEFAULT]
    return style.unique_names(list(itertools.chain.from_iterable(names)))


def _draw_one(result: Result, name: str, x: str | None) -> tuple[Figure, Table | None]:
    """Return figure and table of one kind.

    Raises
    ------
    InvalidInput
        The run lacks what the kind shows.
    """
    kind = KINDS[name]
    figure = kind.figure(result, x=x) if kind.takes_x and x is not None else kind.figure(result)
    return figure, kind.table(result) if kind.table is not None else None


def _make_folder(result: Result, out: Path | None) -> Path:
    """Return the directory of the files, which is made if it is missing."""
    folder = result.path / "plots" if out is None else out
    try:
        if out is None and folder.is_symlink():  # it came with the run, and may lead anywhere
            raise FileExistsError(17, "is a link, expected a directory; choose one with --out")
        if folder.is_file():
            raise InvalidInput(f"{folder}: is a file, expected a directory to make")
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"{folder}: cannot write plots here: {error}") from error
    return folder


def _write(
    name: str, figure: Figure, table: Table | None, x: str | None, suffix: str, folder: Path
) -> list[Path]:
    """Write figure and table of one kind, and return the files."""
    stem = f"{name}-{x}" if KINDS[name].takes_x and x not in (None, "evaluations") else name
    files = [style.save(figure, folder / f"{stem}.{suffix}")]
    if table is not None:
        files.append(folder / f"{name}.csv")
        write_csv(files[-1], *table)
    return files


__all__ = [
    "ALL",
    "DEFAULT",
    "KINDS",
    "PROGRESS",
    "Drawing",
    "Kind",
    "describe_kinds",
    "draw",
    "draw_each",
    "draw_front",
]
