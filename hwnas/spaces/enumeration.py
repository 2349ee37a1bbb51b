"""Enumeration of all members of a small search space."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from hwnas.spaces.code_layout import CodeLayout
from hwnas.typing import Codes

_CHUNK = 65_536  # codes that are yielded at a time


def enumerate_codes(space: CodeLayout) -> Iterator[Codes]:
    """Yield every configuration of a space once, in chunks (k, d)."""
    outer_columns = [j for j in range(len(space.choices)) if j != space.depth_column]
    depths = [*enumerate(space.depths.tolist())] or [(0, 0)]
    options = _layer_options(space)
    first = np.zeros((1, len(space.columns)), dtype=np.int8)
    for outside in itertools.product(*map(range, space.cardinalities[outer_columns].tolist())):
        first[0, outer_columns] = outside
        # Combinations that differ in inactive choices alone are one configuration.
        if (first * ~space.active(first)).any():
            continue
        for choice, depth in depths:
            if space.depth_column is not None:
                first[0, space.depth_column] = choice
            columns = space.layer_columns[:depth].ravel()
            indices = itertools.product(range(len(options)), repeat=depth)
            while chunk := list(itertools.islice(indices, _CHUNK)):
                codes = np.repeat(first, len(chunk), axis=0)
                rows = options[np.array(chunk, dtype=np.intp).reshape(len(chunk), depth)]
                codes[:, columns] = rows.reshape(len(chunk), -1)
                yield codes


def _layer_options(space: CodeLayout) -> Codes:
    """Return the distinct options (k, c) of a layer."""
    if space.options is not None:
        return space.options.options
    counts = map(len, space.layers.values())
    options = np.array([*itertools.product(*map(range, counts))], dtype=np.int8)
    return space.activity.distinct_layers(options)
