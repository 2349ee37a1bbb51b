"""What searches found, drawn: fronts, hypervolume, ranks. How it looks was looked at."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d import Axes3D
from scipy.stats import t

from hwnas.api import run
from hwnas.errors import InvalidInput, UnknownName
from hwnas.objectives import Objective
from hwnas.reports.plots import convergence, kinds, style, trajectories
from hwnas.runner.results import Result
from hwnas.runner.search_result import Trajectory


def lines(axes: Any) -> dict[str, Any]:
    return {line.get_label(): line for line in axes.get_lines()}


def test_fronts_are_steps_with_the_exact_front_behind(done: Result) -> None:
    axes = Figure().subplots()
    convergence.fronts(axes, done)
    drawn = lines(axes)
    assert {"exact front", "random", "uniform"} <= set(drawn)
    exact = drawn["exact front"]
    assert exact.get_drawstyle() == "steps-post"
    assert done.exact is not None
    np.testing.assert_array_equal(np.sort(exact.get_xdata()), np.sort(done.exact.values[:, 0]))
    assert exact.get_zorder() < drawn["random"].get_zorder()
    np.testing.assert_array_equal(drawn["random"].get_ydata(), done.searches[0].front.values[:, 1])
    assert axes.get_xlabel() == "perplexity"
    assert axes.get_ylabel() == "latency@rtx3080 (ms)"


def test_steps_of_a_maximised_objective_go_the_other_way() -> None:
    axes = Figure().subplots()
    objectives = (Objective("flops", maximise=True), Objective("latency", ("h100",)))
    style.steps(axes, np.array([[1.0, 1.0], [2.0, 3.0]]), objectives)
    assert axes.get_lines()[0].get_drawstyle() == "steps-pre"


@pytest.mark.parametrize("missing", [False, True])
def test_hypervolume(done: Result, missing: bool) -> None:
    axes = Figure().subplots()
    convergence.hypervolume(axes, done, missing=missing)
    drawn = lines(axes)
    assert set(drawn) == {"random", "uniform", "bound: best k of the exact front"}
    for optimizer in ("random", "uniform"):
        last = [r["normalised"] for r in done.summary if r["optimizer"] == optimizer]
        expected = 1 - np.mean(last) if missing else np.mean(last)
        assert drawn[optimizer].get_ydata()[-1] == pytest.approx(expected)
        assert drawn[optimizer].get_xdata()[-1] == 60
    bound = drawn["bound: best k of the exact front"]
    assert len(bound.get_xdata()) == 60
    assert bound.get_ydata()[19] == pytest.approx(0.016 if missing else 0.984, abs=0.002)
    assert axes.get_xscale() == "log"
    assert axes.get_yscale() == ("log" if missing else "linear")
    assert "relative to the exact front" in axes.get_ylabel()


# Of one optimizer: the steps of each seed, and whether it ended.
STEPS = {
    0: ([1, 3], [0.5, 2.0], [0.1, 0.4], [0.2, 0.6], True),
    1: ([2, 4], [1.0, 4.0], [0.3, 0.3], [0.4, 0.8], True),
}


def stepping(done: Result, steps: dict[int, Any]) -> Result:
    """A result of one optimizer whose seeds take these steps."""
    made = copy.copy(done)
    cells = [replace(cell, optimizer="made") for cell in done.searches[: len(steps)]]
    made.searches = [
        replace(cell, meta={"finished": "true"} if ended else {})
        for cell, (*_, ended) in zip(cells, steps.values(), strict=True)
    ]
    made.trajectories = [
        Trajectory(*map(np.array, (evaluations, cost, seconds, values, values)))
        for evaluations, cost, seconds, values, _ in steps.values()
    ]
    return made


@pytest.mark.parametrize(
    ("x", "at", "mean"),
    [
        ("evaluations", [1, 2, 3, 4], [0.1, 0.3, 0.5, 0.7]),
        ("cost", [0.5, 1.0, 2.0, 4.0], [0.1, 0.3, 0.5, 0.7]),
        ("seconds", [0.1, 0.3, 0.4], [0.1, 0.5, 0.7]),
    ],
)
def test_seeds_are_averaged_as_steps(done: Result, x: str, at: Any, mean: Any) -> None:
    """Nothing before a seed's first step, the last of steps at once, its last after its end."""
    axes = Figure().subplots()
    convergence.hypervolume(axes, stepping(done, STEPS), x=x)
    drawn = lines(axes)["made"]
    assert drawn.get_drawstyle() == "steps-post"
    np.testing.assert_allclose(drawn.get_xdata(), at)
    np.testing.assert_allclose(drawn.get_ydata(), mean)
    assert drawn.get_markevery() == [-1]


def test_seeds_that_go_on_are_not_guessed_at(done: Result) -> None:
    axes = Figure().subplots()
    convergence.hypervolume(axes, stepping(done, {**STEPS, 0: (*STEPS[0][:4], False)}), x="cost")
    np.testing.assert_allclose(lines(axes)["made"].get_xdata(), [0.5, 1.0, 2.0])


@pytest.mark.parametrize(
    ("x", "label"), [("cost", "cost (s of evaluation)"), ("seconds", "time (s)")]
)
def test_hypervolume_over_cost_and_time(done: Result, x: str, label: str) -> None:
    made = kinds.hypervolume(done, x)
    for axes in made.axes:
        drawn = lines(axes)
        assert set(drawn) == {"random", "uniform"}  # no bound: it is one over evaluations
        assert axes.get_xlabel() == label
        assert axes.get_xscale() == "log"
        ends = [
            steps.columns()[x][-1]
            for cell, steps in zip(done.searches, done.trajectories, strict=True)
            if cell.optimizer == "random"
        ]
        assert drawn["random"].get_xdata()[-1] == max(ends)
    with pytest.raises(UnknownName, match="unknown x axis 'second'; did you mean 'seconds'"):
        kinds.hypervolume(done, "second")


def test_nothing_over_no_cost(small: dict[str, Any], tmp_path: Path) -> None:
    result = run({**small, "objectives": ["params", "flops"], "seeds": 1}, out=tmp_path / "x")
    with pytest.raises(InvalidInput, match="'cost': no evaluation of this run took any time"):
        kinds.draw(result, x="cost")


def test_bounds_are_drawn(small: dict[str, Any], tmp_path: Path) -> None:
    content = {**small, "constraints": ["latency@rtx3080 <= 30"]}
    axes = Figure().subplots()
    convergence.fronts(axes, run(content, out=tmp_path / "x"))
    assert any(list(line.get_ydata()) == [30, 30] for line in axes.get_lines())


def test_three_objectives_have_three_panels_and_one_in_space(three: Result) -> None:
    made = kinds.fronts(three)
    labels = [(panel.get_xlabel(), panel.get_ylabel()) for panel in made.axes[:3]]
    assert labels == [
        ("perplexity", "params"),
        ("perplexity", "energy@h100 (mWh)"),
        ("params", "energy@h100 (mWh)"),
    ]
    space = made.axes[3]
    assert isinstance(space, Axes3D)
    assert space.get_zlabel() == "energy@h100 (mWh)"
    exact, *found = space.collections
    assert len(exact.get_offsets()) > 100
    assert [len(points.get_offsets()) for points in found] == [
        sum(len(c.front) for c in three.searches if c.optimizer == name)
        for name in ("random", "uniform")
    ]


def test_the_band_of_few_seeds_is_their_range_and_of_many_an_interval() -> None:
    few = np.array([[0.1, 0.5], [0.3, 0.5]])
    np.testing.assert_array_equal(trajectories.band(few, False), [[0.1, 0.5], [0.3, 0.5]])
    many = np.random.default_rng(0).uniform(0.4, 0.6, size=(6, 3))
    low, high = trajectories.band(many, True)
    half = t.ppf(0.975, 5) * many.std(axis=0, ddof=1) / 6**0.5
    np.testing.assert_allclose(low, many.mean(axis=0) - half)
    np.testing.assert_allclose(high, many.mean(axis=0) + half)
    sure = np.array([[0.0, 0.99]] * 3 + [[0.9, 1.0]] * 3)
    low, high = trajectories.band(sure, True)
    assert low.min() >= 0
    assert high.max() <= 1


def test_an_interval_is_drawn_where_every_optimizer_has_the_seeds(done: Result) -> None:
    assert trajectories.band_is(done) == "range"
    more = copy.copy(done)
    more.searches = [cell for cell in done.searches for _ in range(3)]
    assert trajectories.band_is(more) == "95 % interval"
    more.searches = more.searches[3:]  # one seed of one optimizer has not begun
    assert trajectories.band_is(more) == "range"


def test_ranks_end_where_a_search_is(done: Result) -> None:
    """One that goes on is not shown losing from where it is."""
    going = stepping(done, {0: (*STEPS[0][:4], False), 1: STEPS[1]})
    first, second = going.searches
    trials = replace(first.trials, evaluations=first.trials.evaluations[:3])
    going.searches = [replace(first, trials=trials), replace(second, optimizer="other", seed=0)]
    _, at, _ = trajectories.mean_ranks([going])
    assert at[-1] == 3


def test_ranks_are_means_over_seeds(done: Result) -> None:
    names, at, mean = trajectories.mean_ranks([done])
    assert names == ["random", "uniform"]
    assert at[0] == 1
    assert at[-1] == 60
    np.testing.assert_allclose(mean.sum(axis=0), 3)
    last = {(row["optimizer"], row["seed"]): row["normalised"] for row in done.summary}
    ahead = np.mean([last["random", s] > last["uniform", s] for s in (0, 1)])
    assert mean[0, -1] == 2 - ahead
    axes = Figure().subplots()
    convergence.ranks(axes, [done, done])
    np.testing.assert_array_equal(lines(axes)["random"].get_ydata(), mean[0])
    low, high = axes.get_ylim()
    assert low > high  # the best above


def test_ranks_want_two_optimizers(small: dict[str, Any], tmp_path: Path) -> None:
    alone = run({**small, "optimizers": ["random"], "seeds": 1}, out=tmp_path / "x")
    with pytest.raises(InvalidInput, match="expected two optimizers or more with a seed in common"):
        kinds.draw(alone, ["ranks"])
    with pytest.raises(InvalidInput, match="expected two optimizers or more, found random alone"):
        kinds.draw(alone, ["difference"])
