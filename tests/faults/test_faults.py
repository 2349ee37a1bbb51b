"""Some of the faults of ``make faults``, and that the suite sees what is lost."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from scenarios import SCENARIOS, Bench, NotInjected, fault_in_one_line, lost_trials

QUICK = [
    ("run killed", "nsga2", "serial"),
    ("worker killed", "random", "process"),
    ("tell raises", "random", "serial"),
    ("disk full", "random", "serial"),
]
SLOW = [
    ("evaluation hangs", "random", "process"),
    ("store truncated", "random", "serial"),
    ("two runs in one directory", "random", "serial"),
    ("disk too small", "random", "serial"),
]


@pytest.mark.skipif(sys.platform != "linux", reason="signals and file systems of Linux")
@pytest.mark.parametrize(
    ("fault", "optimizer", "executor"),
    [*QUICK, *(pytest.param(*fault, marks=pytest.mark.slow) for fault in SLOW)],
)
def test_nothing_is_lost(fault: str, optimizer: str, executor: str, tmp_path: Path) -> None:
    scenario, executors = SCENARIOS[fault]
    assert executor in executors
    try:
        assert not scenario(Bench(tmp_path, optimizer, executor))
    except NotInjected as reason:
        pytest.skip(str(reason))


def test_what_is_lost_is_seen(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    assert not fault_in_one_line(bench.start_run(), 0)
    assert not lost_trials(bench)
    with sqlite3.connect(bench.database()) as database:
        database.execute("DELETE FROM trials WHERE trial = (SELECT max(trial) FROM trials)")
    assert "evaluations, expected" in lost_trials(bench)
    with sqlite3.connect(bench.database()) as database:
        database.execute("UPDATE trials SET code = (SELECT code FROM trials LIMIT 1), repeat = 0")
    assert "twice" in lost_trials(bench)
    assert "exit code 2" in fault_in_one_line(bench.start("run", "nothing.yaml"), 0)
