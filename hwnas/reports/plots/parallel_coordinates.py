"""Architectures in parallel coordinates: one line for each, across its features and metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize

from hwnas.errors import InvalidInput
from hwnas.reports.plots import style
from hwnas.reports.plots.features import OFF, Feature, architecture_features, select_features
from hwnas.reports.plots.sampled_architectures import SampledArchitectures
from hwnas.typing import Array

MAX_FEATURES = 30  # vertical axes that can be told apart

_MAX_LABELS = 12  # texts along an axis
_OFF_SHARE = 0.12  # of an axis, below the values, where choices that do not exist are
_MAX_NAME = 18  # characters of the names of axes, above which they are slanted


@dataclass(frozen=True, eq=False)
class _Scale:
    """Vertical axis: name, position of each line from 0 to 1, and texts beside it by position."""

    name: str
    positions: Array  # (n,)
    ticks: dict[float, str]


def plot_parallel_coordinates(axes: Axes, architectures: SampledArchitectures) -> LineCollection:
    """Plot architectures as lines across their features and metrics, colored by the last metric.

    A vertical axis goes from the least to the greatest value, or has a position for each text.
    Choices that do not exist in an architecture are at its lower end. Of more than 30 features
    there are those that explain most of a metric.

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
    features = architecture_features(architectures.space, architectures.codes)
    names = select_features(features, architectures.values, MAX_FEATURES)
    scales = [_feature_scale(name, features[name]) for name in names]
    for objective, values in zip(architectures.objectives, architectures.values.T, strict=True):
        name = style.axis_label(objective, architectures.units)
        scales.append(_Scale(name, *_linear(values)))
    positions = np.column_stack([scale.positions for scale in scales])  # (n, axes)
    # Lines with great values are drawn last.
    order = np.argsort(positions[:, -1], kind="stable")
    color = architectures.values[:, -1]
    lines = LineCollection(
        [np.column_stack([np.arange(len(scales)), row]) for row in positions[order]],
        array=color[order],
        cmap=style.SEQUENTIAL,
        norm=Normalize(color.min(), color.max()),
        linewidths=0.8,
        alpha=0.6,
    )
    axes.add_collection(lines)
    _plot_vertical_axes(axes, scales)
    axes.set_xlim(-0.3, len(scales) - 0.7)
    axes.set_ylim(0, 1)
    return lines


def _feature_scale(name: str, feature: Feature) -> _Scale:
    """Return the vertical axis of a feature."""
    missing = np.isnan(feature.values)
    present = feature.values[~missing]
    if len(present) == 0:
        return _Scale(name, np.zeros(len(missing)), {0.0: OFF})
    if feature.labels:
        inside, ticks = _categorical(present, feature.labels)
    elif feature.logarithmic and present.max() > present.min():
        inside, ends = _linear(np.log(present))
        ticks = dict(zip(ends, (f"{present.min():.4g}", f"{present.max():.4g}"), strict=True))
        name += " (log)"
    else:
        inside, ticks = _linear(present)
    if not missing.any():
        return _Scale(name, inside, ticks)
    # Values move up, and those that do not exist are below them.
    positions = np.zeros(len(missing))
    positions[~missing] = _OFF_SHARE + (1 - _OFF_SHARE) * inside
    moved = {_OFF_SHARE + (1 - _OFF_SHARE) * at: text for at, text in ticks.items()}
    return _Scale(name, positions, {0.0: OFF} | moved)


def _linear(values: Array) -> tuple[Array, dict[float, str]]:
    """Return positions (n,) of values and the texts of their ends; one value is in the middle."""
    low, high = values.min(), values.max()
    positions = (values - low) / (high - low) if high > low else np.full(len(values), 0.5)
    return positions, {0.0: f"{low:.4g}", 1.0: f"{high:.4g}"}


def _categorical(values: Array, labels: Sequence[str]) -> tuple[Array, dict[float, str]]:
    """Return positions (n,) of indices into labels, and the texts beside the axis."""
    # All texts where there is room, else those that occur.
    indices = np.arange(len(labels)) if len(labels) <= _MAX_LABELS else np.unique(values)
    ticks = np.linspace(0, 1, len(indices)) if len(indices) > 1 else np.array([0.5])
    positions = ticks[np.searchsorted(indices, values)]
    if len(indices) > _MAX_LABELS:  # the first and the last alone
        ticks, indices = ticks[[0, -1]], indices[[0, -1]]
    texts = [labels[int(index)] for index in indices]
    return positions, dict(zip(ticks.tolist(), texts, strict=True))


def _plot_vertical_axes(axes: Axes, scales: Sequence[_Scale]) -> None:
    """Plot a vertical line for each scale, with its name and its texts."""
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6}
    for x, scale in enumerate(scales):
        axes.axvline(x, color="black", linewidth=0.8)
        for at, text in scale.ticks.items():
            if at == 0:
                axes.text(x, -0.03, style.plain(text), ha="center", va="top", fontsize=8)
            elif at == 1:
                axes.text(x, 1.02, style.plain(text), ha="center", va="bottom", fontsize=8)
            else:
                axes.text(x + 0.04, at, style.plain(text), va="center", fontsize=7, bbox=box)
    labels = [scale.name.replace(" (", "\n(").replace("@", "\n@") for scale in scales]
    longest = max(len(line) for label in labels for line in label.split("\n"))
    slant: dict[str, Any] = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(np.arange(len(labels)), labels, **(slant if longest > _MAX_NAME else {}))
    axes.tick_params(axis="x", length=0, pad=16, labelsize=8)
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
