"""Executors: searches one after another in this process, or side by side in spawned ones.

Every search has one numerical thread in either case, because some results differ in their last bits
with the number of threads, and then a proposal differs too.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import threadpoolctl

Task = TypeVar("Task")
Outcome = TypeVar("Outcome")
Progress = Callable[[int, int], None]  # index of the task, amount of work that is finished
Function = Callable[[Task, Callable[[int], None]], Outcome]

_messages: Any = None  # in a worker, the queue to the parent


def run_all(
    function: Function[Task, Outcome],
    tasks: Sequence[Task],
    *,
    workers: int,
    progress: Progress = lambda task, n_done: None,
) -> list[Outcome | BaseException]:
    """Call ``function(task, report)`` for every task; an error does not stop the other tasks.

    Parameters
    ----------
    function
        Module-level function. It may call ``report(n_done)`` to show its progress. What it returns
        is picklable when there is more than one worker, and so is what it raises.
    tasks
        Picklable when there is more than one worker.
    workers
        Number of processes; 1 runs in this one.
    progress
        Called in this process with the index of a task and the number that it reported.

    Returns
    -------
    list
        For each task what the function returned, or the error that it or its worker raised.
    """
    # One process: tasks in turn, with no cost of a pool.
    if workers == 1 or len(tasks) <= 1:
        return [
            _call(function, task, lambda n_done, i=i: progress(i, n_done))  # type: ignore[misc]
            for i, task in enumerate(tasks)
        ]
    # Imported here: a run in one process need not wait for it.
    import multiprocessing
    import queue
    from concurrent.futures import ProcessPoolExecutor, wait

    # Several: spawned, because a fork would share locks with BLAS and torch.
    context = multiprocessing.get_context("spawn")
    messages = context.Queue()

    def forward_messages() -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                progress(*messages.get_nowait())

    with ProcessPoolExecutor(
        min(workers, len(tasks)), context, initializer=_connect_worker, initargs=(messages,)
    ) as pool:
        # The pool starts a task as soon as a worker is idle; messages are forwarded meanwhile.
        futures = [pool.submit(_run_in_worker, function, i, task) for i, task in enumerate(tasks)]
        try:
            pending = set(futures)
            while pending:
                pending = wait(pending, timeout=0.1).not_done
                forward_messages()
        # An interrupt ends the workers at once; whatever they have told is committed.
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in (pool._processes or {}).values():
                process.terminate()
            raise
    # The last messages of a worker are in the queue once it has ended.
    forward_messages()
    return [f.exception() or f.result() for f in futures]


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Limit the numerical libraries that are loaded to a single thread within the block."""
    # Torch is never loaded for this: a library that is not loaded has no threads.
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


def _call(
    function: Function[Task, Outcome], task: Task, report: Callable[[int], None]
) -> Outcome | BaseException:
    try:
        return function(task, report)
    except Exception as error:
        return error


def _connect_worker(messages: Any) -> None:
    global _messages
    _messages = messages


def _run_in_worker(function: Function[Task, Outcome], i: int, task: Task) -> Outcome:
    return function(task, lambda n_done: _messages.put((i, n_done)))
