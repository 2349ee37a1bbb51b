"""Variance components, recovered from data with known ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from hwnas.additive import variance_components
from hwnas.additive.variance_components import (
    VarianceComponents,
    cholesky_factor,
    fit_variances,
    log_evidence,
)
from hwnas.typing import Array


def problem(n: int, sizes: tuple[int, ...], kernels: int = 0, seed: int = 0) -> VarianceComponents:
    """Return blocks of features of mean square 1 each, and smooth kernels over a line."""
    rng = np.random.default_rng(seed)
    features = [rng.standard_normal((n, size)) / np.sqrt(size) for size in sizes]
    at = rng.random(n)
    near = [np.exp(-(((at[:, None] - at) / 0.02) ** 2)) for _ in range(kernels)]
    starts = np.cumsum([0, *sizes[:-1]]).astype(np.intp)
    return VarianceComponents(np.concatenate(features, axis=1), starts, near)


def sample_values(
    components: VarianceComponents, variances: Array, noise: Array, seed: int = 0
) -> Array:
    rng = np.random.default_rng(seed)
    covariance = components.covariance(variances, noise)
    values: Array = np.linalg.cholesky(covariance) @ rng.standard_normal(len(noise))
    return values


def test_the_covariance_agrees_with_its_definition() -> None:
    parts = problem(7, (2, 3), kernels=1)
    noise = np.arange(7.0)
    expected = 0.5 * parts.features[:, :2] @ parts.features[:, :2].T
    expected += 2.0 * parts.features[:, 2:] @ parts.features[:, 2:].T
    residual = 3.0 * parts.kernels[0] + np.diag(0.1 + noise)
    variances = np.array([0.5, 2.0, 3.0, 0.1])
    np.testing.assert_allclose(parts.covariance(variances, noise), expected + residual)
    np.testing.assert_allclose(parts.residual_covariance(variances, noise), residual)
    np.testing.assert_array_equal(parts.weight_variances(variances), [0.5, 0.5, 2.0, 2.0, 2.0])


def test_log_evidence_is_a_normal_density() -> None:
    parts, noise = problem(12, (3, 4), kernels=1), np.full(12, 0.2)
    variances = np.array([1.0, 0.3, 0.5, 0.1])
    y = sample_values(parts, variances, noise)
    density = multivariate_normal(cov=parts.covariance(variances, noise)).logpdf(y)
    expected = density + 0.5 * 12 * np.log(2 * np.pi)
    assert log_evidence(parts, y, noise, variances) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(3))
def test_known_variances_are_recovered(seed: int) -> None:
    """Three blocks, a kernel and a misfit, a factor of 100 apart, from equal initial values."""
    parts = problem(300, (40, 60, 50), kernels=1, seed=seed)
    truth = np.array([2.0, 0.05, 0.5, 0.3, 0.02])
    noise = np.full(300, 0.01)
    y = sample_values(parts, truth, noise, seed)
    start = np.full(5, 0.1)
    fitted = fit_variances(parts, y, noise, start, start, 50)
    assert np.abs(np.log(fitted / truth)).max() < np.log(2.5)


@pytest.mark.parametrize("seed", range(3))
def test_steps_converge_to_the_maximum_likelihood(monkeypatch: Any, seed: int) -> None:
    monkeypatch.setattr(variance_components, "PRIOR_DEGREES", 1e-9)
    parts, noise = problem(60, (20,), seed=seed), np.zeros(60)
    y = sample_values(parts, np.array([1.5, 0.2]), noise, seed)

    def loss(logs: Array) -> float:
        return -log_evidence(parts, y, noise, np.exp(logs))

    best = -minimize(loss, np.zeros(2), method="Nelder-Mead").fun
    for start in (np.array([1e-2, 1e-2]), np.array([1.0, 1e-3]), np.array([10.0, 10.0])):
        initial_evidence = log_evidence(parts, y, noise, start)
        fitted = fit_variances(parts, y, noise, start, start, 20)
        evidence = log_evidence(parts, y, noise, fitted)
        assert initial_evidence < evidence <= best + 1e-6
        assert evidence > best - 0.1


def test_known_noise_is_not_explained_away() -> None:
    parts = problem(200, (30,))
    y = np.random.default_rng(1).standard_normal(200)
    start = np.array([1e-2, 1e-3])
    with_noise = fit_variances(parts, y, np.ones(200), start, start, 20)
    without_noise = fit_variances(parts, y, np.zeros(200), start, start, 20)
    assert with_noise.sum() < 0.15
    assert without_noise[-1] == pytest.approx(1, rel=0.25)


def test_a_variance_without_data_keeps_its_prior() -> None:
    """A block of zero features keeps its prior variance."""
    parts = problem(50, (10, 5))
    parts.features[:, 10:] = 0
    prior = np.array([0.1, 0.007, 0.1])
    y = sample_values(parts, np.array([2.0, 0.0, 0.1]), np.zeros(50))
    fitted = fit_variances(parts, y, np.zeros(50), prior, prior, 20)
    assert fitted[1] == pytest.approx(0.007)
    assert fitted[0] > 0.5


def test_no_steps_change_nothing() -> None:
    parts = problem(10, (3,))
    start = np.array([0.3, 0.2])
    np.testing.assert_array_equal(
        fit_variances(parts, np.ones(10), np.zeros(10), start, start, 0), start
    )


def test_constant_values_leave_small_variances() -> None:
    """Values of 0 leave variances small, positive and finite."""
    parts = problem(20, (4, 4), kernels=1)
    start = np.array([1.0, 1e-2, 1e-4, 1e-7])
    fitted = fit_variances(parts, np.zeros(20), np.zeros(20), start, start, 20)
    assert (fitted > 0).all()
    assert (fitted < start).all()


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
@pytest.mark.parametrize("n", [1, 3, 40])
def test_a_covariance_that_rounding_makes_indefinite_has_a_factor(n: int, scale: float) -> None:
    # Equal architectures under a kernel, without a misfit: of rank 1, and slightly below 0.
    covariance = scale * (np.ones((n, n)) - 1e-13 * np.eye(n))
    factor = cholesky_factor(covariance)
    np.testing.assert_allclose(factor @ factor.T, covariance, rtol=1e-6)


def test_a_regular_covariance_has_the_factor_that_it_always_had() -> None:
    root = np.random.default_rng(0).standard_normal((20, 20))
    covariance = root @ root.T + np.eye(20)
    assert (cholesky_factor(covariance) == np.linalg.cholesky(covariance)).all()


def test_what_is_no_covariance_is_refused() -> None:
    with pytest.raises(np.linalg.LinAlgError):
        cholesky_factor(-np.eye(2))
