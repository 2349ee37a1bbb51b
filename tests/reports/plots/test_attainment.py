"""Attainment surfaces and differences: against direct counts and moocore, and their plots."""

from __future__ import annotations

import moocore
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from hwnas.reports.plots import figures, style
from hwnas.reports.plots.attainment import (
    attainment_differences,
    attainment_surface,
    fronts_of,
    plot_attainment,
    plot_difference,
)
from hwnas.runner.results import Result

POINTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=6)
FRONTS = st.lists(POINTS, min_size=1, max_size=5)


def as_arrays(fronts: list[list[tuple[int, int]]]) -> list[np.ndarray]:
    return [np.array(front, dtype=float) for front in fronts]


def count_attaining(fronts: list[np.ndarray], point: np.ndarray) -> int:
    """Return the number of fronts with a point that is no worse in any objective."""
    return sum(bool((front <= point).all(axis=1).any()) for front in fronts)


@given(FRONTS, st.floats(0.01, 1.0))
def test_surface_bounds_points_that_enough_fronts_attain(
    lists: list[list[tuple[int, int]]], share: float
) -> None:
    fronts = as_arrays(lists)
    points = attainment_surface(fronts, share)
    # Compare with direct counts at every point of a grid that contains all points.
    for x, y in np.ndindex(8, 8):
        at = np.array([x, y], dtype=float)
        is_attained = bool((points <= at).all(axis=1).any())
        assert is_attained == (count_attaining(fronts, at) >= share * len(fronts) - 1e-9)
    assert (np.diff(points[:, 0]) > 0).all()
    assert (np.diff(points[:, 1]) < 0).all()


def test_surfaces_equal_those_of_moocore(finished_run: Result) -> None:
    rng = np.random.default_rng(0)
    fronts = [rng.uniform(size=(20, 2)) for _ in range(5)]
    sets = np.repeat(np.arange(5), 20)
    surfaces = moocore.eaf(np.concatenate(fronts), sets)
    # moocore returns the surfaces of all levels in one array, with the level as a third column.
    for k in range(1, 6):
        expected = surfaces[surfaces[:, 2] == 20 * k, :2]
        surface = attainment_surface(fronts, k / 5)
        np.testing.assert_array_equal(surface, expected[np.argsort(expected[:, 0])])


def test_empty_fronts_attain_nothing() -> None:
    fronts = [np.array([[1.0, 2.0]]), np.empty((0, 2))]
    np.testing.assert_array_equal(attainment_surface(fronts, 0.5), [[1.0, 2.0]])
    assert len(attainment_surface(fronts, 1.0)) == 0


@given(FRONTS, st.data())
def test_differences_equal_direct_counts(
    lists: list[list[tuple[int, int]]], data: st.DataObject
) -> None:
    first = as_arrays(lists)
    second = as_arrays([data.draw(POINTS) for _ in first])
    boxes, lead = attainment_differences(first, second)
    # Points between those of the grid are inside boxes, not on their borders.
    for x, y in np.ndindex(8, 8):
        at = np.array([x + 0.5, y + 0.5])
        inside = (
            (boxes[:, 0] < at[0])
            & (at[0] < boxes[:, 1])
            & (boxes[:, 2] < at[1])
            & (at[1] < boxes[:, 3])
        )
        expected = (count_attaining(first, at) - count_attaining(second, at)) / len(first)
        assert inside.sum() <= 1
        assert lead[inside].sum() == pytest.approx(expected)


def test_medians_are_plotted_as_steps_up_to_the_reference_point(finished_run: Result) -> None:
    axes = Figure().subplots()
    plot_attainment(axes, finished_run)
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert {"exact front", "random", "uniform"} <= set(lines)
    fronts = fronts_of(finished_run, "random")
    assert len(fronts) == 2
    x, y = lines["random"].get_data()
    assert (x[0], y[-1]) == (x.min(), y.min())
    assert y[0] == finished_run.reference.point[1]
    assert x[-1] == finished_run.reference.point[0]
    # Only horizontal and vertical pieces.
    assert ((np.diff(x) == 0) | (np.diff(y) == 0)).all()
    median = attainment_surface(fronts, 0.5)
    inside = median[(median < finished_run.reference.point).all(axis=1)]
    assert set(map(tuple, inside)) <= set(zip(x, y, strict=True))
    assert len(axes.patches) == 2  # a band from the best seed to the worst for each optimizer


def test_differences_are_plotted_within_the_axes(finished_run: Result) -> None:
    axes = Figure().subplots()
    regions = plot_difference(axes, finished_run, "uniform", "random")
    corners = np.concatenate([path.vertices for path in regions.get_paths()])
    assert (corners <= finished_run.reference.point + 1e-9).all()
    lead = regions.get_array()
    assert lead is not None
    assert lead.max() <= 1
    assert lead.min() >= -1
    assert regions.get_cmap().name == style.DIVERGING
    figure = figures.difference_figure(finished_run)
    assert [axes.get_title() for axes in figure.axes[:1]] == ["uniform against random"]
    assert "uniform minus the other" in figure.axes[-1].get_ylabel()
