from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from hwnas import pareto
from hwnas.errors import InvalidInput
from hwnas.fronts import Front, reference_point
from hwnas.objectives import parse_objectives
from hwnas.typing import Array

BOTH = parse_objectives(["perplexity", "-speed"])  # the first is minimized, the second maximized


def numbered(n: int) -> NDArray[np.int8]:
    """Return codes that identify each row."""
    return np.arange(n, dtype=np.int8)[:, None]


def front_of(values: object, texts: list[str]) -> Front:
    array = np.array(values, dtype=float)
    array.flags.writeable = False
    return Front.of(numbered(len(array)), array, parse_objectives(texts))


points = st.tuples(st.integers(0, 12), st.integers(1, 3)).flatmap(
    lambda shape: hnp.arrays(np.float64, shape, elements=st.integers(0, 5))
)


@given(points, st.lists(st.booleans(), min_size=3, max_size=3))
def test_front_agrees_with_its_definition(values: Array, maximised: list[bool]) -> None:
    m = values.shape[1]
    names = ["-" * up + name for up, name in zip(maximised, ["x", "y", "z"], strict=True)]
    front = front_of(values, names[:m])
    signs = np.where(maximised[:m], -1, 1)
    losses = values * signs
    best = {tuple(a) for a in losses if not any((b <= a).all() and (b < a).any() for b in losses)}
    assert front.losses.tolist() == sorted(map(list, best))
    np.testing.assert_array_equal(front.values, front.losses * signs)
    np.testing.assert_array_equal(values[front.codes[:, 0]], front.values)  # the rows belong
    assert len(front) == len(best)


def test_front_by_hand() -> None:
    front = Front.of(
        numbered(5), np.array([[3.0, 9.0], [1.0, 2.0], [1.0, 2.0], [2.0, 1.0], [2.0, 5.0]]), BOTH
    )
    assert front.codes[:, 0].tolist() == [1, 4, 0]
    assert front.values.tolist() == [[1, 2], [2, 5], [3, 9]]
    assert front.losses.tolist() == [[1, -2], [2, -5], [3, -9]]
    assert front.objectives == BOTH


def test_exactness_of_a_front() -> None:
    front = front_of([[0, 1], [1, 0]], ["x", "y"])
    assert (front.epsilon, front.exactness) == (0, "exact front")
    assert front.best(1).epsilon is None  # no epsilon is proved of a subset
    within = Front.of(front.codes, front.values, front.objectives, epsilon=0.01231)
    assert (within.epsilon, within.exactness) == (0.01231, "front within 1.24 %")  # rounded up
    unproved = Front.of(front.codes, front.values, front.objectives, epsilon=None)
    assert (unproved.epsilon, unproved.exactness) == (None, "best known front")


def test_the_former_name_of_exactness_warns() -> None:
    front = front_of([[0, 1], [1, 0]], ["x", "y"])
    with pytest.warns(DeprecationWarning, match=r"Front.standing is now called Front.exactness"):
        assert front.standing == "exact front"


def test_front_without_architectures() -> None:
    front = Front.of(numbered(0), np.empty((0, 2)), BOTH)
    assert len(front) == 0
    assert front.losses.shape == (0, 2)
    assert len(front.best(3)) == 0


def test_reference_point_is_a_tenth_beyond_the_nadir() -> None:
    losses = np.array([[0.0, 20.0], [10.0, 0.0], [5.0, 5.0]])
    np.testing.assert_allclose(reference_point(losses), [11, 22])
    np.testing.assert_array_equal(reference_point(losses[:1]), [0, 20])


@given(
    st.lists(st.integers(0, 30), min_size=9, max_size=9, unique=True),
    st.lists(st.integers(0, 30), min_size=9, max_size=9, unique=True),
    st.integers(1, 9),
)
def test_best_agrees_with_enumeration(x: list[int], y: list[int], k: int) -> None:
    front = Front.of(numbered(9), np.array([sorted(x), sorted(y)], dtype=float).T, BOTH)
    assert len(front) == 9
    losses = front.losses
    reference = losses.max(axis=0) + 0.1 * np.ptp(losses, axis=0)
    expected = max(
        pareto.hypervolume(losses[list(subset)], reference)
        for subset in itertools.combinations(range(9), k)
    )
    best = front.best(k)
    assert len(best) == k
    assert pareto.hypervolume(best.losses, reference) == pytest.approx(expected)
    rows = best.codes[:, 0]
    assert (np.diff(rows) > 0).all()  # distinct members, in the order of the front
    np.testing.assert_array_equal(front.values[rows], best.values)
    assert best.objectives == BOTH


def test_best_of_as_many_as_there_are_is_the_front() -> None:
    front = front_of([[0, 1], [1, 0]], ["x", "y"])
    for k in (2, 3, 100):
        np.testing.assert_array_equal(front.best(k).values, front.values)


def test_best_refuses_invalid_arguments() -> None:
    with pytest.raises(InvalidInput, match="expected two objectives, found 3"):
        front_of([[0, 1, 2]], ["x", "y", "z"]).best(1)
    with pytest.raises(InvalidInput, match="expected at least 1, found 0"):
        front_of([[0, 1]], ["x", "y"]).best(0)
