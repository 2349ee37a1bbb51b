"""Architectures in parallel coordinates: one line for each, across its features and metrics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize

from hwnas.errors import InvalidInput
from hwnas.reports.plots import style
from hwnas.reports.plots.sampled_architectures import SampledArchitectures, architecture_features
from hwnas.typing import Array


def plot_parallel_coordinates(axes: Axes, architectures: SampledArchitectures) -> LineCollection:
    """Plot architectures as lines across their features and metrics, colored by the last metric.

    Each vertical axis goes from the least to the greatest value.

    Parameters
    ----------
    axes
        Axes to draw in.
    architectures
        Architectures, a line each.

    Returns
    -------
    LineCollection
        The lines, for a color bar in the unit of the last metric.

    Raises
    ------
    InvalidInput
        There are no architectures.
    """
    if len(architectures) == 0:
        raise InvalidInput("parallel coordinates: expected architectures, found none")
    columns = {
        **architecture_features(architectures.space, architectures.codes),
        **{
            style.axis_label(objective): architectures.values[:, j]
            for j, objective in enumerate(architectures.objectives)
        },
    }
    values = np.column_stack(list(columns.values()))  # (n, columns)
    # Scale to [0, 1]; columns with one value are in the middle.
    low, high = values.min(axis=0), values.max(axis=0)
    scaled = np.where(high > low, (values - low) / np.where(high > low, high - low, 1.0), 0.5)
    positions = np.arange(values.shape[1])
    # Lines with great values are drawn last.
    order = np.argsort(scaled[:, -1], kind="stable")
    lines = LineCollection(
        [np.column_stack([positions, row]) for row in scaled[order]],
        array=values[order, -1],
        cmap=style.SEQUENTIAL,
        norm=Normalize(low[-1], high[-1]),
        linewidths=0.8,
        alpha=0.6,
    )
    axes.add_collection(lines)
    _plot_vertical_axes(axes, list(columns), low, high)
    axes.set_xlim(-0.3, len(positions) - 0.7)
    axes.set_ylim(0, 1)
    return lines


def _plot_vertical_axes(axes: Axes, names: Sequence[str], low: Array, high: Array) -> None:
    """Plot a vertical line for each column, with its name and the values at its ends."""
    for x, (name, minimum, maximum) in enumerate(zip(names, low, high, strict=True)):
        axes.axvline(x, color="black", linewidth=0.8)
        ends = [f"{minimum:.4g}", f"{maximum:.4g}"]
        if name == "bias":
            ends = ["without", "with"]
        axes.text(x, -0.03, ends[0], ha="center", va="top", fontsize=8)
        axes.text(x, 1.02, ends[1], ha="center", va="bottom", fontsize=8)
    labels = [name.replace(" (", "\n(").replace("@", "\n@") for name in names]
    axes.set_xticks(np.arange(len(names)), labels)
    axes.tick_params(axis="x", length=0, pad=16, labelsize=8)
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
