"""Plots of fronts, hypervolume and ranks: the data that they show."""

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
from hwnas.reports.plots import convergence, figures, kinds, style, trajectories
from hwnas.runner.results import Result
from hwnas.runner.search_result import Trajectory


def lines_by_label(axes: Any) -> dict[str, Any]:
    return {line.get_label(): line for line in axes.get_lines()}


def test_fronts_are_steps_with_the_exact_front_behind(finished_run: Result) -> None:
    axes = Figure().subplots()
    convergence.plot_fronts(axes, finished_run)
    lines = lines_by_label(axes)
    assert {"exact front", "random", "uniform"} <= set(lines)
    exact = lines["exact front"]
    assert exact.get_drawstyle() == "steps-post"
    assert finished_run.exact is not None
    np.testing.assert_array_equal(
        np.sort(exact.get_xdata()), np.sort(finished_run.exact.values[:, 0])
    )
    assert exact.get_zorder() < lines["random"].get_zorder()
    latency = [s.front.values[:, 1] for s in finished_run.searches if s.optimizer == "random"]
    np.testing.assert_array_equal(lines["random"].get_ydata(), np.concatenate(latency))
    assert axes.get_xlabel() == "perplexity"
    assert axes.get_ylabel() == "latency@rtx3080 (ms)"


def test_steps_of_a_maximized_objective_are_reversed() -> None:
    axes = Figure().subplots()
    objectives = (Objective("flops", maximise=True), Objective("latency", ("h100",)))
    style.plot_steps(axes, np.array([[1.0, 1.0], [2.0, 3.0]]), objectives)
    assert axes.get_lines()[0].get_drawstyle() == "steps-pre"


@pytest.mark.parametrize("missing", [False, True])
def test_hypervolume_lines(finished_run: Result, missing: bool) -> None:
    axes = Figure().subplots()
    convergence.plot_hypervolume(axes, finished_run, missing=missing)
    lines = lines_by_label(axes)
    assert set(lines) == {"random", "uniform", "bound: best k of the exact front"}
    for optimizer in ("random", "uniform"):
        last = [r["normalised"] for r in finished_run.summary if r["optimizer"] == optimizer]
        expected = 1 - np.mean(last) if missing else np.mean(last)
        assert lines[optimizer].get_ydata()[-1] == pytest.approx(expected)
        assert lines[optimizer].get_xdata()[-1] == 60
    # The best 20 members of the exact front have a hypervolume of 0.984.
    bound = lines["bound: best k of the exact front"]
    assert len(bound.get_xdata()) == 60
    assert bound.get_ydata()[19] == pytest.approx(0.016 if missing else 0.984, abs=0.002)
    assert axes.get_xscale() == "log"
    assert axes.get_yscale() == ("log" if missing else "linear")
    assert "relative to the exact front" in axes.get_ylabel()


# Steps of each seed of one optimizer: evaluations, cost, seconds, hypervolume, finished.
STEPS = {
    0: ([1, 3], [0.5, 2.0], [0.1, 0.4], [0.2, 0.6], True),
    1: ([2, 4], [1.0, 4.0], [0.3, 0.3], [0.4, 0.8], True),
}


def result_with_steps(run: Result, steps: dict[int, Any]) -> Result:
    """Return a result of one optimizer whose seeds have these steps."""
    result = copy.copy(run)
    searches = [replace(search, optimizer="stepped") for search in run.searches[: len(steps)]]
    result.searches = [
        replace(search, meta={"finished": "true"} if finished else {})
        for search, (*_, finished) in zip(searches, steps.values(), strict=True)
    ]
    result.trajectories = [
        Trajectory(*map(np.array, (evaluations, cost, seconds, values, values)))
        for evaluations, cost, seconds, values, _ in steps.values()
    ]
    return result


@pytest.mark.parametrize(
    ("x", "at", "mean"),
    [
        ("evaluations", [1, 2, 3, 4], [0.1, 0.3, 0.5, 0.7]),
        ("cost", [0.5, 1.0, 2.0, 4.0], [0.1, 0.3, 0.5, 0.7]),
        ("seconds", [0.1, 0.3, 0.4], [0.1, 0.5, 0.7]),
    ],
)
def test_seeds_are_averaged_as_step_functions(
    finished_run: Result, x: str, at: Any, mean: Any
) -> None:
    """Seeds have 0 before their first step, and their last value after their end."""
    axes = Figure().subplots()
    convergence.plot_hypervolume(axes, result_with_steps(finished_run, STEPS), x=x)
    lines = lines_by_label(axes)["stepped"]
    assert lines.get_drawstyle() == "steps-post"
    np.testing.assert_allclose(lines.get_xdata(), at)
    np.testing.assert_allclose(lines.get_ydata(), mean)
    assert lines.get_markevery() == [-1]


def test_unfinished_seeds_are_not_extrapolated(finished_run: Result) -> None:
    axes = Figure().subplots()
    convergence.plot_hypervolume(
        axes, result_with_steps(finished_run, {**STEPS, 0: (*STEPS[0][:4], False)}), x="cost"
    )
    np.testing.assert_allclose(lines_by_label(axes)["stepped"].get_xdata(), [0.5, 1.0, 2.0])


@pytest.mark.parametrize(
    ("x", "label"), [("cost", "cost (s of evaluation)"), ("seconds", "time (s)")]
)
def test_hypervolume_over_cost_and_time(finished_run: Result, x: str, label: str) -> None:
    figure = figures.hypervolume_figure(finished_run, x)
    for axes in figure.axes:
        lines = lines_by_label(axes)
        assert set(lines) == {"random", "uniform"}  # the bound is known over evaluations only
        assert axes.get_xlabel() == label
        assert axes.get_xscale() == "log"
        ends = [
            steps.columns()[x][-1]
            for search, steps in zip(finished_run.searches, finished_run.trajectories, strict=True)
            if search.optimizer == "random"
        ]
        assert lines["random"].get_xdata()[-1] == max(ends)
    with pytest.raises(UnknownName, match="unknown x axis 'second'; did you mean 'seconds'"):
        figures.hypervolume_figure(finished_run, "second")


def test_x_axis_cost_requires_costs(small_experiment: dict[str, Any], tmp_path: Path) -> None:
    result = run(
        {**small_experiment, "objectives": ["params", "flops"], "seeds": 1}, out=tmp_path / "x"
    )
    with pytest.raises(InvalidInput, match="'cost': no evaluation of this run took any time"):
        kinds.draw(result, x="cost")


def test_constraints_are_plotted(small_experiment: dict[str, Any], tmp_path: Path) -> None:
    content = {**small_experiment, "constraints": ["latency@rtx3080 <= 30"]}
    axes = Figure().subplots()
    convergence.plot_fronts(axes, run(content, out=tmp_path / "x"))
    assert any(list(line.get_ydata()) == [30, 30] for line in axes.get_lines())


def test_three_objectives_have_three_panels_and_one_in_3d(three_objective_run: Result) -> None:
    figure = figures.fronts_figure(three_objective_run)
    labels = [(panel.get_xlabel(), panel.get_ylabel()) for panel in figure.axes[:3]]
    assert labels == [
        ("perplexity", "params"),
        ("perplexity", "energy@h100 (mWh)"),
        ("params", "energy@h100 (mWh)"),
    ]
    space = figure.axes[3]
    assert isinstance(space, Axes3D)
    assert space.get_zlabel() == "energy@h100 (mWh)"
    exact, *fronts = space.collections
    assert len(exact.get_offsets()) > 100
    assert [len(points.get_offsets()) for points in fronts] == [
        sum(len(s.front) for s in three_objective_run.searches if s.optimizer == name)
        for name in ("random", "uniform")
    ]


def test_band_is_a_range_or_an_interval_of_the_mean() -> None:
    pair = np.array([[0.1, 0.5], [0.3, 0.5]])
    np.testing.assert_array_equal(trajectories.band(pair, False), [[0.1, 0.5], [0.3, 0.5]])
    six = np.random.default_rng(0).uniform(0.4, 0.6, size=(6, 3))
    low, high = trajectories.band(six, True)
    # Student's interval of the mean.
    half = t.ppf(0.975, 5) * six.std(axis=0, ddof=1) / 6**0.5
    np.testing.assert_allclose(low, six.mean(axis=0) - half)
    np.testing.assert_allclose(high, six.mean(axis=0) + half)
    # The interval of extreme values does not leave [0, 1].
    extreme = np.array([[0.0, 0.99]] * 3 + [[0.9, 1.0]] * 3)
    low, high = trajectories.band(extreme, True)
    assert low.min() >= 0
    assert high.max() <= 1


def test_intervals_require_five_seeds_of_every_optimizer(finished_run: Result) -> None:
    assert trajectories.band_name(finished_run) == "range"
    tripled = copy.copy(finished_run)
    tripled.searches = [search for search in finished_run.searches for _ in range(3)]
    assert trajectories.band_name(tripled) == "95 % interval"
    tripled.searches = tripled.searches[3:]  # one optimizer has only three seeds
    assert trajectories.band_name(tripled) == "range"


def test_ranks_end_at_the_first_unfinished_search(finished_run: Result) -> None:
    """Beyond its last evaluation an unfinished search may still improve."""
    unfinished = result_with_steps(finished_run, {0: (*STEPS[0][:4], False), 1: STEPS[1]})
    first, second = unfinished.searches
    trials = replace(first.trials, evaluations=first.trials.evaluations[:3])
    unfinished.searches = [
        replace(first, trials=trials),
        replace(second, optimizer="other", seed=0),
    ]
    _, at, _ = trajectories.mean_ranks([unfinished])
    assert at[-1] == 3


def test_ranks_are_means_over_seeds(finished_run: Result) -> None:
    names, at, mean = trajectories.mean_ranks([finished_run])
    assert names == ["random", "uniform"]
    assert at[0] == 1
    assert at[-1] == 60
    np.testing.assert_allclose(mean.sum(axis=0), 3)
    last = {(row["optimizer"], row["seed"]): row["normalised"] for row in finished_run.summary}
    ahead = np.mean([last["random", s] > last["uniform", s] for s in (0, 1)])
    assert mean[0, -1] == 2 - ahead
    axes = Figure().subplots()
    convergence.plot_mean_ranks(axes, [finished_run, finished_run])
    np.testing.assert_array_equal(lines_by_label(axes)["random"].get_ydata(), mean[0])
    low, high = axes.get_ylim()
    assert low > high  # the best rank is at the top


def test_ranks_require_two_optimizers(small_experiment: dict[str, Any], tmp_path: Path) -> None:
    alone = run({**small_experiment, "optimizers": ["random"], "seeds": 1}, out=tmp_path / "x")
    with pytest.raises(InvalidInput, match="expected two optimizers or more with a seed in common"):
        kinds.draw(alone, ["ranks"])
    with pytest.raises(InvalidInput, match="expected two optimizers or more, found random alone"):
        kinds.draw(alone, ["difference"])


@pytest.fixture(scope="module")
def unmeasured(
    small_experiment: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Result:
    """A noisy run in which "additive" recommends architectures that it never measured."""
    content = {**small_experiment, "noise": True, "optimizers": ["random", "additive"]}
    out = tmp_path_factory.mktemp("plots") / "unmeasured"
    return run({**content, "budget": {"evaluations": 30}}, out=out, draw=False)


@pytest.mark.parametrize("kind", ["fronts", "hypervolume", "attainment"])
def test_unmeasured_members_are_counted_in_legends(unmeasured: Result, kind: str) -> None:
    searches = [search for search in unmeasured.searches if search.optimizer == "additive"]
    n = sum(search.n_unmeasured for search in searches)
    size = sum(len(search.front) for search in searches)
    assert 0 < n < size
    figure = kinds.KINDS[kind].figure(unmeasured)
    (labels,) = [
        [text.get_text() for text in legend.get_texts()]
        for legend in [*figure.legends, *(axes.get_legend() for axes in figure.axes)]
        if legend is not None
    ]
    assert f"additive ({n} of {size} members unmeasured)" in labels
    assert "random" in labels


@pytest.mark.parametrize("missing", [False, True])
def test_hollow_markers_show_measured_members_alone(unmeasured: Result, missing: bool) -> None:
    axes = Figure().subplots()
    convergence.plot_hypervolume(axes, unmeasured, missing=missing)
    lines = lines_by_label(axes)
    assert "bound on measured members: best k of the exact front" in lines
    hollow = lines["hollow: measured members alone"]
    rows = [row for row in unmeasured.summary if row["optimizer"] == "additive"]
    measured = np.mean([row["normalised_measured"] for row in rows])
    assert measured < np.mean([row["normalised"] for row in rows])
    assert hollow.get_xydata().tolist() == [
        [30, pytest.approx(1 - measured if missing else measured)]
    ]
    # The marker is inside the axes, and is the only one: random measured all members.
    low, high = sorted(axes.get_ylim())
    assert low < hollow.get_ydata()[0] < high
    assert sum(line.get_markerfacecolor() == "white" for line in axes.get_lines()) == 1


def test_unfinished_searches_have_no_hollow_markers(unmeasured: Result) -> None:
    result = copy.copy(unmeasured)
    result.searches = [replace(search, meta={}) for search in unmeasured.searches]
    assert trajectories.measured_end(unmeasured, "additive") is not None
    assert trajectories.measured_end(unmeasured, "random") is None
    assert trajectories.measured_end(result, "additive") is None


def test_fronts_hold_no_infeasible_trials(small_experiment: dict[str, Any], tmp_path: Path) -> None:
    content = {**small_experiment, "constraints": ["bfloat16_memory <= 350"]}
    result = run(content, out=tmp_path / "bounded", draw=False)
    axes = Figure().subplots()
    convergence.plot_fronts(axes, result)
    random = [search for search in result.searches if search.optimizer == "random"]
    feasible = {
        tuple(values[:2])
        for search in random
        for values in search.trials.values.tolist()
        if values[2] <= 350
    }
    assert len(feasible) < sum(len(search.trials) for search in random)
    assert set(map(tuple, lines_by_label(axes)["random"].get_xydata().tolist())) <= feasible
