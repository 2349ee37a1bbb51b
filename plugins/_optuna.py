"""Ask and tell on a study of Optuna that lives in memory."""

from __future__ import annotations

import contextlib
import warnings
from abc import abstractmethod
from collections.abc import Iterator

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import Trial, TrialState, create_trial

from hwnas.errors import InvalidInput, SpaceExhausted
from hwnas.optimizers import Optimizer, UniqueSampler
from hwnas.spaces import Codes, SearchSpace
from hwnas.typing import Array

from .uniform import homogeneous


class Trials(Optimizer):
    """A sampler of Optuna, asked for one network after the other, those before it running.

    Samplers model only what all trials have in common. So a trial has every column of a code, also
    those of layers that its network lacks, and the network is what is left when these are cleared.

    Parameters
    ----------
    n_objectives
        2 to 5.
    initial
        Networks to begin with: homogeneous ones, farthest first.
    """

    patience = 1  # trials that may lead to known networks before one beside them is taken

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
        self._start = homogeneous(space, self.rng)[:initial]
        self._running: dict[bytes, Trial] = {}
        self._distributions: dict[str, BaseDistribution] = {
            name: IntDistribution(0, int(n) - 1)
            for name, n in zip(space.columns, space.cardinalities, strict=True)
        }
        with _quiet():
            sampler = self._sampler(int(self.rng.integers(2**31)))
            self._study = optuna.create_study(
                sampler=sampler, directions=["minimize"] * n_objectives
            )

    @abstractmethod
    def _sampler(self, seed: int) -> BaseSampler:
        """What proposes, once `initial` networks have results."""

    def ask(self, n: int) -> Codes:
        """The start first, then what the sampler thinks of."""
        asked: list[Codes] = []
        with _quiet():
            while len(asked) < n and len(self._unique) < self.space.size:
                asked.append(self._next())
        if not asked:
            raise SpaceExhausted(f"all {self.space.size} architectures of {self.space.name} are taken")
        return np.concatenate(asked)

    def update(
        self,
        codes: Codes,
        losses: Array,
        *,
        std: Array | None = None,
        constraints: Array | None = None,
    ) -> None:
        """End the trials; what is nobody's trial is added as one."""
        self._unique.take(codes)
        violations = np.empty((len(codes), 0)) if constraints is None else constraints
        with _quiet():
            for code, values, violation in zip(
                codes, losses.tolist(), violations.tolist(), strict=True
            ):
                named = {str(j): value for j, value in enumerate(violation)}
                if (trial := self._running.pop(code.tobytes(), None)) is not None:
                    for name, value in named.items():
                        trial.set_constraint(name, value)
                    self._study.tell(trial, values)
                else:
                    self._study.add_trial(
                        create_trial(
                            params=self._params(code),
                            distributions=self._distributions,
                            values=values,
                            constraints=named,
                        )
                    )

    def fail(self, codes: Codes, reason: str) -> None:
        """End the trials as failed, which no sampler learns from."""
        self._unique.take(codes)
        with _quiet():
            for code in codes:
                if (trial := self._running.pop(code.tobytes(), None)) is not None:
                    self._study.tell(trial, state=TrialState.FAIL)

    def _next(self) -> Codes:
        """A network (1, d) that nobody knows, now running."""
        self._start = self._start[[code not in self._unique for code in self._start]]
        if len(self._start):
            return self._run(self._start[:1])
        for _ in range(self.patience):
            trial = self._study.ask(self._distributions)
            drawn = np.array([[trial.params[name] for name in self.space.columns]])
            code = self._unique.take(self.space.canonical(drawn))
            if len(code):
                self._running[code.tobytes()] = trial
                return code
            self._study.tell(trial, state=TrialState.FAIL)
        around = self.space.neighbours(self.space.canonical(drawn)[0])
        around = around[[code not in self._unique for code in around]]
        if len(around):
            return self._run(around[[self.rng.integers(len(around))]])
        return self._run(self._unique.sample(1))

    def _run(self, code: Codes) -> Codes:
        """Make a network (1, d) a trial without asking the sampler."""
        self._unique.take(code)
        self._study.enqueue_trial(self._params(code[0]))
        self._running[code.tobytes()] = self._study.ask(self._distributions)
        return code

    def _params(self, code: Codes) -> dict[str, int]:
        return dict(zip(self.space.columns, code.tolist(), strict=True))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Within, Optuna says nothing, and numpy nothing about Optuna's arithmetic."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)
