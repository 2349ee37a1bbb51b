"""Expected hypervolume improvement (BoTorch)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from botorch.acquisition.acquisition import AcquisitionFunction
from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
from botorch.acquisition.multi_objective.utils import get_default_partitioning_alpha
from botorch.utils.multi_objective.hypervolume import infer_reference_point

from hwnas.errors import InvalidInput
from hwnas.spaces import SearchSpace

from ._bayesian import Bayesian, NegatedLosses, Observations
from ._sampled_improvement import create_sampled_improvement


class EHVI(Bayesian):
    """Bayesian optimization by noisy expected hypervolume improvement.

    Parameters
    ----------
    initial, candidates, rounds, samples
        Initial design, candidates and rounds of a proposal, posterior draws: see `Bayesian`.

    References
    ----------
    Daulton, Balandat and Bakshy, "Parallel Bayesian optimization of multiple noisy objectives with
    expected hypervolume improvement", NeurIPS 2021; Ament et al., "Unexpected improvements to
    expected improvement for Bayesian optimization", NeurIPS 2023.
    """

    def __init__(
        self, space: SearchSpace, n_objectives: int, *, samples: int = 32, **settings: Any
    ) -> None:
        if n_objectives > 5:
            raise InvalidInput(f"n_objectives: expected 2 to 5, found {n_objectives}")
        super().__init__(space, n_objectives, samples=samples, **settings)

    def _create_acquisition(
        self, observations: Observations, **arguments: Any
    ) -> AcquisitionFunction:
        m = self.n_objectives
        front = observations.losses[observations.front_indices()]
        if m == 2:
            pending = arguments["X_pending"]
            n_fixed = len(arguments["X_baseline"]) + (0 if pending is None else len(pending))
            rng = np.random.default_rng(arguments["sampler"].seed)
            return create_sampled_improvement(arguments["model"], front, n_fixed, self.samples, rng)
        # The reference point lies a tenth of the front's range behind its nadir.
        return qLogNoisyExpectedHypervolumeImprovement(
            ref_point=infer_reference_point(-torch.from_numpy(front)),
            objective=NegatedLosses(m),
            alpha=get_default_partitioning_alpha(m),  # approximate beyond four objectives
            **arguments,
        )
