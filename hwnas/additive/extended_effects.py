"""Effects with further features behind them, which differ between objectives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from hwnas.additive.effects import Block, Effects, typical_codes
from hwnas.spaces import SearchSpace
from hwnas.typing import Array, BoolArray, Codes, IndexArray


class ExtendedEffects(ABC):
    """Effects of a space with layers, and behind them features of a subclass.

    It has the interface of `hwnas.additive.effects.Effects`.

    Parameters
    ----------
    plain
        Effects without these features; they may be extended themselves.
    blocks
        The further blocks.
    sizes
        Number of features of each of them.
    """

    def __init__(
        self, plain: Effects | ExtendedEffects, blocks: Sequence[Block], sizes: Sequence[int]
    ) -> None:
        self.plain = plain
        self.blocks: tuple[Block, ...] = (*plain.blocks, *blocks)
        own_starts = np.cumsum([0, *sizes[:-1]]).astype(np.intp)
        self.starts: IndexArray = np.concatenate([plain.starts, plain.size + own_starts])
        self.size: int = plain.size + sum(sizes)
        # Normalize each block, as those of the plain effects.
        squares = (self.own_features(typical_codes(plain.space)) ** 2).mean(axis=0)
        squares = np.add.reduceat(squares, own_starts)
        is_zero = squares <= 1e-12 * squares.max(initial=0.0)  # up to rounding
        self._scale: Array = np.repeat(1 / np.sqrt(np.where(is_zero, 1.0, squares)), sizes)

    @abstractmethod
    def own_features(self, codes: Codes) -> Array:
        """Return the further features (n, q) of codes (n, d), before they are normalized."""

    @abstractmethod
    def own_tables(self, weights: Array) -> tuple[Array, Array]:
        """Return weighted sums of `own_features` as tables, for weights (s, q)."""

    def __call__(self, codes: Codes) -> Array:
        """Return the features (n, P) of canonical codes (n, d)."""
        return self.extend(self.basic(codes), codes)

    def extend(self, features: Array, codes: Codes) -> Array:
        """Append all further features to those of the basic effects (n, p) of codes (n, d)."""
        features = self.plain.extend(features, codes)
        return np.concatenate([features, self.own_features(codes) * self._scale], axis=1)

    def tables(self, weights: Array) -> tuple[Array, Array]:
        """Return weighted sums of features as tables, see `Effects.tables`."""
        base, layers = self.plain.tables(weights[:, : self.plain.size])
        own_base, own_layers = self.own_tables(weights[:, self.plain.size :] * self._scale)
        return base + own_base, layers + own_layers

    def codes(self, root: IndexArray, options: IndexArray) -> Codes:
        """Return the codes (n, d) of architectures with a root (n,) and layer options (n, L)."""
        return self.basic.codes(root, options)

    def width_of(self, codes: Codes) -> IndexArray:
        """Return the width (n,) of architectures, as an index into its choices."""
        return self.basic.width_of(codes)

    def summary(self, codes: Codes) -> Array:
        """Return a summary of architectures by few numbers, see `Effects.summary`."""
        return self.basic.summary(codes)

    @property
    def basic(self) -> Effects:
        """Effects without any further features."""
        return self.plain.basic

    @property
    def space(self) -> SearchSpace:
        """The search space."""
        return self.basic.space

    @property
    def present(self) -> BoolArray:
        """Mask (R, L) of the layers that an architecture of each root has."""
        return self.basic.present

    @property
    def width_name(self) -> str:
        """Name of the choice on which the effects of layers depend most."""
        return self.basic.width_name
