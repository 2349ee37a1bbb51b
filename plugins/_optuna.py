"""Optimizers that ask and tell an Optuna study in memory."""

from __future__ import annotations

import contextlib
import warnings
from abc import abstractmethod
from collections.abc import Iterator

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler
from optuna.trial import Trial, TrialState, create_trial

from hwnas.errors import InvalidInput, SpaceExhausted
from hwnas.optimizers import Optimizer, UniqueSampler
from hwnas.spaces import SearchSpace
from hwnas.spaces.choice_features import categorical_columns
from hwnas.typing import Array, Codes

from .uniform import homogeneous_codes


class OptunaOptimizer(Optimizer):
    """Base class of optimizers whose proposals come from a sampler of Optuna.

    The sampler is asked for one architecture at a time, and earlier ones count as running trials.
    Samplers model only the parameters that all trials share. So a trial has every column of a
    code, those of absent layers and of inactive choices included, and its architecture is the
    canonical form of the code. Columns of choices without an order are categorical.

    Parameters
    ----------
    n_objectives
        2 to 5.
    initial
        Number of homogeneous architectures of the initial design, in farthest-first order.
    """

    asynchronous = True
    patience = 1  # trials that may repeat known architectures before a neighbour is proposed

    def __init__(
        self,
        space: SearchSpace,
        n_objectives: int,
        *,
        seed: int,
        n_constraints: int = 0,
        initial: int,
    ) -> None:
        super().__init__(space, n_objectives, seed=seed, n_constraints=n_constraints)
        if not 2 <= n_objectives <= 5:
            raise InvalidInput(f"n_objectives: expected 2 to 5, found {n_objectives}")
        if initial < 1:
            raise InvalidInput(f"initial: expected at least 1, found {initial}")
        self.initial = initial
        self._unique = UniqueSampler(space, self.rng)
        self._initial_design = homogeneous_codes(space, self.rng)[:initial]
        self.n_initial = (
            initial  # after a shorter design, the sampler's own first trials are random
        )
        self._running: dict[bytes, Trial] = {}
        self._distributions: dict[str, BaseDistribution] = {
            name: CategoricalDistribution(range(n)) if categorical else IntDistribution(0, n - 1)
            for name, n, categorical in zip(
                space.columns,
                space.cardinalities.tolist(),
                categorical_columns(space),
                strict=True,
            )
        }
        # Optuna's samplers have generators of their own, seeded from ours.
        with _silence_optuna():
            sampler = self._create_sampler(int(self.rng.integers(2**31)))
            self._study = optuna.create_study(
                sampler=sampler, directions=["minimize"] * n_objectives
            )

    @abstractmethod
    def _create_sampler(self, seed: int) -> BaseSampler:
        """Return the sampler of the architectures after the first `initial` ones."""

    def ask(self, n: int) -> Codes:
        """Return the initial design first, then proposals of the sampler."""
        proposals: list[Codes] = []
        with _silence_optuna():
            while len(proposals) < n and len(self._unique) < self.space.size:
                proposals.append(self._propose())
        if not proposals:
            raise SpaceExhausted(
                f"all {self.space.size} architectures of {self.space.name} are taken"
            )
        return np.concatenate(proposals)

    def update(
        self,
        codes: Codes,
        losses: Array,
        *,
        std: Array | None = None,
        constraints: Array | None = None,
    ) -> None:
        """Complete the running trials; add other results as trials of their own."""
        self._unique.take(codes)
        violations = np.empty((len(codes), 0)) if constraints is None else constraints
        with _silence_optuna():
            for code, values, violation in zip(
                codes, losses.tolist(), violations.tolist(), strict=True
            ):
                by_name = {str(j): value for j, value in enumerate(violation)}
                if (trial := self._running.pop(code.tobytes(), None)) is not None:
                    for name, value in by_name.items():
                        trial.set_constraint(name, value)
                    self._study.tell(trial, values)
                else:
                    self._study.add_trial(
                        create_trial(
                            params=self._params(code),
                            distributions=self._distributions,
                            values=values,
                            constraints=by_name,
                        )
                    )

    def start_with(self, codes: Codes) -> None:
        """Leave out the initial design; the sampler's own random trials depend on its results."""
        self._initial_design = self._initial_design[:0]
        self.n_initial = max(0, self.initial - len(codes))

    def fail(self, codes: Codes, reason: str) -> None:
        """End the trials as failed; samplers ignore failed trials."""
        self._unique.take(codes)
        with _silence_optuna():
            for code in codes:
                if (trial := self._running.pop(code.tobytes(), None)) is not None:
                    self._study.tell(trial, state=TrialState.FAIL)

    def _propose(self) -> Codes:
        """Return a new architecture (1, d), as a running trial."""
        mask = [code not in self._unique for code in self._initial_design]
        self._initial_design = self._initial_design[mask]
        if len(self._initial_design):
            return self._start_trial(self._initial_design[:1])
        # Ask the sampler; a proposal that is known already ends as a failed trial.
        for _ in range(self.patience):
            trial = self._study.ask(self._distributions)
            params = np.array([[trial.params[name] for name in self.space.columns]])
            code = self._unique.take(self.space.canonical(params))
            if len(code):
                self._running[code.tobytes()] = trial
                return code
            self._study.tell(trial, state=TrialState.FAIL)
        # Fall back to a new neighbour of the last proposal, or to a random architecture.
        neighbours = self.space.neighbours(self.space.canonical(params)[0])
        neighbours = neighbours[[code not in self._unique for code in neighbours]]
        if len(neighbours):
            return self._start_trial(neighbours[[self.rng.integers(len(neighbours))]])
        return self._start_trial(self._unique.sample(1))

    def _start_trial(self, code: Codes) -> Codes:
        """Start a trial of an architecture (1, d) without asking the sampler."""
        self._unique.take(code)
        # The study's next trial is the enqueued one, not a proposal of the sampler.
        self._study.enqueue_trial(self._params(code[0]))
        self._running[code.tobytes()] = self._study.ask(self._distributions)
        return code

    def _params(self, code: Codes) -> dict[str, int]:
        return dict(zip(self.space.columns, code.tolist(), strict=True))


@contextlib.contextmanager
def _silence_optuna() -> Iterator[None]:
    """Suppress the log of Optuna, its warnings and those of its arithmetic in numpy."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)
