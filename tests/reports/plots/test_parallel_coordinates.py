"""Parallel coordinates: lines, scales and labels."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from hwnas.errors import InvalidInput
from hwnas.objectives import Objective
from hwnas.reports.plots.figures import parallel_figure
from hwnas.reports.plots.parallel_coordinates import plot_parallel_coordinates
from hwnas.reports.plots.sampled_architectures import SampledArchitectures
from hwnas.runner.results import Result

LATENCY = Objective("latency", ("h100",))


def test_axes_go_from_the_least_to_the_greatest_value(sample: SampledArchitectures) -> None:
    axes = Figure().subplots()
    plot_parallel_coordinates(axes, sample.select([LATENCY]))
    (lines,) = axes.collections
    segments = np.array(lines.get_segments())
    assert segments.shape == (90, 6, 2)
    assert segments[:, :, 1].min() == 0
    assert segments[:, :, 1].max() == 1
    texts = [text.get_text() for text in axes.texts]
    assert "without" in texts  # bias
    assert f"{sample.column(LATENCY).max():.4g}" in texts


def test_architectures_are_required(sample: SampledArchitectures) -> None:
    empty = SampledArchitectures(sample.space, sample.codes[:0], (LATENCY,), np.empty((0, 1)), "")
    with pytest.raises(InvalidInput, match="expected architectures, found none"):
        plot_parallel_coordinates(Figure().subplots(), empty)


def test_color_bar_names_metric_and_unit(finished_run: Result) -> None:
    figure = parallel_figure(finished_run)
    axes, bar = figure.axes
    assert bar.get_ylabel() == "color of a line: latency@rtx3080 (ms)"
    # The bar has the range of the last vertical axis, and lines have the colors of their values.
    (lines,) = axes.collections
    latency = np.concatenate([search.front.values[:, 1] for search in finished_run.searches])
    drawn = lines.get_array()
    assert drawn is not None
    assert set(drawn.tolist()) <= set(latency.tolist())
    assert lines.get_clim() == bar.get_ylim() == (drawn.min(), drawn.max())
