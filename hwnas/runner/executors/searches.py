"""Whole searches one after another in this process, or side by side in workers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TypeVar

from hwnas.errors import HwnasWarning

Task = TypeVar("Task")
Outcome = TypeVar("Outcome")
Progress = Callable[[int, int], None]  # index of the task, amount of work that is finished
Function = Callable[[Task, Callable[[int], None]], Outcome]


def run_all(
    function: Function[Task, Outcome],
    tasks: Sequence[Task],
    *,
    workers: int,
    progress: Progress = lambda task, n_done: None,
) -> list[Outcome | Exception]:
    """Call ``function(task, report)`` for every task; an error does not stop the other tasks.

    Parameters
    ----------
    function
        Module-level function. It may call ``report(n_done)`` to show its progress. With more than
        one worker what it returns is picklable and it raises nothing.
    tasks
        Picklable when there is more than one worker.
    workers
        Number of processes; 1 runs in this one.
    progress
        Called in this process with the index of a task and the number that it reported.

    Returns
    -------
    list
        For each task what the function returned, or the error that ended it.
    """
    # One process: tasks in turn, without the cost of starting others.
    if workers == 1 or len(tasks) <= 1:
        return [
            _call(function, task, lambda n_done, i=i: progress(i, n_done))  # type: ignore[misc]
            for i, task in enumerate(tasks)
        ]
    from hwnas.runner.workers import NotPicklable, run_in_workers

    try:
        return run_in_workers(function, tasks, workers=workers, progress=progress)
    except NotPicklable as error:
        warnings.warn(f"searches run one after another: {error}", HwnasWarning, stacklevel=2)
        return run_all(function, tasks, workers=1, progress=progress)


def _call(
    function: Function[Task, Outcome], task: Task, report: Callable[[int], None]
) -> Outcome | Exception:
    try:
        return function(task, report)
    except Exception as error:
        return error
