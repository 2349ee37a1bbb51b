from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import hwnas
from hwnas import plugin_files, registry
from hwnas.errors import InvalidInput
from hwnas.optimizers import Optimizer
from hwnas.problem import build_problem, load_experiment
from hwnas.runner.storage import Store
from hwnas.runner.warm_start import FILE, PriorTrials, collect, space_difference
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
    earlier: Path, listener: type[Listener], tmp_path: Path
) -> None:
    known = collect(earlier, build_problem(load_experiment({**EARLIER, "name": "x"})[0]))
    assert len(np.unique(known.codes, axis=0)) == len(known.codes) > 20  # of four searches
    hwnas.run(later(warm_start=str(earlier)), out=tmp_path / "later")
    assert listener.heard == [len(known.codes) + i for i in range(5)]
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
    known = PriorTrials.load(tmp_path / "later" / FILE)
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
        ({"name": "other"}, "expected a run on other, found mlp$"),
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
    assert PriorTrials.load(tmp_path / FILE).values.tolist() == [[1, 1]]
    (tmp_path / FILE).write_text("no")
    with pytest.raises(InvalidInput, match="cannot be read as a warm start"):
        PriorTrials.load(tmp_path / FILE)


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
    with pytest.raises(InvalidInput, match=r"gone\.py: cannot be read"):
        hwnas.run(form, out=tmp_path / "other", plugins=[tmp_path / "gone.py"])
