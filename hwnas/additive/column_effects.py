"""Effects of single columns, for spaces whose objectives are no sums over layers.

In a space without layers, or with too many combinations outside them, an objective is modeled as a
sum of one term for each choice: smooth over ordered values, free for others. Layers share a term
for each of their choices, from which single layers deviate. Products of two choices are added where
there are few.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from hwnas.additive.contrasts import contrasts_of
from hwnas.additive.effects import typical_codes
from hwnas.spaces import SearchSpace
from hwnas.spaces.choice_features import layer_features, outside_features
from hwnas.typing import Array, BoolArray, Codes, IndexArray

_SMOOTH_LENGTH = 0.25  # length scale of curved effects, in ranges of a column
_SMOOTH_RANK = 6  # number of curved effects of a column
_MAX_PAIRED = 24  # columns beyond which products are left to the kernels
_SUMMARY_SIZE = 7  # numbers of a summary, as of a GPT space, for which kernels have their lengths

# Prior variances for an objective of variance 1, shared by all columns.
_LINEAR, _CURVED, _SINGLE_LAYERS, _PAIRS = 1.0, 0.1, 1e-2, 1e-2


@dataclass(frozen=True, eq=False)
class ColumnBlock:
    """An effect: features with one prior variance.

    Attributes
    ----------
    name
        Readable name.
    variance
        Prior variance of the weights.
    columns : (k,)
        Columns of a code.
    contrasts : (choices, q)
        Features of each choice of these columns.
    shared
        Whether all columns have the same weights, or each its own.
    """

    name: str
    variance: float
    columns: IndexArray
    contrasts: Array
    shared: bool = True

    @property
    def size(self) -> int:
        """Number of features."""
        return int(self.contrasts.shape[1]) * (1 if self.shared else len(self.columns))


class ColumnEffects:
    """Features of the configurations of any space, block by block.

    It has the interface of `hwnas.additive.effects.Effects`, with a single root and each column in
    the place of a layer.

    Parameters
    ----------
    space
        The search space.

    Attributes
    ----------
    present : (1, d) bool
        Mask of the columns, all of them.
    blocks : tuple of ColumnBlock
    starts : (len(blocks),) intp
        Index of the first feature of each block.
    size : int
        Number of features, P.
    width_name : str
        Empty: no choice decides on the effects of others.

    Examples
    --------
    >>> space = SearchSpace("flat", {"x": range(9), "y": [1, 2], "kind": ["a", "b", "c"]})
    >>> effects = ColumnEffects(space)
    >>> [block.name for block in effects.blocks]
    ['x, linear', 'x, curved', 'y, linear', 'kind, linear', 'pairs']
    """

    width_name = ""

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self.present = np.ones((1, len(space.columns)), dtype=bool)
        self._pairs: IndexArray = np.zeros((0, 2), dtype=np.intp)
        free = np.flatnonzero(space.ordered & (space.cardinalities > 1))
        if 2 <= len(free) <= _MAX_PAIRED:
            self._pairs = np.array([*itertools.combinations(free, 2)])
        self.blocks = self._blocks()
        ends = np.cumsum([block.size for block in self.blocks])
        self.starts: IndexArray = np.concatenate([[0], ends[:-1]]).astype(np.intp)
        self.size = int(ends[-1])
        # Normalize each block: its prior variance is then its share of a typical variance.
        self._scale = np.ones(self.size)
        features = self(typical_codes(space))
        squares = np.add.reduceat((features**2).mean(axis=0), self.starts)
        per_block = 1 / np.sqrt(np.where(squares > 0, squares, 1.0))
        self._scale = np.repeat(per_block, np.diff([*self.starts, self.size]))

    def __call__(self, codes: Codes) -> Array:
        """Return the features (n, P) of canonical codes (n, d)."""
        active = self.space.active(codes)
        parts = []
        for block in self.blocks:
            if block.name == "pairs":
                parts.append(self._products(codes, active))
                continue
            # Contrasts of the choice of each column, 0 where it is inactive.
            values = block.contrasts[codes[:, block.columns]]
            values = values * active[:, block.columns, None]  # (n, k, q)
            parts.append(values.sum(axis=1) if block.shared else values.reshape(len(codes), -1))
        return np.concatenate(parts, axis=1) * self._scale

    @property
    def basic(self) -> ColumnEffects:
        """Effects without further features, see `hwnas.additive.effects.Effects.basic`: these."""
        return self

    def extend(self, features: Array, codes: Codes) -> Array:
        """Return features (n, P) of codes (n, d) with all further ones, of which there are none."""
        return features

    def tables(self, weights: Array) -> tuple[Array, Array]:
        """Return weighted sums of features as tables; products of choices are left out.

        Parameters
        ----------
        weights : (s, P)

        Returns
        -------
        base : (s, 1)
            Zero.
        columns : (s, 1, d, n)
            Term of each column by its choice; n is the largest number of choices, and a column with
            fewer repeats its last one.
        """
        weights = weights * self._scale
        cards = self.space.cardinalities
        table = np.zeros((len(weights), len(cards), int(cards.max())))
        for block, start in zip(self.blocks, self.starts, strict=True):
            if block.name == "pairs":
                continue
            part = weights[:, start : start + block.size]
            own = part.reshape(len(weights), -1, block.contrasts.shape[1])  # (s, 1 or k, q)
            n = len(block.contrasts)
            table[:, block.columns, :n] += own @ block.contrasts.T
        for column, n in enumerate(cards.tolist()):
            table[:, column, n:] = table[:, column, n - 1, None]
        return np.zeros((len(weights), 1)), table[:, None]

    def codes(self, root: IndexArray, options: IndexArray) -> Codes:
        """Return the codes (n, d) of configurations with the choices (n, d) of `tables`."""
        return self.space.canonical(options)

    def width_of(self, codes: Codes) -> IndexArray:
        """Return 0 (n,) for all configurations: they are compared with all others."""
        return np.zeros(len(codes), dtype=np.intp)

    def summary(self, codes: Codes) -> Array:
        """Return a summary of configurations by numbers, at about the same distances in any space.

        The choices outside the layers, and the mean of each choice of the layers.
        """
        parts = [outside_features(self.space, codes)]
        if self.space.layer_columns.size:
            parts.append(layer_features(self.space, codes).mean(axis=1))
        summary = np.concatenate(parts, axis=1)
        # Distances grow with the square root of the number of choices.
        return np.asarray(summary * min(1.0, np.sqrt(_SUMMARY_SIZE / summary.shape[1])))

    def _blocks(self) -> tuple[ColumnBlock, ...]:
        """Return the blocks that have features."""
        space, blocks = self.space, []
        named = [(space.columns[j], np.array([j])) for j in space.global_columns.tolist()]
        if space.layer_columns.size:
            named += list(zip(space.layers, space.layer_columns.T, strict=True))
        named = [(name, columns) for name, columns in named if space.cardinalities[columns[0]] > 1]
        for name, columns in named:
            n, is_ordered = int(space.cardinalities[columns[0]]), bool(space.ordered[columns[0]])
            linear, curved = _contrasts(n, is_ordered)
            blocks.append(ColumnBlock(f"{name}, linear", _LINEAR / len(named), columns, linear))
            if curved.shape[1]:
                blocks.append(ColumnBlock(f"{name}, curved", _CURVED / len(named), columns, curved))
            if len(columns) > 1:
                both = np.concatenate([linear, curved], axis=1)
                variance = _SINGLE_LAYERS / len(named)
                blocks.append(ColumnBlock(f"{name}, each", variance, columns, both, shared=False))
        if len(self._pairs):
            products = np.zeros((1, len(self._pairs)))
            blocks.append(ColumnBlock("pairs", _PAIRS, self._pairs[:, 0], products))
        nothing = ColumnBlock("nothing to choose", _PAIRS, np.array([0]), np.zeros((1, 1)))
        return tuple(blocks) or (nothing,)

    def _products(self, codes: Codes, active: BoolArray) -> Array:
        """Return the products (n, pairs) of the positions of two ordered choices, from -1 to 1."""
        middle = np.maximum(self.space.cardinalities - 1, 1) / 2
        positions = (codes / middle - 1) * active
        return np.asarray(positions[:, self._pairs[:, 0]] * positions[:, self._pairs[:, 1]])


def _contrasts(n: int, is_ordered: bool) -> tuple[Array, Array]:
    """Return linear and curved contrasts between n choices, (n, p) and (n, q)."""
    if not is_ordered or n < 3:
        return contrasts_of(n, is_ordered), np.zeros((n, 0))
    position = np.linspace(0, 1, n)
    linear = (2 * position - 1)[:, None]
    # Curved: leading eigenvectors of a squared-exponential kernel without its linear part.
    covariance = np.exp(-0.5 * ((position[:, None] - position) / _SMOOTH_LENGTH) ** 2)
    basis = np.linalg.qr(np.concatenate([np.ones((n, 1)), linear], axis=1))[0]
    projection = np.eye(n) - basis @ basis.T
    values, vectors = np.linalg.eigh(projection @ covariance @ projection)
    leading = np.argsort(-values)[: min(_SMOOTH_RANK, n - 2)]
    curved = vectors[:, leading] * np.sqrt(np.maximum(values[leading], 0))
    curved *= np.where(curved[-1] < 0, -1.0, 1.0)  # an eigenvector's sign depends on the library
    return linear, np.asarray(curved)
