from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas.spaces import GPT_SPACES, Codes, GPTSpace, SearchSpace, space
from hwnas.surrogates.tables import AdditiveTable, predict

CUSTOM = (
    GPTSpace("one", embed_dim=[8], n_layer=[1], mlp_ratio=[3], n_head=[2], bias=[True]),
    GPTSpace(
        "odd", embed_dim=[6, 7, 50], n_layer=[1, 4], mlp_ratio=[1, 9], n_head=[1, 2, 5], head_size=2
    ),
    GPTSpace(
        "plain",
        embed_dim=[64, 96],
        n_layer=[2, 3, 7],
        mlp_ratio=[2],
        n_head=[1, 12],
        bias=[False],
        context=77,
        vocab_size=13,
    ),
)
ODD = CUSTOM[1]

seeds = st.integers(0, 2**32 - 1)


def random_table(any_space: SearchSpace, rng: np.random.Generator) -> AdditiveTable:
    e, d, b, ratios, heads = any_space.cardinalities[:5].tolist()
    return AdditiveTable(
        np.array(any_space.n_layer),
        rng.normal(size=(e, d, b)),
        rng.normal(size=(e, d, b, any_space.n_layer[-1], ratios, heads)),
    )


def everything(any_space: SearchSpace) -> Codes:
    return np.concatenate(list(any_space.enumerate()))


def by_hand(table: AdditiveTable, code: list[int]) -> float:
    """Return the sum in the docstring of the module, term by term."""
    e, d, b = code[:3]
    total = 0.0
    for i in range(int(table.depths[d])):
        total += float(table.layers[e, d, b, i, code[3 + 2 * i], code[4 + 2 * i]])
    return total + float(table.base[e, d, b])


@given(seeds)
def test_a_prediction_is_the_sum_over_active_layers_and_the_base(seed: int) -> None:
    rng = np.random.default_rng(seed)
    table, codes = random_table(ODD, rng), ODD.sample(20, rng)
    assert table.predict(codes).tolist() == [by_hand(table, row) for row in codes.tolist()]


def test_one_architecture_by_known_numbers() -> None:
    depths = np.array([1, 2])
    base = np.array([[[100.0], [200.0]]])  # (E, D, B): one width, two depths, one bias
    # (E, D, B, L, R, H); the shallow one has no second layer, whatever stands there
    layers = np.array([[[1.0, 2.0], [99, 99]], [[3.0, 4.0], [10, 20]]]).reshape(1, 2, 1, 2, 2, 1)
    table = AdditiveTable(depths, base, layers)
    codes = np.array([[0, 0, 0, 1, 0, 0, 0], [0, 1, 0, 0, 0, 1, 0]], dtype=np.int8)
    assert table.predict(codes).tolist() == [102, 223]
    assert (table.minimum(), table.maximum()) == (101, 224)


@given(seeds)
def test_tables_add_and_scale_like_their_predictions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b, codes = random_table(ODD, rng), random_table(ODD, rng), ODD.sample(50, rng)
    sums = (a + b).predict(codes)
    np.testing.assert_allclose(sums, a.predict(codes) + b.predict(codes), rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        (0.3 * a + b * -2).predict(codes),
        0.3 * a.predict(codes) - 2 * b.predict(codes),
        rtol=0,
        atol=1e-12,
    )
    # A sign and a power of two round nothing.
    np.testing.assert_array_equal((-4 * a).predict(codes), -4 * a.predict(codes))


@given(seeds)
def test_ordered_entries_give_ordered_sums(seed: int) -> None:
    rng = np.random.default_rng(seed)
    low, gap, codes = random_table(ODD, rng), random_table(ODD, rng), ODD.sample(50, rng)
    # Gaps so small that most of them are lost or rounded up.
    gap = AdditiveTable(gap.depths, abs(gap.base) * 1e-16, abs(gap.layers) * 1e-16)
    assert ((low + gap).predict(codes) >= low.predict(codes)).all()


@given(seeds)
def test_the_extremes_are_those_of_all_architectures(seed: int) -> None:
    table = random_table(CUSTOM[2], np.random.default_rng(seed))
    values = table.predict(everything(CUSTOM[2]))
    assert (table.minimum(), table.maximum()) == (values.min(), values.max())


@pytest.mark.parametrize("name", GPT_SPACES)
def test_closed_forms_are_tables_exactly(name: str) -> None:
    closed_forms_are_tables(space(name))


@pytest.mark.parametrize("any_space", CUSTOM, ids=lambda s: s.name)
def test_closed_forms_of_custom_spaces_are_tables_exactly(any_space: SearchSpace) -> None:
    closed_forms_are_tables(any_space)


def closed_forms_are_tables(any_space: SearchSpace) -> None:
    codes = any_space.sample(500, np.random.default_rng(0))
    for function in (any_space.params, any_space.flops):
        table = AdditiveTable.from_function(any_space, function)
        np.testing.assert_array_equal(table.predict(codes), function(codes))


def test_rows_are_independent() -> None:
    rng = np.random.default_rng(0)
    any_space = space("gpt-s")
    tables = [random_table(any_space, rng) for _ in range(2)]
    codes = any_space.sample(20_000, rng)  # more than are looked up together
    together = predict(tables, codes)
    assert together.shape == (20_000, 2)
    order = rng.permutation(len(codes))
    np.testing.assert_array_equal(predict(tables, codes[order]), together[order])
    for k in (0, 1, 8191, 8192, 8193, 19_999):
        np.testing.assert_array_equal(predict(tables, codes[k : k + 1])[0], together[k])
    np.testing.assert_array_equal(tables[1].predict(codes), together[:, 1])


@pytest.mark.parametrize("name", ["gpt-s", "gpt-l"])
def test_batch_size_and_table_count_change_no_bit(name: str) -> None:
    rng = np.random.default_rng(1)
    any_space = space(name)
    tables = [random_table(any_space, rng) for _ in range(3)]
    codes = any_space.sample(20_000, rng)
    together = predict(tables, codes)
    for n in (1, 2, 100, 3000, 9000):
        np.testing.assert_array_equal(predict(tables, codes[:n]), together[:n])
    expected = [by_hand(table, codes[-1].tolist()) for table in tables]
    assert together[-1].tolist() == expected


def test_codes_outside_the_tables_are_an_error() -> None:
    table = random_table(ODD, np.random.default_rng(2))
    codes = ODD.sample(100, np.random.default_rng(2))
    codes[77, 0] = 100
    with pytest.raises(IndexError):
        table.predict(codes)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int64])
def test_codes_of_any_integers_in_any_layout(kind: type[np.integer]) -> None:
    rng = np.random.default_rng(3)
    table, codes = random_table(ODD, rng), ODD.sample(200, rng)
    expected = table.predict(codes)
    strided = np.zeros((400, 2 * codes.shape[1]), dtype=kind)
    strided[::2, ::2] = codes
    np.testing.assert_array_equal(table.predict(strided[::2, ::2]), expected)
    np.testing.assert_array_equal(table.predict(np.asfortranarray(codes, dtype=kind)), expected)


def test_a_space_of_many_choices() -> None:
    """More options in a layer than 8 bits tell apart, more entries than 16."""
    choices = list(range(1, 41))
    any_space = GPTSpace(
        "many", embed_dim=choices, n_layer=[2, 5], mlp_ratio=choices, n_head=[1, 9]
    )
    rng = np.random.default_rng(4)
    table, codes = random_table(any_space, rng), any_space.sample(50, rng)
    assert table.predict(codes).tolist() == [by_hand(table, row) for row in codes.tolist()]
    wide = GPTSpace("wide", embed_dim=[8], n_layer=[2], mlp_ratio=choices, n_head=choices)
    table, codes = random_table(wide, rng), wide.sample(50, rng)
    assert table.predict(codes).tolist() == [by_hand(table, row) for row in codes.tolist()]


def test_no_tables_or_no_architectures() -> None:
    table = random_table(ODD, np.random.default_rng(0))
    codes = ODD.sample(3, np.random.default_rng(0))
    assert predict([], codes).shape == (3, 0)
    assert predict([table, table], codes[:0]).shape == (0, 2)


def test_predict_does_not_modify_its_input() -> None:
    table = random_table(ODD, np.random.default_rng(0))
    codes = ODD.sample(10, np.random.default_rng(0))
    originals = codes.copy(), table.base.copy(), table.layers.copy()
    for array in (codes, table.base, table.layers):
        array.flags.writeable = False
    first = table.predict(codes)
    np.testing.assert_array_equal(table.predict(codes), first)
    for array, same in zip((codes, table.base, table.layers), originals, strict=True):
        np.testing.assert_array_equal(array, same)
