"""Observations that an optimizer is told: their forms, and checks of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwnas.errors import InvalidInput, describe_value
from hwnas.spaces import SearchSpace
from hwnas.typing import Array, Codes


def is_configuration(value: Any) -> bool:
    """Return whether a value is one configuration or architecture, and neither codes nor a list."""
    return isinstance(value, str | Mapping) or hasattr(value, "__dataclass_fields__")


def checked_observations(
    space: SearchSpace,
    sizes: tuple[int, int],
    codes: ArrayLike,
    losses: ArrayLike,
    std: ArrayLike | None,
    constraints: ArrayLike | None,
) -> tuple[Codes, Array, Array, Array]:
    """Return observations as read-only arrays of the right shapes and types.

    Parameters
    ----------
    space
        Search space.
    sizes
        Number m of objectives and number c of constraints.
    codes, losses, std, constraints
        See `hwnas.Optimizer.tell`.

    Returns
    -------
    codes (k, d) int8, losses (k, m), std (k, m), constraints (k, c)

    Raises
    ------
    InvalidInput
        An array has the wrong shape or is no array of numbers, a code is not canonical or a value
        is not finite.
    """
    m, c = sizes
    # Codes: shape, then form.
    n_columns = len(space.columns)
    expected_codes = f"tell: expected codes of shape (k, {n_columns}) or members of {space.name}"
    try:
        rows = np.asarray(codes)
    except ValueError:  # lists of different lengths, or members beside codes
        raise InvalidInput(f"{expected_codes}, found {describe_value(codes)}") from None
    if rows.ndim != 2 or rows.shape[1] != n_columns:
        raise InvalidInput(f"{expected_codes}, found {_described(codes, rows)}")
    k = len(rows)
    if not (valid := space.is_valid(rows)).all():
        invalid = rows[np.argmin(valid)].tolist()
        raise InvalidInput(f"tell: expected canonical codes of {space.name}, found {invalid}")

    def array(name: str, value: ArrayLike, n_columns: int) -> Array:
        expected = f"tell: expected {name} of shape {(k, n_columns)}"
        try:
            out = np.array(value, dtype=np.float64, order="C")
        except (TypeError, ValueError, OverflowError):
            raise InvalidInput(f"{expected}, found {describe_value(value)}") from None
        if out.shape != (k, n_columns):
            raise InvalidInput(f"{expected}, found {out.shape}")
        if not np.isfinite(out).all():
            raise InvalidInput(f"tell: expected finite {name}; report others with fail()")
        return out

    # Values: one column for each objective and constraint.
    if constraints is None and c:
        raise InvalidInput(f"tell: expected constraints of shape {(k, c)}, found none")
    observations = (
        rows.astype(np.int8, order="C"),
        array("losses", losses, m),
        np.zeros((k, m)) if std is None else array("std", std, m),
        np.zeros((k, c)) if constraints is None else array("constraints", constraints, c),
    )
    for part in observations:
        part.flags.writeable = False  # `update` gets the arrays of the history, not copies
    return observations


def _described(codes: Any, rows: NDArray[Any]) -> str:
    """Return the shape of an array, or a value that is none."""
    return str(rows.shape) if rows.ndim else describe_value(codes)
