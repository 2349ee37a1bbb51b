"""Contrasts between the options of a choice."""

from __future__ import annotations

import numpy as np

from hwnas.typing import Array


def contrasts_of(n: int, is_ordered: bool) -> Array:
    """Return the contrasts (n, n - 1) between n choices: `_polynomials`, or without an order.

    Contrasts without an order span the same differences, with equal weight for every pair.

    Examples
    --------
    >>> contrasts_of(3, False).round(2).tolist()
    [[0.71, 0.41], [-0.71, 0.41], [0.0, -0.82]]
    """
    if is_ordered or n < 3:  # two choices differ in the same way with or without an order
        return _polynomials(n)
    # Helmert's contrasts: orthonormal, and orthogonal to the constant.
    columns = np.triu(np.ones((n, n - 1))) - np.eye(n, n - 1, -1) * np.arange(n)[:, None]
    return np.asarray(columns / np.linalg.norm(columns, axis=0))


def _polynomials(n: int) -> Array:
    """Return the orthogonal polynomials over n ordered choices, scaled to at most 1, (n, n - 1).

    The constant is left out.
    """
    powers = np.vander(np.linspace(-1, 1, n), n, increasing=True)
    columns = np.linalg.qr(powers)[0][:, 1:]
    largest = np.abs(columns).max(axis=0, initial=1e-300)
    return np.asarray(columns / largest * np.sign(columns[-1]))
