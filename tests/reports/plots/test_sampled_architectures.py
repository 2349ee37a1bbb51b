"""Networks that stand for a space: which, what is known of them, how they are grouped."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

import hwnas
from hwnas.errors import InvalidInput
from hwnas.objectives import Objective
from hwnas.reports.plots import sampled_architectures
from hwnas.reports.plots.sampled_architectures import (
    aspects,
    drawn_at_random,
    grouped,
    kendall,
    measured_in,
)
from hwnas.runner.results import Result
from hwnas.spaces import SearchSpace


def test_random_networks_have_every_metric_of_the_surrogate() -> None:
    bench = hwnas.surrogate("gpt-s")
    found = drawn_at_random(bench, 50)
    assert len(found) == 50
    assert found.source == "50 random networks of gpt-s"
    assert {"params", "perplexity", "energy@h100"} <= set(map(str, found.objectives))
    latency = Objective.parse("latency@h100")
    np.testing.assert_array_equal(
        found.column(latency), bench.predict(found.codes, ["latency@h100"])[:, 0]
    )
    np.testing.assert_array_equal(found.only([latency]).values[:, 0], found.column(latency))
    np.testing.assert_array_equal(drawn_at_random(bench, 50).codes, found.codes)


def test_networks_of_a_run_count_once(measured: Callable[..., Result], tiny: SearchSpace) -> None:
    a, b = tiny.sample(2, np.random.default_rng(0))
    codes = np.stack([a, b, a, b])
    status = ["ok", "ok", "ok", "failed"]
    found = measured_in(measured(codes, [[1.0], [2.0], [3.0], [np.nan]], status=status))
    assert sorted(found.values[:, 0]) == [2.0, 3.0]  # of a, the last
    assert found.source == "2 networks that were measured"
    with pytest.raises(InvalidInput, match="no network was measured here yet"):
        measured_in(measured(codes[:1], [[np.nan]], status=["failed"]))


def test_where_networks_come_from(done: Result) -> None:
    found = sampled_architectures.population_of(done)
    assert found.source == "2,000 random networks of gpt-s"
    assert found.first(5).source == "5 random networks of gpt-s"
    assert len(found.first(5)) == 5
    unknown = copy.copy(done)  # no front is known: its backend may take hours for each network
    unknown.reference = replace(done.reference, best=None)
    assert sampled_architectures.population_of(unknown).source.endswith(
        "networks that were measured"
    )


def test_aspects_are_means_over_the_layers_there_are(tiny: SearchSpace) -> None:
    codes = tiny.sample(30, np.random.default_rng(1))
    found = aspects(tiny, codes)
    assert list(found) == ["embed_dim", "n_layer", "mean mlp_ratio", "mean n_head", "bias"]
    for i, arch in enumerate(tiny.decode(codes)):
        assert found["embed_dim"][i] == arch.embed_dim
        assert found["n_layer"][i] == arch.n_layer
        assert found["mean mlp_ratio"][i] == pytest.approx(np.mean(arch.mlp_ratio))
        assert found["mean n_head"][i] == pytest.approx(np.mean(arch.n_head))
        assert found["bias"][i] == arch.bias
    one = SearchSpace("one", embed_dim=[64], n_layer=[3], mlp_ratio=[4], n_head=[1, 2])
    assert list(aspects(one, one.sample(3, np.random.default_rng(0)))) == ["mean n_head", "bias"]


def test_few_values_are_groups_and_many_thirds() -> None:
    values = np.array([3.0, 1.0, 3.0, 2.0])
    assert [(name, inside.sum()) for name, inside in grouped(values)] == [
        ("1", 1),
        ("2", 1),
        ("3", 2),
    ]
    groups = grouped(np.arange(90.0))
    assert [name for name, _ in groups] == ["0 to 29", "30 to 59", "60 to 89"]
    assert (np.sum([inside for _, inside in groups], axis=0) == 1).all()


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=30))
def test_rank_correlation_is_that_of_scipy(pairs: list[tuple[int, int]]) -> None:
    values = np.array(pairs, dtype=float)
    if (np.ptp(values, axis=0) == 0).any():
        return  # nothing to correlate
    expected = kendalltau(*values.T, variant="b").statistic
    assert kendall(values)[0, 1] == pytest.approx(expected)
    assert kendall(values)[0, 0] == pytest.approx(1)
