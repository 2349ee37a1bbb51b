"""Posterior of coefficients: Bayesian linear regression on relative errors.

Coefficients are a prior mean plus weighted sums of the columns of a few *factors*, square roots of
prior covariances. The scale of each factor and of the noise is uncertain: the posterior is averaged
over them by importance sampling about the most likely ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from hwnas.devices.fit_prior import Factor, Prior, factors_of, physical_mean
from hwnas.devices.fit_terms import Terms
from hwnas.typing import Array, Codes, IndexArray

# Noise of relative errors: typical standard deviation, spread of its logarithm, which is large: a
# CPU that others use has ten times the noise of a GPU. Known devices leave more unexplained than
# terms do, and the data are too few to tell it from their weights.
NOISE = (0.004, 2.0)
NOISE_BESIDE_KNOWN = (0.006, 0.4)
# Logarithm of the noise at the largest width over that at the smallest: mean and spread. Errors of
# small networks are the larger ones relative to what they take.
NOISE_SLOPE = (-0.4, 0.5)
_STEPS = (-1.2, -0.6, -0.3, 0.3, 0.6, 1.2)  # tried for the logarithm of a scale
_SWEEPS = 4
_SAMPLES = 48  # of the scales
_MANY, _SAMPLES_OF_MANY = 200, 12  # points from which scales are well known, and samples then
_JITTER = 1e-10  # share of the mean variance that is added to each
_SURE = 0.99  # weight of one posterior from which another one counts for nothing
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
    noise : (E,)
        Standard deviation of relative errors at each width.
    left_out : (n,)
        Relative errors of the predictions of each value from all others.
    scores : (n,)
        The same over their standard deviations.
    evidence
        Logarithm of the marginal likelihood of the relative errors.
    """

    coefficients: Array
    factor: Array
    noise: Array
    left_out: Array
    scores: Array
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
    position : (n,)
        Position of each width among the widths, -1/2 to 1/2.
    typical, spread : (len(rows) + 2,)
        Mean and standard deviation of the logarithms of the scales; the last two are those of the
        noise and its slope.
    """

    target: Array
    rows: Sequence[Array]
    std: Array
    position: Array
    typical: Array
    spread: Array

    @cached_property
    def grams(self) -> Array:
        """Covariance (f, n, n) of relative errors by each factor of scale 1."""
        return np.stack([rows @ rows.T for rows in self.rows])

    def covariance(self, logs: Array) -> Array:
        """Return the covariance (n, n) of relative errors, given the scales' logarithms."""
        out = np.tensordot(np.exp(2 * logs[:-2]), self.grams, axes=1)
        out.flat[:: len(out) + 1] += self.std**2 + noise_at(self.position, logs) ** 2
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
        """Return logarithms of scales (s, f + 2), their weights (s,), and the log evidence.

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
        samples = _SAMPLES if len(self.target) < _MANY else _SAMPLES_OF_MANY
        unit = np.random.default_rng(_SEED).standard_normal((samples // 2, len(center)))
        unit = np.concatenate([unit, -unit])
        logs = center + 1.2 * width * unit
        density = np.array([self.log_posterior(scales) for scales in logs]) + 0.5 * (unit**2).sum(
            axis=1
        )
        weights = np.exp(density - density.max())
        # Importance sampling: proposals have widths 1.2 width, the prior of scales has spread.
        evidence = density.max() + np.log(weights.mean()) + np.log(1.2 * width / self.spread).sum()
        return logs, weights / weights.sum(), float(evidence)


def mix_posteriors(first: Posterior, second: Posterior, weight: float) -> Posterior:
    """Return the mixture of two posteriors of the same values, given the weight of the second."""
    weights = np.array([1 - weight, weight])
    if weights.max() > _SURE:
        return second if weight > 0.5 else first
    pair = (first, second)
    # A mixture's covariance: the mean of covariances, and the spread of means.
    shift = np.sqrt(weights.prod()) * (second.coefficients - first.coefficients).reshape(-1, 1)
    factors = [np.sqrt(w) * p.factor for w, p in zip(weights, pair, strict=True)]
    left_out = weights @ np.array([p.left_out for p in pair])
    variances = np.array([(p.left_out / p.scores) ** 2 + p.left_out**2 for p in pair])
    return Posterior(
        np.tensordot(weights, [p.coefficients for p in pair], axes=1),
        np.concatenate([*factors, shift], axis=1),
        np.sqrt(weights @ np.array([p.noise**2 for p in pair])),
        left_out,
        left_out / np.sqrt(weights @ variances - left_out**2),
        float(np.logaddexp(*(np.log(weights) + [p.evidence for p in pair]))),
    )


def noise_at(position: Array, logs: Array) -> Array:
    """Return the noise (n,) at positions (n,) among the widths, given the scales' logarithms."""
    return np.asarray(np.exp(logs[-2] + logs[-1] * position))


def width_positions(terms: Terms) -> Array:
    """Return the positions (E,) of the widths on a logarithmic scale, -1/2 to 1/2."""
    logs = np.log(terms.widths)
    reach = float(logs.max() - logs.min()) or 1.0
    return np.asarray((logs - (logs.max() + logs.min()) / 2) / reach)


def fit_posterior(
    terms: Terms, codes: Codes, y: Array, std: Array, prior: Prior | None
) -> Posterior:
    """Return the posterior of the coefficients of values y (n,) with standard errors (n,)."""
    shape = (len(terms.widths), len(terms))
    mean = physical_mean(terms) if prior is None else prior.mean
    values, width = terms(codes), terms.width_of(codes)
    expected = (values * mean[width]).sum(axis=1)
    # 1. The level of the whole: what makes the prior's mean right on (geometric) average.
    level = float(np.exp(np.mean(np.log(y / np.maximum(expected, 1e-12)))))
    # 2. Each row holds the terms in the columns of its width, over the value.
    rows = np.zeros((len(y), *shape))
    rows[np.arange(len(y)), width] = values * (level / y)[:, None]
    factors = factors_of(terms, _levels(terms, width, y / level), prior)
    parts = [rows.reshape(len(y), -1) @ factor.columns for factor in factors]
    noise = NOISE if prior is None else NOISE_BESIDE_KNOWN
    regression = _Regression(
        1 - expected * level / y,
        parts,
        std / y,
        width_positions(terms)[width],
        np.r_[np.log([*(factor.typical for factor in factors), noise[0]]), NOISE_SLOPE[0]],
        np.array([*(factor.spread for factor in factors), noise[1], NOISE_SLOPE[1]]),
    )
    # 3. Scales, by marginal likelihood; the posterior of the coefficients, averaged over them.
    logs, weights, evidence = regression.sample_scales()
    posterior = _average(regression, factors, mean, level, logs, weights, width_positions(terms))
    return replace(posterior, evidence=evidence)


def _average(
    regression: _Regression,
    factors: Sequence[Factor],
    mean: Array,
    level: float,
    logs: Array,
    weights: Array,
    position: Array,
) -> Posterior:
    """Return the mixture of the posteriors given each of some scales (s, f + 2)."""
    columns = np.concatenate([factor.columns for factor in factors], axis=1)
    rows = np.concatenate(regression.rows, axis=1)
    sizes = [factor.columns.shape[1] for factor in factors]
    means, second, left_out, variances = [], 0.0, 0.0, 0.0
    noise = weights @ np.array([noise_at(position, scales) ** 2 for scales in logs])
    for scales, weight in zip(logs, weights, strict=True):
        # Given scales: the usual equations of Gaussian processes, A = X S X' + N.
        inverse = np.linalg.inv(regression.covariance(scales))
        alpha = inverse @ regression.target
        scale = np.repeat(np.exp(2 * scales[:-2]), sizes)
        scaled = rows * scale  # X S
        mean_weights = scaled.T @ alpha
        covariance = np.diag(scale) - scaled.T @ inverse @ scaled
        means.append(mean_weights)
        second = second + weight * (covariance + np.outer(mean_weights, mean_weights))
        # Leave-one-out: Rasmussen and Williams 2006, equation 5.12.
        left_out = left_out + weight * alpha / inverse.diagonal()
        variances = variances + weight / inverse.diagonal()
    center = weights @ np.array(means)
    root = _square_root(second - np.outer(center, center))
    return Posterior(
        level * (mean + (columns @ center).reshape(mean.shape)),
        level * (columns @ root),
        np.asarray(np.sqrt(noise)),
        np.asarray(left_out),
        np.asarray(left_out / np.sqrt(variances)),
    )


def _square_root(covariance: Array) -> Array:
    """Return a square root (q, q) of a covariance that may have rounding errors."""
    std = np.sqrt(np.maximum(covariance.diagonal(), np.finfo(np.float64).tiny))
    correlation = covariance / std[:, None] / std
    correlation.flat[:: len(std) + 1] += _JITTER
    try:
        return np.asarray(std[:, None] * np.linalg.cholesky(correlation))
    except np.linalg.LinAlgError:  # many points: the posterior is far narrower than the prior
        values, vectors = np.linalg.eigh(correlation)
        return np.asarray(std[:, None] * vectors * np.sqrt(np.maximum(values, 0)))


def _levels(terms: Terms, width: IndexArray, y: Array) -> Array:
    """Return the typical value at each width: the medians, interpolated between logarithms."""
    present = np.unique(width)
    medians = np.array([np.median(y[width == e]) for e in present])
    logs = np.log(terms.widths)
    return np.asarray(np.exp(np.interp(logs, logs[present], np.log(medians))))
