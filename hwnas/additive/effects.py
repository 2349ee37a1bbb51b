"""What layers and the choices around them add to an objective, as features of networks.

Within one ``embed_dim``, perplexity, latency, energy and memory of a network are nearly sums over
its layers, and what a layer adds is much like what its neighbours and other widths' layers add. So
an objective is modelled as a weighted sum of *effects*, each a block of features whose weights have
one prior variance: a choice's effect that all layers share, what departs from it smoothly over the
layers, what is a single layer's own; each once for all widths and once more for every width. How
much of each there is, the variances, are learned (`hwnas.additive.variance_components`).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwnas.spaces import Codes, SearchSpace
from hwnas.typing import Array

_LENGTH, _RANK = 0.25, 5  # of what is smooth over layers: length in depths, and how many patterns

# Prior variances where an objective has variance 1. They only have to be of the right order: those
# that perplexities, latencies and energies of GPT-2-family networks lead to.
_LINEAR = {"all": 1e-2, "smooth": 1e-4, "each": 5e-5}
_LINEAR_OWN = {"all": 1e-3, "smooth": 3e-5, "each": 3e-5}
_CURVED = {"all": 5e-4, "each": 3e-5}
_CURVED_OWN = {"all": 1e-4, "each": 3e-5}
_TOGETHER = {"all": 1e-5}
_OTHER_OWN = 1e-5
_WIDTH, _ROOT, _WIDTH_AND_DEPTH, _PAIR = 1.0, 1e-2, 1e-3, 1e-4


@dataclass(frozen=True, slots=True)
class Block:
    """An effect: features with one prior variance.

    Attributes
    ----------
    name
        For people: which choice, over which layers, of which width.
    variance
        What weights begin with.
    columns
        Columns of a code outside the layers whose every combination has weights of its own.
    kind
        Which contrasts between a layer's options; none where no layer takes part.
    pattern
        Which patterns over layers: ``"all"`` alike, ``"smooth"``, ``"each"`` on its own.
    """

    name: str
    variance: float
    columns: tuple[int, ...] = ()
    kind: str = ""
    pattern: str = "all"


class Effects:
    """Features of the networks of a space, block by block.

    Parameters
    ----------
    space
        Whose networks.

    Attributes
    ----------
    roots : (R, k) int64
        Every combination of the k columns outside the layers.
    options : (O, c) int64
        Every combination of a layer's c columns.
    present : (R, L) bool
        Which layers a network of each root has.
    blocks : tuple of Block
    starts : (len(blocks),) intp
        Where each block's features begin.
    size : int
        How many features there are, P.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        cards = space.cardinalities
        self.layers = np.array([group.columns for group in space.groups])  # (L, c)
        inside = set(self.layers.ravel().tolist())
        self.outside = [j for j in range(len(space.columns)) if j not in inside]
        self.roots = _product(cards[self.outside])
        self.options = _product(cards[self.layers[0]])
        parent = space.groups[0].parent
        depth = self.roots[:, [self.outside.index(parent)]]
        self.present = np.array([np.isin(depth[:, 0], group.when) for group in space.groups]).T
        choices = [space.columns[j].removesuffix("_0") for j in self.layers[0]]
        self._contrasts, self._contrast_at = _contrasts(choices, cards[self.layers[0]])  # (O, K)
        self._patterns, self._pattern_at = _patterns(len(self.layers))  # (L, Q)
        # The choice that layers' effects depend on most: of GPT-2's, embed_dim.
        self._width = max((j for j in self.outside if j != parent), key=lambda j: cards[j])
        self.blocks = self._blocks(parent)
        sizes = [self._shape(block) for block in self.blocks]
        ends = np.cumsum([int(np.prod(shape)) for shape in sizes])
        self.starts = np.concatenate([[0], ends[:-1]]).astype(np.intp)
        self.size = int(ends[-1])
        # In units in which a block adds as much to a typical network's variance as its prior says.
        self._scale = np.ones(self.size)
        squares = np.add.reduceat((self(_typical(space)) ** 2).mean(axis=0), self.starts)
        per_block = 1 / np.sqrt(np.where(squares > 0, squares, 1.0))
        self._scale = np.repeat(per_block, np.diff([*self.starts, self.size]))

    def __call__(self, codes: Codes) -> Array:
        """Features (n, P) of canonical codes (n, d)."""
        n = len(codes)
        root = self._combination(codes, tuple(self.outside))
        option = _index(codes[:, self.layers], self.space.cardinalities[self.layers[0]])
        chosen = self._contrasts[option] * self.present[root][:, :, None]  # (n, L, K)
        summed = np.swapaxes(chosen, 1, 2) @ self._patterns  # (n, K, Q)
        parts = []
        for block in self.blocks:
            part = np.ones((n, 1))
            if block.kind:
                part = summed[:, self._contrast_at[block.kind], self._pattern_at[block.pattern]]
                part = part.reshape(n, -1)
            if block.columns:
                which = np.eye(self._combinations(block.columns))
                which = which[self._combination(codes, block.columns)]
                part = (which[:, :, None] * part[:, None, :]).reshape(n, -1)
            parts.append(part)
        return np.concatenate(parts, axis=1) * self._scale

    def tables(self, weights: Array) -> tuple[Array, Array]:
        """Weighted sums as tables.

        Parameters
        ----------
        weights : (s, P)

        Returns
        -------
        base : (s, R)
            What each root adds once.
        layers : (s, R, L, O)
            What each layer adds, were it present, by its option.
        """
        weights = weights * self._scale
        s, roots = len(weights), len(self.roots)
        base = np.zeros((s, roots))
        summed = np.zeros((s, roots, self._contrasts.shape[1], self._patterns.shape[1]))
        places = np.zeros((roots, len(self.space.columns)), dtype=np.int64)
        places[:, self.outside] = self.roots
        for block, start in zip(self.blocks, self.starts, strict=True):
            shape = self._shape(block)
            own = weights[:, start : start + int(np.prod(shape))].reshape(s, *shape)
            own = own[:, self._combination(places, block.columns)]  # (s, R, contrasts, patterns)
            if block.kind:
                at = self._contrast_at[block.kind], self._pattern_at[block.pattern]
                summed[:, :, at[0], at[1]] += own
            else:
                base += own[:, :, 0, 0]
        layers = (self._contrasts @ (summed @ self._patterns.T)).swapaxes(2, 3)
        return base, layers

    def codes(self, root: NDArray[np.intp], options: NDArray[np.intp]) -> Codes:
        """Codes (n, d) of networks with a root (n,) and an option of each layer (n, L)."""
        raw = np.zeros((len(root), len(self.space.columns)), dtype=np.int64)
        raw[:, self.outside] = self.roots[root]
        raw[:, self.layers] = self.options[options]
        return self.space.canonical(raw)

    def width_of(self, codes: Codes) -> NDArray[np.intp]:
        """The choice of each network (n,) on which its layers' effects depend most."""
        return codes[:, self._width].astype(np.intp)

    def summary(self, codes: Codes) -> Array:
        """What sums networks up, in few numbers between about 0 and 1, (n, k + 2c).

        The choices outside the layers, and of each choice of the layers its mean over all that the
        space has and how it leans from the first to the last; an absent layer counts as nothing, a
        present one as a little at least.
        """
        scaled = codes / np.maximum(self.space.cardinalities - 1, 1)
        root = self._combination(codes, tuple(self.outside))
        chosen = self.present[root][:, :, None] * (scaled[:, self.layers] + 0.5) / 1.5
        lean = np.linspace(-1.0, 1.0, len(self.layers))[:, None]
        lean = lean - lean.mean()  # a single layer leans nowhere
        means = [chosen.mean(axis=1), 0.5 + 2 * (chosen * lean).mean(axis=1)]
        return np.concatenate([scaled[:, self.outside], *means], axis=1)

    def _blocks(self, parent: int) -> tuple[Block, ...]:
        names, cards = self.space.columns, self.space.cardinalities
        free = [j for j in self.outside if cards[j] > 1]
        width = self._width if cards[self._width] > 1 else None
        others = [j for j in free if j != width]
        blocks = []
        for kind in self._contrast_at:
            shared, own = {
                "curved": (_CURVED, _CURVED_OWN),
                "together": (_TOGETHER, _TOGETHER),
            }.get(kind, (_LINEAR, _LINEAR_OWN))
            for pattern, variance in shared.items():
                blocks.append(Block(f"{kind}, {pattern}", variance, (), kind, pattern))
                if width is not None:
                    text = f"{kind}, {pattern}, {names[width]}"
                    blocks.append(Block(text, own[pattern], (width,), kind, pattern))
            if shared is _LINEAR:
                for j in others:
                    blocks.append(Block(f"{kind}, {names[j]}", _OTHER_OWN, (j,), kind))
        for j in free:
            blocks.append(Block(names[j], _WIDTH if j == width else _ROOT, (j,)))
        for a, b in itertools.combinations(free, 2):
            depth = {a, b} == {width, parent}
            variance = _WIDTH_AND_DEPTH if depth else _PAIR
            blocks.append(Block(f"{names[a]} x {names[b]}", variance, (a, b)))
        blocks = [block for block in blocks if np.prod(self._shape(block))]
        return tuple(blocks) or (Block("nothing to choose", _PAIR),)

    def _shape(self, block: Block) -> tuple[int, int, int]:
        """Combinations, contrasts and patterns of a block's features."""
        if not block.kind:
            return self._combinations(block.columns), 1, 1
        patterns = self._patterns[:, self._pattern_at[block.pattern]].shape[1]
        contrasts = self._contrasts[:, self._contrast_at[block.kind]].shape[1]
        return self._combinations(block.columns), contrasts, patterns

    def _combinations(self, columns: tuple[int, ...]) -> int:
        return int(np.prod(self.space.cardinalities[list(columns)]))

    def _combination(
        self, codes: NDArray[np.integer], columns: tuple[int, ...]
    ) -> NDArray[np.intp]:
        """Which combination of some columns each code has, (n,)."""
        return _index(codes[:, list(columns)], self.space.cardinalities[list(columns)])


def _product(cards: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.array(list(itertools.product(*(range(n) for n in cards.tolist()))))


def _index(choices: NDArray[np.integer], cards: NDArray[np.int64]) -> NDArray[np.intp]:
    """Place (...,) of choices (..., k) in the order of `_product`."""
    steps = np.append(np.cumprod(cards[:0:-1])[::-1], 1)[: len(cards)]
    return np.asarray((choices.astype(np.intp) * steps).sum(axis=-1))


def _contrasts(choices: list[str], cards: NDArray[np.int64]) -> tuple[Array, dict[str, slice]]:
    """Contrasts between a layer's options (O, K), and which of them are of what kind."""
    options = _product(cards)
    mains = [_polynomials(int(n))[options[:, a]] for a, n in enumerate(cards)]
    parts: list[tuple[str, Array]] = []
    for choice, main in zip(choices, mains, strict=True):
        parts.append((choice, main[:, :1]))
    parts.append(("curved", np.concatenate([main[:, 1:] for main in mains], axis=1)))
    products = [
        (mains[a][:, :, None] * mains[b][:, None, :]).reshape(len(options), -1)
        for a, b in itertools.combinations(range(len(mains)), 2)
    ]
    if products:
        parts.append(("together", np.concatenate(products, axis=1)))
    kinds, columns, start = {}, [], 0
    for name, part in parts:
        if part.shape[1]:
            kinds[name] = slice(start, start + part.shape[1])
            columns.append(part)
            start += part.shape[1]
    return np.concatenate([np.zeros((len(options), 0)), *columns], axis=1), kinds


def _polynomials(n: int) -> Array:
    """Orthogonal polynomials over n ordered choices but the constant, (n, n - 1), at most 1."""
    powers = np.vander(np.linspace(-1, 1, n), n, increasing=True)
    columns = np.linalg.qr(powers)[0][:, 1:]
    largest = np.abs(columns).max(axis=0, initial=1e-300)
    return np.asarray(columns / largest * np.sign(columns[-1]))


def _patterns(depth: int) -> tuple[Array, dict[str, slice]]:
    """Patterns over layers (L, Q), and which of them are of what kind."""
    at = np.linspace(0, 1, depth)
    near = np.exp(-0.5 * ((at[:, None] - at) / _LENGTH) ** 2)
    centred = np.eye(depth) - 1 / depth
    values, vectors = np.linalg.eigh(centred @ near @ centred)
    most = np.argsort(-values)[: min(_RANK, depth - 1)]
    smooth = vectors[:, most] * np.sqrt(np.maximum(values[most], 0))
    smooth *= np.where(smooth[-1] < 0, -1.0, 1.0)  # an eigenvector's sign is the library's whim
    ends = 1 + smooth.shape[1]
    kinds = {"all": slice(0, 1), "smooth": slice(1, ends), "each": slice(ends, ends + depth)}
    return np.concatenate([np.ones((depth, 1)), smooth, np.eye(depth)], axis=1), kinds


def _typical(space: SearchSpace) -> Codes:
    """Networks at random, every second of them with all layers alike."""
    codes = space.sample(400, np.random.default_rng(0))
    for group in space.groups[1:]:
        codes[::2, list(group.columns)] = codes[::2, list(space.groups[0].columns)]
    return space.canonical(codes)
