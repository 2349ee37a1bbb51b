"""Hypervolume improvement, against differences of hypervolumes."""

from __future__ import annotations

import numpy as np
import pytest
from hwnas_plugins._hypervolume_improvement import (
    HypervolumeImprovement,
    RayImprovement,
    StaircaseImprovement,
    create_improvement,
)
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
    """Return the hypervolume that each candidate adds to a front."""
    base = pareto.hypervolume(front, reference)
    return np.array(
        [
            pareto.hypervolume(np.concatenate([front, candidate[None]]), reference) - base
            for candidate in candidates
        ]
    )


def evaluate(improvement: HypervolumeImprovement, points: Array) -> Array:
    """Return the hypervolume (s, k) that points (s, k, m) add to the fronts of s draws."""
    return improvement.evaluate(improvement.prepare(points))


def add(improvement: HypervolumeImprovement, points: Array) -> None:
    """Add a point (s, m) to the fronts of s draws."""
    improvement.add(improvement.prepare(points[:, None])[:, 0])


def cloud(n: int, m: int, seed: int) -> Array:
    """Return n non-dominated points on a sphere about (1, ..., 1)."""
    normals = np.abs(np.random.default_rng(seed).standard_normal((n, m)))
    return np.asarray(1 - normals / np.linalg.norm(normals, axis=1, keepdims=True))


# -- two objectives ------------------------------------------------------------------------------


@given(st.lists(points, min_size=1, max_size=3), points.filter(len))
def test_exact_for_two(fronts: list[Array], candidates: Array) -> None:
    reference = np.array([6.0, 5.0])
    improvement = StaircaseImprovement(fronts, reference)
    actual = evaluate(improvement, np.stack([candidates] * len(fronts)))
    expected = [differences(front, candidates, reference) for front in fronts]
    np.testing.assert_allclose(actual, expected, atol=1e-9)


@given(st.lists(points, min_size=2, max_size=2), points.filter(len), points.filter(len))
def test_exact_after_additions(fronts: list[Array], added: Array, candidates: Array) -> None:
    """Every draw has points of its own."""
    reference = np.array([6.0, 5.0])
    improvement = StaircaseImprovement(fronts, reference)
    for point in added:
        add(improvement, np.stack([point, point[::-1]]))
    actual = evaluate(improvement, np.stack([candidates, candidates]))
    for front, mine, row in zip(fronts, (added, added[:, ::-1]), actual, strict=True):
        extended = np.concatenate([front, mine])
        np.testing.assert_allclose(row, differences(extended, candidates, reference), atol=1e-9)


def test_two_by_hand() -> None:
    improvement = StaircaseImprovement([np.array([[1.0, 2.0], [2.0, 1.0]])], np.array([3.0, 3.0]))
    candidates = np.array([[[1.0, 1.0], [0.0, 0.0], [1.5, 1.5], [2.0, 2.0], [0.0, 2.5]]])
    np.testing.assert_allclose(evaluate(improvement, candidates), [[1.0, 6.0, 0.25, 0.0, 0.5]])
    add(improvement, np.array([[1.0, 1.0]]))
    np.testing.assert_allclose(evaluate(improvement, candidates), [[0.0, 5.0, 0.0, 0.0, 0.5]])


# -- more objectives -----------------------------------------------------------------------------


@pytest.mark.parametrize("m", [3, 4])
def test_rays_rank_as_hypervolumes_do(m: int) -> None:
    units = np.array([1.0, 1e3, 1e-6, 5.0])[:m]
    front, candidates = cloud(15, m, 0) + 0.1, cloud(60, m, 1) + 0.15
    reference = np.full(m, 1.1)
    exact = differences(front, candidates, reference)
    improvement = RayImprovement(
        [front * units], reference * units, np.zeros(m), np.random.default_rng(0)
    )
    actual = evaluate(improvement, candidates[None] * units)[0]
    assert 0.2 < (exact > 0).mean() < 0.9
    assert spearmanr(actual, exact).statistic > 0.93


def test_rays_approximate_hypervolumes() -> None:
    """The volume of an octant of a ball is pi / 6 times the mean of cubes."""
    front, candidates = cloud(8, 3, 0) + 0.2, cloud(80, 3, 1)
    reference = np.full(3, 1.2)
    exact = differences(front, candidates, reference)
    improvement = RayImprovement([front], reference, np.full(3, 0.2), np.random.default_rng(0))
    actual = evaluate(improvement, candidates[None])[0] * np.pi / 6
    large = exact > np.quantile(exact, 0.8)
    assert np.abs(actual / exact - 1)[large].max() < 0.1
    np.testing.assert_allclose(actual.mean(), exact.mean(), rtol=0.05)


def test_rays_of_each_draw() -> None:
    """Every draw has a front, points and added points of its own."""
    reference, ideal = np.full(3, 1.2), np.zeros(3)
    fronts, draws = [cloud(4, 3, 0), cloud(7, 3, 1)], np.stack([cloud(9, 3, 2), cloud(9, 3, 3)])
    joint = RayImprovement(fronts, reference, ideal, np.random.default_rng(0))
    # The second round checks that added points went to the front of their own draw.
    for _ in range(2):
        alone = [RayImprovement([f], reference, ideal, np.random.default_rng(0)) for f in fronts]
        expected = [
            evaluate(single, points[None])[0] for single, points in zip(alone, draws, strict=True)
        ]
        np.testing.assert_allclose(evaluate(joint, draws), expected)
        fronts = [np.concatenate([f, points[:1]]) for f, points in zip(fronts, draws, strict=True)]
        add(joint, draws[:, 0])
    np.testing.assert_array_equal(evaluate(joint, draws)[:, 0], 0)


# -- any number ----------------------------------------------------------------------------------


@pytest.mark.parametrize("m", [2, 3, 5])
@pytest.mark.parametrize("empty", [False, True])
def test_nothing_beyond_the_reference(m: int, empty: bool) -> None:
    reference = np.ones(m)
    front = np.full((0 if empty else 1, m), 0.5)
    improvement = create_improvement([front], reference, np.zeros(m), np.random.default_rng(0))
    beyond = np.full((4, m), 0.4)
    beyond[0, 0], beyond[1, 1], beyond[2, -1] = 1.0, 1.5, 2.0
    # Points with one, or all, coordinates at or beyond the reference.
    beyond[3] = 1.0  # the position of infeasible points
    np.testing.assert_array_equal(evaluate(improvement, beyond[None]), np.zeros((1, 4)))
    inside = np.full((1, 1, m), 0.4)
    base = evaluate(improvement, inside)
    assert base > 0
    for point in beyond:
        add(improvement, point[None])
    np.testing.assert_allclose(evaluate(improvement, inside), base)


@pytest.mark.parametrize("m", [2, 3])
def test_points_of_the_front_add_nothing(m: int) -> None:
    front = cloud(6, m, 0)
    improvement = create_improvement(
        [front], np.full(m, 1.1), np.zeros(m), np.random.default_rng(0)
    )
    np.testing.assert_allclose(evaluate(improvement, np.stack([front])), 0, atol=1e-12)
    np.testing.assert_allclose(evaluate(improvement, np.stack([front]) + 0.01), 0, atol=1e-12)
    assert (evaluate(improvement, np.stack([front]) - 0.01) > 0).all()


def test_units_of_three_objectives_do_not_matter() -> None:
    units = 2.0 ** np.array([-20, 3, 40])
    front, candidates, reference = cloud(6, 3, 0), cloud(9, 3, 1), np.full(3, 1.1)
    scaled, expected = (
        evaluate(
            create_improvement([front * u], reference * u, np.zeros(3), np.random.default_rng(0)),
            candidates[None] * u,
        )
        for u in (units, np.ones(3))
    )
    np.testing.assert_array_equal(scaled, expected)


def test_exact_for_one() -> None:
    front, candidates = np.array([[3.0], [2.0]]), np.array([[1.5], [2.0], [2.5], [9.0], [-1.0]])
    reference, ideal = np.array([4.0]), np.array([2.0])
    improvement = create_improvement([front], reference, ideal, np.random.default_rng(0))
    np.testing.assert_allclose(evaluate(improvement, candidates[None])[0], [0.25, 0, 0, 0, 1.5])
    add(improvement, np.array([[1.0]]))
    np.testing.assert_allclose(evaluate(improvement, candidates[None])[0], [0, 0, 0, 0, 1.0])
