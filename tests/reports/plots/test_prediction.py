"""Leave-one-out predictions and their plots."""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import pytest
from matplotlib.figure import Figure

from hwnas.errors import InvalidInput
from hwnas.objectives import Objective
from hwnas.reports.plots import figures, prediction
from hwnas.reports.plots.prediction import LEVELS, Predictions, leave_one_out_predictions
from hwnas.runner.results import Result
from hwnas.spaces import SearchSpace


def normal_predictions(n: int = 2000, spread: float = 1.0) -> Predictions:
    """Return predictions with deviation 1 of normal measurements with deviation `spread`."""
    rng = np.random.default_rng(0)
    median = rng.uniform(50, 100, size=n)
    measured = median + spread * rng.standard_normal(n)
    normal = np.array([NormalDist().inv_cdf(level) for level in LEVELS])
    return Predictions(
        Objective("latency", ("h100",)), measured, LEVELS, median[:, None] + normal, "ms"
    )


def test_calibration_error_of_right_and_overconfident_predictions() -> None:
    right, overconfident = normal_predictions(), normal_predictions(spread=3.0)
    assert right.calibration_error < 0.015
    assert overconfident.calibration_error > 0.1
    np.testing.assert_allclose(right.coverage, LEVELS, atol=0.04)
    assert right.relative_error == pytest.approx(
        np.mean(abs(right.median - right.measured) / right.measured)
    )


def test_sums_over_layers_are_predicted(
    make_result: Callable[..., Result], tiny_space: SearchSpace
) -> None:
    codes = np.unique(tiny_space.sample(200, np.random.default_rng(0)), axis=0)
    values = tiny_space.params(codes)[:, None].astype(float)
    (predictions,) = leave_one_out_predictions(make_result(codes, values))
    assert predictions.objective == Objective("params")
    np.testing.assert_array_equal(np.sort(predictions.measured), np.sort(values[:, 0]))
    assert predictions.relative_error < 1e-3
    assert (np.diff(predictions.quantiles, axis=1) > 0).all()
    with pytest.raises(
        InvalidInput, match="predictions: expected at least 8 measured architectures"
    ):
        leave_one_out_predictions(make_result(codes[:5], values[:5]))


def test_predictions_exclude_their_own_measurement(
    make_result: Callable[..., Result], tiny_space: SearchSpace
) -> None:
    """An outlier is not predicted, although a model could fit it."""
    codes = np.unique(tiny_space.sample(80, np.random.default_rng(0)), axis=0)
    values = tiny_space.params(codes)[:, None] / 1e6
    # An outlier that no additive model of the others can predict.
    values[7] += 10
    (predictions,) = leave_one_out_predictions(make_result(codes, values))
    errors = predictions.measured - predictions.median
    assert errors.max() > 5
    assert errors[np.argmax(errors)] > 5 * np.sort(errors)[-2]


def test_predictions_are_plotted() -> None:
    predictions = normal_predictions(300)
    axes = Figure().subplots()
    prediction.plot_predicted(axes, predictions)
    points, diagonal = axes.get_lines()
    np.testing.assert_array_equal(points.get_xdata(), predictions.measured)
    np.testing.assert_array_equal(points.get_ydata(), predictions.median)
    np.testing.assert_array_equal(diagonal.get_xdata(), diagonal.get_ydata())
    assert axes.get_xlabel() == "measured latency@h100 (ms)"
    axes = Figure().subplots()
    prediction.plot_calibration(axes, [predictions])
    _, line = axes.get_lines()
    np.testing.assert_array_equal(line.get_xdata(), LEVELS)
    np.testing.assert_array_equal(line.get_ydata(), predictions.coverage)
    assert line.get_label() == f"latency@h100: mean error {predictions.calibration_error:.3f}"
    axes = Figure().subplots()
    prediction.plot_intervals(axes, predictions)
    inside = (
        (predictions.quantiles[:, 1] <= predictions.measured)
        & (predictions.measured <= predictions.quantiles[:, 17])
    ).mean()
    assert axes.get_title().startswith(f"{100 * inside:.0f} % of 300 architectures")


def test_figures_of_a_run(finished_run: Result) -> None:
    figure = figures.predicted_figure(finished_run)
    assert len(figure.axes) == 4
    assert figure.axes[0].get_xlabel() == "measured perplexity"
    (axes,) = figures.calibration_figure(finished_run).axes
    assert len(axes.get_lines()) == 3
