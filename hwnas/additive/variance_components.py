"""Variance components by maximization of the marginal likelihood.

The model is ``y ~ N(0, A)`` with

    A = sum_c s_c F_c F_c' + sum_k t_k K_k + v I + N,

blocks F_c of features whose weights have variance s_c, kernels K_k with variance t_k, independent
misfit of variance v, and known noise N on the diagonal. Write ``s K`` for the part of one component
in A, ``K = F_c F_c'`` for features, and ``B`` for the inverse of A. Where the derivative of the
logarithm of the marginal likelihood with respect to s is zero,

    s = s (y' B K B y) / tr(B K).

Iterating this fixed point is MacKay's update ("Bayesian interpolation", Neural Computation 1992);
with the square root of the ratio it is the MM algorithm of Zhou, Hu, Qiao, Cho and Zhou ("MM
algorithms for variance components models", Journal of Computational and Graphical Statistics
2019). A scaled inverse chi-squared prior on every variance keeps those at their prior value about
which the data say nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from hwnas.typing import Array, IndexArray

_JITTERS = (0.0, 1e-10, 1e-8, 1e-6, 1e-3)  # tried in turn, relative to the largest entry
PRIOR_DEGREES = 0.3  # degrees of freedom of the prior: the number of weights that it counts for


@dataclass(frozen=True)
class VarianceComponents:
    """Variance components of the values of n architectures.

    Vectors of variances have C + k + 1 entries: of the C blocks, of the k kernels, and of the
    misfit.

    Attributes
    ----------
    features : (n, P)
    starts : (C,)
        Index of the first feature of each block.
    kernels : sequence of (n, n)
        Covariance matrices that are not products of features.
    """

    features: Array
    starts: IndexArray
    kernels: Sequence[Array]

    def weight_variances(self, variances: Array) -> Array:
        """Return the prior variance of each feature's weight, (P,)."""
        sizes = np.diff([*self.starts, self.features.shape[1]])
        return np.repeat(variances[: len(self.starts)], sizes)

    def residual_covariance(self, variances: Array, noise: Array) -> Array:
        """Return the covariance (n, n) of kernels, misfit and known noise (n,) together."""
        out = np.diag(variances[-1] + noise)
        for kernel, variance in zip(self.kernels, variances[len(self.starts) :], strict=False):
            out += variance * kernel
        return out

    def covariance(self, variances: Array, noise: Array) -> Array:
        """Return the covariance A of the values, (n, n)."""
        weighted = self.features * self.weight_variances(variances)
        return weighted @ self.features.T + self.residual_covariance(variances, noise)


def fit_variances(
    components: VarianceComponents,
    y: Array,
    noise: Array,
    initial: Array,
    prior: Array,
    steps: int,
) -> Array:
    """Return the variances after some steps of the fixed point towards the most likely ones.

    Parameters
    ----------
    components
        Components of n values.
    y : (n,)
        Values, of mean 0 and about variance 1.
    noise : (n,)
        Known variances of their errors.
    initial, prior : (C + k + 1,)
        Variances to start from and prior variances.
    steps
        Number of steps. Few are enough: the changes after the first ones are within the
        uncertainty of the estimates.

    Returns
    -------
    (C + k + 1,)

    References
    ----------
    MacKay 1992; Zhou et al. 2019.

    Examples
    --------
    Without features and kernels, the misfit is the mean square of the values, up to the prior:

    >>> components = VarianceComponents(np.empty((4, 0)), np.zeros(0, dtype=np.intp), [])
    >>> y = np.array([2.0, -2.0, 2.0, -2.0])
    >>> fit_variances(components, y, np.zeros(4), np.ones(1), np.full(1, 4.0), 50).round(6).tolist()
    [4.0]
    """
    variances = initial
    f, blocks = components.features, components.starts
    for _ in range(steps):
        # B = A^-1 and alpha = B y.
        inverse = np.linalg.inv(components.covariance(variances, noise))
        alpha = inverse @ y
        # Numerators y' B K B y: |F_c' alpha|^2, alpha' K_k alpha, alpha' alpha.
        quadratic = [
            *np.add.reduceat((f.T @ alpha) ** 2, blocks),
            *(alpha @ kernel @ alpha for kernel in components.kernels),
            alpha @ alpha,
        ]
        # Denominators tr(B K): tr(F_c' B F_c), the sum of B * K_k, tr(B).
        trace = [
            *np.add.reduceat(((inverse @ f) * f).sum(axis=0), blocks),
            *((inverse * kernel).sum() for kernel in components.kernels),
            np.trace(inverse),
        ]
        # s <- s (s y'BKBy + nu s0 / s) / (s tr(BK) + nu), s0 the prior, nu its degrees of freedom.
        ratio = (np.array(quadratic) * variances + PRIOR_DEGREES * prior / variances) / (
            np.array(trace) * variances + PRIOR_DEGREES
        )
        variances = variances * ratio
    return variances


def cholesky_factor(covariance: Array) -> Array:
    """Return the lower Cholesky factor of a covariance (n, n) that may be singular up to rounding.

    Where rounding made it indefinite, as few parts of its largest entry as suffice, from a
    ten-billionth on, are added to its diagonal.

    Raises
    ------
    numpy.linalg.LinAlgError
        It is no covariance: not even a thousandth of its largest entry suffices.

    Examples
    --------
    >>> factor = cholesky_factor(np.ones((3, 3)))
    >>> bool(np.allclose(factor @ factor.T, 1, atol=1e-8))
    True
    """
    diagonal = float(np.abs(covariance).max(initial=0.0)) * np.eye(len(covariance))
    for jitter in _JITTERS[:-1]:
        with suppress(np.linalg.LinAlgError):
            return np.asarray(np.linalg.cholesky(covariance + jitter * diagonal))
    return np.asarray(np.linalg.cholesky(covariance + _JITTERS[-1] * diagonal))


def log_evidence(components: VarianceComponents, y: Array, noise: Array, variances: Array) -> float:
    """Return the logarithm of the marginal likelihood of values (n,), without its constant.

    It is ``-y' B y / 2 - log det(A) / 2``.
    """
    covariance = components.covariance(variances, noise)
    # log det(A) / 2 is the sum of the logarithms of the diagonal of its Cholesky factor.
    factor = cholesky_factor(covariance)
    return float(-0.5 * y @ np.linalg.solve(covariance, y) - np.log(factor.diagonal()).sum())
