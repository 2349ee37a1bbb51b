"""Bayesian optimization of one linear scalarization (BoTorch)."""

from __future__ import annotations

from typing import Any

import numpy as np
from botorch.acquisition.acquisition import AcquisitionFunction

from hwnas.errors import InvalidInput
from hwnas.spaces import SearchSpace

from ._bayesian import Bayesian, Observations, linear_improvement


class LSBO(Bayesian):
    """Bayesian optimization of one linear scalarization.

    Each proposal maximizes the expected improvement of the weighted sum of the losses, each divided
    by its observed range, by the models of the losses. The search converges to one point of the
    front; it serves as a baseline, or where the weights are known.

    Parameters
    ----------
    weights
        Non-negative weights of the losses; equal by default.
    initial, candidates, rounds, samples
        Initial design, candidates and rounds of a proposal, posterior draws: see `Bayesian`.

    References
    ----------
    Jones, Schonlau and Welch, "Efficient global optimization of expensive black-box functions",
    Journal of Global Optimization 1998; Ament et al., "Unexpected improvements to expected
    improvement for Bayesian optimization", NeurIPS 2023.
    """

    def __init__(
        self,
        space: SearchSpace,
        n_objectives: int,
        *,
        weights: tuple[float, ...] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(space, n_objectives, **settings)
        self.weights = np.full(n_objectives, 1.0) if weights is None else np.array(weights, float)
        # NaN and infinity are excluded together with negative weights.
        valid = np.isfinite(self.weights).all() and (self.weights >= 0).all()
        if self.weights.shape != (n_objectives,) or not valid or not self.weights.any():
            raise InvalidInput(
                f"weights: expected {n_objectives} numbers, none negative and not all 0, "
                f"found {weights}"
            )

    def _create_acquisition(
        self, observations: Observations, **arguments: Any
    ) -> AcquisitionFunction:
        return linear_improvement(observations, self.weights / self.weights.sum(), **arguments)
