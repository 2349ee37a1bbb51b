"""Mutation of one choice, for many architectures at a time."""

from __future__ import annotations

import numpy as np

from hwnas.spaces import SearchSpace
from hwnas.typing import Codes


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
    n_moves = space.active(codes) * (space.cardinalities - 1)  # (n, d)
    cumulative = n_moves.cumsum(axis=1)
    number = rng.integers(0, cumulative[:, -1])
    # The number's column, and its rank within the column, which shifts the choice.
    column = (cumulative <= number[:, None]).sum(axis=1)
    row = np.arange(len(codes))
    shift = 1 + number - (cumulative - n_moves)[row, column]
    # The shift is cyclic and at least 1, so that the choice always changes.
    out = _fill_absent_layers(space, codes)
    out[row, column] = (out[row, column] + shift) % space.cardinalities[column]
    return space.canonical(out)


def _fill_absent_layers(space: SearchSpace, codes: Codes) -> Codes:
    """Return a copy with the last present layer repeated in the absent ones.

    A mutation that deepens an architecture thus adds copies of its last layer.
    """
    layers = np.array([group.columns for group in space.groups], dtype=np.intp)  # (L, choices)
    depth = space.active(codes)[:, layers[:, 0]].sum(axis=1)
    source = np.minimum(np.arange(len(layers)), depth[:, None] - 1)  # (n, L)
    out = codes.copy()
    out[:, layers] = codes[np.arange(len(codes))[:, None, None], layers[source]]
    return out
