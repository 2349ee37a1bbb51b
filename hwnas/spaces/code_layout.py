"""Columns of a code: their order, and the layers that they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwnas.typing import BoolArray

# Three columns for the whole architecture, then two for each layer.
EMBED_DIM, N_LAYER, BIAS = 0, 1, 2
LEADING = 3
PER_LAYER = ("mlp_ratio", "n_head")


@dataclass(frozen=True, slots=True)
class Group:
    """Columns of one layer, and the condition under which the layer exists.

    Attributes
    ----------
    columns
        Indices of the layer's columns.
    parent
        Index of the column that decides whether the layer exists.
    when
        The layer exists where ``codes[:, parent]`` is one of these.
    """

    columns: tuple[int, ...]
    parent: int
    when: tuple[int, ...]


def column_names(max_depth: int) -> tuple[str, ...]:
    """Return the names of the d = 3 + 2 * `max_depth` columns.

    >>> column_names(1)
    ('embed_dim', 'n_layer', 'bias', 'mlp_ratio_0', 'n_head_0')
    """
    per_layer = [f"{choice}_{i}" for i in range(max_depth) for choice in PER_LAYER]
    return ("embed_dim", "n_layer", "bias", *per_layer)


def layer_groups(depths: Sequence[int]) -> tuple[Group, ...]:
    """Return the group of each layer, first to last, for the increasing choices of ``n_layer``.

    >>> layer_groups([1, 2])[1]
    Group(columns=(5, 6), parent=1, when=(1,))
    """
    return tuple(
        Group(
            (LEADING + 2 * i, LEADING + 2 * i + 1),
            N_LAYER,
            tuple(c for c, depth in enumerate(depths) if depth > i),
        )
        for i in range(depths[-1])
    )


def active_columns(depths: Sequence[int]) -> BoolArray:
    """Return a mask (k, d) of the columns that are active at each of the k choices of ``n_layer``.

    >>> active_columns([1, 2]).astype(int).tolist()
    [[1, 1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1, 1]]
    """
    n_layer_columns = 2 * depths[-1]
    mask = np.ones((len(depths), LEADING + n_layer_columns), dtype=bool)
    # Both columns of layer i are active where the depth is greater than i.
    mask[:, LEADING:] = np.arange(n_layer_columns) // 2 < np.array(depths)[:, None]
    return mask
