"""Tests of draws of whole objectives and of fronts of sums, against all architectures."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hwnas
from hwnas import pareto
from hwnas.additive.effects import Effects
from hwnas.additive.function_draws import FunctionDraws
from hwnas.additive.model import AdditiveModel, Design, fit_model
from hwnas.additive.supported_points import nearly_supported
from hwnas.typing import Array


def all_sums(base: Array, layers: Array, present: Array) -> Array:
    """Return the sums (n, 2) of all combinations of options."""
    layers = np.where(present[:, :, None], layers, 0.0)
    n_layers, n_options = layers.shape[2:]
    combinations = np.array([*itertools.product(range(n_options), repeat=n_layers)])
    sums = [
        base[:, r] + sum(layers[:, r, i, combinations[:, i]] for i in range(n_layers)).T
        for r in range(base.shape[1])
    ]
    return np.concatenate(sums)


@given(st.integers(0, 10_000), st.integers(1, 3), st.integers(1, 5), st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_front_of_sums(seed: int, n_roots: int, n_layers: int, n_options: int) -> None:
    rng = np.random.default_rng(seed)
    base = rng.random((2, n_roots))
    layers = rng.random((2, n_roots, n_layers, n_options))
    present = rng.random((n_roots, n_layers)) < 0.8
    root, options = nearly_supported(base, layers, present)
    kept = np.where(present[:, :, None], layers, 0.0)
    found = base[:, root] + sum(kept[:, root, i, options[:, i]] for i in range(n_layers))
    every = all_sums(base, layers, present)
    # All points of the convex hull are there: the smallest of every weighted sum.
    for weight in np.linspace(0.01, 0.99, 23):
        weights = np.array([weight, 1 - weight])
        assert (weights @ found).min() == pytest.approx((every @ weights).min())


def test_points_beside_the_hull_are_nearly_the_whole_front() -> None:
    rng = np.random.default_rng(0)
    base, layers = np.zeros((2, 1)), rng.random((2, 1, 8, 4))
    present = np.ones((1, 8), dtype=bool)
    _, options = nearly_supported(base, layers, present)
    found = sum(layers[:, 0, i, options[:, i]] for i in range(8)).T
    every = all_sums(base, layers, present)
    reference = every.max(axis=0)
    share = pareto.hypervolume(found, reference) / pareto.hypervolume(every, reference)
    assert 0.998 < share <= 1 + 1e-12


def model_of(std: float, n: int = 40) -> AdditiveModel:
    """Return a model of an additive objective, measured with this standard error."""
    space, rng = hwnas.space("gpt-s"), np.random.default_rng(0)
    codes = space.sample(n, rng)
    values = codes.sum(axis=1) + 10.0 + std * rng.standard_normal(n)
    effects = Effects(space)
    return fit_model(effects, Design(effects, codes), values, np.full(n, std), scales=(False,))


def test_draws_pass_through_exact_observations() -> None:
    model = model_of(0.0)
    draws = FunctionDraws(model, 3, np.random.default_rng(1))
    values = model.scale.inverse(model.modeled)
    np.testing.assert_allclose(draws.observed, np.tile(values, (3, 1)))
    again = [draws(i, model.design) for i in range(3)]
    np.testing.assert_allclose(again, draws.observed, atol=0.02 * values.std())


def test_draws_have_the_moments_of_the_posterior() -> None:
    model = model_of(1.0)
    design = Design(model.effects, hwnas.space("gpt-s").sample(5, np.random.default_rng(2)))
    draws = FunctionDraws(model, 4000, np.random.default_rng(3))
    drawn = model.scale.transform(np.array([draws(i, design) for i in range(4000)]))
    mean, covariance = model.posterior(design)
    deviation = np.sqrt(covariance.diagonal() + model.misfit)
    np.testing.assert_allclose(drawn.mean(axis=0), mean, atol=0.1 * deviation.max())
    np.testing.assert_allclose(drawn.std(axis=0), deviation, rtol=0.1)


def test_draws_of_noisy_observations_differ_by_their_uncertainty() -> None:
    model = model_of(2.0)
    draws = FunctionDraws(model, 200, np.random.default_rng(4))
    assert 0 < draws.observed.std(axis=0).max() < 2.0 * 1.2
    means = model.mean(model.design)
    assert np.corrcoef(draws.observed.mean(axis=0), means)[0, 1] > 0.95
