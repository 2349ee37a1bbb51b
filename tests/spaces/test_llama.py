"""Spaces of Llama architectures: codes, strings and closed forms."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hwnas
from hwnas.errors import InvalidInput
from hwnas.spaces import LlamaArchitecture, LlamaSpace, SearchSpace
from hwnas.spaces.llama import LLAMA_CHOICES

TINY: dict[str, Any] = {
    "embed_dim": [8, 16],
    "n_layer": [1, 2],
    "mlp_dim": [0, 64],
    "n_head": [0, 4, 6],
    "n_kv_head": [1, 2, 3],
    "head_size": 4,
    "context": 8,
    "vocab_size": 20,
}
ARCH = LlamaArchitecture("tiny", 8, 2, (64, 0), (0, 6), (0, 3), False)
seeds = st.integers(0, 2**32 - 1)


def increasing(minimum: int, maximum: int, size: int = 3) -> st.SearchStrategy[list[int]]:
    values = st.integers(minimum, maximum)
    return st.lists(values, min_size=1, max_size=size, unique=True).map(sorted)


@st.composite
def llama_spaces(draw: st.DrawFn) -> LlamaSpace:
    """Spaces with and without absent branches; each number of heads fits one of the other kind."""
    groups = draw(increasing(1, 4))
    factors = draw(st.lists(st.integers(1, 4), min_size=len(groups), max_size=len(groups)))
    heads = {k * factor for k, factor in zip(groups, factors, strict=True)}
    if draw(st.booleans()):
        heads.add(0)
    return LlamaSpace(
        draw(st.from_regex(r"[a-z._]{1,5}(-[a-z][a-z0-9]?)?", fullmatch=True)),
        embed_dim=draw(increasing(1, 512)),
        n_layer=draw(increasing(1, 5)),
        mlp_dim=draw(increasing(draw(st.integers(0, 1)), 512)),
        n_head=sorted(heads),
        n_kv_head=groups,
        tied=draw(st.sampled_from([[False], [True], [False, True]])),
        head_size=2 * draw(st.integers(1, 32)),
        context=draw(st.integers(1, 100)),
        vocab_size=draw(st.integers(1, 1000)),
    )


spaces = st.one_of(llama_spaces(), st.sampled_from([hwnas.space(n) for n in LLAMA_CHOICES]))


@settings(deadline=None)
@given(spaces, seeds)
def test_codes_architectures_and_strings_correspond(space: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes = space.sample(20, rng)
    assert space.is_valid(codes).all()
    archs = space.decode(codes)
    np.testing.assert_array_equal(space.encode(archs), codes)
    for arch in archs[:5]:
        assert str(arch).startswith(f"{space.name}-{arch.n_layer}-{arch.embed_dim}-")
        assert space.parse(str(arch)) == LlamaArchitecture.parse(str(arch)) == arch
        assert (type(arch.tied), type(arch.n_kv_head[0])) == (bool, int)
        assert len(arch.mlp_dim) == len(arch.n_head) == len(arch.n_kv_head) == arch.n_layer
        for mlp, heads, groups in zip(arch.mlp_dim, arch.n_head, arch.n_kv_head, strict=True):
            assert mlp or heads
            assert groups == 0 if heads == 0 else heads % groups == 0
    # Any numbers become canonical codes, and neighbours are members.
    raw = rng.integers(-3, 130, codes.shape)
    assert space.is_valid(space.canonical(raw)).all()
    assert space.is_valid(space.neighbours(codes[0])).all()


@settings(deadline=None)
@given(spaces, seeds)
def test_params_and_flops_are_sums_over_layers(space: Any, seed: int) -> None:
    codes = space.sample(5, np.random.default_rng(seed))
    params, flops = space.params(codes), space.flops(codes)
    assert (params.dtype, flops.dtype) == (np.int64, np.int64)
    for arch, n_params, n_flops in zip(space.decode(codes), params, flops, strict=True):
        C, s, T = arch.embed_dim, space.head_size, space.context
        norms, weights, inner = C, 0, 0
        for mlp, heads, groups in zip(arch.mlp_dim, arch.n_head, arch.n_kv_head, strict=True):
            norms += C * ((mlp > 0) + (heads > 0))
            weights += 3 * C * mlp + 2 * C * s * heads + 2 * C * s * groups
            inner += s * heads
        output = space.vocab_size * C
        assert n_params == norms + weights + output * (1 if arch.tied else 2)
        assert n_flops == 2 * (weights + output) * T + 4 * inner * T**2


@settings(deadline=None, max_examples=30)
@given(spaces)
def test_settings_give_the_same_space(space: Any) -> None:
    plain = space.to_dict()
    for copy in (hwnas.space(plain), pickle.loads(pickle.dumps(space))):
        assert isinstance(copy, LlamaSpace)
        assert copy.to_dict() == plain
        assert copy.size == space.size


@pytest.mark.parametrize(
    ("name", "millions"), [("llama-s", 60), ("llama-m", 338), ("llama-l", 1004)]
)
def test_named_spaces(name: str, millions: int) -> None:
    space = hwnas.space(name)
    assert isinstance(space, LlamaSpace)
    assert (space.context, space.vocab_size, space.head_size) == (2048, 32_000, 64)
    assert space.closed_forms == ("params", "flops")
    assert 2 * space.n_layer[0] == space.n_layer[-1] == len(space.layer_columns)
    assert space.n_layer == tuple(range(space.n_layer[0], space.n_layer[-1] + 1))
    assert all(width % 64 == 0 for width in (*space.embed_dim, *space.mlp_dim))
    assert space.n_head[-1] * space.head_size == space.embed_dim[-1]
    largest = space.canonical((space.cardinalities - 1)[None])
    largest[0, 2] = 0  # untied
    assert round(space.params(largest)[0] / 1e6) == millions
    largest[0, 2] = 1
    tied = space.params(largest)[0] / 1e6
    assert millions - tied == pytest.approx(space.embed_dim[-1] * 0.032, abs=0.5)


def test_every_member_is_reached() -> None:
    space = LlamaSpace("tiny", **TINY)
    codes = np.concatenate(list(space.enumerate()))
    # Attention: none; 4 heads with 1 or 2; 6 with 1, 2 or 3. An MLP or none, not without both.
    assert len(space.options or ()) == 2 * 6 - 1
    assert len(codes) == len(np.unique(codes, axis=0)) == space.size == 2 * 2 * (11 + 11**2)
    seen = {codes[0].tobytes()}
    queue = [codes[0]]
    while queue:
        for code in space.neighbours(queue.pop()):
            if code.tobytes() not in seen:
                seen.add(code.tobytes())
                queue.append(code)
    assert len(seen) == space.size


def test_fixed_embeddings() -> None:
    for tied in ([True], [False]):
        space = LlamaSpace("fixed", **{**TINY, "tied": tied})
        codes = space.sample(10, np.random.default_rng(0))
        assert {arch.tied for arch in space.decode(codes)} == set(tied)


def test_a_part_of_a_space_encodes_its_architectures() -> None:
    part = LlamaSpace("part", **{**TINY, "n_head": [6], "mlp_dim": [64]})
    codes = part.sample(5, np.random.default_rng(0))
    archs = part.decode(codes)
    whole = LlamaSpace("tiny", **TINY)
    again = whole.decode(whole.encode(archs))
    assert [replace(arch, space="part") for arch in again] == archs


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"embed_dim": 12}, r"embed_dim: expected one of \[8, 16\], found 12"),
        ({"n_layer": 1}, r"mlp_dim: expected one value a layer, 1, found 2"),
        ({"n_kv_head": (0, 5)}, r"n_kv_head: expected one of \[1, 2, 3\], found 5"),
        ({"n_kv_head": (1, 3)}, "n_kv_head: expected 0 in a layer without attention"),
        ({"n_kv_head": (0, 0)}, r"n_kv_head: expected one of \[1, 2, 3\], found 0"),
        ({"n_head": (0, 4)}, "expected in each layer an n_head that n_kv_head divides"),
        ({"mlp_dim": (0, 64)}, "attention or an MLP"),
        ({"mlp_dim": (2**70, 64)}, r"mlp_dim: expected numbers below 2\*\*63"),
    ],
)
def test_other_architectures_are_refused(change: dict[str, Any], message: str) -> None:
    space = LlamaSpace("tiny", **TINY)
    assert space.encode([ARCH]).shape == (1, 9)
    with pytest.raises(InvalidInput, match=message) as error:
        space.encode([replace(ARCH, **change)])
    assert "\n" not in str(error.value)


def test_architectures_of_another_family_are_refused() -> None:
    gpt = hwnas.Architecture.parse("gpt-s-1-192-2-4-True")
    with pytest.raises(InvalidInput, match="tiny: expected LlamaArchitecture, its string, or"):
        LlamaSpace("tiny", **TINY).encode([gpt])  # type: ignore[list-item]


@pytest.mark.parametrize(
    "text",
    [
        "gpt-s-1-192-2-4-True",
        "llama-s",
        "llama-s-1-256-512-4-2",
        "llama-s-1-256-512-4-2-true",
        "llama-s-0-256-True",
        "llama-s-2-256-512-4-2-True",
        "llama-s-1-256-512-4-2-2-True",
        "llama-s-1-256-512--4-2-True",
    ],
)
def test_other_strings_are_refused(text: str) -> None:
    for parse in (LlamaArchitecture.parse, hwnas.space("llama-s").parse):
        with pytest.raises(InvalidInput, match="SPACE-LAYERS-WIDTH-") as error:
            parse(text)
        assert "\n" not in str(error.value)


def test_a_string_is_of_one_family() -> None:
    space = hwnas.space("llama-s")
    for arch in space.decode(space.sample(5, np.random.default_rng(0))):
        with pytest.raises(InvalidInput, match="layers want"):
            hwnas.Architecture.parse(str(arch))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_kv_head": [1, 5]}, "n_kv_head: 5 divides no choice of n_head"),
        ({"n_kv_head": [2, 3], "n_head": [4, 5, 6]}, "no choice of n_kv_head divides 5"),
        ({"n_kv_head": [0, 2]}, "n_kv_head: expected a positive integer, found 0"),
        ({"n_head": [0]}, "n_head: expected at least one choice above 0"),
        ({"tied": [1]}, r"tied: expected \[false\], \[true\] or \[false, true\], found \[1\]"),
        ({"tied": True}, "tied: expected"),
        ({"tied": []}, "tied: expected"),
        ({"tied": [True, True]}, "tied: expected"),
        ({"head_size": 5}, "head_size: expected an even number, found 5"),
        ({"mlp_dim": [64, 32]}, "mlp_dim: expected increasing choices"),
        ({"context": 0}, "context: expected a positive integer"),
        ({"embed_dims": [8]}, "embed_dims.*did you mean 'embed_dim'"),
    ],
)
def test_choices_that_define_no_space(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as error:
        hwnas.space({"family": "llama", "name": "tiny", **TINY, **change})
    assert "\n" not in str(error.value)


def test_names_that_strings_could_not_carry_are_refused() -> None:
    with pytest.raises(InvalidInput, match="no part between hyphens may be all digits"):
        LlamaSpace("llama-3", **TINY)


@pytest.mark.parametrize("name", LLAMA_CHOICES)
def test_an_optimizer_meets_the_general_interface(name: str) -> None:
    space: SearchSpace = hwnas.space(name)
    assert space.ordered[[0, 1]].all()
    assert not space.ordered[2]
    assert space.ordered[space.layer_columns].all()
    assert space.layer_columns.shape == (max(space.depths), 3)
