"""Leave-one-out predictions of an additive model against measurements, and their calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from matplotlib.axes import Axes

from hwnas.additive.choice import create_effects
from hwnas.additive.model import Design, fit_model
from hwnas.objectives import Objective
from hwnas.reports.plots import style
from hwnas.reports.plots.sampled_architectures import members_name
from hwnas.reports.plots.subset import select_evenly
from hwnas.reports.plots.training_data import training_data
from hwnas.runner.results import Result
from hwnas.typing import Array

LEVELS = np.arange(0.05, 0.96, 0.05)  # of quantiles

_MAX_BARS = 60  # intervals that can be distinguished in one plot
_INTERVAL = (0.1, 0.9)


@dataclass(frozen=True, eq=False)
class Predictions:
    """Measurements of one metric, and predictions of a model that has not seen them.

    Attributes
    ----------
    objective
        The metric.
    measured : (n,)
        In raw units.
    levels : (q,)
        Probabilities, ascending, 0.5 among them.
    quantiles : (n, q)
        Predicted quantiles at these levels.
    unit
        Of the metric.
    members
        What is predicted: architectures or configurations.
    """

    objective: Objective
    measured: Array
    levels: Array
    quantiles: Array
    unit: str = ""
    members: str = "architectures"

    def quantile(self, level: float) -> Array:
        """Return the predicted quantiles (n,) at the level nearest to `level`."""
        return np.asarray(self.quantiles[:, int(np.argmin(abs(self.levels - level)))])

    @property
    def median(self) -> Array:
        """Predicted medians (n,)."""
        return self.quantile(0.5)

    @property
    def label(self) -> str:
        """Name of the metric with its unit."""
        return style.axis_label(self.objective, {str(self.objective): self.unit})

    @property
    def is_positive(self) -> bool:
        """Whether all measurements and medians are positive, so that errors can be relative."""
        return bool((self.measured > 0).all() and (self.median > 0).all())

    @property
    def relative_error(self) -> float:
        """Mean absolute error of the medians, relative to the measurements."""
        return float(np.mean(abs(self.median - self.measured) / abs(self.measured)))

    @property
    def absolute_error(self) -> float:
        """Mean absolute error of the medians."""
        return float(np.mean(abs(self.median - self.measured)))

    @property
    def coverage(self) -> Array:
        """Share of measurements that are at or below each predicted quantile, (q,)."""
        return np.asarray((self.measured[:, None] <= self.quantiles).mean(axis=0))

    @property
    def calibration_error(self) -> float:
        """Mean absolute difference between coverage and levels."""
        return float(abs(self.coverage - self.levels).mean())


@lru_cache(maxsize=1)  # two plots share one fit
def leave_one_out_predictions(result: Result) -> list[Predictions]:
    """Return predictions of each architecture of a run by an additive model of all others.

    Of more than 400 architectures, the non-dominated ones are used, and others evenly in the order
    of their trials. Distributions are normal, of the objective or of its logarithm, whichever has
    the greater evidence.

    Raises
    ------
    InvalidInput
        Fewer than 8 architectures were measured.

    References
    ----------
    Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, equation 5.12.
    """
    codes, values, std = training_data(result, "predictions")
    effects = create_effects(result.space)
    design = Design(effects, codes)
    normal = np.array([NormalDist().inv_cdf(level) for level in LEVELS])
    predictions = []
    for j, objective in enumerate(result.objectives):
        model = fit_model(effects, design, values[:, j], std[:, j])
        # Quantiles of a normal distribution; increasing scales map quantiles to quantiles.
        mean, deviation = model.leave_one_out()
        quantiles = model.scale.inverse(mean[:, None] + deviation[:, None] * normal)
        unit = style.unit(objective, result.units)
        predictions.append(
            Predictions(
                objective.value,
                values[:, j],
                LEVELS,
                quantiles,
                unit,
                members_name(result.space),
            )
        )
    return predictions


def plot_predicted(axes: Axes, predictions: Predictions) -> None:
    """Plot predicted medians over measurements, with the diagonal of perfect predictions.

    Parameters
    ----------
    axes
        Axes to draw in.
    predictions
        Predictions of one metric.
    """
    axes.plot(
        predictions.measured,
        predictions.median,
        linestyle="none",
        marker="o",
        color=style.COLOURS[0],
        markersize=3,
        markeredgewidth=0,
        alpha=0.6,
        rasterized=True,
    )
    # The diagonal covers the range of both axes.
    values = np.concatenate([predictions.measured, predictions.median])
    ends = values.min(), values.max()
    axes.plot(ends, ends, color="black", linewidth=0.8, linestyle=(0, (4, 2)))
    label = predictions.label
    style.format_axes(axes, x=f"measured {label}", y=f"predicted {label}")
    error = f"{predictions.absolute_error:.2g} {style.plain(predictions.unit)}".rstrip()
    if predictions.is_positive:
        error = f"{100 * predictions.relative_error:.2g} %"
    n = len(predictions.measured)
    axes.set_title(f"{n:,} {predictions.members}, mean error {error}", fontsize=9)


def plot_calibration(
    axes: Axes, predictions: Sequence[Predictions], *, legend: bool = True
) -> None:
    """Plot the share of measurements below each predicted quantile.

    Parameters
    ----------
    axes
        Axes to draw in.
    predictions
        Predictions of several metrics, a line each.
    legend
        Add a legend to the axes.
    """
    axes.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle=(0, (4, 2)))
    for index, metric in enumerate(predictions):
        axes.plot(
            metric.levels,
            metric.coverage,
            **style.line_style(index),
            linewidth=1.3,
            markersize=3,
            label=f"{metric.objective}: mean error {metric.calibration_error:.3f}",
        )
    style.format_axes(axes, x="level of the predicted quantile", y="share of measurements below it")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_aspect("equal")
    if legend:
        style.legend(axes, loc="upper left")


def plot_intervals(axes: Axes, predictions: Predictions) -> None:
    """Plot predicted intervals from 10 % to 90 % of at most 60 architectures, by measurement.

    Parameters
    ----------
    axes
        Axes to draw in.
    predictions
        Predictions of one metric.
    """
    measured = predictions.measured
    # The title counts all architectures, the plot shows a part of them.
    low, high = (predictions.quantile(level) for level in _INTERVAL)
    inside = float(((low <= measured) & (measured <= high)).mean())
    order = select_evenly(np.argsort(measured, kind="stable"), _MAX_BARS)
    # Relative to the median, because intervals of a thousandth of the value would be invisible.
    median = predictions.median[order]
    scale = 100 / median if predictions.is_positive else np.ones(len(order))
    positions = np.arange(len(order))
    axes.errorbar(
        positions,
        np.full(len(order), 0.0),
        yerr=[(median - low[order]) * scale, (high[order] - median) * scale],
        fmt="none",
        ecolor=style.COLOURS[5],
        elinewidth=2,
        label="predicted, 10 % to 90 %",
    )
    axes.plot(
        positions,
        (measured[order] - median) * scale,
        linestyle="none",
        marker=".",
        color="black",
        markersize=4,
        label="measured",
    )
    style.format_axes(
        axes,
        x=f"{predictions.members} in order of {predictions.objective}",
        y=f"{'% ' if predictions.is_positive else ''}from the predicted median",
    )
    title = (
        f"{100 * inside:.0f} % of {len(low):,} {predictions.members} are inside their 80 % interval"
    )
    axes.set_title(title, fontsize=9)
    style.legend(axes, loc="upper left")
