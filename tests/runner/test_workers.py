"""Runs with workers: their processes end with the run, whatever ends it, and nothing is lost."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from foreground import HWNAS

import hwnas
from hwnas import registry
from hwnas.errors import InvalidInput
from hwnas.runner.results import Result

PLUGIN = """
import time
import hwnas

@hwnas.register_backend("slow")
class Slow(hwnas.Backend):
    metrics = {"a": hwnas.Metric(""), "b": hwnas.Metric("")}

    def evaluate(self, codes, objectives, *, seeds, fidelity=None):
        time.sleep(0.05 * len(codes))
        return hwnas.Evaluation(codes[:, :2] + 1.0)
"""
EXPERIMENT: dict[str, Any] = {
    "name": "x",
    "space": "gpt-s",
    "backend": "slow",
    "objectives": ["a", "b"],
    "optimizers": ["random"],
    "budget": {"evaluations": 60},
    "seeds": 2,
}


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> subprocess.Popen[str]:
    """A run with two workers of slow evaluations, some of which are stored."""
    registry.replace_registered({})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "slow.py").write_text(PLUGIN)
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(EXPERIMENT))
    process = subprocess.Popen(
        [*HWNAS, "run", "x.yaml", "--plugin", "slow.py", "--workers", "2", "--out", "run"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    deadline = time.monotonic() + 60
    while min(stored(tmp_path / "run")) < 5:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


def stored(run: Path) -> list[int]:
    """Return the number of committed trials of each seed."""
    counts = []
    for seed in (0, 1):
        file = run / "random" / f"seed-{seed}" / "trials.db"
        if not file.exists():
            counts.append(0)
            continue
        database = sqlite3.connect(file)
        counts.append(database.execute("SELECT count(*) FROM trials").fetchone()[0])
        database.close()
    return counts


def processes_of(run: Path) -> list[int]:
    """Return the processes that hold a file of a run open."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                files = [os.readlink(file) for file in (process / "fd").iterdir()]
            except OSError:
                continue
            if any(file.startswith(str(run)) for file in files):
                found.append(int(process.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="looks for processes in /proc")
@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGHUP", "SIGINT"])
def test_a_signal_ends_every_process_and_resume_goes_on(
    name: str, started: subprocess.Popen[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert len(processes_of(run)) == 3
    with pytest.raises(InvalidInput, match="another process is running here"):
        hwnas.resume(run)
    started.send_signal(signal.Signals[name])
    sent = time.monotonic()
    while processes_of(run):
        assert time.monotonic() - sent < 2
        time.sleep(0.02)
    _, err = started.communicate(timeout=10)
    if name == "SIGKILL":
        assert started.returncode == -signal.SIGKILL
    else:
        assert started.returncode == 2
        assert err.endswith(
            "hwnas: stopped; finished trials are kept, continue with: hwnas resume DIR\n"
        )
    before = stored(run)
    assert all(5 <= n < 60 for n in before)
    result = hwnas.resume(run, workers=2, draw=False)
    whole = hwnas.run(EXPERIMENT, tmp_path / "whole", plugins=["slow.py"], draw=False)
    for search, expected in zip(result.searches, whole.searches, strict=True):
        assert search.status == "done"
        np.testing.assert_array_equal(search.trials.codes, expected.trials.codes)
        np.testing.assert_array_equal(search.trials.values, expected.trials.values)


SCRIPT = """
import hwnas

@hwnas.register_optimizer("own")
class Own(hwnas.Optimizer):
    def __init__(self, space, n_objectives, *, seed, n_constraints=0):
        super().__init__(space, n_objectives, seed=seed, n_constraints=n_constraints)

    def ask(self, n):
        return self.space.sample(1, self.rng)

result = hwnas.run(
    {"name": "x", "space": "gpt-s", "objectives": ["perplexity", "latency@h100"],
     "optimizers": ["own", "random"], "budget": {"evaluations": 10}, "seeds": 2},
    "run", workers=2, draw=False,
)
print([row["status"] for row in result.summary])
"""
DAEMON = """
import multiprocessing

def work(_):
    import hwnas
    result = hwnas.run("quickstart", "run", workers=2, draw=False,
                       overrides={"budget.evaluations": 10, "optimizers": ["random"]})
    return [row["status"] for row in result.summary] * 2

if __name__ == "__main__":
    with multiprocessing.Pool(1) as pool:  # its processes are daemonic
        print(pool.map(work, [0])[0])
"""


@pytest.mark.parametrize("form", ["file", "interpreter", "daemon"])
def test_workers_need_no_guard_and_no_importable_class(form: str, tmp_path: Path) -> None:
    script = DAEMON if form == "daemon" else SCRIPT
    (tmp_path / "script.py").write_text(script)
    command = [sys.executable, "-"] if form == "interpreter" else [sys.executable, "script.py"]
    done = subprocess.run(
        command,
        input=script,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        timeout=120,
        check=False,
    )
    assert done.stdout == "['done', 'done', 'done', 'done']\n", done.stderr
    assert done.stderr == ""


def test_a_worker_that_dies_ends_its_own_search(tmp_path: Path) -> None:
    registry.replace_registered({})
    file = tmp_path / "dies.py"
    file.write_text(
        "import os\nimport hwnas\n\n"
        '@hwnas.register_optimizer("dies")\n'
        "class Dies(hwnas.Optimizer):\n"
        "    def ask(self, n):\n"
        "        if len(self.history) == 5:\n"
        "            os.kill(os.getpid(), 9)\n"
        "        return self.space.sample(1, self.rng)\n"
    )
    content = EXPERIMENT | {"backend": "surrogate", "objectives": ["perplexity", "latency@h100"]}
    content |= {"optimizers": ["dies", "random"], "seeds": 1}
    with pytest.raises(hwnas.api.SearchFailed, match=r"1 of 2 searches failed.*SIGKILL"):
        hwnas.run(content, tmp_path / "run", plugins=[file], workers=2, draw=False)
    assert [len(s.trials) for s in Result(tmp_path / "run").searches] == [5, 60]
