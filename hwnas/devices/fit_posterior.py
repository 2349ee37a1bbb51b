"""Posterior of coefficients: Bayesian linear regression on relative errors."""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np

from hwnas.devices.fit_prior import (
    SPREAD,
    TYPICAL,
    Prior,
    Scales,
    deviation_factor,
    physical_factor,
    physical_mean,
)
from hwnas.devices.fit_terms import Terms
from hwnas.typing import Array, Codes, IndexArray

_STEPS = np.array([-1.2, -0.6, -0.3, 0.0, 0.3, 0.6, 1.2])  # tried for the logarithm of a scale
_SWEEPS = 4


@dataclass(frozen=True, eq=False)
class Posterior:
    """Posterior of coefficients.

    Attributes
    ----------
    coefficients : (E, K)
        Mean.
    factor : (E * K, q)
        Square root of the covariance.
    noise
        Standard deviation of relative errors.
    left_out : (n,)
        Relative errors of the predictions of each value from all others.
    scores : (n,)
        The same over their standard deviations.
    """

    coefficients: Array
    factor: Array
    noise: float
    left_out: Array
    scores: Array


@dataclass(frozen=True, eq=False)
class _Regression:
    """Rows of terms over values, and square roots of prior covariances of scale 1."""

    target: Array  # (n,) 1 minus the prediction of the prior's mean
    rows: tuple[Array, ...]  # (n, q) of each factor
    std: Array  # (n,) relative standard errors
    prior: bool

    def weights(self, scales: Scales) -> tuple[float, ...]:
        return (scales.physical, scales.width, scales.curved)

    def covariance(self, scales: Scales) -> Array:
        out = np.diag(self.std**2 + scales.noise**2)
        for rows, scale in zip(self.rows, self.weights(scales), strict=True):
            out += scale**2 * (rows @ rows.T)
        return out

    def log_posterior(self, logs: Array) -> float:
        scales = Scales(*np.exp(logs))
        factor = np.linalg.cholesky(self.covariance(scales))
        half = np.linalg.solve(factor, self.target)
        penalty = ((logs - np.log(astuple(TYPICAL))) / SPREAD) ** 2
        return float(-0.5 * half @ half - np.log(factor.diagonal()).sum() - 0.5 * penalty.sum())


def fit_posterior(
    terms: Terms, codes: Codes, y: Array, std: Array, prior: Prior | None
) -> Posterior:
    """Return the posterior of the coefficients of values y (n,) with standard errors (n,)."""
    shape = (len(terms.widths), len(terms))
    mean = physical_mean(terms) if prior is None else prior.mean
    # 1. Each row holds the terms in the columns of its width, divided by the value.
    values, width = terms(codes), terms.width_of(codes)
    # The level of the whole: what makes the prior's mean right on (geometric) average.
    predicted = (values * mean[width]).sum(axis=1)
    level = float(np.exp(np.mean(np.log(y / np.maximum(predicted, 1e-12)))))
    rows = np.zeros((len(y), *shape))
    rows[np.arange(len(y)), width] = values * (level / y)[:, None]
    design = rows.reshape(len(y), -1)
    factors = (
        physical_factor(terms) if prior is None else prior.factor,
        deviation_factor(terms, _levels(terms, values, width, y / level), curved=False),
        deviation_factor(terms, _levels(terms, values, width, y / level), curved=True),
    )
    regression = _Regression(
        1 - design @ mean.ravel(), tuple(design @ f for f in factors), std / y, prior is not None
    )
    # 2. Scales by marginal likelihood.
    logs = np.log(astuple(TYPICAL))
    best = regression.log_posterior(logs)
    for _ in range(_SWEEPS):
        for j in range(len(logs)):
            for step in _STEPS:
                trial = logs.copy()
                trial[j] += step
                if (value := regression.log_posterior(trial)) > best:
                    best, logs = value, trial
    scales = Scales(*np.exp(logs))
    # 3. The posterior in the space of the factors' weights.
    weighted = [f * s for f, s in zip(factors, regression.weights(scales), strict=True)]
    factor = np.concatenate(weighted, axis=1)
    x = design @ factor
    noise = regression.std**2 + scales.noise**2
    precision = np.eye(factor.shape[1]) + x.T @ (x / noise[:, None])
    inverse_root = np.linalg.inv(np.linalg.cholesky(precision)).T  # R R' = precision^-1
    weights = inverse_root @ (inverse_root.T @ (x.T @ (regression.target / noise)))
    # Leave-one-out: Rasmussen and Williams 2006, equation 5.12.
    inverse = np.linalg.inv(regression.covariance(scales))
    alpha = inverse @ regression.target
    return Posterior(
        level * (mean + (factor @ weights).reshape(shape)),
        level * (factor @ inverse_root),
        scales.noise,
        alpha / inverse.diagonal(),
        alpha / np.sqrt(inverse.diagonal()),
    )


def _levels(terms: Terms, values: Array, width: IndexArray, y: Array) -> Array:
    """Return the typical value at each width: a power law of the width through the medians."""
    present = np.unique(width)
    medians = np.array([np.median(y[width == e]) for e in present])
    logs = np.log(terms.widths)
    return np.asarray(np.exp(np.interp(logs, logs[present], np.log(medians))))
