"""Closed forms of GPT-2-family models, and the named spaces."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray

from hwnas.spaces import GPT_SPACES, SearchSpace
from hwnas.spaces.architecture import Architecture

sys.path.insert(0, str(Path(__file__).parent))
from space_strategies import NAMED, sample_codes, seeds, spaces


def count_by_weights(arch: Architecture, search_space: SearchSpace) -> int:
    """Parameters, weight by weight, of the module that an architecture describes."""
    width, vocabulary = arch.embed_dim, search_space.vocab_size
    layer_norm = width + width
    # Token embeddings, last norm and output layer; then each block.
    total = vocabulary * width + layer_norm + vocabulary * width  # tokens, last norm, output
    for ratio, heads in zip(arch.mlp_ratio, arch.n_head, strict=True):
        inner = heads * search_space.head_size
        shapes = [
            (3 * inner, width),
            (width, inner),
            (ratio * width, width),
            (width, ratio * width),
        ]
        total += 2 * layer_norm
        total += sum(out * into + (out if arch.bias else 0) for out, into in shapes)
    return total


@given(spaces, seeds)
def test_params_and_flops_count_every_weight(search_space: SearchSpace, seed: int) -> None:
    codes = sample_codes(search_space, seed)
    archs = search_space.decode(codes)
    params = search_space.params(codes)
    assert params.dtype == search_space.flops(codes).dtype == np.int64
    assert params.tolist() == [count_by_weights(arch, search_space) for arch in archs]
    # Two operations for each parameter and token, and the products of attention.
    assert search_space.flops(codes).tolist() == [
        2 * count_by_weights(arch, search_space) * search_space.context
        + 4 * arch.n_layer * arch.embed_dim * search_space.context**2
        for arch in archs
    ]


def largest_code(name: str) -> NDArray[np.int64]:
    return NAMED[name].cardinalities[None] - 1


def test_params_of_the_largest_gpt_s() -> None:
    # GPT-2 small, 124 million parameters, with an output layer of its own and no positions.
    assert NAMED["gpt-s"].params(largest_code("gpt-s")).tolist() == [162_246_144]
    assert 162_246_144 - 50_254 * 768 == 123_651_072


def test_params_of_the_largest_gpt_xl() -> None:
    without_output = NAMED["gpt-xl"].params(largest_code("gpt-xl"))[0] - 50_254 * 1600
    assert 1.55e9 < without_output < 1.56e9  # GPT-2 XL: 1.5576 billion with its positions
    assert without_output + 1024 * 1600 + 3 * 1600 == 1_557_611_200


def test_flops_of_the_largest_gpt_s() -> None:
    expected = 2 * 162_246_144 * 1024 + 4 * 12 * 768 * 1024**2
    assert NAMED["gpt-s"].flops(largest_code("gpt-s")).tolist() == [expected] == [370_934_808_576]


@pytest.mark.parametrize(
    ("name", "widths", "depths", "ratios", "heads"),
    [
        ("gpt-s", (192, 384, 768), (10, 11, 12), (2, 3, 4), (4, 8, 12)),
        ("gpt-m", (256, 512, 1024), (22, 23, 24), (2, 3, 4), (8, 12, 16)),
        ("gpt-l", (320, 640, 1280), (34, 35, 36), (2, 3, 4), (8, 16, 20)),
        ("gpt-xl", (400, 800, 1600), (46, 47, 48), (2, 3, 4), (15, 20, 25)),
        ("gpt-s-wide", (192, 384, 768), (3, 6, 12), (1, 2, 4), (4, 8, 12)),
        ("gpt-m-wide", (256, 512, 1024), (6, 12, 24), (1, 2, 4), (4, 8, 16)),
        ("gpt-l-wide", (320, 640, 1280), (9, 18, 36), (1, 2, 4), (5, 10, 20)),
    ],
)
def test_named_spaces(
    name: str,
    widths: tuple[int, ...],
    depths: tuple[int, ...],
    ratios: tuple[int, ...],
    heads: tuple[int, ...],
) -> None:
    search_space = NAMED[name]
    assert (search_space.embed_dim, search_space.n_layer) == (widths, depths)
    assert (search_space.mlp_ratio, search_space.n_head) == (ratios, heads)
    assert (search_space.name, search_space.bias) == (name, (False, True))
    assert (search_space.head_size, search_space.context, search_space.vocab_size) == (
        64,
        1024,
        50_254,
    )


def test_there_are_seven_named_spaces() -> None:
    assert len(GPT_SPACES) == 7


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("gpt-s", 6 * (9**10 + 9**11 + 9**12)),
        ("gpt-xl", 6 * (9**46 + 9**47 + 9**48)),
        ("gpt-l-wide", 6 * (9**9 + 9**18 + 9**36)),
    ],
)
def test_size_is_exact(name: str, size: int) -> None:
    assert NAMED[name].size == size
    assert type(NAMED[name].size) is int
