"""Budgets: what a search has used, and when it ends."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from hwnas.experiment import Budget
from hwnas.runner.storage import Trials


class BudgetTracker:
    """Evaluations, cost and seconds that a search has used.

    Parameters
    ----------
    budget
        Limits of the search.
    start
        Reading of `clock` at which the search started; earlier by the time that a resumed search
        has already run.
    clock
        Clock of the search in seconds; `time.perf_counter` by default.

    Attributes
    ----------
    trials : int
        Number of trials that the optimizer has been told.
    evaluations : int
        Evaluations of all these trials.
    cost : float
        Seconds of these evaluations.
    """

    def __init__(
        self, budget: Budget, start: float, clock: Callable[[], float] | None = None
    ) -> None:
        self.budget = budget
        self.start = start
        self.clock = clock or time.perf_counter
        self.trials = 0
        self.evaluations = 0
        self.cost = 0.0

    @property
    def evaluations_left(self) -> float:
        """Evaluations that may still be made, infinite without a limit; negative if overdrawn."""
        # A search may overdraw: the trials of one batch are told even if the last exceed the limit.
        limit = self.budget.evaluations
        return np.inf if limit is None else limit - self.evaluations

    def add(self, trials: Trials) -> None:
        """Count trials."""
        self.trials += len(trials)
        self.evaluations += int(trials.evaluations.sum())
        self.cost += float(trials.seconds.sum())

    def cost_is_spent(self, untold: float = 0.0) -> bool:
        """Return whether the limit of cost is reached with `untold` seconds of further trials."""
        return self.cost + untold >= (self.budget.cost or np.inf)

    def time_is_up(self) -> bool:
        """Return whether the limit of seconds since the start is reached."""
        return self.clock() - self.start >= (self.budget.seconds or np.inf)
