from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import pytest
import threadpoolctl

from hwnas.runner.executors import one_thread, run_all


def work(task: int, report: Callable[[int], None]) -> int:
    report(10 * task)
    if task == 2:
        raise ValueError("two is too many")
    report(10 * task + 1)
    return task


@pytest.mark.parametrize("workers", [1, 2])
def test_one_that_raises_does_not_stop_the_others(workers: int) -> None:
    reports: list[tuple[int, int]] = []
    raised = run_all(
        work, [1, 2, 3], workers=workers, progress=lambda i, done: reports.append((i, done))
    )
    assert raised[0] == 1
    assert raised[2] == 3
    assert isinstance(raised[1], ValueError)
    assert str(raised[1]) == "two is too many"
    assert set(reports) == {(0, 10), (0, 11), (1, 20), (2, 30), (2, 31)}


def note_process(task: str, report: Callable[[int], None]) -> None:
    report(os.getpid())


def test_several_workers_are_other_processes() -> None:
    seen: list[int] = []
    run_all(note_process, ["a", "b"], workers=2, progress=lambda i, pid: seen.append(pid))
    assert len(seen) == 2
    assert os.getpid() not in seen


def die(task: int, report: Callable[[int], None]) -> None:
    os._exit(3)


def test_a_worker_that_dies_is_an_error() -> None:
    raised = run_all(die, [1, 2], workers=2)
    assert all("terminated abruptly" in str(error) for error in raised)


def test_one_thread() -> None:
    np.ones((50, 50)) @ np.ones((50, 50))
    with one_thread():
        inside = [pool["num_threads"] for pool in threadpoolctl.threadpool_info()]
    assert set(inside) == {1}
