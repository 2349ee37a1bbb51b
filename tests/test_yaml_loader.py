"""Scalars, duplicate keys and errors of the YAML loader."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwnas.errors import InvalidInput
from hwnas.yaml_loader import dump_yaml, parse_yaml, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E3", 1e3),
        ("-.5", -0.5),
        ("12", 12),
        ("0o14", "0o14"),
        ("1:30", "1:30"),
        ("true", True),
        ("on", "on"),
        ("yes", "yes"),
        ("null", None),
        ("2026-11-22", "2026-11-22"),
        ("latency@h100:p90 <= 20", "latency@h100:p90 <= 20"),
        ("-perplexity", "-perplexity"),
    ],
)
def test_scalars(text: str, value: object) -> None:
    scalar = parse_yaml(f"key: {text}")["key"]
    assert scalar == value
    assert type(scalar) is type(value)


@pytest.mark.parametrize(
    "value",
    [
        *(
            "1e5",
            "-.5",
            "<<",
            "on",
            "null",
            "12",
            "0o14",
            "2026-11-22",
            "~",
            "",
            " a ",
            "a: b",
            "#",
        ),
        *("\x85", "a\u2028b", "a\nb\n", "\ufeff", "\x1b", "\U0001f600", "\U0010ffff", "{", "'"),
        *(1e5, 1e-7, 1e300, -0.0, 10**30, float("inf"), True, None, [], {}, ["1e5", 1e5]),
    ],
)
def test_what_is_written_is_read_as_the_same(value: object) -> None:
    read = parse_yaml(dump_yaml({"key": value}))["key"]
    assert (read, repr(read)) == (value, repr(value))


def test_infinities() -> None:
    assert parse_yaml("[.inf, -.inf]") == [float("inf"), -float("inf")]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("base: &b {x: 1, y: 2}\nkey: {<<: *b, y: 3}", {"x": 1, "y": 3}),
        ("base: &b {x: 1, y: 2}\nkey: {y: 3, <<: *b}", {"x": 1, "y": 3}),
        ("a: &a {x: 1}\nb: &b {x: 2, y: 2}\nkey: {<<: [*a, *b], z: 3}", {"x": 1, "y": 2, "z": 3}),
        ("a: &a {x: 1}\nb: &b {<<: *a, x: 2}\nkey: {<<: *b, x: 3}", {"x": 3}),
        ("a: &a {x: 1}\nkey: [&b {<<: *a, x: 2}, {<<: *b}, {<<: *b, x: 3}]", [2, 2, 3]),
        ("key: {'<<': 1}", {"<<": 1}),
    ],
)
def test_merge_keys(text: str, value: object) -> None:
    merged = parse_yaml(text)["key"]
    if isinstance(merged, list):
        merged = [item["x"] for item in merged]
    assert merged == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", "line 2: duplicate key 'a'"),
        ("a: {b: 1, b: 2}", "line 1: duplicate key 'b'"),
        ("1: a", "expected a name for a key, found 1"),
        ("a: [1", "line 1"),
        ("a: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("a: !!python/name:os.system", "could not determine a constructor"),
        (b"\x00\x01\xff\xfe", "not a YAML text"),
        (b"\xff\xd8\xff\xe0JFIF", "not a YAML text"),
        ("[" * 5000, "not a YAML text"),
        ("a: 1\n---\nb: 2", "expected a single document"),
    ],
)
def test_invalid_texts_are_refused(text: str | bytes, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        parse_yaml(text)
    assert "\n" not in str(caught.value)


def test_files(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("a: 1")
    assert read_yaml(file) == {"a": 1}
    # Files without a mapping at the top.
    for content, message in (("", "is empty"), ("# only", "is empty"), ("- 1", "found a list")):
        file.write_text(content)
        with pytest.raises(InvalidInput, match=message) as caught:
            read_yaml(file)
        assert str(caught.value).startswith(str(file))
    for path, message in ((tmp_path / "none.yaml", "no such file"), (tmp_path, "cannot be read")):
        with pytest.raises(InvalidInput, match=message):
            read_yaml(path)
