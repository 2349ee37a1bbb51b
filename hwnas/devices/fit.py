"""Fit of a metric's tables to few measurements.

The metric of an architecture of width e is ``F(code) @ w[e]``, with the terms F of
`hwnas.devices.fit_terms`. Coefficients have a Gaussian prior (`hwnas.devices.fit_prior`), errors
are relative, and the prior's few scales are chosen by marginal likelihood.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwnas.devices.fit_posterior import Posterior, fit_posterior, mix_posteriors
from hwnas.devices.fit_prior import Prior
from hwnas.devices.fit_terms import Terms
from hwnas.errors import InvalidInput
from hwnas.spaces import SearchSpace
from hwnas.surrogates.tables import AdditiveTable
from hwnas.typing import Array, Codes

MIN_POINTS = 6
# Logarithm of the prior odds that a device is like known ones, which were often measured otherwise.
KNOWN_ODDS = -2.0
MIN_CONFORMAL = 30  # points from which intervals are conformal
_PRIOR_SCORES = 2  # leave-one-out errors of the expected size that count beside the measured ones
_FITTED_SCALES = 3  # degrees of freedom that the scales of the prior take


@dataclass(frozen=True, eq=False)
class FittedMetric:
    """A metric of every architecture of a space, fitted to measurements.

    Attributes
    ----------
    space
        The space.
    metric
        Name of the metric, workload included.
    coefficients : (E, K)
        Of the terms at each width, in the metric's unit.
    factor : (E * K, q)
        Square root of their posterior covariance.
    noise : (E,)
        Standard deviation, at each width, of relative errors that terms do not explain.
    scores : (n,)
        Relative errors of leave-one-out predictions over their standard deviations.
    error
        Expected mean relative error on an architecture that was not measured.
    known
        Probability that the metric is like that of known devices; the tables are averaged with it.
    """

    space: SearchSpace
    metric: str
    coefficients: Array
    factor: Array
    noise: Array
    scores: Array
    error: float
    known: float = 0.0

    @property
    def n_points(self) -> int:
        """Number of measured architectures."""
        return len(self.scores)

    @cached_property
    def terms(self) -> Terms:
        """Terms of the space."""
        return Terms(self.space)

    @cached_property
    def tables(self) -> AdditiveTable:
        """Table of medians, by the packed codes of `hwnas.surrogates.layer_layout`."""
        return self.terms.table(self.coefficients)

    def predict(self, codes: Codes) -> Array:
        """Return medians (n,) of canonical codes (n, d)."""
        own = self.coefficients[self.terms.width_of(codes)]
        return np.asarray(np.einsum("nk,nk->n", self.terms(codes), own))

    def deviation(self, codes: Codes) -> Array:
        """Return the standard deviation (n,) of relative errors."""
        rows, width = self.terms(codes), self.terms.width_of(codes)
        factors = self.factor.reshape(*self.coefficients.shape, -1)  # (E, K, q)
        variance = np.zeros(len(rows))
        for e, factor in enumerate(factors):
            variance[width == e] = ((rows[width == e] @ factor) ** 2).sum(axis=1)
        return np.asarray(np.sqrt(variance / self.predict(codes) ** 2 + self.noise[width] ** 2))

    def interval(self, codes: Codes, level: float = 0.9) -> Array:
        """Return intervals (n, 2) that hold the metric with a probability.

        The posterior's widths are scaled to the leave-one-out errors: below 30 points as a variance
        of which two values were known before, from 30 points on by their quantile (jackknife;
        Barber et al. 2021, "Predictive inference with the jackknife+").
        """
        if not 0 < level < 1:
            raise InvalidInput(f"level: expected a probability between 0 and 1, found {level}")
        n = self.n_points
        # The scales of the prior were fitted to the points that are left out, too.
        squares = self.scores**2 * n / (n - _FITTED_SCALES)
        if n >= MIN_CONFORMAL:
            reach = float(np.sqrt(np.quantile(squares, min(1.0, level * (1 + 1 / n)))))
        else:
            variance = (_PRIOR_SCORES + squares.sum()) / (_PRIOR_SCORES + n)
            reach = NormalDist().inv_cdf((1 + level) / 2) * float(np.sqrt(variance))
        half = reach * self.deviation(codes)
        median = self.predict(codes)
        return np.stack([median * (1 - half), median * (1 + half)], axis=1)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return plain arrays: ``np.savez(file, **arrays)`` needs no pickle."""
        return {
            "metric": np.array(self.metric),
            "coefficients": self.coefficients,
            "factor": self.factor,
            "noise": self.noise,
            "scores": self.scores,
            "error": np.array(self.error),
            "known": np.array(self.known),
        }

    @classmethod
    def from_arrays(cls, space: SearchSpace, arrays: Mapping[str, NDArray[Any]]) -> FittedMetric:
        """Return the fit of `to_arrays`.

        Raises
        ------
        InvalidInput
            An array is missing, is not of finite numbers, or does not fit the space.
        """
        names = ("coefficients", "factor", "noise", "scores", "error", "known")
        if missing := [name for name in ("metric", *names) if name not in arrays]:
            raise InvalidInput(f"a fit needs {', '.join(missing)}; found {', '.join(arrays)}")
        numbers = {name: _finite(name, arrays[name]) for name in names}
        terms = Terms(space)
        shape = (len(terms.widths), len(terms))
        if numbers["coefficients"].shape != shape:
            raise InvalidInput(
                f"coefficients: expected shape {shape} for space {space.name!r}, found "
                f"{numbers['coefficients'].shape}; it was fitted for another space"
            )
        if numbers["noise"].shape != shape[:1]:
            raise InvalidInput(f"noise: expected shape {shape[:1]}, found {numbers['noise'].shape}")
        factor = numbers["factor"]
        if factor.ndim != 2 or len(factor) != shape[0] * shape[1] or numbers["scores"].ndim != 1:
            raise InvalidInput(f"factor: expected {shape[0] * shape[1]} rows and scores in one row")
        return cls(
            space,
            str(arrays["metric"]),
            numbers["coefficients"],
            factor,
            numbers["noise"],
            numbers["scores"],
            float(numbers["error"]),
            float(numbers["known"]),
        )


def fit_tables(
    space: SearchSpace,
    codes: Codes,
    values: ArrayLike,
    std: ArrayLike | None = None,
    *,
    metric: str = "latency",
    prior: Prior | None = None,
) -> FittedMetric:
    """Fit the tables of a metric to measurements.

    Parameters
    ----------
    space
        A space with layers.
    codes : (n, d) int8
        Canonical codes of the measured architectures, n at least 6; one may occur several times.
    values : (n,)
        Their metrics, positive.
    std : (n,)
        Standard errors of the values, by default unknown.
    metric
        Name of the metric, workload included, such as ``"tpot.serve"``.
    prior
        What is known from other devices, see `hwnas.devices.fit_known`; by default physical terms
        of unknown size. Both fits are averaged with their probabilities given the values (Hoeting
        et al. 1999, "Bayesian Model Averaging"), so that a device unlike all others loses little.

    Raises
    ------
    InvalidInput
        Fewer than 6 points, a value that is not positive, or a space without layers.

    Examples
    --------
    >>> import hwnas
    >>> space = hwnas.space("gpt-s")
    >>> codes = space.sample(30, np.random.default_rng(0))
    >>> fit = fit_tables(space, codes, space.params(codes) / 1e9)
    >>> fit.n_points, fit.error < 0.01
    (30, True)
    """
    terms = Terms(space)
    codes = np.asarray(codes)
    y, sigma = _check_values(codes, values, std)
    posterior, known = fit_posterior(terms, codes, y, sigma, None), 0.0
    if prior is not None:
        with_known = fit_posterior(terms, codes, y, sigma, prior)
        log_odds = with_known.evidence - posterior.evidence + KNOWN_ODDS
        known = (1 + math.tanh(log_odds / 2)) / 2
        posterior = mix_posteriors(posterior, with_known, known)
    return FittedMetric(
        space,
        metric,
        posterior.coefficients,
        posterior.factor,
        posterior.noise,
        posterior.scores,
        _expected_error(posterior, sigma / y),
        known,
    )


def _expected_error(posterior: Posterior, std: Array) -> float:
    """Return the mean relative error of leave-one-out predictions, without that of measurements.

    Parameters
    ----------
    posterior
        Its leave-one-out errors, and their variances, are those of measured values.
    std : (n,)
        Relative standard errors of the measured values.
    """
    error = float(np.abs(posterior.left_out).mean())
    is_told = (std > 0) & (posterior.scores != 0)
    if not is_told.any():
        return error
    variance = (posterior.left_out[is_told] / posterior.scores[is_told]) ** 2
    share = np.maximum(variance - std[is_told] ** 2, 0).sum() / variance.sum()
    return error * float(np.sqrt(share))


def _check_values(codes: Codes, values: ArrayLike, std: ArrayLike | None) -> tuple[Array, Array]:
    """Return values and standard errors (n,) as float64."""
    y = np.asarray(values, dtype=np.float64)
    sigma = np.zeros_like(y) if std is None else np.asarray(std, dtype=np.float64)
    if codes.ndim != 2 or y.shape != (len(codes),) or sigma.shape != y.shape:
        raise InvalidInput(
            f"expected one value, and one std, for each of {len(codes)} codes, found shapes "
            f"{y.shape} and {sigma.shape}"
        )
    if len(np.unique(codes, axis=0)) < MIN_POINTS:
        raise InvalidInput(
            f"expected at least {MIN_POINTS} different architectures, found "
            f"{len(np.unique(codes, axis=0))}; measure more"
        )
    if not (np.isfinite(y).all() and (y > 0).all()):
        bad = y[~(np.isfinite(y) & (y > 0))][0]
        raise InvalidInput(f"expected finite values above 0, found {bad}; leave that one out")
    if not (np.isfinite(sigma).all() and (sigma >= 0).all()):
        raise InvalidInput("std: expected finite numbers of at least 0")
    return y, sigma


def _finite(name: str, array: NDArray[Any]) -> Array:
    if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
        raise InvalidInput(f"{name}: expected finite numbers, found others")
    return np.asarray(array, dtype=np.float64)
