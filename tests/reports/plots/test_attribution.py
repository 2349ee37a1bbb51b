"""Attribution of objectives to the choices of layers, learned from trials."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas.errors import InvalidInput
from hwnas.reports.plots import figures, kinds
from hwnas.reports.plots.attribution import attribution_table, fit_attribution, plot_effects
from hwnas.reports.plots.training_data import distinct_architectures, training_subset
from hwnas.runner.results import Result
from hwnas.spaces import GPTSpace, SearchSpace
from hwnas.typing import Codes

Make = Callable[..., Result]
HEADER = ["objective", "unit", "embed_dim", "choice", "layer", "effect", "low", "high"]


def sample_mostly_without_bias(tiny_space: SearchSpace, n: int) -> Codes:
    codes = tiny_space.sample(n, np.random.default_rng(0))
    # Most architectures decide about the bias for which effects are reported.
    codes[::3, 2] = 0
    return codes


# Effect of one step of a choice in synthetic layers, by width, choice and layer.
STEP = np.array([[[1, 2, 3], [10, 8, 6]], [[2, 4, 8], [5, -3, 1]]]) / 10


def synthetic_values(codes: Codes) -> Any:
    """Return sums over layers with `STEP`, (n,)."""
    choices = codes[:, 3:].reshape(len(codes), 3, 2).swapaxes(1, 2)
    return 20 + 5 * codes[:, 0] + (choices * STEP[codes[:, 0]]).sum(axis=(1, 2))


def test_effects_of_sums_are_their_terms(make_result: Make, tiny_space: SearchSpace) -> None:
    codes = sample_mostly_without_bias(tiny_space, 300)
    values = np.stack(
        [tiny_space.params(codes), tiny_space.flops(codes), synthetic_values(codes)], axis=1
    )
    objectives = ["params", "-flops", "latency@h100"]
    attribution = fit_attribution(make_result(codes, values, objectives=objectives))
    assert attribution.units == ("", "", "ms")
    assert attribution.widths == (192, 384)
    assert attribution.choices == (("mlp_ratio", 2, 4), ("n_head", 4, 12))
    assert (attribution.depth, attribution.fixed) == (3, {"bias": False})
    assert attribution.n_architectures == len(np.unique(codes, axis=0))
    # Parameters: two matrices of an MLP twice as wide; four matrices with 8 more heads of 64.
    expected = [[[4 * e * e] * 3, [4 * e * 64 * 8] * 3] for e in (192, 384)]
    np.testing.assert_allclose(attribution.effect[0], expected, rtol=3e-3)
    np.testing.assert_allclose(attribution.effect[1], 2048 * np.array(expected), rtol=3e-3)
    assert str(attribution.objectives[1]) == "flops"  # in its own units, although it is maximized
    np.testing.assert_allclose(attribution.effect[2], 2 * STEP, atol=0.01)
    assert (attribution.low <= attribution.effect).all()
    assert (attribution.high >= attribution.effect).all()
    assert ((attribution.low[2] <= 2 * STEP) & (attribution.high[2] >= 2 * STEP)).mean() > 0.8
    assert (attribution.explained > 0.999).all()


def test_effects_of_products_are_percentages(make_result: Make, tiny_space: SearchSpace) -> None:
    codes = sample_mostly_without_bias(tiny_space, 200)
    values = np.exp(synthetic_values(codes))[:, None]
    attribution = fit_attribution(make_result(codes, values, objectives=["latency@h100"]))
    assert attribution.units == ("%",)
    np.testing.assert_allclose(attribution.effect[0], 100 * np.expm1(2 * STEP), rtol=0.02)


def test_table_has_a_row_for_each_effect(make_result: Make, tiny_space: SearchSpace) -> None:
    codes = sample_mostly_without_bias(tiny_space, 60)
    attribution = fit_attribution(make_result(codes, synthetic_values(codes)[:, None]))
    header, table = attribution_table(attribution)
    assert header == HEADER
    assert len(table) == 2 * 2 * 3
    (row,) = [row for row in table if row[2:5] == [384, "n_head", 2]]
    assert row[:2] == ["params", attribution.units[0]]
    assert row[5:] == [
        array[0, 1, 1, 1] for array in (attribution.effect, attribution.low, attribution.high)
    ]


def test_choices_with_one_value_are_left_out(make_result: Make) -> None:
    # The only choice of this space is n_head: four matrices with one more head of 64.
    single = GPTSpace("single", embed_dim=[64], n_layer=[3], mlp_ratio=[4], n_head=[1, 2])
    codes = single.sample(40, np.random.default_rng(0))
    attribution = fit_attribution(make_result(codes, single.params(codes)[:, None], space=single))
    assert attribution.choices == (("n_head", 1, 2),)
    np.testing.assert_allclose(attribution.effect[0, 0, 0], 4 * 64 * 64, rtol=0.02)
    none = GPTSpace("none", embed_dim=[64, 128], n_layer=[3], mlp_ratio=[4], n_head=[1])
    codes = none.sample(40, np.random.default_rng(0))
    with pytest.raises(InvalidInput, match="the layers of none have no choices"):
        fit_attribution(make_result(codes, none.params(codes)[:, None], space=none))


def test_eight_architectures_are_required(
    make_result: Make, tiny_space: SearchSpace, tmp_path: Path
) -> None:
    codes = np.unique(sample_mostly_without_bias(tiny_space, 60), axis=0)[:8]
    values = tiny_space.params(codes)[:, None].astype(float)
    assert fit_attribution(make_result(codes, values)).n_architectures == 8
    repeated = np.concatenate([codes[:7], codes[:7]])
    seven = make_result(repeated, np.concatenate([values[:7]] * 2))
    values[3] = np.nan
    failed = make_result(codes, values, status=["ok"] * 3 + ["failed"] + ["ok"] * 4)
    for result in (seven, failed):
        with pytest.raises(
            InvalidInput, match="expected at least 8 measured architectures, found 7"
        ):
            kinds.draw(result, ["attribution"], out=tmp_path / "none")
    assert not (tmp_path / "none").exists()
    with pytest.raises(InvalidInput, match="found 0"):
        fit_attribution(make_result(codes, values, status=["failed"] * 8))


def test_architectures_count_once(make_result: Make, tiny_space: SearchSpace) -> None:
    """Repeats are averaged, a draw that searches share counts once, the highest fidelity counts."""
    a, b, c = np.unique(sample_mostly_without_bias(tiny_space, 60), axis=0)[:3]
    codes = np.stack([b, a, b, a, c, c])
    values = [[5.0], [1.0], [5.0], [3.0], [9.0], [7.0]]
    fidelity = [-1, -1, -1, -1, 1, 3]
    arrays = distinct_architectures(make_result(codes, values, std=0.4, fidelity=fidelity))
    np.testing.assert_array_equal(arrays[0], [b, a, c])
    np.testing.assert_allclose(arrays[1], [[5.0], [2.0], [7.0]])
    np.testing.assert_allclose(arrays[2], [[0.4], [0.4 / np.sqrt(2)], [0.4]])


def testtraining_subset_has_the_front_and_others_evenly() -> None:
    x = np.linspace(0, 1, 50)
    front = np.stack([x, 1 - x], axis=1)
    dominated = np.random.default_rng(0).uniform(1.1, 2, size=(1000, 2))
    losses = np.concatenate([dominated[:500], front, dominated[500:]])
    # The front is in the middle, and dominated points are taken evenly from both sides.
    chosen = training_subset(losses)
    assert len(np.unique(chosen)) == 400
    assert set(range(500, 550)) <= set(chosen.tolist())
    assert (chosen < 500).sum() == 175
    np.testing.assert_array_equal(training_subset(losses[:400]), np.arange(400))
    assert len(training_subset(np.repeat([[1.0, 1.0]], 500, axis=0))) == 400


def test_effects_are_plotted(make_result: Make, tiny_space: SearchSpace) -> None:
    codes = sample_mostly_without_bias(tiny_space, 60)
    values = np.stack([synthetic_values(codes), tiny_space.params(codes)], axis=1)
    objectives = ["latency@h100", "params"]
    result = make_result(codes, values, objectives=objectives)
    attribution = fit_attribution(result)
    figure = figures.attribution_figure(result)
    assert len(figure.axes) == 4
    assert figure.get_suptitle().splitlines()[1].startswith("3 layers, without bias, by a model of")
    for (j, choice), axes in zip(np.ndindex(2, 2), figure.axes, strict=True):
        for width in (0, 1):
            # One line for each width, with layers from 1.
            (line,) = (
                line
                for line in axes.get_lines()
                if line.get_label() == f"embed_dim {attribution.widths[width]}"
            )
            np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3])
            np.testing.assert_array_equal(line.get_ydata(), attribution.effect[j, width, choice])
        value, text = axes.get_title().split("\n")
        assert value == objectives[j]
        assert text.startswith(("mlp_ratio 2 to 4: ", "n_head 4 to 12: ")[choice])
        unit = f" ({attribution.units[j]})" if attribution.units[j] else ""
        assert axes.get_ylabel() == f"change{unit}"
    # Below 95 % of the variance a warning is part of the title.
    weak = replace(attribution, explained=np.array([0.9412, 0.96]))
    figure.clear()
    for objective, axes in enumerate(figure.subplots(2)):
        plot_effects(axes, weak, objective)
        title = axes.get_title()
        assert ("less than 95 %: the plot says little" in title) == (objective == 0)
    assert "mlp_ratio 2 to 4: 94.12 % of the variance is additive" in figure.axes[0].get_title()


def test_attribution_is_drawn_on_request(finished_run: Result, tmp_path: Path) -> None:
    assert not list((finished_run.path / "plots").glob("attribution*"))
    names = [file.name for file in kinds.draw(finished_run, out=tmp_path)]
    assert names == ["fronts.png", "hypervolume.png"]
    files = kinds.draw(finished_run, ["attribution"], suffix="svg", out=tmp_path)
    assert files == [tmp_path / "attribution.svg", tmp_path / "attribution.csv"]
    with files[1].open(newline="") as file:
        header, *table = csv.reader(file)
    assert header == HEADER
    assert len(table) == 2 * 3 * 2 * 12
    assert {row[0] for row in table} == {"perplexity", "latency@rtx3080"}
    assert all(float(row[6]) <= float(row[7]) for row in table)
    with pytest.raises(InvalidInput, match="attribution: has no x axis cost"):
        kinds.draw(finished_run, ["attribution"], x="cost", out=tmp_path)


def test_architectures_with_less_training_do_not_count(
    make_result: Make, tiny_space: SearchSpace, finished_run: Result
) -> None:
    codes = np.unique(sample_mostly_without_bias(tiny_space, 60), axis=0)[:4]
    trained = make_result(codes, [[9.0], [1.0], [2.0], [3.0]], fidelity=[20, 80, -1, 80])
    np.testing.assert_array_equal(distinct_architectures(trained)[1], [[1.0], [2.0], [3.0]])
    noisy = trained
    noisy.experiment = finished_run.experiment.model_copy(update={"noise": True})
    assert len(distinct_architectures(noisy)[0]) == 4  # fidelities are numbers of repeats
