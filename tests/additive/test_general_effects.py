"""Effects on spaces of any names and choices, compared with explicit sums."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from hwnas.additive.choice import create_effects
from hwnas.additive.column_effects import ColumnEffects
from hwnas.additive.effects import Effects, contrasts_of
from hwnas.additive.model import Design, fit_model
from hwnas.spaces import SearchSpace
from hwnas.typing import Array, Codes

LAYERED: dict[str, dict[str, Any]] = {
    "texts and conditions": {
        "choices": {"depth": [0, 1, 3], "kind": ["a", "b", "c"], "rate": [0.1, 0.2]},
        "layers": {"act": ["relu", "prelu", "tanh"], "slope": [0.1, 0.2], "width": [8, 16]},
        "conditions": {"rate": {"kind": ["b", "c"]}, "slope": {"act": ["prelu"]}},
    },
    "allowed combinations": {
        "choices": {"depth": [1, 2], "width": [8, 16]},
        "layers": {"n_head": [1, 2, 4, 6], "n_kv_head": [1, 2, 3]},
        "allowed": [[1, 1], [2, 1], [2, 2], [4, 2], [6, 3]],
    },
    "depth alone": {"choices": {"n_layer": [1, 2, 3]}, "layers": {"act": ["a", "b", "c", "d"]}},
}
COLUMNS: dict[str, dict[str, Any]] = {
    "flat": {"choices": {"x": list(range(64)), "y": [1, 2, 4], "kind": ["a", "b", "c"]}},
    "conditions": {
        "choices": {"x": list(range(64)), "kind": ["a", "b", "c"], "rate": list(range(20))},
        "conditions": {"rate": {"kind": ["b"]}},
    },
    "one member": {"choices": {"x": [1], "y": ["a"]}},
    "many roots": {
        "choices": {"depth": [1, 3], "x": list(range(50)), "kind": ["a", "b", "c"]},
        "layers": {"width": list(range(20)), "act": ["relu", "tanh", "gelu"]},
    },
    "200 columns": {"choices": {f"x{i}": list(range(64)) for i in range(200)}},
}


@cache
def layered(name: str) -> Effects:
    effects = create_effects(SearchSpace("s", **LAYERED[name]))
    assert isinstance(effects, Effects)
    return effects


@cache
def columns(name: str) -> ColumnEffects:
    effects = create_effects(SearchSpace("s", **COLUMNS[name]))
    assert isinstance(effects, ColumnEffects)
    return effects


def sample(space: SearchSpace, n: int) -> Codes:
    return space.sample(n, np.random.default_rng(0))


# -- effects of layers -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", LAYERED)
def test_features_and_tables_of_layers_give_the_same_sum(name: str) -> None:
    effects, rng = layered(name), np.random.default_rng(0)
    space = effects.space
    codes = sample(space, 40)
    weights = rng.standard_normal((2, effects.size))
    base, layers = effects.tables(weights)
    for code, expected in zip(codes, effects(codes) @ weights.T, strict=True):
        outside = code[space.global_columns]
        (root,) = np.flatnonzero((effects.roots == outside).all(axis=1))
        total = base[:, root].copy()
        assert space.depth_column is not None
        for i in range(space.depths[code[space.depth_column]]):
            option = code[space.layer_columns[i]]
            (o,) = np.flatnonzero((effects.options == option).all(axis=1))
            total += layers[:, root, i, o]
        np.testing.assert_allclose(total, expected, atol=1e-9)


@pytest.mark.parametrize("name", LAYERED)
def test_roots_and_options_are_those_of_members(name: str) -> None:
    effects = layered(name)
    codes = np.concatenate(list(effects.space.enumerate()))
    outside = np.unique(codes[:, effects.space.global_columns], axis=0)
    np.testing.assert_array_equal(np.unique(effects.roots, axis=0), outside)
    present = codes[:, effects.space.depth_column or 0] > 0  # the least depth may be 0
    options = np.unique(codes[present][:, effects.layers[0]], axis=0)
    np.testing.assert_array_equal(np.unique(effects.options, axis=0), options)


def test_contrasts_without_an_order_treat_all_pairs_alike() -> None:
    for n in (3, 4, 7):
        contrasts = contrasts_of(n, False)
        assert contrasts.shape == (n, n - 1)
        np.testing.assert_allclose(contrasts.sum(axis=0), 0, atol=1e-12)
        distances = np.linalg.norm(contrasts[:, None] - contrasts, axis=2)
        np.testing.assert_allclose(distances[~np.eye(n, dtype=bool)], np.sqrt(2))
    # Two choices differ in the same way with or without an order.
    np.testing.assert_array_equal(contrasts_of(2, False), contrasts_of(2, True))


# -- effects of columns ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", COLUMNS)
def test_features_and_tables_of_columns_give_the_same_sum(name: str) -> None:
    effects, rng = columns(name), np.random.default_rng(0)
    codes = sample(effects.space, 20)
    weights = rng.standard_normal((2, effects.size))
    pairs = [i for i, block in enumerate(effects.blocks) if block.name == "pairs"]
    for i in pairs:  # products of choices are in no table
        weights[:, effects.starts[i] : effects.starts[i] + effects.blocks[i].size] = 0
    base, tables = effects.tables(weights)
    assert base.shape == (2, 1)
    assert tables.shape == (2, 1, len(effects.space.columns), max(effects.space.cardinalities))
    active = effects.space.active(codes)
    position = np.arange(codes.shape[1])
    for code, mask, expected in zip(codes, active, effects(codes) @ weights.T, strict=True):
        total = (tables[:, 0, position, code] * mask).sum(axis=1)
        np.testing.assert_allclose(total, expected, atol=1e-9)


@pytest.mark.parametrize("name", COLUMNS)
def test_blocks_of_columns_are_normalized(name: str) -> None:
    effects = columns(name)
    codes = sample(effects.space, 3000)
    squares = np.add.reduceat((effects(codes) ** 2).mean(axis=0), effects.starts)
    assert len(squares) == len({block.name for block in effects.blocks})
    if effects.space.size > 1:
        np.testing.assert_allclose(squares, 1, rtol=0.5)


@pytest.mark.parametrize("name", [*COLUMNS, *LAYERED])
def test_every_choice_has_an_effect(name: str) -> None:
    effects = columns(name) if name in COLUMNS else layered(name)
    code = sample(effects.space, 1)[0]
    near = effects.space.neighbours(code)[:500]
    for vectors in (effects(near) - effects(code[None]), effects.summary(near)):
        assert np.isfinite(vectors).all()
    if len(near):
        assert np.abs(effects(near) - effects(code[None])).max(axis=1).min() > 1e-6


@pytest.mark.parametrize("name", COLUMNS)
def test_tables_give_members(name: str) -> None:
    effects, rng = columns(name), np.random.default_rng(0)
    options = rng.integers(0, max(effects.space.cardinalities), (10, len(effects.space.columns)))
    codes = effects.codes(np.zeros(10, dtype=np.intp), options)
    assert effects.space.is_valid(codes).all()
    assert (effects.width_of(codes) == 0).all()


def test_a_sum_of_smooth_columns_is_predicted() -> None:
    """From 60 of 64^3 x 3 members; a product of columns less well."""
    space = SearchSpace("s", {**{f"x{i}": list(range(64)) for i in range(3)}, "k": list("abc")})
    effects = create_effects(space)
    codes = sample(space, 400)
    x = codes[:, :3] / 63

    def correlation(values: Array) -> float:
        model = fit_model(effects, Design(effects, codes[:60]), values[:60], np.zeros(60))
        predicted = model.mean(Design(effects, codes[60:]))
        return float(np.corrcoef(predicted, values[60:])[0, 1])

    kinds = np.array([0.0, 0.5, 0.2])[codes[:, 3]]
    assert correlation(np.sin(3 * x[:, 0]) + (x[:, 1] - 0.3) ** 2 + kinds) > 0.99


def test_which_effects_a_space_gets() -> None:
    assert [type(layered(name)) for name in LAYERED] == [Effects] * 3
    assert [type(columns(name)) for name in COLUMNS] == [ColumnEffects] * 5


def test_values_that_are_zero_but_for_rounding_are_modeled_as_they_are() -> None:
    """Their logarithms would be all that a model sees, as of cos(pi / 2) in DTLZ2."""
    effects = columns("flat")
    codes = sample(effects.space, 60)
    values = np.sin(codes[:, 0] / 20) + 1.5
    design = Design(effects, codes)
    values[:3] = 1e-17
    assert not fit_model(effects, design, values, np.zeros(60)).scale.logarithmic
    # Also where only the logarithm is left to try, as after many observations.
    assert not fit_model(effects, design, values, np.zeros(60), scales=(True,)).scale.logarithmic
    growth = np.exp(codes[:, 0] / 10.0)
    assert fit_model(effects, design, growth, np.zeros(60)).scale.logarithmic
