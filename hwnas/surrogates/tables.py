"""Additive tables: a metric as a sum over layers.

``value(code) = sum over active layers i of layers[e, d, b, i, r_i, h_i] + base[e, d, b]``

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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.spaces import Codes, SearchSpace
from hwnas.typing import Array

_LEADING = 3  # columns of a code before those of its first layer
# Networks summed together: short enough for the cache, long enough for numpy. One thread: numpy's
# steps are so short that a second one mostly waits for the interpreter.
_CHUNK = 8192
_BLOCK = 24_576  # numbers of codes that are turned together, within the first cache


@dataclass(frozen=True, eq=False)
class AdditiveTable:
    """A metric of every network of one space, as a sum of table entries.

    Attributes
    ----------
    depths : (D,) int64
        Number of layers of each ``n_layer`` choice, increasing.
    base : (E, D, B) float64
        What is added once.
    layers : (E, D, B, L, R, H) float64
        What each active layer adds; L is the greatest depth. Entries beyond a depth mean nothing.
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
        moved = np.zeros((e, d, b, depth, ratios, heads, len(space.columns)), dtype=np.int8)
        moved[:] = plain[:, :, :, None, None, None]
        for i in range(depth):
            moved[..., i, :, :, _LEADING + 2 * i] = np.arange(ratios)[:, None]
            moved[..., i, :, :, _LEADING + 2 * i + 1] = np.arange(heads)
        values = function(moved.reshape(-1, len(space.columns))).reshape(moved.shape[:-1])
        layers = values - first[..., None, None, None]
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
        return float((self.base + self._sums(self.layers.min(axis=(4, 5)))).min())

    def maximum(self) -> float:
        """Greatest value of any network."""
        return float((self.base + self._sums(self.layers.max(axis=(4, 5)))).max())

    def _sums(self, per_layer: Array) -> Array:
        """Values (E, D, B, L) of each layer, summed over the active ones: (E, D, B)."""
        sums = per_layer.cumsum(axis=3)  # in the order of `predict`
        return np.stack([sums[:, d, :, n - 1] for d, n in enumerate(self.depths)], axis=1)

    @cached_property
    def _entries(self) -> Array:
        """Every (e, d, b) has a row: entries of its layers, 0 for inactive ones, and its base."""
        e, d, b = self.base.shape
        depth = self.layers.shape[3]
        active = np.arange(depth) < self.depths[:, None]
        layers = self.layers.reshape(e, d, b, depth, -1) * active[:, None, :, None]
        return np.concatenate([layers.reshape(e * d * b, -1), self.base.reshape(-1, 1)], axis=1)


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
    out = np.zeros((n, m))
    if m == 0:
        return out
    # What the tables say of one choice lies side by side: one index finds it for all of them.
    lookup = np.stack([table._entries.ravel() for table in tables], axis=1)

    for start in range(0, n, _CHUNK):
        total = out[start : start + _CHUNK]
        terms = _terms(tables[0], codes[start : start + _CHUNK])
        together = _CHUNK // len(total)  # 1 in a full chunk; of a few networks all at once
        for i in range(0, len(terms), together):
            for values in lookup.take(terms[i : i + together], axis=0):
                total += values
    return out


def _terms(table: AdditiveTable, codes: Codes) -> NDArray[np.signedinteger[Any]]:
    """Where the terms of each network's sum stand in `_entries`, (L + 1, n), in their order."""
    n, width = codes.shape
    # One row a column of the codes, so that every step runs along memory.
    columns = np.empty((width, n), dtype=codes.dtype)
    block = _BLOCK // width
    for start in range(0, n, block):
        columns[:, start : start + block] = codes[start : start + block].T
    _, d, b = table.base.shape
    depth, ratios, heads = table.layers.shape[3:]
    options = ratios * heads
    kind = np.min_scalar_type(-table._entries.size)  # the narrowest that holds them: quicker
    root = (columns[0].astype(kind) * d + columns[1]) * b + columns[2]
    out = np.zeros((depth + 1, n), dtype=kind)
    np.multiply(columns[_LEADING::2], heads, out=out[:-1], dtype=kind)
    out[:-1] += columns[_LEADING + 1 :: 2]
    out += np.arange(0, (depth + 1) * options, options, dtype=kind)[:, None]
    out += root * (depth * options + 1)
    return out
