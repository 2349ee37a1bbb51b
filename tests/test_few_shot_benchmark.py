"""Predictors that the benchmark of fits sets beside them: known answers."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import hwnas
from hwnas.spaces import require_gpt, require_language_model

pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import few_shot
import few_shot_baselines
import few_shot_networks
import few_shot_report


def test_ridge_finds_a_linear_function() -> None:
    rng = np.random.default_rng(0)
    x = np.c_[np.ones(30), rng.random((30, 3))]
    y = x @ [5.0, 1.0, 2.0, 3.0]
    np.testing.assert_allclose(few_shot_baselines.ridge(x[:10], y[:10], x[10:]), y[10:], rtol=1e-4)


def test_the_nearest_device_is_scaled_and_shifted() -> None:
    rng = np.random.default_rng(0)
    known = rng.uniform(1, 2, (40, 3))
    y = 3 * known[:, 1] + 0.5
    i, h = np.arange(8), np.arange(8, 40)
    values = few_shot_baselines.nearest_affine(known, y, i, h)
    np.testing.assert_allclose(values, y[h], rtol=1e-4)


def test_counts_explain_what_is_a_sum_of_counts() -> None:
    space = require_gpt(hwnas.space("gpt-s"))
    codes = space.sample(60, np.random.default_rng(0))
    few = few_shot_baselines.counts(space, codes)
    y = few @ [1.0, 0.5, 2.0]
    i, h = np.arange(20), np.arange(20, 60)
    x = few_shot_baselines.features(space, codes)
    np.testing.assert_allclose(few_shot_baselines.centred_ridge(few, x, y, i, h), y[h], rtol=1e-3)


@pytest.mark.parametrize("name", ["meta", "embedding"])
def test_networks_learn_from_known_devices(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Devices weigh arithmetic, layers and heads differently: eight points suffice."""
    monkeypatch.setattr(few_shot_networks, "_STEPS", 150)
    space = require_gpt(hwnas.space("gpt-s"))
    rng = np.random.default_rng(0)
    codes = space.sample(600, rng)
    x = few_shot_networks.inputs(space, codes)
    depth = space.depths[codes[:, 1].astype(int)]
    parts = np.stack([space.flops(codes) / 1e12, depth / 10], axis=1)
    values = parts @ rng.uniform(0.5, 1.5, (2, 7))
    train = {
        "meta": few_shot_networks.train_meta_regressor,
        "embedding": few_shot_networks.train_device_embedding,
    }[name]
    model = train(x[:400], values[:400, :6], 0)
    i = few_shot.spread_points(codes[:, 0], 8, np.random.default_rng(0))
    h = np.arange(400, 600)
    error = np.abs(model.predict(x, values[:, 6], i, h) / values[h, 6] - 1).mean()
    plain = few_shot_baselines.ridge(x[i], values[i, 6], x[h])
    assert error < 0.04
    assert error < 0.5 * np.abs(plain / values[h, 6] - 1).mean()


@pytest.mark.parametrize("name", ["gpt-s", "llama-s"])
def test_features_are_of_the_width_and_of_differences_between_layers(name: str) -> None:
    space = require_language_model(hwnas.space(name))
    codes = space.sample(20, np.random.default_rng(0))
    rows = few_shot_baselines.features(space, codes)
    n_widths, n_layers = int(space.cardinalities[0]), len(space.layer_columns)
    n_effects = 2 + (len(space.choices) - 1) + 2 * len(space.layers)
    assert rows.shape == (20, n_effects * n_widths + len(space.layers) * n_layers)
    assert (abs(rows) <= 1).all()
    own = rows[:, : n_effects * n_widths].reshape(20, n_widths, n_effects)
    assert not own[np.arange(n_widths) != codes[:, :1]].any()
    contrasts = rows[:, n_effects * n_widths :].reshape(20, len(space.layers), n_layers)
    np.testing.assert_allclose(contrasts.sum(axis=2), 0, atol=1e-12)
    middle = few_shot_baselines.features(space, space.cardinalities[None] // 2)
    assert not middle[:, -len(space.layers) * n_layers :].any()


def test_designed_points_are_candidates_and_begin_with_fewer_ones() -> None:
    space = require_language_model(hwnas.space("gpt-s"))
    codes = space.sample(200, np.random.default_rng(0))
    candidates = np.arange(50, 150)
    chosen = few_shot.designed_points(space, codes, candidates, 20)
    assert len(set(chosen.tolist())) == 20
    assert set(chosen.tolist()) <= set(candidates.tolist())
    again = few_shot.designed_points(space, codes, candidates, 10)
    np.testing.assert_array_equal(chosen[:10], again)


@pytest.mark.parametrize(
    ("n", "held_out"), [(60, 20), (120, 40), (225, 175), (274, 200), (300, 200), (400, 300)]
)
def test_a_third_of_few_and_two_hundred_of_many_are_held_out(n: int, held_out: int) -> None:
    assert n - few_shot.candidate_count(n) == held_out


def test_points_are_spread_over_widths() -> None:
    width = np.repeat([0, 1, 2], 30)
    points = few_shot.spread_points(width, 10, np.random.default_rng(0))
    assert len(set(points.tolist())) == 10
    assert sorted(np.bincount(width[points])) == [3, 3, 4]


def test_what_misses_is_bold_and_what_loses_is_told() -> None:
    assert few_shot_report._join([1.104, 0.71, np.nan], 2, (1.1, 0.7, 0.5)) == "1.10 / **0.71** / -"
    row = {"error": "1.0", "tau": "", "coverage": "", "repetition": "0"}
    cells = {
        ("gpt-s", "latency", 10, "fit"): [row],
        ("gpt-s", "latency", 10, "ridge"): [{**row, "error": "0.9"}],
        ("gpt-s", "latency", 10, "counts"): [{**row, "error": "3.0"}],
    }
    text = few_shot_report._won(cells)
    assert text == "Of 2 comparisons with a baseline the fit wins 1; ridge wins 1 of 1."
