"""The backend that trains: what it measures, in which order, and what outlasts a kill."""

from __future__ import annotations

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


@pytest.fixture
def space() -> SearchSpace:
    return hwnas.space(SPACE)


@pytest.fixture
def backend(space: SearchSpace, text: Path) -> Profile:
    return Profile(space, text=str(text), **SETTINGS)


@pytest.fixture
def codes(space: SearchSpace) -> Any:
    return np.unique(space.sample(8, np.random.default_rng(0)), axis=0)[:3]


def seeds(n: int) -> Any:
    return np.arange(n, dtype=np.uint64) + 7


def test_it_measures(backend: Profile, codes: Any) -> None:
    names = ["perplexity", "latency@cpu", "latency@cpu:p90", "bits_per_byte", "params"]
    found = measure(backend, codes, parse_objectives(names), seeds=seeds(3))
    assert found.status == ["ok"] * 3, found.reasons
    perplexity, median, p90, bits, params = found.values.T
    assert (perplexity > 1).all()
    assert (perplexity < 257).all()
    assert (median > 0).all()
    assert (median <= p90).all()
    # Bits a byte count the ends of documents, but divide by bytes.
    assert (bits >= np.log2(perplexity)).all()
    assert params.tolist() == backend.space.params(codes).tolist()
    assert found.std is not None
    assert (found.std[:, 0] == 0).all()
    assert found.seconds is not None
    assert (found.seconds > 0).all()


def test_a_trial_depends_on_its_seed_alone(backend: Profile, codes: Any) -> None:
    wanted = parse_objectives(["perplexity", "params"])
    together = measure(backend, codes, wanted, seeds=seeds(3)).values
    alone = measure(backend, codes[2:], wanted, seeds=seeds(3)[2:]).values
    assert alone[0, 0] == together[2, 0]
    other = measure(backend, codes[2:], wanted, seeds=seeds(1)).values
    assert other[0, 0] != alone[0, 0]


def test_what_costs_least_comes_first(backend: Profile, codes: Any, monkeypatch: Any) -> None:
    order: list[str] = []
    bench = backend.bench

    def measured(model: Any, metric: str, real: Any = bench.measure) -> Any:
        order.append(metric)
        return real(model, metric)

    monkeypatch.setattr(bench, "measure", measured)
    monkeypatch.setattr(
        "hwnas.profiling.device_profiler.peak_memory",
        lambda *given: PeakMemory(300.0, None, 200.0, None, None),  # type: ignore[arg-type]
    )
    wanted = parse_objectives(["perplexity", "latency@cpu"])
    bounds = parse_constraints(["latency@cpu <= 1e-9", "peak_memory@cpu <= 400"])
    found = measure(backend, codes[:1], (*wanted, *bounds), seeds=seeds(1))
    assert order == ["peak_memory", "latency"]  # and no training
    assert found.status == ["infeasible"]
    assert found.reasons is not None
    assert found.reasons[0].startswith("stopped at latency@cpu <= 1e-09: ")
    assert np.isnan(found.values[0, 0])
    assert found.values[0, 3] == 300


def test_a_bound_on_params_comes_before_all(backend: Profile, codes: Any) -> None:
    params = backend.space.params(codes)
    wanted = parse_objectives(["perplexity", "latency@cpu"])
    bound = parse_constraints([f"params <= {sorted(params)[1]}"])
    found = measure(backend, codes, (*wanted, *bound), seeds=seeds(3))
    largest = int(params.argmax())
    expected = ["ok"] * 3
    expected[largest] = "infeasible"
    assert found.status == expected
    assert found.seconds is not None
    assert found.seconds[largest] == 0
    assert found.values[:, 2].tolist() == params.tolist()


def test_a_rung_goes_on_from_the_one_below(
    space: SearchSpace, text: Path, codes: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    backend = Profile(space, text=str(text), rungs=(2, 4), **SETTINGS)
    assert backend.fidelities == (2, 4, 8)
    whole = measure(backend, codes[:1], parse_objectives(["perplexity", "params"]), seeds=seeds(1))
    backend.on_start(tmp_path / "cell")
    steps: list[tuple[int, int]] = []

    def trained(model: Any, *given: Any, real: Any = hwnas.profiling.train, **how: Any) -> Any:
        before = how["checkpoint"].exists()
        steps.append((before, how["until"]))
        return real(model, *given, **how)

    monkeypatch.setattr("hwnas.profiling.trial.train", trained)
    found = [
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
    assert found[-1] == whole.values[0, 0]
    assert found[0] > found[-1]
    assert list((tmp_path / "cell" / "checkpoints").iterdir())
    backend.on_end()
    assert not (tmp_path / "cell" / "checkpoints").exists()


def test_failures_are_trials(backend: Profile, codes: Any, monkeypatch: Any) -> None:
    def diverge(*given: Any, **how: Any) -> None:
        raise Diverged("the loss is not finite")

    monkeypatch.setattr("hwnas.profiling.trial.train", diverge)
    wanted = parse_objectives(["perplexity", "latency@cpu"])
    found = measure(backend, codes[:2], wanted, seeds=seeds(2))
    assert found.status == ["failed"] * 2
    assert found.reasons == ["Diverged: the loss is not finite"] * 2
    assert (found.values[:, 1] > 0).all()


def test_everything_is_recorded(backend: Profile, codes: Any, tmp_path: Path) -> None:
    backend.on_start(tmp_path)
    wanted = parse_objectives(["perplexity", "latency@cpu"])
    found = measure(backend, codes[:1], wanted, seeds=seeds(1))
    latency, trained = measurement_log.read(tmp_path / "measurements.jsonl")
    assert latency["metric"] == "latency"
    assert latency["value"] == found.values[0, 1]
    assert latency["how"]["protocol"]["threads"] == 1
    assert latency["how"]["environment"]["torch"] == torch.__version__
    assert trained["value"] == found.values[0, 0]
    assert trained["training"]["step"] == 8
    assert trained["how"]["bits_per_byte"] > 0
    assert trained["settings"]["seed"] == 7


def test_what_cannot_be_measured_says_why(backend: Profile) -> None:
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
def test_wrong_settings(space: SearchSpace, settings: dict[str, Any], message: str) -> None:
    with pytest.raises((InvalidInput, UnknownName)) as error:
        Profile(space, **{**SETTINGS, **settings})
    assert message in str(error.value)


def test_wrong_text_is_said_at_once(space: SearchSpace, tmp_path: Path) -> None:
    short = tmp_path / "short.txt"
    short.write_text("a b\n\nc d")
    for file, message in ((short, "more than 32 tokens"), (tmp_path / "none", "no such file")):
        with pytest.raises(InvalidInput, match=message):
            Profile(space, text=str(file), **SETTINGS).on_start(tmp_path)
    wide = hwnas.space({**SPACE, "vocab_size": 100})
    with pytest.raises(InvalidInput, match="at most 100 tokens, the vocab_size of tiny, found 257"):
        Profile(wide, **SETTINGS).on_start(tmp_path)


def experiment(text: Path, **more: Any) -> dict[str, Any]:
    return {
        "name": "trained",
        "space": SPACE,
        "backend": {"type": "profile", "text": str(text), **SETTINGS},
        "objectives": ["perplexity", "params"],
        "optimizers": ["random"],
        "budget": {"evaluations": 3},
        "seeds": [1],
        **more,
    }


def test_no_two_searches_measure_beside_each_other(text: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="would disturb each other, expected 1, found 2"):
        hwnas.run(experiment(text), tmp_path / "out", workers=2)


def test_halving_goes_on_when_the_budget_of_networks_is_spent(text: Path, tmp_path: Path) -> None:
    given = experiment(text, optimizers=["moasha"], budget={"evaluations": 9})
    given["backend"] |= {"rungs": [2]}
    result = hwnas.run(given, tmp_path / "out")
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


def searching(given: dict[str, Any], cell: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", SEARCH, json.dumps(given), str(cell)])


def test_a_kill_loses_no_trial_and_few_steps(text: Path, tmp_path: Path) -> None:
    """Killed in the second of three trainings of one ask: the first is stored, it goes on."""
    given = experiment(text, optimizers=[{"type": "random", "batch": 3}])
    given["backend"] |= {"checkpoint_every": 5}
    given["backend"]["training"] = {**SETTINGS["training"], "steps": 80}
    assert searching(given, tmp_path / "whole").wait() == 0
    cell = tmp_path / "killed"

    def reached() -> int:
        """Steps of the training that is under way; the one before is over."""
        files = (cell / "checkpoints").glob("*.pt")
        return min((torch.load(file, weights_only=True)["step"] for file in files), default=0)

    process = searching(given, cell)
    while process.poll() is None and not (stored(cell) == 1 and 10 <= reached() < 80):
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert stored(cell) == 1
    before = reached()
    assert 10 <= before < 80
    assert searching(given, cell).wait() == 0
    with Store.open(tmp_path / "whole" / "trials.db") as one, Store.open(cell / "trials.db") as two:
        assert "diverged" not in two.meta
        for name in ("codes", "values", "repeat", "ask", "evaluations"):
            assert np.array_equal(getattr(one.trials(), name), getattr(two.trials(), name)), name
    trainings = measurement_log.read(cell / "measurements.jsonl")
    assert len(trainings) == 3  # none came to its end twice
    assert not (cell / "checkpoints").exists()


def stored(cell: Path) -> int:
    if not (cell / "trials.db").exists():
        return 0
    with Store.open(cell / "trials.db") as store:
        return len(store.trials())


def test_it_is_known_by_its_name(text: Path) -> None:
    assert load_experiment(experiment(text))[0].backend.type == "profile"


def test_a_bound_on_what_is_measured_last_is_told(backend: Profile, codes: Any) -> None:
    wanted = parse_objectives(["perplexity", "params"])
    bound = parse_constraints(["perplexity <= 1.0"])
    found = measure(backend, codes[:1], (*wanted, *bound), seeds=seeds(1))
    assert found.status == ["ok"]
    assert found.values[0, 2] == found.values[0, 0] > 1


def test_wrong_text_ends_a_run_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(*given: Any) -> None:
        raise AssertionError("measured")

    monkeypatch.setattr("hwnas.profiling.device_profiler.Bench.measure", measured)
    given = experiment(tmp_path / "nothing", objectives=["perplexity", "latency@cpu"])
    with pytest.raises(InvalidInput, match="no such file or folder"):
        hwnas.run(given, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_killed_reference_goes_on(text: Path, tmp_path: Path, monkeypatch: Any) -> None:
    given, trained = experiment(text, budget={"evaluations": 1}), []

    def counted(model: Any, *rest: Any, real: Any = hwnas.profiling.train, **how: Any) -> Any:
        if len(trained) == 4:
            trained.append("killed")
            raise KeyboardInterrupt
        trained.append(str(model.arch))
        return real(model, *rest, **how)

    monkeypatch.setattr("hwnas.profiling.trial.train", counted)
    with pytest.raises(KeyboardInterrupt):
        hwnas.run(given, tmp_path / "out")
    with pytest.raises(InvalidInput, match="would disturb each other, expected 1, found 2"):
        hwnas.resume(tmp_path / "out", workers=2)
    resumed = hwnas.resume(tmp_path / "out")
    assert len(trained) == 4 + 1 + 6 + 1  # ten for the reference, none twice, and one trial
    whole = hwnas.run(given, tmp_path / "whole")
    assert resumed.reference.to_json() == whole.reference.to_json()


def test_trials_of_one_search_rest_on_one_text(text: Path, tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_bytes(text.read_bytes())
    result = hwnas.run(experiment(file, reference=[300, 1e6]), tmp_path / "out")
    with Store.open(result.searches[0].path / "trials.db") as store:
        store._db.execute("DELETE FROM meta WHERE key = 'finished'")
        store._db.commit()
    file.write_text(text.read_text() + "\n\nand one more document")
    with pytest.raises(InvalidInput, match="rest on other data than there is now"):
        hwnas.resume(tmp_path / "out")


def test_a_full_disk_ends_the_search(text: Path, tmp_path: Path, monkeypatch: Any) -> None:
    def full(*given: Any, **how: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hwnas.profiling.trial.train", full)
    with pytest.raises(MachineFailed, match=r"No space left on device; mend it and go on with"):
        hwnas.run(experiment(text), tmp_path / "out")


def test_checkpoints_can_stay(space: SearchSpace, text: Path, codes: Any, tmp_path: Path) -> None:
    backend = Profile(space, text=str(text), keep_checkpoints=True, **SETTINGS)
    backend.on_start(tmp_path)
    for i in range(2):
        measure(backend, codes[i : i + 1], parse_objectives(["perplexity", "params"]))
    backend.on_end()
    assert len(list((tmp_path / "checkpoints").glob("*.pt"))) == 2


def test_the_front_names_the_trial_that_has_its_values(text: Path, tmp_path: Path) -> None:
    given = experiment(text, optimizers=["moasha"], budget={"evaluations": 9})
    given["backend"] |= {"rungs": [2]}
    cell = hwnas.run(given, tmp_path / "out").searches[0]
    assert (cell.front_trials >= 0).all()
    assert np.array_equal(cell.trials.values[cell.front_trials], cell.front.values)
    assert (cell.trials.fidelity[cell.front_trials] == 8).any()


@pytest.mark.parametrize("check", hwnas.testing.backend_checks(), ids=str)
def test_it_owes_what_every_backend_owes(check: Any, space: SearchSpace, text: Path) -> None:
    settings = {**SETTINGS, "training": {"steps": 2, "batch_size": 2}}
    try:
        check("profile", space=space, networks=2, text=str(text), rungs=[1], **settings)
    except NotJudged as reason:
        pytest.skip(str(reason))
