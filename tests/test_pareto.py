from __future__ import annotations

import itertools

import moocore
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hwnas import pareto
from hwnas.typing import Array


def frozen(points: object) -> Array:
    """Return a read-only array: a function that writes to it fails."""
    array = np.array(points, dtype=np.float64)
    array.flags.writeable = False
    return array


@st.composite
def point_sets(
    draw: st.DrawFn, objectives: tuple[int, int] = (1, 4), max_size: int = 12, min_size: int = 0
) -> Array:
    """Draw points: few integers for ties, floats for none; some rows are repeated."""
    m = draw(st.integers(*objectives))
    elements = draw(
        st.sampled_from(
            [
                st.integers(0, 5).map(float),
                st.floats(-1e6, 1e6, allow_subnormal=False),
                st.sampled_from([-0.0, 0.0, 1.0]),
            ]
        )
    )
    points = draw(
        hnp.arrays(np.float64, (draw(st.integers(min_size, max_size)), m), elements=elements)
    )
    if len(points):
        repeated = draw(st.lists(st.integers(0, len(points) - 1), max_size=3))
        points = np.concatenate([points, points[repeated]])
    return frozen(points)


def grids(objectives: tuple[int, int] = (1, 4), max_size: int = 12) -> st.SearchStrategy[Array]:
    """Draw integer points, some of them at or beyond `GRID`, the reference in each objective."""
    return st.tuples(st.integers(0, max_size), st.integers(*objectives)).flatmap(
        lambda shape: hnp.arrays(np.float64, shape, elements=st.integers(0, GRID + 1)).map(frozen)
    )


GRID = 6


def dominates(a: Array, b: Array) -> bool:
    return bool((a <= b).all() and (a < b).any())


def cells(points: Array) -> int:
    """Hypervolume on the integer grid, cell by cell."""
    m = points.shape[1]
    corners = np.array(list(itertools.product(range(GRID), repeat=m)))
    return int((points[:, None] <= corners).all(axis=2).any(axis=0).sum()) if len(points) else 0


# -- dominance -----------------------------------------------------------------------------------


@given(point_sets())
def test_non_dominated_agrees_with_its_definition(points: Array) -> None:
    undominated = [not any(dominates(a, b) for a in points) for b in points]
    assert pareto.non_dominated(points, keep_equal=True).tolist() == undominated
    first = [
        is_undominated and not any((points[i] == points[j]).all() for i in range(j))
        for j, is_undominated in enumerate(undominated)
    ]
    mask = pareto.non_dominated(points)
    assert mask.tolist() == first
    assert mask.dtype == bool


def test_non_dominated_of_many() -> None:
    points = frozen(np.random.default_rng(0).integers(0, 40, size=(600, 3)))
    worse = (points[:, None] <= points).all(axis=2) & (points[:, None] < points).any(axis=2)
    expected = ~worse.any(axis=0)
    np.testing.assert_array_equal(pareto.non_dominated(points, keep_equal=True), expected)


def test_non_dominated_of_strided_points() -> None:
    points = frozen(np.asfortranarray([[0, 1], [1, 0], [1, 1]]))
    assert pareto.non_dominated(points).tolist() == [True, True, False]


@pytest.mark.parametrize("points", [[1.0, 2.0], 3.0, [[[1.0]]], np.empty((2, 0))])
def test_points_of_wrong_shape_are_refused(points: object) -> None:
    for call in (
        lambda: pareto.non_dominated(points),  # type: ignore[arg-type]
        lambda: pareto.hypervolume(points, [1]),  # type: ignore[arg-type]
        lambda: pareto.best_subset(points, [1, 1], 1),  # type: ignore[arg-type]
    ):
        with pytest.raises(ValueError, match=r"expected points of shape \(n, m\)"):
            call()


# -- hypervolume ---------------------------------------------------------------------------------


@given(grids())
def test_hypervolume_counts_cells(points: Array) -> None:
    reference = frozen([GRID] * points.shape[1])
    assert pareto.hypervolume(points, reference) == pytest.approx(cells(points), abs=1e-9)


@given(point_sets(objectives=(2, 4), min_size=1))
def test_hypervolume_agrees_with_moocore(points: Array) -> None:
    reference = np.median(points, axis=0) + 1
    below = points[(points < reference).all(axis=1)]
    expected = moocore.hypervolume(below, ref=reference) if len(below) else 0.0
    assert pareto.hypervolume(points, frozen(reference)) == pytest.approx(expected, rel=1e-9)


boxes = st.floats(0, 10, allow_subnormal=False)


@given(st.integers(1, 4).flatmap(lambda m: hnp.arrays(np.float64, m, elements=boxes)))
def test_hypervolume_of_one_point_is_a_box(point: Array) -> None:
    reference = [10.0] * len(point)
    assert pareto.hypervolume([point], reference) == pytest.approx(np.prod(10 - point))


@given(hnp.arrays(np.float64, (3, 3), elements=boxes))
def test_hypervolume_by_inclusion_and_exclusion(points: Array) -> None:
    reference = np.full(3, 10.0)
    expected = sum(
        (-1) ** (k + 1) * np.prod(reference - points[list(subset)].max(axis=0))
        for k in (1, 2, 3)
        for subset in itertools.combinations(range(3), k)
    )
    assert pareto.hypervolume(points, reference) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("n", [1, 2, 50])
def test_hypervolume_of_a_staircase(n: int) -> None:
    # Steps (i, n - i) below (n + 1, n + 1): columns of heights 1, 2, ..., n + 1.
    stairs = frozen([[i, n - i] for i in range(n + 1)])
    expected = (n + 1) * (n + 2) / 2
    assert pareto.hypervolume(stairs, [n + 1, n + 1]) == pytest.approx(expected)
    assert pareto.hypervolume(stairs[::-1], [n + 1, n + 1]) == pytest.approx(expected)


@pytest.mark.parametrize("m", [1, 2, 3])
def test_hypervolume_is_0_without_points_below_the_reference(m: int) -> None:
    assert pareto.hypervolume(np.empty((0, m)), [1.0] * m) == 0
    assert pareto.hypervolume([[1.0] * m], [1.0] * m) == 0
    assert pareto.hypervolume([[*[0.0] * (m - 1), 2.0]], [1.0] * m) == 0


@given(grids(objectives=(1, 3)), st.lists(st.integers(0, 11), max_size=3))
def test_steps_are_where_the_hypervolume_grows(points: Array, lost: list[int]) -> None:
    points = points.copy()
    points[[i for i in lost if i < len(points)], -1] = np.nan
    counted = np.nan_to_num(points, nan=GRID)
    so_far = [0, *(cells(counted[: k + 1]) for k in range(len(points)))]
    grows = np.flatnonzero(np.diff(so_far))
    indices, values = pareto.hypervolume_steps(frozen(points), frozen([GRID] * points.shape[1]))
    np.testing.assert_array_equal(indices, grows)
    np.testing.assert_allclose(values, np.array(so_far)[grows + 1])


def test_steps_of_many() -> None:
    points = frozen(np.random.default_rng(1).random((300, 2)))
    indices, values = pareto.hypervolume_steps(points, [0.8, 0.9])
    expected = [pareto.hypervolume(points[: i + 1], [0.8, 0.9]) for i in range(len(points))]
    steps = np.zeros(len(points))
    steps[indices] = np.diff(values, prepend=0)
    np.testing.assert_allclose(np.cumsum(steps), expected)
    assert (np.diff(values) > 0).all()
    assert len(indices) < 50


# -- distances -----------------------------------------------------------------------------------


@given(point_sets((2, 3), min_size=1), st.data())
def test_distances_agree_with_their_definitions(points: Array, data: st.DataObject) -> None:
    m = points.shape[1]
    front = data.draw(point_sets((m, m), min_size=1))
    gaps = points[None] - front[:, None]  # (front, points, m)
    plus = np.sqrt((np.maximum(gaps, 0) ** 2).sum(axis=2)).min(axis=1).mean()
    assert pareto.igd_plus(points, front) == pytest.approx(plus, rel=1e-9)
    additive = gaps.max(axis=2).min(axis=1).max()
    assert pareto.epsilon(points, front) == pytest.approx(additive, rel=1e-9)


def test_known_distances() -> None:
    front = frozen([[0, 2], [2, 0]])
    assert pareto.igd_plus(front, front) == pareto.epsilon(front, front) == 0
    single = frozen([[3, 4]])
    assert pareto.igd_plus(single, [[0, 0]]) == 5
    assert pareto.epsilon(single, [[0, 0]]) == 4
    assert pareto.igd_plus(single, front) == pytest.approx((13**0.5 + 17**0.5) / 2)
    assert pareto.igd_plus([[2, 0]], [[1, 1]]) == 1  # better in one objective is no distance
    assert pareto.epsilon([[-1, -1]], [[0, 0]]) == -1
    assert pareto.igd_plus([[-1, -1]], [[0, 0]]) == 0


# -- R2 ------------------------------------------------------------------------------------------


@given(point_sets((2, 2), min_size=1))
def test_r2_of_two_objectives_agrees_with_moocore(points: Array) -> None:
    ideal = frozen(points.min(axis=0))
    expected = moocore.r2_exact(points, ref=ideal)
    assert pareto.r2(points, ideal) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_discrete_r2_converges_to_the_exact_one(seed: int) -> None:
    points = frozen(np.random.default_rng(seed).random((300, 2)))
    exact = moocore.r2_exact(points, ref=[0, 0])
    errors = [
        abs(pareto._mean_chebyshev(points, pareto._simplex_weights(2, n)) - exact)
        for n in (20, 400, 8000)
    ]
    assert errors[0] < 1e-2
    assert errors[1] < 1e-5
    assert errors[2] < 1e-7


@given(point_sets((1, 4), min_size=1))
def test_r2_agrees_with_its_definition(points: Array) -> None:
    m = points.shape[1]
    ideal = frozen(points.min(axis=0))
    weights = pareto._simplex_weights(m, 1000)
    norms = (weights[:, None] * (points - ideal)).max(axis=2)
    expected = norms.min(axis=1).mean()
    # With two objectives it is exact, and the weights' mean off by the square of their distance
    # wherever the nearest point changes.
    tolerance = {"rel": 1e-4, "abs": 1e-6 * norms.max()} if m == 2 else {"rel": 1e-9}
    assert pareto.r2(points, ideal) == pytest.approx(expected, **tolerance)


@pytest.mark.parametrize(("m", "n"), [(1, 1), (2, 1000), (3, 990), (4, 969), (5, 715)])
def test_weights_are_spread_over_the_simplex(m: int, n: int) -> None:
    weights = pareto._simplex_weights(m, 1000)
    assert weights.shape == (n, m)
    assert len(np.unique(weights.round(9), axis=0)) == n
    assert weights.min() > 0
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    np.testing.assert_allclose(weights.mean(axis=0), 1 / m)
    np.testing.assert_allclose(np.sort(weights[:, 0]), np.sort(weights[:, -1]))


def test_known_r2() -> None:
    # Of one point at distance 1 in every objective: the mean of the greatest weight.
    assert pareto.r2([[1, 1]], [0, 0]) == pytest.approx(3 / 4)
    assert pareto.r2([[1, 1, 1]], [0, 0, 0]) == pytest.approx(11 / 18, abs=4e-3)
    finer = pareto._simplex_weights(3, 100_000)
    assert pareto._mean_chebyshev(frozen([[1, 1, 1]]), finer) == pytest.approx(11 / 18, abs=4e-4)
    assert pareto.r2([[3]], [1]) == 2
    assert pareto.r2([[0, 1], [1, 0]], [0, 0]) == pytest.approx(1 / 4)
    assert pareto.r2([[0, 0, 0], [1, 0, 0]], [0, 0, 0]) == 0
    assert pareto.r2([[-5, 1]], [0, 0]) == pareto.r2([[0, 1]], [0, 0])
    for nothing in (np.empty((0, 2)), np.empty((0, 3))):
        with pytest.raises(ValueError, match="expected at least one point, found none"):
            pareto.r2(nothing, np.zeros(nothing.shape[1]))


# -- best subsets --------------------------------------------------------------------------------


def best_of_all(points: Array, reference: Array, k: int) -> float:
    """Return the largest hypervolume of k points, by enumeration."""
    return max(
        pareto.hypervolume(points[list(subset)], reference)
        for subset in itertools.combinations(range(len(points)), min(k, len(points)))
    )


@st.composite
def two_objective_fronts(draw: st.DrawFn) -> tuple[Array, Array]:
    """Draw mostly non-dominated points; random ones would rarely be."""
    n = draw(st.integers(0, 9))
    numbers = st.one_of(
        st.integers(0, 30).map(float), st.floats(0, 30, allow_subnormal=False, width=32)
    )
    x = sorted(draw(st.lists(numbers, min_size=n, max_size=n)))
    y = sorted(draw(st.lists(numbers, min_size=n, max_size=n)), reverse=True)
    points = np.array([x, y]).T.reshape(-1, 2)
    order = draw(st.permutations(range(n)))
    reference = draw(st.sampled_from([[31, 31], [25, 31], [12, 12], [30, 30], [1000, 31]]))
    return frozen(points[list(order)]), frozen(reference)


@given(two_objective_fronts(), st.integers(1, 11))
def test_best_subset_agrees_with_enumeration(case: tuple[Array, Array], k: int) -> None:
    points, reference = case
    chosen = pareto.best_subset(points, reference, k)
    members = pareto.non_dominated(points) & (points < reference).all(axis=1)
    assert len(chosen) == min(k, members.sum()) == len(set(chosen.tolist()))
    assert members[chosen].all()
    assert (np.diff(points[chosen, 0]) > 0).all()
    expected = best_of_all(points, reference, k) if len(points) else 0.0
    assert pareto.hypervolume(points[chosen], reference) == pytest.approx(expected)


@given(two_objective_fronts(), st.integers(1, 11))
def test_best_hypervolumes_are_those_of_best_subsets(case: tuple[Array, Array], k: int) -> None:
    points, reference = case
    values = pareto.best_hypervolumes(points, reference, k)
    assert values.shape == (k,)
    expected = [
        pareto.hypervolume(points[pareto.best_subset(points, reference, i)], reference)
        for i in range(1, k + 1)
    ]
    np.testing.assert_allclose(values, expected)
    gains = np.diff(values, prepend=0)
    assert (gains >= -1e-9).all()
    assert (np.diff(gains) <= 1e-9 * max(1, values[-1])).all()
    if k >= len(points):
        assert values[-1] == pytest.approx(pareto.hypervolume(points, reference))


def best_by_table(points: Array, reference: Array, k: int) -> Array:
    """The same dynamic program without an envelope, O(n² k), for sorted members."""
    x, y = (reference - points).T
    best = x * y
    values = [best.max()]
    for _ in range(k - 1):
        gains = best[:, None] - y[:, None] * x  # (predecessor, successor)
        gains[np.tril_indices(len(x))] = -np.inf
        best = x * y + gains.max(axis=0)
        values.append(best.max())
    return np.array(values)


@pytest.mark.parametrize("shape", ["convex", "concave", "line", "random", "far", "uneven"])
def test_best_subsets_of_many(shape: str) -> None:
    n, k = 150, 12
    rng = np.random.default_rng(2)
    t = np.linspace(0, 1, n)
    x, y = {
        "convex": (t, (1 - np.sqrt(t)) ** 2),
        "concave": (t, np.sqrt(1 - t**2)),
        "line": (t, 1 - t),
        "random": (np.sort(rng.random(n)), np.sort(rng.random(n))[::-1]),
        "far": (1e6 + t, 1e-3 * (1 - t)),
        "uneven": (np.cumsum(rng.exponential(size=n) ** 4), np.arange(n)[::-1] ** 3.0),
    }[shape]
    points = np.stack([x, y], axis=1)
    reference = points.max(axis=0) + 0.1 * np.ptp(points, axis=0)
    expected = best_by_table(points, reference, k)
    order = rng.permutation(n)
    shuffled = frozen(points[order])
    values = pareto.best_hypervolumes(shuffled, frozen(reference), k)
    np.testing.assert_allclose(values, expected, rtol=1e-9)
    for size in (1, 2, 7, k):
        chosen = pareto.best_subset(shuffled, reference, size)
        worth = pareto.hypervolume(shuffled[chosen], reference)
        assert worth == pytest.approx(expected[size - 1], rel=1e-9)


def test_best_subset_by_hand() -> None:
    # Below (3, 3) alone: 3, 4 and 3 cells; the outer two share one cell, with the middle two.
    points = frozen([[2, 0], [1, 1], [0, 2], [2, 2], [0, 3]])
    assert pareto.best_subset(points, [3, 3], 1).tolist() == [1]
    assert pareto.best_subset(points, [3, 3], 3).tolist() == [2, 1, 0]
    assert pareto.best_subset(points, [3, 3], 9).tolist() == [2, 1, 0]
    assert pareto.best_hypervolumes(points, [3, 3], 5).tolist() == [4, 5, 6, 6, 6]


def test_best_subset_without_points_below_the_reference() -> None:
    points = frozen([[2, 0], [0, 2]])
    for nothing in (points, np.empty((0, 2))):
        assert pareto.best_subset(nothing, [1, 1], 2).tolist() == []
        assert pareto.best_hypervolumes(nothing, [1, 1], 2).tolist() == [0, 0]


@pytest.mark.parametrize("call", [pareto.best_subset, pareto.best_hypervolumes])
def test_best_subsets_refuse_invalid_arguments(call: object) -> None:
    with pytest.raises(ValueError, match="expected points of two objectives, found 3"):
        call(np.zeros((2, 3)), np.ones(3), 1)  # type: ignore[operator]
    with pytest.raises(ValueError, match="expected k of at least 1, found 0"):
        call(np.zeros((2, 2)), np.ones(2), 0)  # type: ignore[operator]
