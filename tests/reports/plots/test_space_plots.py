"""What networks are like, drawn."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import hwnas
from hwnas.errors import InvalidInput
from hwnas.objectives import Objective
from hwnas.reports.plots import kinds, space_plots
from hwnas.reports.plots.sampled_architectures import Population, drawn_at_random
from hwnas.runner.results import Result

LATENCY, ENERGY = Objective("latency", ("h100",)), Objective("energy", ("h100",))


@pytest.fixture(scope="module")
def some() -> Population:
    return drawn_at_random(hwnas.surrogate("gpt-s"), 90)


def test_distributions_are_steps_of_each_group(some: Population) -> None:
    axes = Figure().subplots()
    space_plots.distribution(axes, some, LATENCY, "embed_dim")
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert list(lines) == ["192", "384", "768"]
    wide = some.column(LATENCY)[some.codes[:, 0] == 2]
    x, y = lines["768"].get_data()
    np.testing.assert_allclose(np.sort(wide), x[1:])
    np.testing.assert_allclose(y[-1], 1)
    assert lines["768"].get_drawstyle().startswith("steps")
    assert axes.get_xlabel() == "latency@h100 (ms)"
    legend = axes.get_legend()
    assert legend is not None
    assert legend.get_title().get_text() == "embed_dim"


def level_lines(axes: Axes) -> list[float]:
    ends = [line.get_ydata() for line in axes.get_lines()]
    return [y[0] for y in ends if len({*y}) == 1]


def test_effects_are_boxes_about_the_median(some: Population) -> None:
    axes = Figure().subplots()
    space_plots.effect(axes, some, LATENCY, "embed_dim")
    values = some.column(LATENCY)
    for width in range(3):
        assert np.median(values[some.codes[:, 0] == width]) in level_lines(axes)
    assert axes.get_ylabel() == "latency@h100 (ms)"


def test_effects_of_the_rest_are_within_an_embed_dim(some: Population) -> None:
    axes = Figure().subplots()
    space_plots.effect(axes, some, LATENCY, "n_layer")
    values = some.column(LATENCY).copy()
    for width in range(3):
        values[some.codes[:, 0] == width] /= values[some.codes[:, 0] == width].mean()
    for depth in range(3):
        median = 100 * (np.median(values[some.codes[:, 1] == depth]) - 1)
        assert np.isclose(level_lines(axes), median).any()
    assert [label.get_text() for label in axes.get_xticklabels()] == ["10", "11", "12"]
    assert axes.get_ylabel() == "latency@h100, % from the mean\nof its embed_dim"


def test_scatter(some: Population) -> None:
    axes = Figure().subplots()
    space_plots.scatter(axes, some, LATENCY, ENERGY, "embed_dim")
    drawn = np.concatenate([line.get_xydata() for line in axes.get_lines()])
    assert len(drawn) == 90
    assert set(drawn[:, 1]) == set(some.column(ENERGY))
    assert axes.get_ylabel() == "energy@h100 (mWh)"


def test_correlation_is_a_matrix_with_its_numbers(some: Population) -> None:
    axes = Figure().subplots()
    image = space_plots.correlation(axes, some, [LATENCY, ENERGY])
    matrix = image.get_array()
    assert matrix is not None
    assert matrix.shape == (2, 2)
    assert axes.texts[1].get_text() == f"{matrix[0, 1]:.2f}"
    assert image.norm.vmin == 0
    image = space_plots.correlation(axes, some, [LATENCY, Objective("perplexity")])
    assert image.norm.vmin == -1  # one goes down where the other goes up


def test_parallel_lines_go_from_least_to_most(some: Population) -> None:
    axes = Figure().subplots()
    space_plots.parallel(axes, some.only([LATENCY]))
    (lines,) = axes.collections
    segments = np.array(lines.get_segments())
    assert segments.shape == (90, 6, 2)
    assert segments[:, :, 1].min() == 0
    assert segments[:, :, 1].max() == 1
    texts = [text.get_text() for text in axes.texts]
    assert "without" in texts  # bias
    assert f"{some.column(LATENCY).max():.4g}" in texts
    empty = Population(some.space, some.codes[:0], (LATENCY,), np.empty((0, 1)), "")
    with pytest.raises(InvalidInput, match="expected networks, found none"):
        space_plots.parallel(axes, empty)


def test_matrices_of_a_run(done: Result) -> None:
    made = kinds.correlation(done)
    names = [[label.get_text() for label in axes.get_xticklabels()] for axes in made.axes[:3]]
    assert "latency@rtx3080" in names[0]
    assert "latency@h100" not in names[0]
    assert len(names[1]) == len(names[2]) == 13


def test_scatter_wants_latency_and_energy(done: Result, three: Result) -> None:
    assert kinds.scatter(three).axes[0].get_xlabel() == "latency@h100 (ms)"
    assert kinds.scatter(done).axes[0].get_xlabel() == "latency@rtx3080 (ms)"
