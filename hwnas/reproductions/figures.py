"""Figures of HW-GPT-Bench's paper, drawn from the results of a reproduction.

The first line of a docstring is a heading of the page and describes the figure in
``hwnas reproduce --list``, and is therefore a noun phrase.
"""

from __future__ import annotations

# First, because it imports Matplotlib for any value of MPLBACKEND.
from hwnas.reports.plots import convergence, space_plots, style, trajectories

# isort: split
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d import Axes3D

from hwnas.objectives import Objective
from hwnas.reports.comparison.critical_difference import critical_difference_figure
from hwnas.reports.plots.attainment import plot_attainment
from hwnas.reports.plots.correlation import correlation_figure
from hwnas.reproductions.plan import NOISE, THREE, TWO, WITHOUT_DEVICE
from hwnas.reproductions.results import METRICS, ReproductionResults, read_held_out
from hwnas.runner.results import Result
from hwnas.surrogates import surrogate
from hwnas.surrogates.devices import DEVICES
from hwnas.typing import Array

NamedFigures = Iterator[tuple[str, Figure]]  # names of files without a suffix

_N_INTERVALS = 60  # architectures in a figure of intervals
_DIAGONAL: dict[str, Any] = {"color": "black", "linewidth": 0.8, "linestyle": (0, (4, 2))}


# -- the search space ----------------------------------------------------------------------------


def effects(reproduction: ReproductionResults) -> NamedFigures:
    """Change of each metric with embed_dim, layers, ratios and heads."""
    yield from _feature_figures(reproduction, space_plots.plot_effect, "effects")


def distributions(reproduction: ReproductionResults) -> NamedFigures:
    """Distribution of each metric by embed_dim, layers, ratios and heads (ECDF)."""
    yield from _feature_figures(reproduction, space_plots.plot_distribution, "distributions")


def _feature_figures(
    reproduction: ReproductionResults, plot: Callable[..., None], name: str
) -> NamedFigures:
    objectives = [Objective("perplexity"), *(Objective(m, ("h100",)) for m in METRICS)]
    objectives += [Objective("bfloat16_memory"), Objective("params")]
    for scale in reproduction.scales:
        sample = reproduction.architectures(scale)
        figure = space_plots.feature_figure(plot, sample, objectives, sample.source)
        yield f"{name}-{scale}", figure


def correlations(reproduction: ReproductionResults) -> NamedFigures:
    """Rank correlation of metrics, and of latency and energy across devices."""
    without_device = [Objective(name) for name in ("perplexity", *WITHOUT_DEVICE)]
    matrices = [
        [*without_device, *(Objective(metric, ("h100",)) for metric in METRICS)],
        *([Objective(metric, (device,)) for device in DEVICES] for metric in METRICS),
    ]
    for scale in reproduction.scales:
        figure = correlation_figure(reproduction.architectures(scale), matrices)
        yield f"correlations-{scale}", figure


def scatters(reproduction: ReproductionResults) -> NamedFigures:
    """Perplexity, latency and energy against each other, and the last two on each device."""
    for scale in reproduction.scales:
        sample = reproduction.architectures(scale)
        metrics = [
            Objective("perplexity"),
            *(Objective(metric, ("rtx2080",)) for metric in METRICS),
        ]
        # Three metrics against each other, on one device.
        figure = style.make_figure(3, sample.source, width=4.8)
        pairs = itertools.combinations(metrics, 2)
        for axes, (x, y) in zip(figure.subplots(1, 3), pairs, strict=True):
            space_plots.plot_scatter(axes, sample, x, y, "embed_dim")
        yield f"tradeoffs-{scale}", figure
        # Latency and energy against each other, on every device.
        figure, panels = _make_grid(len(DEVICES), sample.source, height=3.6)
        for axes, device in zip(panels, DEVICES, strict=True):
            x, y = (Objective(metric, (device,)) for metric in METRICS)
            space_plots.plot_scatter(axes, sample, x, y, "embed_dim")
        yield f"scatters-{scale}", figure


# -- the surrogate -------------------------------------------------------------------------------


def calibration(reproduction: ReproductionResults) -> NamedFigures:
    """Calibration of the surrogate's quantiles on held-out architectures."""
    held_out = read_held_out()
    for scale in reproduction.scales:
        title = f"{scale}: a fifth of the architectures, held out"
        figure = style.make_figure(2, title, rows=2, height=3.8)
        for (upper, lower), metric in zip(figure.subplots(2, 2).T, METRICS, strict=True):
            by_device = {device: held_out[scale, f"{metric}@{device}"] for device in DEVICES}
            _plot_calibration(upper, lower, metric, by_device)
        style.legend_below(figure, upper)
        yield f"calibration-{scale}", figure


def _plot_calibration(
    upper: Axes, lower: Axes, metric: str, by_device: dict[str, tuple[Array, Array]]
) -> None:
    """Plot shares below each quantile (upper), and their differences from the levels (lower)."""
    upper.plot([0, 1], [0, 1], **_DIAGONAL)
    lower.axhline(0, **_DIAGONAL)
    worst = 0.0
    for index, (device, (levels, shares)) in enumerate(by_device.items()):
        worst = max(worst, float(abs(shares - levels).max()))
        look = {**style.line_style(index), "linewidth": 1, "markersize": 3, "label": device}
        upper.plot(levels, shares, **look)
        lower.plot(levels, shares - levels, **look)
    x, title = "level of the predicted quantile", f"{metric}: error at most {worst:.3f}"
    style.format_axes(upper, title=title, x=x, y="published distribution below it")
    style.format_axes(lower, x=x, y="the same, minus the level")
    upper.set_aspect("equal")
    lower.set_ylim(-0.03, 0.03)


def intervals(reproduction: ReproductionResults) -> NamedFigures:
    """Noise of the surrogate on each device: from 10 % to 90 % of its draws."""
    for scale in reproduction.scales:
        backend = surrogate(scale)
        codes = backend.space.sample(_N_INTERVALS, np.random.default_rng(0))
        for metric in METRICS:
            title = f"{scale}: {metric}, 10 % to 90 %"
            figure, panels = _make_grid(len(DEVICES), title, height=3.0)
            for axes, device in zip(panels, DEVICES, strict=True):
                objective = Objective(metric, (device,))
                _plot_noise(axes, objective, backend.quantiles(codes, str(objective)))
            yield f"intervals-{scale}-{metric}", figure


def _plot_noise(axes: Axes, objective: Objective, quantiles: Array) -> None:
    """Plot quantiles (n, 9) from 10 % to 90 % of architectures in the order of their medians."""
    # In the order of medians (column 4, level 0.5) the noise is a band around a rising line.
    quantiles = quantiles[np.argsort(quantiles[:, 4], kind="stable")]
    low, median, high = quantiles[:, 0], quantiles[:, 4], quantiles[:, -1]
    positions = np.arange(len(quantiles))
    axes.fill_between(positions, low, high, color=style.COLOURS[5], alpha=0.5)
    axes.plot(positions, median, color=style.COLOURS[0], linewidth=1)
    width = 100 * np.mean((high - low) / median)
    style.format_axes(
        axes,
        title=f"mean width {width:.0f} % of the median",
        x="architectures, by median",
        y=style.axis_label(objective),
    )


# -- searches ------------------------------------------------------------------------------------


def fronts(reproduction: ReproductionResults) -> NamedFigures:
    """Pareto fronts of the eight methods, in front of the exact ones."""
    yield from _problem_figures(
        reproduction, "fronts", "Pareto fronts of all seeds", convergence.plot_fronts
    )


def attainment_surfaces(reproduction: ReproductionResults) -> NamedFigures:
    """Median attainment surface of each method."""
    yield from _problem_figures(
        reproduction, "attainment", "median attainment surfaces", plot_attainment
    )


def hypervolumes(reproduction: ReproductionResults) -> NamedFigures:
    """Hypervolume over evaluations, relative to the exact front's."""
    results = reproduction.two_objective_results
    # One title serves all panels, so it names an interval only if every run has one.
    has_intervals = all(trajectories.has_enough_seeds(result) for result in results)
    band = "95 % interval" if has_intervals else "range"

    def plot(axes: Axes, result: Result) -> None:
        convergence.plot_hypervolume(axes, result, missing=True)
        axes.set_title(str(result.objectives[1]), fontsize=9)

    yield from _problem_figures(reproduction, "hypervolume", f"mean and {band} of seeds", plot)


def _problem_figures(
    reproduction: ReproductionResults,
    name: str,
    title: str,
    plot: Callable[[Axes, Result], None],
) -> NamedFigures:
    """Yield a figure for each metric and scale, with a panel for each two-objective problem."""
    for metric, scale, results in _problem_groups(reproduction):
        figure, panels = _make_grid(len(results), f"{scale}: {title}", height=3.9)
        for axes, result in zip(panels, results.values(), strict=True):
            plot(axes, result)
            # One legend below the figure replaces those of the panels.
            legend = axes.get_legend()
            if legend is not None:
                legend.remove()
        style.legend_below(figure, panels[0])
        yield f"{name}-{scale}-{metric}", figure


def _problem_groups(
    reproduction: ReproductionResults,
) -> Iterator[tuple[str, str, dict[str, Result]]]:
    """Yield the problems of each figure: name of the metric, scale, results by objective."""
    for scale in reproduction.scales:
        for metric in METRICS:
            if results := reproduction.select(TWO, scale, f"{metric}@"):
                yield metric, scale, results
        # Metrics without a device share a figure; "plain" is a part of its file's name.
        results = reproduction.select(TWO, scale)
        without_device = {target: r for target, r in results.items() if "@" not in target}
        if without_device:
            yield "plain", scale, without_device


def ranks(reproduction: ReproductionResults) -> NamedFigures:
    """Mean ranks of the methods over all problems with two objectives."""
    results = reproduction.two_objective_results
    if not results:
        return
    figure = style.make_figure(1, f"Mean ranks over {len(results)} problems", width=7)
    axes = figure.subplots()
    convergence.plot_mean_ranks(axes, results)
    style.legend_below(figure, axes)
    yield "ranks", figure
    # Ranks on one problem are no comparison over problems.
    if len(reproduction.comparison.problems) > 1:
        yield "critical-differences", critical_difference_figure(reproduction.comparison)


def three_objectives(reproduction: ReproductionResults) -> NamedFigures:
    """Searches with perplexity, latency and energy as objectives."""
    for scale in reproduction.scales:
        for device, result in reproduction.select(THREE, scale).items():
            figure = style.make_figure(2, f"{scale} on {device}", width=6.4, height=5)
            front_axes = figure.add_subplot(1, 2, 1, projection="3d")
            assert isinstance(front_axes, Axes3D)
            convergence.plot_fronts_3d(front_axes, result)
            trajectory_axes = figure.add_subplot(1, 2, 2)
            convergence.plot_hypervolume(trajectory_axes, result, missing=True, legend=False)
            style.legend_below(figure, trajectory_axes)
            yield f"three-{scale}-{device}", figure


def noise(reproduction: ReproductionResults) -> NamedFigures:
    """Searches with noisy observations: true hypervolume of the recommendations."""
    for scale in reproduction.scales:
        results = reproduction.select(NOISE, scale)
        if results:
            title = f"{scale}: searches with noise"
            figure, panels = _make_grid(len(results), title, height=3.9)
            for axes, (device, result) in zip(panels, results.items(), strict=True):
                convergence.plot_hypervolume(axes, result, legend=False)
                axes.set_title(f"latency@{device}", fontsize=9)
            style.legend_below(figure, panels[0])
            yield f"noise-{scale}", figure


def _make_grid(n: int, title: str, *, height: float) -> tuple[Figure, list[Axes]]:
    """Return a figure with a panel for each problem or device."""
    return style.make_grid(n, title, columns=4, width=4.4 if n > 1 else 6.4, height=height)


FIGURES: dict[str, Callable[[ReproductionResults], NamedFigures]] = {
    "effects": effects,
    "distributions": distributions,
    "correlations": correlations,
    "scatters": scatters,
    "calibration": calibration,
    "intervals": intervals,
    "fronts": fronts,
    "attainment": attainment_surfaces,
    "hypervolume": hypervolumes,
    "ranks": ranks,
    "three": three_objectives,
    "noise": noise,
}

# Kinds of experiments that a figure shows; figures of the space and the surrogate need none.
NEEDS: dict[str, Sequence[str]] = {
    "fronts": (TWO,),
    "attainment": (TWO,),
    "hypervolume": (TWO,),
    "ranks": (TWO,),
    "three": (THREE,),
    "noise": (NOISE,),
}
