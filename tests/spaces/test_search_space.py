"""Codes of search spaces: validity, sampling, neighbours, and conversion to architectures."""

from __future__ import annotations

import dataclasses
import itertools
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from hwnas.errors import InvalidInput
from hwnas.spaces import GPTSpace, SearchSpace, space
from hwnas.spaces.architecture import Architecture

sys.path.insert(0, str(Path(__file__).parent))
from space_strategies import NAMED, sample_codes, seeds, small_spaces, spaces


def plain_canonical(search_space: SearchSpace, row: list[int]) -> list[int]:
    """Canonical form of integers, written without arrays."""
    row = [min(max(c, 0), int(k) - 1) for c, k in zip(row, search_space.cardinalities, strict=True)]
    columns = 3 + 2 * search_space.n_layer[row[1]]
    return row[:columns] + [0] * (len(row) - columns)


# -- codes ---------------------------------------------------------------------------------------


@given(spaces, seeds, st.integers(0, 40))
def test_samples_are_canonical_codes(search_space: SearchSpace, seed: int, n: int) -> None:
    codes = sample_codes(search_space, seed, n)
    assert codes.shape == (n, len(search_space.columns))
    assert codes.dtype == np.int8
    assert codes.flags.c_contiguous
    assert ((codes >= 0) & (codes < search_space.cardinalities)).all()
    assert (codes[~search_space.active(codes)] == 0).all()
    assert search_space.is_valid(codes).all()
    np.testing.assert_array_equal(search_space.canonical(codes), codes)


@given(spaces, seeds)
def test_a_seed_gives_one_sample(search_space: SearchSpace, seed: int) -> None:
    np.testing.assert_array_equal(
        sample_codes(search_space, seed), sample_codes(search_space, seed)
    )


def chi_square(observed: NDArray[Any], expected: NDArray[Any] | float) -> float:
    return float(((observed - expected) ** 2 / expected).sum())


@pytest.mark.parametrize("name", ["gpt-s", "gpt-m-wide"])
def test_sampled_choices_are_uniform_and_independent(name: str) -> None:
    search_space, n = NAMED[name], 30_000
    codes = sample_codes(search_space, 7, n)
    active = search_space.active(codes)
    for j, k in enumerate(search_space.cardinalities):
        counts = np.bincount(codes[active[:, j], j], minlength=k)
        assert chi_square(counts, counts.sum() / k) < 25, search_space.columns[
            j
        ]  # at most 2 degrees
    for i, j in itertools.combinations([*range(7), len(search_space.columns) - 1], 2):
        both = active[:, i] & active[:, j]
        table = np.zeros(search_space.cardinalities[[i, j]])
        np.add.at(table, (codes[both, i], codes[both, j]), 1)
        table = table[table.sum(axis=1) > 0]  # the last layer exists at one depth alone
        expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
        assert chi_square(table, expected) < 35, (
            search_space.columns[i],
            search_space.columns[j],
        )  # 4 degrees


@given(spaces, seeds)
def test_encode_inverts_decode(search_space: SearchSpace, seed: int) -> None:
    codes = sample_codes(search_space, seed)
    archs = search_space.decode(codes)
    encoded = search_space.encode(archs)
    np.testing.assert_array_equal(encoded, codes)
    assert encoded.dtype == np.int8
    assert encoded.flags.c_contiguous
    assert [Architecture.parse(str(arch)) for arch in archs] == archs


@given(spaces, seeds)
def test_decoded_values_are_the_choices(search_space: SearchSpace, seed: int) -> None:
    codes = sample_codes(search_space, seed, 5)
    # Columns 3, 5, ... are ratios and 4, 6, ... heads; inactive layers are cut off.
    for code, arch in zip(codes.tolist(), search_space.decode(codes), strict=True):
        assert arch.space == search_space.name
        assert arch.embed_dim == search_space.embed_dim[code[0]]
        assert arch.n_layer == search_space.n_layer[code[1]]
        assert arch.bias is search_space.bias[code[2]]
        assert (
            arch.mlp_ratio == tuple(search_space.mlp_ratio[c] for c in code[3::2])[: arch.n_layer]
        )
        assert arch.n_head == tuple(search_space.n_head[c] for c in code[4::2])[: arch.n_layer]
        assert all(type(value) is int for value in (arch.embed_dim, *arch.mlp_ratio, *arch.n_head))


@given(small_spaces, seeds)
def test_equal_architectures_have_equal_codes(search_space: SearchSpace, seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Random columns, with numbers in inactive positions.
    raw = rng.integers(0, search_space.cardinalities, size=(60, len(search_space.columns)))
    codes = search_space.canonical(raw)
    archs = search_space.decode(codes)
    pairs = set(zip(map(bytes, codes), archs, strict=True))
    assert len(pairs) == len(set(archs)) == len(np.unique(codes, axis=0))


@st.composite
def any_numbers(draw: st.DrawFn) -> tuple[SearchSpace, NDArray[Any]]:
    search_space = draw(spaces)
    dtype = draw(
        st.one_of(
            hnp.integer_dtypes(endianness="="),
            hnp.unsigned_integer_dtypes(endianness="="),
            hnp.floating_dtypes(endianness="=", sizes=(16, 32, 64)),
            hnp.boolean_dtypes(),
        )
    )
    shape = draw(st.integers(0, 4)), len(search_space.columns)
    return search_space, draw(hnp.arrays(dtype, shape))


@given(any_numbers())
def test_canonical_takes_any_numbers(case: tuple[SearchSpace, NDArray[Any]]) -> None:
    search_space, numbers = case
    original = numbers.copy()
    numbers.flags.writeable = False
    codes = search_space.canonical(numbers)
    assert codes.shape == numbers.shape
    assert codes.dtype == np.int8
    assert codes.flags.c_contiguous
    assert search_space.is_valid(codes).all()
    np.testing.assert_array_equal(search_space.canonical(codes), codes)
    np.testing.assert_array_equal(numbers, original)
    assert not np.shares_memory(codes, numbers)


@given(st.data())
def test_canonical_of_integers(data: st.DataObject) -> None:
    search_space = data.draw(spaces)
    entry = st.one_of(st.integers(-3, 6), st.integers(-(2**70), 2**70))
    row = data.draw(
        st.lists(entry, min_size=len(search_space.columns), max_size=len(search_space.columns))
    )
    assert search_space.canonical([row]).tolist() == [plain_canonical(search_space, row)]


def test_canonical_cuts_fractions_and_moves_to_the_nearest_end(small_space: SearchSpace) -> None:
    row = [0.9, 1.0, -0.9, 1e300, -math.inf, math.inf, 1.999, -3.2, 0.0]
    assert small_space.canonical([row]).tolist() == [[0, 1, 0, 1, 0, 1, 1, 0, 0]]


def test_canonical_returns_a_copy(small_space: SearchSpace) -> None:
    codes = sample_codes(small_space, 0)
    small_space.canonical(codes)[:] = 1
    np.testing.assert_array_equal(codes, sample_codes(small_space, 0))


def test_canonical_of_strided_codes_is_contiguous(small_space: SearchSpace) -> None:
    codes = np.asfortranarray(sample_codes(small_space, 0))
    assert small_space.canonical(codes).flags.c_contiguous


@given(st.data())
def test_valid_is_in_range_and_canonical(data: st.DataObject) -> None:
    search_space = data.draw(small_spaces)
    d = len(search_space.columns)
    rows = data.draw(hnp.arrays(np.int64, (8, d), elements=st.integers(-1, 2)))
    expected = [row == plain_canonical(search_space, row) for row in rows.tolist()]
    assert search_space.is_valid(rows).tolist() == expected


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.5, -1, 2, 1e300])
def test_invalid_codes(small_space: SearchSpace, value: float) -> None:
    row = np.zeros((1, 9))
    assert small_space.is_valid(row).all()
    row[0, 0] = value
    assert not small_space.is_valid(row).any()
    assert row[0, 0] == value or math.isnan(row[0, 0])


@given(spaces, seeds)
def test_groups_agree_with_active(search_space: SearchSpace, seed: int) -> None:
    codes = sample_codes(search_space, seed)
    # The mask of `active`, rebuilt from the conditions of the groups.
    active = np.zeros(codes.shape, dtype=bool)
    active[:, :3] = True
    for group in search_space.groups:
        active[:, group.columns] = np.isin(codes[:, [group.parent]], group.when)
    np.testing.assert_array_equal(search_space.active(codes), active)
    assert search_space.active(codes).dtype == bool
    columns = [column for group in search_space.groups for column in group.columns]
    assert columns == list(range(3, len(search_space.columns)))
    depths = [arch.n_layer for arch in search_space.decode(codes)]
    assert search_space.active(codes).sum(axis=1).tolist() == [3 + 2 * depth for depth in depths]


def test_columns_and_cardinalities() -> None:
    search_space = NAMED["gpt-s"]
    assert search_space.columns[:5] == ("embed_dim", "n_layer", "bias", "mlp_ratio_0", "n_head_0")
    assert search_space.columns[-2:] == ("mlp_ratio_11", "n_head_11")
    assert search_space.cardinalities.tolist() == [3, 3, 2, *[3, 3] * 12]
    with pytest.raises(ValueError, match="read-only"):
        search_space.cardinalities[0] = 9


# -- all architectures -----------------------------------------------------------------------------


@given(small_spaces)
def test_enumerate_yields_every_architecture_once(search_space: SearchSpace) -> None:
    codes = np.concatenate(list(search_space.enumerate()))
    assert codes.dtype == np.int8
    assert search_space.is_valid(codes).all()
    listed = set(map(bytes, codes))
    assert len(listed) == len(codes) == search_space.size
    # Every combination of all columns, in canonical form, is listed too.
    raw = list(itertools.product(*(range(k) for k in search_space.cardinalities)))
    assert listed == set(map(bytes, search_space.canonical(raw)))


def test_enumerate_comes_in_chunks() -> None:
    search_space = GPTSpace(
        "x", embed_dim=[64], n_layer=[9], mlp_ratio=[1, 2, 3], n_head=[1, 2], bias=[True]
    )
    chunks = itertools.islice(search_space.enumerate(), 2)
    first, second = chunks
    assert len(first) == len(second) <= 100_000 < search_space.size
    assert len(np.unique(np.concatenate([first, second]), axis=0)) == 2 * len(first)


@given(spaces, seeds)
def test_neighbours_differ_in_one_choice(search_space: SearchSpace, seed: int) -> None:
    code = sample_codes(search_space, seed, 1)[0]
    (start,) = search_space.decode([code])
    # A neighbour for each other choice of each active column, all of them distinct.
    neighbours = search_space.neighbours(code)
    assert neighbours.dtype == np.int8
    assert search_space.is_valid(neighbours).all()
    distinct = set(map(bytes, neighbours))
    assert len(distinct) == len(neighbours)
    assert bytes(code) not in distinct
    assert len(neighbours) == (search_space.cardinalities - 1)[search_space.active([code])[0]].sum()
    for arch in search_space.decode(neighbours):
        changed = (arch.embed_dim != start.embed_dim) + (arch.bias != start.bias)
        changed += arch.n_layer != start.n_layer
        # Added layers repeat the last one, removed layers do not count.
        for mine, theirs in ((start.mlp_ratio, arch.mlp_ratio), (start.n_head, arch.n_head)):
            repeated = mine + mine[-1:] * (len(theirs) - len(mine))
            changed += sum(a != b for a, b in zip(repeated, theirs, strict=False))
        assert changed == 1


@given(small_spaces, seeds)
def test_neighbours_are_symmetric_unless_layers_were_removed(
    search_space: SearchSpace, seed: int
) -> None:
    code = sample_codes(search_space, seed, 1)[0]
    for neighbour in search_space.neighbours(code):
        if search_space.n_layer[neighbour[1]] >= search_space.n_layer[code[1]]:
            assert bytes(code) in set(map(bytes, search_space.neighbours(neighbour)))


def test_a_space_of_one_architecture_has_no_neighbours() -> None:
    search_space = GPTSpace(
        "one", embed_dim=[64], n_layer=[2], mlp_ratio=[4], n_head=[1], bias=[False]
    )
    assert search_space.size == 1
    assert search_space.neighbours(np.zeros(7, dtype=np.int8)).shape == (0, 7)


# -- descriptions --------------------------------------------------------------------------------


@given(spaces, seeds)
def test_to_dict_gives_the_same_space(search_space: SearchSpace, seed: int) -> None:
    settings = search_space.to_dict()
    for copy in (GPTSpace(**settings), space(settings)):
        assert copy.to_dict() == settings
        assert (copy.columns, copy.groups, copy.size) == (
            search_space.columns,
            search_space.groups,
            search_space.size,
        )
        np.testing.assert_array_equal(copy.cardinalities, search_space.cardinalities)
        codes = sample_codes(search_space, seed)
        assert copy.decode(codes) == search_space.decode(codes)
        np.testing.assert_array_equal(copy.params(codes), search_space.params(codes))
        np.testing.assert_array_equal(copy.flops(codes), search_space.flops(codes))


def test_to_dict_is_plain() -> None:
    settings = NAMED["gpt-s"].to_dict()
    assert settings == {
        "name": "gpt-s",
        "embed_dim": [192, 384, 768],
        "n_layer": [10, 11, 12],
        "mlp_ratio": [2, 3, 4],
        "n_head": [4, 8, 12],
        "bias": [False, True],
        "head_size": 64,
        "context": 1024,
        "vocab_size": 50_254,
    }


@pytest.mark.parametrize("depth", [48, 1024])
def test_repr_of_vast_spaces(depth: int) -> None:
    search_space = GPTSpace(
        "vast", embed_dim=[64], n_layer=[depth], mlp_ratio=[1, 2, 3], n_head=[1, 2, 3]
    )
    assert "vast" in repr(search_space)


# -- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(9,), (2, 8), (2, 10), (1, 2, 9), (0,)])
@pytest.mark.parametrize("method", ["active", "canonical", "is_valid", "decode", "params", "flops"])
def test_codes_of_a_wrong_shape(
    small_space: SearchSpace, method: str, shape: tuple[int, ...]
) -> None:
    with pytest.raises(InvalidInput, match=r"codes of tiny: expected shape \(n, 9\), found"):
        getattr(small_space, method)(np.zeros(shape, dtype=np.int8))


def test_no_architectures(small_space: SearchSpace) -> None:
    empty = small_space.encode([])
    assert empty.shape == (0, 9)
    assert small_space.decode(empty) == []
    assert small_space.params(empty).shape == small_space.flops(empty).shape == (0,)


def test_invalid_codes_are_not_decoded(small_space: SearchSpace) -> None:
    codes = np.zeros((3, 9), dtype=np.int8)
    codes[1, -1] = 1  # a head count in a layer that does not exist
    with pytest.raises(InvalidInput, match="code 1 is not a canonical code of tiny"):
        small_space.decode(codes)
    codes[1] = [2, *[0] * 8]
    with pytest.raises(InvalidInput, match="code 1"):
        small_space.decode(codes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tiny-1-9-1-1-True", r"embed_dim: expected one of \[8, 16\], found 9"),
        ("tiny-1-99-1-1-True", "embed_dim: .*found 99"),
        ("tiny-2-8-1-1-1-1-True", r"n_layer: expected one of \[1, 3\], found 2"),
        ("tiny-3-8-1-3-1-1-1-1-True", "mlp_ratio: .*found 3"),
        ("tiny-1-8-1-4-True", "n_head: .*found 4"),
    ],
)
def test_choices_outside_the_space_are_refused(
    small_space: SearchSpace, text: str, message: str
) -> None:
    valid = Architecture.parse("tiny-1-8-1-1-True")
    with pytest.raises(InvalidInput, match=message):
        small_space.encode([valid, Architecture.parse(text)])


@pytest.mark.parametrize("change", [{"embed_dim": 10**30}, {"n_head": (10**30,)}])
def test_choices_beyond_64_bits_are_refused(
    small_space: SearchSpace, change: dict[str, Any]
) -> None:
    # Python's integers have no bound, those of arrays have.
    arch = dataclasses.replace(Architecture.parse("tiny-1-8-1-1-True"), **change)
    with pytest.raises(InvalidInput, match=f"{next(iter(change))}: expected"):
        small_space.encode([arch])


def test_architectures_with_too_few_layers(small_space: SearchSpace) -> None:
    with pytest.raises(InvalidInput, match="n_head: expected one value a layer, 3, found 2"):
        small_space.encode([Architecture("tiny", 8, 3, (1, 1, 1), (1, 1), True)])


def test_another_space_of_the_same_choices_is_encoded(small_space: SearchSpace) -> None:
    # Encoding ignores the name, so that a subset of a space accepts its architectures.
    arch = Architecture("other", 16, 1, (2,), (1,), False)
    assert small_space.encode([arch]).tolist() == [[1, 0, 0, 1, 0, 0, 0, 0, 0]]
