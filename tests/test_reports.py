"""Plots and tables: that they draw what the run found. How they look was looked at."""

from __future__ import annotations

import copy
import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from hwnas.errors import InvalidInput, UnknownName
from hwnas.objectives import Objective, parse_objectives
from hwnas.reports import plots, style
from hwnas.reports.attributions import HEADER, _measured, _telling, attribution, rows
from hwnas.reports.tables import overview
from hwnas.results import Result, Trajectory
from hwnas.runs import run
from hwnas.spaces import Codes, SearchSpace

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
    assert all(row[-1].endswith(".") for row in plots.described())
    drawn = {row[0]: row[1] for row in plots.described()}
    assert drawn["fronts"] == "by default"
    assert drawn["attribution"] == "if asked for"


def test_looks_differ() -> None:
    looks = [tuple(map(str, style.look(i).values())) for i in range(7)]
    assert len(set(looks)) == 7


def test_overview(done: Result) -> None:
    header, rows = overview(done)
    assert [row[0] for row in rows] == ["random", "uniform"]
    assert all(len(row) == len(header) for row in rows)
    mean = np.mean([r["normalised"] for r in done.summary if r["optimizer"] == "random"])
    assert rows[0][header.index("normalised")] == f"{mean:.4f}"


TINY = SearchSpace(
    "tiny",
    embed_dim=[192, 384],
    n_layer=[2, 3],
    mlp_ratio=[2, 3, 4],
    n_head=[4, 8, 12],
    bias=[False, True],
)


def measured(
    done: Result, codes: Codes, values: Any, *, std: Any = 0.0, fidelity: Any = -1, **of: Any
) -> Result:
    """A result whose only trials are these."""
    n = len(codes)
    values = np.asarray(values, dtype=float)
    made = copy.copy(done)
    made.space = of.get("space", TINY)
    made.objectives = parse_objectives(of.get("objectives", ["params"]))
    trials = replace(
        done.cells[0].trials,
        codes=codes,
        values=values,
        std=np.broadcast_to(std, values.shape),
        fidelity=np.broadcast_to(fidelity, n),
        status=of.get("status", ["ok"] * n),
    )
    made.cells = [replace(done.cells[0], trials=trials)]
    return made


def mostly_without_bias(n: int) -> Codes:
    codes = TINY.sample(n, np.random.default_rng(0))
    codes[::3, 2] = 0
    return codes


# What one step of a choice adds in made-up layers: by width, choice, layer.
STEP = np.array([[[1, 2, 3], [10, 8, 6]], [[2, 4, 8], [5, -3, 1]]]) / 10


def made_up(codes: Codes) -> Any:
    """Sums over layers with `STEP`, (n,)."""
    choices = codes[:, 3:].reshape(len(codes), 3, 2).swapaxes(1, 2)
    return 20 + 5 * codes[:, 0] + (choices * STEP[codes[:, 0]]).sum(axis=(1, 2))


def test_attribution_of_sums_is_their_terms(done: Result) -> None:
    codes = mostly_without_bias(300)
    values = np.stack([TINY.params(codes), TINY.flops(codes), made_up(codes)], axis=1)
    objectives = ["params", "-flops", "latency@h100"]
    found = attribution(measured(done, codes, values, objectives=objectives))
    assert found.units == ("", "", "ms")
    assert found.widths == (192, 384)
    assert found.choices == (("mlp_ratio", 2, 4), ("n_head", 4, 12))
    assert (found.depth, found.bias) == (3, False)
    assert found.networks == len(np.unique(codes, axis=0))
    # By hand: two matrices of an MLP twice as wide; four of 8 more heads of 64.
    by_hand = [[[4 * e * e] * 3, [4 * e * 64 * 8] * 3] for e in (192, 384)]
    np.testing.assert_allclose(found.effect[0], by_hand, rtol=3e-3)
    np.testing.assert_allclose(found.effect[1], 2048 * np.array(by_hand), rtol=3e-3)
    assert str(found.objectives[1]) == "flops"  # in its own units, whatever is wanted of it
    np.testing.assert_allclose(found.effect[2], 2 * STEP, atol=0.01)
    assert (found.low <= found.effect).all()
    assert (found.high >= found.effect).all()
    assert ((found.low[2] <= 2 * STEP) & (found.high[2] >= 2 * STEP)).mean() > 0.8
    assert (found.explained > 0.999).all()


def test_attribution_of_products_is_in_per_cent(done: Result) -> None:
    codes = mostly_without_bias(200)
    values = np.exp(made_up(codes))[:, None]
    found = attribution(measured(done, codes, values, objectives=["latency@h100"]))
    assert found.units == ("%",)
    np.testing.assert_allclose(found.effect[0], 100 * np.expm1(2 * STEP), rtol=0.02)


def test_attribution_is_a_table(done: Result) -> None:
    codes = mostly_without_bias(60)
    found = attribution(measured(done, codes, made_up(codes)[:, None]))
    header, table = rows(found)
    assert header == HEADER
    assert len(table) == 2 * 2 * 3
    (row,) = [row for row in table if row[2:5] == [384, "n_head", 2]]
    assert row[:2] == ["params", found.units[0]]
    assert row[5:] == [array[0, 1, 1, 1] for array in (found.effect, found.low, found.high)]


def test_attribution_leaves_out_what_is_no_choice(done: Result) -> None:
    one = SearchSpace("one", embed_dim=[64], n_layer=[3], mlp_ratio=[4], n_head=[1, 2])
    codes = one.sample(40, np.random.default_rng(0))
    found = attribution(measured(done, codes, one.params(codes)[:, None], space=one))
    assert found.choices == (("n_head", 1, 2),)
    np.testing.assert_allclose(found.effect[0, 0, 0], 4 * 64 * 64, rtol=0.02)
    none = SearchSpace("none", embed_dim=[64, 128], n_layer=[3], mlp_ratio=[4], n_head=[1])
    codes = none.sample(40, np.random.default_rng(0))
    with pytest.raises(InvalidInput, match="the layers of none have nothing to choose"):
        attribution(measured(done, codes, none.params(codes)[:, None], space=none))


def test_attribution_wants_eight_networks(done: Result, tmp_path: Path) -> None:
    codes = np.unique(mostly_without_bias(60), axis=0)[:8]
    values = TINY.params(codes)[:, None].astype(float)
    assert attribution(measured(done, codes, values)).networks == 8
    twice = np.concatenate([codes[:7], codes[:7]])
    few = measured(done, twice, np.concatenate([values[:7]] * 2))
    values[3] = np.nan
    failed = measured(done, codes, values, status=["ok"] * 3 + ["failed"] + ["ok"] * 4)
    for result in (few, failed):
        with pytest.raises(InvalidInput, match=r"expected at least 8 networks .* found 7"):
            plots.draw(result, ["attribution"], out=tmp_path / "none")
    assert not (tmp_path / "none").exists()
    with pytest.raises(InvalidInput, match="found 0"):
        attribution(measured(done, codes, values, status=["failed"] * 8))


def test_networks_count_once(done: Result) -> None:
    """Repeats are averaged, a draw that searches share is one, the highest fidelity counts."""
    a, b, c = np.unique(mostly_without_bias(60), axis=0)[:3]
    codes = np.stack([b, a, b, a, c, c])
    values = [[5.0], [1.0], [5.0], [3.0], [9.0], [7.0]]
    fidelity = [-1, -1, -1, -1, 1, 3]
    found = _measured(measured(done, codes, values, std=0.4, fidelity=fidelity))
    np.testing.assert_array_equal(found[0], [b, a, c])
    np.testing.assert_allclose(found[1], [[5.0], [2.0], [7.0]])
    np.testing.assert_allclose(found[2], [[0.4], [0.4 / np.sqrt(2)], [0.4]])


def test_of_many_networks_the_front_and_some_others_tell() -> None:
    x = np.linspace(0, 1, 50)
    front = np.stack([x, 1 - x], axis=1)
    others = np.random.default_rng(0).uniform(1.1, 2, size=(1000, 2))
    losses = np.concatenate([others[:500], front, others[500:]])
    chosen = _telling(losses)
    assert len(np.unique(chosen)) == 400
    assert set(range(500, 550)) <= set(chosen.tolist())
    assert (chosen < 500).sum() == 175
    np.testing.assert_array_equal(_telling(losses[:400]), np.arange(400))
    assert len(_telling(np.repeat([[1.0, 1.0]], 500, axis=0))) == 400


def test_attribution_is_drawn(done: Result) -> None:
    codes = mostly_without_bias(60)
    values = np.stack([made_up(codes), TINY.params(codes)], axis=1)
    objectives = ["latency@h100", "params"]
    result = measured(done, codes, values, objectives=objectives)
    found = attribution(result)
    made = plots.attribution_figure(result)
    assert len(made.axes) == 4
    assert made.get_suptitle().splitlines()[1].startswith("3 layers, without bias, by a model of")
    for (j, choice), axes in zip(np.ndindex(2, 2), made.axes, strict=True):
        for width in (0, 1):
            line = lines(axes)[f"embed_dim {found.widths[width]}"]
            np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3])
            np.testing.assert_array_equal(line.get_ydata(), found.effect[j, width, choice])
        value, said = axes.get_title().split("\n")
        assert value == objectives[j]
        assert said.startswith(("mlp_ratio 2 to 4: ", "n_head 4 to 12: ")[choice])
        unit = f" ({found.units[j]})" if found.units[j] else ""
        assert axes.get_ylabel() == f"change{unit}"
    little = replace(found, explained=np.array([0.9412, 0.96]))
    made.clear()
    for objective, axes in enumerate(made.subplots(2)):
        plots.effects(axes, little, objective)
        said = axes.get_title()
        assert ("less than 95 %: the picture tells little" in said) == (objective == 0)
    assert "mlp_ratio 2 to 4: 94.12 % of the variance adds up" in made.axes[0].get_title()


def test_attribution_is_drawn_when_asked_for(done: Result, tmp_path: Path) -> None:
    assert not list((done.path / "plots").glob("attribution*"))
    names = [file.name for file in plots.draw(done, out=tmp_path)]
    assert names == ["fronts.png", "hypervolume.png"]
    files = plots.draw(done, ["attribution"], suffix="svg", out=tmp_path)
    assert files == [tmp_path / "attribution.svg", tmp_path / "attribution.csv"]
    with files[1].open(newline="") as file:
        header, *table = csv.reader(file)
    assert header == HEADER
    assert len(table) == 2 * 3 * 2 * 12
    assert {row[0] for row in table} == {"perplexity", "latency@rtx3080"}
    assert all(float(row[6]) <= float(row[7]) for row in table)
    with pytest.raises(InvalidInput, match="attribution: is not drawn over cost"):
        plots.draw(done, ["attribution"], x="cost", out=tmp_path)
