"""Bayesian optimization of random linear scalarizations (BoTorch)."""

from __future__ import annotations

from typing import Any

import numpy as np
from botorch.acquisition.acquisition import AcquisitionFunction

from ._bayesian import Bayesian, Observations, linear_improvement


class RSBO(Bayesian):
    """Bayesian optimization of random linear scalarizations.

    Each proposal maximizes the expected improvement of the weighted sum of the losses, by the
    models of the losses, for weights that are drawn uniformly from the simplex. Weighted sums
    reach only the convex part of a front; `parego` reaches all of it.

    Parameters
    ----------
    initial, candidates, rounds, samples
        Initial design, candidates and rounds of a proposal, posterior draws: see `Bayesian`.

    References
    ----------
    Paria, Kandasamy and Póczos, "A flexible framework for multi-objective Bayesian optimization
    using random scalarizations", UAI 2019; Ament et al., "Unexpected improvements to expected
    improvement for Bayesian optimization", NeurIPS 2023.
    """

    def _create_acquisition(
        self, observations: Observations, **arguments: Any
    ) -> AcquisitionFunction:
        weights = self.rng.dirichlet(np.ones(self.n_objectives))
        return linear_improvement(observations, weights, **arguments)
