"""Expected hypervolume improvement (BoTorch)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
from botorch.acquisition.multi_objective.objective import IdentityMCMultiOutputObjective
from botorch.acquisition.multi_objective.utils import get_default_partitioning_alpha
from botorch.models.model_list_gp_regression import ModelListGP
from botorch.sampling.normal import SobolQMCNormalSampler
from botorch.utils.multi_objective.hypervolume import infer_reference_point
from numpy.typing import NDArray

from hwnas import pareto
from hwnas.errors import InvalidInput
from hwnas.optimizers import Array, Optimizer, Unseen
from hwnas.spaces import Codes, SearchSpace

from ._botorch import Features, State, fitted, hyperparameters
from ._candidates import around
from .uniform import homogeneous


class EHVI(Optimizer):
    """Bayesian optimization by noisy expected hypervolume improvement.

    Parameters
    ----------
    initial
        Networks to begin with: homogeneous ones, farthest first.
    candidates
        Networks among which each proposal is chosen, in each of `rounds`.
    rounds
        How often the best candidates are mutated and crossed again.
    samples
        Draws of the posterior over which the improvement is averaged.

    References
    ----------
    Daulton, Balandat and Bakshy, "Parallel Bayesian optimization of multiple noisy objectives with
    expected hypervolume improvement", NeurIPS 2021; Ament et al., "Unexpected improvements to
    expected improvement for Bayesian optimization", NeurIPS 2023.
    """

    def __init__(
        self,
        space: SearchSpace,
        n_objectives: int,
        *,
        seed: int,
        n_constraints: int = 0,
        initial: int = 16,
        candidates: int = 128,
        rounds: int = 3,
        samples: int = 16,
    ) -> None:
        super().__init__(space, n_objectives, seed=seed, n_constraints=n_constraints)
        for name, value in (
            ("initial", initial),
            ("candidates", candidates),
            ("rounds", rounds),
            ("samples", samples),
        ):
            if value < 1:
                raise InvalidInput(f"{name}: expected at least 1, found {value}")
        self.candidates, self.rounds, self.samples = candidates, rounds, samples
        self._unseen = Unseen(space, self.rng)
        self._start = self._unseen.take(homogeneous(space, self.rng)[:initial])
        self._pending: dict[bytes, Codes] = {}
        self._features = Features(space)
        self._states: list[State | None] = [None] * (n_objectives + n_constraints)
        self._model: ModelListGP | None = None  # of what has been told so far
        self._refit_at = 0  # how many results it takes for hyperparameters to be fitted again

    def ask(self, n: int) -> Codes:
        """The start first; then one network after the other, those before it pending."""
        if len(self._start):
            codes, self._start = self._start[:n], self._start[n:]
        elif len(self.told) < 2:
            codes = self._unseen.sample(n)
        else:
            codes = self._improving(n)
        self._pending.update((code.tobytes(), code) for code in codes)
        return codes

    def tell(
        self,
        codes: Codes,
        losses: Array,
        *,
        std: Array | None = None,
        constraints: Array | None = None,
    ) -> None:
        """The model is fitted anew at the next ask."""
        self._settle(codes)
        self._model = None

    def fail(self, codes: Codes, reason: str) -> None:
        """Networks that fail are not asked for again."""
        self._settle(codes)

    def recommend(self, n: int | None = None) -> Codes:
        """The non-dominated of what was told, under noise by the model's means."""
        if len(self.told) < 2 or not self.told.std.any():
            return super().recommend(n)
        codes, _, _ = self._data()
        means = self._means(codes)
        m = self.n_objectives
        keep = np.flatnonzero((means[:, m:] <= 0).all(axis=1))
        keep = keep if len(keep) else np.arange(len(codes))
        keep = keep[pareto.non_dominated(means[keep, :m])]
        return codes[keep][:n]

    def _settle(self, codes: Codes) -> None:
        self._unseen.take(codes)
        for code in codes:
            self._pending.pop(code.tobytes(), None)
        if len(self._start):
            known = {code.tobytes() for code in codes}
            self._start = self._start[[code.tobytes() not in known for code in self._start]]

    def _improving(self, n: int) -> Codes:
        """Up to `n` networks, each of most expected improvement beyond those before it."""
        model = self._fitted()
        codes, outcomes, _ = self._data()
        m = self.n_objectives
        feasible = np.flatnonzero((outcomes[:, m:] <= 0).all(axis=1))
        good = feasible if len(feasible) else np.arange(len(codes))
        front = good[pareto.non_dominated(outcomes[good, :m])]
        baseline = codes[good[self._contenders(codes[good])]]
        x = self._features(baseline)
        chosen: list[Codes] = []
        while len(chosen) < n:
            waiting = [*self._pending.values(), *chosen]
            acquisition = qLogNoisyExpectedHypervolumeImprovement(
                model=model,
                ref_point=infer_reference_point(-torch.from_numpy(outcomes[front, :m])),
                X_baseline=x,
                X_pending=self._features(np.stack(waiting)) if waiting else None,
                sampler=SobolQMCNormalSampler(
                    torch.Size([self.samples]), seed=int(self.rng.integers(2**31))
                ),
                objective=_Losses(outcomes=list(range(m))),
                alpha=get_default_partitioning_alpha(m),  # beyond four objectives, not all cells
                constraints=[_outcome(m + j) for j in range(self.n_constraints)] or None,
            )
            code = self._best(acquisition, codes[front])
            if code is None:
                break
            chosen.append(code)
            self._unseen.take(code[None])
        if not chosen and not self._pending:
            return self._unseen.sample(n)
        return np.stack(chosen) if chosen else self.space.encode([])

    def _best(
        self, acquisition: qLogNoisyExpectedHypervolumeImprovement, parents: Codes
    ) -> Codes | None:
        """The best of several rounds of candidates, each around the best of the one before."""
        best, best_value = None, -np.inf
        for _ in range(self.rounds):
            codes = around(parents, self.candidates, self._unseen, self.rng)
            if len(codes) == 0:
                break
            with torch.no_grad():
                values = acquisition(self._features(codes)[:, None, :]).numpy()
            order = np.argsort(-values)
            if values[order[0]] > best_value:
                best, best_value = codes[order[0]], values[order[0]]
            parents = codes[order[: max(4, len(codes) // 10)]]
        return best

    def _data(self) -> tuple[Codes, Array, Array]:
        """Distinct networks told, their mean outcomes (losses, then slacks) and standard errors."""
        told = self.told
        codes, which = np.unique(told.codes, axis=0, return_inverse=True)
        counts = np.bincount(which.ravel())[:, None]
        outcomes = np.concatenate([told.losses, told.constraints], axis=1)
        variance = np.concatenate([told.std**2, np.zeros_like(told.constraints)], axis=1)
        sums = np.zeros((2, len(codes), outcomes.shape[1]))
        np.add.at(sums[0], which.ravel(), outcomes)
        np.add.at(sums[1], which.ravel(), variance)
        return codes, sums[0] / counts, np.sqrt(sums[1]) / counts

    def _fitted(self) -> ModelListGP:
        """The model of all that was told.

        Hyperparameters go on from where they were, and only when a tenth more is known.
        """
        if self._model is None:
            codes, outcomes, std = self._data()
            due = len(codes) >= self._refit_at
            steps = (30 if self._refit_at else 100) if due else 0
            x = self._features(codes)
            self._model = fitted(self._features, x, outcomes, std, self._states, steps)
            if due:
                self._states = hyperparameters(self._model)
                self._refit_at = int(1.1 * len(codes)) + 1
        return self._model

    def _contenders(self, codes: Codes) -> NDArray[np.bool_]:
        """Which networks may be on the front, two standard deviations of the model allowed for.

        The others have no bearing on the improvement, and would cost most of the time.
        """
        model, m = self._fitted(), self.n_objectives
        with torch.no_grad():
            posterior = model.posterior(self._features(codes))
            mean, std = posterior.mean.numpy()[:, :m], posterior.variance.sqrt().numpy()[:, :m]
        low, high = mean - 2 * std, mean + 2 * std
        beaten: NDArray[np.bool_] = (high[:, None] <= low[None]).all(axis=2).any(axis=0)
        return ~beaten

    def _means(self, codes: Codes) -> Array:
        """Posterior means (n, o) of outcomes."""
        model = self._fitted()
        with torch.no_grad():
            means: Array = model.posterior(self._features(codes)).mean.numpy()
        return means


def _outcome(j: int) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda y: y[..., j]


class _Losses(IdentityMCMultiOutputObjective):
    """Losses as BoTorch wants them: maximised."""

    def forward(self, samples: torch.Tensor, X: torch.Tensor | None = None) -> torch.Tensor:
        """The outcomes that are losses, negated."""
        return -super().forward(samples, X)
