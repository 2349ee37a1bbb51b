"""Validation of the choices that define a search space, and lookup of values among them."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from hwnas.errors import InvalidInput, describe_value
from hwnas.typing import IndexArray, IntArray

Value: TypeAlias = "int | float | bool | str"

_BIAS_CHOICES = ([False], [True], [False, True], [True, False])
_MAX_CHOICES = 127  # codes are int8
_MAX_LAYERS = 1024
_MAX_INTEGER = 2**1000  # a float can hold it, roughly
_DEPTHS = ("depth", "n_layer")  # names under which the number of layers is found without `depth`
_NUMPY_INTEGERS = {np.bool_, *(np.dtype(code).type for code in np.typecodes["AllInteger"])}
_NAME = r"[A-Za-z_][A-Za-z0-9_]*"  # of a choice


def validate_name(name: str) -> str:
    """Return the name of a space.

    Raises
    ------
    InvalidInput
        The name has other characters than letters, digits, ``.``, ``_`` and ``-``.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9._-]+", name):
        raise InvalidInput(
            f"name: expected letters, digits, '.', '_' and '-' for a space, found {name!r}"
        )
    return name


def validate_model_name(name: str) -> str:
    """Return the name of a space if architecture strings that begin with it can be parsed.

    Raises
    ------
    InvalidInput
        The name is that of no space, or has a part between hyphens that is all digits.
    """
    validate_name(name)
    # Architecture strings are NAME-LAYERS-WIDTH-...: numbers begin where a part is all digits.
    if any(part.isdigit() for part in name.split("-")):
        raise InvalidInput(
            f"name: no part between hyphens may be all digits, or architecture strings could not "
            f"be read back, found {name!r}"
        )
    return name


def validate_positive(name: str, value: int) -> int:
    """Return a parameter's value if it is a positive integer, else raise `InvalidInput`."""
    # type() and not isinstance(): True is no number here.
    if type(value) is not int or value < 1:
        raise InvalidInput(f"{name}: expected a positive integer, found {value!r}")
    return value


def validate_choices(
    choices: Mapping[str, Sequence[Value]], layers: Mapping[str, Sequence[Value]]
) -> tuple[dict[str, tuple[Value, ...]], dict[str, tuple[Value, ...]]]:
    """Return the choices outside and inside the layers as tuples, numbers in increasing order.

    Raises
    ------
    InvalidInput
        There are no choices, a name is no identifier or is used twice, or its values are not 1 to
        127 distinct numbers, bools or texts.

    Examples
    --------
    >>> validate_choices({"rate": [0.1, 0.01]}, {"kind": ["relu", "tanh"]})
    ({'rate': (0.01, 0.1)}, {'kind': ('relu', 'tanh')})
    """
    for label, mapping in (("choices", choices), ("layers", layers)):
        if not isinstance(mapping, Mapping):
            raise InvalidInput(f"{label}: expected values by name, found {mapping!r}")
    if not choices:
        raise InvalidInput("choices: expected at least one")
    # Columns of layers are NAME_0 and so on: no other column may have such a name.
    for name in (*choices, *layers):
        if not isinstance(name, str) or not re.fullmatch(_NAME, name):
            raise InvalidInput(
                "name of a choice: expected letters A to Z, digits and '_', no digit first, "
                f"found {describe_value(name)}"
            )
        if name in choices and name in layers:
            raise InvalidInput(f"{name}: is a choice of the layers and outside them; rename one")
        for layer_choice in layers:
            if re.fullmatch(re.escape(layer_choice) + r"_\d+", name):
                raise InvalidInput(
                    f"{name}: is a column of the layers' choice {layer_choice}; rename it"
                )
    return (
        {name: _validate_values(name, values) for name, values in choices.items()},
        {name: _validate_values(name, values) for name, values in layers.items()},
    )


def depth_name(
    choices: Mapping[str, Sequence[Value]], layers: Mapping[str, Sequence[Value]], depth: str | None
) -> str | None:
    """Return the name of the choice that is the number of layers; ``None`` without layers.

    Raises
    ------
    InvalidInput
        There are layers and no such choice, or it has other values than numbers of layers.

    Examples
    --------
    >>> depth_name({"depth": [1, 2]}, {"width": [8, 16]}, None)
    'depth'
    """
    if not layers:
        if depth is not None:
            raise InvalidInput(f"depth: expected layers beside it, found depth {depth!r} alone")
        return None
    if depth is None:
        depth = next((name for name in _DEPTHS if name in choices), None)
    if depth is None or depth not in choices:
        raise InvalidInput(
            f"depth: expected the name of the choice that is the number of layers, one of "
            f"{', '.join(choices)}, found {depth!r}"
        )
    for value in choices[depth]:
        if type(value) is not int or not 0 <= value <= _MAX_LAYERS:
            raise InvalidInput(
                f"{depth}: expected numbers of layers from 0 to 1024, found {value!r}"
            )
    return depth


def _validate_values(name: str, values: Any) -> tuple[Value, ...]:
    """Return the values of one choice as Python's own, numbers in increasing order."""
    if isinstance(values, range | np.ndarray):
        values = list(values) if isinstance(values, range) else values.tolist()
    if not isinstance(values, list | tuple) or not 1 <= len(values) <= _MAX_CHOICES:
        raise InvalidInput(
            f"{name}: expected a list of 1 to {_MAX_CHOICES} values, found {describe_value(values)}"
        )
    values = [plain_value(value) for value in values]
    kinds = {_kind(value) for value in values}
    if len(kinds) > 1 or None in kinds:
        raise InvalidInput(
            f"{name}: expected numbers, texts or bools alone, found {describe_value(values)}"
        )
    if len(set(values)) < len(values):
        raise InvalidInput(f"{name}: expected distinct values, found {describe_value(values)}")
    if "" in values:
        raise InvalidInput(f"{name}: an empty text is no value")
    return tuple(values) if "text" in kinds else tuple(sorted(values))


def plain_value(value: Any) -> Any:
    """Return a number, text or bool of numpy or of a subclass of ``str`` as Python's own.

    >>> plain_value(np.float64(0.5)), plain_value(np.str_("relu"))
    (0.5, 'relu')
    """
    if isinstance(value, np.generic):
        value = value.item()
    return str.__str__(value) if isinstance(value, str) else value


def index_among(values: Sequence[Value], value: Any) -> int | None:
    """Return the index of a value; 1 and 1.0 are equal, 1 and True are not.

    >>> index_among([0, 1], 1.0), index_among([0, 1], True)
    (1, None)
    """
    plain = plain_value(value)
    is_bool = isinstance(plain, bool)
    equal = (i for i, v in enumerate(values) if isinstance(v, bool) == is_bool and v == plain)
    return next(equal, None)


def _kind(value: Any) -> str | None:
    """Return the kind of a value; ``None`` if it is no value of a choice."""
    if type(value) is bool:
        return "bool"
    if isinstance(value, str):
        is_unicode = not any("\ud800" <= character <= "\udfff" for character in value)
        return "text" if is_unicode else None
    is_number = type(value) is float or (type(value) is int and abs(value) < _MAX_INTEGER)
    return "number" if is_number and math.isfinite(value) else None


def validate_integers(name: str, values: Sequence[int], minimum: int = 1) -> tuple[int, ...]:
    """Return choices of a parameter as a tuple.

    Parameters
    ----------
    name
        Name of the parameter.
    values
        Its choices.
    minimum
        Smallest number that it may be, 0 or 1.

    Raises
    ------
    InvalidInput
        The choices are not 1 to 127 increasing integers from `minimum` on, or there are more
        than 1,024 layers.

    Examples
    --------
    >>> validate_integers("n_layer", [10, 11, 12])
    (10, 11, 12)
    """
    if not isinstance(values, list | tuple) or not 1 <= len(values) <= _MAX_CHOICES:
        raise InvalidInput(
            f"{name}: expected a list of 1 to {_MAX_CHOICES} choices, found {values!r}"
        )
    # Types first: texts and numbers cannot be compared.
    for value in values:
        if type(value) is not int or value < minimum:
            expected = "a positive integer" if minimum else "0 or a positive integer"
            raise InvalidInput(f"{name}: expected {expected}, found {value!r}")
    if any(a >= b for a, b in itertools.pairwise(values)):
        raise InvalidInput(f"{name}: expected increasing choices, found {list(values)}")
    if name == "n_layer" and values[-1] > _MAX_LAYERS:
        raise InvalidInput(f"{name}: expected at most {_MAX_LAYERS} layers, found {values[-1]}")
    return tuple(values)


def validate_bias(values: Sequence[bool]) -> tuple[bool, ...]:
    """Return choices of ``bias``, sorted.

    Raises
    ------
    InvalidInput
        The choices are not distinct bools.
    """
    choices = list(values) if isinstance(values, list | tuple) else []
    # [1] equals [True], so the types are checked too.
    if choices not in _BIAS_CHOICES or any(type(choice) is not bool for choice in choices):
        raise InvalidInput(f"bias: expected [false], [true] or [false, true], found {values!r}")
    return tuple(sorted(choices))


def to_int64(name: str, values: Iterable[int]) -> IntArray:
    """Return values of a parameter as an int64 array, (n,).

    Raises
    ------
    InvalidInput
        A value is no integer, or does not fit.
    """
    integers = list(values)
    # Not by a truncation of what is no integer: 2.7 layers are a mistake. Types are few.
    if wrong := {*map(type, integers)} - {int, bool} - _NUMPY_INTEGERS:
        value = next(value for value in integers if type(value) in wrong)
        raise InvalidInput(f"{name}: expected integers, found {describe_value(value)}")
    try:
        return np.fromiter(integers, dtype=np.int64)
    except OverflowError:
        raise InvalidInput(f"{name}: expected numbers below 2**63") from None


def find_indices(name: str, choices: Sequence[int], values: IntArray) -> IndexArray:
    """Return the index of each value among increasing choices, (n,).

    Raises
    ------
    InvalidInput
        A value is not among the choices.

    Examples
    --------
    >>> find_indices("n_layer", [10, 11, 12], np.array([12, 10])).tolist()
    [2, 0]
    """
    # A value beyond the last choice is compared with that one, and found to differ.
    array = np.array(choices)
    indices = np.minimum(np.searchsorted(array, values), len(array) - 1)
    if not (is_choice := array[indices] == values).all():
        raise InvalidInput(
            f"{name}: expected one of {list(choices)}, found {values[np.argmin(is_choice)]}"
        )
    return indices
