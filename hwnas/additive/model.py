"""A Gaussian process of one objective: additive effects, and kernels for the remainder.

The sections "The model" and "Sources" of ``docs/additive.md`` explain it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hwnas.additive.choice import AnyEffects
from hwnas.additive.variance_components import (
    VarianceComponents,
    cholesky_factor,
    fit_variances,
    log_evidence,
)
from hwnas.typing import Array, Codes, IndexArray

LENGTHS = (0.5, 1.5)  # length scales of the kernels over the summary
_KERNEL_VARIANCE = 1e-4  # prior variance of each kernel, for an objective of variance 1
_MISFIT_VARIANCE = 1e-7  # prior variance of the misfit
_MIN_RATIO = 1e-6  # of the smallest value to the largest, below which logarithms are no scale
_JITTER = 1e-10  # added to the diagonal of a covariance, relative to its largest entry


class Design:
    """Model inputs of n architectures.

    Parameters
    ----------
    effects
        Effects of their space.
    codes : (n, d)

    Attributes
    ----------
    codes : (n, d)
    features : (n, p)
        Features of the effects, without further ones, which differ between objectives.
    summary : (n, q)
        See `Effects.summary`.
    """

    def __init__(self, effects: AnyEffects, codes: Codes) -> None:
        self.codes = codes
        self.features = effects.basic(codes)
        self.summary = effects.summary(codes)

    def __len__(self) -> int:
        return len(self.codes)

    def features_of(self, effects: AnyEffects) -> Array:
        """Return the features (n, P) of effects: of those of the space, and further ones if any."""
        return effects.extend(self.features, self.codes)

    def kernels(self, design: Design) -> list[Array]:
        """Return the squared-exponential kernels (n, k) over both summaries, of variance 1."""
        a, b = self.summary, design.summary
        # |a - b|^2 = |a|^2 + |b|^2 - 2 a'b, which rounding may make slightly negative.
        squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
        return [np.exp(-0.5 * np.maximum(squares, 0) / length**2) for length in LENGTHS]

    @cached_property
    def own_kernels(self) -> list[Array]:
        """Kernels (n, n) of the architectures with each other."""
        return self.kernels(self)


@dataclass(frozen=True)
class Scale:
    """Transform of an objective to mean 0 and variance 1, of itself or of its logarithm.

    Attributes
    ----------
    center, spread
        Mean and standard deviation of the observed values or of their logarithms.
    logarithmic
        The logarithm is modeled.

    Examples
    --------
    >>> scale = Scale.fit(np.array([1.0, 3.0]))
    >>> scale.transform(np.array([5.0])).tolist(), scale.inverse(np.array([-1.0])).tolist()
    ([3.0], [1.0])
    """

    center: float
    spread: float
    logarithmic: bool = False

    @classmethod
    def fit(cls, values: Array, *, logarithmic: bool = False) -> Scale:
        """Return the scale of values (n,)."""
        modeled = np.log(values) if logarithmic else values
        # Divided by a power of two, which is exact, the squares of no values overflow.
        unit = np.ldexp(1.0, int(np.frexp(np.abs(modeled).max())[1]) - 1)
        center, spread = float(modeled.mean()), float((modeled / unit).std() * unit)
        is_constant = spread <= 1e-12 * abs(center)  # up to rounding
        return cls(center, 1.0 if is_constant else spread, logarithmic)

    def transform(self, values: Array) -> Array:
        """Return the modeled values of raw values (...,)."""
        modeled = np.log(values) if self.logarithmic else values
        return (modeled - self.center) / self.spread

    def inverse(self, modeled: Array) -> Array:
        """Return the raw values of modeled values (...,)."""
        unscaled = modeled * self.spread + self.center
        return np.exp(unscaled) if self.logarithmic else unscaled

    def transform_std(self, values: Array, std: Array) -> Array:
        """Return the standard errors (n,) of modeled values, to first order."""
        return std / self.spread / (values if self.logarithmic else 1.0)

    def log_density(self, values: Array) -> float:
        """Return the log-determinant of the transform's derivative at values (n,).

        It makes the evidence of models on different scales comparable.
        """
        log_slopes = -np.log(values).sum() if self.logarithmic else 0.0
        return float(log_slopes - len(values) * np.log(self.spread))


class AdditiveModel:
    """The posterior of one objective.

    Parameters
    ----------
    effects
        Effects of the space.
    design
        n observed architectures.
    values : (n,)
        Observed values.
    std : (n,)
        Their standard errors, 0 where they are exact.
    scale
        Transform of the values.
    initial_variances : (C + k + 1,), optional
        Variances of an earlier fit to start from.
    steps
        Steps of the fit of variances.

    Attributes
    ----------
    effects, design, scale
        As given.
    features : (n, P)
        Those of the observed architectures.
    modeled, noise : (n,)
        Observed values on the scale of the model, and the variances of their errors.
    variances : (C + k + 1,)
        Fitted variances: of each block of effects, of each kernel, and of the misfit.
    weight_variances : (P,)
        Those of the weight of each feature.
    """

    def __init__(
        self,
        effects: AnyEffects,
        design: Design,
        values: Array,
        std: Array,
        scale: Scale,
        *,
        initial_variances: Array | None = None,
        steps: int,
    ) -> None:
        self.effects, self.design, self.scale = effects, design, scale
        self.noise = scale.transform_std(values, std) ** 2
        self.modeled = scale.transform(values)
        self.features = design.features_of(effects)
        # Variances by marginal likelihood.
        self._components = VarianceComponents(self.features, effects.starts, design.own_kernels)
        block_variances = [block.variance for block in effects.blocks]
        prior = np.array([*block_variances, *[_KERNEL_VARIANCE] * len(LENGTHS), _MISFIT_VARIANCE])
        initial = prior if initial_variances is None else initial_variances
        self.variances = fit_variances(
            self._components, self.modeled, self.noise, initial, prior, steps
        )
        # The posterior, given these variances: alpha = A^-1 y.
        self.weight_variances = self._components.weight_variances(self.variances)
        covariance = self._components.covariance(self.variances, self.noise)
        self._factor = cholesky_factor(covariance)
        self._alpha = np.linalg.solve(covariance, self.modeled)

    @property
    def misfit(self) -> float:
        """Variance of modeled values that neither effects nor kernels explain."""
        return float(self.variances[-1])

    @property
    def log_evidence(self) -> float:
        """Logarithm of the density of the observed values, without its constant."""
        # Change of variables: the density of raw values is that of modeled ones times the slopes.
        modeled = log_evidence(self._components, self.modeled, self.noise, self.variances)
        return modeled + self.scale.log_density(self.scale.inverse(self.modeled))

    @cached_property
    def explained_variance(self) -> float:
        """Share of the variance within widths that effects predict, at most 1.

        Predictions are leave-one-out (Rasmussen and Williams, Gaussian Processes for Machine
        Learning, 2006, equation 5.12): those of the fitted values themselves would say little.
        Within widths, because between them nearly everything is explained by the width. The
        variance of known noise is left out.
        """
        f = self.features
        inverse = np.linalg.inv(self._components.covariance(self.variances, self.noise))
        # Without observation i, alpha_j becomes alpha_j - B_ij alpha_i / B_ii.
        effect_covariance = (f * self.weight_variances) @ f.T
        correction = self._alpha / inverse.diagonal()
        predicted = effect_covariance @ self._alpha
        predicted = predicted - (effect_covariance * inverse).sum(axis=1) * correction
        groups = self.effects.width_of(self.design.codes)
        noise = self.noise.sum()  # unpredictable by any model
        unexplained, total = (
            _sum_of_squares_within(part, groups) - noise
            for part in (self.modeled - predicted, self.modeled)
        )
        if total <= 0:  # no variance, or none beyond the noise
            return 0.0 if noise > 0 else 1.0
        return float(1 - max(unexplained, 0) / total)

    def leave_one_out(self) -> tuple[Array, Array]:
        """Return the prediction of each modeled value from all other observations.

        Returns
        -------
        mean, deviation : (n,)
            Predictive distribution of the observation, noise included (Rasmussen and Williams
            2006, equation 5.12).
        """
        covariance = self._components.covariance(self.variances, self.noise)
        precision = np.linalg.inv(covariance).diagonal()
        return self.modeled - self._alpha / precision, 1 / np.sqrt(precision)

    @cached_property
    def weights(self) -> Array:
        """Posterior means (P,) of the effects' weights."""
        return np.asarray(self.weight_variances * (self._alpha @ self.features))

    def sample_weights(self, n: int, rng: np.random.Generator) -> Array:
        """Draw `n` samples (n, P) from the posterior of the weights.

        Matheron's rule: a sample of the prior is corrected by its error at the observations
        (Wilson et al., "Pathwise conditioning of Gaussian processes", JMLR 2021).
        """
        f = self.features
        # 1. Samples of the prior: weights w, and observations F w + residual.
        prior = rng.standard_normal((n, f.shape[1])) * np.sqrt(self.weight_variances)
        residual = cholesky_factor(self._components.residual_covariance(self.variances, self.noise))
        sampled_y = prior @ f.T + rng.standard_normal((n, len(f))) @ residual.T
        # 2. Correction: S F' A^-1 (y - sampled y), S the diagonal of the weights' variances.
        half_solved = np.linalg.solve(self._factor, (self.modeled - sampled_y).T)
        correction = np.linalg.solve(self._factor.T, half_solved).T @ f
        return np.asarray(prior + correction * self.weight_variances)

    def mean(self, design: Design) -> Array:
        """Return posterior means (k,) in raw units; medians where the logarithm is modeled."""
        return self.scale.inverse(self._cross_covariance(design) @ self._alpha)

    def sample(self, design: Design, n: int, rng: np.random.Generator) -> Array:
        """Draw `n` joint samples (n, k) of noise-free values of architectures, in raw units."""
        mean, covariance = self.posterior(design)
        prior_variances = design.features_of(self.effects) ** 2 @ self.weight_variances
        jitter = _JITTER * float(prior_variances.max(initial=1.0))
        covariance[np.diag_indices_from(covariance)] += self.misfit + jitter
        factor = np.linalg.cholesky(covariance)
        return self.scale.inverse(mean + rng.standard_normal((n, len(mean))) @ factor.T)

    def posterior(self, design: Design) -> tuple[Array, Array]:
        """Return the mean (k,) and covariance (k, k) of modeled values, without the misfit."""
        cross = self._cross_covariance(design)
        features = design.features_of(self.effects)
        prior = (features * self.weight_variances) @ features.T
        for kernel, variance in zip(design.own_kernels, self.kernel_variances, strict=True):
            prior += variance * kernel
        # K** - K* A^-1 K*' with A = L L': the product of L^-1 K*' with itself.
        half_solved = np.linalg.solve(self._factor, cross.T)
        return cross @ self._alpha, prior - half_solved.T @ half_solved

    def _cross_covariance(self, design: Design) -> Array:
        """Return the prior covariance (k, n) of architectures with the observed ones."""
        out = (design.features_of(self.effects) * self.weight_variances) @ self.features.T
        for kernel, variance in zip(
            design.kernels(self.design), self.kernel_variances, strict=True
        ):
            out += variance * kernel
        return out

    def solve(self, values: Array) -> Array:
        """Return A^-1 times values (n, k), A the covariance of the observations."""
        return np.asarray(np.linalg.solve(self._factor.T, np.linalg.solve(self._factor, values)))

    @property
    def kernel_variances(self) -> Array:
        """Variance of each kernel."""
        return self.variances[-1 - len(LENGTHS) : -1]


def _sum_of_squares_within(values: Array, groups: IndexArray) -> float:
    """Return the sum of squares of values (n,) about the means of their groups."""
    # Widths that do not occur have no members; 1 avoids a division by 0.
    sizes = np.maximum(np.bincount(groups), 1)
    means = np.bincount(groups, values) / sizes
    return float(((values - means[groups]) ** 2).sum())


def fit_model(
    effects: AnyEffects,
    design: Design,
    values: Array,
    std: Array,
    *,
    previous: AdditiveModel | None = None,
    scales: Sequence[bool] = (False, True),
    steps: int = 20,
) -> AdditiveModel:
    """Return the model of an objective, on the scale with the largest evidence.

    Parameters
    ----------
    effects, design, values, std
        See `AdditiveModel`.
    previous
        An earlier model, whose variances are the initial ones if the scale is the same.
    scales
        Scales to try: False for the values, True for their logarithm; the latter is left out where
        values are not positive, or so small beside others that they are zeros but for rounding.
    steps
        Steps of the fit of variances.
    """
    models = []
    for logarithmic in scales:
        if logarithmic and values.min() <= _MIN_RATIO * values.max():
            continue
        has_same_scale = previous is not None and previous.scale.logarithmic == logarithmic
        initial = previous.variances if previous is not None and has_same_scale else None
        scale = Scale.fit(values, logarithmic=logarithmic)
        models.append(
            AdditiveModel(
                effects, design, values, std, scale, initial_variances=initial, steps=steps
            )
        )
    if not models:
        # Only the logarithm was to be tried, and now a value is zero or less: start anew.
        scale = Scale.fit(values)
        return AdditiveModel(effects, design, values, std, scale, steps=max(steps, 20))
    return models[0] if len(models) == 1 else max(models, key=lambda model: model.log_evidence)
