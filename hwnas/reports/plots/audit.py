"""Predicted against measured values of a front, with the errors of the measurements."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hwnas.devices.audit import Agreement
from hwnas.objectives import Objective
from hwnas.reports.plots import style
from hwnas.typing import Array

_REACH = 1.96  # standard errors of an error bar


def audit_figure(
    names: Sequence[str],
    predicted: Array,
    measured: Array,
    std: Array,
    agreements: Sequence[Agreement],
    device: str,
) -> Figure:
    """Return a figure with a panel for each metric.

    Parameters
    ----------
    names
        The k metrics as they were predicted.
    predicted, measured, std : (n, k)
        Values of n members and standard errors of the measured ones; NaN is left out.
    agreements
        Agreement of each metric.
    device
        Device that was measured.

    Examples
    --------
    >>> from hwnas.devices.audit import agreement
    >>> values = np.array([[1.0], [2.0], [4.0]])
    >>> found = agreement(values[:, 0], values[:, 0], values[:, 0], np.random.default_rng(0))
    >>> figure = audit_figure(["latency@h100"], values, values, values / 9, [found], "cuda")
    >>> figure.axes[0].get_xlabel()
    'predicted latency@h100 (ms)'
    """
    title = f"Members of a front, predicted and measured on {device}"
    figure, panels = style.make_grid(len(names), title)
    for k, axes in enumerate(panels):
        label = style.axis_label(Objective.parse(names[k]))
        _draw_panel(axes, predicted[:, k], measured[:, k], std[:, k])
        row = agreements[k]
        text = (
            f"Kendall {row.kendall:.2f} ({row.low:.2f} to {row.high:.2f}), "
            f"error {100 * row.error:.2g} %, bias {100 * row.bias:+.2g} %"
        )
        style.format_axes(axes, title=text, x=f"predicted {label}", y=f"measured on {device}")
    return figure


def draw_audit(
    names: Sequence[str],
    predicted: Array,
    measured: Array,
    std: Array,
    agreements: Sequence[Agreement],
    device: str,
    file: Path,
) -> Path:
    """Draw `audit_figure` into a PNG, PDF or SVG file.

    Raises
    ------
    InvalidInput
        The directory is missing, or the file cannot be written.
    """
    return style.save(audit_figure(names, predicted, measured, std, agreements, device), file)


def _draw_panel(axes: Axes, predicted: Array, measured: Array, std: Array) -> None:
    """Draw members with error bars, and the line of equal values where it is near."""
    axes.errorbar(
        predicted, measured, yerr=_REACH * std, fmt="o", color=style.COLOURS[0], markersize=4,
        elinewidth=1, capsize=2, label="member, 95 % interval",
    )  # fmt: skip
    low = max(np.nanmin(predicted), np.nanmin(measured))
    high = min(np.nanmax(predicted), np.nanmax(measured))
    if low < high:  # else the line would leave no room for the members
        axes.plot([low, high], [low, high], color=style.GREY, linewidth=1, label="equal")
    style.legend(axes)
