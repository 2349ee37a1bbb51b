"""Attainment: against counting by hand and moocore's own surfaces, and what is drawn of it."""

from __future__ import annotations

import moocore
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from hwnas.reports.plots import attainment, kinds, style
from hwnas.reports.plots.attainment import differences, surface
from hwnas.runner.results import Result

grids = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=6)
searches = st.lists(grids, min_size=1, max_size=5)


def arrays(found: list[list[tuple[int, int]]]) -> list[np.ndarray]:
    return [np.array(front, dtype=float) for front in found]


def attained(fronts: list[np.ndarray], point: np.ndarray) -> int:
    """How many fronts have a point that is nowhere worse."""
    return sum(bool((front <= point).all(axis=1).any()) for front in fronts)


@given(searches, st.floats(0.01, 1.0))
def test_a_surface_is_what_enough_searches_attain(
    found: list[list[tuple[int, int]]], share: float
) -> None:
    fronts = arrays(found)
    points = surface(fronts, share)
    for x, y in np.ndindex(8, 8):
        at = np.array([x, y], dtype=float)
        beyond = bool((points <= at).all(axis=1).any())
        assert beyond == (attained(fronts, at) >= share * len(fronts) - 1e-9)
    assert (np.diff(points[:, 0]) > 0).all()
    assert (np.diff(points[:, 1]) < 0).all()


def test_surfaces_are_those_of_moocore(done: Result) -> None:
    rng = np.random.default_rng(0)
    fronts = [rng.uniform(size=(20, 2)) for _ in range(5)]
    sets = np.repeat(np.arange(5), 20)
    all_at_once = moocore.eaf(np.concatenate(fronts), sets)
    for k in range(1, 6):
        expected = all_at_once[all_at_once[:, 2] == 20 * k, :2]
        found = surface(fronts, k / 5)
        np.testing.assert_array_equal(found, expected[np.argsort(expected[:, 0])])


def test_a_search_that_found_nothing_attains_nothing() -> None:
    fronts = [np.array([[1.0, 2.0]]), np.empty((0, 2))]
    np.testing.assert_array_equal(surface(fronts, 0.5), [[1.0, 2.0]])
    assert len(surface(fronts, 1.0)) == 0


@given(searches, st.data())
def test_differences_are_counted(found: list[list[tuple[int, int]]], data: st.DataObject) -> None:
    first = arrays(found)
    second = arrays([data.draw(grids) for _ in first])
    boxes, lead = differences(first, second)
    for x, y in np.ndindex(8, 8):
        at = np.array([x + 0.5, y + 0.5])
        inside = (
            (boxes[:, 0] < at[0])
            & (at[0] < boxes[:, 1])
            & (boxes[:, 2] < at[1])
            & (at[1] < boxes[:, 3])
        )
        expected = (attained(first, at) - attained(second, at)) / len(first)
        assert inside.sum() <= 1
        assert lead[inside].sum() == pytest.approx(expected)


def test_medians_are_drawn_as_steps_up_to_the_reference_point(done: Result) -> None:
    axes = Figure().subplots()
    attainment.attainment(axes, done)
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert {"exact front", "random", "uniform"} <= set(lines)
    fronts = attainment.fronts_of(done, "random")
    assert len(fronts) == 2
    x, y = lines["random"].get_data()
    assert (x[0], y[-1]) == (x.min(), y.min())
    assert y[0] == done.reference.point[1]
    assert x[-1] == done.reference.point[0]
    # Only level and upright pieces.
    assert ((np.diff(x) == 0) | (np.diff(y) == 0)).all()
    median = surface(fronts, 0.5)
    inside = median[(median < done.reference.point).all(axis=1)]
    assert set(map(tuple, inside)) <= set(zip(x, y, strict=True))
    assert len(axes.patches) == 2  # from the best seed to the worst


def test_differences_are_drawn_within_the_picture(done: Result) -> None:
    axes = Figure().subplots()
    drawn = attainment.difference(axes, done, "uniform", "random")
    corners = np.concatenate([path.vertices for path in drawn.get_paths()])
    assert (corners <= done.reference.point + 1e-9).all()
    lead = drawn.get_array()
    assert lead is not None
    assert lead.max() <= 1
    assert lead.min() >= -1
    assert drawn.get_cmap().name == style.DIVERGING
    made = kinds.difference(done)
    assert [axes.get_title() for axes in made.axes[:1]] == ["uniform against random"]
    assert "uniform less the other" in made.axes[-1].get_ylabel()
