"""Terms of an earlier model in another space: features, tables, correspondence of choices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hwnas.additive.effects import Effects
from hwnas.additive.factored_model import add_factors
from hwnas.additive.layer_factors import FactoredEffects
from hwnas.additive.model import Design, fit_model
from hwnas.additive.transferred_effects import (
    Terms,
    TransferredEffects,
    matching_columns,
    transfer_terms,
)
from hwnas.errors import InvalidInput
from hwnas.spaces import GPTSpace, SearchSpace, space
from hwnas.typing import Array, Codes


def gpt(**changes: Any) -> GPTSpace:
    usual: dict[str, Any] = {
        "embed_dim": [8, 16, 32],
        "n_layer": [3, 4],
        "mlp_ratio": [1, 2, 4],
        "n_head": [1, 2],
    }
    return GPTSpace("x", **(usual | changes))


def weighted_mlp(search_space: SearchSpace, codes: Codes) -> Array:
    """Sums over present layers: later layers count more, in proportion to their MLP."""
    effects = Effects(search_space)
    options, present = effects.layer_options(codes)
    depth = np.linspace(1, 2, options.shape[1])
    sums = (effects.options[options, 0] * depth * present).sum(axis=1)
    return np.asarray(sums + 5 * effects.width_of(codes))


def model_of(search_space: SearchSpace, n: int = 150) -> Any:
    codes = np.unique(search_space.sample(n, np.random.default_rng(0)), axis=0)
    effects = Effects(search_space)
    values = weighted_mlp(search_space, codes)
    return fit_model(effects, Design(effects, codes), values, np.zeros(len(codes)))


@pytest.mark.parametrize("is_factored", [False, True])
def test_tables_are_sums_of_features(is_factored: bool) -> None:
    plain = Effects(gpt())
    rng = np.random.default_rng(0)
    shape = (len(plain.roots), len(plain.layers), len(plain.options))
    effects: Any = TransferredEffects(
        plain, Terms(rng.standard_normal(shape[0]), rng.standard_normal(shape))
    )
    if is_factored:
        effects = FactoredEffects(effects, rng.standard_normal((plain.n_widths, shape[2])))
    codes = plain.space.sample(40, rng)
    weights = rng.standard_normal((2, effects.size))
    base, layers = effects.tables(weights)
    root, (options, present) = plain.root_of(codes), plain.layer_options(codes)
    terms = layers[:, root[:, None], np.arange(shape[1]), options] * present
    expected = effects(codes) @ weights.T
    np.testing.assert_allclose((base[:, root] + terms.sum(axis=2)).T, expected, atol=1e-9)
    # Each block is normalized, and architectures of other blocks do not change it.
    assert np.isfinite(effects(codes)).all()
    assert len(effects.blocks) == len(effects.starts)


def test_terms_of_the_same_space_are_the_model_s() -> None:
    search_space = gpt()
    model = model_of(search_space)
    terms = transfer_terms(model, Effects(search_space))
    base, layers = model.effects.tables(model.weights[None])
    np.testing.assert_array_equal(terms.base, base[0])
    np.testing.assert_array_equal(terms.layers, layers[0])


@pytest.mark.parametrize(
    "target",
    [
        gpt(n_layer=[9, 12]),
        gpt(embed_dim=[64, 128, 256], n_layer=[9, 12]),
        gpt(embed_dim=[64, 256], n_layer=[5], mlp_ratio=[2, 4]),
    ],
)
def test_terms_explain_another_space(target: GPTSpace) -> None:
    effects = Effects(target)
    terms = transfer_terms(model_of(gpt()), effects)
    codes = target.sample(300, np.random.default_rng(1))
    root, (options, present) = effects.root_of(codes), effects.layer_options(codes)
    sums = terms.base[root] + (
        terms.layers[root[:, None], np.arange(options.shape[1]), options] * present
    ).sum(axis=1)
    truth = weighted_mlp(target, codes)
    # The same weights over depth: within a root the order is that of the truth.
    for index in np.unique(root):
        own = root == index
        assert np.corrcoef(sums[own], truth[own])[0, 1] > 0.97


def test_few_observations_are_enough_with_earlier_terms() -> None:
    target = gpt(n_layer=[9, 12])
    plain = Effects(target)
    effects = TransferredEffects(plain, transfer_terms(model_of(gpt()), plain))
    train = target.sample(8, np.random.default_rng(2))
    test = target.sample(200, np.random.default_rng(3))
    errors = []
    for own in (plain, effects):
        values = weighted_mlp(target, train)
        model = fit_model(own, Design(own, train), values, np.zeros(len(train)), scales=[False])
        predicted = model.mean(Design(own, test))
        errors.append(np.sqrt(((predicted - weighted_mlp(target, test)) ** 2).mean()))
    assert errors[1] < 0.5 * errors[0]


def test_factors_of_a_model_with_earlier_terms() -> None:
    target = gpt(n_layer=[9, 12])
    plain = Effects(target)
    effects = TransferredEffects(plain, transfer_terms(model_of(gpt()), plain))
    codes = np.unique(target.sample(30, np.random.default_rng(0)), axis=0)
    values, std = weighted_mlp(target, codes), np.zeros(len(codes))
    model = add_factors(fit_model(effects, Design(effects, codes), values, std), values, std)
    assert isinstance(model.effects, FactoredEffects)
    assert model.effects.basic is plain
    np.testing.assert_allclose(model.mean(model.design), values, rtol=1e-3)


def test_choices_correspond_by_value_or_by_rank() -> None:
    source, target = gpt(mlp_ratio=[1, 2, 4]), gpt(embed_dim=[100, 200], mlp_ratio=[2, 4])
    columns = matching_columns(source, target)
    assert columns[target.columns.index("embed_dim")].tolist() == [0, 2]
    assert columns[target.columns.index("mlp_ratio_0")].tolist() == [1, 2]


def test_spaces_of_other_choices_are_refused() -> None:
    own = space({"name": "own", "choices": {"depth": [1, 2]}, "layers": {"width": [1, 2]}})
    with pytest.raises(InvalidInput, match="own has the choices depth, x has embed_dim"):
        matching_columns(own, gpt())
    kinds = {"name": "a", "choices": {"depth": [1, 2]}, "layers": {"act": ["relu", "gelu"]}}
    others = {**kinds, "layers": {"act": ["relu", "silu"]}}
    with pytest.raises(InvalidInput, match=r"act: a has \['relu', 'gelu'\], expected all of"):
        matching_columns(space(kinds), space(others))
