"""Choice of the architectures whose measurements tell most about a search space.

Measurements of hardware are nearly additive over layers for each ``embed_dim``. Architectures are
therefore chosen for a linear model of this form (`features`): each is the one about which the model
is most uncertain so far. This is a greedy D-optimal design (Fedorov 1972, Theory of Optimal
Experiments).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from hwnas.errors import InvalidInput
from hwnas.spaces import GPTSpace
from hwnas.typing import Array, Codes, IndexArray

_POOL_SIZE = 4096  # candidates for a choice; a space of at most twice as many is enumerated
_CHOICES_PER_POOL = 256
# Scales of effects that are expected to be smaller than the linear ones.
_CURVATURE, _CONTRAST = 0.3, 0.03
_RIDGE = 1e-2  # variance of the noise over that of an effect


def d_optimal_design(space: GPTSpace, n: int, rng: np.random.Generator) -> Codes:
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
    information = _RIDGE * np.eye(rows.shape[1])
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


def anchor(space: GPTSpace) -> Codes:
    """Return the homogeneous architecture in the middle of every choice.

    The middle of an even number of options is the upper one.

    Returns
    -------
    (d,) int8
    """
    middle: Codes = space.canonical(space.cardinalities[None] // 2)[0]
    return middle


def corners(space: GPTSpace) -> Codes:
    """Return the smallest and the largest architecture of each ``embed_dim``.

    Returns
    -------
    (k, d) int8, distinct
    """
    largest = space.cardinalities - 1
    # Alternate the two extremes, and give each pair its own embed_dim, the first gene.
    codes = np.stack([np.zeros_like(largest), largest] * len(space.embed_dim))
    codes[:, 0] = np.repeat(np.arange(len(space.embed_dim)), 2)
    return np.unique(space.canonical(codes), axis=0)


def features(space: GPTSpace, codes: ArrayLike) -> Array:
    """Return the features of the linear model, all between -1 and 1.

    With w values of ``embed_dim`` and at most L layers, the columns are:

    - 8 for each ``embed_dim``, which are 0 in architectures of another: 1, ``n_layer`` and its
      square, ``bias``, and for ``mlp_ratio`` and ``n_head`` the sum over layers, divided by L, of
      the value and of its square. Squares are multiplied by 0.3.
    - 2 for each of L layers: the differences of ``mlp_ratio`` and ``n_head`` from their means over
      the layers of the architecture, multiplied by 0.015; 0 for a layer that it does not have.

    Parameters
    ----------
    codes : (n, d) integers
        Valid codes.

    Returns
    -------
    (n, 8 * w + 2 * L) float64
    """
    indices = np.asarray(codes).astype(np.intp)
    n = len(indices)
    active = space.active(indices)[:, 3::2]  # (n, L)
    # Effects that differ between widths.
    depth = _scale_options(space.n_layer)[indices[:, 1]]
    bias = _scale_options(space.bias)[indices[:, 2]]
    effects = [np.ones(n), depth, _CURVATURE * depth**2, bias]
    # Effects of single layers, which all widths share.
    contrasts = []
    for options, choices in ((space.mlp_ratio, indices[:, 3::2]), (space.n_head, indices[:, 4::2])):
        values = _scale_options(options)[choices] * active  # (n, L)
        effects += [values.mean(axis=1), _CURVATURE * (values**2).mean(axis=1)]
        mean = values.sum(axis=1, keepdims=True) / active.sum(axis=1, keepdims=True)
        contrasts.append(_CONTRAST / 2 * (values - mean) * active)
    # Copy the first effects into the columns of the architecture's own width.
    has_width = indices[:, :1] == np.arange(len(space.embed_dim))  # (n, w)
    effects_by_width = has_width[:, :, None] * np.stack(effects, axis=1)[:, None]  # (n, w, 8)
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


def _scale_options(options: tuple[int, ...]) -> Array:
    """Return options scaled linearly to -1 ... 1; a single option becomes 0."""
    values = np.array(options, dtype=np.float64)
    middle, half_range = (values[0] + values[-1]) / 2, (values[-1] - values[0]) / 2
    return np.asarray((values - middle) / (half_range or 1.0))


def _sample_pool(space: GPTSpace, rng: np.random.Generator) -> Codes:
    """Return candidates: uniform architectures, and some in which layers are mostly equal."""
    if space.size <= 2 * _POOL_SIZE:
        return np.concatenate(list(space.enumerate()))
    codes = space.sample(_POOL_SIZE, rng)
    # In the first half of the pool, most layers become copies of the first layer. The probability
    # that a layer differs is uniform on -0.5 ... 1, so in a third of these none does.
    half = _POOL_SIZE // 2
    layers = codes[:half, 3:].reshape(half, -1, 2)
    differs = rng.uniform(-0.5, 1, (half, 1)) > rng.random(layers.shape[:2])  # (half, L)
    layers = np.where(differs[:, :, None], layers, layers[:, :1])
    codes[:half, 3:] = layers.reshape(half, -1)
    return space.canonical(codes)


def _set_difference(codes: Codes, excluded: Codes) -> Codes:
    """Return the distinct rows that are not among the excluded ones, sorted."""
    excluded_rows = {row.tobytes() for row in excluded}
    rows = np.unique(codes, axis=0)
    return rows[[row.tobytes() not in excluded_rows for row in rows]]
