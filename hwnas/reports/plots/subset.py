"""Selection of a few items that represent many."""

from __future__ import annotations

import numpy as np

from hwnas.typing import IndexArray


def select_evenly(indices: IndexArray, limit: int) -> IndexArray:
    """Return at most `limit` of the indices (n,): the first, the last and evenly between them.

    Examples
    --------
    >>> select_evenly(np.arange(9), 3)
    array([0, 4, 8])
    """
    if len(indices) <= limit:
        return indices
    return indices[np.linspace(0, len(indices) - 1, limit).astype(np.intp)]
