"""Simulated executor: trials in this process, on a clock of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from hwnas.runner.executors.interface import Evaluator, Executor, TrialOutcome, TrialRequest


class SimulatedExecutor(Executor):
    """Trials that end in the order of given durations, without waiting for any.

    A search and its tests and benchmarks see any number of slots and any durations. The order of
    completion follows from the durations alone; trials that end at the same time end in the order
    of their numbers.

    Parameters
    ----------
    evaluator
        Function that evaluates a trial.
    slots
        Number of trials at once.
    duration
        Seconds that a trial takes on the simulated clock; also its `seconds`.
    time
        First reading of the clock.
    started
        Times at which requests were submitted before, by number: a resumed search submits those in
        flight again, which here goes on as if nothing had happened.

    Attributes
    ----------
    started : dict
        Time of submission of every request, by number.

    Examples
    --------
    >>> def evaluate(request):
    ...     return TrialOutcome(request.number, (1.0,), (0.0,), "ok", "", 0.0)
    >>> executor = SimulatedExecutor(evaluate, 2, lambda request: 3.0 - request.number)
    >>> for number in range(2):
    ...     executor.submit(TrialRequest(number, b"", 0, 0, None, (0,)))
    >>> [outcome.number for outcome in executor.wait()], executor.now()
    ([1], 2.0)
    """

    def __init__(
        self,
        evaluator: Evaluator,
        slots: int,
        duration: Callable[[TrialRequest], float],
        *,
        time: float = 0.0,
        started: dict[int, float] | None = None,
    ) -> None:
        self.slots = slots
        self.started = dict(started or {})
        self._evaluator, self._duration, self._time = evaluator, duration, time
        self._running: dict[int, tuple[float, TrialRequest]] = {}  # end and request, by number

    def submit(self, request: TrialRequest) -> None:
        """Start a trial at the present time of the clock, or at that of its first submission."""
        start = self.started.setdefault(request.number, self._time)
        self._running[request.number] = start + self._duration(request), request

    def wait(self, timeout: float | None = None) -> Sequence[TrialOutcome]:
        """Advance the clock to the next end of a trial; return all trials that end then."""
        end = min(end for end, _ in self._running.values())
        if timeout is not None and end > self._time + timeout:
            self._time += timeout
            return []
        self._time = end
        numbers = sorted(number for number, (at, _) in self._running.items() if at == end)
        return [self._evaluated(self._running.pop(number)[1]) for number in numbers]

    def now(self) -> float:
        """Return the simulated time in seconds."""
        return self._time

    def close(self) -> None:
        """End all trials."""
        self._running.clear()

    def _evaluated(self, request: TrialRequest) -> TrialOutcome:
        return replace(self._evaluator(request), seconds=self._duration(request))
