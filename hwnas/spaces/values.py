"""Values of configurations: from codes to values by name, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hwnas.errors import InvalidInput, UnknownName, describe_value
from hwnas.spaces.code_layout import CodeLayout
from hwnas.typing import Codes


def values_of(space: CodeLayout, code: Codes) -> dict[str, Any]:
    """Return the values of a canonical code (d,) by name; inactive choices are left out.

    A choice of the layers has a tuple with one value for each present layer, ``None`` where it is
    inactive.
    """
    active = space.active(code[None])[0].tolist()
    indices = code.tolist()
    values: dict[str, Any] = {
        name: choices[indices[j]]
        for j, (name, choices) in enumerate(space.choices.items())
        if active[j]
    }
    depth = 0 if space.depth is None else values[space.depth]
    for offset, (name, choices) in enumerate(space.layers.items()):
        columns = space.layer_columns[:depth, offset].tolist()
        values[name] = tuple(choices[indices[j]] if active[j] else None for j in columns)
    return values


def encode_columns(space: CodeLayout, values: Any) -> Codes:
    """Return the code (d,) of values by name, the inverse of `values_of`.

    Raises
    ------
    InvalidInput
        A name or a value is missing, or is not one of the space.
    """
    if not isinstance(values, Mapping):
        raise InvalidInput(
            f"{space.name}: expected a mapping of names to values, found {describe_value(values)}"
        )
    code, indices = np.zeros(len(space.columns), dtype=np.int8), space.indices
    for name in values:
        if name not in indices:
            raise UnknownName(f"choice of {space.name}:", str(name), indices)
    if space.depth is not None and values.get(space.depth) is None:
        raise InvalidInput(f"{space.name}: expected a value of {space.depth}, found none")
    # Choices of the whole network come first, since the depth is one of them.
    for j, name in enumerate(space.choices):
        if values.get(name) is not None:
            code[j] = indices[name].of_value(values[name])
    depth = int(space.depths[code[space.depth_column]]) if space.depth is not None else 0
    for offset, name in enumerate(space.layers):
        row = values.get(name, () if depth == 0 else None)
        if isinstance(row, np.ndarray):
            row = row.tolist()
        if not isinstance(row, list | tuple) or len(row) != depth:
            raise InvalidInput(
                f"{name}: expected a list of {depth} values, one for each layer, "
                f"found {describe_value(row)}"
            )
        for columns, value in zip(space.layer_columns, row, strict=False):
            if value is not None:
                code[columns[offset]] = indices[name].of_value(value)
    # What is left out must be inactive, and layers must be allowed.
    active = space.active(code[None])[0]
    has_value = _given_columns(space, values, depth)
    for j in np.flatnonzero(active & ~has_value).tolist():
        raise InvalidInput(f"{space.name}: expected a value of {space.columns[j]}, found none")
    canonical: Codes = space.canonical(code[None])[0]
    if space.options is not None and not np.array_equal(canonical, code * active):
        (j, *_) = np.flatnonzero(canonical != code * active).tolist()
        raise InvalidInput(
            f"{space.name}: the values of a layer are not allowed together, at {space.columns[j]}"
        )
    return canonical


def parse_configuration(space: CodeLayout, text: str) -> dict[str, Any]:
    """Return the values by name of a configuration's string.

    Raises
    ------
    InvalidInput
        The text is not of the form ``SPACE:name=value/name=value``, or names what the space lacks.
    """
    form = f"expected {space.name}:NAME=VALUE/NAME=VALUE with a colon between the values of layers"
    start, colon, assignments = text.partition(":")
    if not colon or start != space.name:
        raise InvalidInput(f"configuration {text!r}: {form}")
    values: dict[str, Any] = {}
    for part in assignments.split("/"):
        name, equals, value = part.partition("=")
        if not equals or name in values:
            raise InvalidInput(f"configuration {text!r}: {form}")
        if name in space.layers:
            items = value.split(":") if value else []
            values[name] = [_value_of(space, name, item) for item in items]
        elif name in space.choices:
            values[name] = _value_of(space, name, value)
        else:
            raise UnknownName(f"choice of {space.name}:", name, [*space.choices, *space.layers])
    return values


def _given_columns(space: CodeLayout, values: Mapping[str, Any], depth: int) -> Any:
    """Return a mask (d,) of the columns that have a value."""
    has_value = np.zeros(len(space.columns), dtype=bool)
    for j, name in enumerate(space.choices):
        has_value[j] = values.get(name) is not None
    for offset, name in enumerate(space.layers):
        for columns, value in zip(space.layer_columns[:depth], values.get(name, ()), strict=False):
            has_value[columns[offset]] = value is not None
    return has_value


def _value_of(space: CodeLayout, name: str, text: str) -> Any:
    """Return the value whose text is given; ``None`` for an asterisk."""
    if text == "*":
        return None
    index = space.indices[name]
    return index.values[index.of_text(text)]
