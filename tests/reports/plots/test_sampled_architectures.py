"""Architectures that represent a space: their source, features and groups."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import hwnas
from hwnas.errors import InvalidInput
from hwnas.objectives import Objective
from hwnas.reports.plots.features import Feature, architecture_features, feature_groups
from hwnas.reports.plots.sampled_architectures import (
    measured_architectures,
    representative_architectures,
    sample_architectures,
)
from hwnas.reports.plots.style import axis_label
from hwnas.runner.results import Result
from hwnas.spaces import GPTSpace, SearchSpace
from hwnas.workloads import BUILT_IN, kv_cache


def test_random_architectures_have_every_metric_of_the_surrogate() -> None:
    backend = hwnas.surrogate("gpt-s")
    architectures = sample_architectures(backend, 50)
    assert len(architectures) == 50
    assert architectures.source == "50 random architectures of gpt-s"
    assert {"params", "perplexity", "energy@h100"} <= set(map(str, architectures.objectives))
    latency = Objective.parse("latency@h100")
    np.testing.assert_array_equal(
        architectures.column(latency), backend.predict(architectures.codes, ["latency@h100"])[:, 0]
    )
    np.testing.assert_array_equal(
        architectures.select([latency]).values[:, 0], architectures.column(latency)
    )
    np.testing.assert_array_equal(sample_architectures(backend, 50).codes, architectures.codes)


def test_architectures_of_a_run_count_once(
    make_result: Callable[..., Result], tiny_space: SearchSpace
) -> None:
    a, b = tiny_space.sample(2, np.random.default_rng(0))
    codes = np.stack([a, b, a, b])
    status = ["ok", "ok", "ok", "failed"]
    architectures = measured_architectures(
        make_result(codes, [[1.0], [2.0], [3.0], [np.nan]], status=status)
    )
    assert sorted(architectures.values[:, 0]) == [2.0, 3.0]  # the last value of a
    assert architectures.source == "2 measured architectures"
    with pytest.raises(InvalidInput, match="no architecture has been measured yet"):
        measured_architectures(make_result(codes[:1], [[np.nan]], status=["failed"]))


def test_source_of_representative_architectures(finished_run: Result) -> None:
    architectures = representative_architectures(finished_run)
    assert architectures.source == "2,000 random architectures of gpt-s"
    assert architectures.head(5).source == "5 random architectures of gpt-s"
    assert len(architectures.head(5)) == 5
    unknown = copy.copy(finished_run)  # no front is known: its backend may be slow
    unknown.reference = replace(finished_run.reference, best=None)
    assert representative_architectures(unknown).source.endswith(" measured architectures")


def test_features_are_means_over_active_layers(tiny_space: SearchSpace) -> None:
    codes = tiny_space.sample(30, np.random.default_rng(1))
    features = {k: f.values for k, f in architecture_features(tiny_space, codes).items()}
    assert list(features) == ["embed_dim", "n_layer", "mean mlp_ratio", "mean n_head", "bias"]
    for i, arch in enumerate(tiny_space.decode(codes)):
        assert features["embed_dim"][i] == arch.embed_dim
        assert features["n_layer"][i] == arch.n_layer
        assert features["mean mlp_ratio"][i] == pytest.approx(np.mean(arch.mlp_ratio))
        assert features["mean n_head"][i] == pytest.approx(np.mean(arch.n_head))
        assert features["bias"][i] == arch.bias
    single = GPTSpace("one", embed_dim=[64], n_layer=[3], mlp_ratio=[4], n_head=[1, 2])
    assert list(architecture_features(single, single.sample(3, np.random.default_rng(0)))) == [
        "mean n_head",
        "bias",
    ]


def test_groups_are_values_or_thirds() -> None:
    values = np.array([3.0, 1.0, 3.0, 2.0])
    assert [(name, inside.sum()) for name, inside in feature_groups(Feature(values))] == [
        ("1", 1),
        ("2", 1),
        ("3", 2),
    ]
    # More than six values are grouped in thirds, and every value is in one group.
    groups = feature_groups(Feature(np.arange(90.0)))
    assert [name for name, _ in groups] == ["0 to 29", "30 to 59", "60 to 89"]
    assert (np.sum([inside for _, inside in groups], axis=0) == 1).all()


def test_closed_forms_of_workloads_are_sampled_too() -> None:
    backend = hwnas.surrogate("gpt-s")
    cache = Objective.parse("kv_cache.serve")
    sample = sample_architectures(backend, 50, closed_forms=[cache])
    plain = sample_architectures(backend, 50)
    assert sample.objectives == (cache, *plain.objectives)
    np.testing.assert_array_equal(sample.values[:, 1:], plain.values)
    expected = kv_cache(backend.space, sample.codes, BUILT_IN["serve"])
    np.testing.assert_array_equal(sample.values[:, 0], expected)
    assert axis_label(cache, sample.units) == "kv_cache.serve (MB)"
