"""Tests of non-dominated sorting and of mutation."""

from __future__ import annotations

import numpy as np
from hwnas_plugins._mutation import mutate_one
from hwnas_plugins._nondominated_sort import crowding_distance, nondominated_sort, total_violation
from hypothesis import given
from hypothesis import strategies as st

import hwnas
from hwnas.spaces import SearchSpace


def test_fronts_then_crowding_then_violation() -> None:
    losses = np.array([[0, 9], [1, 8], [5, 5], [9, 0], [5, 6], [9, 9], [-9, -9], [-9, -9]])
    violation = np.array([0, 0, 0, 0, 0, 0, 2.0, 1.0])
    # The first front by crowding distance, its ends first; the second; the infeasible ones.
    assert np.argsort(nondominated_sort(losses.astype(float), violation)).tolist() == [
        *(0, 3, 2, 1),
        *(4, 5),
        *(7, 6),
    ]


def test_crowding_is_in_ranges_of_the_front() -> None:
    losses = np.array([[0, 1000], [1, 400], [3, 100], [4, 0.0]])
    expected = [np.inf, 3 / 4 + 900 / 1000, 3 / 4 + 400 / 1000, np.inf]
    np.testing.assert_allclose(crowding_distance(losses), expected)
    np.testing.assert_allclose(crowding_distance(losses * [1e-6, 1e6]), expected)
    assert crowding_distance(losses[:0]).shape == (0,)
    assert np.isinf(crowding_distance(losses[:2])).all()


def test_violations_add_up() -> None:
    violations = np.array([[-5, 1], [2, 1], [0, -1]])
    np.testing.assert_array_equal(total_violation(violations, 3), [1, 3, 0])
    np.testing.assert_array_equal(total_violation(None, 3), [0, 0, 0])


@given(st.sampled_from(hwnas.spaces.GPT_SPACES), st.integers(0, 2**32 - 1))
def test_mutation_leads_to_a_neighbour(name: str, seed: int) -> None:
    space, rng = hwnas.space(name), np.random.default_rng(seed)
    starts = space.sample(3, rng)
    for start, end in zip(starts, mutate_one(space, starts, rng), strict=True):
        assert end.tobytes() in set(map(bytes, space.neighbours(start)))


def test_all_neighbours_are_equally_likely(small_space: SearchSpace) -> None:
    start = small_space.sample(1, np.random.default_rng(4))
    ends = mutate_one(small_space, np.repeat(start, 8000, axis=0), np.random.default_rng(0))
    neighbours, counts = np.unique(ends, axis=0, return_counts=True)
    assert set(map(bytes, neighbours)) == set(map(bytes, small_space.neighbours(start[0])))
    np.testing.assert_allclose(counts * len(neighbours) / 8000, 1, atol=0.15)
