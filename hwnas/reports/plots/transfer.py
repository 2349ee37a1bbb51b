"""Heat maps of transfer: what a front that was found for one device loses on another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure

from hwnas.reports.comparison.transfer_tables import excess_title, labels_of, shared_quantity
from hwnas.reports.plots import style
from hwnas.surrogates.transfer import Transfer
from hwnas.typing import Array

# White to orange: nothing lost to much. Text is white from this share of the scale on.
_COLORS = LinearSegmentedColormap.from_list("loss", ["#FFFFFF", "#F6C9A8", style.COLOURS[1]])
_DARK = 0.8
_CELL, _MIN_SIZE = 0.4, 3.0  # inches of a cell, and of a panel at least
_MIN_SCALE = 1.0  # percent that are drawn in full color at least
_LETTER, _MARGIN = 0.085, 0.4  # inches of a letter of a label, and around panels
_MAX_NUMBERS = 30  # rows in whose cells numbers can be read


def transfer_figure(result: Transfer) -> Figure:
    """Return a figure of two heat maps: hypervolume lost, and excess at equal perplexity.

    Rows are what a front was found for, columns what it is judged by.

    Examples
    --------
    >>> import hwnas
    >>> from hwnas.surrogates.transfer import transfer
    >>> result = transfer(hwnas.surrogate("gpt-s"), ["latency@h100", "latency@a100"])
    >>> [axes.get_ylabel() for axes in transfer_figure(result).axes]
    ['front found for', '']
    """
    labels = labels_of(result)
    side = max(_MIN_SIZE, _CELL * len(labels))
    room = _LETTER * max(map(len, labels)) + _MARGIN
    quantity = shared_quantity(result)
    on = (
        "each metric, found for one and"
        if not quantity
        else f"{quantity}, found for one device and"
    )
    # Panels are squares: half of the labels' room at their left, most of it, turned, below them.
    figure = style.make_figure(
        2,
        f"{result.space}: fronts of {result.against} and {on} used for another",
        width=side + room / 2 + 0.4 * _MARGIN,
        height=side + 0.7 * room + 2.4 * _MARGIN,
    )
    figure.set_layout_engine("constrained", w_pad=0.08, h_pad=0.08)
    lost_axes, right = figure.subplots(1, 2, sharey=True)
    _draw_matrix(lost_axes, 100 * result.matrix("hypervolume"), labels, "hypervolume lost, %")
    _draw_matrix(right, 100 * result.matrix("mean"), labels, f"{excess_title(result)}, %")
    lost_axes.set_ylabel("front found for")
    return figure


def draw_transfer(result: Transfer, file: Path) -> Path:
    """Draw the heat maps of `transfer_figure` into a PNG, PDF or SVG file.

    Raises
    ------
    InvalidInput
        The directory is missing, or the file cannot be written.
    """
    return style.save(transfer_figure(result), file)


def _draw_matrix(axes: Axes, values: Array, labels: list[str], title: str) -> None:
    """Draw percentages (k, k) with their numbers; the diagonal is empty."""
    n = len(labels)
    norm = Normalize(0, max(float(values.max()), _MIN_SCALE))
    axes.imshow(values, cmap=_COLORS, norm=norm)
    size = 8.5 if n <= 16 else 7
    for i, j in np.ndindex(values.shape):
        if n > _MAX_NUMBERS:
            break
        color = "white" if norm(values[i, j]) > _DARK else "black"
        text = "-" if i == j else short_number(float(values[i, j]))
        axes.text(j, i, text, ha="center", va="center", fontsize=size, color=color)
    tick_labels = [style.plain(label) for label in labels]
    axes.set_xticks(
        range(n), tick_labels, fontsize=9, rotation=45, ha="right", rotation_mode="anchor"
    )
    axes.set_yticks(range(n), tick_labels, fontsize=9)
    axes.set_xlabel("judged by")
    off_diagonal = values[~np.eye(n, dtype=bool)]
    median, worst = (
        short_number(float(value)) for value in (np.median(off_diagonal), off_diagonal.max())
    )
    axes.set_title(f"{title}\nmedian {median}, worst {worst}", fontsize=10)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    # Thin lines between the cells.
    for k in range(1, n):
        axes.axhline(k - 0.5, color="#dddddd", linewidth=0.8)
        axes.axvline(k - 0.5, color="#dddddd", linewidth=0.8)


def short_number(value: float) -> str:
    """Return a percentage of at most three characters where it can be.

    Examples
    --------
    >>> [short_number(value) for value in (0.004, 0.24, 1.26, 12.3, 123.4)]
    ['0.0', '0.2', '1.3', '12', '123']
    """
    return f"{value:.1f}" if value < 9.95 else f"{value:.0f}"
