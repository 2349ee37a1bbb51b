"""Bayesian optimization over architectures; subclasses choose the acquisition function."""

from __future__ import annotations

import warnings
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
from linear_operator.utils.warnings import NumericalWarning
from torch import Tensor

from hwnas import pareto
from hwnas.errors import InvalidInput
from hwnas.optimizers import Optimizer, UniqueSampler
from hwnas.spaces import SearchSpace
from hwnas.typing import Array, Codes, IndexArray

from ._botorch import (
    CachedPosterior,
    Features,
    State,
    extract_hyperparameters,
    fit_models,
    index_column,
)
from ._candidates import mutate_and_crossover
from ._initial_design import latin_hypercube
from .uniform import MAX_HOMOGENEOUS, homogeneous_codes

MAX_BASELINE = (
    100  # the cost of a proposal grows with the square of the baseline, its gain does not
)
_REFIT_GROWTH = 1.25  # growth of the number of architectures after which models are fitted again
_FIRST_STEPS, _STEPS = 100, 20  # of the first fit of hyperparameters, and of later ones


@dataclass(frozen=True)
class Observations:
    """Averaged observations in the form that models and acquisition functions take.

    Attributes
    ----------
    codes : (n, d) int8, distinct
    outcomes : (n, m + c) float64
        Mean losses, then constraint violations, divided by their standard deviations, so that
        nothing depends on the units of the objectives.
    std : (n, m + c) float64
        Standard errors of `outcomes`.
    n_objectives
        Number m of losses, at least 2.
    """

    codes: Codes
    outcomes: Array
    std: Array
    n_objectives: int

    @property
    def losses(self) -> Array:
        """Scaled losses (n, m)."""
        return self.outcomes[:, : self.n_objectives]

    def feasible_indices(self) -> IndexArray:
        """Return the indices of the architectures that meet all constraints."""
        return np.flatnonzero((self.outcomes[:, self.n_objectives :] <= 0).all(axis=1))

    def feasible_or_all(self) -> IndexArray:
        """Return the indices of the feasible architectures, or all indices if none is feasible."""
        feasible = self.feasible_indices()
        return feasible if len(feasible) else np.arange(len(self.codes))

    def front_indices(self) -> IndexArray:
        """Return the indices of the non-dominated architectures among `feasible_or_all`."""
        indices = self.feasible_or_all()
        return indices[pareto.non_dominated(self.losses[indices])]


class Bayesian(Optimizer):
    """Gaussian processes of all outcomes, and an acquisition function that a subclass chooses.

    Parameters
    ----------
    initial
        Number of architectures of the initial design: homogeneous ones in farthest-first order; in
        a large space without layers a Latin hypercube.
    candidates
        Number of architectures among which a proposal is chosen, in each of `rounds`.
    rounds
        Number of rounds of mutation and crossover of the best candidates.
    samples
        Number of posterior draws over which the improvement is averaged.
    """

    asynchronous = True

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
        self._initial_design = _initial_codes(space, initial, self.rng)  # not yet asked for
        self.n_initial = len(self._initial_design)
        self._pending: dict[bytes, Codes] = {}
        self._features = Features(space)
        # Hyperparameters of each outcome's model, from which its next fit starts.
        self._states: list[State | None] = [None] * (n_objectives + n_constraints)
        self._model: ModelListGP | None = None  # None while it lacks the latest observations
        self._refit_at = 0  # number of architectures at which hyperparameters are fitted again

    @abstractmethod
    def _create_acquisition(
        self, observations: Observations, **arguments: Any
    ) -> AcquisitionFunction:
        """Return the acquisition function that the next proposal maximizes.

        Parameters
        ----------
        observations
            Observations so far.
        **arguments
            Arguments that all acquisition functions of BoTorch take: `model`, `X_baseline`,
            `X_pending` and `sampler`. Constraints are added outside: the logarithm of the
            acquisition function and that of the probability of feasibility are summed (Gardner et
            al. 2014).
        """

    def ask(self, n: int) -> Codes:
        """Return the initial design first, then proposals, each with those before it pending."""
        if len(self._initial_design):
            codes, self._initial_design = self._initial_design[:n], self._initial_design[n:]
            self._sampler.take(codes)
        elif len(self.history) < 2:
            codes = self._sampler.sample(n)
        else:
            with torch.no_grad(), warnings.catch_warnings():
                # Exact observations leave almost no variance: the small jitter is expected.
                warnings.simplefilter("ignore", NumericalWarning)
                codes = self._propose(n)
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
        """Discard the model; the next `ask` fits it to all observations."""
        self._mark_evaluated(codes)
        self._model = None

    def start_with(self, codes: Codes) -> None:
        """Leave out the initial design."""
        self._initial_design, self.n_initial = self._initial_design[:0], 0

    def fail(self, codes: Codes, reason: str) -> None:
        """Exclude failed architectures from later proposals."""
        self._mark_evaluated(codes)

    def recommend(self, n: int | None = None) -> Codes:
        """Return the non-dominated architectures, under noise by the means of the model."""
        # Exact observations need no model.
        if len(self.history) < 2 or not self.history.std.any():
            return super().recommend(n)
        observations = self._observations()
        with torch.no_grad():
            model = self._fit_model(observations)
            means = model.posterior(self._features(observations.codes)).mean.numpy()
        smoothed = Observations(observations.codes, means, observations.std, self.n_objectives)
        return observations.codes[smoothed.front_indices()][:n]

    def _mark_evaluated(self, codes: Codes) -> None:
        """Remove architectures (k, d) from the pending ones and from the initial design."""
        self._sampler.take(codes)
        for code in codes:
            self._pending.pop(code.tobytes(), None)
        if len(self._initial_design):
            evaluated = {code.tobytes() for code in codes}
            mask = [code.tobytes() not in evaluated for code in self._initial_design]
            self._initial_design = self._initial_design[mask]

    def _propose(self, n: int) -> Codes:
        """Return up to `n` architectures, one maximizer of the acquisition function at a time."""
        # Only architectures that may be on the front matter for the improvement.
        observations = self._observations()
        model = self._fit_model(observations)
        codes = observations.codes[observations.feasible_or_all()]
        parents = observations.codes[observations.front_indices()]
        baseline = self._features(self._select_baseline(model, codes))
        proposals: list[Codes] = []
        while len(proposals) < n:
            # The posterior of baseline and pending architectures is computed once a proposal.
            pending = [*self._pending.values(), *proposals]
            x = torch.cat([baseline, self._features(np.stack(pending))]) if pending else baseline
            posterior = CachedPosterior(model, x)
            acquisition = self._create_acquisition(
                observations,
                model=posterior,
                X_baseline=index_column(0, len(baseline)),
                X_pending=index_column(len(baseline), len(x)) if pending else None,
                sampler=SobolQMCNormalSampler(
                    torch.Size([self.samples]), seed=int(self.rng.integers(2**31))
                ),
            )
            # While nothing is feasible, the probability of feasibility alone is maximized.
            feasible = len(observations.feasible_indices()) > 0
            code = self._maximize(acquisition if feasible else None, posterior, parents)
            if code is None:
                break
            proposals.append(code)
            self._sampler.take(code[None])
        # Mutation found nothing new, and no result can change that: sample instead.
        if not proposals and not self._pending:
            return self._sampler.sample(n)
        return np.stack(proposals) if proposals else self.space.encode([])

    def _maximize(
        self, acquisition: AcquisitionFunction | None, posterior: CachedPosterior, parents: Codes
    ) -> Codes | None:
        """Return the best candidate (d,) of an evolutionary search, None if there is no new one."""
        best, best_value = None, -np.inf
        for _ in range(self.rounds):
            codes = mutate_and_crossover(parents, self.candidates, self._sampler, self.rng)
            if len(codes) == 0:
                break
            x = posterior.extend(self._features(codes))[:, None, :]
            values = self._log_feasibility(posterior, x)
            # Log improvement + log feasibility = log of constrained expected improvement.
            if acquisition is not None:
                values = values + acquisition(x).numpy()
            order = np.argsort(-values)
            if values[order[0]] > best_value:
                best, best_value = codes[order[0]], values[order[0]]
            # The best tenth are the parents of the next round.
            parents = codes[order[: max(4, len(codes) // 10)]]
        return best

    def _log_feasibility(self, cached: CachedPosterior, x: Tensor) -> Array:
        """Return the log probability (k,) that candidates at indices (k, 1, 1) are feasible.

        Constraints are taken to be independent (Gardner et al. 2014).
        """
        if self.n_constraints == 0:
            return np.zeros(len(x))
        posterior, m = cached.posterior(x), self.n_objectives
        margin = -posterior.mean[:, 0, m:] / posterior.variance[:, 0, m:].sqrt()
        log_probability: Array = torch.special.log_ndtr(margin).sum(dim=1).numpy()
        return log_probability

    def _observations(self) -> Observations:
        """Return the averaged and scaled history."""
        codes, losses, std, violations = self.history.averaged()
        # Violations come without standard errors and count as exact.
        means = np.concatenate([losses, violations], axis=1)
        std = np.concatenate([std, np.zeros_like(violations)], axis=1)
        spread = means.std(axis=0)
        spread[spread == 0] = 1.0
        return Observations(codes, means / spread, std / spread, self.n_objectives)

    def _fit_model(self, observations: Observations) -> ModelListGP:
        """Return the model of all observations.

        Hyperparameters are fitted again, from their last values, whenever the number of
        architectures has grown by a quarter.
        """
        if self._model is None:
            n = len(observations.codes)
            refit = n >= self._refit_at
            # The first fit starts from the priors and needs more steps than later ones.
            steps = (_STEPS if self._refit_at else _FIRST_STEPS) if refit else 0
            x = self._features(observations.codes)
            with torch.enable_grad():
                self._model = fit_models(
                    self._features, x, observations.outcomes, observations.std, self._states, steps
                )
            if refit:
                self._states = extract_hyperparameters(self._model)
                self._refit_at = int(_REFIT_GROWTH * n) + 1
        return self._model

    def _select_baseline(self, model: ModelListGP, codes: Codes) -> Codes:
        """Return the architectures that may be on the front, within two standard deviations.

        Other architectures do not change the improvement but would take most of the time. If too
        many remain, those are selected that the model excludes from the front least clearly.
        """
        m = self.n_objectives
        posterior = model.posterior(self._features(codes))
        mean, std = posterior.mean.numpy()[:, :m], posterior.variance.sqrt().numpy()[:, :m]
        # lead[i, j]: standard deviations by which j dominates i; below 0, it does not dominate.
        lead = ((mean[:, None] - mean[None]) / (std[:, None] + std[None])).min(axis=2)  # (n, n)
        np.fill_diagonal(lead, -np.inf)
        worst = lead.max(axis=1)
        order = np.argsort(worst, kind="stable")[:MAX_BASELINE]
        baseline: Codes = codes[np.sort(order[worst[order] < 2])]
        return baseline


def _initial_codes(space: SearchSpace, n: int, rng: np.random.Generator) -> Codes:
    """Return an initial design of up to `n` distinct codes.

    A farthest-first order of a large space without layers would be one of corners, which say little
    about all that lies between them.
    """
    if space.layer_columns.size or space.size <= MAX_HOMOGENEOUS:
        return homogeneous_codes(space, rng)[:n]
    return latin_hypercube(space, n, rng)


def linear_improvement(
    observations: Observations, weights: Array, **arguments: Any
) -> AcquisitionFunction:
    """Return the noisy expected improvement of a weighted sum of losses.

    Parameters
    ----------
    observations
        Observations so far; each loss is divided by its observed range.
    weights : (m,)
    **arguments
        See `Bayesian._create_acquisition`.
    """
    # The sum is negated, because BoTorch maximizes.
    span = np.ptp(observations.losses, axis=0)
    scaled = torch.from_numpy(weights / np.where(span > 0, span, 1.0))

    def objective(samples: Tensor, X: Tensor | None = None) -> Tensor:
        return -(samples[..., : len(scaled)] @ scaled)

    return qLogNoisyExpectedImprovement(
        objective=GenericMCObjective(objective), prune_baseline=False, **arguments
    )


class NegatedLosses(IdentityMCMultiOutputObjective):
    """Losses with the opposite sign, because BoTorch maximizes."""

    def __init__(self, m: int) -> None:
        super().__init__(outcomes=list(range(m)))

    def forward(self, samples: Tensor, X: Tensor | None = None) -> Tensor:
        """Return the negated losses (..., m) of samples (..., m + c)."""
        return -super().forward(samples, X)
