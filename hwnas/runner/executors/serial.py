"""Executor that evaluates one trial at a time in this process."""

from __future__ import annotations

from collections.abc import Sequence

from hwnas.runner.executors.interface import Evaluator, Executor, TrialOutcome, TrialRequest


class SerialExecutor(Executor):
    """One trial at a time in this process, for a search that was begun with several at once.

    Parameters
    ----------
    evaluator
        Function that evaluates a trial.
    """

    slots = 1

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self._submitted: list[TrialRequest] = []

    def submit(self, request: TrialRequest) -> None:
        """Keep a trial for `wait`."""
        self._submitted.append(request)

    def wait(self, timeout: float | None = None) -> Sequence[TrialOutcome]:
        """Evaluate what was submitted, whatever the time-out."""
        outcomes = [self._evaluator(request) for request in self._submitted]
        self._submitted.clear()
        return outcomes

    def close(self) -> None:
        """Forget what was submitted."""
        self._submitted.clear()
