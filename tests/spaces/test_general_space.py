"""Search spaces of a user's own names and choices, and the families of spaces."""

from __future__ import annotations

import pickle
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hwnas
from hwnas.errors import InvalidInput, UnknownName
from hwnas.spaces import Configuration, GPTSpace, SearchSpace, space

MLP: dict[str, Any] = {
    "name": "mlp",
    "choices": {
        "depth": [0, 1, 3],
        "optimizer": ["adam", "sgd"],
        "momentum": [0.0, 0.9],
        "nesterov": [False, True],
    },
    "layers": {"width": [16, 32, 64], "activation": ["relu", "tanh"]},
    "conditions": {"momentum": {"optimizer": ["sgd"]}, "nesterov": {"momentum": [0.9]}},
}
HEADS: dict[str, Any] = {
    "name": "heads",
    "choices": {"n_layer": [1, 2], "width": [64, 128]},
    "layers": {"n_head": [0, 4, 6, 9], "n_kv_head": [1, 2, 3], "ratio": [0, 2, 4]},
    "conditions": {"n_kv_head": {"n_head": [4, 6, 9]}},
    "allowed": lambda layer: (
        (layer["n_head"] == 0 or layer["n_head"] % layer["n_kv_head"] == 0)
        and (layer["n_head"] or layer["ratio"])
    ),
}
FLAT: dict[str, Any] = {"name": "flat", "choices": {"a": range(5), "b": [0.1, 1e-3], "c": ["x/y"]}}
SINGLE: dict[str, Any] = {"name": "single", "choices": {"a": [1]}}
LONG: dict[str, Any] = {"name": "long", "choices": {f"c{i}": range(3) for i in range(200)}}
MANY: dict[str, Any] = {
    "name": "many",
    "choices": {"depth": [1, 4], "x": range(127)},
    "layers": {"y": range(127), "z": range(127)},
}
SPACES = {form["name"]: SearchSpace(**form) for form in (MLP, HEADS, FLAT, SINGLE, LONG, MANY)}
SMALL = [SPACES[name] for name in ("mlp", "heads", "flat", "single")]


@st.composite
def spaces(draw: st.DrawFn) -> SearchSpace:
    """Small spaces with and without layers, conditions and constraints."""
    values = st.one_of(
        st.lists(st.integers(-5, 5), min_size=1, max_size=4, unique=True),
        st.lists(st.floats(-1, 1), min_size=1, max_size=3, unique=True),
        st.lists(st.text("ab/:=% ", min_size=1, max_size=3), min_size=1, max_size=3, unique=True),
        st.sampled_from([[False], [True], [False, True]]),
    )
    choices = {name: draw(values) for name in draw(st.sampled_from(["ab", "a", "abc"]))}
    form: dict[str, Any] = {"choices": choices}
    if draw(st.booleans()):
        depths = draw(st.lists(st.integers(0, 3), min_size=1, max_size=3, unique=True))
        form["choices"]["depth"] = depths
        form["layers"] = {name: draw(values) for name in draw(st.sampled_from(["u", "uv"]))}
        if draw(st.booleans()) and max(depths) > 0:
            n = int(np.prod([len(v) for v in form["layers"].values()]))
            mask = draw(st.lists(st.booleans(), min_size=n, max_size=n))
            combinations = [tuple(x) for x in _product(form["layers"].values())]
            form["allowed"] = [c for c, m in zip(combinations, mask, strict=True) if m] or [
                combinations[0]
            ]
    if "b" in choices and draw(st.booleans()):
        parent = draw(st.sampled_from([n for n in choices if n not in ("b", "depth")]))
        when = draw(st.lists(st.sampled_from(choices[parent]), min_size=1, unique=True))
        form["conditions"] = {"b": {parent: when}}
    return SearchSpace("drawn", **form)


def _product(lists: Any) -> Any:
    import itertools

    return itertools.product(*lists)


def listed(search_space: SearchSpace) -> np.ndarray[Any, Any]:
    parts = [*search_space.enumerate()]
    return np.concatenate(parts)


def assert_consistent(search_space: SearchSpace, seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    codes = search_space.sample(40, rng)
    assert codes.dtype == np.int8
    assert codes.flags.c_contiguous
    assert search_space.is_valid(codes).all()
    assert (codes < search_space.cardinalities).all()
    assert not (codes * ~search_space.active(codes)).any()
    members = search_space.decode(codes)
    np.testing.assert_array_equal(search_space.encode(members), codes)
    np.testing.assert_array_equal(search_space.encode([dict(m) for m in members]), codes)
    np.testing.assert_array_equal(search_space.encode([str(m) for m in members]), codes)
    for member, code in zip(members[:5], codes, strict=False):
        assert search_space.parse(str(member)) == member
        neighbours = search_space.neighbours(code)
        assert search_space.is_valid(neighbours).all()
        assert len(np.unique(neighbours, axis=0)) == len(neighbours)
        assert not (neighbours == code).all(axis=1).any()
    wild = rng.normal(0, 100, size=(20, len(search_space.columns)))
    canonical = search_space.canonical(wild)
    assert search_space.is_valid(canonical).all()
    np.testing.assert_array_equal(search_space.canonical(canonical), canonical)
    again = space(search_space.to_dict())
    assert again.to_dict() == search_space.to_dict()
    np.testing.assert_array_equal(again.sample(40, np.random.default_rng(seed)), codes)


@pytest.mark.parametrize("search_space", SPACES.values(), ids=SPACES)
def test_codes_of_all_kinds_of_spaces(search_space: SearchSpace) -> None:
    assert_consistent(search_space)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(spaces(), st.integers(0, 9))
def test_codes_of_drawn_spaces(search_space: SearchSpace, seed: int) -> None:
    assert_consistent(search_space, seed)
    if search_space.size < 3000:
        assert_connected(search_space)


@pytest.mark.parametrize("search_space", SMALL, ids=lambda s: s.name)
def test_small_spaces_are_listed_once_and_connected(search_space: SearchSpace) -> None:
    assert_connected(search_space)


def assert_connected(search_space: SearchSpace) -> None:
    """Check that size, list and the graph of neighbours have the same members."""
    codes = listed(search_space)
    assert len(codes) == search_space.size
    assert len(np.unique(codes, axis=0)) == len(codes)
    assert search_space.is_valid(codes).all()
    index = {row.tobytes(): i for i, row in enumerate(codes)}
    reached, queue = {0}, [0]
    while queue:
        for row in search_space.neighbours(codes[queue.pop()]):
            i = index[row.tobytes()]
            if i not in reached:
                reached.add(i)
                queue.append(i)
    assert len(reached) == len(codes)


def test_sampling_is_uniform_over_the_allowed_combinations_of_a_layer() -> None:
    search_space = SPACES["heads"]
    codes = search_space.sample(60_000, np.random.default_rng(0))
    first = codes[:, search_space.layer_columns[0]]
    options, counts = np.unique(first, axis=0, return_counts=True)
    assert search_space.options is not None
    np.testing.assert_array_equal(options, search_space.options.options)
    assert counts.max() / counts.min() < 1.15


def test_a_forbidden_layer_becomes_the_nearest_allowed_one() -> None:
    search_space = SPACES["heads"]
    # 4 heads in 3 groups are not allowed; 2 groups are nearer than 6 or 9 heads with 1 or 2.
    code = search_space.canonical([[0, 0, 1, 2, 1, 0, 0, 0]])
    assert dict(search_space.decode(code)[0]) == {
        "n_layer": 1,
        "width": 64,
        "n_head": (4,),
        "n_kv_head": (2,),
        "ratio": (2,),
    }


def test_conditions_switch_choices_off() -> None:
    search_space = SPACES["mlp"]
    (adam, sgd) = search_space.decode([[0, 0, 0, 0, *[0] * 6], [1, 1, 1, 1, 2, 1, *[0] * 4]])
    assert dict(adam) == {"depth": 0, "optimizer": "adam", "width": (), "activation": ()}
    assert dict(sgd) == {
        "depth": 1,
        "optimizer": "sgd",
        "momentum": 0.9,
        "nesterov": True,
        "width": (64,),
        "activation": ("tanh",),
    }
    assert (
        str(sgd) == "mlp:depth=1/optimizer=sgd/momentum=0.9/nesterov=True/width=64/activation=tanh"
    )
    assert search_space.size == (1 + 1 + 2) * (1 + 6 + 6**3)


def test_ordered_columns_are_those_of_numbers() -> None:
    search_space = SPACES["mlp"]
    names = np.array(search_space.columns)
    assert set(names[~search_space.ordered]) == {
        "optimizer",
        "nesterov",
        *(f"activation_{i}" for i in range(3)),
    }
    assert SearchSpace("x", {"a": [3, 1, 2]}).choices == {"a": (1, 2, 3)}


def test_configurations_are_mappings() -> None:
    search_space = SPACES["flat"]
    first, second = search_space.decode([[1, 0, 0], [1, 1, 0]])
    assert isinstance(first, Configuration)
    assert first == {"a": 1, "b": 0.001, "c": "x/y"} != second
    assert str(first) == "flat:a=1/b=0.001/c=x%2Fy"
    assert len({first, search_space.decode([[1, 0, 0]])[0], second}) == 2
    copy = pickle.loads(pickle.dumps(first))
    assert dict(copy) == dict(first)
    assert str(copy) == str(first)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"choices": {}}, "choices: expected at least one"),
        ({"choices": []}, r"choices: expected values by name, found \[\]"),
        ({"choices": {"a": []}}, "a: expected a list of 1 to 127 values"),
        ({"choices": {"a": 3}}, "a: expected a list of 1 to 127 values, found 3"),
        ({"choices": {"a": range(128)}}, "a: expected a list of 1 to 127 values"),
        ({"choices": {"a": [1, 1.0]}}, "a: expected distinct values"),
        ({"choices": {"a": [1, "x"]}}, "a: expected numbers, texts or bools alone"),
        ({"choices": {"a": [1, True]}}, "a: expected numbers, texts or bools alone"),
        ({"choices": {"a": [None]}}, "a: expected numbers, texts or bools alone"),
        ({"choices": {"a": [float("nan")]}}, "a: expected numbers, texts or bools alone"),
        ({"choices": {"a": [""]}}, "a: an empty text is no value"),
        ({"choices": {"a b": [1]}}, "name of a choice: expected letters A to Z, digits and '_'"),
        ({"layers": {"w": [1]}}, "depth: expected the name of the choice"),
        ({"depth": "a"}, "depth: expected layers beside it"),
        ({"layers": {"w": [1]}, "depth": "b"}, "a.*found 'b'|depth: expected"),
        ({"layers": {"w": [1]}, "depth": "s"}, "s: expected numbers of layers"),
        ({"layers": {"a": [1]}, "depth": "a"}, "a: is a choice of the layers and outside"),
        ({"allowed": [[1]]}, "allowed: expected a space with layers|allowed"),
        ({"conditions": {"z": {"a": [1]}}}, "unknown choice in conditions 'z'"),
        ({"conditions": {"a": {"z": [1]}}}, "unknown choice in the condition of a: 'z'"),
        ({"conditions": {"a": {"s": ["q"]}}}, "conditions: a: s has no choice 'q'"),
        ({"conditions": {"a": {"s": ["x"]}, "s": {"a": [1]}}}, "depend on each other in a circle"),
        ({"conditions": {"a": {}}}, "a: expected one other choice with its values"),
    ],
)
def test_what_defines_no_space_is_refused(change: dict[str, Any], message: str) -> None:
    form = {"name": "x", "choices": {"a": [1, 2], "s": ["x", "y"]}} | change
    with pytest.raises(InvalidInput, match=message) as caught:
        space(form)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"depth": 0}, "expected a value of optimizer, found none"),
        ({"depth": 1}, "width: expected a list of 1 values, one for each layer, found None"),
        ({"nope": 1}, "unknown choice of mlp: 'nope'"),
        ({"depth": 2}, r"depth: expected one of \[0, 1, 3\], found 2"),
        ({"depth": True}, r"depth: expected one of .*, found True"),
        ({"depth": 1, "optimizer": "adam", "width": [16]}, "activation: expected a list of 1"),
        (3, "expected a mapping"),
        ("other:depth=1", "expected mlp:NAME=VALUE"),
        ("mlp:depth", "expected mlp:NAME=VALUE"),
        ("mlp:depth=1/depth=1", "expected mlp:NAME=VALUE"),
        ("mlp:depth=7", r"depth: expected one of \[0, 1, 3\], found '7'"),
        ("mlp:nope=7", "unknown choice of mlp: 'nope'"),
    ],
)
def test_what_is_no_configuration_is_refused(config: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        SPACES["mlp"].encode([config])
    assert "\n" not in str(caught.value)


LAYERED: dict[str, Any] = {
    "choices": {"depth": [1, 2], "act": ["relu", "tanh"], "on": [False, True]},
    "layers": {"width": [1, 2], "kernel": [1, 2, 4]},
}
NONSENSE: list[Any] = [
    None,
    3,
    "relu",
    b"relu",
    1j,
    [[]],
    [[1]],
    [None],
    [float("nan")],
    [10**400],
    ["\ud800"],
    object(),
    {"x": 1},
    {"act": "relu"},
]


@pytest.mark.parametrize("value", NONSENSE, ids=lambda v: str(type(v).__name__))
@pytest.mark.parametrize("place", ["choices", "act", "layers", "width", "conditions", "when"])
def test_nonsense_defines_no_space(place: str, value: Any) -> None:
    form = {key: dict(values) for key, values in LAYERED.items()}
    if place in ("act", "width"):
        form["choices" if place == "act" else "layers"][place] = value
    elif place == "when":
        form["conditions"] = {"on": {"act": value}}
    else:
        form[place] = value
    if value is None and place in ("layers", "conditions"):
        return  # stands for none
    with pytest.raises(InvalidInput):
        SearchSpace("x", **form)


@pytest.mark.parametrize(
    "allowed",
    [
        3,
        "relu",
        {"width": [1]},
        [[1]],
        [[True, 1]],
        [[1, 3]],
        [],
        object(),
        [1, 2],
        lambda layer: layer["q"],
        lambda layer: 1 / 0,
        lambda: True,
        lambda layer: np.ones(2),
    ],
)
def test_nonsense_allows_no_layers(allowed: Any) -> None:
    with pytest.raises(InvalidInput, match=r"^allowed: "):
        SearchSpace("x", **LAYERED, allowed=allowed)


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({"on": {"act": []}}, "on: expected a list of values of act"),
        ({"on": {"act": "relu"}}, "on: expected a list of values of act, found 'relu'"),
        ({"act": {"on": [1]}}, "on has no choice 1, expected one of .False, True"),
        ({"act": {"act": ["relu"]}}, "act cannot depend on itself"),
        ({"width": {"act": ["relu"]}}, "width cannot depend on act"),
        ({"act": {"width": [1]}}, "act cannot depend on width"),
        ({"act": {"on": [True]}, "on": {"act": ["relu"]}}, "in a circle"),
        ({"depth": {"on": [True]}}, "the number of layers takes no condition"),
    ],
)
def test_conditions_that_cannot_be(conditions: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        SearchSpace("x", **LAYERED, conditions=conditions)


def test_values_of_numpy_are_plain_ones() -> None:
    choices: dict[str, Any] = {
        "a": [np.int64(3), np.float32(0.5)],
        "b": [np.bool_(True), np.False_],
        "c": [np.str_("x"), type("Text", (str,), {})("y")],
        "d": np.arange(3),
    }
    plain = SearchSpace("x", choices).to_dict()["choices"]
    assert plain == {"a": [0.5, 3], "b": [False, True], "c": ["x", "y"], "d": [0, 1, 2]}
    types = [type(value) for values in plain.values() for value in values]
    assert types == [float, int, bool, bool, str, str, int, int, int]


def test_members_are_encoded_from_arrays_too() -> None:
    search_space = SearchSpace("x", **LAYERED)
    config = {"depth": np.int64(2), "act": np.str_("tanh"), "on": np.True_}
    layers = {"width": np.array([1, 2]), "kernel": (np.float64(4.0), 1)}
    codes = search_space.encode([{**config, **layers}])
    assert str(search_space.decode(codes)[0]) == "x:depth=2/act=tanh/on=True/width=1:2/kernel=4:1"


def test_a_small_space_shows_its_exact_size() -> None:
    assert repr(SearchSpace("x", {"a": range(127)})).endswith("1 columns, 127 members>")


def test_layers_that_are_not_allowed_are_refused() -> None:
    config = {"n_layer": 1, "width": 64, "n_head": [4], "n_kv_head": [3], "ratio": [2]}
    with pytest.raises(InvalidInput, match="not allowed together, at n_"):
        SPACES["heads"].encode([config])


# -- families --------------------------------------------------------------------------------------


def test_layers_of_gpt_may_leave_out_attention_or_mlp_but_not_both() -> None:
    choices: dict[str, Any] = {"embed_dim": [8], "n_layer": [2], "bias": [True]}
    part = GPTSpace("part", mlp_ratio=[0, 2], n_head=[0, 1], head_size=4, **choices)
    assert part.size == 3**2
    assert_connected(part)
    codes = listed(part)
    for code, params in zip(codes, part.params(codes), strict=True):
        (arch,) = part.decode([code])
        expected = 2 * part.vocab_size * 8 + 2 * 8  # embeddings, output, last norm
        for ratio, heads in zip(arch.mlp_ratio, arch.n_head, strict=True):
            assert ratio or heads
            if heads:
                expected += 2 * 8 + 4 * (4 * heads * 8) + 3 * 4 * heads + 8
            if ratio:
                expected += 2 * 8 + 2 * (ratio * 8 * 8) + ratio * 8 + 8
        assert params == expected
    assert space(part.to_dict()).to_dict() == part.to_dict()


def test_the_former_constructor_makes_a_space_of_gpt() -> None:
    choices: Any = {"embed_dim": [8], "n_layer": [1], "mlp_ratio": [2], "n_head": [1]}
    with pytest.warns(DeprecationWarning, match="GPTSpace"):
        assert isinstance(SearchSpace("x", **choices), GPTSpace)


@pytest.fixture
def pair() -> type[SearchSpace]:
    @hwnas.register_space("pair")
    class Pair(SearchSpace):
        named: ClassVar[dict[str, Any]] = {"pair-ten": {"size": 10}}
        closed_forms = ("total",)

        def __init__(self, name: str, *, size: int) -> None:
            super().__init__(name, {"a": range(size), "b": range(size)})

        def total(self, codes: Any) -> Any:
            return np.asarray(codes).sum(axis=1)

    return Pair


def test_a_family_of_one_s_own(pair: type[SearchSpace]) -> None:
    assert space("pair-ten").size == 100
    assert isinstance(space({"family": "pair", "name": "mine", "size": 3}), pair)
    with pytest.raises(UnknownName, match="unknown key of a space 'sise'; did you mean 'size'"):
        space({"family": "pair", "name": "mine", "sise": 3})
    with pytest.raises(InvalidInput, match="a space needs name, size; missing: size"):
        space({"family": "pair", "name": "mine"})
    with pytest.raises(UnknownName, match="unknown family of spaces 'pare'"):
        space({"family": "pare", "name": "mine"})
    with pytest.raises(InvalidInput, match="expected a subclass of SearchSpace"):
        hwnas.register_space("no")(int)
