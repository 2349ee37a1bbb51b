"""The kinds of plots of a run: a figure each, of the functions beside this module that draw it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d import Axes3D

from hwnas.errors import InvalidInput, UnknownName
from hwnas.files import write_csv
from hwnas.fronts import Front
from hwnas.objectives import Objective
from hwnas.reports.plots import attainment as attainments
from hwnas.reports.plots import attribution as attributions
from hwnas.reports.plots import convergence, prediction, space_plots, style, trajectories
from hwnas.reports.plots.sampled_architectures import Population, measured_in, population_of
from hwnas.reports.plots.subset import evenly
from hwnas.reports.plots.trajectories import PROGRESS
from hwnas.runner.results import Result

_COLUMNS = 3  # of panels, where there can be many
_LINES = 400  # of networks that can be told apart

Table = tuple[list[str], list[list[Any]]]


def fronts(result: Result) -> Figure:
    """The Pareto fronts that were found, with the backend's own front behind them."""
    m = len(result.objectives)
    pairs = list(itertools.combinations(range(m), 2))
    in_space = m == 3
    columns = min(len(pairs) + in_space, 2 if in_space else _COLUMNS)
    rows = math.ceil((len(pairs) + in_space) / columns)
    made = style.figure(columns, title_of(result), rows=rows, width=6.4, height=4.8)
    for i, (x, y) in enumerate(pairs):
        convergence.fronts(made.add_subplot(rows, columns, i + 1), result, x, y)
    if in_space:
        axes = made.add_subplot(rows, columns, len(pairs) + 1, projection="3d")
        assert isinstance(axes, Axes3D)
        convergence.fronts_in_space(axes, result)
    return made


def hypervolume(result: Result, x: str = "evaluations") -> Figure:
    """Hypervolume over evaluations, cost or time, and what is missing to the best known."""
    shown = trajectories.band_is(result)
    made = style.figure(2, f"{title_of(result)}: mean and {shown}")
    left, right = made.subplots(1, 2)
    convergence.hypervolume(left, result, x=x, legend=False)
    convergence.hypervolume(right, result, x=x, missing=True, legend=False)
    style.legend_below(made, left)
    return made


def ranks(result: Result) -> Figure:
    """Mean rank of each optimizer by hypervolume, over evaluations."""
    made = style.figure(1, title_of(result), width=6.4)
    axes = made.subplots()
    convergence.ranks(axes, [result])
    style.legend_below(made, axes)
    return made


def attainment(result: Result) -> Figure:
    """What half of the seeds attain, with a band from what any does to what all do."""
    made = style.figure(1, f"{title_of(result)}: median attainment", width=7.2, height=5.2)
    attainments.attainment(made.subplots(), result)
    return made


def difference(result: Result) -> Figure:
    """Where the best optimizer's seeds attain more than each other's, and where fewer."""
    names = style.names([cell.optimizer for cell in result.searches])
    if len(names) < 2:
        raise InvalidInput(f"difference: expected two optimizers or more, found {names[0]} alone")
    mean = {
        name: np.mean([row["normalised"] for row in result.summary if row["optimizer"] == name])
        for name in names
    }
    best = max(names, key=lambda name: mean[name])
    others = [name for name in names if name != best]
    title = f"{title_of(result)}: which seeds attain more"
    made, panels = style.grid(len(others), title, height=3.9)
    for axes, other in zip(panels, others, strict=True):
        drawn = attainments.difference(axes, result, best, other)
    bar = made.colorbar(drawn, ax=panels, shrink=0.7)
    bar.set_label(f"share of seeds that attain it: {best} less the other", fontsize=8)
    return made


def parallel(result: Result) -> Figure:
    """The best networks of all searches as lines across their choices and objectives."""
    union = Front.of(
        np.concatenate([cell.front.codes for cell in result.searches]),
        np.concatenate([cell.front.values for cell in result.searches]),
        result.objectives,
        None,
    )
    some = evenly(np.arange(len(union)), _LINES)
    values = tuple(objective.value for objective in result.objectives)
    best = Population(
        result.space, union.codes[some], values, union.values[some], f"{len(some):,} networks"
    )
    title = f"{title_of(result)}: the best {best.source} of all searches"
    made = style.figure(1, title, width=1.5 * (5 + len(values)), height=4.6)
    space_plots.parallel(made.subplots(), best)
    return made


def distribution(result: Result) -> Figure:
    """How each objective is spread over networks, by embed_dim, layers, ratio and heads (ECDF)."""
    return _by_aspect(result, space_plots.distribution, "share of networks below")


def effect(result: Result) -> Figure:
    """How each objective changes with embed_dim, and within it with layers, ratio and heads."""
    return _by_aspect(result, space_plots.effect, "quartiles, whiskers 5 % to 95 %")


def correlation(result: Result) -> Figure:
    """Rank correlation of the metrics, and of one metric on all devices."""
    of = population_of(result)
    return space_plots.correlations(of, _matrices(of, result))


def scatter(result: Result) -> Figure:
    """Latency against energy of networks on each device of the run, by embed_dim."""
    of = population_of(result)
    known = {str(objective) for objective in of.objectives}
    wanted = style.names([device for o in result.objectives for device in o.devices])
    pairs = [
        (Objective("latency", (device,)), Objective("energy", (device,)))
        for device in wanted
        if {f"latency@{device}", f"energy@{device}"} <= known
    ]
    if not pairs:
        raise InvalidInput(
            f"scatter: expected objectives of a device with latency and energy, "
            f"found {', '.join(map(str, result.objectives))}"
        )
    made, panels = style.grid(len(pairs), of.source)
    for axes, (x, y) in zip(panels, pairs, strict=True):
        space_plots.scatter(axes, of, x, y, space_plots.telling(of)[0])
    return made


def predicted(result: Result) -> Figure:
    """Each network as a model of layers predicts it from all others, beside what was measured."""
    found = prediction.predictions_of(result)
    made = style.figure(
        len(found), f"{title_of(result)}: each network predicted from all others", rows=2
    )
    above, below = made.subplots(2, len(found), squeeze=False)
    for one, upper, lower in zip(found, above, below, strict=True):
        prediction.predicted(upper, one)
        prediction.intervals(lower, one)
    return made


def calibration(result: Result) -> Figure:
    """Whether the model of layers is as sure of its predictions as it may be."""
    found = prediction.predictions_of(result)
    made = style.figure(1, f"{title_of(result)}: each network predicted from all others", width=5.6)
    prediction.calibration(made.subplots(), found)
    return made


def attribution(result: Result) -> Figure:
    """What each layer's mlp_ratio and n_head cost and bring, and attribution.csv beside it."""
    found = attributions.attribution(result)
    title = (
        f"{title_of(result)}: change with a layer's choice, mean and 90 % interval\n"
        f"{found.depth} layers, with{'' if found.bias else 'out'} bias, "
        f"by a model of {found.networks} networks that takes all depths to be alike"
    )
    m, c = len(found.objectives), len(found.choices)
    made = style.figure(c, title, height=0.8 + 3.1 * m)
    for j, row in enumerate(made.subplots(m, c, squeeze=False)):
        for choice, panel in enumerate(row):
            attributions.effects(panel, found, j, choice)
    style.legend_below(made, panel)
    return made


def title_of(result: Result) -> str:
    """What a run is, in a line."""
    seeds = len(result.experiment.seeds)
    return f"{result.experiment.name} on {result.space.name}, {seeds} seed{'s'[: seeds > 1]}"


def _by_aspect(result: Result, draw: Callable[..., None], what: str) -> Figure:
    """What a function of `networks` shows of each objective, by each aspect of networks."""
    of = population_of(result)
    objectives = [objective.value for objective in result.objectives]
    if not set(objectives) <= set(of.objectives):  # a quantile or a worst ratio: as the run has it
        of = measured_in(result)
    return space_plots.by_aspect(draw, of, objectives, f"{of.source}: {what}")


def _matrices(of: Population, result: Result) -> list[list[Objective]]:
    """Which metrics are set against each other: all on the run's device, then across devices."""
    here = {device for objective in result.objectives for device in objective.devices}
    if not here:
        here = {o.devices[0] for o in of.objectives[-1:] if o.devices}
    plain = [o for o in of.objectives if not o.devices or set(o.devices) & here]
    across = []
    for metric in style.names([o.metric for o in of.objectives if o.devices]):
        devices = [o for o in of.objectives if o.metric == metric]
        if len(devices) > 2:
            across.append(devices)
    return [plain, *across]


@dataclass(frozen=True)
class Kind:
    """A kind of plot.

    Attributes
    ----------
    figure
        Draws it of a run.
    default
        Whether it is drawn unless others are asked for.
    over
        Whether it takes `x`, one of `PROGRESS`.
    table
        A table that stands beside it, of a run.
    """

    figure: Callable[..., Figure]
    default: bool = False
    over: bool = False
    table: Callable[[Result], Table] | None = None


KINDS: dict[str, Kind] = {
    "fronts": Kind(fronts, default=True),
    "hypervolume": Kind(hypervolume, default=True, over=True),
    "ranks": Kind(ranks),
    "attainment": Kind(attainment),
    "difference": Kind(difference),
    "parallel": Kind(parallel),
    "attribution": Kind(
        attribution, table=lambda r: attributions.rows(attributions.attribution(r))
    ),
    "predicted": Kind(predicted),
    "calibration": Kind(calibration),
    "distribution": Kind(distribution),
    "effect": Kind(effect),
    "correlation": Kind(correlation),
    "scatter": Kind(scatter),
}
DEFAULT = tuple(name for name, kind in KINDS.items() if kind.default)
_OVER = tuple(name for name, kind in KINDS.items() if kind.over)


def described() -> list[list[str]]:
    """The kinds of plots, when they are drawn, and what each shows."""
    return [
        [
            name,
            "by default" if kind.default else "if asked for",
            (kind.figure.__doc__ or "").partition("\n")[0],
        ]
        for name, kind in KINDS.items()
    ]


def draw_front(front: Front, title: str, file: Path) -> Path:
    """Draw a front of the backend into a file, a panel for each pair of objectives."""
    pairs = list(itertools.combinations(range(len(front.objectives)), 2))
    made = style.figure(len(pairs), title, width=6.4, height=4.8)
    for panel, (x, y) in zip(made.subplots(1, len(pairs), squeeze=False)[0], pairs, strict=True):
        convergence.truth(panel, front, x, y)
        style.tidy(panel, x=style.label(front.objectives[x]), y=style.label(front.objectives[y]))
    return style.save(made, file)


def draw(
    result: Result,
    kinds: Sequence[str] | None = None,
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
        The files; tables that stand beside a plot are among them.

    Raises
    ------
    UnknownName
        There is no such kind, or no such `x`.
    InvalidInput
        A kind that is asked for draws no trajectory, and so has no `x`; or the run has not what a
        kind shows.
    """
    for kind in kinds or ():
        if kind not in KINDS:
            raise UnknownName("kind of plot", kind, KINDS)
        if x is not None and kind not in _OVER:
            raise InvalidInput(f"{kind}: is not drawn over {x}; only {', '.join(_OVER)} can be")
    made: dict[str, Figure] = {}
    tables: dict[str, Table] = {}
    for name in kinds or DEFAULT:
        of = KINDS[name]
        if of.over and x not in (None, "evaluations"):
            made[f"{name}-{x}"] = of.figure(result, x=x)
        else:
            made[name] = of.figure(result)
        if of.table is not None:
            tables[name] = of.table(result)
    folder = result.path / "plots" if out is None else out
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"{folder}: no plots can be put here: {error}") from error
    files = [style.save(drawn, folder / f"{name}.{suffix}") for name, drawn in made.items()]
    for name, table in tables.items():
        files.append(folder / f"{name}.csv")
        write_csv(files[-1], *table)
    return files


__all__ = ["DEFAULT", "KINDS", "PROGRESS", "Kind", "described", "draw", "draw_front", "title_of"]
