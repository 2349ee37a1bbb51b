"""Tests of minimizers of weighted sums of tables, against all architectures."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.additive.effects import Effects
from hwnas.additive.scalarized_front import scalarized_front, weight_vectors
from hwnas.spaces import Codes, GPTSpace
from hwnas.typing import Array


@cache
def effects() -> Effects:
    """Return the effects of a space of 888 architectures of one or three layers."""
    return Effects(
        GPTSpace("x", embed_dim=[8, 16], n_layer=[1, 3], mlp_ratio=[1, 2, 3], n_head=[1, 2])
    )


@cache
def all_codes() -> tuple[Codes, Array]:
    """Return all architectures and the index of the root of each."""
    codes = np.concatenate(list(effects().space.enumerate()))
    roots = (codes[:, None, :3] == effects().roots[None]).all(axis=2).argmax(axis=1)
    return codes, roots


def tables(rng: np.random.Generator, q: int) -> tuple[Array, Array]:
    shape = (q, len(effects().roots), 3, len(effects().options))
    return rng.standard_normal(shape[:2]), rng.standard_normal(shape)


def values_of(base: Array, layers: Array, m: int) -> Array:
    """Return the sums (n, q) of all architectures, with violations that are met as 0."""
    codes, roots = all_codes()
    out = base[:, roots]
    for layer in range(3):
        option = 2 * codes[:, 3 + 2 * layer] + codes[:, 4 + 2 * layer]
        present = layer < np.array([1, 3])[codes[:, 1]]
        out = out + layers[:, roots, layer, option] * present
    out[m:] = np.maximum(out[m:], 0)
    return out.T


def spans(layers: Array) -> Array:
    """Return the range of each sum over the layers, on average over roots."""
    present = effects().present[:, :, None]
    return np.asarray(np.ptp(layers * present, axis=3).sum(axis=2).mean(axis=1))


def indices_of(codes: Codes) -> list[int]:
    """Return the indices of codes among all architectures."""
    rank = {bytes(code): i for i, code in enumerate(all_codes()[0])}
    return [rank[bytes(code)] for code in codes]


def dominates(first: Array, second: Array) -> bool:
    """Return whether the first point dominates the second."""
    return bool((first <= second + 1e-12).all() and (first < second - 1e-9).any())


@pytest.mark.parametrize(("m", "c"), [(2, 0), (3, 0), (2, 1), (3, 2)])
@settings(max_examples=12)
@given(seed=st.integers(0, 2**32 - 1))
def test_minimizers_of_every_weighted_sum(m: int, c: int, seed: int) -> None:
    """The minimizers of all roots that no other minimizer dominates."""
    rng = np.random.default_rng(seed)
    base, layers = tables(rng, m + c)
    weights = weight_vectors(12, m, c, rng)
    codes = scalarized_front(effects(), base, layers, weights, m)
    assert effects().space.is_valid(codes).all()
    assert len(np.unique(codes, axis=0)) == len(codes)

    # Minimize every weighted sum over all architectures of every root.
    raw = values_of(base, layers, m + c) / spans(layers)
    roots = all_codes()[1]
    winners = set()
    for aim in weights:
        for root in range(len(effects().roots)):
            first = np.flatnonzero(roots == root)
            winners.add(int(first[np.argmin(raw[first] @ aim)]))
    values = values_of(base, layers, m)
    front = {i for i in winners if not any(dominates(values[j], values[i]) for j in winners)}
    assert set(indices_of(codes)) <= front
    assert not any(
        dominates(values[j], values[i]) for i in indices_of(codes) for j in indices_of(codes)
    )
    assert len({tuple(np.round(values[i], 9)) for i in front}) == len(codes)


def test_minimizers_are_close_to_the_front() -> None:
    """With the tables of random effects, as in the optimizer."""
    rng = np.random.default_rng(0)
    base, layers = (table for table in effects().tables(rng.standard_normal((2, effects().size))))
    values = values_of(base, layers, 2)
    codes = scalarized_front(effects(), base, layers, weight_vectors(48, 2, 0, rng), 2)
    front = values[indices_of(codes)]
    assert front[:, 0].min() == pytest.approx(values[:, 0].min())
    assert front[:, 1].min() == pytest.approx(values[:, 1].min())
    aims = np.linspace(0.01, 0.99, 99)
    # Loss in every weighted sum, relative to its range over all architectures.
    sums = np.stack([aims, 1 - aims]).T @ values.T
    regret = (sums[:, indices_of(codes)].min(axis=1) - sums.min(axis=1)) / np.ptp(sums, axis=1)
    assert regret.max() < 0.02


def test_front_of_the_feasible_minimizers() -> None:
    """An infeasible minimizer dominates nothing, and few of them are returned."""
    rng = np.random.default_rng(3)
    base, layers = tables(rng, 3)
    base[2] -= np.median(values_of(base, layers, 3)[:, 2])  # about half is feasible
    weights, values = weight_vectors(200, 2, 1, rng), values_of(base, layers, 2)
    feasible, more = (
        indices_of(scalarized_front(effects(), base, layers, weights, 2, n)) for n in (0, 4)
    )
    assert (values[feasible, 2] == 0).all()
    assert not any(dominates(values[i], values[j]) for i in feasible for j in feasible)
    assert more[: len(feasible)] == feasible
    assert len(more) == len(feasible) + 4
    assert (values[more[len(feasible) :], 2] > 0).all()
    # The best feasible architecture of every weighted sum is approached.
    everything = indices_of(scalarized_front(effects(), base, layers, weights, 2))
    others = [i for i in everything if values[i, 2] == 0]
    assert not any(dominates(values[i], values[j]) for i in others for j in feasible)


def test_least_violation() -> None:
    """The least violation is found if violations have weight, and only then."""
    rng = np.random.default_rng(2)
    base, layers = tables(rng, 3)
    base[2] = 50.0  # nothing is feasible
    last = values_of(base, layers, 3)[:, 2]
    weights = weight_vectors(48, 2, 1, rng)
    assert (
        last[indices_of(scalarized_front(effects(), base, layers, weights, 2))].min() == last.min()
    )
    # The number of infeasible minimizers is limited; the first is that of least violation.
    limited = indices_of(scalarized_front(effects(), base, layers, weights, 2, n_infeasible=3))
    assert len(limited) == 3
    assert last[limited[0]] == last.min()
    weights[:, 2] = 0
    without_violation = weights[weights.sum(axis=1) > 0]
    assert (
        last[indices_of(scalarized_front(effects(), base, layers, without_violation, 2))].min()
        > last.min()
    )


@pytest.mark.parametrize(("m", "c"), [(2, 0), (2, 2), (3, 0), (5, 1)])
def test_weight_vectors(m: int, c: int) -> None:
    aims = weight_vectors(40, m, c, np.random.default_rng(0))
    assert aims.shape[1] == m + c
    assert len(aims) >= 40
    assert aims.min() >= 0
    np.testing.assert_allclose(aims.sum(axis=1), 1)
    for j in range(m):
        corner = aims[np.argmax(aims[:, j])]
        assert 0.995 < corner[j] < 1  # the others only break ties
        assert corner[:m].min() > 0
    assert (aims[:, m:].sum(axis=1) == 0).sum() >= 20
    for j in range(m, m + c):
        assert aims[:, j].max() == 1


def test_angles_of_two_objectives_are_spread() -> None:
    aims = weight_vectors(48, 2, 0, np.random.default_rng(0))
    angles = np.sort(np.arctan2(aims[:, 1], aims[:, 0]))
    assert angles[0] < 2e-4
    assert angles[-1] > np.pi / 2 - 2e-4
    assert 0 < np.diff(angles).min() < np.diff(angles).max() < 0.08
