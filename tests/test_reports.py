"""Plots and tables: that they draw what the run found. How they look was looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from hwnas.errors import UnknownName
from hwnas.objectives import Objective
from hwnas.reports import plots, style
from hwnas.reports.tables import overview
from hwnas.results import Result
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
