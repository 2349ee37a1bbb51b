"""Effects: the terms of an objective that is nearly a sum over layers, as features.

Within one ``embed_dim`` (a *width*), perplexity, latency, energy and memory of an architecture are
nearly sums over its layers, and the term of a layer is similar to those of neighboring layers and
of other widths. An objective is therefore modeled as a weighted sum of *effects*, each a block of
features whose weights have one prior variance: the effect of a choice that all layers share, a
deviation from it that is smooth over the layers, and a deviation of every single layer; each once
for all widths and once more for every width. The variances are learned
(`hwnas.additive.variance_components`).

The choices outside the layers (``embed_dim``, ``n_layer``, ``bias``) form the *root* of an
architecture, those of a layer (``mlp_ratio``, ``n_head``) its *option*.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwnas.additive.contrasts import contrasts_of
from hwnas.spaces import SearchSpace
from hwnas.spaces.choice_features import layer_features, outside_features
from hwnas.typing import Array, BoolArray, Codes, IndexArray, IntArray

_SMOOTH_LENGTH = 0.25  # length scale of smooth patterns over the layers, in depths
_SMOOTH_RANK = 5  # number of smooth patterns

# Prior variances for an objective of variance 1, by pattern. Only their order of magnitude matters:
# they are those of perplexities, latencies and energies of architectures of the GPT-2 family.
_LINEAR = {"all": 1e-2, "smooth": 1e-4, "each": 5e-5}
_LINEAR_BY_WIDTH = {"all": 1e-3, "smooth": 3e-5, "each": 3e-5}
_CURVED = {"all": 5e-4, "each": 3e-5}
_CURVED_BY_WIDTH = {"all": 1e-4, "each": 3e-5}
_PRODUCT = {"all": 1e-5}
_BY_OTHER_CHOICE = 1e-5
_WIDTH, _ROOT, _WIDTH_AND_DEPTH, _PAIR = 1.0, 1e-2, 1e-3, 1e-4


@dataclass(frozen=True, slots=True)
class Block:
    """An effect: features with one prior variance.

    Attributes
    ----------
    name
        Readable name: the choice, the pattern over layers, and the choice outside the layers.
    variance
        Prior variance of the weights.
    columns
        Columns of a code outside the layers; each combination of their choices has its own weights.
    kind
        Name of the contrasts between a layer's options; empty for an effect of the root alone.
    pattern
        Patterns over layers: ``"all"`` alike, ``"smooth"``, ``"each"`` on its own.
    """

    name: str
    variance: float
    columns: tuple[int, ...] = ()
    kind: str = ""
    pattern: str = "all"


class Effects:
    """Features of the architectures of a space with layers, block by block.

    Parameters
    ----------
    space
        The search space; all combinations outside the layers are listed, and all of a layer.

    Attributes
    ----------
    layers : (L, c) int64
        Columns of a code that belong to each layer.
    root_columns : list of k int
        Columns outside the layers.
    roots : (R, k) int64
        Every combination of the columns outside the layers that conditions leave distinct.
    options : (O, c) int64
        Every combination of a layer's c columns that is allowed and distinct.
    present : (R, L) bool
        Mask of the layers that an architecture of each root has.
    blocks : tuple of Block
    starts : (len(blocks),) intp
        Index of the first feature of each block.
    size : int
        Number of features, P.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        cards = space.cardinalities
        # Roots and options.
        self.layers = space.layer_columns  # (L, c)
        self.root_columns = space.global_columns.tolist()
        self.roots, self._root_by_rank = _distinct_roots(space)
        self.options, self._option_by_rank = _distinct_options(space)
        assert space.depth_column is not None  # as there are layers
        parent = space.depth_column
        self.present: BoolArray = np.array(
            [np.isin(self.roots[:, parent], group.when) for group in space.groups]
        ).T
        # Contrasts between options and patterns over layers, whose products are the features.
        choices = [space.columns[j].removesuffix("_0") for j in self.layers[0]]
        self._contrasts, self._contrast_slices = _contrasts(  # (O, K)
            choices, cards[self.layers[0]], space.ordered[self.layers[0]], self.options
        )
        self._patterns, self._pattern_slices = _patterns(len(self.layers))  # (L, Q)
        # The choice on which the effects of layers depend most: embed_dim for GPT-2.
        besides_depth = [j for j in self.root_columns if j != parent]
        self._width = max(besides_depth or [parent], key=lambda j: cards[j])
        self.blocks = self._blocks(parent)
        shapes = [self._shape(block) for block in self.blocks]
        ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
        self.starts: IndexArray = np.concatenate([[0], ends[:-1]]).astype(np.intp)
        self.size = int(ends[-1])
        # Normalize each block: its prior variance is then its share of a typical architecture's
        # variance, however many features it has.
        self._scale = np.ones(self.size)
        squares = np.add.reduceat((self(typical_codes(space)) ** 2).mean(axis=0), self.starts)
        per_block = 1 / np.sqrt(np.where(squares > 0, squares, 1.0))
        self._scale = np.repeat(per_block, np.diff([*self.starts, self.size]))

    def __call__(self, codes: Codes) -> Array:
        """Return the features (n, P) of canonical codes (n, d)."""
        n = len(codes)
        options, present = self.layer_options(codes)
        # Contrasts of each layer's option, 0 for absent layers, summed with each pattern.
        contrasts = self._contrasts[options] * present[:, :, None]  # (n, L, K)
        sums = np.swapaxes(contrasts, 1, 2) @ self._patterns  # (n, K, Q)
        parts = []
        for block in self.blocks:
            part = np.ones((n, 1))
            if block.kind:
                slices = self._contrast_slices[block.kind], self._pattern_slices[block.pattern]
                part = sums[:, slices[0], slices[1]].reshape(n, -1)
            if block.columns:
                # One copy for each combination of the columns, 0 except for the own one.
                indicators = np.eye(self._count(block.columns))
                indicators = indicators[self._root_index(codes, block.columns)]
                part = (indicators[:, :, None] * part[:, None, :]).reshape(n, -1)
            parts.append(part)
        return np.concatenate(parts, axis=1) * self._scale

    def layer_options(self, codes: Codes) -> tuple[IndexArray, BoolArray]:
        """Return the option of each layer of codes (n, d), and a mask of present layers, (n, L)."""
        choices = codes[:, self.layers]
        options = self._option_by_rank[_index(choices, self.space.cardinalities[self.layers[0]])]
        return options, self.present[self.root_of(codes)]

    @property
    def basic(self) -> Effects:
        """Effects without further features, see `hwnas.additive.extended_effects`: these."""
        return self

    def extend(self, features: Array, codes: Codes) -> Array:
        """Return features (n, P) of codes (n, d) with all further ones, of which there are none."""
        return features

    def root_of(self, codes: Codes) -> IndexArray:
        """Return the index (n,) of the root of each code."""
        return self._root_by_rank[self._root_index(codes, tuple(self.root_columns))]

    def layer_patterns(self, name: str) -> Array:
        """Return the patterns over layers (L, q) of a name, see `Block`."""
        return self._patterns[:, self._pattern_slices[name]]

    @property
    def n_widths(self) -> int:
        """Number W of choices of the width."""
        return int(self.space.cardinalities[self._width])

    @property
    def root_widths(self) -> IndexArray:
        """Width (R,) of each root, as an index into its choices."""
        return self.roots[:, self.root_columns.index(self._width)].astype(np.intp)

    def tables(self, weights: Array) -> tuple[Array, Array]:
        """Return weighted sums of features as tables.

        Parameters
        ----------
        weights : (s, P)

        Returns
        -------
        base : (s, R)
            Term of each root.
        layers : (s, R, L, O)
            Term of each layer, if it is present, by its option.
        """
        weights = weights * self._scale
        s, n_roots = len(weights), len(self.roots)
        base = np.zeros((s, n_roots))
        sums = np.zeros((s, n_roots, self._contrasts.shape[1], self._patterns.shape[1]))
        root_codes = np.zeros((n_roots, len(self.space.columns)), dtype=np.int64)
        root_codes[:, self.root_columns] = self.roots
        # Add up the weights of each contrast and pattern, for every root ...
        for block, start in zip(self.blocks, self.starts, strict=True):
            shape = self._shape(block)
            part = weights[:, start : start + int(np.prod(shape))].reshape(s, *shape)
            part = part[
                :, self._root_index(root_codes, block.columns)
            ]  # (s, R, contrasts, patterns)
            if block.kind:
                slices = self._contrast_slices[block.kind], self._pattern_slices[block.pattern]
                sums[:, :, slices[0], slices[1]] += part
            else:
                base += part[:, :, 0, 0]
        # ... and evaluate them once for every layer and option.
        layers = (self._contrasts @ (sums @ self._patterns.T)).swapaxes(2, 3)
        return base, layers

    def codes(self, root: IndexArray, options: IndexArray) -> Codes:
        """Return the codes (n, d) of architectures with a root (n,) and layer options (n, L)."""
        raw = np.zeros((len(root), len(self.space.columns)), dtype=np.int64)
        raw[:, self.root_columns] = self.roots[root]
        raw[:, self.layers] = self.options[options]
        return self.space.canonical(raw)

    @property
    def width_name(self) -> str:
        """Name of the choice on which the effects of layers depend most; embed_dim for GPT-2."""
        return str(self.space.columns[self._width])

    def width_of(self, codes: Codes) -> IndexArray:
        """Return the width (n,) of architectures, as an index into its choices."""
        return codes[:, self._width].astype(np.intp)

    def summary(self, codes: Codes) -> Array:
        """Return a summary of architectures by few numbers from about 0 to 1, (n, k + 2c).

        The k choices outside the layers, and of each of the c choices of a layer its mean over all
        layers of the space and its trend from the first to the last. An absent layer counts as 0, a
        present one as more than 0. A choice without an order has one number for each value.
        """
        choices = layer_features(self.space, codes)
        slope = np.linspace(-1.0, 1.0, len(self.layers))[:, None]
        slope = slope - slope.mean()  # 0 for a single layer
        sums = [choices.mean(axis=1), 0.5 + 2 * (choices * slope).mean(axis=1)]
        return np.concatenate([outside_features(self.space, codes), *sums], axis=1)

    def _blocks(self, parent: int) -> tuple[Block, ...]:
        """Return the blocks that have features; `parent` is the column of ``n_layer``."""
        names, cards = self.space.columns, self.space.cardinalities
        free = [j for j in self.root_columns if cards[j] > 1]
        width = self._width if cards[self._width] > 1 else None
        blocks = []
        # Effects of layers: shared by all widths and once more by width.
        for kind in self._contrast_slices:
            shared, by_width = {
                "curved": (_CURVED, _CURVED_BY_WIDTH),
                "together": (_PRODUCT, _PRODUCT),
            }.get(kind, (_LINEAR, _LINEAR_BY_WIDTH))
            for pattern, variance in shared.items():
                blocks.append(Block(f"{kind}, {pattern}", variance, (), kind, pattern))
                if width is not None:
                    name = f"{kind}, {pattern}, {names[width]}"
                    blocks.append(Block(name, by_width[pattern], (width,), kind, pattern))
            if shared is _LINEAR:
                for j in free:
                    if j != width:
                        name = f"{kind}, {names[j]}"
                        blocks.append(Block(name, _BY_OTHER_CHOICE, (j,), kind))
        # Effects of the root: of each choice, and of each pair of choices.
        for j in free:
            blocks.append(Block(names[j], _WIDTH if j == width else _ROOT, (j,)))
        for a, b in itertools.combinations(free, 2):
            is_width_and_depth = {a, b} == {width, parent}
            variance = _WIDTH_AND_DEPTH if is_width_and_depth else _PAIR
            blocks.append(Block(f"{names[a]} x {names[b]}", variance, (a, b)))
        blocks = [block for block in blocks if np.prod(self._shape(block))]
        return tuple(blocks) or (Block("nothing to choose", _PAIR),)

    def _shape(self, block: Block) -> tuple[int, int, int]:
        """Return the numbers of combinations, contrasts and patterns of a block's features."""
        if not block.kind:
            return self._count(block.columns), 1, 1
        patterns = self._patterns[:, self._pattern_slices[block.pattern]].shape[1]
        contrasts = self._contrasts[:, self._contrast_slices[block.kind]].shape[1]
        return self._count(block.columns), contrasts, patterns

    def _count(self, columns: tuple[int, ...]) -> int:
        """Return the number of combinations of columns."""
        return int(np.prod(self.space.cardinalities[list(columns)]))

    def _root_index(self, codes: NDArray[np.integer], columns: tuple[int, ...]) -> IndexArray:
        """Return the index (n,) of each code's combination of columns."""
        return _index(codes[:, list(columns)], self.space.cardinalities[list(columns)])


def _combinations(cards: IntArray) -> IntArray:
    """Return all combinations of choices with these cardinalities, the last varying fastest."""
    return np.array(list(itertools.product(*(range(n) for n in cards.tolist()))))


def _index(choices: NDArray[np.integer], cards: IntArray) -> IndexArray:
    """Return the index (...,) of choices (..., k) in `_combinations`."""
    strides = np.append(np.cumprod(cards[:0:-1])[::-1], 1)[: len(cards)]
    return np.asarray((choices.astype(np.intp) * strides).sum(axis=-1))


def _distinct_roots(space: SearchSpace) -> tuple[IntArray, IndexArray]:
    """Return the roots (R, k), and the index of a root by the rank of its combination."""
    columns = space.global_columns
    roots = _combinations(space.cardinalities[columns])
    codes = np.zeros((len(roots), len(space.columns)), dtype=np.int8)
    codes[:, columns] = roots
    # With conditions, combinations that differ in inactive choices alone are one root.
    is_distinct = ~(codes * ~space.active(codes))[:, columns].any(axis=1)
    return roots[is_distinct], np.cumsum(is_distinct) - 1


def _distinct_options(space: SearchSpace) -> tuple[IntArray, IndexArray]:
    """Return the options (O, c) of a layer, and the index of one by the rank of its combination."""
    cards = space.cardinalities[space.layer_columns[0]]
    combinations = _combinations(cards)
    if space.options is not None:
        allowed = space.options.options.astype(np.int64)
        return allowed, space.options.index(combinations.astype(np.int8))
    options: IntArray = space.activity.distinct_layers(combinations.astype(np.int8)).astype(
        np.int64
    )
    by_rank = np.zeros(len(combinations), dtype=np.intp)
    by_rank[_index(options, cards)] = np.arange(len(options))
    return options, by_rank


def _contrasts(
    choices: list[str], cards: IntArray, ordered: BoolArray, options: IntArray
) -> tuple[Array, dict[str, slice]]:
    """Return the contrasts between a layer's options (O, K), and the columns of each kind."""
    mains = [
        contrasts_of(int(n), is_ordered)[options[:, a]]
        for a, (n, is_ordered) in enumerate(zip(cards, ordered, strict=True))
    ]
    # Choices without an order have no curved part: all their contrasts are alike.
    n_linear = [1 if o or n < 3 else n - 1 for n, o in zip(cards.tolist(), ordered, strict=True)]
    # The linear part of each choice, ...
    parts: list[tuple[str, Array]] = []
    for choice, main, k in zip(choices, mains, n_linear, strict=True):
        parts.append((choice, main[:, :k]))
    # ... the curved parts of all choices, ...
    curved = [main[:, k:] for main, k in zip(mains, n_linear, strict=True)]
    parts.append(("curved", np.concatenate(curved, axis=1)))
    # ... and the products of two choices.
    products = [
        (mains[a][:, :, None] * mains[b][:, None, :]).reshape(len(options), -1)
        for a, b in itertools.combinations(range(len(mains)), 2)
    ]
    if products:
        parts.append(("together", np.concatenate(products, axis=1)))
    slices, columns, start = {}, [], 0
    for name, part in parts:
        if part.shape[1]:
            slices[name] = slice(start, start + part.shape[1])
            columns.append(part)
            start += part.shape[1]
    return np.concatenate([np.zeros((len(options), 0)), *columns], axis=1), slices


def _patterns(depth: int) -> tuple[Array, dict[str, slice]]:
    """Return the patterns over layers (L, Q), and the columns of each kind."""
    position = np.linspace(0, 1, depth)
    covariance = np.exp(-0.5 * ((position[:, None] - position) / _SMOOTH_LENGTH) ** 2)
    # Smooth patterns: leading eigenvectors of a squared-exponential kernel of mean 0.
    centering = np.eye(depth) - 1 / depth
    values, vectors = np.linalg.eigh(centering @ covariance @ centering)
    leading = np.argsort(-values)[: min(_SMOOTH_RANK, depth - 1)]
    smooth = vectors[:, leading] * np.sqrt(np.maximum(values[leading], 0))
    smooth *= np.where(smooth[-1] < 0, -1.0, 1.0)  # an eigenvector's sign depends on the library
    end = 1 + smooth.shape[1]
    slices = {"all": slice(0, 1), "smooth": slice(1, end), "each": slice(end, end + depth)}
    return np.concatenate([np.ones((depth, 1)), smooth, np.eye(depth)], axis=1), slices


def typical_codes(space: SearchSpace) -> Codes:
    """Return random architectures, every second of them with all layers alike."""
    codes = space.sample(400, np.random.default_rng(0))
    for layer in space.layer_columns[1:]:
        codes[::2, layer] = codes[::2, space.layer_columns[0]]
    return space.canonical(codes)
