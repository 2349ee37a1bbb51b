"""Predictions of networks from all others, and what is drawn of them."""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import pytest
from matplotlib.figure import Figure

from hwnas.errors import InvalidInput
from hwnas.objectives import Objective
from hwnas.reports.plots import kinds, prediction
from hwnas.reports.plots.prediction import LEVELS, Predictions, predictions_of
from hwnas.runner.results import Result
from hwnas.spaces import SearchSpace


def made_up(n: int = 2000, spread: float = 1.0) -> Predictions:
    """Normal values about known medians, of which the prediction has the deviation 1."""
    rng = np.random.default_rng(0)
    median = rng.uniform(50, 100, size=n)
    measured = median + spread * rng.standard_normal(n)
    normal = np.array([NormalDist().inv_cdf(level) for level in LEVELS])
    return Predictions(Objective("latency", ("h100",)), measured, LEVELS, median[:, None] + normal)


def test_a_right_distribution_is_calibrated_and_a_wrong_one_is_not() -> None:
    right, sure = made_up(), made_up(spread=3.0)
    assert right.off < 0.015
    assert sure.off > 0.1
    np.testing.assert_allclose(right.coverage, LEVELS, atol=0.04)
    assert right.error == pytest.approx(
        np.mean(abs(right.median - right.measured) / right.measured)
    )


def test_what_adds_up_is_predicted(measured: Callable[..., Result], tiny: SearchSpace) -> None:
    codes = np.unique(tiny.sample(200, np.random.default_rng(0)), axis=0)
    values = tiny.params(codes)[:, None].astype(float)
    (found,) = predictions_of(measured(codes, values))
    assert found.objective == Objective("params")
    np.testing.assert_array_equal(np.sort(found.measured), np.sort(values[:, 0]))
    assert found.error < 1e-3
    assert (np.diff(found.quantiles, axis=1) > 0).all()
    with pytest.raises(InvalidInput, match="predictions: expected at least 8 networks"):
        predictions_of(measured(codes[:5], values[:5]))


def test_each_is_left_out_of_its_own_prediction(
    measured: Callable[..., Result], tiny: SearchSpace
) -> None:
    """One that is far from all others is not predicted, however well it could be fitted."""
    codes = np.unique(tiny.sample(80, np.random.default_rng(0)), axis=0)
    values = tiny.params(codes)[:, None] / 1e6
    values[7] += 10
    (found,) = predictions_of(measured(codes, values))
    away = found.measured - found.median
    assert away.max() > 5
    assert away[np.argmax(away)] > 5 * np.sort(away)[-2]


def test_they_are_drawn() -> None:
    of = made_up(300)
    axes = Figure().subplots()
    prediction.predicted(axes, of)
    points, diagonal = axes.get_lines()
    np.testing.assert_array_equal(points.get_xdata(), of.measured)
    np.testing.assert_array_equal(points.get_ydata(), of.median)
    np.testing.assert_array_equal(diagonal.get_xdata(), diagonal.get_ydata())
    assert axes.get_xlabel() == "measured latency@h100 (ms)"
    axes = Figure().subplots()
    prediction.calibration(axes, [of])
    _, line = axes.get_lines()
    np.testing.assert_array_equal(line.get_xdata(), LEVELS)
    np.testing.assert_array_equal(line.get_ydata(), of.coverage)
    assert line.get_label() == f"latency@h100: off by {of.off:.3f}"
    axes = Figure().subplots()
    prediction.intervals(axes, of)
    inside = ((of.quantiles[:, 1] <= of.measured) & (of.measured <= of.quantiles[:, 17])).mean()
    assert axes.get_title().startswith(f"{100 * inside:.0f} % of 300 networks")


def test_of_a_run(done: Result) -> None:
    made = kinds.predicted(done)
    assert len(made.axes) == 4
    assert made.axes[0].get_xlabel() == "measured perplexity"
    (axes,) = kinds.calibration(done).axes
    assert len(axes.get_lines()) == 3
