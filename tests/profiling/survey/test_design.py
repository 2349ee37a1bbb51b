from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import hwnas
from hwnas.errors import InvalidInput
from hwnas.profiling.survey.design import (
    anchor,
    corners,
    d_optimal_design,
    features,
    select_rows,
)
from hwnas.spaces import Codes, GPTSpace, LlamaSpace, SearchSpace

GPT_S = hwnas.space("gpt-s")
seeds = st.integers(0, 2**32 - 1)


def choices(max_size: int, largest: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(1, largest), min_size=1, max_size=max_size, unique=True).map(sorted)


@st.composite
def spaces(draw: st.DrawFn) -> SearchSpace:
    return GPTSpace(
        "random",
        embed_dim=draw(choices(3, 1024)),
        n_layer=draw(choices(3, 4)),
        mlp_ratio=draw(choices(2, 6)),
        n_head=draw(choices(2, 16)),
        bias=draw(st.sampled_from([[False], [False, True]])),
    )


@st.composite
def spaces_of_any_family(draw: st.DrawFn) -> SearchSpace:
    if draw(st.booleans()):
        return draw(spaces())
    return LlamaSpace(
        "random",
        embed_dim=draw(choices(3, 1024)),
        n_layer=draw(choices(3, 4)),
        mlp_dim=draw(st.sampled_from([[0, 8], [8, 16, 32], [64]])),
        n_head=draw(st.sampled_from([[0, 2], [2, 4, 6], [4]])),
        n_kv_head=[1, 2],
        tied=draw(st.sampled_from([[False], [False, True]])),
    )


def design(space: SearchSpace, n: int, seed: int = 0) -> Codes:
    return d_optimal_design(space, n, np.random.default_rng(seed))


def log_determinant(space: SearchSpace, codes: Codes) -> float:
    """Logarithm of the determinant of the information."""
    rows = features(space, codes)
    return float(np.linalg.slogdet(0.01 * np.eye(rows.shape[1]) + rows.T @ rows)[1])


# -- designs -------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=20)
@given(spaces_of_any_family(), seeds, st.integers(1, 60))
def test_architectures_are_distinct_and_in_the_space(space: SearchSpace, seed: int, n: int) -> None:
    n = min(n, space.size)
    codes = design(space, n, seed)
    assert (codes.dtype, codes.shape) == (np.int8, (n, len(space.columns)))
    assert codes.flags.c_contiguous
    assert space.is_valid(codes).all()
    assert len(np.unique(codes, axis=0)) == n


def test_longer_design_begins_with_shorter_one() -> None:
    longer = design(GPT_S, 270)  # more than are chosen from one pool
    for n in (1, 40, 265):
        np.testing.assert_array_equal(design(GPT_S, n), longer[:n])
    assert len(np.unique(longer, axis=0)) == 270
    assert not np.array_equal(design(GPT_S, 100, seed=1), longer[:100])


def test_layers_of_a_part_of_the_design_differ() -> None:
    contrasts = features(GPT_S, design(GPT_S, 100))[:, 24:]
    assert 30 < np.count_nonzero(contrasts.any(axis=1)) < 70


def test_design_of_the_whole_space() -> None:
    space = GPTSpace("all", embed_dim=[8, 16], n_layer=[1, 2], mlp_ratio=[1, 2], n_head=[1, 3])
    assert space.size == 80
    codes = design(space, 80)
    np.testing.assert_array_equal(
        np.unique(codes, axis=0), np.unique(np.concatenate(list(space.enumerate())), axis=0)
    )
    with pytest.raises(InvalidInput, match="at most 80 architectures, the size of all, found 81"):
        design(space, 81)


@pytest.mark.parametrize("n", [0, -1, 1.0, True])
def test_invalid_size(n: int) -> None:
    with pytest.raises(InvalidInput, match=r"expected a positive number of architectures, found"):
        design(GPT_S, n)


@settings(max_examples=20)
@given(spaces_of_any_family())
def test_design_begins_with_the_corners(space: SearchSpace) -> None:
    wanted = corners(space)
    assert len(wanted) <= 2 * len(space.embed_dim)
    codes = design(space, len(wanted))
    np.testing.assert_array_equal(np.unique(codes, axis=0), wanted)


def test_corners_of_gpt_s() -> None:
    archs = GPT_S.decode(corners(GPT_S))
    assert {arch.embed_dim for arch in archs} == {192, 384, 768}
    assert {(arch.n_layer, arch.mlp_ratio, arch.n_head, arch.bias) for arch in archs} == {
        (10, (2,) * 10, (4,) * 10, False),
        (12, (4,) * 12, (12,) * 12, True),
    }


def test_anchor_is_in_the_middle() -> None:
    (arch,) = GPT_S.decode(anchor(GPT_S)[None])
    assert str(arch) == "gpt-s-11-384-" + "3-" * 11 + "8-" * 11 + "True"


@pytest.mark.parametrize("n", [15, 40, 100])
def test_design_is_more_informative_than_random_samples(n: int) -> None:
    by_chance = [GPT_S.sample(n, np.random.default_rng(seed)) for seed in range(10)]
    assert log_determinant(GPT_S, design(GPT_S, n)) > 1 + max(
        log_determinant(GPT_S, c) for c in by_chance
    )


@pytest.mark.parametrize("name", ["gpt-s", "gpt-l"])
def test_design_predicts_better_than_random_samples(name: str) -> None:
    """Predict the published latencies from measurements with 0.3 % noise by ridge regression."""
    space, surrogate = hwnas.space(name), hwnas.surrogate(name)
    test_codes = space.sample(1000, np.random.default_rng(1))
    truth = surrogate.predict(test_codes, ["latency@h100"])[:, 0]

    def error(codes: Codes) -> float:
        noise = 1 + 0.003 * np.random.default_rng(2).standard_normal(len(codes))
        latencies = surrogate.predict(codes, ["latency@h100"])[:, 0] * noise
        rows, mean = features(space, codes), latencies.mean()
        kernel = rows @ rows.T + 1e-4 * np.eye(len(codes))
        effects = rows.T @ np.linalg.solve(kernel, latencies - mean)
        return float(np.mean(abs(mean + features(space, test_codes) @ effects - truth) / truth))

    random = np.mean([error(space.sample(20, np.random.default_rng(seed))) for seed in range(5)])
    assert error(design(space, 20)) < 0.6 * random
    assert error(design(space, 40)) < 0.01


# -- features and choices ------------------------------------------------------------------------


@settings(max_examples=40)
@given(spaces(), seeds)
def test_features(space: SearchSpace, seed: int) -> None:
    codes = space.sample(20, np.random.default_rng(seed))
    rows = features(space, codes)
    widths, layers = len(space.embed_dim), space.n_layer[-1]
    assert rows.shape == (20, 8 * widths + 2 * layers)
    assert (abs(rows) <= 1).all()
    own = rows[:, : 8 * widths].reshape(20, widths, 8)
    assert (own[np.arange(20), codes[:, 0], 0] == 1).all()
    assert not own[np.arange(widths) != codes[:, :1]].any()
    np.testing.assert_allclose(rows[:, 8 * widths :].sum(axis=1), 0, atol=1e-12)


@settings(max_examples=40)
@given(spaces_of_any_family(), seeds)
def test_features_of_any_family(space: SearchSpace, seed: int) -> None:
    codes = space.sample(20, np.random.default_rng(seed))
    rows = features(space, codes)
    n_widths, n_layers = len(space.embed_dim), space.n_layer[-1]
    n_effects = 2 + (len(space.choices) - 1) + 2 * len(space.layers)
    assert rows.shape == (20, n_effects * n_widths + len(space.layers) * n_layers)
    assert (abs(rows) <= 1).all()
    own = rows[:, : n_effects * n_widths].reshape(20, n_widths, n_effects)
    assert not own[np.arange(n_widths) != codes[:, :1]].any()
    contrasts = rows[:, n_effects * n_widths :].reshape(20, len(space.layers), n_layers)
    np.testing.assert_allclose(contrasts.sum(axis=2), 0, atol=1e-12)
    active = space.active(codes)[:, space.layer_columns].transpose(0, 2, 1)  # (20, c, L)
    assert not contrasts[~active].any()


@pytest.mark.parametrize("name", ["gpt-s", "llama-s", "llama-m", "llama-l"])
def test_homogeneous_architectures_have_no_contrasts(name: str) -> None:
    space = hwnas.space(name)
    rows = features(space, np.stack([anchor(space), *corners(space)]))
    n_contrasts = len(space.layers) * len(space.layer_columns)
    assert not rows[:, -n_contrasts:].any()


def test_corners_and_anchor_of_llama_s() -> None:
    space = hwnas.space("llama-s")
    archs = {str(arch) for arch in space.decode(corners(space))}
    low, high = "512-" * 4 + "2-" * 4 + "1-" * 4, "1536-" * 8 + "8-" * 8 + "8-" * 8
    assert archs == {
        text
        for width in (256, 384, 512)
        for text in (f"llama-s-4-{width}-{low}False", f"llama-s-8-{width}-{high}True")
    }
    (middle,) = space.decode(anchor(space)[None])
    assert str(middle) == "llama-s-6-384-" + "1024-" * 6 + "4-" * 6 + "4-" * 6 + "True"


@settings(deadline=None, max_examples=50)
@given(seeds, st.integers(1, 8), st.integers(1, 4))
def test_each_selection_maximizes_the_determinant(seed: int, m: int, p: int) -> None:
    rng = np.random.default_rng(seed)
    rows: NDArray[np.float64] = rng.standard_normal((m, p))
    information = 0.1 * np.eye(p)
    original = rows.copy()
    chosen = select_rows(rows, m, information)
    np.testing.assert_array_equal(rows, original)
    assert sorted(chosen) == list(range(m))
    for i, selected in enumerate(chosen):
        gains = {
            int(j): np.linalg.slogdet(information + np.outer(rows[j], rows[j]))[1]
            for j in chosen[i:]
        }
        assert gains[int(selected)] >= max(gains.values()) - 1e-6
        information += np.outer(rows[selected], rows[selected])


def test_first_of_equal_rows_is_selected() -> None:
    rows = np.array([[0.5, 0], [0, 1], [1, 0], [0, -1]])
    assert select_rows(rows, 3, np.eye(2)).tolist() == [1, 2, 3]
