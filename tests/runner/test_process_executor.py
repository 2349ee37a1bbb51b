"""Trials in worker processes: time-outs, dead workers, limits of memory, and the command line."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import hwnas
from hwnas.errors import ExperimentError, InvalidInput
from hwnas.runner.executors.interface import EvaluatorFactory
from hwnas.runner.executors.process import ProcessExecutor, memory_bytes
from hwnas.runner.storage import Store

sys.path.insert(0, str(Path(__file__).parent))
from executor_driver import experiment, outcomes, request

# What a trial does depends on the seed of its noise: the tests choose it.
PLUGIN = """
import os, signal, time
import numpy as np
import hwnas

@hwnas.register_backend("moody")
class Moody(hwnas.Backend):
    metrics = {"error": hwnas.Metric(""), "delay": hwnas.Metric("s")}
    side_by_side = True

    def __init__(self, space, *, pause: float = 0.0):
        super().__init__(space)
        self.pause = pause

    def evaluate(self, codes, objectives, *, seeds, fidelity=None):
        mood = int(seeds[0])
        time.sleep(self.pause)
        if mood == 1:
            raise RuntimeError("bad mood")
        if mood == 2:
            time.sleep(600)
        if mood == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        if mood == 4:
            bytearray(8 * 10**9)
        if mood == 5 and not os.path.exists("died"):
            open("died", "w").close()
            os._exit(7)
        if mood == 6:
            return undefined
        total = codes.sum(axis=1).astype(float)
        return hwnas.Evaluation(np.stack([total, 1 / (1 + total)], axis=1))
"""


@pytest.fixture
def factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EvaluatorFactory:
    monkeypatch.chdir(tmp_path)
    return EvaluatorFactory(experiment(tmp_path, PLUGIN), tmp_path)


def test_trials_fail_alone(factory: EvaluatorFactory) -> None:
    moods = {0: 99, 1: 1, 2: 2, 3: 3, 4: 99, 5: 5, 6: 6, 7: 99}
    with ProcessExecutor(factory, workers=2, timeout=1.0) as executor:
        found = outcomes(executor, *(request(n, mood) for n, mood in moods.items()))
    assert sorted(found) == sorted(moods)
    assert {n for n, outcome in found.items() if outcome.status == "ok"} == {0, 4, 5, 7}
    assert found[1].reason.startswith("RuntimeError: bad mood (")
    assert "moody.py" in found[1].reason
    assert not found[1].is_programming_error
    assert found[2].reason == "timed out after 1 s"
    assert found[2].seconds >= 1.0
    assert "died twice: its process ended by signal SIGKILL" in found[3].reason
    assert found[6].is_programming_error


def test_a_limit_of_memory_fails_the_trial_that_exceeds_it(factory: EvaluatorFactory) -> None:
    with ProcessExecutor(factory, workers=1, memory="2 GB") as executor:
        found = outcomes(executor, request(0, 4), request(1))
    assert found[0].reason.startswith("needs more memory than the limit of 2 GB: MemoryError")
    assert found[1].status == "ok"


def test_a_wait_can_end_without_an_outcome(factory: EvaluatorFactory) -> None:
    with ProcessExecutor(factory, workers=1) as executor:
        executor.submit(request(0, 2))
        assert executor.wait(timeout=0.05) == []
        executor.close()  # twice


def test_a_worker_that_cannot_build_the_problem_says_why(
    factory: EvaluatorFactory, tmp_path: Path
) -> None:
    (tmp_path / "moody.py").write_text("import hwnas\nraise ValueError('no mood')\n")
    with (
        ProcessExecutor(factory, workers=1) as executor,
        pytest.raises(InvalidInput, match=r"a worker cannot build the problem: .*no mood"),
    ):
        outcomes(executor, request(0))


@pytest.mark.parametrize("text", ["2", "GB", "-1 GB", "2 gb", "nan GB", "inf GB", ""])
def test_sizes_of_memory(text: str) -> None:
    with pytest.raises(InvalidInput, match="expected a size such as 2 GB"):
        memory_bytes(text)


@pytest.mark.parametrize(
    ("executor", "message"),
    [
        ("proces", "executor: unknown executor 'proces'; did you mean 'process'"),
        ({"type": "process", "workers": "four"}, "setting 'workers' of executor 'process'"),
        ({"type": "process", "worker": 4}, "unknown setting of executor 'process'"),
        ({"type": "serial", "workers": 4}, "serial takes no settings"),
        (7, "expected serial, process or ray"),
    ],
)
def test_faults_of_the_key_are_named(tmp_path: Path, executor: Any, message: str) -> None:
    with pytest.raises(ExperimentError, match=message):
        hwnas.run(
            experiment(tmp_path, PLUGIN, executor=executor), tmp_path / "out", allow_plugins=True
        )
    assert not (tmp_path / "out").exists()


def test_workers_belong_to_the_executor(tmp_path: Path) -> None:
    source = experiment(tmp_path, PLUGIN, executor="process")
    with pytest.raises(ExperimentError, match="--workers is 1, found 2"):
        hwnas.run(source, tmp_path / "out", workers=2, allow_plugins=True)


# -- whole runs ------------------------------------------------------------------------------------


def trials_of(folder: Path) -> list[bytes]:
    with Store.open(folder / "random" / "seed-0" / "trials.db") as store:
        return [row.tobytes() for row in store.trials().codes]


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    content = experiment(tmp_path, PLUGIN, backend={"type": "moody", "pause": 0.15})
    (tmp_path / "moody.yaml").write_text(content.to_yaml())
    hwnas_command = str(Path(sys.executable).with_name("hwnas"))
    return [hwnas_command, "run", str(tmp_path / "moody.yaml"), "--allow-plugins", "--no-draw"]


def test_a_killed_run_is_resumed_and_every_trial_is_there_once(
    command: list[str], tmp_path: Path
) -> None:
    serial, parallel = tmp_path / "serial", tmp_path / "parallel"
    subprocess.run([*command, "--quiet", "--out", str(serial)], check=True)
    settings = "{type: process, workers: 3}"
    process = subprocess.Popen(
        [*command, "--quiet", "--out", str(parallel), "--executor", settings]
    )
    database = parallel / "random" / "seed-0" / "trials.db"
    while process.poll() is None and not (database.exists() and len(trials_of(parallel)) >= 4):
        time.sleep(0.02)
    workers = children_of(process.pid)
    assert len(workers) == 3
    process.send_signal(signal.SIGKILL)
    process.wait()
    prefix = trials_of(parallel)
    assert len(prefix) < 12
    end = time.monotonic() + 2.0
    while any(map(is_alive, workers)):
        assert time.monotonic() < end
    result = hwnas.resume(parallel, draw=False)
    assert result.summary[0]["evaluations"] == 12
    codes = trials_of(parallel)
    assert codes[: len(prefix)] == prefix
    assert len(set(codes)) == 12
    # Random search does not depend on results: the trials are the serial ones, in another order.
    assert sorted(codes) == sorted(trials_of(serial))
    assert "type: process" in (parallel / "experiment.yaml").read_text()


def test_another_executor_is_no_other_problem(command: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    subprocess.run([*command, "--quiet", "--out", str(out), "--executor", "process"], check=True)
    result = hwnas.resume(
        out, overrides={"executor": "serial", "budget.evaluations": 15}, draw=False
    )
    assert result.summary[0]["evaluations"] == 15
    assert len(set(trials_of(out))) == 15


def children_of(parent: int) -> list[int]:
    tasks = Path(f"/proc/{parent}/task").glob("*/children")
    return [int(child) for file in tasks for child in file.read_text().split()]


def is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"  # ended, but nobody has asked for its exit code
