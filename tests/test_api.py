"""Whole runs: what they leave, that they are the same whoever runs them, what they refuse."""

from __future__ import annotations

import csv
import fcntl
import json
import os
import shutil
import sqlite3
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hwnas
from hwnas import pareto, registry
from hwnas.api import SearchFailed, resume, run
from hwnas.errors import InvalidInput
from hwnas.problem import load_experiment
from hwnas.runner.results import Result
from hwnas.runner.storage import Store, Trials
from hwnas.runner.summary import SUMMARY
from hwnas.surrogates import Surrogate

SMALL: dict[str, Any] = {
    "name": "small",
    "space": "gpt-s",
    "objectives": ["perplexity", "latency@rtx3080"],
    "optimizers": ["random", "uniform", {"type": "nsga2", "name": "nsga-20", "pop_size": 20}],
    "budget": {"evaluations": 120},
    "seeds": 2,
}


def table(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def all_trials(path: Path) -> dict[str, Trials]:
    found = {}
    for file in sorted(path.glob("*/seed-*/trials.db")):
        with Store.open(file) as store:
            found[str(file.relative_to(path))] = store.trials()
    return found


def assert_same_trials(left: Path, right: Path) -> None:
    one, other = all_trials(left), all_trials(right)
    assert list(one) == list(other)
    for key in one:
        for field in fields(Trials):
            if field.name not in ("seconds", "elapsed"):
                np.testing.assert_array_equal(
                    getattr(one[key], field.name), getattr(other[key], field.name), err_msg=key
                )


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return run(SMALL, out=tmp_path_factory.mktemp("runs") / "small")


def test_everything_is_left_there(done: Result) -> None:
    files = {str(f.relative_to(done.path)) for f in done.path.rglob("*") if f.is_file()}
    cells = [f"{o}/seed-{s}" for o in ("random", "uniform", "nsga-20") for s in (0, 1)]
    assert files == {
        "experiment.yaml",
        "environment.json",
        "summary.csv",
        "plots/fronts.png",
        "plots/hypervolume.png",
        "report.html",
        *(f"{c}/{n}" for c in cells for n in ("trials.db", "front.csv", "hypervolume.csv")),
    }


def test_the_summary(done: Result) -> None:
    rows = table(done.path / "summary.csv")
    assert tuple(rows[0]) == SUMMARY
    assert [(r["optimizer"], r["seed"]) for r in rows] == [
        (o, s) for o in ("random", "uniform", "nsga-20") for s in "01"
    ]
    front = hwnas.surrogate("gpt-s").front(SMALL["objectives"])
    assert front is not None
    for row, cell in zip(rows, done.searches, strict=True):
        assert row["evaluations"] == "120"
        assert row["status"] == "done"
        hypervolume = pareto.hypervolume(cell.trials.values, done.reference.point)
        best = pareto.hypervolume(front.values, done.reference.point)
        assert float(row["hypervolume"]) == pytest.approx(hypervolume)
        assert float(row["normalised"]) == pytest.approx(hypervolume / best)
        assert int(row["front_size"]) == pareto.non_dominated(cell.trials.values).sum()
        extent = done.reference.nadir - done.reference.ideal
        gap = (cell.trials.values[None] - front.values[:, None]) / extent
        assert float(row["epsilon"]) == pytest.approx(gap.max(axis=2).min(axis=1).max())
        plus = np.linalg.norm(np.maximum(gap, 0), axis=2).min(axis=1).mean()
        assert float(row["igd_plus"]) == pytest.approx(plus)


def test_fronts(done: Result) -> None:
    for cell in done.searches:
        rows = table(cell.path / "front.csv")
        assert list(rows[0]) == ["trial", "arch", *SMALL["objectives"]]
        trials = [int(row["trial"]) for row in rows]
        archs = [hwnas.Architecture.parse(row["arch"]) for row in rows]
        np.testing.assert_array_equal(done.space.encode(archs), cell.trials.codes[trials])
        values = np.array([[float(row[name]) for name in SMALL["objectives"]] for row in rows])
        np.testing.assert_array_equal(values, cell.trials.values[trials])
        assert (np.diff(values[:, 0]) > 0).all()
        assert (np.diff(values[:, 1]) < 0).all()
        assert set(trials) == set(np.flatnonzero(pareto.non_dominated(cell.trials.values)))


def test_trajectories(done: Result) -> None:
    for cell in done.searches:
        rows = table(cell.path / "hypervolume.csv")
        assert list(rows[0]) == ["evaluations", "cost", "seconds", "hypervolume", "normalised"]
        assert int(rows[-1]["evaluations"]) == 120
        for row in rows[:: len(rows) // 5]:
            first = cell.trials.values[: int(row["evaluations"])]
            expected = pareto.hypervolume(first, done.reference.point)
            assert float(row["hypervolume"]) == pytest.approx(expected)
        normalised = [float(row["normalised"]) for row in rows]
        assert normalised == sorted(normalised)
        assert 0 < normalised[-1] < 1


def test_no_search_beats_the_bound(done: Result) -> None:
    for steps in done.trajectories:
        for evaluations, normalised in zip(steps.evaluations, steps.normalised, strict=True):
            assert normalised <= done.bound[evaluations - 1] + 1e-12


def test_every_file_can_be_rebuilt_from_the_trials(done: Result, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(done.path, copy)
    csvs = sorted(copy.rglob("*.csv"))
    before = [file.read_bytes() for file in csvs]
    for file in [*csvs, copy / "experiment.yaml"]:
        file.unlink()
    again = Result(copy)
    again.write()
    assert [file.read_bytes() for file in csvs] == before
    assert again.experiment == load_experiment(SMALL)[0]


def test_the_environment(done: Result) -> None:
    content = json.loads((done.path / "environment.json").read_text())
    assert content["seeds"] == [0, 1]
    assert content["versions"]["numpy"] == np.__version__
    assert len(content["data"]) == len(content["optimizers"]["nsga2"]) == 64


def test_the_same_with_workers_and_again(done: Result, tmp_path: Path) -> None:
    run(SMALL, out=tmp_path / "again")
    assert_same_trials(done.path, tmp_path / "again")
    run(SMALL, out=tmp_path / "workers", workers=2)
    assert_same_trials(done.path, tmp_path / "workers")


def test_progress_is_told(tmp_path: Path) -> None:
    seen: list[tuple[str, int]] = []
    run(SMALL, tmp_path / "x", progress=lambda cell, n: seen.append((str(cell), n)))
    assert ("nsga-20 seed 1", 120) in seen
    counts = [n for name, n in seen if name == "random seed 0"]
    assert counts[-1] == 120
    assert counts == sorted(set(counts))


# -- stopped runs --------------------------------------------------------------------------------


def test_a_stopped_run_is_gone_on_with(
    done: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adds = 0
    add = Store.add

    def dying(self: Store, trials: Trials) -> None:
        nonlocal adds
        adds += 1
        if adds == 10:
            raise KeyboardInterrupt
        add(self, trials)

    monkeypatch.setattr(Store, "add", dying)
    with pytest.raises(KeyboardInterrupt):
        run(SMALL, out=tmp_path / "x")
    monkeypatch.undo()
    assert not (tmp_path / "x" / "summary.csv").exists()
    unfinished = Result(tmp_path / "x")
    assert unfinished.summary[-1]["status"] == "unfinished"
    result = resume(tmp_path / "x")
    assert_same_trials(done.path, tmp_path / "x")
    assert {row["status"] for row in result.summary} == {"done"}
    with monkeypatch.context() as patch:  # nothing is left to do
        patch.setattr("hwnas.runner.search_loop.loop", None)
        resume(tmp_path / "x")
    assert_same_trials(done.path, tmp_path / "x")


def test_what_differs_is_told_and_marked(tmp_path: Path) -> None:
    path = tmp_path / "x"
    one = {**SMALL, "optimizers": ["random"], "seeds": 1}
    run(one, out=path)
    file = path / "random" / "seed-0" / "trials.db"
    with Store.open(file) as store:
        trials = store.trials()
    file.unlink()
    with Store.create(file, SMALL["objectives"], _meta(path, one)) as store:
        other = Trials(**{f.name: getattr(trials, f.name)[::-1] for f in fields(Trials)})
        store.add(other[:60])
    result = resume(path)
    np.testing.assert_array_equal(result.searches[0].trials.codes[:60], other.codes[:60])
    assert len(result.searches[0].trials) == 120
    content = json.loads((path / "environment.json").read_text())
    assert content["not_identical_from_trial"] == {"random/seed-0": 0}


def _meta(path: Path, content: dict[str, Any]) -> dict[str, str]:
    reference = run({**content, "budget": {"evaluations": 1}}, out=path.parent / "ref").reference
    return {
        "experiment": load_experiment(content)[0].to_yaml(),
        "optimizer": "random",
        "seed": "0",
        "reference": reference.to_json(),
    }


# -- what is refused -----------------------------------------------------------------------------


def test_an_existing_run_is_left_alone(done: Result) -> None:
    before = {f: f.read_bytes() for f in done.path.rglob("*") if f.is_file()}
    with pytest.raises(InvalidInput, match="holds this experiment; go on with: hwnas resume"):
        run(SMALL, out=done.path)
    with pytest.raises(InvalidInput, match="holds another experiment"):
        run({**SMALL, "seeds": 3}, out=done.path)
    assert {f: f.read_bytes() for f in done.path.rglob("*") if f.is_file()} == before


def test_other_directories_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InvalidInput, match="is not empty and holds no run"):
        run(SMALL, out=tmp_path)
    with pytest.raises(InvalidInput, match="is a file"):
        run(SMALL, out=tmp_path / "notes.txt")
    with pytest.raises(InvalidInput, match="no architecture of gpt-s keeps"):
        run({**SMALL, "constraints": ["params <= 1"]}, out=tmp_path / "deep" / "er")
    with pytest.raises(InvalidInput, match="workers: expected at least 1, found 0"):
        run(SMALL, out=tmp_path / "x", workers=0)
    assert [f.name for f in tmp_path.rglob("*")] == ["notes.txt"]


def test_resuming_nothing(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(InvalidInput, match=r"no experiment\.yaml here"):
            resume(path)
    with pytest.raises(InvalidInput, match="no trials here"):
        Result(tmp_path)


def test_two_processes_do_not_share_a_directory(tmp_path: Path) -> None:
    run({**SMALL, "optimizers": ["random"], "seeds": 1}, out=tmp_path / "x")
    holder = os.open(tmp_path / "x", os.O_RDONLY)
    try:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with pytest.raises(InvalidInput, match="another process is running here"):
            resume(tmp_path / "x")
    finally:
        os.close(holder)
    resume(tmp_path / "x")


def test_a_locked_store_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hwnas.runner.store_connection.PATIENCE_S", 0.05)
    one = {**SMALL, "optimizers": ["random"], "seeds": 1}
    run(one, out=tmp_path / "whole")

    def killed(self: Store, trials: Trials) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Store, "add", killed)
        with pytest.raises(KeyboardInterrupt):
            run(one, out=tmp_path / "x")
    (row,) = Result(tmp_path / "x").summary
    assert (row["evaluations"], row["status"]) == (0, "unfinished")
    file = tmp_path / "x" / "random" / "seed-0" / "trials.db"
    holder = sqlite3.connect(file, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(InvalidInput, match=r"trials\.db: cannot be written: database is locked"):
        resume(tmp_path / "x")
    holder.execute("ROLLBACK")
    holder.close()
    resume(tmp_path / "x")
    assert_same_trials(tmp_path / "whole", tmp_path / "x")


def test_a_damaged_store_is_named(tmp_path: Path) -> None:
    run({**SMALL, "optimizers": ["random"], "seeds": 1}, out=tmp_path / "x")
    file = tmp_path / "x" / "random" / "seed-0" / "trials.db"
    file.write_bytes(b"rubbish" * 1000)
    for call in (resume, Result):
        with pytest.raises(InvalidInput, match=r"trials\.db: cannot be read as a trials\.db"):
            call(tmp_path / "x")
    assert file.read_bytes() == b"rubbish" * 1000


def test_an_optimizer_that_raises(tmp_path: Path) -> None:
    registry.replace_registered({})

    @hwnas.register_optimizer("broken")
    class Broken(hwnas.Optimizer):
        """Falls over."""

        def ask(self, n: int) -> Any:
            if len(self.history) > 3:
                raise ZeroDivisionError("by nought")
            return self.space.sample(1, self.rng)

    content = {**SMALL, "optimizers": ["broken", "random"], "seeds": 1}
    with pytest.raises(SearchFailed, match="1 of 2 searches failed, first broken seed 0 with Zero"):
        run(content, out=tmp_path / "x")
    rows = table(tmp_path / "x" / "summary.csv")
    assert rows[0]["status"].startswith("error: ZeroDivisionError: by nought (tests/test_api.py, ")
    assert rows[1]["status"] == "done"
    assert [row["evaluations"] for row in rows] == ["4", "120"]
    text = (tmp_path / "x" / "broken" / "seed-0" / "error.txt").read_text()
    assert "ZeroDivisionError: by nought" in text


# -- other problems ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"objectives": ["perplexity", "latency@h100", "-flops"]},
        {"objectives": ["perplexity", "latency@h100+rtx3080"]},
        {"constraints": ["latency@rtx3080 <= 30", "params <= 5e7"]},
        {"objectives": ["params", "flops"], "reference": [2e8, 1e12]},
        {"budget": {"seconds": 0.3}},
        {"noise": True, "budget": {"evaluations": 20}},
    ],
)
def test_other_problems_run(tmp_path: Path, change: dict[str, Any]) -> None:
    result = run({**SMALL, "optimizers": ["random"], "seeds": 1, **change}, out=tmp_path / "x")
    (row,) = result.summary
    assert row["status"] == "done"
    assert 0 < row["normalised"] <= 1
    assert (result.path / "plots" / "fronts.png").stat().st_size > 10_000


def test_fronts_keep_the_constraints(tmp_path: Path) -> None:
    content = {**SMALL, "constraints": ["latency@rtx3080 <= 30", "params <= 5e7"]}
    result = run(content, out=tmp_path / "x")
    for cell in result.searches:
        assert (cell.front.values[:, 1] <= 30).all()
        assert (result.space.params(cell.front.codes) <= 5e7).all()
        ok = (cell.trials.values[:, 1] <= 30) & (cell.trials.values[:, 3] <= 5e7)
        assert 0 < ok.sum() < len(cell.trials)


def test_relative_to_the_union_where_no_front_is_known(tmp_path: Path) -> None:
    # There is no exact front of a lower bound on a worst ratio.
    content = {**SMALL, "constraints": ["latency@h100+rtx3080 >= 1.1"]}
    result = run(content, out=tmp_path / "x")
    assert result.exact is None
    assert result.reference.source == "measured"
    values = np.concatenate([cell.trials.values for cell in result.searches])
    union = values[values[:, 2] >= 1.1, :2]
    assert result.best_hypervolume == pareto.hypervolume(union, result.reference.point)
    assert max(row["normalised"] for row in result.summary) < 1
    assert len(result.bound) == 0


# -- noise ---------------------------------------------------------------------------------------

NOISY: dict[str, Any] = {
    **SMALL,
    "optimizers": [
        "random",
        {"type": "random", "name": "random-3", "repeats": 3},
        {"type": "nsga2", "pop_size": 45},
    ],
    "budget": {"evaluations": 90},
    "noise": True,
}


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return run(NOISY, out=tmp_path_factory.mktemp("noisy") / "x")


def test_observed_and_true_trajectories(noisy: Result) -> None:
    truth = hwnas.surrogate("gpt-s")
    best = noisy.best_hypervolume
    for cell, row in zip(noisy.searches, noisy.summary, strict=True):
        rows = table(cell.path / "hypervolume.csv")
        names = ["evaluations", "cost", "seconds", "observed", "true", "measured", "normalised"]
        assert list(rows[0]) == names
        assert [float(r["true"]) / best for r in rows] == [float(r["normalised"]) for r in rows]
        observed = pareto.hypervolume(cell.trials.values, noisy.reference.point)
        assert float(rows[-1]["observed"]) == observed
        with Store.open(cell.path / "trials.db") as store:
            recommendations = store.recommendations(27)
        assert [int(r["evaluations"]) for r in rows] == [n for n, _ in recommendations]
        for r, (_, codes) in zip(rows, recommendations, strict=True):
            values = truth.predict(codes, SMALL["objectives"])
            true = pareto.hypervolume(values, noisy.reference.point)
            assert float(r["true"]) == pytest.approx(true)
        assert row["normalised"] == pytest.approx(float(rows[-1]["normalised"]), rel=1e-12)


def test_fronts_under_noise_are_recommended_and_true(noisy: Result) -> None:
    truth = hwnas.surrogate("gpt-s")
    for cell in noisy.searches:
        with Store.open(cell.path / "trials.db") as store:
            final = {row.tobytes() for row in store.recommendations(27)[-1][1]}
        assert {row.tobytes() for row in cell.front.codes} <= final
        np.testing.assert_array_equal(
            cell.front.values, truth.predict(cell.front.codes, SMALL["objectives"])
        )
        np.testing.assert_array_equal(cell.trials.codes[cell.front_trials], cell.front.codes)


def test_every_optimizer_meets_the_same_luck(noisy: Result) -> None:
    values: dict[tuple[int, bytes, int], Any] = {}
    met = 0
    for cell in noisy.searches:
        for code, repeat, value in zip(
            cell.trials.codes, cell.trials.repeat, cell.trials.values, strict=True
        ):
            key = (cell.seed, code.tobytes(), int(repeat))
            met += key in values
            np.testing.assert_array_equal(values.setdefault(key, value), value)
    assert met > 100  # nsga2 begins where random does


def test_repeats(noisy: Result) -> None:
    cell = next(cell for cell in noisy.searches if cell.optimizer == "random-3")
    assert cell.trials.repeat.tolist() == [0, 1, 2] * 30
    assert (cell.trials.std[:, 1] > 0).all()
    assert (cell.trials.std[:, 0] == 0).all()


def test_the_same_luck_with_workers_and_batches(noisy: Result, tmp_path: Path) -> None:
    run(NOISY, out=tmp_path / "x", workers=2)
    assert_same_trials(noisy.path, tmp_path / "x")
    batched = {**NOISY, "optimizers": [{"type": "random", "batch": 7}]}
    again = run(batched, out=tmp_path / "y").searches[0]
    np.testing.assert_array_equal(again.trials.values, noisy.searches[0].trials.values)


def test_moasha_measures_its_best_in_full(tmp_path: Path) -> None:
    pytest.importorskip("syne_tune")
    content = {**NOISY, "optimizers": ["moasha"], "budget": {"evaluations": 400}, "seeds": 1}
    (cell,) = run(content, out=tmp_path / "x").searches
    reached = dict(zip(map(bytes, cell.trials.codes), cell.trials.fidelity.tolist(), strict=True))
    assert {1, 81} <= set(reached.values()) <= {1, 3, 9, 27, 81}
    assert cell.trials.evaluations.sum() == 400
    for code, fidelity in reached.items():
        paid = [bytes(row) == code for row in cell.trials.codes]
        assert cell.trials.evaluations[paid].sum() == fidelity


def test_a_problem_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[str] = []
    build = Surrogate.__init__

    def counted(self: Any, *args: Any, **settings: Any) -> None:
        built.append("surrogate")
        build(self, *args, **settings)

    monkeypatch.setattr(Surrogate, "__init__", counted)
    run(SMALL, out=tmp_path / "run")
    assert len(built) == 1


def test_a_run_that_draws_nothing(tmp_path: Path) -> None:
    result = run(SMALL, out=tmp_path / "run", draw=False)
    assert (result.path / "summary.csv").is_file()
    assert not (result.path / "plots").exists()
    assert not (result.path / "report.html").exists()


def test_load_gives_back_a_built_network(tmp_path: Path) -> None:
    from hwnas.profiling import build_model, save_model

    space: Any = hwnas.space(
        {
            "name": "tiny",
            "embed_dim": [16],
            "n_layer": [1],
            "mlp_ratio": [1],
            "n_head": [2],
            "head_size": 8,
            "context": 16,
            "vocab_size": 50,
        }
    )
    model = build_model(space, space.parse("tiny-1-16-1-2-True"), seed=3)
    loaded = hwnas.load(save_model(model, tmp_path / "net"))
    expected = model.state_dict()
    assert all((tensor == expected[name]).all() for name, tensor in loaded.state_dict().items())
    with pytest.raises(hwnas.HwnasError, match=r"config\.json: no such file"):
        hwnas.load(tmp_path / "other")
