from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import threadpoolctl

from hwnas.errors import HwnasWarning
from hwnas.runner.executors import one_thread, run_all
from hwnas.runner.workers import WorkerDied


def work(task: int, report: Callable[[int], None]) -> int:
    report(10 * task)
    if task == 2:
        raise ValueError("two is too many")
    report(10 * task + 1)
    return task


@pytest.mark.parametrize("workers", [1, 2])
def test_one_that_raises_does_not_stop_the_others(workers: int) -> None:
    reports: list[tuple[int, int]] = []
    outcomes = run_all(
        work, [1, 2, 3], workers=workers, progress=lambda i, done: reports.append((i, done))
    )
    assert outcomes[::2] == [1, 3]
    if workers == 1:
        assert isinstance(outcomes[1], ValueError)
        assert str(outcomes[1]) == "two is too many"
    else:  # a worker's function is expected to catch its own
        assert isinstance(outcomes[1], WorkerDied)
    assert set(reports) == {(0, 10), (0, 11), (1, 20), (2, 30), (2, 31)}


def note_process(task: str, report: Callable[[int], None]) -> None:
    report(os.getpid())


def test_several_workers_are_other_processes() -> None:
    seen: list[int] = []
    run_all(note_process, ["a", "b"], workers=2, progress=lambda i, pid: seen.append(pid))
    assert len(seen) == 2
    assert os.getpid() not in seen


def die(task: int, report: Callable[[int], None]) -> int:
    if task == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    if task == 3:
        os._exit(7)
    return task


def test_a_worker_that_dies_ends_its_own_task_only() -> None:
    outcomes = run_all(die, [1, 2, 3, 4, 5], workers=2)
    assert [outcomes[i] for i in (0, 3, 4)] == [1, 4, 5]
    assert "by signal SIGKILL; it may have run out of memory" in str(outcomes[1])
    assert "with exit code 7" in str(outcomes[2])


class Awkward:
    def __reduce__(self) -> Any:
        raise ValueError("no bytes")


def test_what_cannot_be_handed_over_runs_here() -> None:
    seen: list[int] = []
    with pytest.warns(HwnasWarning, match="searches run one after another: .*no bytes"):
        outcomes = run_all(
            lambda task, report: seen.append(os.getpid()), [Awkward(), Awkward()], workers=2
        )
    assert outcomes == [None, None]
    assert seen == [os.getpid()] * 2


def test_one_thread() -> None:
    np.ones((50, 50)) @ np.ones((50, 50))
    with one_thread():
        inside = [pool["num_threads"] for pool in threadpoolctl.threadpool_info()]
    assert set(inside) == {1}
