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
import typer.main
import yaml

import hwnas
from hwnas.cli.main import app
from hwnas.errors import ExperimentError, InvalidInput
from hwnas.experiment import ExecutorEntry
from hwnas.objectives import Objective
from hwnas.problem import Problem
from hwnas.runner.environment import recorded_cluster
from hwnas.runner.executors.choice import check_executor
from hwnas.runner.executors.interface import (
    EvaluatorFactory,
    load_evaluator,
)
from hwnas.runner.executors.ray_files import PortableFactory
from hwnas.runner.storage import Store

pytest.importorskip("ray")
psutil = pytest.importorskip("psutil")

from hwnas.runner.executors.ray import RayExecutor, shared_folder  # noqa: E402

sys.path.insert(0, str(Path(__file__).parent))
from executor_driver import experiment, outcomes, request  # noqa: E402

TAG = "HWNAS_TEST"  # variable of the environment, by which the processes of a test are found
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
        if mood == 6:
            raise RuntimeError("sees GPU " + os.environ["CUDA_VISIBLE_DEVICES"])
        total = codes.sum(axis=1).astype(float)
        if fidelity is not None:
            self.folder.mkdir(exist_ok=True)
            file = self.folder / f"{seeds[0]}"
            total += 0 if not file.exists() else int(file.read_text())
            file.write_text(str(fidelity))
        values = {"error": total, "delay": 1 / (1 + total)}
        return hwnas.Evaluation(np.stack([values[o.metric] for o in objectives], axis=1))
"""


@pytest.fixture
def factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EvaluatorFactory:
    monkeypatch.chdir(tmp_path)
    return EvaluatorFactory(experiment(tmp_path, PLUGIN), tmp_path)


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
    source = experiment(tmp_path, PLUGIN, executor={"type": "ray", "address": address})
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
    factory = PortableFactory.of(EvaluatorFactory(experiment(tmp_path, PLUGIN), tmp_path))
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
    source = experiment(tmp_path, PLUGIN, backend=backend, plugins=[])
    data = PortableFactory.of(EvaluatorFactory(source, tmp_path)).to_bytes()
    (package / "size.py").unlink()
    (package / "__init__.py").unlink()
    package.rmdir()
    assert in_another_process(data, tmp_path / "factory") == "ok"


def test_a_folder_that_a_node_does_not_see_is_named(tmp_path: Path) -> None:
    factory = EvaluatorFactory(experiment(tmp_path, PLUGIN), tmp_path / "elsewhere")
    with pytest.raises(InvalidInput, match="shared: expected a folder that all nodes see"):
        load_evaluator(PortableFactory.of(factory).to_bytes())


LAUNCHERS = Path(__file__).parents[2] / "docs" / "ray"


def assert_is_command(words: list[str]) -> None:
    program, name, *arguments = words
    assert program == "hwnas"
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    command.make_context(name, arguments)


def test_the_script_for_slurm(tmp_path: Path) -> None:
    # Stand-ins for the programs of SLURM print what they are given.
    (tmp_path / "scontrol").write_text("#!/bin/sh\nprintf 'node1\\nnode2\\n'\n")
    (tmp_path / "srun").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    for program in tmp_path.iterdir():
        program.chmod(0o755)
    variables = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_NNODES": "2"}
    for name in ("run", "resume"):
        done = subprocess.run(
            ["bash", str(LAUNCHERS / "slurm.sh")],
            env=variables,
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.stderr == ""
        words = done.stdout.splitlines()
        expected = ["ray", "symmetric-run", "--address", "node1:6379", "--min-nodes", "2", "--"]
        assert words[:7] == expected
        assert words[8] == name
        assert_is_command(words[7:])
        (tmp_path / "runs" / "slurm").mkdir(parents=True, exist_ok=True)


def test_the_manifest_for_kubernetes() -> None:
    job = yaml.safe_load((LAUNCHERS / "kubernetes.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert_is_command(job["spec"]["entrypoint"].split())
    cluster = job["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        (container,) = group["template"]["spec"]["containers"]
        assert container["volumeMounts"][0]["mountPath"] == "/shared"


# -- on clusters -----------------------------------------------------------------------------------


def processes_with(tag: str) -> list[int]:
    """Return the processes that have inherited a variable of the environment and are alive."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if TAG in process.environ() and process.environ()[TAG] == tag:
                found.append(process.pid)
    return [pid for pid in found if psutil.pid_exists(pid) and is_alive(pid)]


def is_alive(pid: int) -> bool:
    with contextlib.suppress(psutil.Error):
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return False


@pytest.fixture
def none_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Fail if processes that a test has started are alive 2 s after it."""
    tag = str(tmp_path)
    monkeypatch.setenv(TAG, tag)
    yield tag
    end = time.monotonic() + 2.0
    while left := processes_with(tag):
        assert time.monotonic() < end, [psutil.Process(pid).cmdline() for pid in left]
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
def cluster(none_left: str) -> Iterator[Any]:
    """Return a cluster of three nodes of two processors each on this machine."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False}
    )
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=2, num_gpus=1)  # Ray only counts them
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
        PLUGIN,
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
def test_workers_share_gpus(factory: EvaluatorFactory, cluster: Any) -> None:
    with RayExecutor(factory, address=cluster.address, cpus=0.0, gpus=0.5) as executor:
        found = outcomes(executor, *(request(n, 6) for n in range(8)))
        end = time.monotonic() + 30
        while executor.slots < 4 and time.monotonic() < end:
            executor.wait(timeout=0.2)
        assert executor.slots == 4
    seen = {outcome.reason.partition(" (")[0] for outcome in found.values()}
    assert seen == {"RuntimeError: sees GPU 0"}


@pytest.mark.slow
def test_checkpoints_in_a_shared_folder(tmp_path: Path, cluster: Any) -> None:
    source = experiment(
        tmp_path,
        PLUGIN,
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
    assert recorded_cluster(tmp_path / "out") == cluster.address  # resume needs no leave again
    with Store.open(tmp_path / "out" / "moasha" / "seed-0" / "trials.db") as store:
        trials = store.trials()
    continued = trials.fidelity == 3
    assert continued.any()
    # A continued trial has found the file of the lower rung, on whatever node.
    expected = trials.codes.sum(axis=1) + continued
    np.testing.assert_array_equal(trials.values[:, 0], expected)
    folders = [*(tmp_path / "shared").iterdir()]
    assert len(folders) == 1, folders
    assert (folders[0] / "removed").exists()  # by `on_end`, in the process of the search


@pytest.mark.slow
def test_a_killed_run_leaves_nothing_and_is_resumed(tmp_path: Path, none_left: str) -> None:
    source = experiment(tmp_path, PLUGIN, backend={"type": "moody", "pause": 0.4})
    (tmp_path / "moody.yaml").write_text(source.to_yaml())
    command = [str(Path(sys.executable).with_name("hwnas")), "run", str(tmp_path / "moody.yaml")]
    command += ["--allow-plugins", "--no-draw", "--quiet", "--out"]
    serial, parallel = tmp_path / "serial", tmp_path / "parallel"
    subprocess.run([*command, str(serial)], check=True)
    settings = "{type: ray, workers: 2}"
    process = subprocess.Popen([*command, str(parallel), "--executor", settings])
    database = parallel / "random" / "seed-0" / "trials.db"
    while process.poll() is None and not (database.exists() and len(trials_of(parallel)) >= 3):
        time.sleep(0.05)
    assert len(processes_with(none_left)) > 5  # the search, the gateway, Ray's, two workers
    process.send_signal(signal.SIGKILL)
    process.wait()
    end = time.monotonic() + 2.0
    while processes_with(none_left):
        assert time.monotonic() < end
        time.sleep(0.05)
    prefix = trials_of(parallel)
    assert len(prefix) < 12
    hwnas.resume(parallel, draw=False)
    codes = trials_of(parallel)
    assert codes[: len(prefix)] == prefix
    assert sorted(codes) == sorted(trials_of(serial))
    assert len(set(codes)) == 12
