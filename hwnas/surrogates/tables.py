"""Additive tables: a metric as a sum over layers.

``value(code) = sum over active layers i of layers[e, b, i, r_i, h_i] + base[e, d, b]``

with e, d, b the indices of ``embed_dim``, ``n_layer`` and ``bias`` and r, h those of a layer's
``mlp_ratio`` and ``n_head``. Tables add and scale, so a quantile between two others, or the
negative of a metric, is a table again. Sums run from the first layer to the last and end with the
base, everywhere: floating-point addition is monotone, so what holds of every entry of two tables
(one is nowhere above the other) holds of their sums to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hwnas.spaces import Codes, SearchSpace

Array = NDArray[np.float64]

_LEADING = 3  # columns of a code before those of its first layer
_CHUNK = 8192  # codes looked up together: their indices stay in the cache


@dataclass(frozen=True, eq=False)
class AdditiveTable:
    """A metric of every network of one space, as a sum of table entries.

    Attributes
    ----------
    depths : (D,) int64
        Number of layers of each ``n_layer`` choice, increasing.
    base : (E, D, B) float64
        What is added once.
    layers : (E, B, L, R, H) float64
        What each active layer adds; L is the greatest depth.
    """

    depths: NDArray[np.int64]
    base: Array
    layers: Array

    @classmethod
    def of(
        cls, space: SearchSpace, function: Callable[[Codes], NDArray[np.int64]]
    ) -> AdditiveTable:
        """The table of a function that is known to be additive over layers.

        Parameters
        ----------
        space
            Whose networks the table is of.
        function
            Codes (n, d) to values (n,), such as ``space.params``; exact where its values and
            their differences are integers below 2**53.
        """
        e, d, b, ratios, heads = space.cardinalities[:5].tolist()
        depth = space.n_layer[-1]
        plain = np.zeros((e, d, b, len(space.columns)), dtype=np.int8)
        for column, axis in enumerate(np.indices((e, d, b))):
            plain[..., column] = axis
        first = function(plain.reshape(e * d * b, -1)).reshape(e, d, b)
        moved = np.zeros((e, b, depth, ratios, heads, len(space.columns)), dtype=np.int8)
        moved[:] = plain[:, -1, :, None, None, None]
        for i in range(depth):
            moved[:, :, i, :, :, _LEADING + 2 * i] = np.arange(ratios)[:, None]
            moved[:, :, i, :, :, _LEADING + 2 * i + 1] = np.arange(heads)
        values = function(moved.reshape(-1, len(space.columns))).reshape(moved.shape[:-1])
        layers = values - first[:, -1, :, None, None, None]
        return cls(np.array(space.n_layer), first.astype(float), layers.astype(float))

    def __add__(self, other: AdditiveTable) -> AdditiveTable:
        return AdditiveTable(self.depths, self.base + other.base, self.layers + other.layers)

    def __mul__(self, factor: float) -> AdditiveTable:
        return AdditiveTable(self.depths, factor * self.base, factor * self.layers)

    __rmul__ = __mul__

    def predict(self, codes: Codes) -> Array:
        """Values (n,) of canonical codes (n, d)."""
        return predict([self], codes)[:, 0]

    def minimum(self) -> float:
        """Least value of any network."""
        return float((self.base + self._sums(self.layers.min(axis=(3, 4)))).min())

    def maximum(self) -> float:
        """Greatest value of any network."""
        return float((self.base + self._sums(self.layers.max(axis=(3, 4)))).max())

    def _sums(self, per_layer: Array) -> Array:
        """Values (E, B, L) of each layer, summed over the active ones: (E, D, B)."""
        return per_layer.cumsum(axis=2)[:, :, self.depths - 1].transpose(0, 2, 1)

    @cached_property
    def _by_root(self) -> Array:
        """Entries for lookup, (E * D * B * L * R * H,), 0 for inactive layers."""
        e, d, b = self.base.shape
        depth, ratios, heads = self.layers.shape[2:]
        out = np.empty((e, d, b, depth, ratios * heads))
        out[:] = self.layers.reshape(e, 1, b, depth, ratios * heads)
        out *= (np.arange(depth) < self.depths[:, None])[:, None, :, None]
        return out.ravel()


def predict(tables: Sequence[AdditiveTable], codes: Codes) -> Array:
    """What tables of one space say of networks.

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
    out = np.empty((m, n))
    if m == 0:
        return out.T
    _, d, b = tables[0].base.shape
    depth, ratios, heads = tables[0].layers.shape[2:]
    options = ratios * heads
    for start in range(0, n, _CHUNK):
        # One row a column of the codes, so that every step runs along memory.
        columns = np.ascontiguousarray(codes[start : start + _CHUNK].T, dtype=np.intp)
        root = (columns[0] * d + columns[1]) * b + columns[2]
        entries = columns[_LEADING::2] * heads
        entries += columns[_LEADING + 1 :: 2]
        entries += root * (depth * options)
        entries += (np.arange(depth) * options)[:, None]
        for row, table in zip(out, tables, strict=True):
            lookup = table._by_root
            total = lookup[entries[0]]
            for entry in entries[1:]:
                total += lookup[entry]
            total += table.base.ravel()[root]
            row[start : start + _CHUNK] = total
    return out.T
