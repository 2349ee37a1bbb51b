"""Architectures and configurations in text: one in each line, JSON, or CSV with a column ``arch``.

The format is recognized from the text: CSV has a header with a column ``arch``, JSON begins with a
bracket, a brace or a quote, and anything else is one architecture in each line. JSON is a list, or
elements that follow one another. An element is an architecture string or an object of one of three
kinds: ``{"arch": "gpt-s-..."}``, which is the output of ``hwnas query --format json``, the fields
of `Architecture`, or those of HW-GPT-Bench's dictionaries and ``space``.

The string of an architecture begins with the name of its space, by which its family is found.
Strings of a space that has no such name, ``mlp:depth=2/width=16:32``, need the space, and their
objects are mappings of names to values.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hwnas.errors import InvalidInput
from hwnas.spaces.architecture import Architecture
from hwnas.spaces.factory import space as named_space
from hwnas.spaces.families import named_spaces
from hwnas.spaces.gpt import GPT_SPACES, GPTSpace
from hwnas.spaces.search_space import SearchSpace

# Fields of `Architecture` after its space, in the order of the constructor.
_FIELDS = ("embed_dim", "n_layer", "mlp_ratio", "n_head", "bias")
_PREFIX = "sample_"  # HW-GPT-Bench's prefix of each field
_JSON_STARTS = ("[", "{", '"')
_BIASES = {True: True, False: False, "True": True, "False": False}


@dataclass(frozen=True, slots=True)
class LocatedArchitecture:
    """Architecture or configuration, and its location in the input.

    Attributes
    ----------
    arch
        The architecture. Of one of the GPT family only the form has been checked, unless its space
        was given.
    location
        ``"line 3"``, ``"element 3"``, ``"argument 3"``: the beginning of an error's text.
    """

    arch: Any
    location: str


def parse_arguments(
    texts: Sequence[str], space: SearchSpace | None = None, *, first: int = 1
) -> list[LocatedArchitecture]:
    """Parse architecture strings.

    Parameters
    ----------
    texts
        The strings.
    space
        Their space; by default the one whose name they begin with.
    first
        Number of the first text among the arguments.

    Raises
    ------
    InvalidInput
        A text is not an architecture string.

    Examples
    --------
    >>> parse_arguments(["gpt-s-1-192-2-4-True"])[0].location
    'argument 1'
    """
    return [_parse_string(text, f"argument {i}", space) for i, text in enumerate(texts, first)]


def parse_text(text: str, space: SearchSpace | None = None) -> list[LocatedArchitecture]:
    """Parse lines, JSON or CSV, see the top of this module; empty lines are ignored.

    Parameters
    ----------
    text
        The architectures.
    space
        Their space; by default the one whose name they begin with.

    Raises
    ------
    InvalidInput
        The text has no architecture, or one that cannot be parsed; the message begins with its
        line or, in JSON, its element, counted from 1.

    Examples
    --------
    >>> [item.location for item in parse_text("arch\\ngpt-s-1-192-2-4-True\\n")]
    ['line 2']
    """
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    lines = [(number, line) for number, line in lines if line]

    # The first line decides about the format. A CSV header may be quoted like a JSON string.
    first_line = lines[0][1] if lines else ""
    header = [field.strip(' "') for field in first_line.split(",")]
    if first_line.startswith(_JSON_STARTS) and "arch" not in header:
        elements = enumerate(_json(text), 1)
        archs = [_parse_element(value, f"element {i}", space) for i, value in elements]
    elif len(header) > 1 or header == ["arch"]:
        archs = list(_csv(text, space))
    else:
        archs = [_parse_string(line, f"line {number}", space) for number, line in lines]
    if not archs:
        raise InvalidInput("expected architectures, found none")
    return archs


def architecture_from_mapping(fields: Mapping[str, Any]) -> Architecture:
    """Return the architecture with the fields of a mapping.

    Parameters
    ----------
    fields
        ``space`` and the other fields of `Architecture`, or of HW-GPT-Bench's dictionaries:
        ``sample_embed_dim``, ``sample_n_layer``, ``sample_mlp_ratio``, ``sample_n_head`` and
        ``sample_bias``, whose lists may be longer than the number of layers. Bias may be ``"True"``
        or ``"False"``.

    Raises
    ------
    InvalidInput
        A field is missing or has a wrong type.
    """
    prefix = _PREFIX if any(str(key).startswith(_PREFIX) for key in fields) else ""
    names = ["space", *(prefix + field for field in _FIELDS)]
    if missing := [name for name in names if name not in fields]:
        raise InvalidInput(f"expected {', '.join(names)}; missing: {', '.join(missing)}")

    # Check the types alone: whether a space offers the values is for its `encode` to say.
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

    # HW-GPT-Bench's lists always have as many entries as its deepest architecture.
    if prefix and n_layer > 0:
        ratios, heads = ratios[:n_layer], heads[:n_layer]
    layers = tuple(ratios), tuple(heads)
    # Whether the space offers the precision is for its `encode` to say, too.
    precision = fields.get("precision")
    return Architecture(space, embed_dim, n_layer, *layers, _BIASES[bias], precision)


def parse_architecture(text: str, space: SearchSpace | None = None) -> Any:
    """Return the architecture or configuration of a string.

    Parameters
    ----------
    text
        The string; it begins with the name of its space.
    space
        Its space, where that has no name that hwnas knows.

    Raises
    ------
    InvalidInput
        The text is no architecture, or its space is not known.

    Examples
    --------
    >>> parse_architecture("gpt-s-1-192-2-4-True").embed_dim
    192
    """
    if space is not None:
        return space.parse(text)
    # Names of GPT spaces first: the others may be those of packages that take time to import.
    if _named(text, GPT_SPACES) is None:
        if name := _named(text, named_spaces()):
            return named_space(name).parse(text)
        start, colon, _ = text.partition(":")
        if colon:
            raise InvalidInput(
                f"configuration {text!r}: {start!r} is the name of no space here; give the YAML "
                "file of its space with --space FILE"
            )
    return Architecture.parse(text)


def _named(text: str, names: Iterable[str]) -> str | None:
    """Return the longest of the names of spaces that a string begins with; ``None`` without one."""
    starts = [name for name in names if text.startswith((f"{name}-", f"{name}:"))]
    return max(starts, key=len, default=None)


def _parse_string(text: str, location: str, space: SearchSpace | None) -> LocatedArchitecture:
    """Parse an architecture string; an error names the location."""
    try:
        return LocatedArchitecture(parse_architecture(text, space), location)
    except InvalidInput as error:
        raise InvalidInput(f"{location}: {error}") from None


def _parse_element(value: Any, location: str, space: SearchSpace | None) -> LocatedArchitecture:
    """Parse an element of JSON; an error names the location."""
    # A choice of a user's own may be called arch, too.
    is_own = space is not None and not isinstance(space, GPTSpace) and "arch" in space.choices
    if isinstance(value, dict) and "arch" in value and not is_own:
        value = value["arch"]
    if isinstance(value, str):
        return _parse_string(value, location, space)
    if not isinstance(value, dict):
        raise InvalidInput(
            f"{location}: expected an architecture string or object, found {value!r}"
        )
    try:
        if space is None or isinstance(space, GPTSpace):
            return LocatedArchitecture(architecture_from_mapping(value), location)
        return LocatedArchitecture(space.decode(space.encode([value]))[0], location)
    except InvalidInput as error:
        raise InvalidInput(f"{location}: {error}") from None


def _json(text: str) -> list[Any]:
    """Return the elements of a list, or of values that follow one another as in JSON Lines."""
    decoder = json.JSONDecoder()
    values: list[Any] = []
    position = len(text) - len(text.lstrip())
    while position < len(text):
        try:
            value, position = decoder.raw_decode(text, position)
        except json.JSONDecodeError as error:
            raise InvalidInput(f"line {error.lineno}: not JSON: {error.msg}") from None
        except RecursionError:
            raise InvalidInput("not architectures: JSON too deep") from None
        except ValueError as error:  # an integer with too many digits for Python
            line = text.count("\n", 0, position) + 1
            raise InvalidInput(f"line {line}: not JSON: {error}") from None
        values += value if isinstance(value, list) else [value]
        # A list and values that follow one another give the same architectures; raw_decode does not
        # skip the space before a value.
        while text[position : position + 1].isspace():
            position += 1
    return values


def _csv(text: str, space: SearchSpace | None) -> Iterator[LocatedArchitecture]:
    """Yield the architectures in the column ``arch`` of a CSV."""
    rows = csv.reader(text.splitlines())
    column = None
    try:
        for row in rows:
            location = f"line {rows.line_num}"
            if not any(field.strip() for field in row):
                continue
            # The first row that is not empty is the header.
            if column is None:
                header = [field.strip() for field in row]
                if "arch" not in header:
                    raise InvalidInput(
                        f"{location}: expected a CSV header with a column arch, found "
                        f"{', '.join(header)}"
                    )
                column = header.index("arch")
            elif column >= len(row):
                raise InvalidInput(f"{location}: the row ends before the column arch")
            else:
                yield _parse_string(row[column].strip(), location, space)
    except csv.Error as error:
        raise InvalidInput(f"line {rows.line_num}: not CSV: {error}") from None
