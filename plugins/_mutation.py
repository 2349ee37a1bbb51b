"""One choice of a network changed, many networks at a time."""

from __future__ import annotations

import numpy as np

from hwnas.spaces import Codes, SearchSpace


def stepped(space: SearchSpace, codes: Codes, rng: np.random.Generator) -> Codes:
    """For each network one of `SearchSpace.neighbours`, all of them equally likely.

    Parameters
    ----------
    codes : (n, d) int8
        Valid codes, of a space of at least two networks.

    Returns
    -------
    (n, d) int8, none its own start
    """
    moves = space.active(codes) * (space.cardinalities - 1)  # (n, d)
    upto = moves.cumsum(axis=1)
    drawn = rng.integers(0, upto[:, -1])
    column = (upto <= drawn[:, None]).sum(axis=1)
    row = np.arange(len(codes))
    shift = 1 + drawn - (upto - moves)[row, column]
    out = _deepened(space, codes)
    out[row, column] = (out[row, column] + shift) % space.cardinalities[column]
    return space.canonical(out)


def _deepened(space: SearchSpace, codes: Codes) -> Codes:
    """A copy in which the layers that are not there repeat the last that is."""
    layers = np.array([group.columns for group in space.groups], dtype=np.intp)  # (L, choices)
    depth = space.active(codes)[:, layers[:, 0]].sum(axis=1)
    source = np.minimum(np.arange(len(layers)), depth[:, None] - 1)  # (n, L)
    out = codes.copy()
    out[:, layers] = codes[np.arange(len(codes))[:, None, None], layers[source]]
    return out
