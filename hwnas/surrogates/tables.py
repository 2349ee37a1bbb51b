"""Additive tables: a metric as a sum over layers.

``value(code) = sum over active layers i of layers[e, d, b, i, r_i, h_i] + base[e, d, b]``

with e, d, b the indices of ``embed_dim``, ``n_layer`` and ``bias`` and r, h those of a layer's
``mlp_ratio`` and ``n_head``; of other families `hwnas.surrogates.layer_layout` packs the codes so.
Tables add and scale, so a quantile between two others, or the
negative of a metric, is a table again. Sums run from the first layer to the last and end with the
base, everywhere: floating-point addition is monotone, so what holds for every entry of two tables
(one is nowhere above the other) holds for their sums to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.spaces import SearchSpace
from hwnas.surrogates.layer_layout import N_ROOT_COLUMNS, LayerLayout
from hwnas.typing import Array, BoolArray, Codes, IntArray

# Architectures summed together: short enough for the cache, long enough for numpy. One thread:
# numpy's steps are so short that a second one mostly waits for the interpreter.
_CHUNK = 8192
_BLOCK = 24_576  # numbers of codes that are transposed together, within the first-level cache


@dataclass(frozen=True, eq=False)
class AdditiveTable:
    """A metric of every architecture of one space, as a sum of table entries.

    Attributes
    ----------
    depths : (D,) int64
        Number of layers of each ``n_layer`` choice, increasing.
    base : (E, D, B) float64
        Term of the architecture as a whole.
    layers : (E, D, B, L, R, H) float64
        Term of each active layer; L is the maximum depth. Entries beyond a depth are ignored.
    allowed : (R * H,) bool, optional
        Mask of the options of a layer that exist, ``r * H + h``; ``None`` if all do.

    Examples
    --------
    One ``embed_dim``, one depth of two layers, one ``bias``; two ratios and one head count.

    >>> layers = np.array([[1.0, 2.0], [10.0, 20.0]]).reshape(1, 1, 1, 2, 2, 1)
    >>> table = AdditiveTable(np.array([2]), np.array([[[100.0]]]), layers)
    >>> table.predict(np.array([[0, 0, 0, 1, 0, 0, 0]])).tolist()  # ratios 1 and 0
    [112.0]
    >>> table.minimum(), table.maximum()
    (111.0, 122.0)
    """

    depths: IntArray
    base: Array
    layers: Array
    allowed: BoolArray | None = None

    @classmethod
    def from_function(
        cls, space: SearchSpace, function: Callable[[Codes], Array | IntArray]
    ) -> AdditiveTable:
        """Return the table of a function that is known to be additive over layers.

        Parameters
        ----------
        space
            The space that the table covers.
        function
            Codes (n, d) of the space to values (n,), such as ``space.params``; exact where its
            values and their differences are integers below 2**53.
        """
        layout = LayerLayout(space)
        (e, d, b), (ratios, heads), depth = layout.roots, layout.options, layout.depth
        allowed = np.arange(ratios * heads)
        if layout.allowed is not None:
            allowed = np.flatnonzero(layout.allowed)
        width = N_ROOT_COLUMNS + 2 * depth
        active = np.arange(depth) < space.depths[:, None]  # (D, L)

        def values_of(packed: Codes) -> Array:
            values = function(layout.unpack(packed.reshape(-1, width)))
            return np.asarray(values, dtype=np.float64).reshape(packed.shape[:-1])

        # Base: the value of each root with the first option in every active layer.
        roots = np.zeros((e, d, b, width), dtype=np.int8)
        for column, axis in enumerate(np.indices((e, d, b))):
            roots[..., column] = axis
        first = np.array(divmod(allowed[0], heads), dtype=np.int8)
        layers_of_roots = roots[..., N_ROOT_COLUMNS:].reshape(e, d, b, depth, 2)
        layers_of_roots += (active[:, None, :, None] * first).astype(np.int8)
        base = values_of(roots)
        # Layers: the difference that each option of each single active layer makes.
        variants = np.empty((e, d, b, depth, len(allowed), width), dtype=np.int8)
        variants[:] = roots[:, :, :, None, None]
        options = np.stack(np.divmod(allowed, heads), axis=1)  # (O, 2)
        for i in range(depth):
            columns = slice(N_ROOT_COLUMNS + 2 * i, N_ROOT_COLUMNS + 2 * i + 2)
            variants[:, active[:, i], :, i, :, columns] = options
        layers = np.zeros((e, d, b, depth, ratios * heads))
        layers[..., allowed] = values_of(variants) - base[..., None, None]
        layers = layers.reshape(e, d, b, depth, ratios, heads)
        return cls(space.depths, base, layers, layout.allowed)

    def __add__(self, table: AdditiveTable) -> AdditiveTable:
        return replace(self, base=self.base + table.base, layers=self.layers + table.layers)

    def __mul__(self, factor: float) -> AdditiveTable:
        return replace(self, base=factor * self.base, layers=factor * self.layers)

    __rmul__ = __mul__

    def predict(self, codes: Codes) -> Array:
        """Return the values (n,) of canonical codes (n, d)."""
        return predict([self], codes)[:, 0]

    def minimum(self) -> float:
        """Return the minimum over all architectures."""
        return float((self.base + self._sums(self._options.min(axis=4))).min())

    def maximum(self) -> float:
        """Return the maximum over all architectures."""
        return float((self.base + self._sums(self._options.max(axis=4))).max())

    @property
    def _options(self) -> Array:
        """Terms (E, D, B, L, O) of the options of a layer that exist."""
        options = self.layers.reshape(*self.layers.shape[:4], -1)
        return options if self.allowed is None else options[..., self.allowed]

    def _sums(self, per_layer: Array) -> Array:
        """Return the sums (E, D, B) over active layers of values (E, D, B, L)."""
        sums = per_layer.cumsum(axis=3)  # in the order of `predict`
        return np.stack([sums[:, d, :, n - 1] for d, n in enumerate(self.depths)], axis=1)

    @cached_property
    def _entries(self) -> Array:
        """One row for each (e, d, b): entries of its layers, 0 for inactive ones, and its base."""
        e, d, b = self.base.shape
        depth = self.layers.shape[3]
        active = np.arange(depth) < self.depths[:, None]
        # Inactive layers become 0, which changes no sum.
        layers = self.layers.reshape(e, d, b, depth, -1) * active[:, None, :, None]
        return np.concatenate([layers.reshape(e * d * b, -1), self.base.reshape(-1, 1)], axis=1)


def predict(tables: Sequence[AdditiveTable], codes: Codes) -> Array:
    """Return the values of architectures by several tables of one space.

    Parameters
    ----------
    tables
        m tables of the space.
    codes : (n, d) integers
        Canonical codes.

    Returns
    -------
    (n, m) float64
        A row does not depend on the other rows, to the last bit.
    """
    n, m = len(codes), len(tables)
    out = np.zeros((n, m))
    if m == 0:
        return out
    # The entries of all tables for one choice are adjacent: one index serves all tables.
    lookup = np.stack([table._entries.ravel() for table in tables], axis=1)

    for start in range(0, n, _CHUNK):
        total = out[start : start + _CHUNK]
        terms = _term_indices(tables[0], codes[start : start + _CHUNK])
        # Terms looked up in one call: 1 for a full chunk, all of them for few architectures.
        stride = _CHUNK // len(total)
        for i in range(0, len(terms), stride):
            for values in lookup.take(terms[i : i + stride], axis=0):
                total += values
    return out


def _term_indices(table: AdditiveTable, codes: Codes) -> NDArray[np.signedinteger[Any]]:
    """Return the indices into `_entries` of each architecture's terms, in their order, (L + 1, n).

    The last row is the base.
    """
    n, width = codes.shape
    # Transposed in blocks, so that every later step runs along memory.
    columns = np.empty((width, n), dtype=codes.dtype)
    block = _BLOCK // width
    for start in range(0, n, block):
        columns[:, start : start + block] = codes[start : start + block].T
    _, d, b = table.base.shape
    depth, ratios, heads = table.layers.shape[3:]
    options = ratios * heads
    dtype = np.min_scalar_type(-table._entries.size)  # the narrowest that holds all indices
    root = (columns[0].astype(dtype) * d + columns[1]) * b + columns[2]
    # index = root * (L * R * H + 1) + layer * (R * H) + ratio * H + head
    out = np.zeros((depth + 1, n), dtype=dtype)
    np.multiply(columns[N_ROOT_COLUMNS::2], heads, out=out[:-1], dtype=dtype)
    out[:-1] += columns[N_ROOT_COLUMNS + 1 :: 2]
    out += np.arange(0, (depth + 1) * options, options, dtype=dtype)[:, None]
    out += root * (depth * options + 1)
    return out
