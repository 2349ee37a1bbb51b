"""Choice of the architectures whose measurements tell most about all others.

The fit of `hwnas.devices.fit` has a Gaussian prior, so how uncertain it will be of each
architecture is known before anything is measured. Each architecture of a design is the one whose
measurement reduces the mean variance over the space most: a greedy Bayesian I-optimal design
(Chaloner and Verdinelli 1995, "Bayesian Experimental Design: A Review").
"""

from __future__ import annotations

import numpy as np

from hwnas.devices.fit_posterior import NOISE_SLOPE, noise_at, width_positions
from hwnas.devices.fit_prior import factors_of, physical_mean, typical_levels
from hwnas.devices.fit_terms import Terms
from hwnas.errors import InvalidInput
from hwnas.spaces import LanguageModelSpace
from hwnas.typing import Array, Codes, IndexArray

_POOL_SIZE = 4096  # candidates for a choice; a space of at most twice as many is enumerated
_CHOICES_PER_POOL = 256
_TARGETS = 1000  # architectures over which variances are averaged
# Of relative errors, half as much again as a fit expects: designs that trust the scales of the
# prior less are better ones.
_NOISE = 0.006


def survey_design(space: LanguageModelSpace, n: int, rng: np.random.Generator) -> Codes:
    """Choose architectures to measure beside the `anchor`, the most informative first.

    The first k architectures are the design of size k for an equal generator.

    Parameters
    ----------
    n
        Number of architectures.
    rng
        Source of the candidates.

    Returns
    -------
    (n, d) int8, distinct

    Raises
    ------
    InvalidInput
        The space has fewer than `n` architectures, or `n` is not a positive integer.

    Examples
    --------
    >>> import hwnas
    >>> survey_design(hwnas.space("gpt-s"), 10, np.random.default_rng(0)).shape
    (10, 27)
    """
    if type(n) is not int or n < 1:
        raise InvalidInput(f"expected a positive number of architectures, found {n!r}")
    if n > space.size:
        raise InvalidInput(
            f"expected at most {space.size} architectures, the size of {space.name}, found {n}"
        )
    model = DesignModel(Terms(space), space.sample(_TARGETS, rng))
    # The anchor is measured whatever the design is. Choosing it as well tells little, so it comes
    # last in a design of the whole space.
    model.choose(anchor(space)[None], 1)
    design = np.empty((0, len(space.columns)), dtype=np.int8)
    while len(design) < n:
        # Draw the next candidates; those that the design has already are left out.
        pool = _set_difference(_sample_pool(space, rng), design)
        chosen = model.choose(pool, min(_CHOICES_PER_POOL, len(pool), n - len(design)))
        design = np.concatenate([design, pool[chosen]])
    return design


def anchor(space: LanguageModelSpace) -> Codes:
    """Return the homogeneous architecture in the middle of every choice.

    The middle of an even number of options is the upper one.

    Returns
    -------
    (d,) int8
    """
    middle: Codes = space.canonical(space.cardinalities[None] // 2)[0]
    return middle


class DesignModel:
    """The prior of a fit, and what is left of it after some measurements.

    Parameters
    ----------
    terms
        Terms of the space.
    targets : (t, d) int8
        Architectures over which variances are averaged.
    """

    def __init__(self, terms: Terms, targets: Codes) -> None:
        self._terms = terms
        self._mean = physical_mean(terms)
        factors = factors_of(terms, typical_levels(terms, targets, self._mean), None)
        shape = (len(terms.widths), len(terms), -1)
        columns = [factor.typical * factor.columns for factor in factors]
        self._columns = np.concatenate(columns, axis=1).reshape(shape)  # (E, K, q)
        rows = self._rows(targets)
        self._targets = rows.T @ rows / len(rows)  # (q, q)
        self._covariance = np.eye(len(self._targets))

    def choose(self, codes: Codes, k: int) -> IndexArray:
        """Choose and measure k architectures of the pool `codes` (m, d); return their indices."""
        noise = noise_at(
            width_positions(self._terms)[self._terms.width_of(codes)],
            np.array([np.log(_NOISE), NOISE_SLOPE[0]]),
        )
        chosen, self._covariance = select_rows(
            self._rows(codes), k, self._targets, noise**2, self._covariance
        )
        return chosen

    def _rows(self, codes: Codes) -> Array:
        """Return effects (n, 1 + q) of the level and the factors on relative values, of scale 1."""
        values, width = self._terms(codes), self._terms.width_of(codes)
        expected = (values * self._mean[width]).sum(axis=1)
        rows = np.empty((len(codes), self._columns.shape[2]))
        for e, columns in enumerate(self._columns):
            rows[width == e] = values[width == e] @ columns
        return np.asarray(np.c_[np.ones(len(codes)), rows / expected[:, None]])


def select_rows(
    rows: Array, k: int, targets: Array, noise: Array, covariance: Array
) -> tuple[IndexArray, Array]:
    """Select rows greedily by how much they reduce the mean variance of targets.

    Measuring a row x of a linear model with covariance S reduces the variance of a target t by
    ``(t @ S @ x)**2 / (x @ S @ x + noise)``.

    Parameters
    ----------
    rows : (m, q)
        Candidates.
    k
        Number of rows to select, at most m.
    targets : (q, q)
        Mean of the outer products of the targets with themselves.
    noise : (m,)
        Variance of a measurement of each row.
    covariance : (q, q)
        Covariance of the coefficients.

    Returns
    -------
    selected : (k,) int
        Distinct indices, in the order of selection.
    covariance : (q, q)
        Covariance of the coefficients once these rows are measured.

    Examples
    --------
    >>> rows = np.array([[0.5, 0.0], [0.0, 1.0], [2.0, 0.0]])
    >>> select_rows(rows, 2, np.eye(2), np.full(3, 0.1), np.eye(2))[0].tolist()
    [2, 1]
    """
    covariance = covariance.copy()
    with_rows = rows @ covariance  # (m, q): covariance of the coefficients with each row
    with_targets = with_rows @ targets
    variance = (with_rows * rows).sum(axis=1) + noise
    selected = np.zeros(k, dtype=np.intp)
    is_left = np.ones(len(rows), dtype=bool)
    for i in range(k):
        gain = np.where(is_left, (with_targets * with_rows).sum(axis=1) / variance, -np.inf)
        # Rounding makes equal gains equal in spite of rounding errors; the first of them wins.
        scale = max(float(gain.max()), np.finfo(np.float64).tiny)
        best = selected[i] = np.argmax((gain / scale).round(9))
        is_left[best] = False
        # Condition on the measurement: rank-one updates of everything.
        direction, precision = with_rows[best].copy(), 1 / variance[best]
        shared = rows @ direction  # (m,): covariance of each row with the selected one
        covariance -= precision * np.outer(direction, direction)
        with_rows -= precision * np.outer(shared, direction)
        with_targets -= precision * np.outer(shared, targets @ direction)
        variance -= precision * shared**2
    return selected, covariance


def _sample_pool(space: LanguageModelSpace, rng: np.random.Generator) -> Codes:
    """Return candidates: uniform architectures, and some in which layers are mostly equal."""
    if space.size <= 2 * _POOL_SIZE:
        return np.concatenate(list(space.enumerate()))
    codes = space.sample(_POOL_SIZE, rng)
    # In the first half of the pool, most layers become copies of the first layer. The probability
    # that a layer differs is uniform on -0.5 ... 1, so in a third of these none does.
    half = _POOL_SIZE // 2
    layers = codes[:half, space.layer_columns]  # (half, L, c)
    differs = rng.uniform(-0.5, 1, (half, 1)) > rng.random(layers.shape[:2])  # (half, L)
    layers = np.where(differs[:, :, None], layers, layers[:, :1])
    codes[:half, space.layer_columns] = layers
    return space.canonical(codes)


def _set_difference(codes: Codes, excluded: Codes) -> Codes:
    """Return the distinct rows that are not among the excluded ones, sorted."""
    excluded_rows = {row.tobytes() for row in excluded}
    rows = np.unique(codes, axis=0)
    return rows[[row.tobytes() not in excluded_rows for row in rows]]
