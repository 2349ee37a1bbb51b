"""What was predicted beside what was measured, and whether the uncertainty holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from matplotlib.axes import Axes

from hwnas.additive.effects import Effects
from hwnas.additive.model import Design, model_of
from hwnas.objectives import Objective
from hwnas.reports.plots import style
from hwnas.reports.plots.attribution import learned_from
from hwnas.reports.plots.subset import evenly
from hwnas.runner.results import Result
from hwnas.typing import Array

LEVELS = np.arange(0.05, 0.96, 0.05)  # of quantiles

_SHOWN = 60  # networks whose intervals can be told apart
_INTERVAL = (0.1, 0.9)


@dataclass(frozen=True, eq=False)
class Predictions:
    """A metric of networks as it was predicted without them, and as it was measured.

    Attributes
    ----------
    objective
        The metric.
    measured : (n,)
        In raw units.
    levels : (q,)
        Probabilities, ascending, 0.5 among them.
    quantiles : (n, q)
        What is predicted to be exceeded with one less each of them.
    """

    objective: Objective
    measured: Array
    levels: Array
    quantiles: Array

    @property
    def median(self) -> Array:
        """Predicted medians (n,)."""
        return np.asarray(self.quantiles[:, int(np.argmin(abs(self.levels - 0.5)))])

    @property
    def error(self) -> float:
        """Mean absolute error of the medians, relative to what was measured."""
        return float(np.mean(abs(self.median - self.measured) / abs(self.measured)))

    @property
    def coverage(self) -> Array:
        """Share of what was measured that lies at or below each predicted quantile, (q,)."""
        return np.asarray((self.measured[:, None] <= self.quantiles).mean(axis=0))

    @property
    def off(self) -> float:
        """How far coverage is from the levels, on the mean of them."""
        return float(abs(self.coverage - self.levels).mean())


@lru_cache(maxsize=1)  # two plots need one fit
def predictions_of(result: Result) -> list[Predictions]:
    """What a model that adds up over layers predicts of each network of a run from all others.

    Of more than 400 networks, those that no other dominates are taken and others evenly among the
    rest. Distributions are normal, of the objective or its logarithm as the evidence says.

    Raises
    ------
    InvalidInput
        Fewer than 8 networks were measured.

    References
    ----------
    Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, equation 5.12.
    """
    codes, values, std = learned_from(result, "predictions")
    effects = Effects(result.space)
    design = Design(effects, codes)
    normal = np.array([NormalDist().inv_cdf(level) for level in LEVELS])
    out = []
    for j, objective in enumerate(result.objectives):
        model = model_of(effects, design, values[:, j], std[:, j])
        mean, deviation = model.left_out()
        quantiles = model.scale.raw(mean[:, None] + deviation[:, None] * normal)
        out.append(Predictions(objective.value, values[:, j], LEVELS, quantiles))
    return out


def predicted(axes: Axes, of: Predictions) -> None:
    """Predicted medians over what was measured, and the line on which both are alike.

    Parameters
    ----------
    axes
        Where to draw.
    of
        Of one metric.
    """
    axes.plot(
        of.measured,
        of.median,
        linestyle="none",
        marker="o",
        color=style.COLOURS[0],
        markersize=3,
        markeredgewidth=0,
        alpha=0.6,
        rasterized=True,
    )
    both = np.concatenate([of.measured, of.median])
    ends = both.min(), both.max()
    axes.plot(ends, ends, color="black", linewidth=0.8, linestyle=(0, (4, 2)))
    label = style.label(of.objective)
    style.tidy(axes, x=f"measured {label}", y=f"predicted {label}")
    axes.set_title(f"{len(of.measured):,} networks, mean error {100 * of.error:.2g} %", fontsize=9)


def calibration(axes: Axes, of: Sequence[Predictions], *, legend: bool = True) -> None:
    """How much of what was measured lies below each predicted quantile.

    Parameters
    ----------
    axes
        Where to draw.
    of
        A line each.
    legend
        Name the lines within the axes.
    """
    axes.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle=(0, (4, 2)))
    for index, one in enumerate(of):
        label = f"{one.objective}: off by {one.off:.3f}"
        axes.plot(
            one.levels, one.coverage, **style.look(index), linewidth=1.3, markersize=3, label=label
        )
    style.tidy(axes, x="level of the predicted quantile", y="share of networks below it")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_aspect("equal")
    if legend:
        style.legend(axes, loc="upper left")


def intervals(axes: Axes, of: Predictions) -> None:
    """Predicted intervals from 10 % to 90 % of some networks in order of what was measured.

    Parameters
    ----------
    axes
        Where to draw.
    of
        Of one metric.
    """
    low, high = (of.quantiles[:, int(np.argmin(abs(of.levels - level)))] for level in _INTERVAL)
    inside = float(((low <= of.measured) & (of.measured <= high)).mean())
    order = np.argsort(of.measured, kind="stable")
    order = evenly(order, _SHOWN)
    # Beside the median, or an interval of a thousandth could not be seen.
    scale = 100 / of.median[order]
    at = np.arange(len(order))
    bars = [100 - low[order] * scale, high[order] * scale - 100]
    axes.errorbar(
        at,
        np.full(len(order), 0.0),
        yerr=bars,
        fmt="none",
        ecolor=style.COLOURS[5],
        elinewidth=2,
        label="predicted, 10 % to 90 %",
    )
    axes.plot(
        at,
        of.measured[order] * scale - 100,
        linestyle="none",
        marker=".",
        color="black",
        markersize=4,
        label="measured",
    )
    style.tidy(
        axes,
        x=f"networks in order of {of.objective}",
        y="% from the predicted median",
    )
    share = f"{100 * inside:.0f} % of {len(low):,} networks are inside their 80 % interval"
    axes.set_title(share, fontsize=9)
    style.legend(axes, loc="upper left")
