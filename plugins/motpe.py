"""Multi-objective tree-structured Parzen estimator (Optuna)."""

from __future__ import annotations

from optuna.samplers import BaseSampler, TPESampler

from hwnas.errors import InvalidInput
from hwnas.spaces import SearchSpace

from ._optuna import OptunaOptimizer


class MOTPE(OptunaOptimizer):
    """Multi-objective tree-structured Parzen estimator.

    One density over the choices is estimated from the better architectures, another from the
    remaining ones. The proposal maximizes the ratio of the two.

    Parameters
    ----------
    initial
        Number of homogeneous architectures of the initial design, in farthest-first order.
    candidates
        Number of draws from the density of the better architectures, among which each proposal is
        chosen.
    multivariate
        Whether the densities are joint, or independent for each choice.

    References
    ----------
    Ozaki, Tanigaki, Watanabe, Nomura and Onishi, "Multiobjective tree-structured Parzen
    estimator", JAIR 2022; Akiba et al., "Optuna: a next-generation hyperparameter optimization
    framework", KDD 2019.
    """

    patience = 4

    def __init__(
        self,
        space: SearchSpace,
        n_objectives: int,
        *,
        seed: int,
        n_constraints: int = 0,
        initial: int = 16,
        candidates: int = 24,
        multivariate: bool = True,
    ) -> None:
        if candidates < 1:
            raise InvalidInput(f"candidates: expected at least 1, found {candidates}")
        self.candidates, self.multivariate = candidates, multivariate
        super().__init__(
            space, n_objectives, seed=seed, n_constraints=n_constraints, initial=initial
        )

    def _create_sampler(self, seed: int) -> BaseSampler:
        return TPESampler(
            n_startup_trials=self.initial,
            n_ei_candidates=self.candidates,
            multivariate=self.multivariate,
            constant_liar=True,  # running trials count as bad ones, so that proposals spread
            seed=seed,
        )
