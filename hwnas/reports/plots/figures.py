"""Figures of a run, one function for each kind of plot.

The first line of a docstring describes the kind in ``hwnas plot --list``, and is therefore a noun
phrase.
"""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d import Axes3D

from hwnas.errors import InvalidInput
from hwnas.fronts import Front
from hwnas.objectives import Objective
from hwnas.reports.plots import convergence, prediction, space_plots, style, trajectories
from hwnas.reports.plots.attainment import plot_attainment, plot_difference
from hwnas.reports.plots.attribution import Attribution, fit_attribution, plot_effects
from hwnas.reports.plots.correlation import correlation_figure
from hwnas.reports.plots.features import architecture_features
from hwnas.reports.plots.parallel_coordinates import MAX_FEATURES, plot_parallel_coordinates
from hwnas.reports.plots.sampled_architectures import (
    SampledArchitectures,
    measured_architectures,
    members_name,
    representative_architectures,
)
from hwnas.reports.plots.subset import select_evenly
from hwnas.runner.results import Result
from hwnas.spaces import GPTSpace, SearchSpace

_COLUMNS = 3  # of panels, at most
_MAX_LINES = 400  # architectures that can be distinguished in parallel coordinates


def run_title(result: Result) -> str:
    """Return name, space, number of seeds and unequal budgets of a run, for a title."""
    seeds = len(result.experiment.seeds)
    used = {int(search.trials.evaluations.sum()) for search in result.searches}
    unequal = f", {min(used)} to {max(used)} evaluations" if len(used) > 1 else ""
    return (
        f"{result.experiment.name} on {result.space.name}, {seeds} seed{'s'[: seeds > 1]}{unequal}"
    )


# -- searches ----------------------------------------------------------------------------------


def fronts_figure(result: Result) -> Figure:
    """Pareto fronts of all searches, in front of the backend's own front."""
    m = len(result.objectives)
    # A panel for each pair of objectives; three objectives also fit into one panel in 3D.
    pairs = list(itertools.combinations(range(m), 2))
    has_3d = m == 3
    columns = min(len(pairs) + has_3d, 2 if has_3d else _COLUMNS)
    rows = math.ceil((len(pairs) + has_3d) / columns)
    figure = style.make_figure(columns, run_title(result), rows=rows, width=6.4, height=4.8)
    for i, (x, y) in enumerate(pairs):
        convergence.plot_fronts(figure.add_subplot(rows, columns, i + 1), result, x, y)
    if has_3d:
        axes = figure.add_subplot(rows, columns, len(pairs) + 1, projection="3d")
        assert isinstance(axes, Axes3D)
        convergence.plot_fronts_3d(axes, result)
    return figure


def hypervolume_figure(result: Result, x: str = "evaluations") -> Figure:
    """Normalized hypervolume over evaluations, cost or time, and its gap to the best known one."""
    title = f"{run_title(result)}: mean and {trajectories.band_name(result)}"
    figure = style.make_figure(2, title)
    # The logarithmic panel separates optimizers that are all close to 1.
    linear, logarithmic = figure.subplots(1, 2)
    convergence.plot_hypervolume(linear, result, x=x, legend=False)
    convergence.plot_hypervolume(logarithmic, result, x=x, missing=True, legend=False)
    style.legend_below(figure, linear)
    return figure


def ranks_figure(result: Result) -> Figure:
    """Mean rank of each optimizer by hypervolume, over evaluations."""
    figure = style.make_figure(1, run_title(result), width=6.4)
    axes = figure.subplots()
    convergence.plot_mean_ranks(axes, [result])
    style.legend_below(figure, axes)
    return figure


def attainment_figure(result: Result) -> Figure:
    """Median attainment surface of each optimizer, in a band from its best to its worst seed."""
    title = f"{run_title(result)}: median attainment"
    figure = style.make_figure(1, title, width=7.2, height=5.2)
    plot_attainment(figure.subplots(), result)
    return figure


def difference_figure(result: Result) -> Figure:
    """Regions that more seeds of the best optimizer attain than of each other optimizer."""
    names = style.unique_names([search.optimizer for search in result.searches])
    if len(names) < 2:
        raise InvalidInput(f"difference: expected two optimizers or more, found {names[0]} alone")
    # Each other optimizer is compared with the one of the greatest mean hypervolume.
    mean = {
        name: np.mean([row["normalised"] for row in result.summary if row["optimizer"] == name])
        for name in names
    }
    best = max(names, key=lambda name: mean[name])
    rivals = [name for name in names if name != best]
    title = f"{run_title(result)}: differences of attainment"
    figure, panels = style.make_grid(len(rivals), title, height=3.9)
    for axes, rival in zip(panels, rivals, strict=True):
        regions = plot_difference(axes, result, best, rival)
    # All panels have the same colors.
    bar = figure.colorbar(regions, ax=panels, shrink=0.7)
    bar.set_label(f"share of seeds that attain it: {best} minus the other", fontsize=8)
    return figure


def parallel_figure(result: Result) -> Figure:
    """Best architectures of all searches as lines across their choices and objectives."""
    # The non-dominated architectures of all searches together.
    union = Front.of(
        np.concatenate([search.front.codes for search in result.searches]),
        np.concatenate([search.front.values for search in result.searches]),
        result.objectives,
        None,
    )
    rows = select_evenly(np.arange(len(union)), _MAX_LINES)
    values = tuple(objective.value for objective in result.objectives)
    best = SampledArchitectures(
        result.space,
        union.codes[rows],
        values,
        union.values[rows],
        f"{len(rows):,} {members_name(result.space)}",
        result.units,
    )
    title = f"{run_title(result)}: the best {best.source} of all searches"
    n_features = len(architecture_features(best.space, best.codes))
    if n_features > MAX_FEATURES:
        title += f"; {MAX_FEATURES} of {n_features} choices, those that explain most"
    # Five features, as of GPT architectures, have most room.
    n_axes = min(n_features, MAX_FEATURES)
    width = 1.5 * (5.5 + len(values)) + max(0, n_axes - 5)
    figure = style.make_figure(1, title, width=width, height=4.6)
    axes = figure.subplots()
    bar = figure.colorbar(plot_parallel_coordinates(axes, best), ax=axes, pad=0.01, aspect=30)
    bar.set_label(f"color of a line: {style.axis_label(values[-1], result.units)}", fontsize=8)
    return figure


# -- models of the measurements ------------------------------------------------------------------


def attribution_figure(result: Result) -> Figure:
    """Effect of each layer's choices on each objective; also as attribution.csv."""
    attribution = fit_attribution(result)
    title = (
        f"{run_title(result)}: change with a layer's choice, mean and 90 % interval\n"
        f"{_fixed_choices(attribution, result.space)}, by a model of "
        f"{attribution.n_architectures} {members_name(result.space)} of all depths"
    )
    m, c = len(attribution.objectives), len(attribution.choices)
    figure = style.make_figure(c, title, height=0.8 + 3.1 * m)
    for j, row in enumerate(figure.subplots(m, c, squeeze=False)):
        for choice, panel in enumerate(row):
            plot_effects(panel, attribution, j, choice)
    style.legend_below(figure, panel)
    return figure


def _fixed_choices(attribution: Attribution, space: SearchSpace) -> str:
    """Return the depth and the other choices for which effects hold, for a title."""
    texts = [f"{attribution.depth} layers"]
    for name, value in attribution.fixed.items():
        if isinstance(space, GPTSpace):  # its bias is the only one
            texts.append(f"with{'' if value else 'out'} {name}")
        else:
            texts.append(f"{name} {style.plain(str(value))}")
    return textwrap.fill(", ".join(texts), 100)


def predicted_figure(result: Result) -> Figure:
    """Leave-one-out predictions of an additive model against measurements, with intervals."""
    predictions = prediction.leave_one_out_predictions(result)
    title = f"{run_title(result)}: each {members_name(result.space)[:-1]} predicted from all others"
    figure = style.make_figure(len(predictions), title, rows=2)
    top, bottom = figure.subplots(2, len(predictions), squeeze=False)
    for metric, upper, lower in zip(predictions, top, bottom, strict=True):
        prediction.plot_predicted(upper, metric)
        prediction.plot_intervals(lower, metric)
    return figure


def calibration_figure(result: Result) -> Figure:
    """Calibration of the additive model: share of measurements below each predicted quantile."""
    predictions = prediction.leave_one_out_predictions(result)
    title = f"{run_title(result)}: each {members_name(result.space)[:-1]} predicted from all others"
    figure = style.make_figure(1, title, width=5.6)
    prediction.plot_calibration(figure.subplots(), predictions)
    return figure


# -- the search space ----------------------------------------------------------------------------


def distribution_figure(result: Result) -> Figure:
    """Distribution of each objective by each choice (ECDF)."""
    description = f"share of {members_name(result.space)} below"
    return _feature_figure(result, space_plots.plot_distribution, description)


def effect_figure(result: Result) -> Figure:
    """Change of each objective with each choice, of language models within their embed_dim."""
    return _feature_figure(result, space_plots.plot_effect, "quartiles, whiskers 5 % to 95 %")


def correlation_matrices_figure(result: Result) -> Figure:
    """Rank correlation of the metrics, and of one metric on all devices."""
    architectures = representative_architectures(result)
    return correlation_figure(architectures, _correlation_matrices(architectures, result))


def scatter_figure(result: Result) -> Figure:
    """Latency against energy on each device of the run, by the first choice."""
    architectures = representative_architectures(result)
    available = {str(objective) for objective in architectures.objectives}
    devices = style.unique_names([device for o in result.objectives for device in o.devices])
    pairs = [
        (Objective("latency", (device,)), Objective("energy", (device,)))
        for device in devices
        if {f"latency@{device}", f"energy@{device}"} <= available
    ]
    if not pairs:
        raise InvalidInput(
            f"scatter: expected objectives of a device with latency and energy, "
            f"found {', '.join(map(str, result.objectives))}"
        )
    feature = space_plots.informative_features(architectures)[0]
    figure, panels = style.make_grid(len(pairs), architectures.source)
    for axes, (x, y) in zip(panels, pairs, strict=True):
        space_plots.plot_scatter(axes, architectures, x, y, feature)
    return figure


def _feature_figure(result: Result, plot: Callable[..., None], description: str) -> Figure:
    """Return a figure of `space_plots.feature_figure` with the objectives of a run."""
    architectures = representative_architectures(result)
    objectives = [objective.value for objective in result.objectives]
    # Quantiles and worst ratios are not among the metrics of a backend, but the run has them.
    if not set(objectives) <= set(architectures.objectives):
        architectures = measured_architectures(result)
    title = f"{architectures.source}: {description}"
    return space_plots.feature_figure(plot, architectures, objectives, title)


def _correlation_matrices(
    architectures: SampledArchitectures, result: Result
) -> list[list[Objective]]:
    """Return the metrics of each matrix: all on the run's devices, then each across devices."""
    devices = {device for objective in result.objectives for device in objective.devices}
    if not devices:
        # Without a device in the objectives, that of the last metric stands for all.
        devices = {o.devices[0] for o in architectures.objectives[-1:] if o.devices}
    on_devices = [o for o in architectures.objectives if not o.devices or set(o.devices) & devices]
    # Two devices have one correlation, which needs no matrix.
    across = []
    for name in style.unique_names([o.quantity for o in architectures.objectives if o.devices]):
        variants = [o for o in architectures.objectives if o.quantity == name]
        if len(variants) > 2:
            across.append(variants)
    return [on_devices, *across]
