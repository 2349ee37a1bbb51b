"""Bayesian optimization over networks: what its methods share, whatever they want to improve."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from botorch.acquisition.acquisition import AcquisitionFunction
from botorch.acquisition.logei import qLogNoisyExpectedImprovement
from botorch.acquisition.multi_objective.objective import IdentityMCMultiOutputObjective
from botorch.acquisition.objective import GenericMCObjective
from botorch.models.model_list_gp_regression import ModelListGP
from botorch.sampling.normal import SobolQMCNormalSampler
from numpy.typing import NDArray
from torch import Tensor

from hwnas import pareto
from hwnas.errors import InvalidInput
from hwnas.optimizers import Optimizer, UniqueSampler
from hwnas.spaces import Codes, SearchSpace
from hwnas.typing import Array

from ._botorch import Features, Listed, State, fitted, hyperparameters, places
from ._candidates import around
from .uniform import homogeneous

CONTENDERS = 100  # what a proposal costs grows with their square, what it gains does not


@dataclass(frozen=True)
class Known:
    """What has been told, as models and acquisition functions take it.

    Attributes
    ----------
    codes : (n, d) int8, distinct
    outcomes : (n, m + c) float64
        Mean losses, then violations, in units of their spread: nothing depends on the units of old.
    std : (n, m + c) float64
        Their standard errors.
    n_objectives
        m, at least 2.
    """

    codes: Codes
    outcomes: Array
    std: Array
    n_objectives: int

    @property
    def losses(self) -> Array:
        """(n, m)."""
        return self.outcomes[:, : self.n_objectives]

    def feasible(self) -> NDArray[np.intp]:
        """Which meet all constraints."""
        return np.flatnonzero((self.outcomes[:, self.n_objectives :] <= 0).all(axis=1))

    def good(self) -> NDArray[np.intp]:
        """Which are feasible, or all if none is."""
        feasible = self.feasible()
        return feasible if len(feasible) else np.arange(len(self.codes))


class Bayesian(Optimizer):
    """Gaussian processes of all outcomes, and an acquisition function that a subclass chooses.

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
        samples: int = 64,
    ) -> None:
        super().__init__(space, n_objectives, seed=seed, n_constraints=n_constraints)
        if n_objectives < 2:
            raise InvalidInput(f"n_objectives: expected at least 2, found {n_objectives}")
        for name, value in (
            ("initial", initial),
            ("candidates", candidates),
            ("rounds", rounds),
            ("samples", samples),
        ):
            if value < 1:
                raise InvalidInput(f"{name}: expected at least 1, found {value}")
        self.candidates, self.rounds, self.samples = candidates, rounds, samples
        self._sampler = UniqueSampler(space, self.rng)
        self._start = self._sampler.take(homogeneous(space, self.rng)[:initial])
        self._pending: dict[bytes, Codes] = {}
        self._features = Features(space)
        self._states: list[State | None] = [None] * (n_objectives + n_constraints)
        self._model: ModelListGP | None = None  # of what has been told so far
        self._refit_at = 0  # how many results it takes for hyperparameters to be fitted again

    @abstractmethod
    def _acquisition(self, known: Known, **common: Any) -> AcquisitionFunction:
        """What to maximise for the next proposal.

        Parameters
        ----------
        known
            What has been told.
        **common
            What every acquisition function of BoTorch is made with: `model`, `X_baseline`,
            `X_pending` and `sampler`. Constraints are not its concern: its logarithm is added to
            that of the probability that all are met (Gardner et al. 2014).
        """

    def ask(self, n: int) -> Codes:
        """The start first; then one network after the other, those before it pending."""
        if len(self._start):
            codes, self._start = self._start[:n], self._start[n:]
        elif len(self.history) < 2:
            codes = self._sampler.sample(n)
        else:
            with torch.no_grad():
                codes = self._improving(n)
        self._pending.update((code.tobytes(), code) for code in codes)
        return codes

    def update(
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
        if len(self.history) < 2 or not self.history.std.any():
            return super().recommend(n)
        known = self._known()
        with torch.no_grad():
            posterior = self._fitted(known).posterior(self._features(known.codes))
        means = Known(known.codes, posterior.mean.numpy(), known.std, self.n_objectives)
        keep = means.good()
        keep = keep[pareto.non_dominated(means.losses[keep])]
        return known.codes[keep][:n]

    def _settle(self, codes: Codes) -> None:
        self._sampler.take(codes)
        for code in codes:
            self._pending.pop(code.tobytes(), None)
        if len(self._start):
            told = {code.tobytes() for code in codes}
            self._start = self._start[[code.tobytes() not in told for code in self._start]]

    def _improving(self, n: int) -> Codes:
        """Up to `n` networks, each the best of its acquisition function, given those before it."""
        known = self._known()
        model, good = self._fitted(known), known.good()
        front = known.codes[good[pareto.non_dominated(known.losses[good])]]
        baseline = self._features(self._contenders(model, known.codes[good]))
        chosen: list[Codes] = []
        while len(chosen) < n:
            waiting = [*self._pending.values(), *chosen]
            x = torch.cat([baseline, self._features(np.stack(waiting))]) if waiting else baseline
            listed = Listed(model, x)
            acquisition = self._acquisition(
                known,
                model=listed,
                X_baseline=places(0, len(baseline)),
                X_pending=places(len(baseline), len(x)) if waiting else None,
                sampler=SobolQMCNormalSampler(
                    torch.Size([self.samples]), seed=int(self.rng.integers(2**31))
                ),
            )
            # As long as nothing is feasible, there is nothing else to improve.
            hopeless = len(known.feasible()) == 0
            code = self._best(None if hopeless else acquisition, listed, front)
            if code is None:
                break
            chosen.append(code)
            self._sampler.take(code[None])
        if not chosen and not self._pending:
            return self._sampler.sample(n)
        return np.stack(chosen) if chosen else self.space.encode([])

    def _best(
        self, acquisition: AcquisitionFunction | None, listed: Listed, parents: Codes
    ) -> Codes | None:
        """The best of several rounds of candidates, each around the best of the one before."""
        best, best_value = None, -np.inf
        for _ in range(self.rounds):
            codes = around(parents, self.candidates, self._sampler, self.rng)
            if len(codes) == 0:
                break
            x = listed.extend(self._features(codes))[:, None, :]
            values = self._log_feasibility(listed, x)
            if acquisition is not None:
                values = values + acquisition(x).numpy()
            order = np.argsort(-values)
            if values[order[0]] > best_value:
                best, best_value = codes[order[0]], values[order[0]]
            parents = codes[order[: max(4, len(codes) // 10)]]
        return best

    def _log_feasibility(self, listed: Listed, x: Tensor) -> Array:
        """Logarithm (k,) of the probability that candidates at places (k, 1, 1) are feasible."""
        posterior, m = listed.posterior(x), self.n_objectives
        short = -posterior.mean[:, 0, m:] / posterior.variance[:, 0, m:].sqrt()
        log_probability: Array = torch.special.log_ndtr(short).sum(dim=1).numpy()
        return log_probability

    def _known(self) -> Known:
        """Every network told once, with the mean of its results."""
        codes, losses, std, violations = self.history.averaged()
        means = np.concatenate([losses, violations], axis=1)
        std = np.concatenate([std, np.zeros_like(violations)], axis=1)
        spread = means.std(axis=0)
        spread[spread == 0] = 1.0
        return Known(codes, means / spread, std / spread, self.n_objectives)

    def _fitted(self, known: Known) -> ModelListGP:
        """The model of all that was told.

        Hyperparameters go on from where they were, and only when a tenth more is known.
        """
        if self._model is None:
            n = len(known.codes)
            due = n >= self._refit_at
            steps = (30 if self._refit_at else 100) if due else 0
            x = self._features(known.codes)
            with torch.enable_grad():
                self._model = fitted(
                    self._features, x, known.outcomes, known.std, self._states, steps
                )
            if due:
                self._states = hyperparameters(self._model)
                self._refit_at = int(1.1 * n) + 1
        return self._model

    def _contenders(self, model: ModelListGP, codes: Codes) -> Codes:
        """Networks that may be on the front, two standard deviations of the model allowed for.

        The others have no bearing on the improvement, and would cost most of the time. Of too many,
        those are kept that it takes the greatest errors of the model to keep off the front.
        """
        m = self.n_objectives
        posterior = model.posterior(self._features(codes))
        mean, std = posterior.mean.numpy()[:, :m], posterior.variance.sqrt().numpy()[:, :m]
        # By how many standard deviations its worst rival beats each network: below 0, it does not.
        lead = ((mean[:, None] - mean[None]) / (std[:, None] + std[None])).min(axis=2)  # (n, n)
        np.fill_diagonal(lead, -np.inf)
        beaten = lead.max(axis=1)
        order = np.argsort(beaten, kind="stable")[:CONTENDERS]
        kept: Codes = codes[np.sort(order[beaten[order] < 2])]
        return kept


def linear_improvement(known: Known, weights: Array, **common: Any) -> AcquisitionFunction:
    """Noisy expected improvement of a weighted sum of losses, each scaled by its observed range.

    Parameters
    ----------
    known
        What has been told.
    weights : (m,)
    **common
        See `Bayesian._acquisition`.
    """
    span = np.ptp(known.losses, axis=0)
    scaled = torch.from_numpy(weights / np.where(span > 0, span, 1.0))

    def objective(samples: Tensor, X: Tensor | None = None) -> Tensor:
        return -(samples[..., : len(scaled)] @ scaled)

    return qLogNoisyExpectedImprovement(
        objective=GenericMCObjective(objective), prune_baseline=False, **common
    )


class Losses(IdentityMCMultiOutputObjective):
    """Losses as BoTorch wants them: maximised."""

    def __init__(self, m: int) -> None:
        super().__init__(outcomes=list(range(m)))

    def forward(self, samples: Tensor, X: Tensor | None = None) -> Tensor:
        """The outcomes that are losses, negated."""
        return -super().forward(samples, X)
