"""Trials on a Ray cluster: dead workers and nodes, time-outs, a killed search, other machines."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hwnas
from hwnas.errors import ExperimentError, InvalidInput
from hwnas.experiment import ExecutorEntry, Experiment, validate_form
from hwnas.objectives import Objective
from hwnas.problem import Problem
from hwnas.runner.executors.choice import check_executor
from hwnas.runner.executors.interface import (
    EvaluatorFactory,
    Executor,
    TrialOutcome,
    TrialRequest,
    load_evaluator,
)
from hwnas.runner.executors.ray_files import PortableFactory
from hwnas.runner.storage import Store

pytest.importorskip("ray")
psutil = pytest.importorskip("psutil")

from hwnas.runner.executors.ray import RayExecutor, shared_folder  # noqa: E402

# What a trial does depends on the seed of its noise: the tests choose it.
PLUGIN = """
import os, signal, sys, time
from pathlib import Path
import numpy as np
import hwnas

@hwnas.register_backend("moody")
class Moody(hwnas.Backend):
    metrics = {"error": hwnas.Metric("", fidelity_dependent=True), "delay": hwnas.Metric("s")}

    def __init__(self, space, *, pause: float = 0.0, rungs: tuple[int, ...] = ()):
        super().__init__(space)
        self.pause = pause
        self.fidelities = rungs or None

    def on_start(self, folder):
        self.folder = folder / "checkpoints"

    def on_end(self):
        for file in self.folder.glob("*"):
            file.rename(self.folder.parent / "removed")

    def evaluate(self, codes, objectives, *, seeds, fidelity=None):
        mood = int(seeds[0])
        time.sleep(self.pause)
        print("printed by a trial")
        if mood == 1:
            raise RuntimeError("bad mood")
        if mood == 2:
            time.sleep(600)
        if mood == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        if mood == 4:
            sys.exit(3)
        if mood == 5 and not os.path.exists("died"):
            Path("died").touch()
            os._exit(7)
        total = codes.sum(axis=1).astype(float)
        if fidelity is not None:
            self.folder.mkdir(exist_ok=True)
            file = self.folder / f"{seeds[0]}"
            total += 0 if not file.exists() else int(file.read_text())
            file.write_text(str(fidelity))
        values = {"error": total, "delay": 1 / (1 + total)}
        return hwnas.Evaluation(np.stack([values[o.metric] for o in objectives], axis=1))
"""


def experiment(folder: Path, **changes: Any) -> Experiment:
    (folder / "moody.py").write_text(PLUGIN)
    content = {
        "name": "moody",
        "space": "gpt-s",
        "backend": {"type": "moody"},
        "objectives": ["error", "delay"],
        "reference": [60.0, 2.0],
        "optimizers": ["random"],
        "budget": {"evaluations": 12},
        "seeds": 1,
        "plugins": [str(folder / "moody.py")],
        **changes,
    }
    return validate_form(content)


@pytest.fixture
def factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EvaluatorFactory:
    monkeypatch.chdir(tmp_path)
    return EvaluatorFactory(experiment(tmp_path), tmp_path)


def request(number: int, mood: int = 99, fidelity: int | None = None) -> TrialRequest:
    code = hwnas.space("gpt-s").sample(1, np.random.default_rng(number))
    return TrialRequest(number, code.tobytes(), 0, mood, fidelity, (0, 1))


def outcomes(executor: Executor, *requests: TrialRequest) -> dict[int, TrialOutcome]:
    found: dict[int, TrialOutcome] = {}
    waiting = list(requests)
    n_running = 0
    while waiting or n_running:
        while waiting and n_running < max(1, executor.slots):
            executor.submit(waiting.pop(0))
            n_running += 1
        for outcome in executor.wait():
            assert outcome.number not in found
            found[outcome.number] = outcome
            n_running -= 1
    return found


# -- without a cluster -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"workers": 0}, "workers: expected at least 1, found 0"),
        ({"cpus": -1.0}, "cpus: expected at least 0, found -1.0"),
        ({"gpus": 1.5}, "gpus: expected a share below 1, or a whole number, found 1.5"),
        ({"retries": -1}, "retries: expected at least 0"),
        ({"timeout": float("nan")}, "timeout: expected seconds above 0, found nan"),
        ({"cpus": 0.0}, "workers: expected a number where cpus and gpus are 0"),
        ({"shared": "here"}, "shared: expected an absolute path, found here"),
        ({"address": "ray://head:10001"}, "address: expected HOST:PORT"),
        ({"address": "head"}, "address: expected HOST:PORT"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        RayExecutor.check(**settings)


def test_a_run_without_its_cluster_does_not_begin(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:  # a port that nobody else takes
        address = f"127.0.0.1:{server.getsockname()[1]}"
    source = experiment(tmp_path, executor={"type": "ray", "address": address})
    with pytest.raises(ExperimentError, match=f"executor: address: nothing answers at {address}"):
        hwnas.run(source, tmp_path / "out", allow_plugins=True)
    assert not (tmp_path / "out").exists()


def test_without_ray_one_line_names_the_extra() -> None:
    code = "import sys; sys.modules['ray'] = None; import hwnas.runner.executors.ray"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1].endswith(
        "executor 'ray' needs ray: pip install \"hwnas[ray]\""
    )


class Meter(hwnas.Backend):
    metrics: Mapping[str, hwnas.Metric] = {
        "latency": hwnas.Metric("ms"),
        "error": hwnas.Metric("", "expensive"),
        "loss": hwnas.Metric("", "expensive"),
    }
    on_hardware = True

    def evaluate(self, codes: Any, objectives: Any, *, seeds: Any, fidelity: Any = None) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("objectives", "settings", "is_fine"),
    [
        (["latency", "error"], {}, False),
        (["latency", "error"], {"gpus": 0.5}, False),
        (["latency", "error"], {"gpus": 1}, True),
        (["loss", "error"], {"gpus": 0.25}, True),
    ],
)
def test_measurements_have_a_device_for_themselves(
    objectives: list[str], settings: dict[str, Any], is_fine: bool
) -> None:
    space = hwnas.space("gpt-s")
    parsed = tuple(Objective.parse(text) for text in objectives)
    problem = Problem(space, Meter(space), Meter(space), parsed, ())
    entry = ExecutorEntry(type="ray", **settings)
    outcome = contextlib.nullcontext() if is_fine else pytest.raises(ExperimentError, match="share")
    with outcome:
        check_executor(entry, problem, 1)


def test_searches_have_folders_of_their_own_in_a_shared_one() -> None:
    searches = [Path("/runs/a/random/seed-0"), Path("/runs/a/random/seed-1"), Path("/b/a/random/0")]
    folders = [shared_folder(Path("/nfs"), search) for search in searches]
    assert len(set(folders)) == 3
    assert {folder.parent for folder in folders} == {Path("/nfs")}


def in_another_process(data: bytes, file: Path) -> str:
    file.write_bytes(data)
    code = (
        "import sys, pathlib\n"
        "from hwnas.runner.executors.interface import TrialRequest, load_evaluator\n"
        "evaluator = load_evaluator(pathlib.Path(sys.argv[1]).read_bytes())\n"
        "code = evaluator.problem.space.sample(1, __import__('numpy').random.default_rng(0))\n"
        "print(evaluator(TrialRequest(0, code.tobytes(), 0, 99, None, (0, 1))).status)\n"
    )
    command = [sys.executable, "-c", code, str(file)]
    done = subprocess.run(command, capture_output=True, text=True)
    return (done.stdout + done.stderr).strip().splitlines()[-1]


def test_plugin_files_are_brought_along(tmp_path: Path) -> None:
    factory = PortableFactory.of(EvaluatorFactory(experiment(tmp_path), tmp_path))
    data = factory.to_bytes()
    (tmp_path / "moody.py").unlink()  # as on another machine
    assert in_another_process(data, tmp_path / "factory") == "ok"


def test_the_module_of_a_function_is_brought_along(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "size.py").write_text("def size(config):\n    return {'error': 1.0, 'delay': 2.0}\n")
    backend = {"type": "python", "function": "package.size:size", "folder": str(tmp_path)}
    backend["returns"] = ["error", "delay"]  # type: ignore[assignment]
    source = experiment(tmp_path, backend=backend, plugins=[])
    data = PortableFactory.of(EvaluatorFactory(source, tmp_path)).to_bytes()
    (package / "size.py").unlink()
    (package / "__init__.py").unlink()
    package.rmdir()
    assert in_another_process(data, tmp_path / "factory") == "ok"


def test_a_folder_that_a_node_does_not_see_is_named(tmp_path: Path) -> None:
    factory = EvaluatorFactory(experiment(tmp_path), tmp_path / "elsewhere")
    with pytest.raises(InvalidInput, match="shared: expected a folder that all nodes see"):
        load_evaluator(PortableFactory.of(factory).to_bytes())


# -- on clusters -----------------------------------------------------------------------------------


def processes_of_ray() -> set[int]:
    """Return the processes of any cluster on this machine that are alive."""
    found = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            command = " ".join(process.cmdline())
            is_ray = command.startswith("ray::") or "site-packages/ray/" in command
            if (is_ray or "ray_gateway" in command) and process.status() != psutil.STATUS_ZOMBIE:
                found.add(process.pid)
    return found


@pytest.fixture
def none_left() -> Iterator[None]:
    """Fail if processes are left 2 s after a test."""
    before = processes_of_ray()
    yield
    end = time.monotonic() + 2.0
    while left := processes_of_ray() - before:
        assert time.monotonic() < end, [psutil.Process(p).cmdline() for p in left]
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.usefixtures("none_left")
def test_trials_fail_alone(factory: EvaluatorFactory, capfd: pytest.CaptureFixture[str]) -> None:
    moods = {0: 99, 1: 1, 2: 2, 3: 3, 4: 99, 5: 5, 6: 4, 7: 99}
    with RayExecutor(factory, workers=2, timeout=2.0, retries=1) as executor:
        found = outcomes(executor, *(request(n, mood) for n, mood in moods.items()))
        executor.submit(request(8, 2))
        assert executor.wait(timeout=0.05) == []
        executor.close()  # twice
    assert sorted(found) == sorted(moods)
    assert {n for n, outcome in found.items() if outcome.status == "ok"} == {0, 4, 5, 7}
    assert found[1].reason.startswith("RuntimeError: bad mood (")
    assert found[2].reason == "timed out after 2 s"
    assert found[3].reason.startswith("its worker died 2 times: ")
    assert found[6].reason.startswith("its worker died 2 times: ")
    for outcome in found.values():
        assert "\n" not in outcome.reason
    assert capfd.readouterr() == ("", "")  # what Ray and trials print goes elsewhere


@pytest.mark.slow
@pytest.mark.usefixtures("none_left")
def test_a_worker_that_cannot_build_the_problem_says_why(
    factory: EvaluatorFactory, tmp_path: Path
) -> None:
    (tmp_path / "moody.py").write_text("import hwnas\nraise ValueError('no mood')\n")
    with pytest.raises(InvalidInput, match=r"cannot build the problem: .*no mood"):
        RayExecutor(factory, workers=1)


@pytest.mark.slow
@pytest.mark.usefixtures("none_left")
def test_more_gpus_than_there_are(factory: EvaluatorFactory) -> None:
    with pytest.raises(InvalidInput, match="1 workers with 1 CPUs and 64 GPUs each are more than"):
        RayExecutor(factory, workers=1, gpus=64.0)


def trials_of(folder: Path) -> list[bytes]:
    with Store.open(folder / "random" / "seed-0" / "trials.db") as store:
        return [row.tobytes() for row in store.trials().codes]


@pytest.fixture
def cluster(none_left: None) -> Iterator[Any]:
    """Return a cluster of three nodes of two processors each on this machine."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False}
    )
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=2)
        yield cluster
    finally:
        children = psutil.Process().children(recursive=True)
        cluster.shutdown()
        for child in children:  # agents outlive their node for a while
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        psutil.wait_procs(children, timeout=5)


@pytest.mark.slow
def test_every_trial_is_there_once_when_a_node_dies(tmp_path: Path, cluster: Any) -> None:
    source = experiment(
        tmp_path,
        backend={"type": "moody", "pause": 0.5},
        budget={"evaluations": 40},
        executor={"type": "ray", "address": cluster.address},
    )
    seen: list[int] = []

    def lose_a_node(run: object, evaluations: int) -> None:
        if evaluations >= 8 and not seen:
            seen.append(evaluations)
            cluster.remove_node(list(cluster.worker_nodes)[-1], allow_graceful=False)

    out = tmp_path / "out"
    result = hwnas.run(source, out, progress=lose_a_node, draw=False, allow_plugins=True)
    assert seen
    assert result.summary[0]["evaluations"] == 40
    assert len(set(trials_of(out))) == 40
    with Store.open(out / "random" / "seed-0" / "trials.db") as store:
        assert set(store.trials().status) == {"ok"}


@pytest.mark.slow
def test_checkpoints_in_a_shared_folder(tmp_path: Path, cluster: Any) -> None:
    source = experiment(
        tmp_path,
        backend={"type": "moody", "rungs": [1, 3]},
        optimizers=["moasha"],
        executor={
            "type": "ray",
            "address": cluster.address,
            "workers": 3,
            "cpus": 2,  # one a node
            "shared": str(tmp_path / "shared"),
        },
    )
    hwnas.run(source, tmp_path / "out", draw=False, allow_plugins=True)
    with Store.open(tmp_path / "out" / "moasha" / "seed-0" / "trials.db") as store:
        trials = store.trials()
    continued = trials.fidelity == 3
    assert continued.any()
    # A continued trial has found the file of the lower rung, on whatever node.
    expected = trials.codes.sum(axis=1) + continued
    np.testing.assert_array_equal(trials.values[:, 0], expected)
    (folder,) = (tmp_path / "shared").iterdir()
    assert (folder / "removed").exists()  # by `on_end`, in the process of the search


@pytest.mark.slow
@pytest.mark.usefixtures("none_left")
def test_a_killed_run_leaves_nothing_and_is_resumed(tmp_path: Path) -> None:
    source = experiment(tmp_path, backend={"type": "moody", "pause": 0.4})
    (tmp_path / "moody.yaml").write_text(source.to_yaml())
    command = [str(Path(sys.executable).with_name("hwnas")), "run", str(tmp_path / "moody.yaml")]
    command += ["--allow-plugins", "--no-draw", "--quiet", "--out"]
    serial, parallel = tmp_path / "serial", tmp_path / "parallel"
    subprocess.run([*command, str(serial)], check=True)
    before = processes_of_ray()
    settings = "{type: ray, workers: 2}"
    process = subprocess.Popen([*command, str(parallel), "--executor", settings])
    database = parallel / "random" / "seed-0" / "trials.db"
    while process.poll() is None and not (database.exists() and len(trials_of(parallel)) >= 3):
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    end = time.monotonic() + 2.0
    while processes_of_ray() - before:
        assert time.monotonic() < end
        time.sleep(0.05)
    prefix = trials_of(parallel)
    assert len(prefix) < 12
    hwnas.resume(parallel, draw=False)
    codes = trials_of(parallel)
    assert codes[: len(prefix)] == prefix
    assert sorted(codes) == sorted(trials_of(serial))
    assert len(set(codes)) == 12
