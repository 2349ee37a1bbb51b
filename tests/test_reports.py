"""Plots and tables: that they draw what the run found. How they look was looked at."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from hwnas.errors import InvalidInput, UnknownName
from hwnas.objectives import Objective
from hwnas.reports import plots, style
from hwnas.reports.tables import overview
from hwnas.results import Result, Trajectory
from hwnas.runs import run

SMALL: dict[str, Any] = {
    "name": "small",
    "space": "gpt-s",
    "objectives": ["perplexity", "latency@rtx3080"],
    "optimizers": ["random", "uniform"],
    "budget": {"evaluations": 60},
    "seeds": 2,
}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return run(SMALL, out=tmp_path_factory.mktemp("reports") / "x")


def lines(axes: Any) -> dict[str, Any]:
    return {line.get_label(): line for line in axes.get_lines()}


def test_fronts_are_steps_with_the_exact_front_behind(done: Result) -> None:
    axes = Figure().subplots()
    plots.fronts(axes, done)
    drawn = lines(axes)
    assert {"exact front", "random", "uniform"} <= set(drawn)
    exact = drawn["exact front"]
    assert exact.get_drawstyle() == "steps-post"
    assert done.exact is not None
    np.testing.assert_array_equal(np.sort(exact.get_xdata()), np.sort(done.exact.values[:, 0]))
    assert exact.get_zorder() < drawn["random"].get_zorder()
    np.testing.assert_array_equal(drawn["random"].get_ydata(), done.cells[0].front.values[:, 1])
    assert axes.get_xlabel() == "perplexity"
    assert axes.get_ylabel() == "latency@rtx3080 (ms)"


def test_steps_of_a_maximised_objective_go_the_other_way() -> None:
    axes = Figure().subplots()
    objectives = (Objective("flops", maximise=True), Objective("latency", ("h100",)))
    plots._steps(axes, np.array([[1.0, 1.0], [2.0, 3.0]]), objectives)
    assert axes.get_lines()[0].get_drawstyle() == "steps-pre"


@pytest.mark.parametrize("missing", [False, True])
def test_hypervolume(done: Result, missing: bool) -> None:
    axes = Figure().subplots()
    plots.hypervolume(axes, done, missing=missing)
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


STEPS = {  # of one optimizer: the steps of each seed, and whether it ended
    0: ([1, 3], [0.5, 2.0], [0.1, 0.4], [0.2, 0.6], True),
    1: ([2, 4], [1.0, 4.0], [0.3, 0.3], [0.4, 0.8], True),
}


def stepping(done: Result, steps: dict[int, Any]) -> Result:
    """A result of one optimizer whose seeds take these steps."""
    made = copy.copy(done)
    cells = [replace(cell, optimizer="made") for cell in done.cells[: len(steps)]]
    made.cells = [
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
    plots.hypervolume(axes, stepping(done, STEPS), x=x)
    drawn = lines(axes)["made"]
    assert drawn.get_drawstyle() == "steps-post"
    np.testing.assert_allclose(drawn.get_xdata(), at)
    np.testing.assert_allclose(drawn.get_ydata(), mean)
    assert drawn.get_markevery() == [-1]


def test_seeds_that_go_on_are_not_guessed_at(done: Result) -> None:
    axes = Figure().subplots()
    plots.hypervolume(axes, stepping(done, {**STEPS, 0: (*STEPS[0][:4], False)}), x="cost")
    np.testing.assert_allclose(lines(axes)["made"].get_xdata(), [0.5, 1.0, 2.0])


@pytest.mark.parametrize(
    ("x", "label"), [("cost", "cost (s of evaluation)"), ("seconds", "time (s)")]
)
def test_hypervolume_over_cost_and_time(done: Result, x: str, label: str) -> None:
    made = plots.hypervolume_figure(done, x)
    for axes in made.axes:
        drawn = lines(axes)
        assert set(drawn) == {"random", "uniform"}  # no bound: it is one over evaluations
        assert axes.get_xlabel() == label
        assert axes.get_xscale() == "log"
        ends = [
            steps.columns()[x][-1]
            for cell, steps in zip(done.cells, done.trajectories, strict=True)
            if cell.optimizer == "random"
        ]
        assert drawn["random"].get_xdata()[-1] == max(ends)
    with pytest.raises(UnknownName, match="unknown x axis 'second'; did you mean 'seconds'"):
        plots.hypervolume_figure(done, "second")


def test_nothing_over_no_cost(tmp_path: Path) -> None:
    result = run({**SMALL, "objectives": ["params", "flops"], "seeds": 1}, out=tmp_path / "x")
    with pytest.raises(InvalidInput, match="'cost': no evaluation of this run took any time"):
        plots.draw(result, x="cost")


def test_three_objectives_have_three_panels(tmp_path: Path) -> None:
    content = {**SMALL, "objectives": ["perplexity", "params", "energy@h100"], "seeds": 1}
    result = run({**content, "optimizers": ["random"]}, out=tmp_path / "x")
    made = plots.fronts_figure(result)
    labels = [(panel.get_xlabel(), panel.get_ylabel()) for panel in made.axes]
    assert labels == [
        ("perplexity", "params"),
        ("perplexity", "energy@h100 (mWh)"),
        ("params", "energy@h100 (mWh)"),
    ]


def test_bounds_are_drawn(tmp_path: Path) -> None:
    content = {**SMALL, "constraints": ["latency@rtx3080 <= 30"]}
    axes = Figure().subplots()
    plots.fronts(axes, run(content, out=tmp_path / "x"))
    assert any(list(line.get_ydata()) == [30, 30] for line in axes.get_lines())


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_files(done: Result, tmp_path: Path, suffix: str) -> None:
    files = plots.draw(done, ["fronts"], suffix=suffix, out=tmp_path)
    assert files == [tmp_path / f"fronts.{suffix}"]
    begins = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[suffix]
    assert files[0].read_bytes().startswith(begins)


def test_files_over_cost(done: Result, tmp_path: Path) -> None:
    assert plots.draw(done, x="cost", out=tmp_path) == [
        tmp_path / "fronts.png",
        tmp_path / "hypervolume-cost.png",
    ]
    (file,) = plots.draw(done, ["hypervolume"], x="evaluations", out=tmp_path)
    assert file == tmp_path / "hypervolume.png"
    assert file.read_bytes() != (tmp_path / "hypervolume-cost.png").read_bytes()
    with pytest.raises(InvalidInput, match="fronts: is not drawn over cost; only hypervolume can"):
        plots.draw(done, ["hypervolume", "fronts"], x="cost", out=tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_unknown_kind(done: Result, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="unknown kind of plot 'front'; did you mean 'fronts'"):
        plots.draw(done, ["front"], out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_kinds_are_described() -> None:
    assert [row[0] for row in plots.described()] == list(plots.KINDS)
    assert all(row[1].endswith(".") for row in plots.described())


def test_looks_differ() -> None:
    looks = [tuple(map(str, style.look(i).values())) for i in range(7)]
    assert len(set(looks)) == 7


def test_overview(done: Result) -> None:
    header, rows = overview(done)
    assert [row[0] for row in rows] == ["random", "uniform"]
    assert all(len(row) == len(header) for row in rows)
    mean = np.mean([r["normalised"] for r in done.summary if r["optimizer"] == "random"])
    assert rows[0][header.index("normalised")] == f"{mean:.4f}"
