"""Options of a layer: the combinations of its choices that a space allows."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from hwnas.errors import InvalidInput, describe_value
from hwnas.spaces.choices import Value, index_among
from hwnas.typing import Array, BoolArray, Codes, IndexArray, IntArray

Predicate = Callable[[Mapping[str, Any]], bool]  # of the values of a layer by name
Allowed: TypeAlias = "Predicate | Iterable[Sequence[Value] | Mapping[str, Value]]"

_MAX_COMBINATIONS = 4096  # of a layer's choices, allowed or not


class LayerOptions:
    """Allowed combinations of the choices of one layer.

    Parameters
    ----------
    cardinalities : (c,)
        Number of choices of each column of a layer.
    allowed : (k, c)
        Indices of the allowed choices, in any order; repeated ones count once.
    ordered : (c,)
        Whether the choices of a column are ordered numbers.

    Attributes
    ----------
    options : (k, c) int8
        The allowed combinations, sorted.
    neighbours : tuple of (n,) intp arrays
        For each option those that differ in one choice, and in others only as far as none of the
        allowed ones is nearer. They form a connected graph.

    Examples
    --------
    >>> layer = LayerOptions(
    ...     np.array([3, 3]), np.array([[0, 0], [1, 1], [2, 2]]), np.array([True, True])
    ... )
    >>> layer.nearest(np.array([[0, 1], [2, 1]])).tolist()
    [[0, 0], [1, 1]]
    >>> [indices.tolist() for indices in layer.neighbours]
    [[1, 2], [0, 2], [0, 1]]
    """

    def __init__(self, cardinalities: IntArray, allowed: IntArray, ordered: BoolArray) -> None:
        n_combinations = int(np.prod(cardinalities))
        if n_combinations > _MAX_COMBINATIONS:
            raise InvalidInput(
                f"allowed: the choices of a layer have {n_combinations} combinations, expected at "
                f"most {_MAX_COMBINATIONS}"
            )
        if len(allowed) == 0:
            raise InvalidInput("allowed: expected at least one combination of a layer's choices")
        self.cardinalities = cardinalities
        self.options: Codes = np.unique(np.asarray(allowed, dtype=np.int8), axis=0)
        # The nearest option of every combination; of equally near ones the first.
        self._strides = np.append(np.cumprod(cardinalities[:0:-1])[::-1], 1)
        combinations = np.array(list(itertools.product(*map(range, cardinalities.tolist()))))
        self._nearest: IndexArray = _distances(combinations, self.options, ordered).argmin(axis=1)
        self.neighbours = self._neighbours(ordered)

    def __len__(self) -> int:
        return len(self.options)

    def index(self, choices: Codes) -> IndexArray:
        """Return the index (...,) of the option that is nearest to choices (..., c)."""
        return np.asarray(self._nearest[choices.astype(np.intp) @ self._strides])

    def nearest(self, choices: Codes) -> Codes:
        """Return the nearest option (..., c) of choices (..., c): itself if it is allowed.

        The distance is the sum of the differences of indices; for a column without an order every
        other choice is at distance 1.
        """
        return np.take(self.options, self.index(choices), axis=0)

    def _neighbours(self, ordered: BoolArray) -> tuple[IndexArray, ...]:
        distances = _distances(self.options, self.options, ordered)
        is_neighbour = np.zeros((len(self), len(self)), dtype=bool)
        # 1. For each other choice of each column the nearest options that have it.
        for column in range(len(self.cardinalities)):
            for choice in np.unique(self.options[:, column]):
                has_choice = self.options[:, column] == choice
                to_choice = np.where(has_choice, distances, np.inf)
                nearest = to_choice == to_choice.min(axis=1, keepdims=True)
                is_neighbour |= nearest & ~has_choice[:, None]
        is_neighbour |= is_neighbour.T
        # 2. Parts that are not connected yet are joined at their nearest options.
        while not (reached := _reachable(is_neighbour)).all():
            between = np.where(reached[:, None] & ~reached, distances, np.inf)
            a, b = np.unravel_index(between.argmin(), between.shape)
            is_neighbour[a, b] = is_neighbour[b, a] = True
        return tuple(np.flatnonzero(row) for row in is_neighbour)


def parse_allowed(layers: Mapping[str, Sequence[Value]], allowed: Allowed) -> IntArray:
    """Return allowed combinations (k, c) as indices of choices.

    Parameters
    ----------
    layers
        Choices of a layer by name.
    allowed
        A function that is true of the allowed ones, given the values of a layer by name; or their
        values in the order of `layers`, or by name.

    Raises
    ------
    InvalidInput
        A combination has other names or values than the layer.

    Examples
    --------
    >>> heads = {"n_head": [4, 6], "n_kv_head": [2, 3]}
    >>> parse_allowed(heads, lambda layer: layer["n_head"] % layer["n_kv_head"] == 0).tolist()
    [[0, 0], [1, 0], [1, 1]]
    >>> parse_allowed(heads, [[4, 2], {"n_head": 6, "n_kv_head": 3}]).tolist()
    [[0, 0], [1, 1]]
    """
    if callable(allowed):
        options = (
            dict(zip(layers, values, strict=True)) for values in itertools.product(*layers.values())
        )
        indices = itertools.product(*(range(len(values)) for values in layers.values()))
        is_allowed = (_is_allowed(allowed, option) for option in options)
        rows = list(itertools.compress(indices, is_allowed))
    elif isinstance(allowed, Iterable) and not isinstance(allowed, str | Mapping):
        rows = [_parse_option(layers, option) for option in allowed]
    else:
        raise InvalidInput(
            f"allowed: expected a function, or a list of values for {', '.join(layers)}, found "
            f"{describe_value(allowed)}"
        )
    return np.array(rows, dtype=np.int64).reshape(-1, len(layers))


def _is_allowed(allowed: Predicate, option: dict[str, Value]) -> bool:
    """Return what a user's function says of an option."""
    try:
        return bool(allowed(option))
    except Exception as error:  # code of a user
        raise InvalidInput(
            f"allowed: the function fails for {option}: {type(error).__name__}: {error}"
        ) from error


def _parse_option(
    layers: Mapping[str, Sequence[Value]], option: Sequence[Value] | Mapping[str, Value]
) -> tuple[int, ...]:
    names = ", ".join(layers)
    if isinstance(option, Mapping):
        if set(option) != set(layers):
            raise InvalidInput(f"allowed: expected a value for each of {names}, found {option}")
        option = [option[name] for name in layers]
    if not isinstance(option, list | tuple | np.ndarray) or len(option) != len(layers):
        raise InvalidInput(f"allowed: expected lists of values for {names}, found {option!r}")
    indices = []
    for (name, values), value in zip(layers.items(), option, strict=True):
        index = index_among(values, value)
        if index is None:
            raise InvalidInput(f"allowed: {name} has no choice {value!r}, expected {list(values)}")
        indices.append(index)
    return tuple(indices)


def _distances(a: Codes | IntArray, b: Codes | IntArray, ordered: BoolArray) -> Array:
    """Return the distances (n, k) of choices (n, c) and (k, c)."""
    distances = np.zeros((len(a), len(b)))
    for column, is_ordered in enumerate(ordered):
        difference = np.abs(a[:, [column]].astype(np.int64) - b[:, column].astype(np.int64))
        distances += difference if is_ordered else difference > 0
    return distances


def _reachable(adjacent: BoolArray) -> BoolArray:
    """Return which nodes (n,) of a graph (n, n) can be reached from the first."""
    reached = np.zeros(len(adjacent), dtype=bool)
    reached[0] = True
    while (extended := reached | adjacent[reached].any(axis=0)).sum() > reached.sum():
        reached = extended
    return reached
