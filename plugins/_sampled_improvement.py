"""Noisy expected hypervolume improvement of single candidates, exact in each posterior draw."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import torch
from botorch.acquisition.acquisition import AcquisitionFunction
from torch import Tensor

from hwnas.typing import Array

from ._botorch import CachedPosterior
from ._hypervolume_improvement import HypervolumeImprovement, StaircaseImprovement

_MAX_EXPONENT = 10  # of ten, times the smallest jitter: then it is as large as the variances
_SMALLEST = 1e-300  # improvement whose logarithm stands for that of none


class SampledImprovement(AcquisitionFunction):
    """Logarithm of the hypervolume that a candidate adds, averaged over posterior draws.

    Outcomes of baseline and pending architectures are drawn once, and with them the front of each
    draw. A candidate is drawn conditionally on them. With two objectives its improvement is that
    over a staircase, exact and in logarithmic time, where a partition of the dominated space takes
    most of the time of a proposal.

    Parameters
    ----------
    model
        Posterior whose fixed architectures are the baseline and the pending ones.
    reference : (2,)
        Reference point of the losses.
    normals : (s, r + 1, 2)
        Independent standard normals: for the r fixed architectures, and for a candidate.

    References
    ----------
    Daulton, Balandat and Bakshy, "Parallel Bayesian optimization of multiple noisy objectives with
    expected hypervolume improvement", NeurIPS 2021.
    """

    def __init__(self, model: CachedPosterior, reference: Array, normals: Array) -> None:
        super().__init__(model)
        self._posterior, self._reference = model, reference
        self._candidate_normals = normals[:, -1]  # (s, 2)
        # Draws of the fixed architectures: mean + L z, L the factor of their covariance.
        self._factors: list[Array] = []
        self._whitened = normals[:, :-1]  # (s, r, 2), L^-1 (draw - mean)
        draws = []
        for j in range(2):
            mean, covariance = model.fixed(j)
            factor = safe_cholesky(covariance)
            self._factors.append(factor)
            draws.append(mean + self._whitened[..., j] @ factor.T)
        fronts = list(np.stack(draws, axis=-1))  # s arrays (r, 2)
        self._improvement: HypervolumeImprovement = StaircaseImprovement(fronts, reference)

    def forward(self, X: Tensor) -> Tensor:
        """Return the values (k,) of candidates at the indices X (k, 1, 1) of the posterior."""
        index = X[:, 0, 0].long().numpy()
        draws = []
        for j in range(2):
            mean, cross, variance = self._posterior.conditionals(j, index)
            # Given the fixed draws: mean + K L^-T z, variance - |L^-1 K'|^2.
            solved = np.linalg.solve(self._factors[j], cross.T)  # (r, k)
            deviation = np.sqrt(np.maximum(variance - (solved**2).sum(axis=0), 0))
            conditional = mean + self._whitened[..., j] @ solved  # (s, k)
            draws.append(conditional + self._candidate_normals[:, j, None] * deviation)
        gains = self._improvement.evaluate(np.stack(draws, axis=-1)).mean(axis=0)
        return torch.from_numpy(np.log(np.maximum(gains, _SMALLEST)))


def safe_cholesky(covariance: Array) -> Array:
    """Return the lower factor (r, r) of a covariance (r, r), with as little jitter as it takes.

    A posterior that exact observations leave almost no variance is a difference of large numbers,
    so that rounding can be larger than all that is left.

    Raises
    ------
    LinAlgError
        The matrix is no covariance.

    Examples
    --------
    >>> np.round(safe_cholesky(np.array([[4.0, 2.0], [2.0, 1.0 - 1e-9]])), 3)
    array([[2., 0.],
           [1., 0.]])
    """
    identity = np.eye(len(covariance))
    smallest = 1e-10 * max(float(np.diag(covariance).max()), 1e-12)
    for exponent in range(_MAX_EXPONENT):
        with contextlib.suppress(np.linalg.LinAlgError):
            jitter = smallest * 10.0**exponent
            return np.asarray(np.linalg.cholesky(covariance + jitter * identity))
    largest = smallest * 10.0**_MAX_EXPONENT
    return np.asarray(np.linalg.cholesky(covariance + largest * identity))


def create_sampled_improvement(
    model: Any, losses: Array, n_fixed: int, n_draws: int, rng: np.random.Generator
) -> SampledImprovement:
    """Return the improvement over a front of losses (n, 2), scaled as the outcomes of the model.

    Parameters
    ----------
    model
        Posterior, see `SampledImprovement`.
    losses : (n, 2)
        Observed front; the reference point lies a tenth of its range behind its nadir.
    n_fixed
        Number r of fixed architectures.
    n_draws
        Number of draws.
    rng
        Source of randomness.
    """
    nadir = losses.max(axis=0)
    span = np.ptp(losses, axis=0)
    reference = nadir + 0.1 * np.where(span > 0, span, np.maximum(np.abs(nadir), 1.0))
    # Antithetic draws: every normal comes with its negative.
    half = rng.standard_normal(((n_draws + 1) // 2, n_fixed + 1, 2))
    return SampledImprovement(model, reference, np.concatenate([half, -half])[:n_draws])
