"""The Gaussian processes beneath ehvi and its like."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hwnas.spaces import SearchSpace

torch = pytest.importorskip("torch")
pytest.importorskip("botorch")


@pytest.fixture(scope="module")
def model(small_space: SearchSpace) -> Any:
    from hwnas_plugins._botorch import Features, fitted

    codes = small_space.sample(20, np.random.default_rng(0))
    y = np.stack([codes.sum(axis=1), codes[:, 0] - codes[:, 1] ** 2.0], axis=1)
    features = Features(small_space)
    return fitted(features, features(codes), y, np.zeros_like(y), [None, None], 5)


def test_a_list_has_the_posterior_of_its_networks(model: Any, small_space: SearchSpace) -> None:
    from hwnas_plugins._botorch import Features, Listed, places

    x = Features(small_space)(small_space.sample(12, np.random.default_rng(1)))
    with torch.no_grad():
        listed = Listed(model, x[:5])
        listed.extend(x[:3])
        at = listed.extend(x[5:])
        torch.testing.assert_close(at, places(5, 12))
        pairs = torch.stack([torch.cat([places(0, 3), place[None]]) for place in at])
        found = listed.posterior(pairs)
        expected = model.posterior(torch.stack([torch.cat([x[:3], row[None]]) for row in x[5:]]))
    torch.testing.assert_close(found.mean, expected.mean)
    torch.testing.assert_close(
        found.distribution.covariance_matrix,
        expected.distribution.covariance_matrix,
        atol=1e-6,
        rtol=1e-5,
    )


def test_a_fit_that_fails_leaves_what_was_there(
    monkeypatch: pytest.MonkeyPatch, small_space: SearchSpace
) -> None:
    from botorch.exceptions.errors import ModelFittingError
    from hwnas_plugins import _botorch

    def fails(*args: Any, **kwargs: Any) -> None:
        raise ModelFittingError("All attempts to fit the model have failed.")

    codes = small_space.sample(10, np.random.default_rng(0))
    features, y = _botorch.Features(small_space), codes.sum(axis=1)[:, None] * 1.0
    given = features, features(codes), y, np.zeros_like(y)
    before = _botorch.hyperparameters(_botorch.fitted(*given, [None], 5))
    monkeypatch.setattr(_botorch, "fit_gpytorch_mll", fails)
    model = _botorch.fitted(*given, before, 5)
    assert not model.models[0].training
    (after,) = _botorch.hyperparameters(model)
    for name, value in (before[0] or {}).items():
        torch.testing.assert_close((after or {})[name], value)


def test_contenders(monkeypatch: pytest.MonkeyPatch, small_space: SearchSpace) -> None:
    """By the definition: nobody is surely better; of too many, the least beaten."""
    from hwnas_plugins import _bayesian
    from hwnas_plugins.ehvi import EHVI

    search = EHVI(small_space, 2, seed=0)
    codes = small_space.sample(5, search.rng)

    class Fixed:
        def posterior(self, x: Any) -> Any:
            return self

        mean = torch.tensor([[0.0, 9.0], [9.0, 0.0], [0.7, 9.5], [9.5, 9.5], [4.0, 4.0]])
        variance = torch.full((5, 2), 0.2**2)

    kept = search._contenders(Fixed(), codes)  # type: ignore[arg-type]
    np.testing.assert_array_equal(kept, codes[[0, 1, 2, 4]])
    monkeypatch.setattr(_bayesian, "CONTENDERS", 3)
    kept = search._contenders(Fixed(), codes)  # type: ignore[arg-type]
    np.testing.assert_array_equal(kept, codes[[0, 1, 4]])
