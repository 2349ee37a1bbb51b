"""Features and tables of effects, compared with explicit sums."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hwnas.additive.effects import Effects
from hwnas.spaces import Codes, GPTSpace, space

SPACES: dict[str, dict[str, Any]] = {
    "usual": {},
    "one depth": {"n_layer": [3]},
    "one layer": {"n_layer": [1]},
    "one option": {"mlp_ratio": [2], "n_head": [1]},
    "one ratio": {"mlp_ratio": [2]},
    "one width": {"embed_dim": [8]},
    "fixed bias": {"bias": [True]},
    "many depths": {"n_layer": [1, 2, 4, 5], "mlp_ratio": [1, 2, 3, 4]},
    "one architecture": {
        "embed_dim": [8],
        "n_layer": [2],
        "mlp_ratio": [1],
        "n_head": [1],
        "bias": [False],
    },
}
NAMES = ["gpt-s", *SPACES]
every = pytest.mark.parametrize("name", NAMES)


@cache
def effects_of(name: str) -> Effects:
    if name == "gpt-s":
        return Effects(space("gpt-s"))
    usual = {"embed_dim": [8, 16], "n_layer": [1, 3], "mlp_ratio": [1, 2, 4], "n_head": [1, 2]}
    return Effects(GPTSpace("x", **(usual | SPACES[name])))


def sample(effects: Effects, n: int, seed: int = 0) -> Codes:
    return effects.space.sample(n, np.random.default_rng(seed))


def row_index(rows: NDArray[np.int64], row: NDArray[Any]) -> int:
    """Return the index of a row."""
    (index,) = np.flatnonzero((rows == row).all(axis=1))
    return int(index)


def parts(effects: Effects, code: Codes) -> tuple[int, list[int]]:
    """Return the root of an architecture and the option of each of its layers."""
    own = effects.space
    depth = own.n_layer[code[1]]
    options = [row_index(effects.options, code[list(own.groups[i].columns)]) for i in range(depth)]
    return row_index(effects.roots, code[:3]), options


# -- features and tables --------------------------------------------------------------------------


@every
@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1))
def test_features_and_tables_give_the_same_sum(name: str, seed: int) -> None:
    effects, rng = effects_of(name), np.random.default_rng(seed)
    codes = sample(effects, 5, seed)
    weights = rng.standard_normal((2, effects.size))
    base, layers = effects.tables(weights)
    assert base.shape == (2, len(effects.roots))
    assert layers.shape == (2, len(effects.roots), max(effects.space.n_layer), len(effects.options))
    by_hand = np.zeros((len(codes), 2))
    for n, code in enumerate(codes):
        root, options = parts(effects, code)
        by_hand[n] = base[:, root]
        for layer, option in enumerate(options):
            by_hand[n] += layers[:, root, layer, option]
    np.testing.assert_allclose(effects(codes) @ weights.T, by_hand, rtol=1e-9, atol=1e-9)


@every
def test_absent_layers_add_nothing(name: str) -> None:
    """Codes of absent layers do not change the features."""
    effects, rng = effects_of(name), np.random.default_rng(0)
    raw = rng.integers(0, effects.space.cardinalities, size=(50, len(effects.space.columns)))
    canonical = effects.space.canonical(raw)
    np.testing.assert_array_equal(effects(raw.astype(np.int8)), effects(canonical))
    for root, there in zip(effects.roots, effects.present, strict=True):
        assert there.sum() == effects.space.n_layer[root[1]]
        assert there[: there.sum()].all()


@every
def test_features_of_blocks_are_normalized(name: str) -> None:
    """Squares of a block's features sum to 1, on average over mixed and homogeneous codes."""
    effects = effects_of(name)
    codes = sample(effects, 4000, seed=1)
    for group in effects.space.groups[1:]:
        codes[::2, list(group.columns)] = codes[::2, [3, 4]]
    squares = (effects(effects.space.canonical(codes)) ** 2).mean(axis=0)
    sums = np.add.reduceat(squares, effects.starts)
    assert len(effects.blocks) == len(sums) == len({block.name for block in effects.blocks})
    assert squares.shape == (effects.size,)
    np.testing.assert_allclose(sums, 1, rtol=0.25)
    assert all(0 < block.variance <= 1 for block in effects.blocks)


def test_sums_over_layers_are_weighted_sums_of_features() -> None:
    """Parameters (no biases) add up within a width; a product of two layers' choices does not."""
    effects = effects_of("usual")
    codes = np.concatenate(list(effects.space.enumerate()))
    codes = codes[codes[:, 2] == 0]
    features = effects(codes)

    def misfit(values: NDArray[Any]) -> float:
        fitted = features @ np.linalg.lstsq(features, values, rcond=None)[0]
        return float(np.abs(values - fitted).max() / np.ptp(values))

    assert misfit(effects.space.params(codes).astype(float)) < 1e-9
    assert misfit((codes[:, 3] * codes[:, 5]).astype(float)) > 0.1


def test_every_choice_has_an_effect() -> None:
    """Architectures that differ in one choice differ in their features."""
    for name in NAMES:
        effects = effects_of(name)
        code = sample(effects, 1)[0]
        if len(near := effects.space.neighbours(code)):
            assert np.abs(effects(near) - effects(code[None])).max(axis=1).min() > 1e-3


def test_smooth_effects_of_neighboring_layers_correlate() -> None:
    """They correlate with those of the next layer more than with those of a distant one."""
    effects = effects_of("gpt-s")
    (at,) = [i for i, block in enumerate(effects.blocks) if block.name == "mlp_ratio, smooth"]
    codes = np.zeros((12, len(effects.space.columns)), dtype=np.int8)
    codes[:, 1] = 2
    codes[np.arange(12), 3 + 2 * np.arange(12)] = 2
    rows = effects(codes)[:, effects.starts[at] : effects.starts[at + 1]]
    rows = rows - rows.mean(axis=0)
    together = rows @ rows.T
    assert together[5, 6] > 0.5 * together[5, 5]
    assert together[0, 11] < 0


# -- codes and summaries ---------------------------------------------------------------------------


@every
def test_codes_are_rebuilt_from_roots_and_options(name: str) -> None:
    effects = effects_of(name)
    codes = sample(effects, 30)
    roots, options = [], np.zeros((len(codes), max(effects.space.n_layer)), dtype=np.intp)
    for n, code in enumerate(codes):
        root, chosen = parts(effects, code)
        roots.append(root)
        options[n, : len(chosen)] = chosen
        options[n, len(chosen) :] = len(effects.options) - 1  # of absent layers
    actual = effects.codes(np.array(roots), options)
    np.testing.assert_array_equal(actual, codes)
    assert actual.dtype == np.int8


@every
def test_summaries_are_about_0_to_1(name: str) -> None:
    effects = effects_of(name)
    codes = sample(effects, 500)
    codes = np.concatenate([codes, np.zeros_like(codes[:1])])
    summary = effects.summary(effects.space.canonical(codes))
    assert summary.shape == (501, 3 + 2 * 2)
    assert summary.min() >= (-0.1 if name == "gpt-s" else -0.5)
    assert summary.max() <= (1.1 if name == "gpt-s" else 1.5)
    if len(effects.space.groups) == 1:
        np.testing.assert_array_equal(summary[:, 5:], 0.5)  # one layer has no trend


def test_summary_has_means_and_trends() -> None:
    effects = effects_of("usual")
    shallow, low, early, deep, high = codes = np.zeros((5, 9), dtype=np.int8)
    shallow[1], low[1], early[1], deep[1], high[1] = 0, 1, 1, 1, 1
    early[3] = deep[7] = 2
    high[[3, 5, 7]] = 2
    mean, lean = effects.summary(codes)[:, [3, 5]].T
    assert mean[0] < mean[1] < mean[2] == mean[3] < mean[4]
    assert lean[2] < lean[1] == pytest.approx(0.5) == lean[4] < lean[3]
