"""Architectures are parsed from lines, JSON and CSV; errors name the location."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hwnas
from hwnas.errors import InvalidInput
from hwnas.spaces.arch_input import (
    LocatedArchitecture,
    architecture_from_mapping,
    parse_arguments,
    parse_text,
)
from hwnas.spaces.architecture import Architecture

ONE = "gpt-s-2-192-2-3-4-8-True"
TWO = "gpt-s-1-384-4-12-False"
FIELDS = {
    "space": "gpt-s",
    "embed_dim": 192,
    "n_layer": 2,
    "mlp_ratio": [2, 3],
    "n_head": [4, 8],
    "bias": True,
}
PUBLISHED = {
    "space": "gpt-s",
    "sample_embed_dim": 192,
    "sample_n_layer": 2,
    "sample_mlp_ratio": [2, 3, 4],
    "sample_n_head": [4, 8, 12],
    "sample_bias": "True",
}


def as_csv(archs: list[Architecture]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerow(["trial", "arch", "what, quoted"])
    writer.writerows([i, arch, 'a "quote"'] for i, arch in enumerate(archs))
    return text.getvalue()


def as_fields(archs: list[Architecture]) -> str:
    return json.dumps([{f: getattr(a, f) for f in Architecture.__slots__} for a in archs], indent=1)


def as_published(archs: list[Architecture]) -> str:
    """HW-GPT-Bench's dictionaries, one a line."""
    # The bias is a string in its dictionaries.
    fields = ("embed_dim", "n_layer", "mlp_ratio", "n_head")
    dicts: list[dict[str, object]] = [
        {
            "space": a.space,
            "sample_bias": str(a.bias),
            **{f"sample_{field}": getattr(a, field) for field in fields},
        }
        for a in archs
    ]
    return "\n".join(map(json.dumps, dicts))


# Writers of every format that is accepted.
FORMATS: list[Callable[[list[Architecture]], str]] = [
    lambda archs: "\n".join(map(str, archs)),
    lambda archs: json.dumps(list(map(str, archs))),
    lambda archs: "\r\n".join(json.dumps(str(arch)) for arch in archs),
    lambda archs: json.dumps([{"arch": str(arch), "perplexity": 20.0} for arch in archs]),
    as_csv,
    as_fields,
    as_published,
]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.sampled_from(["gpt-s", "gpt-l"]))
def test_every_format_is_recognized(seed: int, n: int, name: str) -> None:
    space = hwnas.space(name)
    archs = space.decode(space.sample(n, np.random.default_rng(seed)))
    for write in FORMATS:
        assert [item.arch for item in parse_text(write(archs))] == archs


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from(list(' \n",[]{}:archgpt-s120True\x00')) | st.characters()))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidInput):
        parse_text(text)


def locations(archs: list[LocatedArchitecture]) -> list[str]:
    return [item.location for item in archs]


def test_locations() -> None:
    # Lines and elements count from 1, empty lines included.
    assert locations(parse_text(f"\n{ONE}\n\n  {TWO} \n")) == ["line 2", "line 4"]
    assert locations(parse_text(f"arch\n\n{ONE}\n{TWO}")) == ["line 3", "line 4"]
    assert locations(parse_text(json.dumps([ONE, TWO]))) == ["element 1", "element 2"]
    assert locations(parse_arguments([ONE, TWO])) == ["argument 1", "argument 2"]


def test_mappings() -> None:
    arch = Architecture.parse(ONE)
    assert architecture_from_mapping(FIELDS) == arch
    assert architecture_from_mapping(PUBLISHED) == arch
    assert architecture_from_mapping({**PUBLISHED, "sample_bias": False}).bias is False
    assert architecture_from_mapping({**FIELDS, "bias": "False", "more": 1}).bias is False


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("space", 3, "space: expected the name of a space, found 3"),
        ("embed_dim", 192.0, r"embed_dim: expected an integer, found 192\.0"),
        ("n_layer", True, "n_layer: expected an integer, found True"),
        ("mlp_ratio", 2, "mlp_ratio: expected a list of integers, found 2"),
        ("n_head", [4, "8"], "n_head: expected a list of integers"),
        ("bias", 1, "bias: expected true or false, found 1"),
        ("bias", "yes", "bias: expected true or false, found 'yes'"),
    ],
)
def test_wrong_fields(key: str, value: object, message: str) -> None:
    with pytest.raises(InvalidInput, match=f"^{message}"):
        architecture_from_mapping({**FIELDS, key: value})


OWN = {
    "name": "mlp",
    "choices": {"depth": [0, 1, 2], "kind": ["a", "b, c", '[" :/='], "rate": [0.1, 1e-05]},
    "layers": {"width": [8, 16]},
    "conditions": {"rate": {"kind": ["a"]}},
}


@pytest.mark.parametrize("source", ["llama-s", "llama-l", "zdt1", OWN], ids=str)
def test_strings_of_every_family(source: str | dict[str, object]) -> None:
    space = hwnas.space(source)
    members = space.decode(space.sample(30, np.random.default_rng(0)))
    given = space if source is OWN else None  # others begin with the name of their space
    for write in FORMATS[:5]:
        items = parse_text(write(members), given)
        assert [item.arch for item in items] == members
        assert type(items[0].arch) is type(members[0])
    located = parse_arguments(list(map(str, members)), given)
    assert [item.arch for item in located] == members
    assert [item.arch for item in parse_text("\n".join(map(str, members)), space)] == members


def test_objects_of_a_user_s_own() -> None:
    space = hwnas.space(OWN)
    members = space.decode(space.sample(30, np.random.default_rng(0)))
    text = json.dumps([dict(member) for member in members])
    assert [item.arch for item in parse_text(text, space)] == members
    with pytest.raises(InvalidInput, match=r"^element 2: unknown choice of mlp: 'kin'"):
        parse_text(json.dumps([dict(members[0]), {"kin": "a"}]), space)
    # A choice of the space may have the name of a field.
    named = hwnas.space({"name": "named", "choices": {"arch": ["x", "y"]}})
    assert dict(parse_text('{"arch": "y"}', named)[0].arch) == {"arch": "y"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mlp:depth=0", "argument 1: .*'mlp' is the name of no space here; .* --space FILE"),
        ("llama-s-2-64", "argument 1: .*'llama-s-2-64'"),
        ("llama-x-2-64", "argument 1: architecture 'llama-x-2-64': expected SPACE-LAYERS"),
        ("zdt1:x1=7", "argument 1: x1: expected one of"),
    ],
)
def test_strings_of_no_member_are_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=f"^{message}"):
        parse_arguments([text])


def test_missing_fields() -> None:
    fields = {key: value for key, value in PUBLISHED.items() if key != "space"}
    with pytest.raises(InvalidInput, match=r"sample_bias; missing: space$"):
        architecture_from_mapping(fields)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected architectures, found none"),
        (" \n\n", "expected architectures, found none"),
        ("[]", "expected architectures, found none"),
        ("arch,perplexity\n", "expected architectures, found none"),
        (f"{ONE}\nwhat", "line 2: architecture 'what': expected"),
        ("trial,perplexity\n1,2", "line 1: expected a CSV header with a column arch, found trial"),
        ("trial,arch\n\n1", "line 3: the row ends before the column arch"),
        (f"arch,trial\n{ONE},1\nwhat,2", "line 3: architecture 'what'"),
        (f'["{ONE}",\n what]', "line 2: not JSON"),
        (f'{{"arch": "{ONE}"}}\nwhat', "line 2: not JSON"),
        (f'["{ONE}", 3]', "element 2: expected an architecture string or object, found 3"),
        (f'["{ONE}", {{"arch": 3}}]', "element 2: expected an architecture string or object"),
        ('["what"]', "element 1: architecture 'what'"),
        ('{"space": "gpt-s"}', "element 1: expected space, embed_dim.*missing: embed_dim, n_layer"),
        ("[" * 100_000, "not architectures: JSON too deep"),
    ],
)
def test_malformed_input_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=f"^{message}"):
        parse_text(text)
