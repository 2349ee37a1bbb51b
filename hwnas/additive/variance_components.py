"""How much of each effect there is: variance components by marginal likelihood.

``y ~ N(0, A)`` with ``A = sum_c s_c F_c F_c' + sum_k t_k K_k + noise``: blocks F_c of features,
weights of which have variance s_c, and kernels K_k. Setting the derivative of the logarithm of the
marginal likelihood in s_c to zero gives the fixed point ``s <- s (y' B K B y) / tr(B K)``, B the
inverse of A and K a component's part of A, which is MacKay's (Neural Computation 1992) and, with
the square root of the ratio, the MM algorithm of Zhou, Hu, Qiao, Cho and Zhou (Journal of
Computational and Graphical Statistics 2019). A scaled inverse chi-squared prior around what a
component begins with keeps a variance that the data say nothing about where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwnas.typing import Array

DEGREES = 0.3  # of freedom of the prior: as many weights it counts for


@dataclass(frozen=True)
class Components:
    """Variance components of one set of networks.

    Attributes
    ----------
    features : (n, P)
    starts : (C,)
        Where each block of features begins.
    kernels : sequence of (n, n)
        Covariances that are no features' products.
    """

    features: Array
    starts: NDArray[np.intp]
    kernels: Sequence[Array]

    def spread(self, variances: Array) -> Array:
        """The variance of each feature's weight, (P,), of those of components."""
        sizes = np.diff([*self.starts, self.features.shape[1]])
        return np.repeat(variances[: len(self.starts)], sizes)

    def rest(self, variances: Array, noise: Array) -> Array:
        """Covariance (n, n) of what no feature explains: kernels, misfit and known noise (n,)."""
        out = np.diag(variances[-1] + noise)
        for kernel, variance in zip(self.kernels, variances[len(self.starts) :], strict=False):
            out += variance * kernel
        return out

    def covariance(self, variances: Array, noise: Array) -> Array:
        """A, (n, n)."""
        weighted = self.features * self.spread(variances)
        return weighted @ self.features.T + self.rest(variances, noise)


def fitted(
    components: Components, y: Array, noise: Array, start: Array, prior: Array, steps: int
) -> Array:
    """Variances after some steps towards the most likely.

    Parameters
    ----------
    components
        Of n networks.
    y : (n,)
        Of mean 0 and about variance 1.
    noise : (n,)
        Known variances of their errors.
    start, prior : (C + kernels + 1,)
        Where to begin and what is expected, the misfit (independent noise of unknown variance)
        last.
    steps
        How many. Few do: what the first ones leave is within what the data can tell.
    """
    variances = start
    f, blocks = components.features, components.starts
    for _ in range(steps):
        inverse = np.linalg.inv(components.covariance(variances, noise))
        alpha = inverse @ y
        fit = [
            *np.add.reduceat((f.T @ alpha) ** 2, blocks),
            *(alpha @ kernel @ alpha for kernel in components.kernels),
            alpha @ alpha,
        ]
        trace = [
            *np.add.reduceat(((inverse @ f) * f).sum(axis=0), blocks),
            *((inverse * kernel).sum() for kernel in components.kernels),
            np.trace(inverse),
        ]
        ratio = (np.array(fit) * variances + DEGREES * prior / variances) / (
            np.array(trace) * variances + DEGREES
        )
        variances = variances * ratio
    return variances


def log_evidence(components: Components, y: Array, noise: Array, variances: Array) -> float:
    """Logarithm of the marginal likelihood, without its constant."""
    covariance = components.covariance(variances, noise)
    factor = np.linalg.cholesky(covariance)
    return float(-0.5 * y @ np.linalg.solve(covariance, y) - np.log(factor.diagonal()).sum())
