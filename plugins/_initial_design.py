"""Initial design of the additive model."""

from __future__ import annotations

import numpy as np

from hwnas.spaces import SearchSpace
from hwnas.typing import Codes, IntArray


def corner_design(space: SearchSpace) -> Codes:
    """Return homogeneous architectures at the corners of every width.

    For every choice of the widest column outside the layers (in GPT spaces ``embed_dim``):

    - the largest value of every choice,
    - the smallest depth and layers,
    - for each choice of a layer, its largest value and the smallest values of the others.

    The smallest and the largest width also come with the first value of every choice that is
    otherwise the last (in GPT spaces ``bias``).

    Returns
    -------
    (k, d) int8, distinct

    Examples
    --------
    >>> import hwnas
    >>> corner_design(hwnas.space("gpt-s")).shape
    (14, 27)
    """
    # The width is the choice outside the layers, besides the depth, of most values.
    top = space.cardinalities - 1
    layers = np.array([group.columns for group in space.groups])
    parent = space.groups[0].parent  # column of the depth
    outside = [j for j in range(len(top)) if j not in set(layers.ravel().tolist())]
    width_column = max((j for j in outside if j != parent), key=lambda j: top[j])
    rows = []
    for width in range(top[width_column] + 1):
        largest = top.copy()
        largest[width_column] = width
        smallest = np.zeros_like(top)
        smallest[outside] = top[outside]
        smallest[parent], smallest[width_column] = 0, width
        rows += [largest, smallest, *_single_choice_rows(largest, layers)]
    # The extremes of width, with the first value of all further choices outside the layers.
    for row, width in ((np.zeros_like(top), 0), (top.copy(), top[width_column])):
        row[[j for j in outside if j not in (parent, width_column)]] = 0
        row[width_column] = width
        row[parent] = top[parent]
        rows.append(row)
    codes = space.canonical(np.array(rows))
    # Small spaces have equal corners: only the first of them stays.
    _, first = np.unique(codes, axis=0, return_index=True)
    return codes[np.sort(first)]


def _single_choice_rows(largest: IntArray, layers: IntArray) -> list[IntArray]:
    """Return copies of a row in which all choices of the layers (L, c) but one are the smallest."""
    rows = []
    for column in range(layers.shape[1]):
        row = largest.copy()
        row[layers[:, [j for j in range(layers.shape[1]) if j != column]]] = 0
        rows.append(row)
    return rows
