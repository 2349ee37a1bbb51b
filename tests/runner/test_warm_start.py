from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import hwnas
from hwnas import plugin_files, registry
from hwnas.errors import InvalidInput
from hwnas.optimizers import Optimizer
from hwnas.problem import build_problem, load_experiment
from hwnas.runner.preflight import setup_warnings
from hwnas.runner.space_difference import space_difference
from hwnas.runner.storage import Store
from hwnas.runner.warm_start import FILE, PriorTrials, RelatedStart, collect, load_warm_start
from hwnas.spaces import Codes
from hwnas.typing import Array

TINY = {
    "name": "tiny",
    "embed_dim": [192, 384],
    "n_layer": [10],
    "mlp_ratio": [2],
    "n_head": [4, 8],
}
EARLIER = {
    "name": "earlier",
    "space": TINY,
    "objectives": ["perplexity", "latency@h100"],
    "constraints": ["params <= 1e9"],
    "optimizers": ["random", {"type": "random", "name": "again"}],
    "budget": {"evaluations": 20},
    "seeds": 2,
}


class Listener(Optimizer):
    """Remembers how much it had been told at each ask."""

    heard: ClassVar[list[int]] = []

    def ask(self, n: int) -> Codes:
        self.heard.append(len(self.history))
        fresh = self.space.sample(200, self.rng)
        known = {row.tobytes() for row in self.history.codes}
        return np.stack([row for row in fresh if row.tobytes() not in known])[:1]


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "earlier"
    hwnas.run(EARLIER, out=path)
    return path


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> type[Listener]:
    monkeypatch.setattr(Listener, "heard", [])
    monkeypatch.setitem(registry._registered["optimizer"], "listener", Listener)
    return Listener


def later(**changes: Any) -> dict[str, Any]:
    form = {**EARLIER, "name": "later", "optimizers": ["listener"], "seeds": 1}
    return {**form, "budget": {"evaluations": 5}, **changes}


def trials_of(path: Path) -> Array:
    with Store.open(path / "listener" / "seed-0" / "trials.db") as store:
        return store.trials().codes


def test_what_was_measured_is_told_before_the_first_ask(
    earlier: Path,
    listener: type[Listener],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    known = collect(earlier, build_problem(load_experiment({**EARLIER, "name": "x"})[0]))
    assert len(np.unique(known.codes, axis=0)) == len(known.codes) > 20  # of four searches
    hwnas.run(later(warm_start=str(earlier)), out=tmp_path / "later")
    assert listener.heard == [len(known.codes) + i for i in range(5)]
    assert f"warm start: {len(known.codes)} trials, told as results" in caplog.messages
    codes = trials_of(tmp_path / "later")
    assert len(codes) == 5  # what was known counts for nothing
    assert not {c.tobytes() for c in codes} & {c.tobytes() for c in known.codes}


def test_values_are_those_of_the_objectives_wanted(earlier: Path) -> None:
    form = {**EARLIER, "objectives": ["-params", "perplexity"], "constraints": []}
    problem = build_problem(load_experiment({**form, "name": "x"})[0])
    known = collect(earlier, problem)
    bench = hwnas.surrogate(problem.space)
    np.testing.assert_allclose(known.values, bench.predict(known.codes, ["params", "perplexity"]))
    assert (known.std == 0).all()


def test_a_run_resumes_as_it_began_without_the_earlier_one(
    earlier: Path, listener: type[Listener], tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(earlier, copy)
    form = later(warm_start=str(copy))
    hwnas.run(form, out=tmp_path / "whole")
    hwnas.run({**form, "budget": {"evaluations": 2}}, out=tmp_path / "part")
    file = tmp_path / "part" / "listener" / "seed-0" / "trials.db"
    with Store.open(file) as store, store._db:
        store._db.execute("DELETE FROM meta WHERE key = 'finished'")
    text = (tmp_path / "part" / "experiment.yaml").read_text()
    (tmp_path / "part" / "experiment.yaml").write_text(
        text.replace("evaluations: 2", "evaluations: 5")
    )
    shutil.rmtree(copy)
    hwnas.resume(tmp_path / "part")
    assert np.array_equal(trials_of(tmp_path / "part"), trials_of(tmp_path / "whole"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": "gpt-s"}, "expected a run on gpt-s, found tiny"),
        (
            {"space": {**TINY, "n_head": [4, 12]}},
            r"on tiny, found one of other layers: n_head \[4, 8\] in place of \[4, 12\]",
        ),
        ({"noise": True}, "expected a run with noise: true"),
        ({"objectives": ["perplexity", "latency@a100"]}, "did not measure latency@a100, only"),
        ({"warm_start": "nowhere"}, "no trials here"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    earlier: Path, listener: type[Listener], tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    form = later(**{"warm_start": str(earlier), **changes})
    with pytest.raises(InvalidInput, match=f"^warm_start: .*{message}"):
        hwnas.run(form, out=tmp_path / "later")
    assert not (tmp_path / "later").exists()


OWN: dict[str, Any] = {
    "name": "mlp",
    "choices": {"depth": [1, 2], "kind": ["a", "b"], "rate": [0.0, 1.0], "flag": [False, True]},
    "layers": {"width": [8, 16], "act": ["relu", "tanh"]},
    "conditions": {"rate": {"kind": ["b"]}},
}


class TwoMetrics(hwnas.Backend):
    metrics: ClassVar[dict[str, hwnas.Metric]] = {
        "a": hwnas.Metric(""),
        "b": hwnas.Metric(""),
    }

    def evaluate(self, codes: Codes, objectives: Any, **_: Any) -> hwnas.Evaluation:
        values = {"a": codes.sum(axis=1) + 1.0, "b": 9.0 - codes[:, -1]}
        return hwnas.Evaluation(np.stack([values[o.key] for o in objectives], axis=1))


def own_run(space: dict[str, Any], **changes: Any) -> dict[str, Any]:
    form = later(space=space, constraints=[], objectives=["a", "b"], backend="two", **changes)
    return {**form, "optimizers": changes.get("optimizers", ["random"])}


@pytest.fixture
def own_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._registered["backend"], "two", TwoMetrics)


def test_a_space_of_a_user_s_own(
    own_backend: None, listener: type[Listener], tmp_path: Path
) -> None:
    earlier = tmp_path / "earlier"
    hwnas.run(own_run(OWN, budget={"evaluations": 12}), out=earlier, draw=False)
    form = own_run(OWN, optimizers=["listener"], warm_start=str(earlier))
    form["objectives"] = ["b", "a"]
    hwnas.run(form, out=tmp_path / "later", draw=False)
    known = load_warm_start(tmp_path / "later" / FILE)
    assert listener.heard == [len(known.codes) + i for i in range(5)]
    assert known.codes.dtype == np.int8
    np.testing.assert_array_equal(known.values[:, 1], known.codes.sum(axis=1) + 1.0)
    # A space that is built of its own dictionary is the same one.
    again = hwnas.space(hwnas.space(OWN).to_dict())
    assert space_difference(again, hwnas.space(OWN)) == ""


def test_constants_of_a_family_count() -> None:
    tiny, short = hwnas.space(TINY), hwnas.space({**TINY, "context": 512})
    assert space_difference(tiny, short) == "one with context 1024 in place of 512"
    own = hwnas.space({"name": "tiny", "choices": {"embed_dim": [192, 384]}})
    assert space_difference(own, tiny) == "one of the family none in place of gpt"


CHOICES = OWN["choices"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "other"}, "expected a run on other, found mlp; Random[A-Za-z]* learns only"),
        (
            {"choices": {**CHOICES, "kind": ["b", "a"]}},
            r"other choices: kind \['a', 'b'\] in place of \['b', 'a'\]",
        ),
        ({"choices": {**CHOICES, "more": [1, 2]}}, "found one of other choices: none called more"),
        (
            {"choices": {k: v for k, v in CHOICES.items() if k != "flag"}},
            "found one of other choices: flag, which is not one here",
        ),
        # Python takes False for 0, and mappings of another order for equal ones.
        ({"choices": {**CHOICES, "flag": [0, 1]}}, r"flag \[False, True\] in place of \[0, 1\]"),
        (
            {"choices": dict(reversed(CHOICES.items()))},
            "the order depth, kind, rate, flag in place of flag, rate, kind, depth",
        ),
        (
            {"layers": dict(reversed(OWN["layers"].items()))},
            "other layers: the order width, act in place of act, width",
        ),
        ({"conditions": {}}, "one with conditions .* in place of none"),
        ({"allowed": [[8, "relu"], [16, "tanh"]]}, "one with allowed none in place of"),
    ],
)
def test_another_space_is_refused_with_the_difference(
    own_backend: None, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    earlier = tmp_path / "earlier"
    hwnas.run(own_run(OWN), out=earlier, draw=False)
    form = own_run({**OWN, **changes}, warm_start=str(earlier))
    with pytest.raises(InvalidInput, match=rf"^warm_start: .*{message}"):
        hwnas.run(form, out=tmp_path / "later", draw=False)
    assert not (tmp_path / "later").exists()


def test_a_damaged_copy_is_an_error(tmp_path: Path) -> None:
    PriorTrials(np.zeros((1, 2), np.int8), np.ones((1, 2)), np.zeros((1, 2))).save(tmp_path / FILE)
    assert load_warm_start(tmp_path / FILE).values.tolist() == [[1, 1]]
    (tmp_path / FILE).write_text("no")
    with pytest.raises(InvalidInput, match="cannot be read as a warm start"):
        load_warm_start(tmp_path / FILE)


PLUGIN = """
import hwnas


@hwnas.register_optimizer("from-a-file")
class FromAFile(hwnas.Optimizer):
    def ask(self, n):
        return self.space.sample(n, self.rng)
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_an_experiment_s_own_plugins_run_when_allowed(tmp_path: Path, workers: int) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN)
    form = {**later(optimizers=["from-a-file", "random"]), "plugins": ["mine.py"]}
    file = tmp_path / "experiment.yaml"
    file.write_text(json.dumps(form))
    with pytest.raises(InvalidInput, match=r"mine\.py runs code of others.*--allow-plugins"):
        hwnas.run(file, out=tmp_path / "run")
    result = hwnas.run(file, out=tmp_path / "run", workers=workers, allow_plugins=True)
    assert len(result.searches) == 2
    hashes = json.loads((tmp_path / "run" / "environment.json").read_text())["plugins"]
    assert hashes == {
        str(tmp_path / "mine.py"): plugin_files.load_plugin_file(tmp_path / "mine.py").sha256
    }


def test_plugins_that_are_given_need_no_leave(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN)
    form = later(optimizers=["from-a-file"])
    result = hwnas.run(form, out=tmp_path / "run", plugins=[tmp_path / "mine.py"])
    assert result.experiment.plugins == [str(tmp_path / "mine.py")]
    with pytest.raises(InvalidInput, match=r"gone\.py: no such file"):
        hwnas.run(form, out=tmp_path / "other", plugins=[tmp_path / "gone.py"])


# -- other spaces and metrics --------------------------------------------------------------------


@pytest.fixture(scope="module")
def small_gpt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on gpt-s, of perplexity and latency on an A100."""
    path = tmp_path_factory.mktemp("runs") / "small-gpt"
    form = {**EARLIER, "space": "gpt-s", "objectives": ["perplexity", "latency@a100"]}
    hwnas.run({**form, "constraints": [], "optimizers": ["additive"]}, out=path, draw=False)
    return path


def related(source: Path, **changes: Any) -> dict[str, Any]:
    form = {**EARLIER, "space": "gpt-s", "constraints": [], "name": "later", "seeds": 1}
    return {**form, "optimizers": ["additive"], "warm_start": str(source), **changes}


@pytest.mark.parametrize(
    ("changes", "outcomes", "is_same"),
    [
        ({"objectives": ["perplexity", "latency@h100"]}, [0, 1], [True, False]),
        ({"objectives": ["latency@h100", "perplexity"]}, [0, 1], [False, True]),
        ({"objectives": ["perplexity", "energy@a100"]}, [0], [True]),
        ({"space": "gpt-l"}, [0, 1], [False, False]),
        ({"constraints": ["latency@a100 <= 20"]}, [0, 1, 2], [True, False, True]),
        ({"noise": True, "space": "gpt-m"}, [0, 1], [False, False]),
    ],
)
def test_what_other_spaces_and_metrics_tell(
    small_gpt: Path, changes: dict[str, Any], outcomes: list[int], is_same: list[bool]
) -> None:
    problem = build_problem(load_experiment(related(small_gpt, **changes))[0])
    start = collect(small_gpt, problem)
    assert isinstance(start, RelatedStart)
    trials = start.trials
    assert trials.outcomes.tolist() == outcomes
    assert trials.is_same.tolist() == is_same
    assert trials.space.name == "gpt-s"
    bench = hwnas.surrogate("gpt-s")
    for column, j in enumerate(outcomes):
        objective = problem.measured[j]
        device = "a100" if objective.devices else None
        truth = bench.predict(trials.codes, [objective.metric + (f"@{device}" if device else "")])
        bound = 20.0 if objective.bound is not None else 0.0  # violations are of the bound
        np.testing.assert_allclose(trials.values[:, column], truth[:, 0] - bound)


def test_values_have_the_direction_of_the_outcome(small_gpt: Path) -> None:
    """Maximized metrics are losses, bounds from below are violations."""
    changes = {"objectives": ["-perplexity", "params"], "constraints": ["latency@h100 >= 5"]}
    problem = build_problem(load_experiment(related(small_gpt, **changes))[0])
    start = collect(small_gpt, problem)
    assert isinstance(start, RelatedStart)
    truth = hwnas.surrogate("gpt-s").predict(start.trials.codes, ["perplexity", "latency@a100"])
    assert start.trials.outcomes.tolist() == [0, 2]
    np.testing.assert_allclose(start.trials.values, [-1, -1] * truth + [0, 5])


@pytest.mark.parametrize("optimizer", ["additive", "auto"])
@pytest.mark.parametrize("space", ["gpt-s", "gpt-l"])
def test_a_run_from_another_space_or_metric(
    small_gpt: Path,
    tmp_path: Path,
    space: str,
    optimizer: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    form = related(small_gpt, space=space, optimizers=[optimizer], budget={"evaluations": 16})
    result = hwnas.run(form, out=tmp_path / "later", draw=False)
    told = [line for line in caplog.messages if line.startswith("warm start: ")]
    assert len(told) == 1
    assert f" trials, told as related ones ({small_gpt}: " in told[0]
    (search,) = result.searches
    assert len(search.trials) == 16  # what was known counts for nothing
    # Two architectures of each of three widths, then proposals: there is no longer design.
    layers = hwnas.space(space).layer_columns
    n_distinct = [len(np.unique(code[layers], axis=0)) for code in search.trials.codes]
    assert set(n_distinct[:6]) == {1}
    assert max(n_distinct[6:12]) > 1
    again = hwnas.run({**form, "name": "again"}, out=tmp_path / "again", draw=False)
    np.testing.assert_array_equal(again.searches[0].trials.codes, search.trials.codes)


def test_a_resume_needs_no_earlier_run(small_gpt: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(small_gpt, copy)
    form = related(copy, budget={"evaluations": 8})
    hwnas.run(form, out=tmp_path / "part", draw=False)
    form["budget"] = {"evaluations": 14}
    whole = hwnas.run(form, out=tmp_path / "whole", draw=False)
    shutil.rmtree(copy)
    resumed = hwnas.resume(tmp_path / "part", overrides={"budget.evaluations": 14}, draw=False)
    expected = whole.searches[0].trials.codes
    np.testing.assert_array_equal(resumed.searches[0].trials.codes, expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"optimizers": ["additive", "nsga2"]},
            "did not measure latency@h100, .*; NSGA2 learns",
        ),
        (
            {"space": "llama-s", "objectives": ["params", "tpot.serve@h100-sxm"]},
            "found gpt-s; expected the same space or one of its family",
        ),
        ({"objectives": ["params", "flops"]}, "expected one of its metrics at least"),
    ],
)
def test_what_cannot_be_used_is_refused(
    small_gpt: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInput, match=f"^warm_start: .*{message}"):
        hwnas.run(related(small_gpt, **changes), out=tmp_path / "later", draw=False)
    assert not (tmp_path / "later").exists()


def test_an_optimizer_that_cannot_learn_is_no_addition(small_gpt: Path, tmp_path: Path) -> None:
    path = tmp_path / "later"
    hwnas.run(related(small_gpt, budget={"evaluations": 8}), out=path, draw=False)
    content = (path / "experiment.yaml").read_bytes()
    with pytest.raises(InvalidInput, match=r"^warm_start: .*did not measure .*NSGA2 learns only"):
        hwnas.resume(path, overrides={"optimizers": ["additive", "nsga2"]}, draw=False)
    assert (path / "experiment.yaml").read_bytes() == content


def test_warnings_know_the_shorter_design(small_gpt: Path) -> None:
    experiment, problem = load_experiment(related(small_gpt, budget={"evaluations": 10}))
    assert any("initial design of 14" in line for line in setup_warnings(experiment, problem))
    prior = collect(small_gpt, problem)
    assert not setup_warnings(experiment, problem, prior)


def test_an_earlier_run_without_results(tmp_path: Path, small_gpt: Path) -> None:
    path = tmp_path / "empty"
    shutil.copytree(small_gpt, path)
    for file in path.rglob("trials.db"):
        with Store.open(file) as store, store._db:
            store._db.execute("UPDATE trials SET status = 'failed'")
    with pytest.raises(InvalidInput, match="no complete trials, expected one at least"):
        hwnas.run(related(path), out=tmp_path / "later", draw=False)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("codes", lambda codes: codes + np.int8(9)),
        ("codes", lambda codes: codes[:, 1:]),
        ("values", lambda values: values * np.nan),
        ("outcomes", lambda outcomes: outcomes[:1]),
        ("is_same", lambda is_same: is_same.astype(float)),
        ("space", lambda setting: np.array("no json")),
    ],
)
def test_damaged_related_trials(
    small_gpt: Path, tmp_path: Path, name: str, change: Callable[[Any], Any]
) -> None:
    problem = build_problem(load_experiment(related(small_gpt))[0])
    collect(small_gpt, problem).save(tmp_path / FILE)
    with np.load(tmp_path / FILE) as archive:
        arrays = dict(archive)
    restored = load_warm_start(tmp_path / FILE)
    assert isinstance(restored, RelatedStart)
    np.savez(tmp_path / FILE, **{**arrays, name: change(arrays[name])})
    with pytest.raises(InvalidInput, match="cannot be read as a warm start"):
        load_warm_start(tmp_path / FILE)
