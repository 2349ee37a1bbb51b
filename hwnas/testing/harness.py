"""Optimizers under test: new instances, and runs that the checks share."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from hwnas.errors import InvalidInput
from hwnas.optimizers import MultiFidelityOptimizer, Optimizer
from hwnas.registry import optimizer
from hwnas.spaces import SearchSpace
from hwnas.spaces import space as space_of
from hwnas.testing.baseline import RandomSearchComparison
from hwnas.testing.checks import NotJudged, Subject, require, seed_global_rngs
from hwnas.testing.simulated_run import SimulatedRun, equal_proposals, find_duplicate
from hwnas.testing.synthetic_problems import FIDELITIES, MEDIUM, SyntheticProblem

_ASK_SIZES = (1, 3, 2, 5)  # in turn, of optimizers with a batch below 8
_MIN_LENGTH, _MAX_LENGTH = 30, 250  # default length of a run, in proposals
_SEEDS = (0, 1, 2)  # of a comparison with random search


class OptimizerUnderTest(Subject):
    """Optimizer under test.

    Parameters
    ----------
    tested
        Registered name, or class.
    space
        Search space; by default a synthetic one of 44,226 architectures.
    evaluations
        Length of the runs that check the protocol; longer than the optimizer's initial design. By
        default two and a half times its batch, from 30 to 250.
    **settings
        Settings of the optimizer.
    """

    def __init__(
        self,
        tested: str | type[Optimizer],
        *,
        space: SearchSpace | str | None = None,
        evaluations: int | None = None,
        **settings: Any,
    ) -> None:
        super().__init__("optimizer", tested, settings)
        if isinstance(space, str):
            space = space_of(space)
        self.space = MEDIUM if space is None else space
        self._evaluations = evaluations
        self._comparisons: dict[SyntheticProblem, RandomSearchComparison] = {}

    @property
    def claims_to_beat_random(self) -> bool:
        """True if the optimizer claims to beat random search."""
        return bool(self.cls.claims_to_beat_random)

    @property
    def multi_fidelity(self) -> bool:
        """True if the optimizer chooses fidelities."""
        return issubclass(self.cls, MultiFidelityOptimizer)

    def create(self, problem: SyntheticProblem, seed: int = 0) -> Optimizer:
        """Return a new instance for a problem."""
        return optimizer(
            self.tested,
            problem.space,
            problem.m,
            seed=seed,
            n_constraints=problem.c,
            fidelities=FIDELITIES,
            **self.settings,
        )

    def start(
        self, problem: SyntheticProblem | None = None, *, seed: int = 0, std: float = 0.0
    ) -> SimulatedRun:
        """Return a new run on a problem, by default one of two losses in the subject's space."""
        problem = problem or SyntheticProblem(self.space)
        return SimulatedRun(self.create(problem, seed), problem, std)

    def advance(
        self,
        run: SimulatedRun,
        step: Callable[[SimulatedRun, int], Any] = SimulatedRun.ask_and_tell,
        *,
        share: float = 1.0,
    ) -> SimulatedRun:
        """Continue a run by asks of different sizes and return it.

        Parameters
        ----------
        run
            Run to continue.
        step
            Function that asks the run for a number of architectures and reports results.
        share
            Length at which to stop, as a share of the default length of a run.
        """
        batch = run.optimizer.batch
        length = self._evaluations or int(np.clip(2.5 * batch, _MIN_LENGTH, _MAX_LENGTH))
        # Asks are smaller and larger than the batch.
        scale = max(1, min(batch, 100) // 4)
        # Empty answers are legal, so that the number of asks is bounded as well.
        for _ in range(10 * length):
            if sum(len(record.codes) for record in run.records) >= share * length:
                break
            step(run, _ASK_SIZES[len(run.records) % len(_ASK_SIZES)] * scale)
        return run

    @cached_property
    def reference_run(self) -> SimulatedRun:
        """Run of the default length with seed 0, every result told at once."""
        seed_global_rngs(0)
        return self.advance(self.start())

    @cached_property
    def repeated_run(self) -> SimulatedRun:
        """Repetition of the reference run."""
        seed_global_rngs(0)
        return self.advance(self.start())

    def require_repeatable(self) -> None:
        """Raise `NotJudged` unless a repeated run has the same proposals."""
        if not equal_proposals(self.reference_run, self.repeated_run):
            raise NotJudged("it does not repeat a run, so that two cannot be compared")

    def require_distinct(self, run: SimulatedRun) -> None:
        """Require that a run has no architecture twice, unless the reference run has one, too."""
        if find_duplicate(self.reference_run) is None:
            duplicate = find_duplicate(run)
            require(duplicate is None, str(duplicate))

    def comparison(
        self, problem: SyntheticProblem, seeds: tuple[int, ...] = _SEEDS
    ) -> RandomSearchComparison:
        """Return the comparison with random search on a problem, which several checks share."""
        # Kept, as a comparison is the expensive part of the checks of the quality.
        if problem not in self._comparisons:
            # Instances of an optimizer that uses the global generators are at least repeatable.
            seed_global_rngs(0)
            self._comparisons[problem] = RandomSearchComparison(
                [self.start(problem, seed=seed) for seed in seeds],
                problem,
                claims_to_beat_random=self.claims_to_beat_random,
            )
        return self._comparisons[problem]


def find_refusal(subject: OptimizerUnderTest, problem: SyntheticProblem) -> InvalidInput | None:
    """Return the error by which an optimizer refuses a problem, if it does."""
    try:
        subject.create(problem)
    except InvalidInput as error:
        return error
    return None
