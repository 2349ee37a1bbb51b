"""Validation of the choices that define a search space, and lookup of values among them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence

import numpy as np

from hwnas.errors import InvalidInput
from hwnas.typing import IndexArray, IntArray

_BIAS_CHOICES = ([False], [True], [False, True], [True, False])
_MAX_CHOICES = 127  # codes are int8
_MAX_LAYERS = 1024


def validate_name(name: str) -> str:
    """Return the name of a space if architecture strings that begin with it can be parsed.

    Raises
    ------
    InvalidInput
        The name has other characters than letters, digits, ``.``, ``_`` and ``-``, or a part
        between hyphens that is all digits.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9._-]+", name):
        raise InvalidInput(
            f"name: expected letters, digits, '.', '_' and '-' for a space, found {name!r}"
        )
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


def validate_choices(name: str, values: Sequence[int]) -> tuple[int, ...]:
    """Return choices of a parameter as a tuple.

    Raises
    ------
    InvalidInput
        The choices are not 1 to 127 increasing positive integers, or there are more than 1,024
        layers.

    Examples
    --------
    >>> validate_choices("n_layer", [10, 11, 12])
    (10, 11, 12)
    """
    if not isinstance(values, list | tuple) or not 1 <= len(values) <= _MAX_CHOICES:
        raise InvalidInput(
            f"{name}: expected a list of 1 to {_MAX_CHOICES} choices, found {values!r}"
        )
    # Types first: texts and numbers cannot be compared.
    for value in values:
        validate_positive(name, value)
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
        A value does not fit.
    """
    try:
        return np.fromiter(values, dtype=np.int64)
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
