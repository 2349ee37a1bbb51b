"""Trials of an earlier search on another space of the family, or with other metrics."""

from __future__ import annotations

from dataclasses import dataclass

from hwnas.spaces import SearchSpace
from hwnas.typing import Array, BoolArray, Codes, IntArray


@dataclass(frozen=True)
class RelatedTrials:
    """Architectures with measured values that tell something of the outcomes of a search.

    Attributes
    ----------
    space
        Space of the earlier search: the same, or one of the same family.
    codes : (n, d) int8
        Distinct architectures of that space.
    values, std : (n, q) float64
        Values in the direction of q outcomes, and their standard errors.
    outcomes : (q,) int64
        Index of each outcome: of the losses, then of the constraint violations.
    is_same : (q,) bool
        Whether the values are those of the outcome itself: of the same metric, on the same space.
        Otherwise they are of another device or workload, or of another space.

    Examples
    --------
    Perplexities of gpt-s tell something of those of gpt-m, the first loss of a new search:

    >>> import hwnas, numpy as np
    >>> codes = hwnas.space("gpt-s").sample(20, np.random.default_rng(0))
    >>> values = hwnas.surrogate("gpt-s").predict(codes, ["perplexity"])
    >>> trials = RelatedTrials(
    ...     hwnas.space("gpt-s"), codes, values, 0 * values, np.array([0]), np.array([False])
    ... )
    >>> search = hwnas.optimizer("additive", "gpt-m", 2, seed=0)
    >>> search.tell_related(trials)
    >>> search.n_initial  # of 14
    6
    """

    space: SearchSpace
    codes: Codes
    values: Array
    std: Array
    outcomes: IntArray
    is_same: BoolArray
