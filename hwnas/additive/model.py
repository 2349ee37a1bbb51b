"""A Gaussian process of one objective: effects that add up, and what is left of the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hwnas.additive.effects import Effects
from hwnas.additive.variance_components import Components, fitted, log_evidence
from hwnas.spaces import Codes
from hwnas.typing import Array

_LENGTHS = (0.5, 1.5)  # of the kernels over what sums networks up
_REST = 1e-4  # prior variance of each of them, where an objective's is 1
_MISFIT = 1e-7  # and of what nothing explains
_JITTER = 1e-10  # of a covariance's diagonal


class Design:
    """Networks as a model sees them.

    Parameters
    ----------
    effects
        Of their space.
    codes : (n, d)

    Attributes
    ----------
    features : (n, P)
    summary : (n, q)
    """

    def __init__(self, effects: Effects, codes: Codes) -> None:
        self.codes = codes
        self.features = effects(codes)
        self.summary = effects.summary(codes)

    def __len__(self) -> int:
        return len(self.codes)

    def kernels(self, other: Design) -> list[Array]:
        """Covariances (n, k) with other networks over what sums both up, of variance 1."""
        a, b = self.summary, other.summary
        squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
        return [np.exp(-0.5 * np.maximum(squares, 0) / length**2) for length in _LENGTHS]

    @cached_property
    def own_kernels(self) -> list[Array]:
        """Covariances (n, n) among themselves."""
        return self.kernels(self)


@dataclass(frozen=True)
class Scale:
    """How an objective is modelled: itself or its logarithm, of mean 0 and variance 1.

    Attributes
    ----------
    centre, spread
        Mean and standard deviation of what is modelled, over what was told.
    logarithmic
        Whether that is the logarithm.
    """

    centre: float
    spread: float
    logarithmic: bool = False

    @classmethod
    def of(cls, values: Array, *, logarithmic: bool = False) -> Scale:
        """The scale of values (n,)."""
        used = np.log(values) if logarithmic else values
        centre, spread = float(used.mean()), float(used.std())
        alike = spread <= 1e-12 * abs(centre)  # up to rounding
        return cls(centre, 1.0 if alike else spread, logarithmic)

    def modelled(self, values: Array) -> Array:
        """Values (...,) as they are modelled."""
        used = np.log(values) if self.logarithmic else values
        return (used - self.centre) / self.spread

    def raw(self, modelled: Array) -> Array:
        """What `modelled` was made of."""
        used = modelled * self.spread + self.centre
        return np.exp(used) if self.logarithmic else used

    def errors(self, values: Array, std: Array) -> Array:
        """Standard errors (n,) of values as they are modelled."""
        return std / self.spread / (values if self.logarithmic else 1.0)

    def log_density(self, values: Array) -> float:
        """Logarithm of how much denser values lie as they are modelled, to compare evidence."""
        steep = -np.log(values).sum() if self.logarithmic else 0.0
        return float(steep - len(values) * np.log(self.spread))


class AdditiveModel:
    """The posterior of one objective.

    Parameters
    ----------
    effects
        Of the space.
    design
        n networks that were measured.
    values : (n,)
        What was measured.
    std : (n,)
        Standard errors, 0 where values are exact.
    scale
        How to model it.
    start : (C,), optional
        Variances of an earlier fit to begin with.
    steps
        Of the fit of variances.
    """

    def __init__(
        self,
        effects: Effects,
        design: Design,
        values: Array,
        std: Array,
        scale: Scale,
        *,
        start: Array | None = None,
        steps: int,
    ) -> None:
        self.effects, self.design, self.scale = effects, design, scale
        self._noise = scale.errors(values, std) ** 2
        self._y = scale.modelled(values)
        self._components = Components(design.features, effects.starts, design.own_kernels)
        own = [block.variance for block in effects.blocks]
        prior = np.array([*own, *[_REST] * len(_LENGTHS), _MISFIT])
        first = prior if start is None else start
        self.variances = fitted(self._components, self._y, self._noise, first, prior, steps)
        self._spread = self._components.spread(self.variances)
        covariance = self._components.covariance(self.variances, self._noise)
        self._factor = np.linalg.cholesky(covariance)
        self._alpha = np.linalg.solve(covariance, self._y)

    @property
    def misfit(self) -> float:
        """Variance of what neither effects nor kernels explain, as it is modelled."""
        return float(self.variances[-1])

    @property
    def log_evidence(self) -> float:
        """Logarithm of the density of the values that were measured, without its constant."""
        modelled = log_evidence(self._components, self._y, self._noise, self.variances)
        return modelled + self.scale.log_density(self.scale.raw(self._y))

    @cached_property
    def explained(self) -> float:
        """Share of the variance within widths that effects predict, at most 1.

        Of each network from all others (Rasmussen and Williams, Gaussian Processes for Machine
        Learning, 2006, equation 5.12): what they predict of what they were fitted to would say
        little. Within widths, because between them nearly everything is explained by the width.
        The variance of known noise is left out.
        """
        f = self.design.features
        inverse = np.linalg.inv(self._components.covariance(self.variances, self._noise))
        shared = (f * self._spread) @ f.T
        without = self._alpha / inverse.diagonal()
        predicted = shared @ self._alpha - (shared * inverse).sum(axis=1) * without
        groups = self.effects.width_of(self.design.codes)
        noise = self._noise.sum()  # what nobody could predict
        left, there = (_within(part, groups) - noise for part in (self._y - predicted, self._y))
        if there <= 0:  # nothing varies, or nothing more than the noise would
            return 0.0 if noise > 0 else 1.0
        return float(1 - max(left, 0) / there)

    def left_out(self) -> tuple[Array, Array]:
        """What all others predict of each network that was measured, as it is modelled.

        Returns
        -------
        mean, deviation : (n,)
            Of the measurement, noise included (Rasmussen and Williams 2006, equation 5.12).
        """
        covariance = self._components.covariance(self.variances, self._noise)
        precision = np.linalg.inv(covariance).diagonal()
        return self._y - self._alpha / precision, 1 / np.sqrt(precision)

    @cached_property
    def weights(self) -> Array:
        """Posterior means (P,) of the effects' weights."""
        return np.asarray(self._spread * (self._alpha @ self.design.features))

    def weight_draws(self, n: int, rng: np.random.Generator) -> Array:
        """Draws (n, P) of the weights' posterior.

        A draw of the prior is moved by what it gets wrong (Matheron's rule; Wilson et al.,
        "Pathwise conditioning of Gaussian processes", JMLR 2021).
        """
        f = self.design.features
        prior = rng.standard_normal((n, f.shape[1])) * np.sqrt(self._spread)
        rest = np.linalg.cholesky(self._components.rest(self.variances, self._noise))
        seen = prior @ f.T + rng.standard_normal((n, len(f))) @ rest.T
        wrong = np.linalg.solve(self._factor, (self._y - seen).T)
        moved = np.linalg.solve(self._factor.T, wrong).T @ f
        return np.asarray(prior + moved * self._spread)

    def mean(self, design: Design) -> Array:
        """Posterior means (k,) in raw units; of a logarithm, medians."""
        return self.scale.raw(self._cross(design) @ self._alpha)

    def draws(self, design: Design, n: int, rng: np.random.Generator) -> Array:
        """Joint draws (n, k) of what networks would measure without noise, in raw units."""
        mean, covariance = self.posterior(design)
        floor = _JITTER * float((design.features**2 @ self._spread).max(initial=1.0))
        covariance[np.diag_indices_from(covariance)] += self.misfit + floor
        factor = np.linalg.cholesky(covariance)
        return self.scale.raw(mean + rng.standard_normal((n, len(mean))) @ factor.T)

    def posterior(self, design: Design) -> tuple[Array, Array]:
        """Mean (k,) and covariance (k, k) of networks, as modelled and without misfit."""
        cross = self._cross(design)
        own = (design.features * self._spread) @ design.features.T
        for kernel, variance in zip(design.own_kernels, self._kernel_variances, strict=True):
            own += variance * kernel
        half = np.linalg.solve(self._factor, cross.T)
        return cross @ self._alpha, own - half.T @ half

    def _cross(self, design: Design) -> Array:
        """Prior covariance (k, n) of networks with those that were measured."""
        out = (design.features * self._spread) @ self.design.features.T
        for kernel, variance in zip(
            design.kernels(self.design), self._kernel_variances, strict=True
        ):
            out += variance * kernel
        return out

    @property
    def _kernel_variances(self) -> Array:
        return self.variances[-1 - len(_LENGTHS) : -1]


def _within(values: Array, groups: NDArray[np.intp]) -> float:
    """Sum of squares of values (n,) about the means of their groups."""
    sizes = np.maximum(np.bincount(groups), 1)
    means = np.bincount(groups, values) / sizes
    return float(((values - means[groups]) ** 2).sum())


def model_of(
    effects: Effects,
    design: Design,
    values: Array,
    std: Array,
    *,
    before: AdditiveModel | None = None,
    scales: Sequence[bool] = (False, True),
    steps: int = 20,
) -> AdditiveModel:
    """The model of an objective, on the scale that the evidence says.

    Parameters
    ----------
    effects, design, values, std
        See `AdditiveModel`.
    before
        An earlier model, whose variances to begin with where the scale is the same.
    scales
        Which to try: not logarithmic, logarithmic; the latter is left out where values are not
        positive.
    steps
        Of the fit of variances.
    """
    made = []
    for logarithmic in scales:
        if logarithmic and values.min() <= 0:
            continue
        same = before is not None and before.scale.logarithmic == logarithmic
        start = before.variances if before is not None and same else None
        scale = Scale.of(values, logarithmic=logarithmic)
        made.append(AdditiveModel(effects, design, values, std, scale, start=start, steps=steps))
    if not made:  # it was logarithmic and now has a value that is not positive
        scale = Scale.of(values)
        return AdditiveModel(effects, design, values, std, scale, steps=max(steps, 20))
    return made[0] if len(made) == 1 else max(made, key=lambda model: model.log_evidence)
