"""Terms of a hardware metric: sums over layers whose coefficients depend on the width.

Within one width (``embed_dim``) a metric is modelled as a weighted sum of *terms*: 1, the other
choices outside the layers, and sums over the layers of the number of layers, the size of the MLP,
the heads, and their squares and products, each also with a trend from the first layer to the last.
These are followed by *free* terms: one for each layer and contrast of a layer's choices, for what
no smooth function of the layer describes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hwnas.additive.effects import Effects
from hwnas.errors import InvalidInput
from hwnas.spaces import SearchSpace
from hwnas.surrogates.layer_layout import LayerLayout
from hwnas.surrogates.tables import AdditiveTable
from hwnas.typing import Array, Codes, IndexArray, IntArray

_CHUNK = 4096  # architectures whose layers are looked up together


@dataclass(frozen=True)
class Term:
    """A term of the model.

    Attributes
    ----------
    name
        Readable name: ``"1"``, ``"layers"``, ``"mlp_ratio"``, ``"n_head^2"``, ``"bias x layers"``.
    kind
        ``"constant"``, ``"layers"``, ``"choice"`` of a layer, ``"outside"`` the layers,
        ``"outside x layers"``, ``"curved"``, ``"trend"`` or ``"free"``.
    """

    name: str
    kind: str


class Terms:
    """Terms of the architectures of a space with layers.

    Parameters
    ----------
    space
        A search space with layers; its first column is the width.

    Attributes
    ----------
    widths : (E,) float64
        Values of the width, or 1 to E where they are texts.
    terms : tuple of K Term
        Those of kind ``"free"`` come last, contrasts within layers.
    contrasts : (O, Q)
        Contrasts of each option of a layer: orthonormal ones for each of its choices.

    Raises
    ------
    InvalidInput
        The space has no layers.

    Examples
    --------
    >>> import hwnas
    >>> terms = Terms(hwnas.space("gpt-s"))
    >>> [term.name for term in terms.terms][:5]
    ['1', 'bias', 'layers', 'mlp_ratio', 'n_head']
    """

    def __init__(self, space: SearchSpace) -> None:
        if space.depth_column is None or not len(space.layer_columns):
            raise InvalidInput(
                f"space {space.name!r}: expected layers and a number of layers, found none; tables "
                "are sums over layers"
            )
        self.space = space
        self._effects = Effects(space)
        self._depth = space.depth_column
        self._outside = [j for j in space.global_columns.tolist() if j not in (0, self._depth)]
        self._has_width = self._depth != 0
        n_widths = int(space.cardinalities[0]) if self._has_width else 1
        widths = next(iter(space.choices.values()))
        is_number = self._has_width and not isinstance(widths[0], str)
        self.widths: Array = np.array(
            [float(w) for w in widths] if is_number else range(1, n_widths + 1), dtype=np.float64
        )
        smooth, self._layer_terms = self._name_terms()
        names, self.contrasts = self._name_contrasts()
        n_layers = len(space.layer_columns)
        free = [Term(f"{a}, layer {i + 1}", "free") for i in range(n_layers) for a in names]
        self.n_smooth = len(smooth)
        self.terms: tuple[Term, ...] = (*smooth, *free)

    def __len__(self) -> int:
        return len(self.terms)

    def width_of(self, codes: NDArray[np.integer]) -> IndexArray:
        """Return the index (n,) of each architecture's width."""
        first = np.asarray(codes)[:, 0].astype(np.intp)
        return first if self._has_width else np.zeros_like(first)

    def __call__(self, codes: Codes) -> Array:
        """Return the terms (n, K) of canonical codes (n, d)."""
        parts = [self._sums(codes[i : i + _CHUNK]) for i in range(0, len(codes), _CHUNK)]
        return np.concatenate([np.empty((0, len(self))), *parts])

    def tables(self, coefficients: Array) -> tuple[Array, Array]:
        """Return the tables of coefficients.

        Parameters
        ----------
        coefficients : (E, K)
            Of the terms at each width.

        Returns
        -------
        base : (R,)
            Term of each root of `hwnas.additive.effects.Effects`.
        layers : (R, L, O)
            Term of each layer by its option.
        """
        roots = np.zeros((len(self._effects.roots), len(self.space.columns)), dtype=np.int64)
        roots[:, self._effects.root_columns] = self._effects.roots
        own = coefficients[self.width_of(roots)]  # (R, K)
        n_base = 1 + len(self._outside)
        base = (self._root_terms(roots) * own[:, :n_base]).sum(axis=1)
        smooth, free = own[:, n_base : self.n_smooth], own[:, self.n_smooth :]
        layers = np.einsum("rlok,rk->rlo", self._layer_values(roots), smooth)
        # A free term is that of one layer.
        n_layers, n_contrasts = len(self.space.layer_columns), self.contrasts.shape[1]
        free = free.reshape(len(roots), n_layers, n_contrasts) / n_layers
        return base, layers + free @ self.contrasts.T

    def table(self, coefficients: Array) -> AdditiveTable:
        """Return the table of coefficients (E, K), by the packed codes of `layout`."""
        base, layers = self.tables(coefficients)
        n_first = int(self.space.cardinalities[self.space.layer_columns[0, 0]])
        options = self._effects._option_by_rank.reshape(n_first, -1)
        roots = self.root_grid
        own = layers[roots][..., options]
        return AdditiveTable(self.space.depths, base[roots], own, self.layout.allowed)

    @cached_property
    def layout(self) -> LayerLayout:
        """Conversion between codes of the space and those of tables."""
        return LayerLayout(self.space)

    @cached_property
    def root_grid(self) -> IndexArray:
        """Root (E, D, B) of each width, depth and combination of the other choices outside."""
        columns = self.space.global_columns.tolist()
        cards = self.space.cardinalities[columns].tolist()
        grid = self._effects._root_by_rank.reshape(cards)
        grid = np.moveaxis(grid, columns.index(self._depth), 0)
        grid = np.moveaxis(grid, 1, 0) if self._has_width else grid[None]
        return np.asarray(grid.reshape(len(self.widths), len(self.space.depths), -1))

    def _root_of(self, codes: NDArray[np.integer]) -> IndexArray:
        return self._effects.root_of(codes.astype(np.int8))

    def _name_terms(self) -> tuple[tuple[Term, ...], Array]:
        """Return the terms, and the values (O, q) that are summed over layers."""
        space, options = self.space, self._effects.options
        outside = [space.columns[j] for j in self._outside]
        terms = [Term("1", "constant"), *(Term(name, "outside") for name in outside)]
        names, columns = ["layers"], [np.ones(len(options))]
        kinds = ["layers"]
        for a, (name, values) in enumerate(space.layers.items()):
            value = _scaled(values)[options[:, a]]
            names, columns, kinds = [*names, name], [*columns, value], [*kinds, "choice"]
        n = len(columns)
        for a in range(1, n):
            for b in range(a, n):
                product = _centred(columns[a]) * _centred(columns[b])
                if product.std() > 0 and not _is_dependent(product, columns):
                    names.append(f"{names[a]} x {names[b]}")
                    columns.append(product)
                    kinds.append("curved")
        terms += [Term(name, kind) for name, kind in zip(names, kinds, strict=True)]
        terms += [Term(f"{name}, trend", "trend") for name in names[1:n]]
        terms += [Term(f"{name} x layers", "outside x layers") for name in outside]
        terms += [Term("layers^2", "curved")]
        self._n_linear = n
        return tuple(terms), np.stack(columns, axis=1)

    def _name_contrasts(self) -> tuple[list[str], Array]:
        """Return names (Q,) of contrasts of a layer's choices, and their values (O, Q)."""
        names: list[str] = []
        columns = [np.empty((len(self._effects.options), 0))]
        for a, (name, values) in enumerate(self.space.layers.items()):
            n = len(values)
            # The orthogonal complement of the constant: the sum over all values is 0.
            basis = np.linalg.qr(np.c_[np.ones(n), np.eye(n)[:, 1:]])[0][:, 1:]  # (V, V - 1)
            names += [f"{name} {k + 1}" for k in range(n - 1)]
            columns.append(basis[self._effects.options[:, a].astype(np.intp)])
        return names, np.concatenate(columns, axis=1)

    def _root_terms(self, codes: NDArray[np.integer]) -> Array:
        columns = [np.ones(len(codes))]
        choices = list(self.space.choices.values())
        columns += [_scaled(choices[j])[codes[:, j].astype(np.intp)] for j in self._outside]
        return np.stack(columns, axis=1)

    @cached_property
    def _trend(self) -> Array:
        n = len(self.space.layer_columns)
        return np.linspace(-1.0, 1.0, n) if n > 1 else np.zeros(1)

    def _layer_values(self, roots: IntArray) -> Array:
        """Return what each layer adds to the terms after those of the root, (R, L, O, k)."""
        n_layers, n_options = len(self.space.layer_columns), len(self._effects.options)
        values = np.broadcast_to(
            self._layer_terms, (len(roots), n_layers, n_options, self._layer_terms.shape[1])
        )
        centred = self._layer_terms[:, 1 : self._n_linear] - self._means[1 : self._n_linear]
        trend = self._trend[:, None, None] * centred  # (L, O, c)
        trend = np.broadcast_to(trend, (len(roots), *trend.shape))
        outside = self._root_terms(roots)[:, 1:]
        outside = np.broadcast_to(
            outside[:, None, None], (len(roots), n_layers, n_options, outside.shape[1])
        )
        bend = np.broadcast_to(
            self._bend(roots)[:, None, None, None], (len(roots), n_layers, n_options, 1)
        )
        return np.concatenate([values, trend, outside, bend], axis=3) / n_layers

    @cached_property
    def _means(self) -> Array:
        return np.asarray(self._layer_terms.mean(axis=0))

    def _bend(self, codes: NDArray[np.integer]) -> Array:
        """Return what a layer adds to the square of the number of layers, about its middle."""
        depths = self.space.depths / self.space.depths[-1]
        middle = (depths[0] + depths[-1]) / 2
        return np.asarray((depths - middle) ** 2 / depths)[codes[:, self._depth].astype(np.intp)]

    def _sums(self, codes: Codes) -> Array:
        codes = np.asarray(codes).astype(np.intp)
        root = self._root_of(codes)
        present = self._effects.present[root]  # (n, L)
        option = self.option_of(codes)
        values = self._layer_terms[option] * present[:, :, None]  # (n, L, q)
        sums = values.sum(axis=1)
        linear = slice(1, self._n_linear)
        centred = values[:, :, linear] - self._means[linear] * present[:, :, None]
        trend = np.einsum("nlc,l->nc", centred, self._trend)
        outside = self._root_terms(codes)
        depth = present.sum(axis=1, keepdims=True)
        n_layers = present.shape[1]
        free = (self.contrasts[option] * present[:, :, None]).reshape(len(codes), -1)
        layers = [sums, trend, outside[:, 1:] * depth, self._bend(codes)[:, None] * depth, free]
        return np.concatenate([outside, np.concatenate(layers, axis=1) / n_layers], axis=1)

    def option_of(self, codes: NDArray[np.integer]) -> IndexArray:
        """Return the option (n, L) of each layer, an index into the allowed combinations."""
        cards = self.space.cardinalities[self.space.layer_columns[0]]
        strides = np.append(np.cumprod(cards[:0:-1])[::-1], 1)
        rank = (codes[:, self.space.layer_columns].astype(np.intp) * strides).sum(axis=-1)
        return np.asarray(self._effects._option_by_rank[rank])


def _scaled(values: tuple[object, ...]) -> Array:
    """Return values divided by the greatest, texts by their index."""
    is_text = isinstance(values[0], str)
    numbers = np.array(range(len(values)) if is_text else values, dtype=np.float64)
    return np.asarray(numbers / (np.abs(numbers).max() or 1.0))


def _centred(column: Array) -> Array:
    spread = float(np.ptp(column)) or 1.0
    return np.asarray((column - (column.max() + column.min()) / 2) / spread)


def _is_dependent(column: Array, others: list[Array]) -> bool:
    design = np.stack(others, axis=1)
    rest = column - design @ np.linalg.lstsq(design, column, rcond=None)[0]
    return bool(np.abs(rest).max() < 1e-9)
