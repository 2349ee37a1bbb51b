"""What a device does while its energy is counted, cut into segments at the counter's ticks."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hwnas.profiling.meters.energy_counter import Counter, next_tick

LEAD_IN = 0.5  # seconds in which power settles before the first segment
_SEGMENT = 0.05  # seconds that a segment has at least
_DEPTH = 3  # passes that a GPU has before it, so that it never waits


@dataclass(frozen=True, slots=True)
class Segment:
    """From one tick of a counter to another: s, how far both may be off together, J, passes."""

    seconds: float
    violation: float
    joules: float
    passes: float


class Load(ABC):
    """What keeps a device busy."""

    @abstractmethod
    def work(self) -> None:
        """Keep it busy for a moment."""

    @abstractmethod
    def wait(self) -> None:
        """What is done while the counter is looked at, between two looks."""

    @abstractmethod
    def passes(self, moment: float) -> float:
        """How many passes were done until a moment just over."""


class Nothing(Load):
    """An idle device."""

    def __init__(self, sleep: Callable[[float], object] = time.sleep) -> None:
        self._sleep = sleep

    def work(self) -> None:
        """Sleep for a ms."""
        self._sleep(1e-3)

    def wait(self) -> None:
        """Sleep for less."""
        self._sleep(2e-4)

    def passes(self, moment: float) -> float:
        """None."""
        return 0.0


class InTurn(Load):
    """Passes of a CPU, each of which ends before the next begins and none while we look."""

    def __init__(self, run: Callable[[], object]) -> None:
        self._run, self._done = run, 0

    def work(self) -> None:
        """One pass."""
        self._run()
        self._done += 1

    def wait(self) -> None:
        """Nothing: a counter of processors ticks every ms."""

    def passes(self, moment: float) -> float:
        """Whole ones."""
        return float(self._done)


class Queue(Load):
    """Passes of a GPU, so many ahead that it never waits; the host only looks on.

    Parameters
    ----------
    run
        Begins a pass and returns.
    mark
        Returns what says whether all that was begun is done.
    """

    def __init__(
        self,
        run: Callable[[], object],
        mark: Callable[[], Callable[[], bool]],
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._run, self._mark, self._clock = run, mark, clock
        self._ahead: deque[Callable[[], bool]] = deque()
        self._done = 0
        self._first = self._last = 0.0

    def work(self) -> None:
        """See what is done, and begin a pass where there is room."""
        while self._ahead and self._ahead[0]():
            self._ahead.popleft()
            self._done += 1
            self._last = self._clock()
            self._first = self._first if self._done > 1 else self._last
        if len(self._ahead) < _DEPTH:
            self._run()
            self._ahead.append(self._mark())

    def wait(self) -> None:
        """The same."""
        self.work()

    def passes(self, moment: float) -> float:
        """Those seen to be done, and the share of the one that is under way."""
        if self._done < 2 or self._last <= self._first:
            return float(self._done)
        of_one = (self._last - self._first) / (self._done - 1)
        return self._done + min(max((moment - self._last) / of_one, -1.0), 1.0)


def segments(
    counter: Counter, load: Load, *, clock: Callable[[], float] = time.perf_counter
) -> Iterator[Segment]:
    """Segments one after the other, each from a tick to a tick, the load running all the time."""
    begin = clock()
    while clock() - begin < LEAD_IN:
        load.work()
    last = next_tick(counter, load.wait, clock=clock)
    done = load.passes(last.time)
    while True:
        while clock() - last.time < _SEGMENT:
            load.work()
        tick = next_tick(counter, load.wait, clock=clock)
        now = load.passes(tick.time)
        yield Segment(
            tick.time - last.time,
            last.violation + tick.violation,
            tick.joules - last.joules,
            now - done,
        )
        last, done = tick, now
