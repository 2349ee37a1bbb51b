"""The posterior of one objective, compared with dense formulas."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from hwnas.additive.effects import Effects
from hwnas.additive.model import AdditiveModel, Design, Scale, fit_model
from hwnas.spaces import Codes, GPTSpace
from hwnas.typing import Array


@cache
def effects() -> Effects:
    return Effects(
        GPTSpace("x", embed_dim=[8, 16], n_layer=[2, 4], mlp_ratio=[1, 2, 3], n_head=[1, 2])
    )


def sample(n: int, seed: int) -> Codes:
    """Return distinct architectures, in random order."""
    rng = np.random.default_rng(seed)
    codes = np.unique(effects().space.sample(3 * n, rng), axis=0)
    return codes[rng.permutation(len(codes))[:n]]


def additive(codes: Codes) -> Array:
    """Return a sum over layers of the terms of their choices, larger for wide architectures."""
    layers = codes[:, 3:].reshape(len(codes), 4, 2) + 1.0
    layers[:, 2:] *= codes[:, 1][:, None, None]
    per_layer = (layers * [1.0, 0.5]).sum(axis=2) * [1.0, 0.9, 0.8, 0.7]
    return np.asarray(per_layer.sum(axis=1) * (1 + codes[:, 0]) + 3 * codes[:, 0])


def make_model(n: int = 40, *, noisy: bool = False, logarithmic: bool = False) -> AdditiveModel:
    codes = sample(n, seed=0)
    values = np.exp(0.1 * additive(codes)) if logarithmic else additive(codes)
    std = np.linspace(0.1, 0.5, n) if noisy else np.zeros(n)
    values = values + std * np.random.default_rng(1).standard_normal(n)
    scale = Scale.fit(values, logarithmic=logarithmic)
    return AdditiveModel(effects(), Design(effects(), codes), values, std, scale, steps=5)


def dense(model: AdditiveModel, codes: Codes) -> tuple[Array, Array]:
    """Return mean and covariance from the prior covariance of every pair of architectures."""
    observed = model.design.codes
    both = np.concatenate([codes, observed])
    features, summary = effects()(both), effects().summary(both)
    ends = [*effects().starts[1:], effects().size]
    prior = np.zeros((len(both), len(both)))
    for start, end, variance in zip(effects().starts, ends, model.variances, strict=False):
        prior += variance * features[:, start:end] @ features[:, start:end].T
    far = ((summary[:, None] - summary[None]) ** 2).sum(axis=2)
    for length, variance in zip((0.5, 1.5), model.variances[-3:-1], strict=True):
        prior += variance * np.exp(-0.5 * far / length**2)
    k = len(codes)
    inverse = np.linalg.inv(prior[k:, k:] + np.diag(model.noise + model.misfit))
    return (
        prior[:k, k:] @ inverse @ model.modeled,
        prior[:k, :k] - prior[:k, k:] @ inverse @ prior[k:, :k],
    )


def assert_moments(draws: Array, mean: Array, covariance: Array) -> None:
    """Samples have this mean and covariance, up to sampling error."""
    n = len(draws)
    std = np.sqrt(covariance.diagonal())
    assert np.abs((draws.mean(axis=0) - mean) / std).max() < 5 / np.sqrt(n)
    actual = np.cov(draws.T) / std / std[:, None]
    assert np.abs(actual - covariance / std / std[:, None]).max() < 8 / np.sqrt(n)


# -- the posterior -------------------------------------------------------------------------------


@pytest.mark.parametrize("logarithmic", [False, True])
def test_exact_observations_are_reproduced(logarithmic: bool) -> None:
    model = make_model(logarithmic=logarithmic)
    _, covariance = model.posterior(model.design)
    values = model.scale.inverse(model.modeled)
    np.testing.assert_allclose(model.mean(model.design), values, rtol=3e-3)
    assert np.sqrt(covariance.diagonal().max()) < 1e-2


@pytest.mark.parametrize("noisy", [False, True])
def test_the_posterior_agrees_with_the_textbook(noisy: bool) -> None:
    model, codes = make_model(noisy=noisy), sample(15, seed=5)
    mean, covariance = model.posterior(Design(effects(), codes))
    expected = dense(model, codes)
    np.testing.assert_allclose(mean, expected[0], atol=1e-6)
    np.testing.assert_allclose(covariance, expected[1], atol=1e-6)
    raw = model.scale.center + model.scale.spread * expected[0]
    np.testing.assert_allclose(model.mean(Design(effects(), codes)), raw, atol=1e-5)


@pytest.mark.parametrize("logarithmic", [False, True])
def test_samples_have_the_moments_of_the_posterior(logarithmic: bool) -> None:
    model, codes = make_model(15, noisy=True, logarithmic=logarithmic), sample(8, seed=5)
    mean, covariance = dense(model, codes)
    draws = model.sample(Design(effects(), codes), 20_000, np.random.default_rng(0))
    assert_moments(model.scale.transform(draws), mean, covariance + model.misfit * np.eye(8))


def test_samples_of_weights_have_the_moments_of_the_posterior() -> None:
    model = make_model(15, noisy=True)
    sizes = np.diff([*effects().starts, effects().size])
    spread = np.diag(np.repeat(model.variances[: len(sizes)], sizes))
    features = model.design.features
    summary = model.design.summary
    far = ((summary[:, None] - summary[None]) ** 2).sum(axis=2)
    residual = np.diag(model.noise + model.misfit)
    for length, variance in zip((0.5, 1.5), model.variances[-3:-1], strict=True):
        residual += variance * np.exp(-0.5 * far / length**2)
    inverse = np.linalg.inv(features @ spread @ features.T + residual)
    mean = spread @ features.T @ inverse @ model.modeled
    covariance = spread - spread @ features.T @ inverse @ features @ spread
    np.testing.assert_allclose(model.weights, mean, atol=1e-9)
    assert_moments(model.sample_weights(20_000, np.random.default_rng(0)), mean, covariance)


def test_unobserved_architectures_are_predicted() -> None:
    """Forty of 3,000 architectures predict the others."""
    codes = sample(300, seed=9)
    wrong = make_model(40).mean(Design(effects(), codes)) - additive(codes)
    assert wrong.std() < 0.02 * additive(codes).std()


def test_uncertainty_is_calibrated() -> None:
    """For samples of the prior, errors are as large as the posterior says."""
    rng, design = np.random.default_rng(0), Design(effects(), sample(400, seed=2))
    variances = make_model().variances
    variances[-3:] = 0.05, 0.05, 1e-3
    sizes = np.diff([*effects().starts, effects().size])
    weights = rng.standard_normal(effects().size) * np.sqrt(np.repeat(variances[:-3], sizes))
    residual = variances[-1] * np.eye(400)
    for kernel, variance in zip(design.own_kernels, variances[-3:-1], strict=True):
        residual += variance * kernel
    truth = design.features @ weights + np.linalg.cholesky(residual) @ rng.standard_normal(400)
    values = truth[:100] + 0.1 * rng.standard_normal(100)
    observed = Design(effects(), design.codes[:100])
    model = AdditiveModel(
        effects(),
        observed,
        values,
        np.full(100, 0.1),
        Scale(0, 1),
        initial_variances=variances,
        steps=0,
    )
    unobserved = Design(effects(), design.codes[100:])
    wrong = model.mean(unobserved) - truth[100:]
    surely = np.sqrt(model.posterior(unobserved)[1].diagonal() + variances[-1])
    assert np.sqrt(((wrong / surely) ** 2).mean()) == pytest.approx(1, abs=0.2)


def test_noise_is_averaged_out() -> None:
    codes = sample(150, seed=0)
    truth = additive(codes)
    std = np.full(150, 0.3 * truth.std())
    values = truth + std * np.random.default_rng(1).standard_normal(150)
    design = Design(effects(), codes)
    model = fit_model(effects(), design, values, std)
    assert (model.mean(design) - truth).std() < 0.5 * std[0]


def test_two_measurements_of_one_architecture() -> None:
    """The mean lies between them, closer to the more precise one."""
    codes = np.repeat(sample(20, seed=0), 2, axis=0)
    values = additive(codes)
    values[0], values[1] = values[0] + 4, values[0] - 4
    std = np.zeros(40)
    std[:2] = 1.0, 0.5
    model = fit_model(effects(), Design(effects(), codes), values, std, scales=(False,))
    mean = model.mean(Design(effects(), codes[:1]))
    assert values[1] < mean < values[:2].mean()
    assert np.isfinite(model.log_evidence)


# -- scale ---------------------------------------------------------------------------------------


def test_only_products_are_modeled_as_logarithms() -> None:
    codes = sample(80, seed=0)
    design, exact = Design(effects(), codes), np.zeros(80)
    for values, logarithmic in ((additive(codes), False), (np.exp(0.2 * additive(codes)), True)):
        model = fit_model(effects(), design, values, exact)
        assert model.scale.logarithmic == logarithmic


@pytest.mark.parametrize("scales", [(False, True), (True,)])
@pytest.mark.parametrize("low", [0.0, -3.0])
def test_no_logarithm_of_values_that_are_not_positive(low: float, scales: tuple[bool, ...]) -> None:
    codes = sample(30, seed=0)
    values = np.exp(0.2 * additive(codes))
    values = values - values.min() + low
    previous = fit_model(
        effects(), Design(effects(), codes), values + 9, np.zeros(30), scales=(True,)
    )
    design = Design(effects(), codes)
    model = fit_model(effects(), design, values, np.zeros(30), previous=previous, scales=scales)
    assert previous.scale.logarithmic
    assert not model.scale.logarithmic
    assert np.isfinite(model.mean(design)).all()


@pytest.mark.parametrize("noisy", [False, True])
def test_units_do_not_matter(noisy: bool) -> None:
    codes, unobserved = sample(40, seed=0), Design(effects(), sample(20, seed=3))
    std = np.full(40, 0.2 if noisy else 0.0)
    actual = []
    for units, offset in ((1.0, 0.0), (1e6, 0.0), (1e6, -1e8), (1e-9, 1e-3)):
        values = additive(codes) * units + offset
        design = Design(effects(), codes)
        model = fit_model(effects(), design, values, std * units, scales=(False,))
        draws = model.sample(unobserved, 3, np.random.default_rng(0))
        actual.append((np.concatenate([model.mean(unobserved)[None], draws]) - offset) / units)
    for result in actual[1:]:
        np.testing.assert_allclose(result, actual[0], atol=1e-3)


def test_units_of_a_logarithm_do_not_matter() -> None:
    codes, unobserved = sample(40, seed=0), Design(effects(), sample(20, seed=3))
    std = np.exp(0.2 * additive(codes)) / 50
    here, there = (
        fit_model(
            effects(), Design(effects(), codes), np.exp(0.2 * additive(codes)) * u, std * u
        ).mean(unobserved)
        / u
        for u in (1.0, 1e6)
    )
    np.testing.assert_allclose(there, here, rtol=1e-5)


@pytest.mark.parametrize("logarithmic", [False, True])
def test_inverse_undoes_transform(logarithmic: bool) -> None:
    values = np.array([1.0, 2.0, 5.0, 5.0])
    scale = Scale.fit(values, logarithmic=logarithmic)
    modelled = scale.transform(values)
    assert modelled.mean() == pytest.approx(0, abs=1e-12)
    assert modelled.std() == pytest.approx(1)
    np.testing.assert_allclose(scale.inverse(modelled), values)
    step = 1e-6 * values
    moved = (scale.transform(values + step) - modelled) / 1e-6
    np.testing.assert_allclose(scale.transform_std(values, values), moved, rtol=1e-5)


def test_log_densities_of_scales() -> None:
    """A logarithm spreads values below 1 and contracts values above."""
    values = np.array([0.5, 1.0, 2.0])
    plain, logs = Scale(0, 1), Scale(0, 1, logarithmic=True)
    assert plain.log_density(values) == 0
    assert logs.log_density(values) == pytest.approx(0)
    assert logs.log_density(2 * values) == pytest.approx(-3 * np.log(2))
    assert Scale(0, 2).log_density(values) == pytest.approx(-3 * np.log(2))


# -- diagnostics -----------------------------------------------------------------------------------


def test_sums_are_explained_and_noise_is_not() -> None:
    codes = sample(150, seed=0)
    design, exact = Design(effects(), codes), np.zeros(150)
    chance = np.random.default_rng(0).standard_normal(150)
    assert 0.99 < fit_model(effects(), design, additive(codes), exact).explained_variance <= 1
    assert fit_model(effects(), design, chance, exact).explained_variance < 0.3
    width = 1e3 * codes[:, 0] + chance  # only the variance within widths counts
    assert fit_model(effects(), design, width, exact).explained_variance < 0.3


@pytest.mark.parametrize("noisy", [False, True])
def test_explained_variance_is_leave_one_out(noisy: bool) -> None:
    """Each architecture is left out in turn, with fixed variances, effects only."""
    model = make_model(20, noisy=noisy)
    codes, y, std = model.design.codes, model.modeled, np.sqrt(model.noise)
    predicted = np.zeros(20)
    for i in range(20):
        mask = np.arange(20) != i
        without = AdditiveModel(
            effects(),
            Design(effects(), codes[mask]),
            y[mask],
            std[mask],
            Scale(0, 1),
            initial_variances=model.variances,
            steps=0,
        )
        predicted[i] = effects()(codes[i : i + 1])[0] @ without.weights

    def within(values: Array) -> float:
        parts = [values[codes[:, 0] == width] for width in (0, 1)]
        return float(sum(((part - part.mean()) ** 2).sum() for part in parts) - (std**2).sum())

    expected = 1 - max(within(y - predicted), 0) / within(y)
    assert model.explained_variance == pytest.approx(expected, abs=1e-6)
    assert expected == 1 if noisy else 0.9 < expected < 1 - 1e-5


@pytest.mark.parametrize("value", [0.0, 7.0, 0.1])
def test_constant_values(value: float) -> None:
    codes = sample(7, seed=0)
    design = Design(effects(), codes)
    model = fit_model(effects(), design, np.full(7, value), np.zeros(7))
    unobserved = Design(effects(), sample(20, seed=3))
    np.testing.assert_allclose(model.mean(unobserved), value, atol=1e-6)
    np.testing.assert_allclose(model.sample(unobserved, 5, np.random.default_rng(0)), value, atol=1)
    assert np.isfinite(model.explained_variance)


def test_variances_continue_from_an_earlier_fit() -> None:
    codes, exact = sample(60, seed=0), np.zeros(60)
    values = additive(codes)
    first = fit_model(effects(), Design(effects(), codes[:40]), values[:40], exact[:40])
    design = Design(effects(), codes)
    refit = fit_model(effects(), design, values, exact, previous=first, steps=0)
    np.testing.assert_array_equal(refit.variances, first.variances)
