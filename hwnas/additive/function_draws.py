"""Draws of whole objectives from the posterior of a model, to be evaluated anywhere."""

from __future__ import annotations

import numpy as np

from hwnas.additive.model import LENGTHS, AdditiveModel, Design
from hwnas.typing import Array, IndexArray

_N_WAVES = 96  # random features of a kernel


class FunctionDraws:
    """Draws of an objective as functions of architectures.

    A draw of the prior is corrected by its error at the observations (Matheron's rule; Wilson et
    al., "Pathwise conditioning of Gaussian processes", JMLR 2021). The kernels of the prior are
    sums of random waves (Rahimi and Recht, "Random features for large-scale kernel machines",
    NeurIPS 2007), those of the correction are exact.

    Parameters
    ----------
    model
        Model of the objective.
    n
        Number of draws.
    rng
        Source of randomness.

    Attributes
    ----------
    weights : (n, P)
        Drawn weights of the effects.
    observed : (n, k)
        Drawn values of the model's k observed architectures in raw units, without the noise of
        their measurements: the measured values where there is none.
    """

    def __init__(self, model: AdditiveModel, n: int, rng: np.random.Generator) -> None:
        self._model, self._rng = model, rng
        design, q = model.design, model.design.summary.shape[1]
        features = model.features
        self._waves = [rng.standard_normal((q, _N_WAVES)) / length for length in LENGTHS]
        self._phases = [rng.uniform(0, 2 * np.pi, _N_WAVES) for _ in LENGTHS]
        # 1. The prior: effects, kernels, misfit and noise.
        prior = rng.standard_normal((n, features.shape[1]))
        prior *= np.sqrt(model.weight_variances)
        self._amplitudes = rng.standard_normal((n, _N_WAVES * len(LENGTHS)))
        misfit = rng.standard_normal((n, len(design))) * np.sqrt(model.misfit)
        noise = rng.standard_normal((n, len(design))) * np.sqrt(model.noise)
        smooth = prior @ features.T + self._amplitudes @ self._wave_features(design).T
        # 2. Its error at the observations, multiplied by the inverse of their covariance.
        self._alpha = model.solve((model.modeled - smooth - misfit - noise).T).T  # (n, k)
        # 3. The posterior of each part.
        self.weights = prior + (self._alpha @ features) * model.weight_variances
        noise = noise + self._alpha * model.noise
        self.observed = model.scale.inverse(model.modeled - noise)

    def __call__(self, i: int, design: Design) -> Array:
        """Return values (k,) of draw `i` in raw units, of architectures that were not observed."""
        model = self._model
        values = design.features_of(model.effects) @ self.weights[i]
        values += self._wave_features(design) @ self._amplitudes[i]
        kernels = zip(design.kernels(model.design), model.kernel_variances, strict=True)
        for kernel, variance in kernels:
            values += variance * (kernel @ self._alpha[i])
        values += self._rng.standard_normal(len(values)) * np.sqrt(model.misfit)
        return model.scale.inverse(values)

    def tables(self, i: IndexArray | int) -> tuple[Array, Array]:
        """Return the tables of draws, see `hwnas.additive.effects.Effects.tables`."""
        return self._model.effects.tables(self.weights[np.atleast_1d(i)])

    def _wave_features(self, design: Design) -> Array:
        """Return random features (k, waves), whose products are about the weighted kernels."""
        parts = [
            np.sqrt(2 * variance / _N_WAVES) * np.cos(design.summary @ waves + phases)
            for variance, waves, phases in zip(
                self._model.kernel_variances, self._waves, self._phases, strict=True
            )
        ]
        return np.concatenate(parts, axis=1)
