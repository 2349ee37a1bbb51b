"""Processes that compile parts of models while a network trains."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from itertools import count
from queue import PriorityQueue

from hwnas.profiling.training.parts import Part

_MODULE = "hwnas.profiling.training.compile_worker"
_FIRST = -1  # priority of the signal that ends a thread


class CompilePool:
    """Worker processes with a queue of parts to compile.

    The processes are stopped while the pool is paused, so that they disturb no measurement. They
    run with a low priority and end with this process, also if it is killed.

    Parameters
    ----------
    workers
        Number of processes.
    environment
        Environment variables to add to those of this process.

    Attributes
    ----------
    compiled : set of str
        Keys of the parts whose code is in the cache.
    failed : dict of str to str
        Reasons of the parts that could not be compiled, by key, until someone takes them.
    given_up : set of str
        Keys of the parts that could not be compiled.
    """

    def __init__(self, workers: int, environment: Mapping[str, str]) -> None:
        self.workers, self.environment = workers, {**os.environ, **environment}
        self.compiled: set[str] = set()
        self.failed: dict[str, str] = {}
        self.given_up: set[str] = set()
        self._queue: PriorityQueue[tuple[int, int, Part | None]] = PriorityQueue()
        self._order = count()
        self._seen: set[str] = set()
        self._processes: list[subprocess.Popen[str]] = []

    @property
    def is_busy(self) -> bool:
        """Whether processes run that have parts to compile."""
        return bool(self._processes) and bool(self._seen - self.compiled - self.given_up)

    def submit(self, parts: Iterable[Part], priority: int) -> None:
        """Add the parts that are not yet in the queue; the lowest priority is compiled first."""
        for part in parts:
            if part.key not in self._seen or (priority == 0 and not self._is_done(part)):
                self._seen.add(part.key)
                self._queue.put((priority, next(self._order), part))

    def resume(self) -> None:
        """Start or continue the processes."""
        if not self._processes:
            self._processes = [self._start() for _ in range(self.workers)]
            for process in self._processes:
                threading.Thread(target=self._serve, args=(process,), daemon=True).start()
        self._signal(signal.SIGCONT)

    def pause(self) -> None:
        """Stop the processes until `resume`."""
        self._signal(signal.SIGSTOP)

    def close(self) -> None:
        """End the processes; parts in the queue wait for the next `resume`."""
        processes, self._processes = self._processes, []
        for _ in processes:
            self._queue.put((_FIRST, next(self._order), None))
        for process in processes:
            process.kill()
            process.wait()

    def _start(self) -> subprocess.Popen[str]:
        # A process group of its own: if this process dies, the kernel continues the stopped group
        # with a hang-up, which ends it; a running worker reads the end of its input.
        return subprocess.Popen(
            ["nice", "-n", "10", sys.executable, "-m", _MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=self.environment,
            process_group=0,
        )

    def _serve(self, process: subprocess.Popen[str]) -> None:
        """Pass parts of the queue to a process until it or the queue ends."""
        assert process.stdin is not None
        assert process.stdout is not None
        while process in self._processes:
            priority, order, part = self._queue.get()
            if part is None or self._is_done(part):
                continue
            try:
                process.stdin.write(part.to_json() + "\n")
                process.stdin.flush()
                answer = process.stdout.readline()
            except (OSError, ValueError):
                answer = ""
            if not answer and process not in self._processes:  # closed: another one compiles it
                self._queue.put((priority, order, part))
            elif not answer:
                self._fail(part, "the process that compiled it ended")
                return
            elif reason := answer.strip():
                self._fail(part, reason)
            else:
                self.compiled.add(part.key)

    def _is_done(self, part: Part) -> bool:
        return part.key in self.compiled or part.key in self.given_up

    def _fail(self, part: Part, reason: str) -> None:
        self.given_up.add(part.key)
        self.failed[part.key] = reason

    def _signal(self, number: signal.Signals) -> None:
        for process in self._processes:
            if process.poll() is None:
                os.killpg(process.pid, number)
