from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import hwnas
from hwnas.devices.design import anchor, select_rows, survey_design
from hwnas.devices.fit import fit_tables
from hwnas.errors import InvalidInput
from hwnas.objectives import Objective
from hwnas.spaces import Codes, GPTSpace, LanguageModelSpace, LlamaSpace, require_language_model
from hwnas.surrogates.layer_layout import LayerLayout
from hwnas.surrogates.tables import predict

GPT_S = require_language_model(hwnas.space("gpt-s"))
seeds = st.integers(0, 2**32 - 1)


def choices(max_size: int, largest: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(1, largest), min_size=1, max_size=max_size, unique=True).map(sorted)


@st.composite
def spaces(draw: st.DrawFn) -> LanguageModelSpace:
    return GPTSpace(
        "random",
        embed_dim=draw(choices(3, 1024)),
        n_layer=draw(choices(3, 4)),
        mlp_ratio=draw(choices(2, 6)),
        n_head=draw(choices(2, 16)),
        bias=draw(st.sampled_from([[False], [False, True]])),
    )


@st.composite
def spaces_of_any_family(draw: st.DrawFn) -> LanguageModelSpace:
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


def design(space: LanguageModelSpace, n: int, seed: int = 0) -> Codes:
    return survey_design(space, n, np.random.default_rng(seed))


# -- designs -------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=20)
@given(spaces_of_any_family(), seeds, st.integers(1, 60))
def test_architectures_are_distinct_and_in_the_space(
    space: LanguageModelSpace, seed: int, n: int
) -> None:
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


@pytest.mark.parametrize("name", ["gpt-s", "gpt-xl", "llama-s", "gpt-l-wide"])
def test_ten_architectures_have_all_widths_and_not_the_anchor(name: str) -> None:
    space = require_language_model(hwnas.space(name))
    codes = design(space, 10)
    assert set(codes[:, 0].tolist()) == set(range(int(space.cardinalities[0])))
    assert not (codes == anchor(space)).all(axis=1).any()


def test_anchor_is_in_the_middle() -> None:
    (arch,) = GPT_S.decode(anchor(GPT_S)[None])
    assert str(arch) == "gpt-s-11-384-" + "3-" * 11 + "8-" * 11 + "True"
    space = require_language_model(hwnas.space("llama-s"))
    (middle,) = space.decode(anchor(space)[None])
    assert str(middle) == "llama-s-6-384-" + "1024-" * 6 + "4-" * 6 + "4-" * 6 + "True"


@pytest.mark.parametrize("n", [10, 20])
@pytest.mark.parametrize("name", ["gpt-s", "gpt-l"])
def test_fits_to_a_design_are_better_than_to_random_samples(name: str, n: int) -> None:
    """Published latencies with 0.5 % noise, learnt without other devices."""
    space = require_language_model(hwnas.space(name))
    predictor = hwnas.surrogate(name).predictor
    tables = [predictor.table(Objective.parse(f"latency@{d}")) for d in ("h100", "v100", "a40")]
    test_codes, layout = space.sample(500, np.random.default_rng(1)), LayerLayout(space)

    def error(codes: Codes) -> float:
        noise = np.exp(0.005 * np.random.default_rng(2).standard_normal((len(codes), 1)))
        values, truth = (
            predict(tables, layout.pack(codes)),
            predict(tables, layout.pack(test_codes)),
        )
        fits = [fit_tables(space, codes, column) for column in (values * noise).T]
        predictions = np.stack([fit.predict(test_codes) for fit in fits], axis=1)
        return float(np.abs(predictions / truth - 1).mean())

    random = [error(space.sample(n, np.random.default_rng(seed))) for seed in range(3)]
    assert np.mean([error(design(space, n, seed)) for seed in range(3)]) < 0.93 * np.mean(random)


# -- choices -------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=50)
@given(seeds, st.integers(1, 8), st.integers(1, 4))
def test_each_selection_leaves_the_smallest_variance(seed: int, m: int, q: int) -> None:
    rng = np.random.default_rng(seed)
    rows: NDArray[np.float64] = rng.standard_normal((m, q))
    root, aims = rng.standard_normal((2, q, q))
    covariance, targets, noise = root @ root.T, aims @ aims.T, rng.uniform(0.1, 1, m)
    original = rows.copy()
    chosen, left = select_rows(rows, m, targets, noise, covariance)
    np.testing.assert_array_equal(rows, original)
    assert sorted(chosen) == list(range(m))
    now = covariance

    def after(j: int) -> NDArray[np.float64]:
        direction = now @ rows[j]
        scale = 1 / (rows[j] @ direction + noise[j])
        return np.asarray(now - scale * np.outer(direction, direction))

    for i, selected in enumerate(chosen):
        variances = {int(j): float(np.trace(targets @ after(int(j)))) for j in chosen[i:]}
        scale = float(np.trace(targets @ now)) + 1e-9
        assert variances[int(selected)] <= min(variances.values()) + 1e-6 * scale
        now = after(int(selected))
    np.testing.assert_allclose(left, now, atol=1e-9 * np.abs(covariance).max())


def test_first_of_equal_rows_is_selected() -> None:
    rows = np.array([[0.5, 0], [0, 1], [1, 0], [0, -1]])
    chosen, _ = select_rows(rows, 3, np.eye(2), np.full(4, 0.1), np.eye(2))
    assert chosen.tolist() == [1, 2, 3]
