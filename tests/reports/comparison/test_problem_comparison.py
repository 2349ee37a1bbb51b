"""Scores on one problem: groups of runs, quality indicators, incomplete runs."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import moocore
import numpy as np
import pytest
from numpy.typing import NDArray
from pymoo.indicators.hv import HV
from pymoo.indicators.igd_plus import IGDPlus

import hwnas
from hwnas import registry
from hwnas.api import run
from hwnas.backends import Backend, Evaluation
from hwnas.errors import InvalidInput, UnknownName
from hwnas.objectives import Metric, Objective
from hwnas.reports.comparison import export, tables
from hwnas.reports.comparison.comparison import compare
from hwnas.reports.comparison.problem_comparison import front_at, problem_comparisons
from hwnas.reports.comparison.quality_indicators import METRICS
from hwnas.runner.results import Result
from hwnas.spaces import Codes


class Sizes(Backend):
    """Backend with closed forms and no known front; references depend on `drift`."""

    metrics: Mapping[str, Metric] = {"error": Metric(""), "latency": Metric("ms")}
    drift = 1.0

    def evaluate(
        self,
        codes: Codes,
        objectives: Sequence[Objective],
        *,
        seeds: NDArray[np.uint64],
        fidelity: int | None = None,
    ) -> Evaluation:
        size = self.space.params(codes) / 1e7
        columns = {"error": 10 / size + codes[:, 3] / 9, "latency": self.drift * size}
        return Evaluation(np.stack([columns[o.key] for o in objectives], axis=1))


@pytest.fixture
def sizes() -> dict[str, Any]:
    registry.replace_registered({})
    registry.register_backend("sizes")(Sizes)
    return {"backend": "sizes", "objectives": ["error", "latency"]}


def changed(result: Result, seed: int, **meta: str | None) -> Result:
    """Return a result with changed metadata of one seed of its first optimizer."""
    copied = copy.copy(result)
    copied.searches = list(result.searches)
    index = next(i for i, search in enumerate(copied.searches) if search.seed == seed)
    search = copied.searches[index]
    texts = {k: v for k, v in {**search.meta, **meta}.items() if v is not None}
    copied.searches[index] = replace(search, meta=texts)
    return copied


# -- one problem ---------------------------------------------------------------------------------


def test_scores_at_the_end_equal_the_summary(make_run: Any) -> None:
    result = make_run("small")
    (problem,) = problem_comparisons([result])
    assert problem.name == "perplexity, latency@rtx3080 on gpt-s"
    assert problem.standard == "exact front"
    assert [score.optimizer for score in problem.scores] == ["random", "uniform"]
    for score in problem.scores:
        rows = [row for row in result.summary if row["optimizer"] == score.optimizer]
        assert score.seeds == (0, 1)
        assert score.evaluations.tolist() == [40, 40]
        assert score.status == "done"
        for metric in ("hypervolume", "normalised", "igd_plus", "epsilon"):
            np.testing.assert_allclose(score.values[metric], [row[metric] for row in rows])


# Max over members of the front, min over points, max over objectives.
def additive_epsilon(points: Any, front: Any) -> float:
    return float((points[None] - front[:, None]).max(axis=2).min(axis=1).max())


@pytest.mark.parametrize("third", [[], ["energy@h100"]])
def test_indicators_agree_with_moocore_and_pymoo(
    make_run: Any, small_run: dict[str, Any], third: list[str]
) -> None:
    objectives = [*small_run["objectives"], *third]
    result = make_run("three", objectives=objectives, seeds=1) if third else make_run("small")
    (problem,) = problem_comparisons([result])
    reference, front = result.reference, result.best_known
    for search in result.searches:
        values = {
            metric: problem.by_optimizer[search.optimizer].values[metric][search.seed]
            for metric in METRICS
        }
        losses = search.front.losses
        points, scaled_front = reference.scaled(losses), reference.scaled(front)
        hypervolume = HV(ref_point=reference.point)(losses)
        assert values["hypervolume"] == pytest.approx(hypervolume)
        assert values["hypervolume"] == pytest.approx(
            moocore.hypervolume(losses, ref=reference.point)
        )
        best = HV(ref_point=reference.point)(front) if not third else reference.best
        assert values["normalised"] == pytest.approx(hypervolume / best)
        assert values["igd_plus"] == pytest.approx(IGDPlus(scaled_front)(points))
        assert values["igd_plus"] == pytest.approx(moocore.igd_plus(points, ref=scaled_front))
        assert values["epsilon"] == pytest.approx(additive_epsilon(points, scaled_front))
        assert values["epsilon"] == pytest.approx(
            moocore.epsilon_additive(points, ref=scaled_front)
        )
        if not third:
            assert values["r2"] == pytest.approx(moocore.r2_exact(points, ref=[0.0, 0.0]))


def test_titles_of_functions_are_short(tmp_path: Path) -> None:
    result = hwnas.minimize(
        lambda config: {"error": config["a"], "ms": -config["a"]},
        {"a": [1, 2, 3]},
        ["error", "ms"],
        name="own",
        units={"ms": "ms"},
        optimizers="random",
        budget=3,
        out=tmp_path / "run",
        draw=False,
    )
    (problem,) = problem_comparisons([result])
    module = f"{__name__}:test_titles_of_functions_are_short.<locals>.<lambda>"
    assert problem.name == f"error, ms on own; python, function {module}"


def test_different_problems_are_separate(make_run: Any) -> None:
    # Each variant changes one part of the problem or of its scale.
    variants = [
        make_run("h100", objectives=["perplexity", "latency@h100"]),
        make_run("bound", constraints=["latency@rtx3080 <= 30"]),
        make_run("given", reference=[60.0, 60.0]),
        make_run("noisy", noise=True, budget={"evaluations": 60}),
    ]
    problems = problem_comparisons([make_run("small"), *variants])
    assert [problem.name for problem in problems] == [
        "perplexity, latency@rtx3080 on gpt-s (small)",
        "perplexity, latency@h100 on gpt-s",
        "perplexity, latency@rtx3080 on gpt-s; latency@rtx3080 <= 30",
        "perplexity, latency@rtx3080 on gpt-s (given)",
        "perplexity, latency@rtx3080 on gpt-s; with noise",
    ]
    noisy = make_run("noisy")
    rows = [row for row in noisy.summary if row["optimizer"] == "random"]
    values = problems[-1].by_optimizer["random"].values
    for metric in ("hypervolume", "igd_plus", "epsilon"):
        np.testing.assert_allclose(values[metric], [row[metric] for row in rows])


def test_seeds_of_equal_setups_are_pooled(make_run: Any) -> None:
    first, second = make_run("small"), make_run("more-seeds", seeds=[2, 5])
    (problem,) = problem_comparisons([first, second])
    assert [score.optimizer for score in problem.scores] == ["random", "uniform"]
    assert problem.scores[0].seeds == (0, 1, 2, 5)
    rows = [*first.summary, *second.summary]
    values = [row["igd_plus"] for row in rows if row["optimizer"] == "random"]
    np.testing.assert_allclose(problem.scores[0].values["igd_plus"], values)


def test_equal_names_get_labels_of_runs(make_run: Any) -> None:
    # Another budget must not be pooled, other seeds may.
    longer = make_run("longer", budget={"evaluations": 50}, optimizers=["random"], seeds=[7])
    (problem,) = problem_comparisons(
        [make_run("small"), make_run("more-seeds", seeds=[2, 5]), longer]
    )
    assert list(problem.by_optimizer) == ["random (small+more-seeds)", "random (longer)", "uniform"]
    repeat = make_run("again")  # the same seeds: another machine, another version
    (problem,) = problem_comparisons([make_run("small"), repeat])
    names = ["random (small)", "random (again)", "uniform (small)", "uniform (again)"]
    assert list(problem.by_optimizer) == names
    # Nor are other settings of the optimizer pooled.
    repeated = make_run("repeated", optimizers=[{"type": "random", "repeats": 3}], seeds=[9])
    assert list(problem_comparisons([make_run("small"), repeated])[0].by_optimizer)[:2] == [
        "random (small)",
        "random (repeated)",
    ]


def test_runs_with_equal_names_get_labels_of_directories(
    make_run: Any, small_run: dict[str, Any], tmp_path: Path
) -> None:
    repeat = run({**small_run, "budget": {"evaluations": 20}}, out=tmp_path / "short")
    assert list(problem_comparisons([make_run("small"), repeat])[0].by_optimizer)[:2] == [
        "random (small)",
        "random (short)",
    ]


def test_union_of_fronts_is_over_all_runs(
    sizes: dict[str, Any], small_run: dict[str, Any], tmp_path: Path
) -> None:
    results = [
        run({**small_run, **sizes, "name": name, "optimizers": [name]}, out=tmp_path / name)
        for name in ("random", "uniform")
    ]
    (problem,) = problem_comparisons(results)
    assert problem.standard == "union of all fronts"
    assert list(problem.by_optimizer) == ["random", "uniform"]
    # Without a known front, 1 is the hypervolume of all fronts together.
    fronts = [search.front.losses for result in results for search in result.searches]
    point = results[0].reference.point
    best = moocore.hypervolume(np.concatenate(fronts), ref=point)
    for score in problem.scores:
        np.testing.assert_allclose(score.values["normalised"], score.values["hypervolume"] / best)
        assert (score.values["normalised"] < 1).all()
        assert (score.values["r2"] >= 0).all()


def test_different_measured_references(
    sizes: dict[str, Any],
    small_run: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    results = []
    for drift in (1.0, 1.01):
        monkeypatch.setattr(Sizes, "drift", drift)
        for setting in ({}, {"reference": [30.0, 20.0]}):
            content = {**small_run, **sizes, **setting, "name": f"drift-{drift}-{len(setting)}"}
            results.append(run(content, out=tmp_path / content["name"]))
    # Measured references differ by the drift: two problems.
    apart = problem_comparisons(results[::2])
    assert [problem.name for problem in apart] == [
        "error, latency on gpt-s; sizes (drift-1.0-0)",
        "error, latency on gpt-s; sizes (drift-1.01-0)",
    ]
    assert all("give both the same 'reference:'" in problem.notes[0] for problem in apart)
    # The user's reference point is shared: one problem.
    (together,) = problem_comparisons(results[1::2])
    assert together.notes == ()
    # Runs of older versions have measured their scales in any case.
    shared = results[3].reference
    results[3].reference = replace(shared, ideal=shared.ideal + 0.1)
    (together,) = problem_comparisons(results[1::2])
    assert together.notes == ("all indicators but hypervolumes are on the scale of drift-1.0-1",)
    assert len(together.by_optimizer) == 4


# -- incomplete runs ------------------------------------------------------------------------------


def test_unfinished_searches_are_left_out(make_run: Any) -> None:
    result = changed(make_run("small"), 1, finished=None)
    (problem,) = problem_comparisons([result])
    assert problem.scores[0].seeds == (0,)
    assert problem.scores[0].status == "seed 0: done; seed 1: unfinished at 40, left out"
    # A search with an error is unfinished as well.
    broken = changed(make_run("small"), 1, finished=None, error="ValueError: no")
    assert (
        "seed 1: error: ValueError: no at 40, left out"
        in problem_comparisons([broken])[0].scores[0].status
    )
    (problem,) = problem_comparisons([result], at=30)
    assert problem.scores[0].seeds == (0, 1)
    assert problem.scores[0].status == "seed 0: done; seed 1: unfinished"


def test_missing_seeds_and_optimizers(make_run: Any) -> None:
    result = copy.copy(make_run("small"))
    result.searches = [make_run("small").searches[0]]
    (problem,) = problem_comparisons([result])
    assert problem.scores[0].status == "seed 0: done; seed 1: missing"
    assert problem.scores[1].status == "missing"
    assert list(problem.by_optimizer) == ["random"]
    # An optimizer without scores keeps its row, with empty columns.
    _, rows = tables.problem_table(compare([result]), problem)
    assert rows[1] == ["uniform", "0", *[""] * 7, "missing"]
    result.searches = [replace(result.searches[0], meta={**result.searches[0].meta})]
    del result.searches[0].meta["finished"]
    with pytest.raises(InvalidInput, match="no search has ended yet; --at N compares"):
        compare([result])


def test_empty_fronts_have_the_worst_scores(make_run: Any) -> None:
    tight = make_run("tight", constraints=["latency@rtx3080 <= 14.5"], budget={"evaluations": 3})
    comparison = compare([tight], metric="igd_plus")
    score = comparison.problems[0].by_optimizer["random"]
    assert score.values["igd_plus"].tolist() == [np.inf, np.inf]
    assert score.values["hypervolume"].tolist() == [0, 0]
    assert score.mean("r2") == score.best("r2") == np.inf
    assert np.isnan(score.interval("epsilon")).all()
    assert "inf" in export.markdown(comparison)


def test_runs_that_cannot_be_compared(make_run: Any) -> None:
    with pytest.raises(InvalidInput, match="expected at least one run"):
        compare([])
    with pytest.raises(InvalidInput, match="expected every run once, found it 2 times"):
        compare([make_run("small"), make_run("small")])
    with pytest.raises(UnknownName, match="unknown metric 'igd'; did you mean 'igd_plus'"):
        compare([make_run("small")], metric="igd")


# -- scores after N evaluations ------------------------------------------------------------------


@pytest.mark.parametrize("name", ["small", "noisy"])
def test_scores_after_evaluations_equal_the_trajectory(make_run: Any, name: str) -> None:
    changes = {"noise": True, "budget": {"evaluations": 60}} if name == "noisy" else {}
    result = make_run(name, **changes)
    for at in (1, 17, 40):
        (problem,) = problem_comparisons([result], at=at)
        for search, steps in zip(result.searches, result.trajectories, strict=True):
            score = problem.by_optimizer[search.optimizer]
            reached = np.searchsorted(steps.evaluations, at, side="right")
            # Before the first step of the trajectory the front is empty.
            expected = steps.normalised[reached - 1] if reached else 0.0
            assert score.values["normalised"][search.seed] == pytest.approx(expected)
            assert score.evaluations[search.seed] == at


def test_all_indicators_are_of_the_front_after_evaluations(make_run: Any) -> None:
    result = make_run("small")
    search = result.searches[0]
    front = front_at(result, search, 25)
    losses = front.losses
    assert front.evaluations == 25
    # Compute the front of the first 25 trials independently.
    first = search.losses[:25]
    assert {tuple(row) for row in losses} == {
        tuple(row) for row in first[moocore.is_nondominated(first)]
    }
    (problem,) = problem_comparisons([result], at=25)
    expected = moocore.r2_exact(result.reference.scaled(losses), ref=[0.0, 0.0])
    assert problem.by_optimizer["random"].values["r2"][0] == pytest.approx(expected)


def test_searches_that_ended_earlier_are_refused(make_run: Any) -> None:
    with pytest.raises(InvalidInput, match=r"--at 41: .*seed-0 ended after 40 .* at most 40"):
        compare([make_run("small")], at=41)
    with pytest.raises(InvalidInput, match="--at 0: expected at least 1"):
        compare([make_run("small")], at=0)
    # A search that exhausted its space is scored at its end.
    exhausted = make_run("small")
    for seed in (0, 1):
        exhausted = changed(exhausted, seed, exhausted="true")
    exhausted.searches = exhausted.searches[:2]
    (problem,) = problem_comparisons([exhausted], at=1000)
    assert problem.scores[0].evaluations.tolist() == [40, 40]


def test_workloads_of_one_name_are_separate_problems(make_run: Any) -> None:
    objectives = ["perplexity", "kv_cache.mine"]
    mine = {"prompt": 100, "generate": 50, "batch": 4}
    named = [
        make_run("ab"[i], objectives=objectives, workloads={"mine": workload, "unused": unused})
        for i, (workload, unused) in enumerate([(mine, mine), (mine, {**mine, "batch": 2})])
    ]
    scaled = make_run("c", objectives=objectives, workloads={"mine": {**mine, "precision": "int8"}})
    # Caches of int8 weights are those of bfloat16: the same numbers, of another workload.
    problems = problem_comparisons([*named, scaled])
    assert [problem.name for problem in problems] == [
        "perplexity, kv_cache.mine on gpt-s (a, b)",
        "perplexity, kv_cache.mine on gpt-s (c)",
    ]
