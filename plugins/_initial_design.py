"""Initial design of the additive model."""

from __future__ import annotations

import numpy as np

from hwnas.spaces import SearchSpace
from hwnas.spaces.choice_features import categorical_columns
from hwnas.typing import Codes, IntArray


def corner_design(space: SearchSpace) -> Codes:
    """Return homogeneous architectures at the corners of every width.

    For every choice of the widest column outside the layers (in GPT spaces ``embed_dim``):

    - the largest value of every choice,
    - the smallest depth and layers,
    - for each choice of a layer, its largest value and the smallest values of the others.

    The smallest and the largest width also come with the first value of every choice that is
    otherwise the last (in GPT spaces ``bias``). Of choices without an order, each further one
    replaces the last one in the largest architecture.

    Parameters
    ----------
    space
        Search space with layers.

    Returns
    -------
    (k, d) int8, distinct

    Examples
    --------
    >>> import hwnas
    >>> corner_design(hwnas.space("gpt-s")).shape
    (14, 27)
    """
    top = space.cardinalities - 1
    layers, outside = space.layer_columns, space.global_columns.tolist()
    width_column, parent = _width_and_depth(space)
    rows = []
    for largest, smallest in _extremes_by_width(space):
        rows += [largest, smallest, *_single_choice_rows(largest, layers)]
    # The extremes of width, with the first value of all further choices outside the layers.
    for row, width in ((np.zeros_like(top), 0), (top.copy(), top[width_column])):
        row[[j for j in outside if j not in (parent, width_column)]] = 0
        row[width_column] = width
        row[parent] = top[parent]
        rows.append(row)
    # Further choices without an order.
    categorical = np.flatnonzero(categorical_columns(space)).tolist()
    for columns in [[j] for j in outside] + layers.T.tolist():
        if columns[0] in categorical:
            for choice in range(1, top[columns[0]]):
                row = top.copy()
                row[columns] = choice
                rows.append(row)
    return _distinct_codes(space, rows)


def extreme_design(space: SearchSpace) -> Codes:
    """Return the largest and the smallest homogeneous architecture of every width.

    They are the first two of each width in `corner_design`.

    Parameters
    ----------
    space
        Search space with layers.

    Returns
    -------
    (k, d) int8, distinct

    Examples
    --------
    >>> import hwnas
    >>> extreme_design(hwnas.space("gpt-s")).shape
    (6, 27)
    """
    return _distinct_codes(space, [row for pair in _extremes_by_width(space) for row in pair])


def _width_and_depth(space: SearchSpace) -> tuple[int, int]:
    """Return the columns of the width, see `corner_design`, and of the number of layers."""
    parent = space.depth_column
    assert parent is not None  # as there are layers
    besides_depth = [j for j in space.global_columns.tolist() if j != parent]
    return max(besides_depth or [parent], key=lambda j: space.cardinalities[j]), parent


def _extremes_by_width(space: SearchSpace) -> list[tuple[IntArray, IntArray]]:
    """Return the largest row of each width, and the one of the smallest depth and layers."""
    top, outside = space.cardinalities - 1, space.global_columns.tolist()
    width_column, parent = _width_and_depth(space)
    pairs = []
    for width in range(top[width_column] + 1):
        largest = top.copy()
        largest[width_column] = width
        smallest = np.zeros_like(top)
        smallest[outside] = top[outside]
        smallest[parent], smallest[width_column] = 0, width
        pairs.append((largest, smallest))
    return pairs


def _distinct_codes(space: SearchSpace, rows: list[IntArray]) -> Codes:
    """Return the codes of rows; small spaces have equal ones, of which the first stays."""
    codes = space.canonical(np.array(rows))
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


def latin_hypercube(space: SearchSpace, n: int, rng: np.random.Generator) -> Codes:
    """Return `n` configurations that spread the choices of every column evenly.

    In every second one all layers are alike.

    Parameters
    ----------
    space
        Any search space.
    n
        Number of configurations.
    rng
        Source of randomness.

    Returns
    -------
    (k, d) int8, distinct
        Fewer than `n` in a small space.

    References
    ----------
    McKay, Beckman and Conover, "A comparison of three methods for selecting values of input
    variables in the analysis of output from a computer code", Technometrics 1979.

    Examples
    --------
    >>> space = SearchSpace("flat", {"a": range(16)})
    >>> codes = latin_hypercube(space, 16, np.random.default_rng(0))
    >>> sorted(codes[:, 0].tolist()) == list(range(16))
    True
    """
    d = len(space.columns)
    strata = rng.permuted(np.tile(np.arange(n), (d, 1)), axis=1).T  # (n, d)
    choices = ((strata + rng.random((n, d))) / n * space.cardinalities).astype(np.int64)
    if space.layer_columns.size:
        choices[::2, space.layer_columns] = choices[::2, None, space.layer_columns[0]]
    codes = space.canonical(choices)
    _, first = np.unique(codes, axis=0, return_index=True)
    return codes[np.sort(first)]
