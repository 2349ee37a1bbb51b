"""Networks that are best in weighted sums of tables, against looking at every network."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hwnas_plugins._scalarized_front import directions, supported
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.additive.effects import Effects
from hwnas.spaces import Codes, SearchSpace
from hwnas.typing import Array


@cache
def effects() -> Effects:
    """Of 888 networks of one or three layers."""
    return Effects(
        SearchSpace("x", embed_dim=[8, 16], n_layer=[1, 3], mlp_ratio=[1, 2, 3], n_head=[1, 2])
    )


@cache
def everything() -> tuple[Codes, Array]:
    """All networks, and which root each has."""
    codes = np.concatenate(list(effects().space.enumerate()))
    roots = (codes[:, None, :3] == effects().roots[None]).all(axis=2).argmax(axis=1)
    return codes, roots


def tables(rng: np.random.Generator, q: int) -> tuple[Array, Array]:
    shape = (q, len(effects().roots), 3, len(effects().options))
    return rng.standard_normal(shape[:2]), rng.standard_normal(shape)


def values_of(base: Array, layers: Array, m: int) -> Array:
    """What every network sums up to, (n, q), met violations as zero."""
    codes, roots = everything()
    out = base[:, roots]
    for layer in range(3):
        option = 2 * codes[:, 3 + 2 * layer] + codes[:, 4 + 2 * layer]
        there = layer < np.array([1, 3])[codes[:, 1]]
        out = out + layers[:, roots, layer, option] * there
    out[m:] = np.maximum(out[m:], 0)
    return out.T


def spans(layers: Array) -> Array:
    """By how much layers can change each sum, on average over roots."""
    there = effects().present[:, :, None]
    return np.asarray(np.ptp(layers * there, axis=3).sum(axis=2).mean(axis=1))


def found(codes: Codes) -> list[int]:
    """Which of all networks these are."""
    rank = {bytes(code): i for i, code in enumerate(everything()[0])}
    return [rank[bytes(code)] for code in codes]


def beats(mine: Array, other: Array) -> bool:
    """Whether `mine` dominates."""
    return bool((mine <= other + 1e-12).all() and (mine < other - 1e-9).any())


@pytest.mark.parametrize(("m", "c"), [(2, 0), (3, 0), (2, 1), (3, 2)])
@settings(max_examples=12)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_best_of_every_weighting(m: int, c: int, seed: int) -> None:
    """Exactly the winners of each root that no winner dominates."""
    rng = np.random.default_rng(seed)
    base, layers = tables(rng, m + c)
    weights = directions(12, m, c, rng)
    codes = supported(effects(), base, layers, weights, m)
    assert effects().space.is_valid(codes).all()
    assert len(np.unique(codes, axis=0)) == len(codes)

    raw = values_of(base, layers, m + c) / spans(layers)
    roots = everything()[1]
    winners = set()
    for aim in weights:
        for root in range(len(effects().roots)):
            mine = np.flatnonzero(roots == root)
            winners.add(int(mine[np.argmin(raw[mine] @ aim)]))
    values = values_of(base, layers, m)
    best = {i for i in winners if not any(beats(values[j], values[i]) for j in winners)}
    assert set(found(codes)) <= best
    assert not any(beats(values[j], values[i]) for i in found(codes) for j in found(codes))
    assert len({tuple(np.round(values[i], 9)) for i in best}) == len(codes)


def test_most_of_a_front_is_near() -> None:
    """Of the tables of features, as the optimizer uses them."""
    rng = np.random.default_rng(0)
    base, layers = (table for table in effects().tables(rng.standard_normal((2, effects().size))))
    values = values_of(base, layers, 2)
    codes = supported(effects(), base, layers, directions(48, 2, 0, rng), 2)
    best = values[found(codes)]
    assert best[:, 0].min() == pytest.approx(values[:, 0].min())
    assert best[:, 1].min() == pytest.approx(values[:, 1].min())
    aims = np.linspace(0.01, 0.99, 99)
    sums = np.stack([aims, 1 - aims]).T @ values.T
    lost = (sums[:, found(codes)].min(axis=1) - sums.min(axis=1)) / np.ptp(sums, axis=1)
    assert lost.max() < 0.02


def test_what_breaks_a_constraint_least() -> None:
    """Whatever the objectives say, and only if violations have a share in the weights."""
    rng = np.random.default_rng(2)
    base, layers = tables(rng, 3)
    base[2] = 50.0  # nothing is feasible
    last = values_of(base, layers, 3)[:, 2]
    weights = directions(48, 2, 1, rng)
    assert last[found(supported(effects(), base, layers, weights, 2))].min() == last.min()
    weights[:, 2] = 0
    some = weights[weights.sum(axis=1) > 0]
    assert last[found(supported(effects(), base, layers, some, 2))].min() > last.min()


@pytest.mark.parametrize(("m", "c"), [(2, 0), (2, 2), (3, 0), (5, 1)])
def test_directions(m: int, c: int) -> None:
    aims = directions(40, m, c, np.random.default_rng(0))
    assert aims.shape[1] == m + c
    assert len(aims) >= 40
    assert aims.min() >= 0
    np.testing.assert_allclose(aims.sum(axis=1), 1)
    for j in range(m):
        alone = aims[np.argmax(aims[:, j])]
        assert 0.995 < alone[j] < 1  # nearly on its own, and ties are for the others to break
        assert alone[:m].min() > 0
    assert (aims[:, m:].sum(axis=1) == 0).sum() >= 20
    for j in range(m, m + c):
        assert aims[:, j].max() == 1


def test_angles_of_two_objectives_are_spread() -> None:
    aims = directions(48, 2, 0, np.random.default_rng(0))
    angles = np.sort(np.arctan2(aims[:, 1], aims[:, 0]))
    assert angles[0] < 2e-4
    assert angles[-1] > np.pi / 2 - 2e-4
    assert 0 < np.diff(angles).min() < np.diff(angles).max() < 0.08
