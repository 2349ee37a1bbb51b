"""Codes of any models with layers as rows of five kinds of columns, which additive tables index.

A *packed* code is ``e, d, b`` and then ``r, h`` of each layer: the width ``embed_dim``, or whatever
the first choice is, if that is not the number of layers; the number of layers; all other choices of
the whole model as one number; the first choice of a layer, and all its other choices as one number.
GPT codes without a choice of precision are packed already.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from hwnas.errors import InvalidInput
from hwnas.spaces import SearchSpace
from hwnas.typing import BoolArray, Codes, IndexArray

N_ROOT_COLUMNS = 3  # columns of a packed code before those of its first layer: e, d, b


class LayerLayout:
    """Conversion between the codes of a space with layers and packed ones.

    Parameters
    ----------
    space
        A space with layers, at least one, all of whose choices outside the layers always exist.

    Attributes
    ----------
    roots : (E, D, B)
        Number of values of the first three columns.
    options : (R, H)
        Number of values of the two columns of each layer.

    Raises
    ------
    InvalidInput
        The space has no layers, choices that depend on others, or more combinations of choices than
        a code holds.

    Examples
    --------
    >>> import hwnas
    >>> layout = LayerLayout(hwnas.space("llama-s"))
    >>> layout.roots, layout.options
    ((3, 5, 2), (3, 12))
    >>> codes = layout.space.sample(5, np.random.default_rng(0))
    >>> bool((layout.unpack(layout.pack(codes)) == codes).all())
    True
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        # A choice of a layer that depends on another one is among its options.
        is_conditional = not space.activity.given.keys() <= space.layers.keys() or (
            bool(space.activity.given) and space.options is None
        )
        if space.depth_column is None or not space.layers or is_conditional or space.depths[0] < 1:
            raise InvalidInput(
                f"space {space.name!r}: expected one or more layers with choices of their own, and "
                "no choices that depend on others outside them, as GPT and Llama architectures have"
            )
        sizes = [len(values) for values in space.choices.values()]
        per_layer = [len(values) for values in space.layers.values()]
        self._depth = space.depth_column
        self._width = [0] if self._depth else []
        remaining = {*range(len(sizes))} - {self._depth, *self._width}
        self._rest = sorted(remaining)
        self._others, self._layer_others = [sizes[j] for j in self._rest], per_layer[1:]
        n_widths = sizes[0] if self._width else 1
        self.roots = (n_widths, sizes[self._depth], int(np.prod(self._others, dtype=int)))
        self.options = (per_layer[0], int(np.prod(self._layer_others, dtype=int)))
        if max(self.roots[2], self.options[1]) > np.iinfo(np.int8).max:
            raise InvalidInput(f"space {space.name!r}: its choices have too many combinations")
        is_in_order = [*self._width, self._depth, *self._rest] == [0, 1, 2]
        self._is_packed = is_in_order and len(self._layer_others) == 1

    @property
    def depth(self) -> int:
        """Number of layers of the deepest model."""
        return int(self.space.depths[-1])

    @cached_property
    def allowed(self) -> BoolArray | None:
        """Mask (R * H,) of the options of a layer that exist; ``None`` if all do."""
        if self.space.options is None:
            return None
        mask = np.zeros(self.options, dtype=bool)
        for option in self.space.options.options.astype(np.intp):
            mask[option[0], np.ravel_multi_index(tuple(option[1:]), self._layer_others)] = True
        return None if mask.all() else mask.ravel()

    def pack(self, codes: Codes) -> Codes:
        """Return the packed codes (n, 3 + 2 L) of canonical codes (n, d)."""
        if self._is_packed:
            return codes
        n, k = len(codes), len(self.space.choices)
        out = np.empty((n, N_ROOT_COLUMNS + 2 * self.depth), dtype=np.int8)
        out[:, 0] = codes[:, self._width[0]] if self._width else 0
        out[:, 1] = codes[:, self._depth]
        out[:, 2] = _ravel(codes[:, self._rest], self._others)
        layers = codes[:, k:].reshape(n, self.depth, -1)
        out[:, N_ROOT_COLUMNS::2] = layers[:, :, 0]
        out[:, N_ROOT_COLUMNS + 1 :: 2] = _ravel(layers[:, :, 1:], self._layer_others)
        return out

    def unpack(self, packed: Codes) -> Codes:
        """Return the codes (n, d) of packed ones (n, 3 + 2 L), the inverse of `pack`."""
        if self._is_packed:
            return packed
        n, k = len(packed), len(self.space.choices)
        out = np.empty((n, len(self.space.columns)), dtype=np.int8)
        out[:, self._width] = packed[:, : len(self._width)]
        out[:, self._depth] = packed[:, 1]
        out[:, self._rest] = _unravel(packed[:, 2], self._others)
        layers = np.empty((n, self.depth, len(self.space.layers)), dtype=np.int8)
        layers[:, :, 0] = packed[:, N_ROOT_COLUMNS::2]
        layers[:, :, 1:] = _unravel(packed[:, N_ROOT_COLUMNS + 1 :: 2], self._layer_others)
        out[:, k:] = layers.reshape(n, -1)
        return out

    def positions(self, container: LayerLayout) -> list[IndexArray]:
        """Return the positions of this space's values e, d, b, r, h among those of a larger one."""
        return [
            np.array([theirs.index(value) for value in ours])
            for ours, theirs in zip(self._axes, container._axes, strict=True)
        ]

    @property
    def _axes(self) -> list[list[tuple[Any, ...]]]:
        """Values of each of e, d, b, r, h, as tuples of the choices that they combine."""
        choices = list(self.space.choices.values())
        layer = list(self.space.layers.values())
        columns = [self._width, [self._depth], self._rest]
        parts = [*([choices[j] for j in part] for part in columns), layer[:1], layer[1:]]
        return [list(itertools.product(*part)) for part in parts]


def _ravel(columns: Codes, sizes: Sequence[int]) -> Codes:
    """Return columns (..., c) as one number (...,) with mixed radix."""
    out = np.zeros(columns.shape[:-1], dtype=np.int8)
    for j, size in enumerate(sizes):
        out = out * np.int8(size) + columns[..., j]
    return out


def _unravel(numbers: Codes, sizes: Sequence[int]) -> Codes:
    """Return numbers (...,) with mixed radix as columns (..., c)."""
    out = np.empty((*numbers.shape, len(sizes)), dtype=np.int8)
    for j in reversed(range(len(sizes))):
        numbers, out[..., j] = np.divmod(numbers, np.int8(sizes[j]))
    return out
