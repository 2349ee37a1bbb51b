"""Hypervolume improvement, against differences of hypervolumes."""

from __future__ import annotations

import numpy as np
import pytest
from hwnas_plugins._hypervolume_improvement import Improvement, Rays, Staircases, improvement
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from hwnas import pareto
from hwnas.typing import Array

numbers = st.integers(-3, 9).map(float) | st.floats(-3, 9)
points = st.lists(st.tuples(numbers, numbers), max_size=7).map(
    lambda rows: np.array(rows, dtype=float).reshape(-1, 2)
)


def differences(front: Array, candidates: Array, reference: Array) -> Array:
    """What each candidate adds to the hypervolume of a front."""
    before = pareto.hypervolume(front, reference)
    return np.array(
        [
            pareto.hypervolume(np.concatenate([front, candidate[None]]), reference) - before
            for candidate in candidates
        ]
    )


def gained(gains: Improvement, points: Array) -> Array:
    """What points (s, k, m) add to the fronts of s draws, (s, k)."""
    return gains.of(gains.seen(points))


def put(gains: Improvement, points: Array) -> None:
    """A point (s, m) into the fronts of s draws."""
    gains.add(gains.seen(points[:, None])[:, 0])


def cloud(n: int, m: int, seed: int) -> Array:
    """Non-dominated points near a sphere."""
    drawn = np.abs(np.random.default_rng(seed).standard_normal((n, m)))
    return np.asarray(1 - drawn / np.linalg.norm(drawn, axis=1, keepdims=True))


# -- two objectives ------------------------------------------------------------------------------


@given(st.lists(points, min_size=1, max_size=3), points.filter(len))
def test_exact_for_two(fronts: list[Array], candidates: Array) -> None:
    reference = np.array([6.0, 5.0])
    gains = Staircases(fronts, reference)
    found = gained(gains, np.stack([candidates] * len(fronts)))
    expected = [differences(front, candidates, reference) for front in fronts]
    np.testing.assert_allclose(found, expected, atol=1e-9)


@given(st.lists(points, min_size=2, max_size=2), points.filter(len), points.filter(len))
def test_exact_after_others_were_added(fronts: list[Array], added: Array, some: Array) -> None:
    """Of each draw its own points."""
    reference = np.array([6.0, 5.0])
    gains = Staircases(fronts, reference)
    for point in added:
        put(gains, np.stack([point, point[::-1]]))
    found = gained(gains, np.stack([some, some]))
    for front, mine, row in zip(fronts, (added, added[:, ::-1]), found, strict=True):
        whole = np.concatenate([front, mine])
        np.testing.assert_allclose(row, differences(whole, some, reference), atol=1e-9)


def test_two_by_hand() -> None:
    gains = Staircases([np.array([[1.0, 2.0], [2.0, 1.0]])], np.array([3.0, 3.0]))
    candidates = np.array([[[1.0, 1.0], [0.0, 0.0], [1.5, 1.5], [2.0, 2.0], [0.0, 2.5]]])
    np.testing.assert_allclose(gained(gains, candidates), [[1.0, 6.0, 0.25, 0.0, 0.5]])
    put(gains, np.array([[1.0, 1.0]]))
    np.testing.assert_allclose(gained(gains, candidates), [[0.0, 5.0, 0.0, 0.0, 0.5]])


# -- more objectives -----------------------------------------------------------------------------


@pytest.mark.parametrize("m", [3, 4])
def test_rays_rank_as_hypervolumes_do(m: int) -> None:
    units = np.array([1.0, 1e3, 1e-6, 5.0])[:m]
    front, candidates = cloud(15, m, 0) + 0.1, cloud(60, m, 1) + 0.15
    reference = np.full(m, 1.1)
    exact = differences(front, candidates, reference)
    gains = Rays([front * units], reference * units, np.zeros(m), np.random.default_rng(0))
    found = gained(gains, candidates[None] * units)[0]
    assert 0.2 < (exact > 0).mean() < 0.9
    assert spearmanr(found, exact).statistic > 0.93


def test_rays_come_near_hypervolumes() -> None:
    """Of an octant of a ball in a box: its volume is pi / 6 times the mean of cubes."""
    front, candidates = cloud(8, 3, 0) + 0.2, cloud(80, 3, 1)
    reference = np.full(3, 1.2)
    exact = differences(front, candidates, reference)
    gains = Rays([front], reference, np.full(3, 0.2), np.random.default_rng(0))
    found = gained(gains, candidates[None])[0] * np.pi / 6
    large = exact > np.quantile(exact, 0.8)
    assert np.abs(found / exact - 1)[large].max() < 0.1
    np.testing.assert_allclose(found.mean(), exact.mean(), rtol=0.05)


def test_rays_of_each_draw() -> None:
    """Fronts, points and what is added are each draw's own."""
    reference, ideal = np.full(3, 1.2), np.zeros(3)
    fronts, drawn = [cloud(4, 3, 0), cloud(7, 3, 1)], np.stack([cloud(9, 3, 2), cloud(9, 3, 3)])
    both = Rays(fronts, reference, ideal, np.random.default_rng(0))
    for _ in range(2):
        alone = [Rays([f], reference, ideal, np.random.default_rng(0)) for f in fronts]
        expected = [gained(one, mine[None])[0] for one, mine in zip(alone, drawn, strict=True)]
        np.testing.assert_allclose(gained(both, drawn), expected)
        fronts = [np.concatenate([f, mine[:1]]) for f, mine in zip(fronts, drawn, strict=True)]
        put(both, drawn[:, 0])
    np.testing.assert_array_equal(gained(both, drawn)[:, 0], 0)


# -- any number ----------------------------------------------------------------------------------


@pytest.mark.parametrize("m", [2, 3, 5])
@pytest.mark.parametrize("empty", [False, True])
def test_nothing_beyond_the_reference(m: int, empty: bool) -> None:
    reference = np.ones(m)
    front = np.full((0 if empty else 1, m), 0.5)
    gains = improvement([front], reference, np.zeros(m), np.random.default_rng(0))
    beyond = np.full((4, m), 0.4)
    beyond[0, 0], beyond[1, 1], beyond[2, -1] = 1.0, 1.5, 2.0
    beyond[3] = 1.0  # where what is infeasible is put
    np.testing.assert_array_equal(gained(gains, beyond[None]), np.zeros((1, 4)))
    inside = np.full((1, 1, m), 0.4)
    before = gained(gains, inside)
    assert before > 0
    for point in beyond:
        put(gains, point[None])
    np.testing.assert_allclose(gained(gains, inside), before)


@pytest.mark.parametrize("m", [2, 3])
def test_points_that_are_there_add_nothing(m: int) -> None:
    front = cloud(6, m, 0)
    gains = improvement([front], np.full(m, 1.1), np.zeros(m), np.random.default_rng(0))
    np.testing.assert_allclose(gained(gains, np.stack([front])), 0, atol=1e-12)
    np.testing.assert_allclose(gained(gains, np.stack([front]) + 0.01), 0, atol=1e-12)
    assert (gained(gains, np.stack([front]) - 0.01) > 0).all()


def test_units_of_three_objectives_do_not_matter() -> None:
    units = 2.0 ** np.array([-20, 3, 40])
    front, candidates, reference = cloud(6, 3, 0), cloud(9, 3, 1), np.full(3, 1.1)
    here, there = (
        gained(
            improvement([front * u], reference * u, np.zeros(3), np.random.default_rng(0)),
            candidates[None] * u,
        )
        for u in (np.ones(3), units)
    )
    np.testing.assert_array_equal(here, there)


def test_exact_for_one() -> None:
    front, candidates = np.array([[3.0], [2.0]]), np.array([[1.5], [2.0], [2.5], [9.0], [-1.0]])
    reference, ideal = np.array([4.0]), np.array([2.0])
    gains = improvement([front], reference, ideal, np.random.default_rng(0))
    np.testing.assert_allclose(gained(gains, candidates[None])[0], [0.25, 0, 0, 0, 1.5])
    put(gains, np.array([[1.0]]))
    np.testing.assert_allclose(gained(gains, candidates[None])[0], [0, 0, 0, 0, 1.0])
