"""Tests of the Gaussian processes of ehvi, parego, lsbo and rsbo."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hwnas.spaces import SearchSpace

torch = pytest.importorskip("torch")
pytest.importorskip("botorch")


@pytest.fixture(scope="module")
def model(small_space: SearchSpace) -> Any:
    from hwnas_plugins._botorch import Features, fit_models

    codes = small_space.sample(20, np.random.default_rng(0))
    y = np.stack([codes.sum(axis=1), codes[:, 0] - codes[:, 1] ** 2.0], axis=1)
    features = Features(small_space)
    return fit_models(features, features(codes), y, np.zeros_like(y), [None, None], 5)


def test_cached_posterior_equals_that_of_the_model(model: Any, small_space: SearchSpace) -> None:
    from hwnas_plugins._botorch import CachedPosterior, Features, index_column

    x = Features(small_space)(small_space.sample(12, np.random.default_rng(1)))
    with torch.no_grad():
        cached = CachedPosterior(model, x[:5])
        cached.extend(x[:3])
        indices = cached.extend(x[5:])
        torch.testing.assert_close(indices, index_column(5, 12))
        pairs = torch.stack([torch.cat([index_column(0, 3), row[None]]) for row in indices])
        posterior = cached.posterior(pairs)
        expected = model.posterior(torch.stack([torch.cat([x[:3], row[None]]) for row in x[5:]]))
    torch.testing.assert_close(posterior.mean, expected.mean)
    torch.testing.assert_close(
        posterior.distribution.covariance_matrix,
        expected.distribution.covariance_matrix,
        atol=1e-6,
        rtol=1e-5,
    )


def test_a_failed_fit_keeps_the_hyperparameters(
    monkeypatch: pytest.MonkeyPatch, small_space: SearchSpace
) -> None:
    from botorch.exceptions.errors import ModelFittingError
    from hwnas_plugins import _botorch

    def fails(*args: Any, **kwargs: Any) -> None:
        raise ModelFittingError("All attempts to fit the model have failed.")

    codes = small_space.sample(10, np.random.default_rng(0))
    features, y = _botorch.Features(small_space), codes.sum(axis=1)[:, None] * 1.0
    data = features, features(codes), y, np.zeros_like(y)
    states = _botorch.extract_hyperparameters(_botorch.fit_models(*data, [None], 5))
    monkeypatch.setattr(_botorch, "fit_gpytorch_mll", fails)
    model = _botorch.fit_models(*data, states, 5)
    assert not model.models[0].training
    (refitted,) = _botorch.extract_hyperparameters(model)
    for name, value in (states[0] or {}).items():
        torch.testing.assert_close((refitted or {})[name], value)


def test_baseline_selection(monkeypatch: pytest.MonkeyPatch, small_space: SearchSpace) -> None:
    """Architectures that none surely dominates; of too many, the least clearly dominated."""
    from hwnas_plugins import _bayesian
    from hwnas_plugins.ehvi import EHVI

    search = EHVI(small_space, 2, seed=0)
    codes = small_space.sample(5, search.rng)

    class Fixed:
        def posterior(self, x: Any) -> Any:
            return self

        mean = torch.tensor([[0.0, 9.0], [9.0, 0.0], [0.7, 9.5], [9.5, 9.5], [4.0, 4.0]])
        variance = torch.full((5, 2), 0.2**2)

    baseline = search._select_baseline(Fixed(), codes)  # type: ignore[arg-type]
    np.testing.assert_array_equal(baseline, codes[[0, 1, 2, 4]])
    monkeypatch.setattr(_bayesian, "MAX_BASELINE", 3)
    baseline = search._select_baseline(Fixed(), codes)  # type: ignore[arg-type]
    np.testing.assert_array_equal(baseline, codes[[0, 1, 4]])
