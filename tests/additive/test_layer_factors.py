"""Factors of layers: features, tables, and a function of which they explain more."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hwnas.additive.column_effects import ColumnEffects
from hwnas.additive.effects import Effects
from hwnas.additive.factored_model import add_factors
from hwnas.additive.layer_factors import FactoredEffects, layer_profile
from hwnas.additive.model import Design, fit_model
from hwnas.spaces import GPTSpace, SearchSpace, space
from hwnas.typing import Array, Codes

NAMES = ["gpt-s", "one layer", "one option", "one width", "many depths", "one architecture"]
SPACES: dict[str, dict[str, Any]] = {
    "one layer": {"n_layer": [1]},
    "one option": {"mlp_ratio": [2], "n_head": [1]},
    "one width": {"embed_dim": [8]},
    "many depths": {"n_layer": [1, 2, 4, 5]},
    "one architecture": {"embed_dim": [8], "n_layer": [2], "mlp_ratio": [1], "n_head": [1]},
}


def effects_of(name: str) -> Effects:
    if name == "gpt-s":
        return Effects(space("gpt-s"))
    usual: dict[str, Any] = {
        "embed_dim": [8, 16],
        "n_layer": [1, 3],
        "mlp_ratio": [1, 2, 4],
        "n_head": [1, 2],
    }
    return Effects(GPTSpace("x", **(usual | SPACES[name])))


def sample(effects: Effects, n: int) -> Codes:
    return effects.space.sample(n, np.random.default_rng(0))


def factored(name: str) -> FactoredEffects:
    plain = effects_of(name)
    profile = np.random.default_rng(1).standard_normal((plain.n_widths, len(plain.options)))
    return FactoredEffects(plain, profile)


@pytest.mark.parametrize("name", NAMES)
def test_tables_are_sums_of_features(name: str) -> None:
    effects = factored(name)
    codes = sample(effects.plain, 50)
    weights = np.random.default_rng(0).standard_normal((2, effects.size))
    base, layers = effects.tables(weights)
    roots = effects.plain.roots
    root = (codes[:, None, : roots.shape[1]] == roots).all(axis=2).argmax(axis=1)  # (n,)
    options, present = effects.plain.layer_options(codes)
    terms = layers[:, root[:, None], np.arange(options.shape[1]), options] * present  # (2, n, L)
    sums = base[:, root] + terms.sum(axis=2)
    np.testing.assert_allclose(weights @ effects(codes).T, sums, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_blocks_cover_the_features(name: str) -> None:
    effects = factored(name)
    sizes = np.diff([*effects.starts, effects.size])
    assert len(effects.blocks) == len(sizes)
    assert (sizes > 0).all()
    codes = sample(effects.plain, 20)
    np.testing.assert_array_equal(effects(codes)[:, : effects.plain.size], effects.plain(codes))


def scaled_layers(codes: Codes) -> Array:
    """Return sums over layers of one profile, each layer with a factor of its own."""
    effects = Effects(space("gpt-s"))
    rng = np.random.default_rng(3)
    profile, factors = rng.standard_normal(9), rng.uniform(0.2, 2, 12)
    options, present = effects.layer_options(codes)
    return np.asarray((profile[options] * present * factors).sum(axis=1) + 10 * codes[:, 0])


def test_factors_predict_scaled_layers() -> None:
    effects = Effects(space("gpt-s"))
    train = effects.space.sample(60, np.random.default_rng(0))
    test = Design(effects, effects.space.sample(200, np.random.default_rng(1)))
    values, exact = scaled_layers(train), np.zeros(60)
    plain = fit_model(effects, Design(effects, train), values, exact)
    model = add_factors(plain, values, exact)
    errors = [np.std(m.mean(test) - scaled_layers(test.codes)) for m in (plain, model)]
    assert errors[1] < 0.75 * errors[0]
    refit = add_factors(plain, values, exact, previous=model, steps=0)
    np.testing.assert_array_equal(refit.variances, model.variances)


def test_a_constant_has_no_profile() -> None:
    effects = Effects(space("gpt-s"))
    design = Design(effects, effects.space.sample(9, np.random.default_rng(0)))
    plain = fit_model(effects, design, np.full(9, 2.0), np.zeros(9))
    assert not layer_profile(effects, plain.weights).any()
    np.testing.assert_allclose(add_factors(plain, np.full(9, 2.0), np.zeros(9)).mean(design), 2.0)


def test_columns_have_no_factors() -> None:
    flat = ColumnEffects(SearchSpace("flat", {"a": range(9), "b": range(9)}))
    design = Design(flat, flat.space.sample(9, np.random.default_rng(0)))
    plain = fit_model(flat, design, np.arange(9.0), np.zeros(9))
    assert add_factors(plain, np.arange(9.0), np.zeros(9)) is plain
