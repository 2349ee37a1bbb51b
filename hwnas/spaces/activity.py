"""Activity of columns: which choices exist, given others."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import InvalidInput, UnknownName, describe_value
from hwnas.spaces.choices import Value, index_among
from hwnas.typing import BoolArray, Codes, IndexArray, IntArray


@dataclass(frozen=True, slots=True)
class Group:
    """Columns of one layer, and the condition under which the layer exists.

    Attributes
    ----------
    columns
        Indices of the layer's columns.
    parent
        Index of the column that decides whether the layer exists.
    when
        The layer exists where ``codes[:, parent]`` is one of these.
    """

    columns: tuple[int, ...]
    parent: int
    when: tuple[int, ...]


def layer_groups(
    layer_columns: IndexArray, depth_column: int | None, depths: IntArray
) -> tuple[Group, ...]:
    """Return the group of each layer, first to last.

    >>> layer_groups(np.array([[3, 4], [5, 6]]), 1, np.array([1, 2]))[1]
    Group(columns=(5, 6), parent=1, when=(1,))
    """
    if depth_column is None:
        return ()
    return tuple(
        Group(tuple(columns), depth_column, tuple(np.flatnonzero(depths > i).tolist()))
        for i, columns in enumerate(layer_columns.tolist())
    )


@dataclass(frozen=True, slots=True)
class _Condition:
    """A column exists where its parent exists and has one of some choices."""

    column: int
    parent: int
    when: BoolArray  # by choice of the parent


class Activity:
    """Mask of the active columns of codes.

    Parameters
    ----------
    choices, layers
        Values of the choices outside and inside the layers by name.
    layer_columns : (L, c)
        Columns of each layer.
    groups
        The layers with the depths at which they exist.
    conditions
        By name the values of another choice with which alone a choice exists.

    Attributes
    ----------
    given
        The conditions as they were given.
    """

    def __init__(
        self,
        choices: Mapping[str, Sequence[Value]],
        layers: Mapping[str, Sequence[Value]],
        layer_columns: IndexArray,
        groups: Sequence[Group],
        conditions: Mapping[str, Mapping[str, Sequence[Value]]],
    ) -> None:
        self.given = _parse_conditions(conditions, {**choices, **layers})
        self._choices, self._layers = dict(choices), dict(layers)
        depth_column = groups[0].parent if groups else None
        # The layers, by the choice of the depth.
        n_columns = len(choices) + layer_columns.size
        self._depth_column = depth_column
        n_depths = 1 if depth_column is None else len([*choices.values()][depth_column])
        self._by_depth: BoolArray = np.ones((n_depths, n_columns), dtype=bool)
        for group in groups:
            absent = [c for c in range(n_depths) if c not in group.when]
            self._by_depth[np.ix_(absent, group.columns)] = False
        # Conditions, parents before children.
        self._outside = _ordered_conditions(choices, self.given)
        self._inside = _ordered_conditions(layers, self.given)
        if depth_column is not None and [*choices][depth_column] in self.given:
            raise InvalidInput("conditions: the number of layers takes no condition")
        self._conditions = [
            _Condition(names.index(name), names.index(parent), when)
            for names in [[*choices]]
            for name, parent, when in self._outside
        ] + [
            _Condition(int(columns[names.index(name)]), int(columns[names.index(parent)]), when)
            for names in [[*layers]]
            for columns in layer_columns
            for name, parent, when in self._inside
        ]

    def __call__(self, codes: NDArray[np.number]) -> BoolArray:
        """Return the mask (n, d) of codes (n, d) that are within the columns' ranges."""
        if self._depth_column is None:
            mask = np.broadcast_to(self._by_depth, codes.shape)
        else:
            mask = self._by_depth[codes[:, self._depth_column].astype(np.intp)]
        if self._conditions:
            mask = mask.copy()
        for condition in self._conditions:
            choice = codes[:, condition.parent].astype(np.intp)
            mask[:, condition.column] &= mask[:, condition.parent] & condition.when[choice]
        return np.asarray(mask)

    def distinct_layers(self, options: Codes) -> Codes:
        """Return the options (k, c) of a layer without those that differ in inactive choices."""
        names = [*self._layers]
        active = np.ones(options.shape, dtype=bool)
        for name, parent, when in self._inside:
            j, p = names.index(name), names.index(parent)
            active[:, j] &= active[:, p] & when[options[:, p].astype(np.intp)]
        return options[~(options * ~active).any(axis=1)]

    def count_layer(self) -> int:
        """Return the number of distinct layers, if all combinations are allowed."""
        return _count(self._layers, self._inside, {})

    def count(self, depth: str | None, layer_counts: Sequence[int]) -> int:
        """Return the number of configurations.

        Parameters
        ----------
        depth
            Name of the number of layers.
        layer_counts
            Number of ways to choose all layers, for each choice of the depth.
        """
        weights = {} if depth is None else {depth: layer_counts}
        return _count(self._choices, self._outside, weights)


# Name, its parent's name, and whether each choice of the parent switches it on.
_Link = tuple[str, str, BoolArray]


def _parse_conditions(
    conditions: Any, choices: Mapping[str, Sequence[Value]]
) -> dict[str, dict[str, list[Value]]]:
    """Return conditions by name, with values among those of the choices."""
    if not isinstance(conditions, Mapping):
        raise InvalidInput(
            "conditions: expected by name another choice with its values, as in {momentum: "
            f"{{optimizer: [sgd]}}}}, found {describe_value(conditions)}"
        )
    parsed = {}
    for name, condition in conditions.items():
        if name not in choices:
            raise UnknownName("choice in conditions", str(name), choices)
        if not isinstance(condition, Mapping) or len(condition) != 1:
            raise InvalidInput(
                f"conditions: {name}: expected one other choice with its values, found "
                f"{describe_value(condition)}"
            )
        ((parent, values),) = condition.items()
        if parent not in choices:
            raise UnknownName(f"choice in the condition of {name}:", str(parent), choices)
        if not isinstance(values, list | tuple | set | range | np.ndarray) or len(values) == 0:
            raise InvalidInput(
                f"conditions: {name}: expected a list of values of {parent}, found "
                f"{describe_value(values)}"
            )
        indices = [index_among(choices[parent], value) for value in values]
        for index, value in zip(indices, values, strict=True):
            if index is None:
                raise InvalidInput(
                    f"conditions: {name}: {parent} has no choice {value!r}, expected one of "
                    f"{describe_value(list(choices[parent]))}"
                )
        parsed[name] = {parent: [choices[parent][i] for i in indices if i is not None]}
    return parsed


def _ordered_conditions(
    choices: Mapping[str, Sequence[Value]], conditions: Mapping[str, Mapping[str, Sequence[Value]]]
) -> list[_Link]:
    """Return the conditions on some choices, parents before children."""
    links: dict[str, _Link] = {}
    for name, condition in conditions.items():
        if name not in choices:
            continue
        ((parent, values),) = condition.items()
        if parent == name:
            raise InvalidInput(f"conditions: {name} cannot depend on itself")
        if parent not in choices:
            raise InvalidInput(
                f"conditions: {name} cannot depend on {parent}: a choice of the layers can depend "
                "on another one of the same layer, one outside them on one outside them"
            )
        # Of equal kinds all, so that a value is among them where it equals one.
        links[name] = (name, parent, np.array([v in values for v in choices[parent]]))
    ordered: list[_Link] = []
    while links:
        ready = [name for name, link in links.items() if link[1] not in links]
        if not ready:
            raise InvalidInput(f"conditions: {', '.join(links)} depend on each other in a circle")
        ordered += [links.pop(name) for name in ready]
    return ordered


def _count(
    choices: Mapping[str, Sequence[Value]],
    links: Sequence[_Link],
    weights: Mapping[str, Sequence[int]],
) -> int:
    """Return the number of combinations of choices under conditions, each choice weighted."""
    children: dict[str, list[_Link]] = {name: [] for name in choices}
    for link in links:
        children[link[1]].append(link)
    inside = {link[0] for link in links}

    def below(name: str) -> int:
        total = 0
        for i in range(len(choices[name])):
            ways = weights[name][i] if name in weights else 1
            for child, _, when in children[name]:
                ways *= below(child) if when[i] else 1
            total += ways
        return total

    product = 1
    for name in itertools.filterfalse(inside.__contains__, choices):
        product *= below(name)
    return product
