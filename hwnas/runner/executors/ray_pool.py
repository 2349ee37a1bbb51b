"""Pool of Ray actors that evaluate trials; it lives in the process of `ray_gateway`."""

from __future__ import annotations

import os
import re
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from hwnas.errors import MachineFailed
from hwnas.runner.executors.interface import (
    Evaluator,
    TrialOutcome,
    TrialRequest,
    load_evaluator,
)
from hwnas.runner.failures import Failure

_STARTS_PER_WORKER = 3  # workers that end before they are ready, in a row, until all is given up
_MAX_DETAIL = 300  # characters of Ray's explanation of a death


@dataclass(frozen=True)
class PoolSettings:
    """Settings of a pool, see `hwnas.runner.executors.ray.RayExecutor`.

    Attributes
    ----------
    has_dashboard
        Whether someone may look at the cluster's list of tasks, which costs an actor a fifth of
        its overhead.
    """

    workers: int
    cpus: float
    gpus: float
    retries: int
    timeout: float | None
    has_dashboard: bool


class TrialWorker:
    """Actor: builds the problem once and evaluates one trial after another.

    Parameters
    ----------
    factory
        Pickled factory of the evaluator.
    path
        Python's path in the process of the search.
    directory
        Working directory of the search.
    """

    def __init__(self, factory: bytes, path: list[str], directory: str) -> None:
        self._factory, self._path, self._directory = factory, path, directory
        self._evaluator: Evaluator | None = None

    def build(self) -> Failure | None:
        """Build the problem; return why it cannot be built, if so."""
        # As in the process of the search, as far as this node has the same folders.
        sys.path += [folder for folder in self._path if folder not in sys.path]
        if os.path.isdir(self._directory):
            os.chdir(self._directory)
        try:
            self._evaluator = load_evaluator(self._factory)
        except (Exception, SystemExit) as error:  # a plugin's code may raise anything
            return Failure.of(error)
        return None

    def evaluate(self, request: TrialRequest) -> TrialOutcome:
        """Evaluate a trial."""
        assert self._evaluator is not None
        return self._evaluator(request)


@dataclass(eq=False)
class _Member:
    """Actor of the pool, and the trial that it evaluates since `start`."""

    actor: Any
    is_ready: bool = False
    request: TrialRequest | None = None
    start: float = 0.0


class PoolFailed(Exception):
    """Pool that cannot evaluate anything, for the reason in `failure`."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.text)
        self.failure = failure


class TrialPool:
    """Actors that each evaluate one trial at a time; one that dies is replaced.

    Results arrive as events: `post` is called from threads of Ray with arguments of `handle`, which
    a single thread calls.

    Parameters
    ----------
    settings
        Settings of the pool.
    factory, path, directory
        See `TrialWorker`.
    post
        Function that queues an event.

    Attributes
    ----------
    outcomes : list of TrialOutcome
        Outcomes that nobody has taken yet.
    """

    def __init__(
        self,
        settings: PoolSettings,
        factory: bytes,
        path: list[str],
        directory: str,
        post: Callable[[_Member, Any], None],
    ) -> None:
        import ray

        self.settings, self.outcomes = settings, list[TrialOutcome]()
        self._ray, self._post = ray, post
        # An actor that is lost is replaced here, so Ray restarts nothing. Spread: not all on the
        # first node that has room.
        self._actor_class = ray.remote(TrialWorker).options(
            num_cpus=settings.cpus,
            num_gpus=settings.gpus,
            scheduling_strategy="SPREAD",
            enable_task_events=settings.has_dashboard,
        )
        self._arguments = (ray.put(factory), path, directory)
        self._members: set[_Member] = set()
        self._waiting: deque[TrialRequest] = deque()
        self._deaths: Counter[int] = Counter()  # of the worker of a trial, by number
        self._n_failed_starts = 0
        for _ in range(settings.workers):
            self._start_worker()

    @property
    def n_ready(self) -> int:
        """Number of workers that have built the problem."""
        return sum(member.is_ready for member in self._members)

    def submit(self, request: TrialRequest) -> None:
        """Give a trial to an idle worker; without one it waits."""
        member = next((m for m in self._members if m.is_ready and m.request is None), None)
        if member is None:
            self._waiting.append(request)
            return
        member.request, member.start = request, time.monotonic()
        self._watch(member, member.actor.evaluate.remote(request))

    def handle(self, member: _Member, future: Any) -> None:
        """Take up the result of a worker: its problem is built, a trial has ended, or it died.

        Raises
        ------
        PoolFailed
            The problem cannot be built, or no worker can be started.
        """
        if member not in self._members:  # stopped in the meantime
            return
        error = future.exception()
        request, member.request = member.request, None
        if isinstance(error, self._ray.exceptions.RayTaskError) and request is not None:
            # The evaluator turns errors into outcomes: this is one of pickling, say.
            self._end(TrialOutcome.failed(request, _detail(error), self._spent(member)))
        elif error is not None:
            self._replace(member, request, _detail(error))
            return
        elif request is not None:
            self._end(future.result())
        elif (failure := future.result()) is not None:
            text = f"a worker cannot build the problem: {failure.text}"
            raise PoolFailed(replace(failure, text=text))
        else:
            member.is_ready, self._n_failed_starts = True, 0
        if self._waiting:
            self.submit(self._waiting.popleft())

    def stop_overdue(self) -> None:
        """Replace workers whose trial takes longer than it may; the trial fails."""
        if self.settings.timeout is None:
            return
        for member in [m for m in self._members if m.request and self._seconds_left(m) <= 0]:
            assert member.request is not None
            reason = f"timed out after {self.settings.timeout:g} s"
            self._end(TrialOutcome.failed(member.request, reason, self._spent(member)))
            self._remove(member)
            self._start_worker()

    def seconds_to_timeout(self) -> float | None:
        """Return the seconds until a trial has taken too long, ``None`` if none can."""
        if self.settings.timeout is None:
            return None
        seconds = [self._seconds_left(member) for member in self._members if member.request]
        return max(0.0, min(seconds)) if seconds else None

    def _start_worker(self) -> None:
        member = _Member(self._actor_class.remote(*self._arguments))
        self._members.add(member)
        self._watch(member, member.actor.build.remote())

    def _watch(self, member: _Member, reference: Any) -> None:
        reference.future().add_done_callback(lambda future: self._post(member, future))

    def _replace(self, member: _Member, request: TrialRequest | None, reason: str) -> None:
        """Start another worker for one that died, and try its trial again."""
        self._remove(member)
        if not member.is_ready:
            self._n_failed_starts += 1
            if self._n_failed_starts >= _STARTS_PER_WORKER * self.settings.workers:
                text = f"no worker can be started: {reason}"
                raise PoolFailed(Failure(text, "", text, MachineFailed))
        self._start_worker()
        if request is None:
            return
        self._deaths[request.number] += 1
        n_deaths = self._deaths[request.number]
        if n_deaths <= self.settings.retries:
            self.submit(request)
            return
        times = "" if n_deaths == 1 else f" {n_deaths} times"
        text = f"its worker died{times}: {reason}"
        self._end(TrialOutcome.failed(request, text, self._spent(member)))

    def _end(self, outcome: TrialOutcome) -> None:
        self._deaths.pop(outcome.number, None)
        self.outcomes.append(outcome)

    def _remove(self, member: _Member) -> None:
        self._members.remove(member)
        self._ray.kill(member.actor)  # one that cannot be reached may still be running

    def _spent(self, member: _Member) -> float:
        return time.monotonic() - member.start

    def _seconds_left(self, member: _Member) -> float:
        return (self.settings.timeout or 0.0) - self._spent(member)


def _detail(error: BaseException) -> str:
    """Return the last sentences of Ray's explanation in one line.

    >>> _detail(RuntimeError("The actor died.\\n\\tactor_id: 1\\nWorker exit detail: killed."))
    'killed.'
    """
    text = re.split(r"Worker exit detail: |\n(?=\S)", str(error).strip())[-1]
    return " ".join(text.split())[:_MAX_DETAIL]
