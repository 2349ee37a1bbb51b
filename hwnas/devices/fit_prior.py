"""Prior of coefficients: physical terms, and deviations of each width from them.

Coefficient k at width e is ``sum over p of c[k, p] (e / e_max) ** p`` plus a deviation of that
width. The powers p are those of arithmetic and bytes: a head costs a constant (scores of attention)
and a multiple of the width (projections), an MLP whose size is a ratio a multiple of the width (its
activations) and of its square (its weights). All scales are relative to the value of a typical
architecture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwnas.devices.fit_terms import Term, Terms
from hwnas.typing import Array

# Share of a typical value of the largest width, by kind of term and power of the width.
_POWERS = {
    "constant": (0, 1),
    "layers": (0, 1),
    "choice": (0, 1),
    "ratio": (1, 2),
    "outside": (0, 1),
    "outside x layers": (0, 1),
}
_CENTRED = ("outside", "outside x layers")  # kinds whose sign is open


@dataclass(frozen=True, slots=True)
class Scales:
    """Standard deviations that the data choose, relative to a typical value.

    Attributes
    ----------
    physical
        Of the coefficients of physical terms.
    width
        Of a width's deviation in a linear term.
    curved
        Of squares, products and trends.
    noise
        Of relative errors.
    """

    physical: float
    width: float
    curved: float
    noise: float


# Scales with their standard deviations in logarithms.
TYPICAL = Scales(physical=0.3, width=0.03, curved=0.01, noise=0.003)
SPREAD = 1.5


@dataclass(frozen=True, eq=False)
class Prior:
    """Knowledge about coefficients from other devices, relative to their typical values.

    Attributes
    ----------
    mean : (E, K)
    factor : (E * K, q)
        Square root of the covariance.
    """

    mean: Array
    factor: Array


def physical_mean(terms: Terms) -> Array:
    """Return coefficients (E, K) of equal shares of all physical terms."""
    mean = np.zeros((len(terms.widths), len(terms)))
    for k, p in _physical_terms(terms):
        if terms.terms[k].kind not in _CENTRED:
            mean[:, k] += 0.1 * _power(terms, p)
    return mean


def physical_factor(terms: Terms) -> Array:
    """Return the square root (E * K, q) of the covariance of physical terms of scale 1."""
    columns = []
    for k, p in _physical_terms(terms):
        column = np.zeros((len(terms.widths), len(terms)))
        share = 0.1 if terms.terms[k].kind in _CENTRED else 1.0
        column[:, k] = share * _power(terms, p)
        columns.append(column.ravel())
    return np.stack(columns, axis=1)


def deviation_factor(terms: Terms, levels: Array, *, curved: bool) -> Array:
    """Return the square root (E * K, q) of the covariance of the widths' deviations of scale 1.

    Parameters
    ----------
    levels : (E,)
        Typical value at each width.
    curved
        Squares, products and trends, which are alike in all widths but for a half; else the others.
    """
    n_widths, n_terms = len(terms.widths), len(terms)
    columns = []
    for k, term in enumerate(terms.terms):
        if (term.kind in ("curved", "trend")) != curved:
            continue
        shape = np.eye(n_widths) if not curved else np.c_[np.eye(n_widths), np.ones(n_widths)]
        for part in shape.T:
            column = np.zeros((n_widths, n_terms))
            column[:, k] = part * levels
            columns.append(column.ravel())
    return np.stack(columns, axis=1)


def _physical_terms(terms: Terms) -> list[tuple[int, int]]:
    """Return indices of terms with the powers of the width that they have."""
    return [(k, p) for k, term in enumerate(terms.terms) for p in _POWERS.get(_kind_of(term), ())]


def _kind_of(term: Term) -> str:
    return "ratio" if term.kind == "choice" and term.name.endswith("ratio") else term.kind


def _power(terms: Terms, p: int) -> Array:
    return np.asarray((terms.widths / terms.widths.max()) ** p)
