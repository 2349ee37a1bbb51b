"""Tests of the backend that trains: measurements, their order, and recovery from a kill."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import hwnas
import hwnas.testing
from hwnas.backends import metric_of
from hwnas.errors import InvalidInput, MachineFailed, UnknownName
from hwnas.objectives import Objective, parse_constraints, parse_objectives
from hwnas.problem import load_experiment
from hwnas.profiling import measurement_log
from hwnas.profiling.backend import Profile
from hwnas.profiling.errors import Diverged
from hwnas.profiling.meters.memory import PeakMemory
from hwnas.runner.evaluation import measure
from hwnas.runner.storage import Store
from hwnas.spaces import SearchSpace
from hwnas.testing.checks import NotJudged
from hwnas.workloads import BUILT_IN, Workload

SPACE = {
    "name": "tiny",
    "embed_dim": [16, 32],
    "n_layer": [1, 2],
    "mlp_ratio": [1, 2],
    "n_head": [1, 2],
    "bias": [True],
    "head_size": 8,
    "context": 32,
    "vocab_size": 257,
}
LLAMA = {
    "family": "llama",
    "name": "tiny-llama",
    "embed_dim": [16, 32],
    "n_layer": [1, 2],
    "mlp_dim": [32, 64],
    "n_head": [2, 4],
    "n_kv_head": [1, 2],
    "head_size": 8,
    "context": 32,
    "vocab_size": 257,
}
FAMILIES = {"gpt": SPACE, "llama": LLAMA}
SETTINGS: dict[str, Any] = {
    "device": "cpu",
    "training": {"steps": 8, "batch_size": 2, "learning_rate": 1e-2},
    "passes": {"batch_size": 1},
    "within": 0.5,
    "max_seconds": 0.05,
    "threads": 1,
}


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("text") / "text.txt"
    words = ["the", "network", "reads", "some", "text", "and", "says", "what", "comes", "next"]
    rng = np.random.default_rng(0)
    file.write_text("\n\n".join(" ".join(rng.choice(words, size=20)) for _ in range(40)))
    return file


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(params=FAMILIES)
def space(request: pytest.FixtureRequest) -> SearchSpace:
    return hwnas.space(FAMILIES[request.param])


@pytest.fixture
def backend(space: SearchSpace, text: Path) -> Profile:
    return Profile(space, text=str(text), **SETTINGS)


@pytest.fixture
def codes(space: SearchSpace) -> Any:
    return np.unique(space.sample(8, np.random.default_rng(0)), axis=0)[:3]


def seeds(n: int) -> Any:
    return np.arange(n, dtype=np.uint64) + 7


def test_all_metrics_are_measured(backend: Profile, codes: Any) -> None:
    names = ["perplexity", "latency@cpu", "latency@cpu:p90", "bits_per_byte", "params"]
    evaluation = measure(backend, codes, parse_objectives(names), seeds=seeds(3))
    assert evaluation.status == ["ok"] * 3, evaluation.reasons
    perplexity, median, p90, bits, params = evaluation.values.T
    assert (perplexity > 1).all()
    assert (perplexity < 257).all()
    assert (median > 0).all()
    assert (median <= p90).all()
    # Bits a byte count the ends of documents, but divide by bytes.
    assert (bits >= np.log2(perplexity)).all()
    assert params.tolist() == backend.space.params(codes).tolist()
    assert evaluation.std is not None
    assert (evaluation.std[:, 0] == 0).all()
    assert evaluation.seconds is not None
    assert (evaluation.seconds > 0).all()


def test_trial_depends_only_on_its_seed(backend: Profile, codes: Any) -> None:
    wanted = parse_objectives(["perplexity", "params"])
    together = measure(backend, codes, wanted, seeds=seeds(3)).values
    alone = measure(backend, codes[2:], wanted, seeds=seeds(3)[2:]).values
    assert alone[0, 0] == together[2, 0]
    reseeded = measure(backend, codes[2:], wanted, seeds=seeds(1)).values
    assert reseeded[0, 0] != alone[0, 0]


def test_cheapest_metric_is_measured_first(backend: Profile, codes: Any, monkeypatch: Any) -> None:
    order: list[str] = []
    profiler = backend.profiler

    real = profiler.measure

    def counting_measure(model: Any, metric: Any, *arguments: Any, **options: Any) -> Any:
        order.append(metric)
        return real(model, metric, *arguments, **options)

    monkeypatch.setattr(profiler, "measure", counting_measure)
    monkeypatch.setattr(
        "hwnas.profiling.device_profiler.peak_memory",
        lambda *arguments: PeakMemory(300.0, None, 200.0, None, None),  # type: ignore[arg-type]
    )
    wanted = parse_objectives(["perplexity", "latency@cpu"])
    bounds = parse_constraints(["latency@cpu <= 1e-9", "peak_memory@cpu <= 400"])
    evaluation = measure(backend, codes[:1], (*wanted, *bounds), seeds=seeds(1))
    assert order == ["peak_memory", "latency"]  # and no training
    assert evaluation.status == ["infeasible"]
    assert evaluation.reasons is not None
    assert evaluation.reasons[0].startswith("stopped at latency@cpu <= 1e-09: ")
    assert np.isnan(evaluation.values[0, 0])
    assert evaluation.values[0, 3] == 300


def test_constraint_on_params_is_checked_before_measuring(backend: Profile, codes: Any) -> None:
    params = backend.space.params(codes)
    wanted = parse_objectives(["perplexity", "latency@cpu"])
    bound = parse_constraints([f"params <= {sorted(params)[1]}"])
    evaluation = measure(backend, codes, (*wanted, *bound), seeds=seeds(3))
    largest = int(params.argmax())
    expected = ["ok"] * 3
    expected[largest] = "infeasible"
    assert evaluation.status == expected
    assert evaluation.seconds is not None
    assert evaluation.seconds[largest] == 0
    assert evaluation.values[:, 2].tolist() == params.tolist()


def test_rung_continues_from_the_rung_below(
    space: SearchSpace, text: Path, codes: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    backend = Profile(space, text=str(text), rungs=(2, 4), **SETTINGS)
    assert backend.fidelities == (2, 4, 8)
    uninterrupted = measure(
        backend, codes[:1], parse_objectives(["perplexity", "params"]), seeds=seeds(1)
    )
    backend.on_start(tmp_path / "cell")
    steps: list[tuple[int, int]] = []

    def recording_train(
        model: Any, *arguments: Any, real: Any = hwnas.profiling.train, **options: Any
    ) -> Any:
        steps.append((options["checkpoint"].exists(), options["until"]))
        return real(model, *arguments, **options)

    monkeypatch.setattr("hwnas.profiling.trial.train", recording_train)
    perplexities = [
        measure(
            backend,
            codes[:1],
            parse_objectives(["perplexity", "params"]),
            seeds=seeds(1),
            fidelity=fidelity,
        ).values[0, 0]
        for fidelity in (2, 4, 8)
    ]
    assert steps == [(False, 2), (True, 4), (True, 8)]
    assert perplexities[-1] == uninterrupted.values[0, 0]
    assert perplexities[0] > perplexities[-1]
    assert list((tmp_path / "cell" / "checkpoints").iterdir())
    backend.on_end()
    assert not (tmp_path / "cell" / "checkpoints").exists()


def test_failures_are_trials(backend: Profile, codes: Any, monkeypatch: Any) -> None:
    def diverge(*arguments: Any, **options: Any) -> None:
        raise Diverged("the loss is not finite")

    monkeypatch.setattr("hwnas.profiling.trial.train", diverge)
    wanted = parse_objectives(["perplexity", "latency@cpu"])
    evaluation = measure(backend, codes[:2], wanted, seeds=seeds(2))
    assert evaluation.status == ["failed"] * 2
    assert evaluation.reasons == ["Diverged: the loss is not finite"] * 2
    assert (evaluation.values[:, 1] > 0).all()


def test_measurements_are_recorded(backend: Profile, codes: Any, tmp_path: Path) -> None:
    backend.on_start(tmp_path)
    wanted = parse_objectives(["perplexity", "latency@cpu"])
    evaluation = measure(backend, codes[:1], wanted, seeds=seeds(1))
    latency, curve, training = measurement_log.read(tmp_path / "measurements.jsonl")
    assert latency["metric"] == "latency"
    assert latency["value"] == evaluation.values[0, 1]
    assert latency["how"]["protocol"]["threads"] == 1
    assert latency["how"]["environment"]["torch"] == torch.__version__
    assert training["value"] == evaluation.values[0, 0]
    assert training["training"]["step"] == 8
    assert training["how"]["bits_per_byte"] > 0
    assert training["settings"]["seed"] == 7
    # The loss at each report, here after the last of eight steps alone.
    (step, loss, tokens_per_second) = curve["curve"][-1]
    assert (step, loss) == (8, training["training"]["loss"])
    assert tokens_per_second > 0


def test_unavailable_metric_has_a_reason(backend: Profile) -> None:
    backend.missing = {"energy@cpu": "there is no counter"}
    with pytest.raises(InvalidInput, match="energy@cpu cannot be measured here: there is no count"):
        metric_of(backend, Objective.parse("energy@cpu"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device": "tpu"}, "device: expected auto, cpu, cuda or cuda:1, found 'tpu'"),
        ({"training": {"stepz": 3}}, "unknown setting of training: 'stepz'; did you mean 'steps'"),
        ({"training": {"seed": 3}}, "unknown setting of training: 'seed'"),
        ({"training": {"steps": 0}}, "training.steps: expected an integer of at least 1, found 0"),
        ({"passes": {"tokens": 33}}, "passes.tokens: expected at most 32"),
        ({"passes": {"threads": 2}}, "unknown setting of passes: 'threads'"),
        ({"rungs": (4, 2)}, "rungs: expected increasing numbers of steps below the 8"),
        ({"rungs": (2, 9)}, "rungs: expected increasing numbers of steps below the 8"),
        ({"threads": 0}, "threads: expected a positive integer, found 0"),
        ({"checkpoint_every": 0}, "checkpoint_every: expected at least 1, found 0"),
        ({"time_limit": 0.0}, "time_limit: expected a number above 0, found 0.0"),
    ],
)
def test_invalid_settings(space: SearchSpace, settings: dict[str, Any], message: str) -> None:
    with pytest.raises((InvalidInput, UnknownName)) as error:
        Profile(space, **{**SETTINGS, **settings})
    assert message in str(error.value)


def test_invalid_text_fails_at_start(space: SearchSpace, tmp_path: Path) -> None:
    short_file = tmp_path / "short.txt"
    short_file.write_text("a b\n\nc d")
    for file, message in ((short_file, "more than 32 tokens"), (tmp_path / "none", "no such file")):
        with pytest.raises(InvalidInput, match=message):
            Profile(space, text=str(file), **SETTINGS).on_start(tmp_path)
    wide = hwnas.space({**space.to_dict(), "vocab_size": 100})
    with pytest.raises(InvalidInput, match=r"at most 100 tokens, the vocab_size of tiny.*, found"):
        Profile(wide, **SETTINGS).on_start(tmp_path)


def test_other_members_than_language_models_are_refused() -> None:
    mlp = hwnas.space({"name": "mlp", "choices": {"width": [16, 32]}})
    with pytest.raises(InvalidInput, match="measures language models, space mlp has others"):
        Profile(mlp, **SETTINGS)


def experiment(text: Path, **options: Any) -> dict[str, Any]:
    return {
        "name": "trained",
        "space": SPACE,
        "backend": {"type": "profile", "text": str(text), **SETTINGS},
        "objectives": ["perplexity", "params"],
        "optimizers": ["random"],
        "budget": {"evaluations": 3},
        "seeds": [1],
        **options,
    }


def test_searches_do_not_measure_in_parallel(text: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="would disturb each other, expected 1, found 2"):
        hwnas.run(experiment(text), tmp_path / "out", workers=2)


@pytest.mark.parametrize("family", FAMILIES)
def test_halving_continues_when_the_budget_is_spent(
    family: str, text: Path, tmp_path: Path
) -> None:
    settings = experiment(
        text, space=FAMILIES[family], optimizers=["moasha"], budget={"evaluations": 9}
    )
    settings["backend"] |= {"rungs": [2]}
    result = hwnas.run(settings, tmp_path / "out")
    trials = result.searches[0].trials
    assert trials.evaluations.sum() == 9
    at_the_top = trials.fidelity == 8
    assert at_the_top.sum() >= 3
    assert (trials.evaluations[at_the_top] == 0).all()


SEARCH = """
import json, sys
from pathlib import Path
import numpy as np
from hwnas.problem import load_experiment
from hwnas.runner.reference_point import Reference
from hwnas.runner.search_loop import SearchRun, search
experiment = load_experiment(json.loads(sys.argv[1]))[0]
one = np.ones(2)
reference = Reference("given", one, one, one)
search(SearchRun(experiment, experiment.optimizers[0], 1, Path(sys.argv[2]), reference))
"""


def start_search(settings: dict[str, Any], cell: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", SEARCH, json.dumps(settings), str(cell)])


@pytest.mark.parametrize("family", ["gpt", pytest.param("llama", marks=pytest.mark.slow)])
def test_kill_loses_no_trial_and_few_steps(family: str, text: Path, tmp_path: Path) -> None:
    """Killed in the second of three trainings of one ask: the first is stored, it goes on."""
    optimizers = [{"type": "random", "batch": 3}]
    settings = experiment(text, space=FAMILIES[family], optimizers=optimizers)
    settings["backend"] |= {"checkpoint_every": 5}
    settings["backend"]["training"] = {**SETTINGS["training"], "steps": 80}
    assert start_search(settings, tmp_path / "whole").wait() == 0
    cell = tmp_path / "killed"

    def current_step() -> int:
        """Steps of the training that is under way; the one before is over."""
        steps = []
        for file in (cell / "checkpoints").glob("*.pt"):
            # A checkpoint can go between being listed and being read: its training has ended.
            with contextlib.suppress(FileNotFoundError):
                steps.append(torch.load(file, weights_only=True)["step"])
        return min(steps, default=0)

    process = start_search(settings, cell)
    while process.poll() is None and not (count_stored(cell) == 1 and 10 <= current_step() < 60):
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert count_stored(cell) == 1
    step = current_step()
    assert 10 <= step < 80
    assert start_search(settings, cell).wait() == 0
    with Store.open(tmp_path / "whole" / "trials.db") as a, Store.open(cell / "trials.db") as b:
        assert "diverged" not in b.meta
        for name in ("codes", "values", "repeat", "ask", "evaluations"):
            assert np.array_equal(getattr(a.trials(), name), getattr(b.trials(), name)), name
    records = measurement_log.read(cell / "measurements.jsonl")
    trainings = [record for record in records if "training" in record]
    assert len(trainings) == 3  # none came to its end twice
    assert not (cell / "checkpoints").exists()


def count_stored(cell: Path) -> int:
    if not (cell / "trials.db").exists():
        return 0
    with Store.open(cell / "trials.db") as store:
        return len(store.trials())


def test_backend_is_registered(text: Path) -> None:
    assert load_experiment(experiment(text))[0].backend.type == "profile"


def test_constraint_on_the_last_metric_is_reported(backend: Profile, codes: Any) -> None:
    wanted = parse_objectives(["perplexity", "params"])
    bound = parse_constraints(["perplexity <= 1.0"])
    evaluation = measure(backend, codes[:1], (*wanted, *bound), seeds=seeds(1))
    assert evaluation.status == ["ok"]
    assert evaluation.values[0, 2] == evaluation.values[0, 0] > 1


def test_invalid_text_ends_a_run_before_measuring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*arguments: Any) -> None:
        raise AssertionError("measured")

    monkeypatch.setattr("hwnas.profiling.device_profiler.DeviceProfiler.measure", forbidden)
    settings = experiment(tmp_path / "nothing", objectives=["perplexity", "latency@cpu"])
    with pytest.raises(InvalidInput, match="no such file or folder"):
        hwnas.run(settings, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_killed_reference_continues(text: Path, tmp_path: Path, monkeypatch: Any) -> None:
    settings, trained = experiment(text, budget={"evaluations": 1}), []

    def counting_train(
        model: Any, *arguments: Any, real: Any = hwnas.profiling.train, **options: Any
    ) -> Any:
        if len(trained) == 1:
            trained.append("killed")
            raise KeyboardInterrupt
        trained.append(str(model.arch))
        return real(model, *arguments, **options)

    monkeypatch.setattr("hwnas.profiling.trial.train", counting_train)
    with pytest.raises(KeyboardInterrupt):
        hwnas.run(settings, tmp_path / "out")
    with pytest.raises(InvalidInput, match="would disturb each other, expected 1, found 2"):
        hwnas.resume(tmp_path / "out", workers=2)
    resumed = hwnas.resume(tmp_path / "out")
    assert len(trained) == 1 + 1 + 1 + 1  # two for the reference, none twice, and one trial
    uninterrupted = hwnas.run(settings, tmp_path / "whole")
    assert resumed.reference.to_json() == uninterrupted.reference.to_json()


def test_search_cannot_continue_with_another_text(text: Path, tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_bytes(text.read_bytes())
    result = hwnas.run(experiment(file, reference=[300, 1e6]), tmp_path / "out")
    with Store.open(result.searches[0].path / "trials.db") as store:
        store._db.execute("DELETE FROM meta WHERE key = 'finished'")
        store._db.commit()
    file.write_text(text.read_text() + "\n\nand one more document")
    with pytest.raises(InvalidInput, match="rest on other data than there is now"):
        hwnas.resume(tmp_path / "out")


def test_full_disk_ends_the_search(text: Path, tmp_path: Path, monkeypatch: Any) -> None:
    def fill_disk(*arguments: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hwnas.profiling.trial.train", fill_disk)
    with pytest.raises(
        MachineFailed, match=r"No space left on device; solve this and continue with"
    ):
        hwnas.run(experiment(text), tmp_path / "out")


def test_checkpoints_can_be_kept(
    space: SearchSpace, text: Path, codes: Any, tmp_path: Path
) -> None:
    backend = Profile(space, text=str(text), keep_checkpoints=True, **SETTINGS)
    backend.on_start(tmp_path)
    for i in range(2):
        measure(backend, codes[i : i + 1], parse_objectives(["perplexity", "params"]))
    backend.on_end()
    assert len(list((tmp_path / "checkpoints").glob("*.pt"))) == 2


def test_front_refers_to_trials_with_its_values(text: Path, tmp_path: Path) -> None:
    settings = experiment(text, optimizers=["moasha"], budget={"evaluations": 9})
    settings["backend"] |= {"rungs": [2]}
    cell = hwnas.run(settings, tmp_path / "out").searches[0]
    assert (cell.front_trials >= 0).all()
    assert np.array_equal(cell.trials.values[cell.front_trials], cell.front.values)
    assert (cell.trials.fidelity[cell.front_trials] == 8).any()


def test_run_and_resume_of_a_llama_space(text: Path, tmp_path: Path, monkeypatch: Any) -> None:
    settings = experiment(text, space=LLAMA, optimizers=["local_search"])
    whole, trained = hwnas.run(settings, tmp_path / "whole").searches[0], []

    def interrupted(
        model: Any, *arguments: Any, real: Any = hwnas.profiling.train, **options: Any
    ) -> Any:
        trained.append(str(model.arch))
        if len(trained) == 4:  # two for the reference, the second trial
            raise KeyboardInterrupt
        return real(model, *arguments, **options)

    monkeypatch.setattr("hwnas.profiling.trial.train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        hwnas.run(settings, tmp_path / "out")
    resumed = hwnas.resume(tmp_path / "out").searches[0]
    assert len(trained) == 2 + 3 + 1
    assert np.array_equal(resumed.trials.values, whole.trials.values)
    assert np.array_equal(resumed.trials.codes, whole.trials.codes)
    assert all(arch.startswith("tiny-llama-") for arch in trained)


@pytest.mark.parametrize("check", hwnas.testing.backend_checks(), ids=str)
def test_backend_contract(check: Any, space: SearchSpace, text: Path) -> None:
    settings = {**SETTINGS, "training": {"steps": 2, "batch_size": 2}}
    try:
        check("profile", space=space, networks=2, text=str(text), rungs=[1], **settings)
    except NotJudged as reason:
        pytest.skip(str(reason))


# -- workloads -----------------------------------------------------------------------------------

WORKLOADS = {
    "forward": BUILT_IN["forward"],
    "small": Workload(prompt=8, generate=6, batch=2, precision="bfloat16"),
    "pair": Workload(prompt=4, generate=3, batch=1, precision="float32"),
}


@pytest.fixture
def workload_backend(space: SearchSpace, text: Path) -> Profile:
    return Profile(space, text=str(text), workloads=WORKLOADS, **SETTINGS)


def test_metrics_of_workloads(workload_backend: Profile, codes: Any) -> None:
    names = ["tpot.small@cpu", "ttft.small@cpu:p90", "latency.small@cpu", "perplexity.small"]
    names += ["perplexity", "-throughput.pair@cpu", "perplexity.pair", "kv_cache.small"]
    evaluation = measure(workload_backend, codes, parse_objectives(names), seeds=seeds(3))
    assert evaluation.status == ["ok"] * 3, evaluation.reasons
    tpot, ttft, latency, small, plain, throughput, pair, cache = evaluation.values.T
    assert (evaluation.values > 0).all()
    assert (latency >= 5 * tpot).all()
    assert (ttft > 0).all()
    # Weights in bfloat16 predict nearly as well as those of the training.
    assert small == pytest.approx(plain, rel=0.05)
    assert (small != plain).any()
    assert pair == pytest.approx(plain, rel=1e-5)
    assert (throughput < 1e6).all()
    assert (cache > 0).all()
    assert evaluation.std is not None
    assert (evaluation.std[:, 0] > 0).all()
    assert (evaluation.std[:, 3] == 0).all()


def test_a_workload_beyond_the_context(workload_backend: Profile) -> None:
    missing = workload_backend.missing
    assert "context of tiny" in missing["latency.forward@cpu"]
    with pytest.raises(InvalidInput, match=r"1,024 \+ 0 tokens: expected at most 32"):
        metric_of(workload_backend, Objective.parse("latency.forward@cpu"))
    assert "tpot.small@cpu" in workload_backend.metrics
    assert "perplexity.forward" not in workload_backend.metrics


def test_workloads_are_measured_one_after_the_other(
    workload_backend: Profile, codes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    real = workload_backend.profiler.measure

    def counting_measure(model: Any, metric: Any, workload: Any = None, **options: Any) -> Any:
        order.append(f"{metric} {workload.batch}" if workload else metric)
        return real(model, metric, workload, **options)

    monkeypatch.setattr(workload_backend.profiler, "measure", counting_measure)
    names = [
        "tpot.pair@cpu",
        "tpot.small@cpu",
        "latency@cpu",
        "ttft.pair@cpu",
        "ttft.small@cpu:p90",
    ]
    evaluation = measure(workload_backend, codes[:1], parse_objectives(names), seeds=seeds(1))
    assert evaluation.status == ["ok"], evaluation.reasons
    assert order == ["latency", "ttft 2", "tpot 2", "ttft 1", "tpot 1"]
