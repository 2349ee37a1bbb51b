"""Precision of weights as a choice of a space of language models."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from hwnas.errors import InvalidInput, describe_value
from hwnas.typing import Codes, IntArray

# Formats of weights that a model can be deployed in.
PRECISIONS = ("float32", "float16", "bfloat16", "int8", "fp8")


def validate_precisions(values: Sequence[str]) -> tuple[str, ...]:
    """Return choices of ``precision``, in their order; empty where it is no choice.

    Raises
    ------
    InvalidInput
        They are not distinct precisions.

    Examples
    --------
    >>> validate_precisions(["bfloat16", "int8"])
    ('bfloat16', 'int8')
    """
    is_list = isinstance(values, list | tuple)
    wrong = [v for v in values if v not in PRECISIONS] if is_list else [values]
    if wrong or len(set(values)) < len(values):
        raise InvalidInput(
            f"precision: expected a list of distinct ones of {', '.join(PRECISIONS)}, found "
            f"{describe_value(values)}"
        )
    return tuple(values)


def precision_choice(precision: Sequence[str]) -> dict[str, Any]:
    """Return the choice outside the layers that a space with precisions has; none without."""
    return {"precision": precision} if precision else {}


def decode_precisions(space: Any, codes: IntArray) -> list[str | None]:
    """Return the precision of each of n codes (n, d) of a space; ``None`` where it is no choice."""
    if not space.precision:
        return [None] * len(codes)
    column = list(space.choices).index("precision")
    return [space.precision[index] for index in codes[:, column].tolist()]


def encode_precisions(space: Any, codes: Codes, archs: Iterable[Any]) -> None:
    """Write the choice of each architecture's precision into codes (n, d) of a space.

    Parameters
    ----------
    space
        Space with an attribute ``precision``.
    codes
        Codes to change, one row for each architecture.
    archs
        Architectures with an attribute ``precision``.

    Raises
    ------
    InvalidInput
        A precision is none of the space's, or is missing or superfluous.
    """
    names = [arch.precision for arch in archs]
    choices = space.precision or (None,)
    for name in names:
        if name not in choices:
            expected = f"one of {', '.join(space.precision)}" if space.precision else "none"
            actual = "none" if name is None else describe_value(name)
            raise InvalidInput(f"precision: {space.name} expects {expected}, found {actual}")
    if space.precision:
        column = list(space.choices).index("precision")
        codes[:, column] = np.array([choices.index(name) for name in names], dtype=np.int8)


def split_precision(text: str) -> tuple[str, str | None]:
    """Split the string of an architecture into that without precision, and the precision.

    Examples
    --------
    >>> split_precision("mine-1-192-4-12-True-int8")
    ('mine-1-192-4-12-True', 'int8')
    >>> split_precision("mine-1-192-4-12-True")
    ('mine-1-192-4-12-True', None)
    """
    match = re.fullmatch(rf"(.*-(?:True|False))-({'|'.join(PRECISIONS)})", text)
    return (match[1], match[2]) if match else (text, None)


def without_absent_precision(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of an architecture without a precision that its space does not choose."""
    return {k: v for k, v in fields.items() if k != "precision" or v is not None}
