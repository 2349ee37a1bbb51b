"""Rank correlation of metrics over architectures (Kendall's tau-b)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from hwnas.objectives import Objective
from hwnas.reports.plots import style
from hwnas.reports.plots.sampled_architectures import SampledArchitectures
from hwnas.typing import Array

MAX_COMPARED = 1000  # architectures, because all pairs of them are compared

_MAX_NUMBERS = 16  # rows of a matrix in which numbers can be read


def kendall_tau(values: Array) -> Array:
    """Return the rank correlations (m, m) of the columns of values (n, m), Kendall's tau-b.

    A column whose values are all equal has NaN. All pairs of rows are compared in O(n² m²), which
    takes about a second for 1,000 architectures.

    References
    ----------
    Kendall, "A new measure of rank correlation", Biometrika 1938; ties as in Kendall 1945.

    Examples
    --------
    >>> kendall_tau(np.array([[1.0, 2.0], [2.0, 1.0], [3.0, 0.0]]))
    array([[ 1., -1.],
           [-1.,  1.]])
    """
    first, second = np.triu_indices(len(values), 1)
    signs = np.sign(values[first] - values[second]).astype(np.float32)  # (pairs, m)
    # Concordant minus discordant pairs. The diagonal counts the pairs without a tie.
    concordance = (signs.T @ signs).astype(np.float64)
    untied = np.sqrt(concordance.diagonal())
    untied[untied == 0] = np.nan
    return np.asarray(concordance / untied[:, None] / untied)


def plot_correlation(
    axes: Axes, architectures: SampledArchitectures, objectives: Sequence[Objective]
) -> AxesImage:
    """Plot a matrix of rank correlations of metrics over architectures.

    Parameters
    ----------
    axes
        Axes to draw in.
    architectures
        At most about 1,000 architectures: all pairs of them are compared.
    objectives
        Metrics of the rows and columns.

    Returns
    -------
    AxesImage
        The matrix, for a color bar.
    """
    tau = kendall_tau(architectures.select(objectives).values)
    has_negative = bool(np.nanmin(tau, initial=1.0) < 0)
    colors: dict[str, Any] = {"cmap": style.SEQUENTIAL, "vmin": 0}
    if has_negative:
        colors = {"cmap": style.DIVERGING, "vmin": -1}
    image = axes.imshow(tau, vmax=1, **colors)
    names = [str(objective) for objective in objectives]
    n = len(names)
    axes.set_xticks(range(n), names, rotation=90, fontsize=7)
    axes.set_yticks(range(n), names, fontsize=7)
    if n <= _MAX_NUMBERS:
        _write_numbers(axes, tau, has_negative)
    return image


def correlation_figure(
    architectures: SampledArchitectures, matrices: Sequence[Sequence[Objective]]
) -> Figure:
    """Return a figure with one or several matrices of rank correlations.

    Parameters
    ----------
    architectures
        Of more than `MAX_COMPARED`, the first are compared.
    matrices
        The metrics of each matrix.
    """
    architectures = architectures.head(MAX_COMPARED)
    size = max(5.2, 0.34 * max(map(len, matrices)) + 1.6)
    figure, panels = style.make_grid(
        len(matrices),
        f"{architectures.source}: rank correlation (Kendall's tau)",
        width=size,
        height=size,
    )
    for axes, objectives in zip(panels, matrices, strict=True):
        image = plot_correlation(axes, architectures, objectives)
        figure.colorbar(image, ax=axes, shrink=0.6)
    return figure


def _write_numbers(axes: Axes, tau: Array, has_negative: bool) -> None:
    """Write each correlation into its cell."""
    for i, j in np.ndindex(*tau.shape):
        if np.isnan(tau[i, j]):
            continue
        # White on dark colors: both ends of the diverging map, the lower end of the other one.
        dark = abs(tau[i, j]) > 0.6 if has_negative else tau[i, j] < 0.5
        axes.text(
            j,
            i,
            f"{tau[i, j]:.2f}",
            ha="center",
            va="center",
            fontsize=6,
            color="white" if dark else "black",
        )
