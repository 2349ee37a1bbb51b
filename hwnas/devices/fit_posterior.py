"""Posterior of coefficients: Bayesian linear regression on relative errors.

Coefficients are a prior mean plus weighted sums of the columns of a few *factors*, square roots of
prior covariances. The scale of each factor and of the noise is uncertain: the posterior is averaged
over them by importance sampling about the most likely ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hwnas.devices.fit_prior import Factor, Prior, factors_of, physical_mean
from hwnas.devices.fit_terms import Terms
from hwnas.surrogates.tables import AdditiveTable, predict
from hwnas.typing import Array, Codes, IndexArray

# Noise of relative errors: typical standard deviation, spread of its logarithm. Known devices leave
# more unexplained than terms do, and the data are too few to tell it from their weights.
NOISE = (0.004, 1.0)
NOISE_BESIDE_KNOWN = (0.006, 0.4)
_STEPS = (-1.2, -0.6, -0.3, 0.3, 0.6, 1.2)  # tried for the logarithm of a scale
_SWEEPS = 4
_SAMPLES = 48  # of the scales
_JITTER = 1e-10  # share of the mean variance that is added to each
_SEED = 0  # of these samples, so that equal measurements have equal fits


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
    residual
        What is added to the sum of the terms; ``None`` without known devices.
    evidence
        Logarithm of the marginal likelihood of the relative errors.
    """

    coefficients: Array
    factor: Array
    noise: float
    left_out: Array
    scores: Array
    residual: AdditiveTable | None = None
    evidence: float = -np.inf


@dataclass(frozen=True, eq=False)
class _Regression:
    """Relative errors as sums of factors.

    Attributes
    ----------
    target : (n,)
        1 minus the prediction of the prior's mean over the value.
    rows : sequence of (n, q)
        Factors at the measured architectures, of scale 1.
    std : (n,)
        Relative standard errors of the values.
    typical, spread : (len(rows) + 1,)
        Mean and standard deviation of the logarithms of the scales; the noise is the last one.
    """

    target: Array
    rows: Sequence[Array]
    std: Array
    typical: Array
    spread: Array

    def covariance(self, logs: Array) -> Array:
        """Return the covariance (n, n) of relative errors, given the scales' logarithms."""
        out = np.diag(self.std**2 + np.exp(2 * logs[-1]))
        for rows, log in zip(self.rows, logs[:-1], strict=True):
            out += np.exp(2 * log) * (rows @ rows.T)
        # Values that the terms explain exactly leave no noise: rounding needs a little.
        out.flat[:: len(out) + 1] += _JITTER * np.trace(out) / len(out)
        return out

    def log_posterior(self, logs: Array) -> float:
        """Return the logarithm of the posterior density of scales, without its constant."""
        factor = np.linalg.cholesky(self.covariance(logs))
        half = np.linalg.solve(factor, self.target)
        penalty = ((logs - self.typical) / self.spread) ** 2
        return float(-0.5 * half @ half - np.log(factor.diagonal()).sum() - 0.5 * penalty.sum())

    def most_likely(self) -> Array:
        """Return the most likely logarithms of the scales, by a coordinate search."""
        logs, best = self.typical, self.log_posterior(self.typical)
        for _ in range(_SWEEPS):
            for j in range(len(logs)):
                for step in _STEPS:
                    trial = logs.copy()
                    trial[j] += step
                    if (value := self.log_posterior(trial)) > best:
                        best, logs = value, trial
        return logs

    def sample_scales(self) -> tuple[Array, Array, float]:
        """Return logarithms of scales (s, q + 1), their weights (s,), and the log evidence.

        The weights sum to 1.
        """
        center = self.most_likely()
        best = self.log_posterior(center)
        # The width of a normal density with the curvature about the maximum.
        width = np.empty_like(center)
        for j in range(len(center)):
            shift = np.eye(len(center))[j] * 0.3
            drop = best - 0.5 * sum(self.log_posterior(center + s * shift) for s in (-1, 1))
            width[j] = 0.3 / np.sqrt(2 * max(drop, 0.02))
        width = np.minimum(width, self.spread)
        unit = np.random.default_rng(_SEED).standard_normal((_SAMPLES // 2, len(center)))
        unit = np.concatenate([unit, -unit])
        logs = center + 1.2 * width * unit
        density = np.array([self.log_posterior(one) for one in logs]) + 0.5 * (unit**2).sum(axis=1)
        weights = np.exp(density - density.max())
        # Importance sampling: proposals have widths 1.2 width, the prior of scales has spread.
        evidence = density.max() + np.log(weights.mean()) + np.log(1.2 * width / self.spread).sum()
        return logs, weights / weights.sum(), float(evidence)


def fit_posterior(
    terms: Terms, codes: Codes, y: Array, std: Array, prior: Prior | None
) -> Posterior:
    """Return the posterior of the coefficients of values y (n,) with standard errors (n,)."""
    shape = (len(terms.widths), len(terms))
    mean = physical_mean(terms) if prior is None else prior.mean
    values, width = terms(codes), terms.width_of(codes)
    expected = (values * mean[width]).sum(axis=1)
    rests = np.zeros((len(y), 0))
    if prior is not None:
        rests = predict([prior.mean_residual, *prior.residuals], terms.layout.pack(codes))
        expected = expected + rests[:, 0]
    # 1. The level of the whole: what makes the prior's mean right on (geometric) average.
    level = float(np.exp(np.mean(np.log(y / np.maximum(expected, 1e-12)))))
    # 2. Each row holds the terms in the columns of its width, over the value.
    rows = np.zeros((len(y), *shape))
    rows[np.arange(len(y)), width] = values * (level / y)[:, None]
    factors = factors_of(terms, _levels(terms, width, y / level), prior)
    parts = [rows.reshape(len(y), -1) @ factor.columns for factor in factors]
    if prior is not None:
        # The residuals belong to the weights of the first two factors.
        own = rests[:, 1:] * (level / y)[:, None]  # (n, m)
        by_width = (width[:, None] == np.arange(shape[0]))[:, :, None] * own[:, None]
        parts[0] = parts[0] + own
        parts[1] = parts[1] + by_width.reshape(len(y), -1)
    noise = NOISE if prior is None else NOISE_BESIDE_KNOWN
    regression = _Regression(
        1 - expected * level / y,
        parts,
        std / y,
        np.log([*(factor.typical for factor in factors), noise[0]]),
        np.array([*(factor.spread for factor in factors), noise[1]]),
    )
    # 3. Scales, by marginal likelihood; the posterior of the coefficients, averaged over them.
    logs, weights, evidence = regression.sample_scales()
    posterior, column_weights = _average(regression, factors, mean, level, logs, weights)
    residual = None if prior is None else _residual(prior, column_weights, level)
    return replace(posterior, residual=residual, evidence=evidence)


def _residual(prior: Prior, weights: Array, level: float) -> AdditiveTable:
    """Return the residual that belongs to the weights (q,) of all factors."""
    n_widths, m = len(prior.mean), len(prior.residuals)
    by_width = weights[:m] + weights[m : m + n_widths * m].reshape(n_widths, m)
    table = prior.mean_residual
    base = table.base + np.einsum("em,medb->edb", by_width, [r.base for r in prior.residuals])
    layers = table.layers + np.einsum(
        "em,medblrh->edblrh", by_width, [r.layers for r in prior.residuals]
    )
    return level * replace(table, base=base, layers=layers)


def _average(
    regression: _Regression,
    factors: Sequence[Factor],
    mean: Array,
    level: float,
    logs: Array,
    weights: Array,
) -> tuple[Posterior, Array]:
    """Return the mixture of the posteriors given each of some scales (s, q + 1).

    The second value is the mean of the weights of all factors' columns.
    """
    columns = np.concatenate([factor.columns for factor in factors], axis=1)
    rows = np.concatenate(regression.rows, axis=1)
    sizes = [factor.columns.shape[1] for factor in factors]
    means, second, left_out, variances = [], 0.0, 0.0, 0.0
    noise = float(weights @ np.exp(2 * logs[:, -1]))
    for one, weight in zip(logs, weights, strict=True):
        # Given scales: the usual equations of Gaussian processes, A = X S X' + N.
        inverse = np.linalg.inv(regression.covariance(one))
        alpha = inverse @ regression.target
        scale = np.repeat(np.exp(2 * one[:-1]), sizes)
        scaled = rows * scale  # X S
        mean_weights = scaled.T @ alpha
        covariance = np.diag(scale) - scaled.T @ inverse @ scaled
        means.append(mean_weights)
        second = second + weight * (covariance + np.outer(mean_weights, mean_weights))
        # Leave-one-out: Rasmussen and Williams 2006, equation 5.12.
        left_out = left_out + weight * alpha / inverse.diagonal()
        variances = variances + weight / inverse.diagonal()
    center = weights @ np.array(means)
    values, vectors = np.linalg.eigh(second - np.outer(center, center))
    root = vectors * np.sqrt(np.maximum(values, 0))
    posterior = Posterior(
        level * (mean + (columns @ center).reshape(mean.shape)),
        level * (columns @ root),
        float(np.sqrt(noise)),
        np.asarray(left_out),
        np.asarray(left_out / np.sqrt(variances)),
    )
    return posterior, np.asarray(center)


def _levels(terms: Terms, width: IndexArray, y: Array) -> Array:
    """Return the typical value at each width: the medians, interpolated between logarithms."""
    present = np.unique(width)
    medians = np.array([np.median(y[width == e]) for e in present])
    logs = np.log(terms.widths)
    return np.asarray(np.exp(np.interp(logs, logs[present], np.log(medians))))
