"""Attribution: what layers cost and bring, learned from trials."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas.errors import InvalidInput
from hwnas.reports.plots import attribution as attributions
from hwnas.reports.plots import kinds
from hwnas.reports.plots.attribution import HEADER, _measured, _telling, attribution, rows
from hwnas.runner.results import Result
from hwnas.spaces import Codes, SearchSpace

Make = Callable[..., Result]


def mostly_without_bias(tiny: SearchSpace, n: int) -> Codes:
    codes = tiny.sample(n, np.random.default_rng(0))
    codes[::3, 2] = 0
    return codes


# What one step of a choice adds in made-up layers: by width, choice, layer.
STEP = np.array([[[1, 2, 3], [10, 8, 6]], [[2, 4, 8], [5, -3, 1]]]) / 10


def made_up(codes: Codes) -> Any:
    """Sums over layers with `STEP`, (n,)."""
    choices = codes[:, 3:].reshape(len(codes), 3, 2).swapaxes(1, 2)
    return 20 + 5 * codes[:, 0] + (choices * STEP[codes[:, 0]]).sum(axis=(1, 2))


def test_attribution_of_sums_is_their_terms(measured: Make, tiny: SearchSpace) -> None:
    codes = mostly_without_bias(tiny, 300)
    values = np.stack([tiny.params(codes), tiny.flops(codes), made_up(codes)], axis=1)
    objectives = ["params", "-flops", "latency@h100"]
    found = attribution(measured(codes, values, objectives=objectives))
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


def test_attribution_of_products_is_in_per_cent(measured: Make, tiny: SearchSpace) -> None:
    codes = mostly_without_bias(tiny, 200)
    values = np.exp(made_up(codes))[:, None]
    found = attribution(measured(codes, values, objectives=["latency@h100"]))
    assert found.units == ("%",)
    np.testing.assert_allclose(found.effect[0], 100 * np.expm1(2 * STEP), rtol=0.02)


def test_attribution_is_a_table(measured: Make, tiny: SearchSpace) -> None:
    codes = mostly_without_bias(tiny, 60)
    found = attribution(measured(codes, made_up(codes)[:, None]))
    header, table = rows(found)
    assert header == HEADER
    assert len(table) == 2 * 2 * 3
    (row,) = [row for row in table if row[2:5] == [384, "n_head", 2]]
    assert row[:2] == ["params", found.units[0]]
    assert row[5:] == [array[0, 1, 1, 1] for array in (found.effect, found.low, found.high)]


def test_attribution_leaves_out_what_is_no_choice(measured: Make) -> None:
    one = SearchSpace("one", embed_dim=[64], n_layer=[3], mlp_ratio=[4], n_head=[1, 2])
    codes = one.sample(40, np.random.default_rng(0))
    found = attribution(measured(codes, one.params(codes)[:, None], space=one))
    assert found.choices == (("n_head", 1, 2),)
    np.testing.assert_allclose(found.effect[0, 0, 0], 4 * 64 * 64, rtol=0.02)
    none = SearchSpace("none", embed_dim=[64, 128], n_layer=[3], mlp_ratio=[4], n_head=[1])
    codes = none.sample(40, np.random.default_rng(0))
    with pytest.raises(InvalidInput, match="the layers of none have nothing to choose"):
        attribution(measured(codes, none.params(codes)[:, None], space=none))


def test_attribution_wants_eight_networks(
    measured: Make, tiny: SearchSpace, tmp_path: Path
) -> None:
    codes = np.unique(mostly_without_bias(tiny, 60), axis=0)[:8]
    values = tiny.params(codes)[:, None].astype(float)
    assert attribution(measured(codes, values)).networks == 8
    twice = np.concatenate([codes[:7], codes[:7]])
    few = measured(twice, np.concatenate([values[:7]] * 2))
    values[3] = np.nan
    failed = measured(codes, values, status=["ok"] * 3 + ["failed"] + ["ok"] * 4)
    for result in (few, failed):
        with pytest.raises(InvalidInput, match=r"expected at least 8 networks .* found 7"):
            kinds.draw(result, ["attribution"], out=tmp_path / "none")
    assert not (tmp_path / "none").exists()
    with pytest.raises(InvalidInput, match="found 0"):
        attribution(measured(codes, values, status=["failed"] * 8))


def test_networks_count_once(measured: Make, tiny: SearchSpace) -> None:
    """Repeats are averaged, a draw that searches share is one, the highest fidelity counts."""
    a, b, c = np.unique(mostly_without_bias(tiny, 60), axis=0)[:3]
    codes = np.stack([b, a, b, a, c, c])
    values = [[5.0], [1.0], [5.0], [3.0], [9.0], [7.0]]
    fidelity = [-1, -1, -1, -1, 1, 3]
    found = _measured(measured(codes, values, std=0.4, fidelity=fidelity))
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


def test_attribution_is_drawn(measured: Make, tiny: SearchSpace) -> None:
    codes = mostly_without_bias(tiny, 60)
    values = np.stack([made_up(codes), tiny.params(codes)], axis=1)
    objectives = ["latency@h100", "params"]
    result = measured(codes, values, objectives=objectives)
    found = attribution(result)
    made = kinds.attribution(result)
    assert len(made.axes) == 4
    assert made.get_suptitle().splitlines()[1].startswith("3 layers, without bias, by a model of")
    for (j, choice), axes in zip(np.ndindex(2, 2), made.axes, strict=True):
        for width in (0, 1):
            (line,) = (
                one
                for one in axes.get_lines()
                if one.get_label() == f"embed_dim {found.widths[width]}"
            )
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
        attributions.effects(axes, little, objective)
        said = axes.get_title()
        assert ("less than 95 %: the picture tells little" in said) == (objective == 0)
    assert "mlp_ratio 2 to 4: 94.12 % of the variance adds up" in made.axes[0].get_title()


def test_attribution_is_drawn_when_asked_for(done: Result, tmp_path: Path) -> None:
    assert not list((done.path / "plots").glob("attribution*"))
    names = [file.name for file in kinds.draw(done, out=tmp_path)]
    assert names == ["fronts.png", "hypervolume.png"]
    files = kinds.draw(done, ["attribution"], suffix="svg", out=tmp_path)
    assert files == [tmp_path / "attribution.svg", tmp_path / "attribution.csv"]
    with files[1].open(newline="") as file:
        header, *table = csv.reader(file)
    assert header == HEADER
    assert len(table) == 2 * 3 * 2 * 12
    assert {row[0] for row in table} == {"perplexity", "latency@rtx3080"}
    assert all(float(row[6]) <= float(row[7]) for row in table)
    with pytest.raises(InvalidInput, match="attribution: is not drawn over cost"):
        kinds.draw(done, ["attribution"], x="cost", out=tmp_path)


def test_networks_that_were_trained_less_do_not_count(
    measured: Make, tiny: SearchSpace, done: Result
) -> None:
    codes = np.unique(mostly_without_bias(tiny, 60), axis=0)[:4]
    trained = measured(codes, [[9.0], [1.0], [2.0], [3.0]], fidelity=[20, 80, -1, 80])
    np.testing.assert_array_equal(_measured(trained)[1], [[1.0], [2.0], [3.0]])
    noisy = trained
    noisy.experiment = done.experiment.model_copy(update={"noise": True})
    assert len(_measured(noisy)[0]) == 4  # repeats of a draw, which are all of the same thing
