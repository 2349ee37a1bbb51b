"""Groups of optimizers that do not differ significantly."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def cliques(mean_ranks: ArrayLike, different: ArrayLike) -> list[tuple[int, ...]]:
    """Return the groups of neighbors in rank of which no two differ significantly.

    These are the groups that a bar joins in a critical difference diagram. Differences come from
    tests of pairs, as Benavoli et al. recommend: Nemenyi's critical difference depends on the other
    optimizers in the comparison. Two optimizers that do not differ are in no common group if one
    between them differs from either.

    Parameters
    ----------
    mean_ranks : (k,)
    different : (k, k) bool
        Pairs that differ significantly; symmetric.

    Returns
    -------
    list of tuples of int
        Indices by rank, at least two each, best first; none is a subset of another.

    References
    ----------
    Benavoli, Corani and Mangili, "Should we really use post-hoc tests based on mean-ranks?",
    JMLR 17, 2016.

    Examples
    --------
    Only the first and the last differ:

    >>> cliques([1.0, 2.0, 3.0], [[0, 0, 1], [0, 0, 0], [1, 0, 0]])
    [(0, 1), (1, 2)]
    """
    order = np.argsort(np.asarray(mean_ranks, dtype=np.float64), kind="stable").tolist()
    differs = np.asarray(different, dtype=bool)
    groups: list[tuple[int, ...]] = []
    last_end = 0
    for start in range(len(order)):
        # Extend the run from `start` until a member differs from the next optimizer.
        end = start + 1
        while end < len(order) and not differs[order[end], order[start:end]].any():
            end += 1
        # A run that ends no later than the last group is a subset of it.
        if end > max(last_end, start + 1):
            groups.append(tuple(order[start:end]))
            last_end = end
    return groups
