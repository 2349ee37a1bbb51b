"""Columns of a code: their order, their choices, and which of them are active."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwnas.errors import InvalidInput, describe_value
from hwnas.spaces.activity import Activity, Group, layer_groups
from hwnas.spaces.choice_index import ChoiceIndex
from hwnas.spaces.choices import Value, depth_name, validate_choices, validate_name
from hwnas.spaces.layer_options import Allowed, LayerOptions, parse_allowed
from hwnas.typing import BoolArray, Codes, IndexArray, IntArray


class CodeLayout:
    """Columns of the codes of a search space.

    Parameters
    ----------
    name, choices, layers, depth, conditions, allowed
        See `hwnas.spaces.search_space.SearchSpace`, which has its attributes described too.

    Examples
    --------
    >>> layout = CodeLayout("mlp", {"depth": [1, 2]}, layers={"width": [16, 32]})
    >>> layout.canonical([[0, 5, 1]]).tolist()  # one layer: the second has no width
    [[0, 1, 0]]
    """

    def __init__(
        self,
        name: str,
        choices: Mapping[str, Sequence[Value]],
        *,
        layers: Mapping[str, Sequence[Value]] | None = None,
        depth: str | None = None,
        conditions: Mapping[str, Mapping[str, Sequence[Value]]] | None = None,
        allowed: Allowed | None = None,
    ) -> None:
        self.name = validate_name(name)
        self.choices, self.layers = validate_choices(choices, layers or {})
        self.depth = depth_name(self.choices, self.layers, depth)
        depths = self.choices[self.depth] if self.depth is not None else ()
        self.depths: IntArray = np.array(depths, dtype=np.int64)
        # 1. Columns: those outside the layers, then those of each layer in turn.
        n_layers = int(self.depths[-1]) if len(self.depths) else 0
        per_layer = [f"{name}_{i}" for i in range(n_layers) for name in self.layers]
        self.columns = (*self.choices, *per_layer)
        self.cardinalities: IntArray = np.array(
            [
                *map(len, self.choices.values()),
                *([len(values) for values in self.layers.values()] * n_layers),
            ],
            dtype=np.int64,
        )
        self.ordered: BoolArray = np.array(
            [
                *map(_is_ordered, self.choices.values()),
                *([_is_ordered(values) for values in self.layers.values()] * n_layers),
            ],
            dtype=bool,
        )
        n_global = len(self.choices)
        self.global_columns: IndexArray = np.arange(n_global)
        self.layer_columns: IndexArray = np.arange(n_global, len(self.columns)).reshape(
            n_layers, len(self.layers)
        )
        self.depth_column = None if self.depth is None else list(self.choices).index(self.depth)
        for array in (self.cardinalities, self.ordered, self.global_columns, self.layer_columns):
            array.flags.writeable = False
        # 2. Which of them are active.
        self.groups: tuple[Group, ...] = layer_groups(
            self.layer_columns, self.depth_column, self.depths
        )
        self.activity = Activity(
            self.choices, self.layers, self.layer_columns, self.groups, conditions or {}
        )
        # 3. Constraints between the choices of a layer.
        self.options: LayerOptions | None = None
        if allowed is not None:
            if n_layers == 0:
                raise InvalidInput("allowed: expected a space with layers")
            self.options = self._layer_options(parse_allowed(self.layers, allowed))

    @cached_property
    def indices(self) -> dict[str, ChoiceIndex]:
        """Index of the values of each choice, in and outside the layers, by name."""
        choices = {**self.choices, **self.layers}
        return {name: ChoiceIndex(name, values) for name, values in choices.items()}

    def active(self, codes: ArrayLike) -> BoolArray:
        """Return a mask of the columns that are active in each configuration.

        Parameters
        ----------
        codes : (n, d) integers
            Within the columns' ranges.

        Returns
        -------
        (n, d) bool
        """
        return self.activity(self._matrix(codes))

    def canonical(self, codes: ArrayLike) -> Codes:
        """Return codes in canonical form, with 0 in every inactive position.

        Accepts any numbers of shape (n, d): those outside a column's range are moved to its
        nearest end, fractions are cut. The choices of a layer that are not allowed together become
        the nearest allowed ones.

        Returns
        -------
        (n, d) int8, C-contiguous, a copy
        """
        array = np.nan_to_num(self._matrix(codes))
        canonical = np.clip(array, 0, self.cardinalities - 1).astype(np.int8)
        if self.options is not None:
            layers = self.of_layers(canonical)
            layers[:] = self.options.nearest(layers)
        canonical *= self.activity(canonical)
        return np.ascontiguousarray(canonical)

    def is_valid(self, codes: ArrayLike) -> BoolArray:
        """Return a mask of the rows that are codes of this space in canonical form.

        Parameters
        ----------
        codes : (n, d) numbers

        Returns
        -------
        (n,) bool
        """
        array = self._matrix(codes)
        return np.asarray((array == self.canonical(array)).all(axis=1))

    def checked(self, codes: ArrayLike) -> Codes:
        """Return codes as an array after checking that each is an index of a choice.

        Raises
        ------
        InvalidInput
            The shape is not (n, d), or they are no integers within the columns' ranges.
        """
        array = self._matrix(codes)
        # Compared in their own type, which takes a tenth of the time.
        is_integer = array.dtype.kind in "iu"
        limits = self.cardinalities.astype(array.dtype)
        if not is_integer or array.min(initial=0) < 0 or (array >= limits).any():
            raise InvalidInput(
                f"codes of {self.name}: expected integers from 0 to below the number of choices "
                f"of a column; canonical() makes them"
            )
        return array

    def of_layers(self, codes: Codes) -> Codes:
        """Return a view (n, L, c) of the layers' columns of contiguous codes (n, d)."""
        return codes[:, len(self.choices) :].reshape(len(codes), *self.layer_columns.shape)

    def _layer_options(self, allowed: IntArray) -> LayerOptions:
        """Return the options of a layer, with 0 where a condition switches a choice off."""
        allowed = self.activity.distinct_layers(allowed.astype(np.int8)).astype(np.int64)
        first = self.layer_columns[0]
        return LayerOptions(self.cardinalities[first], allowed, self.ordered[first])

    def _matrix(self, codes: ArrayLike) -> NDArray[Any]:
        """Return codes as an array after checking its shape."""
        expected = f"codes of {self.name}: expected shape (n, {len(self.columns)})"
        try:
            array = np.asarray(codes)
        except ValueError:  # lists of different lengths
            raise InvalidInput(f"{expected}, found {describe_value(codes)}") from None
        if array.ndim != 2 or array.shape[1] != len(self.columns):
            raise InvalidInput(f"{expected}, found {array.shape}")
        # Integers beyond 64 bits are objects.
        is_number = array.dtype.kind in "biuf" or (
            array.dtype.kind == "O" and all(isinstance(x, int | float) for x in array.flat)
        )
        if not is_number:
            raise InvalidInput(f"{expected} of numbers, found {describe_value(codes)}")
        return array


def _is_ordered(values: Sequence[Value]) -> bool:
    return all(type(value) in (int, float) for value in values)
