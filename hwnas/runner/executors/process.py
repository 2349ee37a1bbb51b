"""Trials in a pool of worker processes of this machine."""

from __future__ import annotations

import math
import os
import pickle
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from typing import Any

from hwnas.errors import InvalidInput, SearchFailed
from hwnas.runner.executors.interface import (
    Evaluator,
    EvaluatorFactory,
    Executor,
    TrialOutcome,
    TrialRequest,
    load_evaluator,
)
from hwnas.runner.failures import Failure
from hwnas.runner.workers import Worker, WorkerDied, pickled, registered_here

_MAX_STARTS = 3  # of workers in a row that end before they can evaluate anything
_MAX_WORKERS = 10_000
_UNITS = {"kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


@dataclass
class _Member:
    """Worker of the pool.

    Attributes
    ----------
    worker
        Its process.
    is_ready
        Whether it has built the problem.
    request
        Trial that it evaluates.
    start
        Time at which it began to.
    """

    worker: Worker
    is_ready: bool = False
    request: TrialRequest | None = None
    start: float = 0.0


class ProcessExecutor(Executor):
    """Trials in worker processes, each of which builds the problem once.

    A trial whose worker dies is tried once more, in a new worker, and then fails. Workers end with
    the process that started them, however that ends.

    Parameters
    ----------
    factory
        Factory of the evaluator of each worker.
    workers
        Number of processes, and of trials at once; by default one for each processor.
    timeout
        Seconds after which a trial fails and its worker is replaced; unlimited by default.
    memory
        Memory of one worker, as in ``"2 GB"``, in which a trial must find room beside the problem;
        unlimited by default. Linux only.

    Raises
    ------
    InvalidInput
        A setting is out of range.
    NotPicklable
        A registered class cannot be handed to another process.
    """

    def __init__(
        self,
        factory: EvaluatorFactory,
        *,
        workers: int | None = None,
        timeout: float | None = None,
        memory: str | None = None,
    ) -> None:
        self.check(workers=workers, timeout=timeout, memory=memory)
        self.slots = workers or _count_processors()
        self.timeout, self.memory = timeout, memory
        limit = None if memory is None else memory_bytes(memory)
        function = _TrialFunction(factory.to_bytes(), limit, memory)
        self._payload = pickled((function, registered_here()))
        self._members: list[_Member] = []
        self._tried: set[int] = set()  # requests whose worker has died once
        self._n_failed_starts = 0

    @classmethod
    def check(cls, **settings: Any) -> None:
        """Check settings, before a run starts; see `Executor.check`."""
        workers, timeout, memory = map(settings.get, ("workers", "timeout", "memory"))
        if workers is not None and not 1 <= workers <= _MAX_WORKERS:
            raise InvalidInput(f"workers: expected 1 to {_MAX_WORKERS:,}, found {workers}")
        if timeout is not None and not 0 < timeout < math.inf:
            raise InvalidInput(f"timeout: expected seconds above 0, found {timeout}")
        if memory is not None:
            memory_bytes(memory)

    def submit(self, request: TrialRequest) -> None:
        """Give a trial to an idle worker, or to a new one."""
        idle = [member for member in self._members if member.request is None]
        # One that has built its problem begins at once.
        member = max(idle, key=lambda m: m.is_ready) if idle else self._start_worker()
        member.request, member.start = request, time.perf_counter()
        member.worker.give(request.number, pickle.dumps(request))

    def wait(self, timeout: float | None = None) -> Sequence[TrialOutcome]:
        """Return the outcomes that have come; see `Executor.wait`."""
        end = None if timeout is None else time.perf_counter() + timeout
        outcomes: list[TrialOutcome] = []
        while not outcomes:
            busy = {m.worker.connection: m for m in self._members if m.request is not None}
            for connection in wait(list(busy), self._patience(end)):
                outcomes += self._receive(busy[connection])  # type: ignore[index]
            outcomes += [self._stop(member) for member in self._overdue()]
            if not outcomes and end is not None and time.perf_counter() >= end:
                break
        return outcomes

    def close(self) -> None:
        """Kill all workers."""
        for member in self._members:
            member.worker.kill()
        self._members.clear()

    def _start_worker(self) -> _Member:
        member = _Member(Worker(self._payload))
        self._members.append(member)
        return member

    def _patience(self, end: float | None) -> float | None:
        """Return the seconds until the next time-out, ``None`` if there is none."""
        ends = [] if end is None else [end]
        if self.timeout is not None:
            ends += [m.start + self.timeout for m in self._members if m.request and m.is_ready]
        return max(0.0, min(ends) - time.perf_counter()) if ends else None

    def _overdue(self) -> list[_Member]:
        """Return the workers whose trial has run longer than it may; starting does not count."""
        if self.timeout is None:
            return []
        latest = time.perf_counter() - self.timeout
        return [m for m in self._members if m.request and m.is_ready and m.start <= latest]

    def _receive(self, member: _Member) -> list[TrialOutcome]:
        """Return the outcome that a worker has sent, if its message is one."""
        kind, value = member.worker.receive()
        if kind == "progress":  # the problem is built, and the time of the trial runs
            member.is_ready, member.start, self._n_failed_starts = True, time.perf_counter(), 0
            return []
        if isinstance(value, WorkerDied):
            return self._replace_dead(member, value)
        if isinstance(value, Failure):
            raise (value.kind or SearchFailed)(f"a worker cannot build the problem: {value.text}")
        self._tried.discard(value.number)
        member.request = None
        return [value]

    def _replace_dead(self, member: _Member, error: WorkerDied) -> list[TrialOutcome]:
        """Try the trial of a dead worker again; its outcome is a failure if that was the second."""
        request = self._remove(member)
        if not member.is_ready:
            self._n_failed_starts += 1
            if self._n_failed_starts >= _MAX_STARTS:
                raise SearchFailed(f"no worker can be started: {error}")
        elif request.number in self._tried:
            self._tried.discard(request.number)
            limit = f"; its memory is limited to {self.memory}" if self.memory else ""
            reason = f"its worker died twice: {error}{limit}"
            return [TrialOutcome.failed(request, reason, time.perf_counter() - member.start)]
        else:
            self._tried.add(request.number)
        self.submit(request)
        return []

    def _stop(self, member: _Member) -> TrialOutcome:
        """Kill a worker whose trial takes too long; a new one is started in its place."""
        request = self._remove(member)
        self._start_worker()
        spent = time.perf_counter() - member.start
        return TrialOutcome.failed(request, f"timed out after {self.timeout:g} s", spent)

    def _remove(self, member: _Member) -> TrialRequest:
        """End a worker and return the trial that it had."""
        self._members.remove(member)
        member.worker.kill()
        assert member.request is not None
        return member.request


class _TrialFunction:
    """Task of a worker: builds the problem at the first trial, and evaluates.

    Parameters
    ----------
    factory
        Pickled factory of the evaluator.
    limit
        Memory in bytes, ``None`` without a limit.
    memory
        The same as text, for reasons of failures.
    """

    def __init__(self, factory: bytes, limit: int | None, memory: str | None) -> None:
        self._factory, self._limit, self._memory = factory, limit, memory
        self._evaluator: Evaluator | None = None

    def __call__(
        self, request: TrialRequest, report: Callable[[int], None]
    ) -> TrialOutcome | Failure:
        """Return the outcome of a trial, or why the problem cannot be built."""
        if self._evaluator is None:
            try:
                self._evaluator = load_evaluator(self._factory)
            except (Exception, SystemExit) as error:  # a plugin's code may raise anything
                return Failure.of(error)
            if self._limit is not None:
                _limit_memory(self._limit)
            report(0)
        outcome = self._evaluator(request)
        if self._memory and outcome.error and outcome.error.text.startswith("MemoryError"):
            reason = f"needs more memory than the limit of {self._memory}: {outcome.reason}"
            return replace(outcome, reason=reason)
        return outcome


def memory_bytes(text: str) -> int:
    """Return a size of memory in bytes.

    Parameters
    ----------
    text
        A number with kB, MB, GB or TB, which are powers of 1,000.

    Raises
    ------
    InvalidInput
        It is nothing of that form.

    Examples
    --------
    >>> memory_bytes("2 GB"), memory_bytes("0.5GB")
    (2000000000, 500000000)
    """
    number, unit = text.strip()[:-2], text.strip()[-2:]
    try:
        size = float(number) * _UNITS[unit]
        if 0 < size < 2**62:
            return int(size)
    except (ValueError, KeyError):
        pass
    raise InvalidInput(f"memory: expected a size such as 2 GB, found {text!r}")


def _count_processors() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _limit_memory(size: int) -> None:
    """Limit what this process can allocate; what files map does not count."""
    import resource

    if sys.platform == "linux":  # elsewhere the limit is not enforced
        resource.setrlimit(resource.RLIMIT_DATA, (size, size))
