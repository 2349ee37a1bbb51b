"""Gaussian processes and expected hypervolume improvement of Optuna."""

from __future__ import annotations

from optuna.samplers import BaseSampler, GPSampler

from hwnas.errors import InvalidInput
from hwnas.spaces import SearchSpace

from ._optuna import OptunaOptimizer

_MAX_COLUMNS = 150  # of a code


class GP(OptunaOptimizer):
    """Optuna's Gaussian-process sampler: expected hypervolume improvement on the plain codes.

    Optuna's search for a proposal changes one column at a time: with 30 columns of 8 choices each
    it took 24 seconds of one core, and spaces of more than 150 columns are refused.

    Parameters
    ----------
    initial
        Number of homogeneous architectures of the initial design, in farthest-first order.
    candidates
        Number of random architectures; the search for a proposal starts from the best of them.
    samples
        Number of posterior draws over which the improvement is averaged.

    References
    ----------
    Akiba et al., "Optuna: a next-generation hyperparameter optimization framework", KDD 2019;
    Ament et al., "Unexpected improvements to expected improvement for Bayesian optimization",
    NeurIPS 2023.
    """

    def __init__(
        self,
        space: SearchSpace,
        n_objectives: int,
        *,
        seed: int,
        n_constraints: int = 0,
        initial: int = 16,
        candidates: int = 2048,
        samples: int = 128,
    ) -> None:
        for name, value in (("candidates", candidates), ("samples", samples)):
            if value < 1:
                raise InvalidInput(f"{name}: expected at least 1, found {value}")
        if len(space.columns) > _MAX_COLUMNS:
            raise InvalidInput(
                f"gp: expected at most {_MAX_COLUMNS} columns, found {len(space.columns)}, with "
                "which a proposal takes minutes; ehvi and motpe take seconds"
            )
        self.candidates, self.samples = candidates, samples
        super().__init__(
            space, n_objectives, seed=seed, n_constraints=n_constraints, initial=initial
        )

    def _create_sampler(self, seed: int) -> BaseSampler:
        sampler = GPSampler(n_startup_trials=self.initial, seed=seed)
        # Optuna has no arguments for these numbers; the defaults above are its own.
        sampler._n_preliminary_samples = self.candidates
        sampler._n_qmc_samples_ehvi = self.samples
        return sampler
