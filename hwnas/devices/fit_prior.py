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


# Scales of factors relative to a typical value, with the standard deviation of their logarithms.
# They are those of the latencies and decoding steps of a few devices and spaces.
_SCALES = {
    "known": (1.0, 0.5),
    "physical beside known": (0.01, 1.0),
    "physical": (0.12, 0.7),
    "width": (0.005, 0.7),
    "curved": (0.015, 1.0),
    "trend": (0.005, 1.0),
}


@dataclass(frozen=True, eq=False)
class Factor:
    """Square root of a prior covariance of coefficients.

    Attributes
    ----------
    columns : (E * K, q)
    typical, spread
        Typical scale by which the columns are multiplied, and the spread of its logarithm.
    """

    columns: Array
    typical: float
    spread: float


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

    @classmethod
    def from_devices(cls, coefficients: Array) -> Prior:
        """Return the mean and covariance of the coefficients (m, E, K) of m known devices.

        Those of each device are to be over a typical value of that device.
        """
        mean = coefficients.mean(axis=0)
        rest = (coefficients - mean).reshape(len(coefficients), -1)
        return cls(mean, rest.T / np.sqrt(max(len(rest) - 1, 1)))


def physical_mean(terms: Terms) -> Array:
    """Return coefficients (E, K) of equal shares of all physical terms."""
    mean = np.zeros((len(terms.widths), len(terms)))
    for k, p in _physical_terms(terms):
        if terms.terms[k].kind not in _CENTRED:
            mean[:, k] += 0.1 * _power(terms, p)
    return mean


def factors_of(terms: Terms, levels: Array, prior: Prior | None) -> list[Factor]:
    """Return the factors of the prior.

    Parameters
    ----------
    levels : (E,)
        Typical value at each width.
    prior
        Knowledge from other devices.
    """
    factors = []
    if prior is not None:
        factors.append(Factor(prior.factor, *_SCALES["known"]))
    name = "physical" if prior is None else "physical beside known"
    factors.append(Factor(_physical_columns(terms), *_SCALES[name]))
    for name in ("width", "curved", "trend"):
        columns = _deviation_columns(terms, levels, name)
        if columns.size:
            factors.append(Factor(columns, *_SCALES[name]))
    return factors


def _physical_columns(terms: Terms) -> Array:
    """Return the square root (E * K, q) of the covariance of physical terms of scale 1."""
    columns = []
    for k, p in _physical_terms(terms):
        column = np.zeros((len(terms.widths), len(terms)))
        share = 0.1 if terms.terms[k].kind in _CENTRED else 1.0
        column[:, k] = share * _power(terms, p)
        columns.append(column.ravel())
    return np.stack(columns, axis=1)


def _deviation_columns(terms: Terms, levels: Array, name: str) -> Array:
    """Return the square root (E * K, q) of the covariance of the widths' deviations of scale 1.

    Those of squares, products and trends are half shared by all widths.
    """
    n_widths, n_terms = len(terms.widths), len(terms)
    own = np.eye(n_widths)
    shape = own if name == "width" else np.c_[own, np.ones(n_widths)]
    columns = []
    for k, term in enumerate(terms.terms):
        if (term.kind if term.kind in ("curved", "trend") else "width") != name:
            continue
        for part in shape.T:
            column = np.zeros((n_widths, n_terms))
            column[:, k] = part * levels
            columns.append(column.ravel())
    return np.array(columns).T


def _physical_terms(terms: Terms) -> list[tuple[int, int]]:
    """Return indices of terms with the powers of the width that they have."""
    return [(k, p) for k, term in enumerate(terms.terms) for p in _POWERS.get(_kind_of(term), ())]


def _kind_of(term: Term) -> str:
    return "ratio" if term.kind == "choice" and term.name.endswith("ratio") else term.kind


def _power(terms: Terms, p: int) -> Array:
    return np.asarray((terms.widths / terms.widths.max()) ** p)
