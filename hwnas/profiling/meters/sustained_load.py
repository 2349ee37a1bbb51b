"""Sustained load of a device while its energy is counted, in segments between counter ticks."""

from __future__ import annotations

import itertools
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from hwnas.profiling.meters.energy_counter import Counter, wait_for_tick

LEAD_IN = 0.5  # seconds for the power to settle before the first segment
MIN_SEGMENT = 0.05  # minimum length of a segment in seconds
_QUEUE_DEPTH = 3  # passes that are queued on a GPU, so that it never waits


@dataclass(frozen=True, slots=True)
class Segment:
    """Interval from one tick of a counter to another.

    Attributes
    ----------
    seconds, uncertainty
        Length in s, and the sum of the uncertainties of both ticks.
    joules
        Energy in J.
    passes
        Number of passes.
    """

    seconds: float
    uncertainty: float
    joules: float
    passes: float


class Load(ABC):
    """Work that a device does while its energy is counted."""

    @abstractmethod
    def step(self) -> None:
        """Do a small part of the work."""

    @abstractmethod
    def wait(self) -> None:
        """Pass the time between two queries of the counter."""

    @abstractmethod
    def passes(self, moment: float) -> float:
        """Return the number of passes completed until a time, which must be recent."""


class IdleLoad(Load):
    """No work: the device is idle."""

    def __init__(self, sleep: Callable[[float], object] = time.sleep) -> None:
        self._sleep = sleep

    def step(self) -> None:
        """Sleep for 1 ms."""
        self._sleep(1e-3)

    def wait(self) -> None:
        """Sleep for 0.2 ms, so that the time of the tick is known more exactly."""
        self._sleep(2e-4)

    def passes(self, moment: float) -> float:
        """Return 0."""
        return 0.0


class SequentialLoad(Load):
    """Passes of a CPU, one after the other.

    No pass runs while the counter is queried, so the counts are whole numbers.

    Parameters
    ----------
    run
        Function that runs a pass.
    """

    def __init__(self, run: Callable[[], object]) -> None:
        self._run, self._n_complete = run, 0

    def step(self) -> None:
        """Run a pass."""
        self._run()
        self._n_complete += 1

    def wait(self) -> None:
        """Return at once: a counter of processor energy ticks every ms."""

    def passes(self, moment: float) -> float:
        """Return the number of passes, a whole number."""
        return float(self._n_complete)


class QueuedLoad(Load):
    """Passes of a GPU, a few of which are always queued, so that it never waits for the host.

    Parameters
    ----------
    run
        Function that enqueues a pass and returns without waiting for its end.
    mark
        Function that returns a query: a function that returns whether all passes enqueued so far
        have ended.
    """

    def __init__(
        self,
        run: Callable[[], object],
        mark: Callable[[], Callable[[], bool]],
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._run, self._mark, self._clock = run, mark, clock
        self._pending: deque[Callable[[], bool]] = deque()
        self._n_complete = 0
        self._first_end = self._last_end = 0.0  # times at which passes were seen to have ended

    def step(self) -> None:
        """Count the passes that have ended, and enqueue a pass if there is room."""
        # Passes end in the order in which they were enqueued, so the oldest query suffices.
        while self._pending and self._pending[0]():
            self._pending.popleft()
            self._n_complete += 1
            self._last_end = self._clock()
            self._first_end = self._first_end if self._n_complete > 1 else self._last_end
        if len(self._pending) < _QUEUE_DEPTH:
            self._run()
            self._pending.append(self._mark())

    def wait(self) -> None:
        """Do the same as `step`: the GPU must not run out of work during queries."""
        self.step()

    def passes(self, moment: float) -> float:
        """Return the number of completed passes, plus the estimated share of the current one.

        The share is the time since the last end, relative to the mean duration of a pass. It is
        negative if `moment` is before the last end.
        """
        # Without two different ends the duration of a pass is unknown.
        if self._n_complete < 2 or self._last_end <= self._first_end:
            return float(self._n_complete)
        pass_seconds = (self._last_end - self._first_end) / (self._n_complete - 1)
        return self._n_complete + min(max((moment - self._last_end) / pass_seconds, -1.0), 1.0)


class CyclicLoad(Load):
    """Unequal pieces of work in a fixed cycle, which is one pass.

    Parameters
    ----------
    pieces
        Functions that do the pieces, in their order, each with its share of the time of a cycle. On
        a GPU a function enqueues its piece and returns without waiting for its end.
    mark
        As in `QueuedLoad`; None for a CPU, whose pieces have ended when their functions return.
    """

    def __init__(
        self,
        pieces: Sequence[tuple[Callable[[], object], float]],
        mark: Callable[[], Callable[[], bool]] | None,
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._pieces, self._mark, self._clock = itertools.cycle(pieces), mark, clock
        self._pending: deque[tuple[Callable[[], bool], float]] = deque()
        self._complete = self._complete_at_first_end = 0.0  # shares
        self._first_end = self._last_end = 0.0

    def step(self) -> None:
        """Count the pieces that have ended, and do or enqueue the next one if there is room."""
        while self._pending and self._pending[0][0]():
            self._complete += self._pending.popleft()[1]
            self._last_end = self._clock()
            if not self._first_end:
                self._first_end, self._complete_at_first_end = self._last_end, self._complete
        if len(self._pending) < _QUEUE_DEPTH:
            run, share = next(self._pieces)
            run()
            if self._mark is None:
                self._complete += share
            else:
                self._pending.append((self._mark(), share))

    def wait(self) -> None:
        """Do the same as `step` on a GPU, which must not run out of work; else return at once."""
        if self._mark is not None:
            self.step()

    def passes(self, moment: float) -> float:
        """Return the number of completed cycles, plus the estimated share of the current piece."""
        complete = self._complete - self._complete_at_first_end
        if complete <= 0 or self._last_end <= self._first_end:
            return self._complete
        cycle_seconds = (self._last_end - self._first_end) / complete
        next_share = self._pending[0][1] if self._pending else 0.0
        share = (moment - self._last_end) / cycle_seconds
        return self._complete + min(max(share, -next_share), next_share)


def measure_segments(
    counter: Counter,
    load: Load,
    *,
    clock: Callable[[], float] = time.perf_counter,
    min_seconds: float = MIN_SEGMENT,
) -> Iterator[Segment]:
    """Yield consecutive segments, each from a tick to a tick, under continuous load."""
    # Let power and clocks settle; this part is not counted.
    start = clock()
    while clock() - start < LEAD_IN:
        load.step()
    previous = wait_for_tick(counter, load.wait, clock=clock)
    previous_passes = load.passes(previous.time)
    while True:
        # The minimum length spans several ticks of a counter that ticks every ms, so that the
        # uncertainties of the two at the ends matter little.
        while clock() - previous.time < min_seconds:
            load.step()
        tick = wait_for_tick(counter, load.wait, clock=clock)
        passes = load.passes(tick.time)
        yield Segment(
            tick.time - previous.time,
            previous.uncertainty + tick.uncertainty,
            tick.joules - previous.joules,
            passes - previous_passes,
        )
        previous, previous_passes = tick, passes
