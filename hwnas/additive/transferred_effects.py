"""What an earlier search has learned of layers, as features of another space or metric.

The terms of an earlier model, of the same metric on another device or on another space of the
family, are a guess at those here: layers that matter in a small network matter at the same relative
depth of a large one. Each part of the guess is one feature, whose weight the observations decide:
the sum of the terms outside the layers, and the sum of the terms of each choice of a layer, once
for all widths and once more for every width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwnas.additive.effects import Block, Effects
from hwnas.additive.extended_effects import ExtendedEffects
from hwnas.additive.model import AdditiveModel
from hwnas.errors import InvalidInput
from hwnas.spaces import SearchSpace
from hwnas.typing import Array, Codes, IndexArray, IntArray

# Prior variances for an objective of variance 1: terms outside the layers, of a choice of layers,
# and of such a choice once more for every width.
_ROOT, _CHOICE, _CHOICE_BY_WIDTH = 1.0, 1e-2, 1e-3


@dataclass(frozen=True)
class Terms:
    """Terms of a sum over layers: of each root (R,), and of each layer's options (R, L, O)."""

    base: Array
    layers: Array


class TransferredEffects(ExtendedEffects):
    """Effects of a space with layers, and behind them the terms of an earlier model.

    Parameters
    ----------
    plain
        Effects of the space.
    terms
        Terms of the earlier model in this space, see `transfer_terms`.

    Examples
    --------
    >>> import hwnas
    >>> plain = Effects(hwnas.space("gpt-s"))
    >>> terms = Terms(np.zeros(len(plain.roots)), np.zeros((len(plain.roots), 12, 9)))
    >>> effects = TransferredEffects(plain, terms)
    >>> [block.name for block in effects.blocks[len(plain.blocks):]][:2]
    ['earlier, outside the layers', 'earlier, mlp_ratio']
    """

    def __init__(self, plain: Effects, terms: Terms) -> None:
        present = plain.present[:, :, None]
        layers = terms.layers * present
        means = layers.mean(axis=2, keepdims=True)  # over options
        # Parts: outside the layers, with the mean option of every layer; then each choice's terms.
        root = terms.base + means[:, :, 0].sum(axis=1)
        self._root = root - root.mean()
        self._parts = _main_effects(plain.options, (layers - means) * present)
        names = [plain.space.columns[j].removesuffix("_0") for j in plain.layers[0]]
        blocks, sizes = [Block("earlier, outside the layers", _ROOT)], [1]
        for name in names:
            blocks.append(Block(f"earlier, {name}", _CHOICE))
            sizes.append(1)
            if plain.n_widths > 1:
                blocks.append(Block(f"earlier, {name}, {plain.width_name}", _CHOICE_BY_WIDTH))
                sizes.append(plain.n_widths)
        super().__init__(plain, blocks, sizes)

    def own_features(self, codes: Codes) -> Array:
        """Return the sums (n, q) of the earlier terms, part by part."""
        root = self.basic.root_of(codes)
        options, _ = self.basic.layer_options(codes)
        parts = [self._root[root][:, None]]
        indicators = np.eye(self.basic.n_widths)[self.width_of(codes)]
        for terms in self._parts:
            each = terms[root[:, None], np.arange(options.shape[1]), options]  # (n, L)
            total = each.sum(axis=1, keepdims=True)
            parts.append(total)
            if self.basic.n_widths > 1:
                parts.append(indicators * total)
        return np.concatenate(parts, axis=1)

    def own_tables(self, weights: Array) -> tuple[Array, Array]:
        """Return weighted sums of the earlier terms as tables, see `Effects.tables`."""
        base = weights[:, :1] * self._root
        layers = np.zeros((len(weights), *self._parts[0].shape))
        n_widths, start = self.basic.n_widths, 1
        for terms in self._parts:
            slope = np.repeat(weights[:, start : start + 1], len(self._root), axis=1)  # (s, R)
            start += 1
            if n_widths > 1:
                slope = slope + weights[:, start : start + n_widths][:, self.basic.root_widths]
                start += n_widths
            layers += slope[:, :, None, None] * terms
        return base, layers


def transfer_terms(model: AdditiveModel, target: Effects) -> Terms:
    """Return the terms of a model in another space of its family, or in its own.

    Choices correspond by their value if both spaces have all values of the target, otherwise by
    their rank; layers by their relative depth.

    Raises
    ------
    InvalidInput
        The spaces have other choices.
    """
    source = model.effects.basic
    if not isinstance(source, Effects):
        raise InvalidInput(f"{source.space.name}: expected a space with layers")
    base, layers = (table[0] for table in model.effects.tables(model.weights[None]))
    if source.space.to_dict() == target.space.to_dict():
        return Terms(base, layers)
    columns = matching_columns(source.space, target.space)
    # Roots and options of the source that correspond to those of the target.
    roots = _corresponding(source.roots, target.roots, [columns[j] for j in target.root_columns])
    options = _corresponding(
        source.options, target.options, [columns[j] for j in target.layers[0].tolist()]
    )
    # Layers by their relative depth: the mean term of a layer keeps its share of the sum.
    depths = source.present.sum(axis=1)[roots] / np.maximum(target.present.sum(axis=1), 1)
    moved = _interpolated(layers[roots][:, :, options], len(target.layers))
    return Terms(base[roots], moved * depths[:, None, None])


def matching_columns(source: SearchSpace, target: SearchSpace) -> dict[int, IndexArray]:
    """Return for columns of the target the choice of the source that each choice corresponds to.

    Raises
    ------
    InvalidInput
        The spaces have other choices.
    """
    out = {}
    for kind in ("choices", "layers"):
        earlier, here = getattr(source, kind), getattr(target, kind)
        if list(earlier) != list(here):
            raise InvalidInput(
                f"{source.name} has the {kind} {', '.join(earlier) or 'none'}, {target.name} has "
                f"{', '.join(here) or 'none'}; expected the same"
            )
        for name, values in here.items():
            column = target.columns.index(name if kind == "choices" else f"{name}_0")
            known = list(earlier[name])
            if all(value in known for value in values):
                out[column] = np.array([known.index(value) for value in values], dtype=np.intp)
            elif not target.ordered[column]:
                raise InvalidInput(
                    f"{name}: {source.name} has {known}, expected all of {list(values)}"
                )
            else:
                ranks = np.linspace(0, len(known) - 1, len(values)).round().astype(np.intp)
                out[column] = ranks
    return out


def _corresponding(source: IntArray, target: IntArray, choices: list[IndexArray]) -> IndexArray:
    """Return the row of `source` (S, k) for each row of `target` (T, k), after its choices."""
    moved = np.stack([own[target[:, j]] for j, own in enumerate(choices)], axis=1)
    equal = (moved[:, None] == source).all(axis=2)  # (T, S)
    if not equal.any(axis=1).all():
        raise InvalidInput("expected spaces with the same conditions and allowed layers")
    return np.asarray(equal.argmax(axis=1))


def _interpolated(layers: Array, depth: int) -> Array:
    """Return terms (R, L, O) at another number of layers, linear in the relative depth."""
    position = np.linspace(0, layers.shape[1] - 1, depth)
    below = np.minimum(position.astype(np.intp), max(layers.shape[1] - 2, 0))
    above = np.minimum(below + 1, layers.shape[1] - 1)
    share = (position - below)[:, None]
    return np.asarray(layers[:, below] * (1 - share) + layers[:, above] * share)


def _main_effects(options: IntArray, layers: Array) -> list[Array]:
    """Return the part of terms (R, L, O), of mean 0 over options, that each choice explains."""
    parts = []
    for choice in options.T:
        same = choice[:, None] == choice  # (O, O)
        parts.append(layers @ (same / same.sum(axis=0)))
    return parts
