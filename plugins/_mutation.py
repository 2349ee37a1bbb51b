"""Mutation of one choice, for many architectures at a time."""

from __future__ import annotations

import numpy as np

from hwnas.spaces import SearchSpace
from hwnas.typing import Codes, IntArray


def mutate_one(space: SearchSpace, codes: Codes, rng: np.random.Generator) -> Codes:
    """Return a random neighbour of each architecture, all of them equally likely.

    Parameters
    ----------
    space
        Search space of at least two architectures; see `SearchSpace.neighbours`.
    codes : (n, d) int8
        Valid codes.
    rng
        Source of randomness.

    Returns
    -------
    (n, d) int8
        Each row differs from that of `codes`.

    Examples
    --------
    >>> import hwnas
    >>> space, rng = hwnas.space("gpt-s"), np.random.default_rng(0)
    >>> code = space.sample(1, rng)
    >>> mutate_one(space, code, rng)[0].tolist() in space.neighbours(code[0]).tolist()
    True
    """
    # Number the neighbours of an architecture column by column, and draw one number.
    n_moves = _count_moves(space, codes)  # (n, d)
    cumulative = n_moves.cumsum(axis=1)
    number = rng.integers(0, cumulative[:, -1])
    # The number's column, and its rank within the column, which shifts the choice.
    column = (cumulative <= number[:, None]).sum(axis=1)
    row = np.arange(len(codes))
    rank = number - (cumulative - n_moves)[row, column]
    # The shift is cyclic and at least 1, so that the choice always changes.
    out = _fill_absent_layers(space, codes)
    shifted = (out[row, column] + 1 + rank) % space.cardinalities[column]
    if space.options is None:
        out[row, column] = shifted
    else:
        is_outside = np.isin(column, space.global_columns)
        out[row[is_outside], column[is_outside]] = shifted[is_outside]
        # A layer's column stands for the layer: its rank is that of a neighbouring option.
        for i in np.flatnonzero(~is_outside):
            layer = space.layer_columns[(space.layer_columns[:, 0] == column[i]).argmax()]
            neighbours = space.options.neighbours[int(space.options.index(codes[i, layer]))]
            out[i, layer] = space.options.options[neighbours[rank[i]]]
    return space.canonical(out)


def _count_moves(space: SearchSpace, codes: Codes) -> IntArray:
    """Return the number of neighbours (n, d) by the column that a mutation changes.

    Where only some combinations of a layer's choices are allowed, they are counted in its first
    column.
    """
    active = space.active(codes)
    n_moves = active * (space.cardinalities - 1)
    if space.options is not None:
        degrees = np.array([len(indices) for indices in space.options.neighbours])
        layers = space.layer_columns
        n_options = degrees[space.options.index(codes[:, layers])]  # (n, L)
        n_moves[:, layers] = 0
        n_moves[:, layers[:, 0]] = n_options * active[:, layers].any(axis=2)
    return np.asarray(n_moves)


def _fill_absent_layers(space: SearchSpace, codes: Codes) -> Codes:
    """Return a copy with the last present layer repeated in the absent ones.

    A mutation that deepens an architecture thus adds copies of its last layer.
    """
    layers = space.layer_columns  # (L, choices)
    out = codes.copy()
    if space.depth_column is None or layers.size == 0:
        return out
    depth = space.depths[codes[:, space.depth_column]]
    # Without a layer to repeat, absent ones have their first choices already.
    source = np.minimum(np.arange(len(layers)), np.maximum(depth - 1, 0)[:, None])  # (n, L)
    out[:, layers] = codes[np.arange(len(codes))[:, None, None], layers[source]]
    return out
