"""Expected hypervolume improvement over posterior draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hwnas_plugins._botorch import CachedPosterior, Features, fit_models, index_column
from hwnas_plugins._sampled_improvement import create_sampled_improvement, safe_cholesky

import hwnas
from hwnas import pareto
from hwnas.typing import Array

SPACE = hwnas.space("gpt-s")


@pytest.fixture(scope="module")
def posterior() -> tuple[CachedPosterior, Array, object]:
    rng = np.random.default_rng(0)
    features = Features(SPACE)
    codes = SPACE.sample(30, rng)
    losses = hwnas.surrogate("gpt-s").predict(codes, ["perplexity", "latency@h100"])
    losses = losses / losses.std(axis=0)
    x = features(codes)
    model = fit_models(features, x, losses, np.zeros_like(losses), [None, None], 10)
    with torch.no_grad():
        cached = CachedPosterior(model, x[:12])
        cached.extend(features(SPACE.sample(9, rng)))
    return cached, losses[:12], model


def test_the_cached_posterior_is_that_of_the_model() -> None:
    features = Features(SPACE)
    codes = SPACE.sample(40, np.random.default_rng(1))
    y = np.stack([codes.sum(axis=1), (codes**2).sum(axis=1)], axis=1).astype(float)
    x = features(codes)
    for std in (np.zeros((25, 2)), np.full((25, 2), 0.3)):
        model = fit_models(features, x[:25], y[:25], std, [None, None], 5)
        with torch.no_grad():
            cached = CachedPosterior(model, x[20:30])
            cached.extend(x[30:])
            expected = model.posterior(x[20:])
            covariance = expected.distribution.covariance_matrix.numpy()
        for j in range(2):
            mean, block = cached.fixed(j)
            np.testing.assert_allclose(mean, expected.mean[:10, j], rtol=1e-6)
            scale = covariance.max()
            assert block.shape == (10, 10)
            own, _, variance = cached.conditionals(j, np.arange(10, 20))
            np.testing.assert_allclose(own, expected.mean[10:, j], rtol=1e-6)
            np.testing.assert_allclose(
                variance, expected.variance[10:, j], rtol=1e-4, atol=1e-6 * scale
            )


def test_it_is_the_mean_improvement_of_joint_draws(
    posterior: tuple[CachedPosterior, Array, object],
) -> None:
    cached, losses, _ = posterior
    front = losses[pareto.non_dominated(losses)]
    with torch.no_grad():
        improvement = create_sampled_improvement(cached, front, 12, 4000, np.random.default_rng(2))
        values = improvement(index_column(12, 21)[:, None, :]).exp().numpy()
    # The same by draws of all at once, and the hypervolume of each.
    rng = np.random.default_rng(3)
    span = np.ptp(front, axis=0)
    reference = front.max(axis=0) + 0.1 * span
    draws = np.stack(
        [
            rng.multivariate_normal(
                cached._mean[j].numpy(), cached._covariance[j].numpy(), 3000, method="eigh"
            )
            for j in range(2)
        ],
        axis=-1,
    )
    expected = np.zeros(9)
    for draw in draws:
        base = pareto.hypervolume(draw[:12], reference)
        for i in range(9):
            expected[i] += (
                pareto.hypervolume(np.vstack([draw[:12], draw[12 + i]]), reference) - base
            )
    expected /= len(draws)
    assert expected.max() > 1e-3
    np.testing.assert_allclose(values, expected, rtol=0.15, atol=0.03 * expected.max())


def test_a_covariance_without_a_factor_gets_the_jitter_that_it_takes() -> None:
    """Rounding can leave more than all variance that exact observations leave."""
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.standard_normal((6, 6)))
    eigenvalues = np.array([1e-3, 1e-4, 1e-5, 0.0, -1e-9, -1e-8])
    covariance = (basis * eigenvalues) @ basis.T
    with pytest.raises(np.linalg.LinAlgError):
        np.linalg.cholesky(covariance + 1e-10 * np.diag(covariance).max() * np.eye(6))
    factor = safe_cholesky(covariance)
    np.testing.assert_allclose(factor @ factor.T, covariance, atol=1e-6)
    # One that has a factor is as it was.
    positive = covariance + 1e-3 * np.eye(6)
    smallest = 1e-10 * np.diag(positive).max()
    expected = np.linalg.cholesky(positive + smallest * np.eye(6))
    np.testing.assert_array_equal(safe_cholesky(positive), expected)


def test_no_covariance_has_no_factor() -> None:
    with pytest.raises(np.linalg.LinAlgError):
        safe_cholesky(np.array([[1.0, 5.0], [5.0, 1.0]]))
