"""Random augmented Chebyshev scalarizations (BoTorch)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from botorch.acquisition.acquisition import AcquisitionFunction
from botorch.acquisition.multi_objective.parego import qLogNParEGO

from ._bayesian import Bayesian, NegatedLosses, Observations


class ParEGO(Bayesian):
    """Bayesian optimization of random augmented Chebyshev scalarizations.

    Each proposal maximizes the expected improvement of the largest weighted loss, by the models of
    the losses, for weights that are drawn uniformly from the simplex.

    Parameters
    ----------
    initial, candidates, rounds, samples
        Initial design, candidates and rounds of a proposal, posterior draws: see `Bayesian`.

    References
    ----------
    Knowles, "ParEGO: a hybrid algorithm with on-line landscape approximation for expensive
    multiobjective optimization problems", IEEE Transactions on Evolutionary Computation 2006;
    Daulton, Balandat and Bakshy, "Differentiable expected hypervolume improvement for parallel
    multi-objective Bayesian optimization", NeurIPS 2020.
    """

    def _create_acquisition(
        self, observations: Observations, **arguments: Any
    ) -> AcquisitionFunction:
        weights = self.rng.dirichlet(np.ones(self.n_objectives))
        return qLogNParEGO(
            scalarization_weights=torch.from_numpy(weights),
            objective=NegatedLosses(self.n_objectives),
            **arguments,
        )
