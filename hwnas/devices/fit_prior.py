"""Prior of coefficients: physical terms, and deviations of each width from them.

Coefficient k at width e is ``sum over p of c[k, p] (e / e_max) ** p`` plus a deviation of that
width. The powers p are those of arithmetic and bytes: a head costs a constant (scores of attention)
and a multiple of the width (projections), an MLP whose size is a ratio a multiple of the width (its
activations) and of its square (its weights). All scales are relative to the value of a typical
architecture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwnas.devices.fit_terms import Term, Terms
from hwnas.errors import InvalidInput
from hwnas.surrogates.tables import AdditiveTable, predict
from hwnas.typing import Array, Codes

_SAMPLE, _RIDGE = 3000, 1e-6  # architectures at which tables are projected, and the ridge of it

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
    "known by width": (0.2, 1.0),
    "physical beside known": (0.02, 1.0),
    "physical": (0.12, 0.7),
    "width": (0.005, 0.7),
    "curved": (0.015, 1.0),
    "trend": (0.005, 1.0),
    "free": (0.003, 1.0),
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
    """Knowledge from m other devices, each over its typical value.

    Attributes
    ----------
    mean : (E, K)
        Mean of the devices' coefficients.
    factor : (E * K, m)
        Square root of their covariance.
    """

    mean: Array
    factor: Array

    @classmethod
    def from_tables(cls, terms: Terms, tables: Sequence[AdditiveTable]) -> Prior:
        """Return the mean and covariance of the tables of a metric on at least two devices.

        Raises
        ------
        InvalidInput
            There are fewer than two tables.
        """
        if len(tables) < 2:
            raise InvalidInput(f"expected tables of at least 2 known devices, found {len(tables)}")
        codes = terms.space.sample(_SAMPLE, np.random.default_rng(0))
        packed = terms.layout.pack(codes)
        values = predict(tables, packed)
        # Over the geometric mean of each device's values.
        levels = np.exp(np.log(values).mean(axis=0))
        coefficients = _project(terms, codes, values / levels)
        mean = coefficients.mean(axis=0)
        deviations = (coefficients - mean).reshape(len(tables), -1)
        return cls(mean, deviations.T / np.sqrt(len(tables) - 1))


def _project(terms: Terms, codes: Codes, values: Array) -> Array:
    """Return the coefficients (m, E, K) of values (n, m) by least squares of relative errors."""
    width, rows = terms.width_of(codes), terms(codes)
    out = np.zeros((values.shape[1], len(terms.widths), len(terms)))
    for e in range(len(terms.widths)):
        own = width == e
        for j, value in enumerate(values[own].T):
            design = rows[own] / value[:, None]
            normal = design.T @ design + _RIDGE * np.eye(len(terms))
            out[j, e] = np.linalg.solve(normal, design.sum(axis=0))
    return out


def physical_mean(terms: Terms) -> Array:
    """Return coefficients (E, K) of equal shares of all physical terms."""
    mean = np.zeros((len(terms.widths), len(terms)))
    for k, p in _physical_terms(terms):
        if terms.terms[k].kind not in _CENTRED:
            mean[:, k] += 0.1 * _power(terms, p)
    return mean


def typical_levels(terms: Terms, codes: Codes, mean: Array) -> Array:
    """Return a typical value (E,) at each width: what coefficients (E, K) say of codes (n, d)."""
    return np.asarray(np.median(terms(codes) @ mean.T, axis=0))


def factors_of(terms: Terms, levels: Array, prior: Prior | None) -> list[Factor]:
    """Return the factors of the prior.

    Parameters
    ----------
    levels : (E,)
        Typical value at each width.
    prior
        Knowledge from other devices: the first two factors, of m and E * m columns, are then its
        own and the same for each width alone.
    """
    factors = []
    if prior is not None:
        factors.append(Factor(prior.factor, *_SCALES["known"]))
        shape = (len(terms.widths), len(terms), -1)
        by_width = np.zeros((shape[0], *prior.factor.reshape(shape).shape))
        for e, own in enumerate(prior.factor.reshape(shape)):
            by_width[e, e] = own  # (E, E, K, m)
        columns = np.moveaxis(by_width, 0, 2).reshape(len(prior.factor), -1)
        factors.append(Factor(columns, *_SCALES["known by width"]))
    name = "physical" if prior is None else "physical beside known"
    factors.append(Factor(_physical_columns(terms), *_SCALES[name]))
    for name in ("width", "curved", "trend"):
        columns = _deviation_columns(terms, levels, name)
        if columns.size:
            factors.append(Factor(columns, *_SCALES[name]))
    columns = _free_columns(terms, levels)
    if columns.size:
        factors.append(Factor(columns, *_SCALES["free"]))
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
    for k, term in enumerate(terms.terms[: terms.n_smooth]):
        if (term.kind if term.kind in ("curved", "trend") else "width") != name:
            continue
        for part in shape.T:
            column = np.zeros((n_widths, n_terms))
            column[:, k] = part * levels
            columns.append(column.ravel())
    return np.array(columns).T


def _free_columns(terms: Terms, levels: Array) -> Array:
    """Return the square root (E * K, q) of the covariance of free terms of scale 1.

    A free term of a layer is half its width's own and half shared by all widths. The mean over the
    layers of each contrast is projected out: smooth terms describe it.
    """
    n_widths, n_contrasts = len(terms.widths), terms.contrasts.shape[1]
    n_layers = (len(terms) - terms.n_smooth) // max(n_contrasts, 1)
    if n_layers < 2:  # smooth terms describe a single layer, or layers without a choice
        return np.empty((n_widths * len(terms), 0))
    profiles = np.linalg.qr(np.c_[np.ones(n_layers), np.eye(n_layers)[:, 1:]])[0][:, 1:]
    # Over the number of layers, as the terms are: the scale is that of a whole architecture.
    profiles = profiles * np.sqrt(n_layers)
    shape = levels[:, None] * np.linalg.cholesky(0.5 * np.eye(n_widths) + 0.5)  # (E, E)
    free = np.kron(shape, np.kron(profiles, np.eye(n_contrasts)))
    columns = np.zeros((n_widths, len(terms), free.shape[1]))
    columns[:, terms.n_smooth :] = free.reshape(n_widths, -1, free.shape[1])
    return columns.reshape(-1, free.shape[1])


def _physical_terms(terms: Terms) -> list[tuple[int, int]]:
    """Return indices of terms with the powers of the width that they have."""
    return [(k, p) for k, term in enumerate(terms.terms) for p in _POWERS.get(_kind_of(term), ())]


def _kind_of(term: Term) -> str:
    return "ratio" if term.kind == "choice" and term.name.endswith("ratio") else term.kind


def _power(terms: Terms, p: int) -> Array:
    return np.asarray((terms.widths / terms.widths.max()) ** p)
