"""Differences between two search spaces, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hwnas.spaces import SearchSpace
from hwnas.spaces.choices import Value


def space_difference(earlier: SearchSpace, expected: SearchSpace) -> str:
    """Return how a space differs from another one in words; empty if codes mean the same in both.

    Examples
    --------
    >>> from hwnas.spaces import space
    >>> old = space({"name": "mlp", "choices": {"rate": [0.1, 1.0]}})
    >>> new = space({"name": "mlp", "choices": {"rate": [0.1, 0.5]}})
    >>> space_difference(old, new)
    'one of other choices: rate [0.1, 1.0] in place of [0.1, 0.5]'
    """
    if earlier.name != expected.name:
        return earlier.name
    if earlier.family != expected.family:
        return (
            f"one of the family {earlier.family or 'none'} in place of {expected.family or 'none'}"
        )
    for kind in ("choices", "layers"):
        difference = _choice_difference(getattr(earlier, kind), getattr(expected, kind))
        if difference:
            return f"one of other {kind}: {difference}"
    # All else that defines a space: its depth, conditions and allowed layers, or constants.
    settings, expected_settings = earlier.to_dict(), expected.to_dict()
    for key in dict.fromkeys([*settings, *expected_settings]):
        values = settings.get(key), expected_settings.get(key)
        if values[0] != values[1]:
            return f"one with {key} {_replaced(*values)}"
    return ""


def _choice_difference(
    earlier: Mapping[str, tuple[Value, ...]], expected: Mapping[str, tuple[Value, ...]]
) -> str:
    """Return the first difference between two sets of choices; the order of names counts."""
    for name in (*expected, *earlier):
        if name not in earlier:
            return f"none called {name}"
        if name not in expected:
            return f"{name}, which is not one here"
        if _typed(earlier[name]) != _typed(expected[name]):
            return (
                f"{name} {_short(list(earlier[name]))} in place of {_short(list(expected[name]))}"
            )
    # Columns of codes are in the order of the names.
    if list(earlier) != list(expected):
        return f"the order {', '.join(earlier)} in place of {', '.join(expected)}"
    return ""


def _typed(values: Iterable[Value]) -> list[tuple[bool, Value]]:
    """Return values with whether they are bools, which Python takes for the numbers 0 and 1."""
    return [(isinstance(value, bool), value) for value in values]


def _replaced(earlier: Any, expected: Any) -> str:
    return f"{_short(earlier)} in place of {_short(expected)}"


def _short(value: Any) -> str:
    """Return a value as text of at most 60 characters."""
    text = "none" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
