from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from hwnas.errors import HwnasError, InvalidInput, UnknownName
from hwnas.spaces import GPT_SPACES, Codes, SearchSpace, space
from hwnas.spaces.architecture import Architecture

NAMED = {name: space(name) for name in GPT_SPACES}


def increasing(most: int, largest: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(1, largest), min_size=1, max_size=most, unique=True).map(sorted)


@st.composite
def custom_spaces(draw: st.DrawFn, choices: int = 4, deepest: int = 7) -> SearchSpace:
    return SearchSpace(
        draw(st.from_regex(r"[a-z._]{1,5}(-[a-z][a-z0-9]?)?", fullmatch=True)),
        embed_dim=draw(increasing(choices, 4096)),
        n_layer=draw(increasing(choices, deepest)),
        mlp_ratio=draw(increasing(choices, 8)),
        n_head=draw(increasing(choices, 32)),
        bias=draw(st.sampled_from([[False], [True], [False, True], [True, False]])),
        head_size=2 * draw(st.integers(1, 64)),
        context=draw(st.integers(1, 4096)),
        vocab_size=draw(st.integers(1, 100_000)),
    )


spaces = st.one_of(custom_spaces(), st.sampled_from(list(NAMED.values())))
small_spaces = custom_spaces(choices=2, deepest=3)
seeds = st.integers(0, 2**32 - 1)


def sampled(where: SearchSpace, seed: int, n: int = 20) -> Codes:
    return where.sample(n, np.random.default_rng(seed))


def plain_canonical(where: SearchSpace, row: list[int]) -> list[int]:
    """Canonical form of integers, written without arrays."""
    row = [min(max(c, 0), int(k) - 1) for c, k in zip(row, where.cardinalities, strict=True)]
    columns = 3 + 2 * where.n_layer[row[1]]
    return row[:columns] + [0] * (len(row) - columns)


# -- codes ---------------------------------------------------------------------------------------


@given(spaces, seeds, st.integers(0, 40))
def test_samples_are_canonical_codes(where: SearchSpace, seed: int, n: int) -> None:
    codes = sampled(where, seed, n)
    assert codes.shape == (n, len(where.columns))
    assert codes.dtype == np.int8
    assert codes.flags.c_contiguous
    assert ((codes >= 0) & (codes < where.cardinalities)).all()
    assert (codes[~where.active(codes)] == 0).all()
    assert where.is_valid(codes).all()
    np.testing.assert_array_equal(where.canonical(codes), codes)


@given(spaces, seeds)
def test_a_seed_gives_one_sample(where: SearchSpace, seed: int) -> None:
    np.testing.assert_array_equal(sampled(where, seed), sampled(where, seed))


def chi_square(observed: NDArray[Any], expected: NDArray[Any] | float) -> float:
    return float(((observed - expected) ** 2 / expected).sum())


@pytest.mark.parametrize("name", ["gpt-s", "gpt-m-wide"])
def test_sampled_choices_are_uniform_and_independent(name: str) -> None:
    where, n = NAMED[name], 30_000
    codes = sampled(where, 7, n)
    active = where.active(codes)
    for j, k in enumerate(where.cardinalities):
        counts = np.bincount(codes[active[:, j], j], minlength=k)
        assert chi_square(counts, counts.sum() / k) < 25, where.columns[j]  # at most 2 degrees
    for i, j in itertools.combinations([*range(7), len(where.columns) - 1], 2):
        both = active[:, i] & active[:, j]
        table = np.zeros(where.cardinalities[[i, j]])
        np.add.at(table, (codes[both, i], codes[both, j]), 1)
        table = table[table.sum(axis=1) > 0]  # the last layer exists at one depth alone
        expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
        assert chi_square(table, expected) < 35, (where.columns[i], where.columns[j])  # 4 degrees


@given(spaces, seeds)
def test_encode_inverts_decode(where: SearchSpace, seed: int) -> None:
    codes = sampled(where, seed)
    archs = where.decode(codes)
    again = where.encode(archs)
    np.testing.assert_array_equal(again, codes)
    assert again.dtype == np.int8
    assert again.flags.c_contiguous
    assert [Architecture.parse(str(arch)) for arch in archs] == archs


@given(spaces, seeds)
def test_decoded_values_are_the_choices(where: SearchSpace, seed: int) -> None:
    codes = sampled(where, seed, 5)
    for code, arch in zip(codes.tolist(), where.decode(codes), strict=True):
        assert arch.space == where.name
        assert arch.embed_dim == where.embed_dim[code[0]]
        assert arch.n_layer == where.n_layer[code[1]]
        assert arch.bias is where.bias[code[2]]
        assert arch.mlp_ratio == tuple(where.mlp_ratio[c] for c in code[3::2])[: arch.n_layer]
        assert arch.n_head == tuple(where.n_head[c] for c in code[4::2])[: arch.n_layer]
        assert all(type(value) is int for value in (arch.embed_dim, *arch.mlp_ratio, *arch.n_head))


@given(small_spaces, seeds)
def test_equal_networks_have_equal_codes(where: SearchSpace, seed: int) -> None:
    rng = np.random.default_rng(seed)
    raw = rng.integers(0, where.cardinalities, size=(60, len(where.columns)))
    codes = where.canonical(raw)
    archs = where.decode(codes)
    pairs = set(zip(map(bytes, codes), archs, strict=True))
    assert len(pairs) == len(set(archs)) == len(np.unique(codes, axis=0))


@st.composite
def garbage(draw: st.DrawFn) -> tuple[SearchSpace, NDArray[Any]]:
    where = draw(spaces)
    dtype = draw(
        st.one_of(
            hnp.integer_dtypes(endianness="="),
            hnp.unsigned_integer_dtypes(endianness="="),
            hnp.floating_dtypes(endianness="=", sizes=(16, 32, 64)),
            hnp.boolean_dtypes(),
        )
    )
    shape = draw(st.integers(0, 4)), len(where.columns)
    return where, draw(hnp.arrays(dtype, shape))


@given(garbage())
def test_canonical_takes_any_numbers(case: tuple[SearchSpace, NDArray[Any]]) -> None:
    where, given_ = case
    before = given_.copy()
    given_.flags.writeable = False
    codes = where.canonical(given_)
    assert codes.shape == given_.shape
    assert codes.dtype == np.int8
    assert codes.flags.c_contiguous
    assert where.is_valid(codes).all()
    np.testing.assert_array_equal(where.canonical(codes), codes)
    np.testing.assert_array_equal(given_, before)
    assert not np.shares_memory(codes, given_)


@given(st.data())
def test_canonical_of_integers(data: st.DataObject) -> None:
    where = data.draw(spaces)
    entry = st.one_of(st.integers(-3, 6), st.integers(-(2**70), 2**70))
    row = data.draw(st.lists(entry, min_size=len(where.columns), max_size=len(where.columns)))
    assert where.canonical([row]).tolist() == [plain_canonical(where, row)]


def test_canonical_cuts_fractions_and_moves_to_the_nearest_end(small_space: SearchSpace) -> None:
    row = [0.9, 1.0, -0.9, 1e300, -math.inf, math.inf, 1.999, -3.2, 0.0]
    assert small_space.canonical([row]).tolist() == [[0, 1, 0, 1, 0, 1, 1, 0, 0]]


def test_canonical_returns_a_copy(small_space: SearchSpace) -> None:
    codes = sampled(small_space, 0)
    small_space.canonical(codes)[:] = 1
    np.testing.assert_array_equal(codes, sampled(small_space, 0))


def test_canonical_of_strided_codes_is_contiguous(small_space: SearchSpace) -> None:
    codes = np.asfortranarray(sampled(small_space, 0))
    assert small_space.canonical(codes).flags.c_contiguous


@given(st.data())
def test_valid_is_in_range_and_canonical(data: st.DataObject) -> None:
    where = data.draw(small_spaces)
    d = len(where.columns)
    rows = data.draw(hnp.arrays(np.int64, (8, d), elements=st.integers(-1, 2)))
    expected = [row == plain_canonical(where, row) for row in rows.tolist()]
    assert where.is_valid(rows).tolist() == expected


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.5, -1, 2, 1e300])
def test_what_is_no_code(small_space: SearchSpace, value: float) -> None:
    row = np.zeros((1, 9))
    assert small_space.is_valid(row).all()
    row[0, 0] = value
    assert not small_space.is_valid(row).any()
    assert row[0, 0] == value or math.isnan(row[0, 0])


@given(spaces, seeds)
def test_groups_say_what_is_active(where: SearchSpace, seed: int) -> None:
    codes = sampled(where, seed)
    active = np.zeros(codes.shape, dtype=bool)
    active[:, :3] = True
    for group in where.groups:
        active[:, group.columns] = np.isin(codes[:, [group.parent]], group.when)
    np.testing.assert_array_equal(where.active(codes), active)
    assert where.active(codes).dtype == bool
    columns = [column for group in where.groups for column in group.columns]
    assert columns == list(range(3, len(where.columns)))
    depths = [arch.n_layer for arch in where.decode(codes)]
    assert where.active(codes).sum(axis=1).tolist() == [3 + 2 * depth for depth in depths]


def test_columns_and_cardinalities() -> None:
    where = NAMED["gpt-s"]
    assert where.columns[:5] == ("embed_dim", "n_layer", "bias", "mlp_ratio_0", "n_head_0")
    assert where.columns[-2:] == ("mlp_ratio_11", "n_head_11")
    assert where.cardinalities.tolist() == [3, 3, 2, *[3, 3] * 12]
    with pytest.raises(ValueError, match="read-only"):
        where.cardinalities[0] = 9


# -- all networks --------------------------------------------------------------------------------


@given(small_spaces)
def test_enumerate_gives_every_network_once(where: SearchSpace) -> None:
    codes = np.concatenate(list(where.enumerate()))
    assert codes.dtype == np.int8
    assert where.is_valid(codes).all()
    listed = set(map(bytes, codes))
    assert len(listed) == len(codes) == where.size
    raw = list(itertools.product(*(range(k) for k in where.cardinalities)))
    assert listed == set(map(bytes, where.canonical(raw)))


def test_enumerate_comes_in_chunks() -> None:
    where = SearchSpace(
        "x", embed_dim=[64], n_layer=[9], mlp_ratio=[1, 2, 3], n_head=[1, 2], bias=[True]
    )
    chunks = itertools.islice(where.enumerate(), 2)
    first, second = chunks
    assert len(first) == len(second) <= 100_000 < where.size
    assert len(np.unique(np.concatenate([first, second]), axis=0)) == 2 * len(first)


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


@given(spaces, seeds)
def test_neighbours_differ_in_one_choice(where: SearchSpace, seed: int) -> None:
    code = sampled(where, seed, 1)[0]
    (start,) = where.decode([code])
    near = where.neighbours(code)
    assert near.dtype == np.int8
    assert where.is_valid(near).all()
    distinct = set(map(bytes, near))
    assert len(distinct) == len(near)
    assert bytes(code) not in distinct
    assert len(near) == (where.cardinalities - 1)[where.active([code])[0]].sum()
    for arch in where.decode(near):
        changed = (arch.embed_dim != start.embed_dim) + (arch.bias != start.bias)
        changed += arch.n_layer != start.n_layer
        for mine, theirs in ((start.mlp_ratio, arch.mlp_ratio), (start.n_head, arch.n_head)):
            repeated = mine + mine[-1:] * (len(theirs) - len(mine))
            changed += sum(a != b for a, b in zip(repeated, theirs, strict=False))
        assert changed == 1


@given(small_spaces, seeds)
def test_neighbours_reach_back_unless_layers_were_lost(where: SearchSpace, seed: int) -> None:
    code = sampled(where, seed, 1)[0]
    for other in where.neighbours(code):
        if where.n_layer[other[1]] >= where.n_layer[code[1]]:
            assert bytes(code) in set(map(bytes, where.neighbours(other)))


def test_a_space_of_one_network_has_no_neighbours() -> None:
    where = SearchSpace("one", embed_dim=[64], n_layer=[2], mlp_ratio=[4], n_head=[1], bias=[False])
    assert where.size == 1
    assert where.neighbours(np.zeros(7, dtype=np.int8)).shape == (0, 7)


# -- closed forms --------------------------------------------------------------------------------


def counted(arch: Architecture, where: SearchSpace) -> int:
    """Parameters, weight by weight, of the module that an architecture describes."""
    width, vocabulary = arch.embed_dim, where.vocab_size
    layer_norm = width + width
    total = vocabulary * width + layer_norm + vocabulary * width  # tokens, last norm, output
    for ratio, heads in zip(arch.mlp_ratio, arch.n_head, strict=True):
        inner = heads * where.head_size
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
def test_params_and_flops_count_the_module(where: SearchSpace, seed: int) -> None:
    codes = sampled(where, seed)
    archs = where.decode(codes)
    params = where.params(codes)
    assert params.dtype == where.flops(codes).dtype == np.int64
    assert params.tolist() == [counted(arch, where) for arch in archs]
    assert where.flops(codes).tolist() == [
        2 * counted(arch, where) * where.context
        + 4 * arch.n_layer * arch.embed_dim * where.context**2
        for arch in archs
    ]


def largest(name: str) -> NDArray[np.int64]:
    return NAMED[name].cardinalities[None] - 1


def test_params_of_the_largest_gpt_s() -> None:
    # GPT-2 small, 124 million parameters, with an output layer of its own and no positions.
    assert NAMED["gpt-s"].params(largest("gpt-s")).tolist() == [162_246_144]
    assert 162_246_144 - 50_254 * 768 == 123_651_072


def test_params_of_the_largest_gpt_xl() -> None:
    without_output = NAMED["gpt-xl"].params(largest("gpt-xl"))[0] - 50_254 * 1600
    assert 1.55e9 < without_output < 1.56e9  # GPT-2 XL: 1.5576 billion with its positions
    assert without_output + 1024 * 1600 + 3 * 1600 == 1_557_611_200


def test_flops_of_the_largest_gpt_s() -> None:
    expected = 2 * 162_246_144 * 1024 + 4 * 12 * 768 * 1024**2
    assert NAMED["gpt-s"].flops(largest("gpt-s")).tolist() == [expected] == [370_934_808_576]


# -- descriptions --------------------------------------------------------------------------------


@given(spaces, seeds)
def test_to_dict_gives_the_same_space(where: SearchSpace, seed: int) -> None:
    settings = where.to_dict()
    for again in (SearchSpace(**settings), space(settings)):
        assert again.to_dict() == settings
        assert (again.columns, again.groups, again.size) == (
            where.columns,
            where.groups,
            where.size,
        )
        np.testing.assert_array_equal(again.cardinalities, where.cardinalities)
        codes = sampled(where, seed)
        assert again.decode(codes) == where.decode(codes)
        np.testing.assert_array_equal(again.params(codes), where.params(codes))
        np.testing.assert_array_equal(again.flops(codes), where.flops(codes))


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
    where = NAMED[name]
    assert (where.embed_dim, where.n_layer) == (widths, depths)
    assert (where.mlp_ratio, where.n_head) == (ratios, heads)
    assert (where.name, where.bias) == (name, (False, True))
    assert (where.head_size, where.context, where.vocab_size) == (64, 1024, 50_254)


def test_there_are_seven_named_spaces() -> None:
    assert len(GPT_SPACES) == 7


@pytest.mark.parametrize("depth", [48, 1024])
def test_repr_of_vast_spaces(depth: int) -> None:
    where = SearchSpace(
        "vast", embed_dim=[64], n_layer=[depth], mlp_ratio=[1, 2, 3], n_head=[1, 2, 3]
    )
    assert "vast" in repr(where)


# -- errors --------------------------------------------------------------------------------------

GOOD: dict[str, Any] = {
    "name": "x",
    "embed_dim": [64],
    "n_layer": [1, 2],
    "mlp_ratio": [1, 2],
    "n_head": [1, 2],
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": ""}, "name: expected letters, digits"),
        ({"name": "a b"}, "name: expected letters, digits.*'a b'"),
        ({"name": "a/b"}, "name: expected letters, digits"),
        ({"name": "x\n"}, "name: expected letters, digits"),
        ({"name": 3}, "name: expected letters, digits.*found 3"),
        ({"name": "gpt-2"}, "all digits.*'gpt-2'"),
        ({"name": "7"}, "all digits"),
        ({"embed_dim": []}, "embed_dim: expected a list of 1 to 127 choices"),
        ({"embed_dim": 64}, "embed_dim: expected a list.*found 64"),
        ({"embed_dim": "64"}, "embed_dim: expected a list"),
        ({"embed_dim": list(range(1, 129))}, "embed_dim: expected a list of 1 to 127"),
        ({"embed_dim": [64, 32]}, r"embed_dim: expected increasing.*\[64, 32\]"),
        ({"mlp_ratio": [2, 2]}, "mlp_ratio: expected increasing"),
        ({"n_head": [0, 4]}, "n_head: expected a positive integer, found 0"),
        ({"n_head": [-4]}, "n_head: expected a positive integer, found -4"),
        ({"n_head": [4.0]}, "n_head: expected a positive integer, found 4.0"),
        ({"n_head": ["4"]}, "n_head: expected a positive integer, found '4'"),
        ({"n_layer": [True]}, "n_layer: expected a positive integer, found True"),
        ({"n_layer": [1025]}, "n_layer: expected at most 1024 layers, found 1025"),
        ({"bias": []}, "bias: expected"),
        ({"bias": [1]}, r"bias: expected.*found \[1\]"),
        ({"bias": [True, True]}, "bias: expected"),
        ({"bias": "True"}, "bias: expected.*found 'True'"),
        ({"bias": True}, "bias: expected.*found True"),
        ({"bias": None}, "bias: expected.*found None"),
        ({"head_size": 63}, "head_size: expected an even number, found 63"),
        ({"head_size": 0}, "head_size: expected a positive integer, found 0"),
        ({"context": True}, "context: expected a positive integer, found True"),
        ({"context": 1e3}, "context: expected a positive integer, found 1000.0"),
        ({"vocab_size": -1}, "vocab_size: expected a positive integer, found -1"),
        ({"vocab_size": None}, "vocab_size: expected a positive integer, found None"),
    ],
)
def test_choices_that_make_no_space(change: dict[str, Any], message: str) -> None:
    for make in (lambda settings: SearchSpace(**settings), space):
        with pytest.raises(InvalidInput, match=message) as caught:
            make({**GOOD, **change})
        assert "\n" not in str(caught.value)


def test_most_choices_that_fit_a_code() -> None:
    where = space({**GOOD, "embed_dim": list(range(1, 128))})
    codes = sampled(where, 0, 2000)
    assert codes[:, 0].max() == 126
    assert where.is_valid(codes).all()
    assert [arch.embed_dim for arch in where.decode(codes)] == (codes[:, 0] + 1).tolist()


@pytest.mark.parametrize(
    ("name", "hint"), [("gpt_s", "'gpt-s'"), ("gpt-xll", "'gpt-xl'"), ("resnet", "known: ")]
)
def test_unknown_space(name: str, hint: str) -> None:
    with pytest.raises(UnknownName, match=f"unknown space '{name}'.*{hint}"):
        space(name)


def test_unknown_key_of_a_space() -> None:
    with pytest.raises(UnknownName, match="'n_layers'; did you mean 'n_layer'"):
        space({**GOOD, "n_layers": [1]})


def test_missing_keys_of_a_space() -> None:
    with pytest.raises(InvalidInput, match="missing: n_layer, n_head"):
        space({key: value for key, value in GOOD.items() if key not in ("n_layer", "n_head")})


@pytest.mark.parametrize("shape", [(9,), (2, 8), (2, 10), (1, 2, 9), (0,)])
@pytest.mark.parametrize("method", ["active", "canonical", "is_valid", "decode", "params", "flops"])
def test_codes_of_another_shape(
    small_space: SearchSpace, method: str, shape: tuple[int, ...]
) -> None:
    with pytest.raises(InvalidInput, match=r"codes of tiny: expected shape \(n, 9\), found"):
        getattr(small_space, method)(np.zeros(shape, dtype=np.int8))


def test_no_networks(small_space: SearchSpace) -> None:
    none = small_space.encode([])
    assert none.shape == (0, 9)
    assert small_space.decode(none) == []
    assert small_space.params(none).shape == small_space.flops(none).shape == (0,)


def test_codes_that_are_not_decoded(small_space: SearchSpace) -> None:
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
def test_choices_that_a_space_does_not_offer(
    small_space: SearchSpace, text: str, message: str
) -> None:
    good = Architecture.parse("tiny-1-8-1-1-True")
    with pytest.raises(InvalidInput, match=message):
        small_space.encode([good, Architecture.parse(text)])


@pytest.mark.parametrize("change", [{"embed_dim": 10**30}, {"n_head": (10**30,)}])
def test_choices_beyond_any_array(small_space: SearchSpace, change: dict[str, Any]) -> None:
    arch = dataclasses.replace(Architecture.parse("tiny-1-8-1-1-True"), **change)
    with pytest.raises(InvalidInput, match=f"{next(iter(change))}: expected"):
        small_space.encode([arch])


def test_bias_that_a_space_does_not_offer() -> None:
    where = space({**GOOD, "bias": [False]})
    with pytest.raises(InvalidInput, match="bias: expected"):
        where.encode([Architecture("x", 64, 1, (1,), (1,), True)])


def test_architectures_with_too_few_layers(small_space: SearchSpace) -> None:
    with pytest.raises(InvalidInput, match="n_head: expected one value a layer, 3, found 2"):
        small_space.encode([Architecture("tiny", 8, 3, (1, 1, 1), (1, 1), True)])


def test_another_space_of_the_same_choices_is_encoded(small_space: SearchSpace) -> None:
    arch = Architecture("other", 16, 1, (2,), (1,), False)
    assert small_space.encode([arch]).tolist() == [[1, 0, 0, 1, 0, 0, 0, 0, 0]]


def test_space_errors_are_the_users() -> None:
    assert issubclass(InvalidInput, HwnasError)
    assert issubclass(InvalidInput, ValueError)
