"""Where searches run: in this process, or side by side in spawned ones.

Every search has one numerical thread wherever it runs, because some results differ in their last
bits with the number of threads, and a proposal with them.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import queue
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from typing import Any, TypeVar

import threadpoolctl

Task = TypeVar("Task")
Progress = Callable[[int, int], None]  # index of the task, how far it is
Function = Callable[[Task, Callable[[int], None]], None]

_messages: Any = None  # in a worker, the queue to the parent


def run_all(
    function: Function[Task],
    tasks: Sequence[Task],
    *,
    workers: int,
    progress: Progress = lambda task, done: None,
) -> list[BaseException | None]:
    """Call ``function(task, report)`` for every task; one that raises does not stop the others.

    Parameters
    ----------
    function
        A module-level function. It may call ``report(done)`` to say how far it is.
    tasks
        Picklable when there is more than one worker.
    workers
        How many processes; 1 runs in this one.
    progress
        Called in this process with the index of a task and what it reported.

    Returns
    -------
    list
        For each task what it raised, or ``None``.
    """
    if workers == 1 or len(tasks) <= 1:
        return [
            _guarded(function, task, lambda done, i=i: progress(i, done))  # type: ignore[misc]
            for i, task in enumerate(tasks)
        ]
    context = multiprocessing.get_context("spawn")  # fork would share locks with BLAS and torch
    messages = context.Queue()

    def pass_on() -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                progress(*messages.get_nowait())

    with ProcessPoolExecutor(
        min(workers, len(tasks)), context, initializer=_listen, initargs=(messages,)
    ) as pool:
        futures = [pool.submit(_work, function, i, task) for i, task in enumerate(tasks)]
        try:
            pending = set(futures)
            while pending:
                pending = wait(pending, timeout=0.1).not_done
                pass_on()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in (pool._processes or {}).values():
                process.terminate()  # what they had told is committed
            raise
    pass_on()  # a worker's last words are in the queue once it has ended
    return [f.exception() or f.result() for f in futures]


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Within, numerical libraries that are loaded use a single thread."""
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else 0
    with threadpoolctl.threadpool_limits(1):
        if torch:
            torch.set_num_threads(1)
        try:
            yield
        finally:
            if torch:
                torch.set_num_threads(threads)


def _guarded(
    function: Function[Task], task: Task, report: Callable[[int], None]
) -> BaseException | None:
    try:
        function(task, report)
    except Exception as error:
        return error
    return None


def _listen(messages: Any) -> None:
    global _messages
    _messages = messages


def _work(function: Function[Task], i: int, task: Task) -> BaseException | None:
    return _guarded(function, task, lambda done: _messages.put((i, done)))
