"""Architectures as people pipe them: one a line, JSON, or CSV with a column ``arch``.

The form is recognised from the text: CSV has a header with a column ``arch``, JSON begins with a
bracket, a brace or a quote, and anything else is one architecture a line. JSON is a list, or
elements that follow one another. An element is an architecture string or an object of one of three
kinds: ``{"arch": "gpt-s-..."}``, which is what
``hwnas query --format json`` prints, the fields of `Architecture`, or those of HW-GPT-Bench's
dictionaries and ``space``.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hwnas.errors import InvalidInput
from hwnas.spaces.architecture import Architecture

_FIELDS = ("embed_dim", "n_layer", "mlp_ratio", "n_head", "bias")
_SAMPLE = "sample_"  # what HW-GPT-Bench puts before each of them
_JSON_STARTS = ("[", "{", '"')
_BIASES = {True: True, False: False, "True": True, "False": False}


@dataclass(frozen=True, slots=True)
class Given:
    """An architecture, and where it was given.

    Attributes
    ----------
    arch
        The architecture, of which only the form is known to be right.
    place
        ``"line 3"``, ``"element 3"``, ``"argument 3"``: what an error begins with.
    """

    arch: Architecture
    place: str


def read_arguments(texts: Sequence[str]) -> list[Given]:
    """Read architecture strings.

    Raises
    ------
    InvalidInput
        One is not an architecture string.
    """
    return [_parsed(text, f"argument {i}") for i, text in enumerate(texts, 1)]


def read(text: str) -> list[Given]:
    """Read lines, JSON or CSV, see the top of this module; empty lines do not count.

    Raises
    ------
    InvalidInput
        The text has no architecture, or one that cannot be read: its line or, in JSON, its element
        is named, counted from 1.
    """
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    lines = [(number, line) for number, line in lines if line]
    first = lines[0][1] if lines else ""
    header = [field.strip(' "') for field in first.split(",")]
    if first.startswith(_JSON_STARTS) and "arch" not in header:
        given = [_element(value, f"element {i}") for i, value in enumerate(_json(text), 1)]
    elif len(header) > 1 or header == ["arch"]:
        given = list(_csv(text))
    else:
        given = [_parsed(line, f"line {number}") for number, line in lines]
    if not given:
        raise InvalidInput("expected architectures, found none")
    return given


def architecture(fields: Mapping[str, Any]) -> Architecture:
    """The architecture that a mapping describes.

    Parameters
    ----------
    fields
        ``space`` and the other fields of `Architecture`, or of HW-GPT-Bench's dictionaries:
        ``sample_embed_dim``, ``sample_n_layer``, ``sample_mlp_ratio``, ``sample_n_head`` and
        ``sample_bias``, whose lists may go on beyond the last layer. Bias may be ``"True"`` or
        ``"False"``.

    Raises
    ------
    InvalidInput
        A field is missing or not of its type.
    """
    prefix = _SAMPLE if any(str(key).startswith(_SAMPLE) for key in fields) else ""
    names = ["space", *(prefix + field for field in _FIELDS)]
    if missing := [name for name in names if name not in fields]:
        raise InvalidInput(f"expected {', '.join(names)}; missing: {', '.join(missing)}")
    space, *values = (fields[name] for name in names)
    if not isinstance(space, str):
        raise InvalidInput(f"space: expected the name of a space, found {space!r}")
    for name, value in zip(names[1:3], values, strict=False):
        if type(value) is not int:
            raise InvalidInput(f"{name}: expected an integer, found {value!r}")
    embed_dim, n_layer, ratios, heads, bias = values
    for name, value in zip(names[3:5], (ratios, heads), strict=True):
        if not isinstance(value, list | tuple) or any(type(v) is not int for v in value):
            raise InvalidInput(f"{name}: expected a list of integers, found {value!r}")
    if not isinstance(bias, bool | str) or bias not in _BIASES:
        raise InvalidInput(f"{names[5]}: expected true or false, found {bias!r}")
    if prefix and n_layer > 0:
        ratios, heads = ratios[:n_layer], heads[:n_layer]
    return Architecture(space, embed_dim, n_layer, tuple(ratios), tuple(heads), _BIASES[bias])


def _parsed(text: str, place: str) -> Given:
    try:
        return Given(Architecture.parse(text), place)
    except InvalidInput as error:
        raise InvalidInput(f"{place}: {error}") from None


def _element(value: Any, place: str) -> Given:
    if isinstance(value, dict) and "arch" in value:
        value = value["arch"]
    if isinstance(value, str):
        return _parsed(value, place)
    if not isinstance(value, dict):
        raise InvalidInput(f"{place}: expected an architecture string or object, found {value!r}")
    try:
        return Given(architecture(value), place)
    except InvalidInput as error:
        raise InvalidInput(f"{place}: {error}") from None


def _json(text: str) -> list[Any]:
    """The elements of a list, or of values that follow one another, as in one a line."""
    decoder = json.JSONDecoder()
    values: list[Any] = []
    at = len(text) - len(text.lstrip())
    while at < len(text):
        try:
            value, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise InvalidInput(f"line {error.lineno}: not JSON: {error.msg}") from None
        except RecursionError:
            raise InvalidInput("not architectures: JSON too deep") from None
        values += value if isinstance(value, list) else [value]
        while text[at : at + 1].isspace():
            at += 1
    return values


def _csv(text: str) -> Iterator[Given]:
    """The rows of a CSV, by its column ``arch``."""
    rows = csv.reader(text.splitlines())
    column = None
    try:
        for row in rows:
            place = f"line {rows.line_num}"
            if not any(field.strip() for field in row):
                continue
            if column is None:
                header = [field.strip() for field in row]
                if "arch" not in header:
                    raise InvalidInput(
                        f"{place}: expected a CSV header with a column arch, found "
                        f"{', '.join(header)}"
                    )
                column = header.index("arch")
            elif column >= len(row):
                raise InvalidInput(f"{place}: the row ends before the column arch")
            else:
                yield _parsed(row[column].strip(), place)
    except csv.Error as error:
        raise InvalidInput(f"line {rows.line_num}: not CSV: {error}") from None
