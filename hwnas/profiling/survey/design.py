"""Choice of the architectures whose measurements tell most about a search space.

Measurements of hardware are nearly additive over layers for each width of the residual stream, the
first choice of a space. Architectures are therefore chosen for a linear model of this form
(`features`): each is the one about which the model is most uncertain so far. This is a greedy
D-optimal design (Fedorov 1972, Theory of Optimal Experiments).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from hwnas.errors import InvalidInput
from hwnas.spaces import LanguageModelSpace
from hwnas.spaces.choices import Value
from hwnas.typing import Array, Codes, IndexArray

_POOL_SIZE = 4096  # candidates for a choice; a space of at most twice as many is enumerated
_CHOICES_PER_POOL = 256
# Scales of effects that are expected to be smaller than the linear ones.
_CURVATURE, _CONTRAST = 0.3, 0.03
RIDGE = 1e-2  # variance of the noise over that of an effect


def d_optimal_design(space: LanguageModelSpace, n: int, rng: np.random.Generator) -> Codes:
    """Choose architectures to measure, the most informative first.

    The design begins with the `corners`. Each further architecture is the one that adds most to
    the information about the effects of `features`. The first k architectures are the design of
    size k for an equal generator.

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
    >>> d_optimal_design(hwnas.space("gpt-s"), 10, np.random.default_rng(0)).shape
    (10, 27)
    """
    if type(n) is not int or n < 1:
        raise InvalidInput(f"expected a positive number of architectures, found {n!r}")
    if n > space.size:
        raise InvalidInput(
            f"expected at most {space.size} architectures, the size of {space.name}, found {n}"
        )
    # The corners are the first pool, and all of them are chosen.
    pool = corners(space)
    rows = features(space, pool)
    information = RIDGE * np.eye(rows.shape[1])
    design = pool[:0]
    while True:
        chosen = select_rows(rows, min(_CHOICES_PER_POOL, len(pool)), information)
        information += rows[chosen].T @ rows[chosen]
        design = np.concatenate([design, pool[chosen]])
        if len(design) >= n:
            return np.ascontiguousarray(design[:n])
        # Draw the next candidates; those that the design has already are left out.
        pool = _set_difference(_sample_pool(space, rng), design)
        rows = features(space, pool)


def anchor(space: LanguageModelSpace) -> Codes:
    """Return the homogeneous architecture in the middle of every choice.

    The middle of an even number of options is the upper one.

    Returns
    -------
    (d,) int8
    """
    middle: Codes = space.canonical(space.cardinalities[None] // 2)[0]
    return middle


def corners(space: LanguageModelSpace) -> Codes:
    """Return the smallest and the largest architecture of each width.

    Returns
    -------
    (k, d) int8, distinct
    """
    largest = space.cardinalities - 1
    # Alternate the two extremes, and give each pair its own width, the first column.
    n_widths = int(space.cardinalities[0])
    codes = np.stack([np.zeros_like(largest), largest] * n_widths)
    codes[:, 0] = np.repeat(np.arange(n_widths), 2)
    return np.unique(space.canonical(codes), axis=0)


def features(space: LanguageModelSpace, codes: ArrayLike) -> Array:
    """Return the features of the linear model, all between -1 and 1.

    With w widths, g other choices outside the layers, c choices of each layer, and at most L
    layers, the columns are:

    - 2 + g + 2 * c for each width, which are 0 in architectures of another: 1, the other choices
      outside the layers and the square of the number of layers, and for each choice of the layers
      the sum over layers, divided by L, of the value and of its square. Squares are multiplied by
      0.3.
    - c for each of L layers: the differences of its choices from their means over the layers of the
      architecture, multiplied by 0.015; 0 where a choice is inactive.

    Parameters
    ----------
    codes : (n, d) integers
        Valid codes.

    Returns
    -------
    (n, (2 + g + 2 * c) * w + c * L) float64
    """
    indices = np.asarray(codes).astype(np.intp)
    n = len(indices)
    active = space.active(indices)
    # Effects that differ between widths.
    effects = [np.ones(n)]
    for column, options in enumerate(space.choices.values()):
        if column > 0:
            value = _scale_options(options)[indices[:, column]]
            effects += [value]
            effects += [_CURVATURE * value**2] if column == space.depth_column else []
    # Effects of single layers, which all widths share.
    contrasts = []
    for options, columns in zip(space.layers.values(), space.layer_columns.T, strict=True):
        mask = active[:, columns]  # (n, L)
        # In a fixed layout sums are rounded the same way, whatever the layout of the codes.
        values = np.ascontiguousarray(_scale_options(options)[indices[:, columns]] * mask)
        effects += [values.mean(axis=1), _CURVATURE * (values**2).mean(axis=1)]
        mean = values.sum(axis=1, keepdims=True) / np.maximum(mask.sum(axis=1, keepdims=True), 1)
        contrasts.append(_CONTRAST / 2 * (values - mean) * mask)
    # Copy the first effects into the columns of the architecture's own width.
    has_width = indices[:, :1] == np.arange(space.cardinalities[0])  # (n, w)
    effects_by_width = has_width[:, :, None] * np.stack(effects, axis=1)[:, None]
    return np.concatenate([effects_by_width.reshape(n, -1), *contrasts], axis=1)


def select_rows(rows: ArrayLike, k: int, information: ArrayLike) -> IndexArray:
    """Select rows greedily by the determinant of the information matrix.

    Each selected row maximizes the increase of the determinant's logarithm, which is
    ``log(1 + x @ inv(information) @ x)`` for a row x (matrix determinant lemma). The inverse is
    updated by the formula of Sherman and Morrison, so a selection takes O(m p) time.

    Parameters
    ----------
    rows : (m, p) float64
        Candidates.
    k
        Number of rows to select, at most m.
    information : (p, p) float64
        Prior information, positive definite. A selected row x adds the outer product of x with
        itself.

    Returns
    -------
    (k,) int
        Distinct indices, in the order of selection.

    Examples
    --------
    >>> select_rows([[0.5, 0.0], [0.0, 1.0], [2.0, 0.0]], 2, np.eye(2)).tolist()
    [2, 1]
    """
    rows = np.asarray(rows, dtype=np.float64)
    inverse = np.linalg.inv(np.asarray(information, dtype=np.float64))
    gain = (rows @ inverse * rows).sum(axis=1)  # (m,) x @ inverse @ x: variance of a prediction
    selected = np.zeros(k, dtype=np.intp)
    for i in range(k):
        # Rounding makes equal gains equal in spite of rounding errors; the first of them wins.
        best = selected[i] = np.argmax(gain.round(9))
        # Rank-one update of the inverse, and of the gain of every row.
        direction = inverse @ rows[best]  # (p,)
        shrinkage = 1 / (1 + gain[best])
        inverse -= shrinkage * np.outer(direction, direction)
        gain -= shrinkage * (rows @ direction) ** 2
        gain[best] = -np.inf
    return selected


def _scale_options(options: Sequence[Value]) -> Array:
    """Return options scaled linearly to -1 ... 1, texts by their index; a single one becomes 0."""
    is_text = isinstance(options[0], str)
    values = np.array(range(len(options)) if is_text else options, dtype=np.float64)
    middle, half_range = (values[0] + values[-1]) / 2, (values[-1] - values[0]) / 2
    return np.asarray((values - middle) / (half_range or 1.0))


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
