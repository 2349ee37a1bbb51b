"""Tests of the homogeneous architectures and their order."""

from __future__ import annotations

import numpy as np
import pytest
from hwnas_plugins.uniform import Uniform, farthest_first
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import hwnas
from hwnas.spaces import Codes, GPTSpace, SearchSpace


def propose(optimizer: Uniform, n: int, at_once: int = 7) -> Codes:
    parts = [optimizer.space.encode([])]
    while (missing := n - sum(map(len, parts))) > 0:
        parts.append(optimizer.ask(min(at_once, missing)))
    return np.concatenate(parts)


def coordinates(space: SearchSpace, codes: Codes) -> NDArray[np.float64]:
    """Return embed_dim, n_layer and the first layer's choices, each scaled to [0, 1]."""
    columns = [0, 1, 3, 4]
    return codes[:, columns] / np.maximum(space.cardinalities[columns] - 1, 1)


def is_farthest_first(points: NDArray[np.float64]) -> bool:
    """Return whether each point is the farthest of the remaining ones from those before it."""
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    return all(
        distance[i, :i].min() >= distance[i:, :i].min(axis=1).max() - 1e-12
        for i in range(1, len(points))
    )


@pytest.mark.parametrize("at_once", [1, 50, 1000])
@pytest.mark.parametrize("name", ["gpt-s", "gpt-l-wide"])
def test_homogeneous_architectures_come_first(name: str, at_once: int) -> None:
    space = hwnas.space(name)
    codes = propose(Uniform(space, 2, seed=1), 300, at_once)
    archs = space.decode(codes)
    alike = [len(set(a.mlp_ratio)) == len(set(a.n_head)) == 1 for a in archs]
    # 81 architectures with bias, 81 without, then random ones.
    assert alike == [True] * 162 + [False] * 138
    assert [a.bias for a in archs[:162]] == [True] * 81 + [False] * 81
    for part in (archs[:81], archs[81:162]):
        kinds = {(a.embed_dim, a.n_layer, a.mlp_ratio[0], a.n_head[0]) for a in part}
        assert len(kinds) == 81 == 3**4
    assert len(np.unique(codes, axis=0)) == 300


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_order_is_farthest_first(seed: int) -> None:
    space = hwnas.space("gpt-s")
    points = coordinates(space, propose(Uniform(space, 2, seed=seed), 162))
    assert is_farthest_first(points[:81])
    np.testing.assert_array_equal(points[:81], points[81:])
    assert not is_farthest_first(points[80::-1])


def test_the_seed_determines_the_order() -> None:
    space = hwnas.space("gpt-s")
    orders = [propose(Uniform(space, 2, seed=seed), 81) for seed in (0, 0, 1, 2, 3)]
    np.testing.assert_array_equal(orders[0], orders[1])
    assert len({order.tobytes() for order in orders}) == 4
    assert len({bytes(order[0]) for order in orders}) > 1
    for order in orders:
        np.testing.assert_array_equal(np.unique(order, axis=0), np.unique(orders[0], axis=0))


def test_two_widths_are_spread(small_space: SearchSpace) -> None:
    """Unlike ``bias``, another choice of two values takes part in the order."""
    codes = propose(Uniform(small_space, 2, seed=0), 32)
    assert (codes[:, 2] == [1] * 16 + [0] * 16).all()
    points = coordinates(small_space, codes[:16])
    assert is_farthest_first(points)
    np.testing.assert_array_equal(points[0] + points[1], 1)  # opposite corners


@pytest.mark.parametrize("bias", [False, True])
def test_single_bias(bias: bool) -> None:
    space = GPTSpace(
        "x", embed_dim=[8], n_layer=[2], mlp_ratio=[1, 2, 3], n_head=[1, 2], bias=[bias]
    )
    archs = space.decode(propose(Uniform(space, 2, seed=0), 36))
    assert len({a.mlp_ratio + a.n_head for a in archs}) == 36
    assert [len(set(a.mlp_ratio)) == len(set(a.n_head)) == 1 for a in archs] == [
        i < 6 for i in range(36)
    ]


def test_evaluated_architectures_are_skipped(small_space: SearchSpace) -> None:
    uninformed, informed = (Uniform(small_space, 2, seed=0) for _ in range(2))
    order = propose(uninformed, 32)
    informed.tell(order[[0, 5, 6, 7, 8, 31]], np.ones((6, 2)))
    np.testing.assert_array_equal(
        propose(informed, 26), np.delete(order, [0, 5, 6, 7, 8, 31], axis=0)
    )


@given(
    st.lists(st.lists(st.integers(0, 3), min_size=2, max_size=2), min_size=1, max_size=25),
    st.integers(0, 99),
)
def test_farthest_first(points: list[list[int]], seed: int) -> None:
    order = farthest_first(np.array(points, dtype=float), np.random.default_rng(seed))
    assert sorted(order) == list(range(len(points)))
    assert is_farthest_first(np.array(points, dtype=float)[order])


def test_farthest_first_on_a_line() -> None:
    points = np.linspace(0, 1, 9)[:, None]
    for seed in range(20):
        order = farthest_first(points, np.random.default_rng(seed)).tolist()
        assert order[1] in ({0, 8} if order[0] == 4 else {0 if order[0] > 4 else 8})
        if order[0] in (0, 8):
            assert set(order[1:3]) == {8 - order[0], 4}
            assert set(order[3:5]) == {2, 6}
