"""Exact values of random networks that a search is told, so that it has less to learn."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

import hwnas
from hwnas.related_trials import RelatedTrials
from hwnas.typing import Array, Codes

N_KNOWN = 300  # networks


def known_trials(
    space: str, values_of: Callable[[Codes], Array], outcomes: Sequence[int]
) -> RelatedTrials:
    """Return exact values of random networks of a space.

    Parameters
    ----------
    space
        Name of the space.
    values_of
        Function from codes (n, d) to values (n, q) of q outcomes.
    outcomes
        Index of each of them: of the losses, then of the constraint violations.
    """
    search_space = hwnas.space(space)
    codes = np.unique(search_space.sample(N_KNOWN, np.random.default_rng(9)), axis=0)
    values = values_of(codes)
    is_same = np.ones(len(outcomes), dtype=bool)
    exact = np.zeros_like(values)
    return RelatedTrials(search_space, codes, values, exact, np.array(outcomes), is_same)


def label_of(optimizer: str, known: str | None) -> str:
    """Return the name of an optimizer in rows, with what it was told.

    >>> label_of("additive", "hardware")
    'additive, hardware known'
    """
    return optimizer if known is None else f"{optimizer}, {known} known"
