"""Plots of a search space: metrics of its members, grouped by their features."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hwnas.errors import InvalidInput
from hwnas.objectives import Objective
from hwnas.reports.plots import style
from hwnas.reports.plots.correlation import MAX_COMPARED, kendall_tau
from hwnas.reports.plots.features import architecture_features, feature_groups, select_features
from hwnas.reports.plots.sampled_architectures import SampledArchitectures, members_name
from hwnas.spaces import GPTSpace, LanguageModelSpace
from hwnas.typing import BoolArray

_MAX_FEATURES = 6  # columns of a figure
_MAX_LABELS = 42  # characters of labels below a panel, above which they are slanted
_MAX_LINEAR_RATIO = 30  # greatest to least value, above which an axis is logarithmic


def plot_distribution(
    axes: Axes, architectures: SampledArchitectures, objective: Objective, feature: str
) -> None:
    """Plot the empirical distribution function of a metric, a line for each group of a feature.

    Parameters
    ----------
    axes
        Axes to draw in.
    architectures
        The architectures.
    objective
        The metric.
    feature
        Name of one of their `architecture_features`.
    """
    values = architectures.column(objective)
    for name, inside, look in _styled_groups(architectures, feature):
        axes.ecdf(
            values[inside],
            color=look["color"],
            linestyle=look["linestyle"],
            linewidth=1.5,
            label=name,
        )
    members = members_name(architectures.space)
    label = style.axis_label(objective, architectures.units)
    style.format_axes(axes, x=label, y=f"share of {members}")
    # Metrics such as energy span orders of magnitude.
    if (values > 0).all() and values.max() > _MAX_LINEAR_RATIO * values.min():
        axes.set_xscale("log")
    _add_legend_above(axes, feature)


def plot_effect(
    axes: Axes, architectures: SampledArchitectures, objective: Objective, feature: str
) -> None:
    """Plot boxes of a metric for each group of a feature, from quartile to quartile.

    Nearly all variance of language models is due to embed_dim. Effects of other features are
    therefore shown relative to the mean of all architectures with the same embed_dim. Whiskers end
    at 5 % and 95 %, the line is the median. Numbers with many values are grouped in thirds.

    Parameters
    ----------
    axes
        Axes to draw in.
    architectures
        The architectures.
    objective
        The metric.
    feature
        Name of one of their `architecture_features`.
    """
    values = architectures.column(objective)
    label = style.axis_label(objective, architectures.units)
    features = architecture_features(architectures.space, architectures.codes)
    groups = feature_groups(features[feature])
    has_width = isinstance(architectures.space, LanguageModelSpace) and "embed_dim" in features
    if feature != "embed_dim" and has_width:
        # Divide by the mean of the architectures with the same embed_dim.
        width = np.unique(features["embed_dim"].values, return_inverse=True)[1]
        means = np.bincount(width, values) / np.bincount(width)
        values = 100 * (values / means[width] - 1)
        label = f"{objective}, % from the mean\nof its embed_dim"
    artists = axes.boxplot(
        [values[inside] for _, inside in groups],
        whis=(5, 95),
        showfliers=False,
        patch_artist=True,
        widths=0.55,
        medianprops={"color": "black"},
    )
    for box in artists["boxes"]:
        box.set(facecolor=style.COLOURS[5], alpha=0.6)
    style.format_axes(axes, x=feature, y=label)
    names = [style.plain(name) for name, _ in groups]
    slant: dict[str, Any] = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
    is_long = (max(map(len, names)) + 1) * len(names) > _MAX_LABELS
    axes.set_xticks(range(1, len(groups) + 1), names, **(slant if is_long else {}))


def plot_scatter(
    axes: Axes, architectures: SampledArchitectures, x: Objective, y: Objective, feature: str
) -> None:
    """Plot one metric against another, colored by a feature, with their rank correlation.

    Parameters
    ----------
    axes
        Axes to draw in.
    architectures
        The architectures.
    x, y
        The metrics.
    feature
        Name of one of their `architecture_features`.
    """
    points = np.column_stack([architectures.column(x), architectures.column(y)])
    for name, inside, look in _styled_groups(architectures, feature):
        axes.plot(
            *points[inside].T,
            linestyle="none",
            marker=look["marker"],
            color=look["color"],
            markersize=2.6,
            markeredgewidth=0,
            alpha=0.55,
            label=name,
            rasterized=True,
        )
    tau = kendall_tau(points[:MAX_COMPARED])[0, 1]
    labels = [style.axis_label(objective, architectures.units) for objective in (x, y)]
    style.format_axes(axes, x=labels[0], y=labels[1])
    _add_legend_above(axes, f"Kendall's tau {tau:.2f}; by {feature}", markerscale=2)


def feature_figure(
    plot: Callable[[Axes, SampledArchitectures, Objective, str], None],
    architectures: SampledArchitectures,
    objectives: Sequence[Objective],
    title: str,
) -> Figure:
    """Return a figure with a row of panels for each metric and a column for each feature.

    Of more than six features it has those that explain most of a metric.

    Parameters
    ----------
    plot
        `plot_distribution` or `plot_effect`.
    architectures
        The architectures.
    objectives
        The metrics.
    title
        Title of the figure.

    Raises
    ------
    InvalidInput
        The space has no choices.
    """
    features = informative_features(architectures)
    if len(features) > _MAX_FEATURES:
        title += f"; {_MAX_FEATURES} of {len(features)} choices, those that explain most"
        every = architecture_features(architectures.space, architectures.codes)
        values = np.column_stack([architectures.column(objective) for objective in objectives])
        features = select_features({k: every[k] for k in features}, values, _MAX_FEATURES)
    figure = style.make_figure(len(features), title, rows=len(objectives), width=3.6, height=3.0)
    grid = figure.subplots(len(objectives), len(features), squeeze=False)
    for row, objective in zip(grid, objectives, strict=True):
        for axes, feature in zip(row, features, strict=True):
            plot(axes, architectures, objective, feature)
    return figure


def informative_features(architectures: SampledArchitectures) -> list[str]:
    """Return names of features to group architectures by.

    The bias of GPT architectures, which has hardly any effect, is among them only if there is no
    other feature.

    Raises
    ------
    InvalidInput
        The space has no choices.
    """
    space = architectures.space
    names = list(architecture_features(space, architectures.codes))
    if not names:
        raise InvalidInput(f"the {members_name(space)} of {space.name} have no choices")
    if isinstance(space, GPTSpace):
        return [name for name in names if name != "bias"] or names
    return names


def _styled_groups(
    architectures: SampledArchitectures, feature: str
) -> Iterator[tuple[str, BoolArray, dict[str, Any]]]:
    """Yield name, members (n,) and line style of each group of a feature."""
    values = architecture_features(architectures.space, architectures.codes)[feature]
    for index, (name, inside) in enumerate(feature_groups(values)):
        yield style.legend_text(name), inside, style.line_style(index)


def _add_legend_above(axes: Axes, title: str, **layout: Any) -> None:
    """Add a legend in a line above the axes, where it covers no data."""
    axes.legend(
        title=title,
        title_fontsize=8,
        fontsize=8,
        frameon=False,
        ncols=3,
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        borderaxespad=0.2,
        columnspacing=1.0,
        handlelength=1.6,
        **layout,
    )
