"""Plots of metrics by features of architectures."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hwnas.objectives import Objective
from hwnas.reports.plots import figures, space_plots
from hwnas.reports.plots.sampled_architectures import SampledArchitectures
from hwnas.runner.results import Result

LATENCY, ENERGY = Objective("latency", ("h100",)), Objective("energy", ("h100",))


def test_distributions_are_steps_for_each_group(sample: SampledArchitectures) -> None:
    axes = Figure().subplots()
    space_plots.plot_distribution(axes, sample, LATENCY, "embed_dim")
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert list(lines) == ["192", "384", "768"]
    wide = sample.column(LATENCY)[sample.codes[:, 0] == 2]
    x, y = lines["768"].get_data()
    np.testing.assert_allclose(np.sort(wide), x[1:])
    np.testing.assert_allclose(y[-1], 1)
    assert lines["768"].get_drawstyle().startswith("steps")
    assert axes.get_xlabel() == "latency@h100 (ms)"
    legend = axes.get_legend()
    assert legend is not None
    assert legend.get_title().get_text() == "embed_dim"


def horizontal_lines(axes: Axes) -> list[float]:
    """Return the y of all horizontal lines."""
    ends = [line.get_ydata() for line in axes.get_lines()]
    return [y[0] for y in ends if len({*y}) == 1]


def test_boxes_are_centered_at_the_median(sample: SampledArchitectures) -> None:
    axes = Figure().subplots()
    space_plots.plot_effect(axes, sample, LATENCY, "embed_dim")
    values = sample.column(LATENCY)
    for width in range(3):
        assert np.median(values[sample.codes[:, 0] == width]) in horizontal_lines(axes)
    assert axes.get_ylabel() == "latency@h100 (ms)"


def test_effects_of_other_features_are_relative_to_their_embed_dim(
    sample: SampledArchitectures,
) -> None:
    axes = Figure().subplots()
    space_plots.plot_effect(axes, sample, LATENCY, "n_layer")
    values = sample.column(LATENCY).copy()
    # Relative to the mean of the architectures with the same embed_dim.
    for width in range(3):
        values[sample.codes[:, 0] == width] /= values[sample.codes[:, 0] == width].mean()
    for depth in range(3):
        median = 100 * (np.median(values[sample.codes[:, 1] == depth]) - 1)
        assert np.isclose(horizontal_lines(axes), median).any()
    assert [label.get_text() for label in axes.get_xticklabels()] == ["10", "11", "12"]
    assert axes.get_ylabel() == "latency@h100, % from the mean\nof its embed_dim"


def test_scatter_shows_all_architectures(sample: SampledArchitectures) -> None:
    axes = Figure().subplots()
    space_plots.plot_scatter(axes, sample, LATENCY, ENERGY, "embed_dim")
    points = np.concatenate([line.get_xydata() for line in axes.get_lines()])
    assert len(points) == 90
    assert set(points[:, 1]) == set(sample.column(ENERGY))
    assert axes.get_ylabel() == "energy@h100 (mWh)"


def test_scatter_of_a_run_uses_its_device(
    finished_run: Result, three_objective_run: Result
) -> None:
    assert figures.scatter_figure(three_objective_run).axes[0].get_xlabel() == "latency@h100 (ms)"
    assert figures.scatter_figure(finished_run).axes[0].get_xlabel() == "latency@rtx3080 (ms)"
