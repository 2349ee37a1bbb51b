"""Architectures at the ends of a space, which span the shapes of all others."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from hwnas.spaces import LanguageModelSpace
from hwnas.typing import Codes


def smallest(space: LanguageModelSpace) -> Any:
    """Return the architecture with the fewest parameters.

    Examples
    --------
    >>> import hwnas
    >>> str(smallest(hwnas.space("gpt-s-wide")))
    'gpt-s-wide-3-192-1-1-1-4-4-4-False'
    """
    codes = spanning_codes(space, largest=False)
    return space.decode(codes[[int(np.argmin(space.params(codes)))]])[0]


def largest(space: LanguageModelSpace) -> Any:
    """Return the architecture with the most parameters.

    Examples
    --------
    >>> import hwnas
    >>> str(largest(hwnas.space("gpt-s-wide")))[:20]
    'gpt-s-wide-12-768-4-'
    """
    codes = spanning_codes(space)
    return space.decode(codes[[int(np.argmax(space.params(codes)))]])[0]


def spanning_codes(space: LanguageModelSpace, *, largest: bool = True) -> Codes:
    """Return codes whose parameters are together as large as those of any architecture.

    All layers of each are alike. The first ones have the last of all choices outside the layers,
    and each combination of choices in the layers; the others have the last choices in the layers
    and, one by one, the first choice of each outside.

    Parameters
    ----------
    largest
        False exchanges first and last, for the other end of the space.

    Returns
    -------
    (k, d) int8, distinct and valid
    """
    last = np.asarray(space.cardinalities) - 1
    extreme = last if largest else np.zeros_like(last)
    layers = space.layer_columns  # (L, c)
    options = list(product(*(range(int(last[column]) + 1) for column in layers[0])))
    codes = np.tile(extreme, (len(options), 1))
    codes[:, layers.ravel()] = np.tile(options, len(layers))
    outside = [column for column in range(len(last)) if column not in layers]
    global_codes = np.tile(extreme, (len(outside), 1))
    for row, column in enumerate(outside):
        global_codes[row, column] = last[column] - extreme[column]
    return np.unique(space.canonical(np.concatenate([codes, global_codes])), axis=0)
