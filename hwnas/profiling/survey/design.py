"""Which networks to measure, so that a few say most about all the others.

What is measured of hardware nearly adds up over layers within each ``embed_dim``. So networks are
chosen for a linear model of that form, each the one of which it knows least so far: a greedy
D-optimal design (Fedorov 1972, Theory of Optimal Experiments).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwnas.errors import InvalidInput
from hwnas.spaces import Codes, SearchSpace

_POOL = 4096  # networks among which one is chosen; a space of up to twice as many is listed
_ROUND = 256  # choices from one pool
_CURVATURE, _CONTRAST = 0.3, 0.03  # how much less these are expected to matter
_RIDGE = 1e-2  # the noise's variance over that of an effect


def designed(space: SearchSpace, n: int, rng: np.random.Generator) -> Codes:
    """Networks to be measured, the most telling first.

    They begin with the `corners`; each that follows adds most to what `features` learn. The first
    k of them are a design of k: the same generator gives them again.

    Returns
    -------
    (n, d) int8, distinct

    Raises
    ------
    InvalidInput
        The space has fewer networks, or `n` is no positive integer.
    """
    if type(n) is not int or n < 1:
        raise InvalidInput(f"expected a positive number of networks, found {n!r}")
    if n > space.size:
        raise InvalidInput(
            f"expected at most {space.size} networks, all that {space.name} has, found {n}"
        )
    pool = corners(space)
    rows = features(space, pool)
    information = _RIDGE * np.eye(rows.shape[1])
    chosen = pool[:0]
    while True:
        took = greedy(rows, min(_ROUND, len(pool)), information)
        information += rows[took].T @ rows[took]
        chosen = np.concatenate([chosen, pool[took]])
        if len(chosen) >= n:
            return np.ascontiguousarray(chosen[:n])
        pool = _without(_pool(space, rng), chosen)
        rows = features(space, pool)


def anchor(space: SearchSpace) -> Codes:
    """The homogeneous network in the middle of every choice; of an even number the upper middle.

    Returns
    -------
    (d,) int8
    """
    middle: Codes = space.canonical(space.cardinalities[None] // 2)[0]
    return middle


def corners(space: SearchSpace) -> Codes:
    """For each ``embed_dim``, the networks with the least and the greatest of everything else.

    Returns
    -------
    (k, d) int8, distinct
    """
    greatest = space.cardinalities - 1
    codes = np.stack([np.zeros_like(greatest), greatest] * len(space.embed_dim))
    codes[:, 0] = np.repeat(np.arange(len(space.embed_dim)), 2)
    return np.unique(space.canonical(codes), axis=0)


def features(space: SearchSpace, codes: ArrayLike) -> NDArray[np.float64]:
    """What the linear model sees of networks, all of it between -1 and 1.

    For each of w ``embed_dim``, and 0 in networks of another: 1, ``bias``, ``n_layer``, the sums
    over layers of ``mlp_ratio`` and of ``n_head``, and with less weight the squares of these three.
    For each of L layers, with little weight: how far ``mlp_ratio`` and ``n_head`` are from their
    means in the network.

    Parameters
    ----------
    codes : (n, d) integers
        Valid codes.

    Returns
    -------
    (n, 8 * w + 2 * L) float64
    """
    given = np.asarray(codes).astype(np.intp)
    active = space.active(given)[:, 3::2]  # (n, L)
    depth = _scaled(space.n_layer)[given[:, 1]]
    own = [np.ones(len(given)), depth, _CURVATURE * depth**2, _scaled(space.bias)[given[:, 2]]]
    shared = []
    for choices, layers in ((space.mlp_ratio, given[:, 3::2]), (space.n_head, given[:, 4::2])):
        values = _scaled(choices)[layers] * active  # (n, L)
        own += [values.mean(axis=1), _CURVATURE * (values**2).mean(axis=1)]
        mean = values.sum(axis=1, keepdims=True) / active.sum(axis=1, keepdims=True)
        shared.append(_CONTRAST / 2 * (values - mean) * active)
    of_width = given[:, :1] == np.arange(len(space.embed_dim))  # (n, w)
    of_widths = of_width[:, :, None] * np.stack(own, axis=1)[:, None]  # (n, w, 8)
    return np.concatenate([of_widths.reshape(len(given), -1), *shared], axis=1)


def greedy(rows: ArrayLike, k: int, information: ArrayLike) -> NDArray[np.intp]:
    """Choose rows, each the one that adds most to the logarithm of the information's determinant.

    Costs O(m p) a choice, by updates of rank one.

    Parameters
    ----------
    rows : (m, p) float64
    k
        How many, at most m.
    information : (p, p) float64
        What is known before, positive definite; choosing x adds the outer product of x with itself.

    Returns
    -------
    (k,) int
        Distinct indices, in order.
    """
    rows = np.asarray(rows, dtype=np.float64)
    inverse = np.linalg.inv(np.asarray(information, dtype=np.float64))
    gain = (rows @ inverse * rows).sum(axis=1)  # the variance of what is said of each row
    chosen = np.zeros(k, dtype=np.intp)
    for i in range(k):
        # Rounded, so that of equals the first is chosen, however the last bits fell.
        best = chosen[i] = np.argmax(gain.round(9))
        step = inverse @ rows[best]
        shrink = 1 / (1 + gain[best])
        inverse -= shrink * np.outer(step, step)
        gain -= shrink * (rows @ step) ** 2
        gain[best] = -np.inf
    return chosen


def _scaled(choices: tuple[int, ...]) -> NDArray[np.float64]:
    """Choices from -1 to 1; a single one is 0."""
    values = np.array(choices, dtype=np.float64)
    middle, reach = (values[0] + values[-1]) / 2, (values[-1] - values[0]) / 2
    return np.asarray((values - middle) / (reach or 1.0))


def _pool(space: SearchSpace, rng: np.random.Generator) -> Codes:
    """Networks to choose from: uniform ones, and some with most or all layers alike."""
    if space.size <= 2 * _POOL:
        return np.concatenate(list(space.enumerate()))
    codes = space.sample(_POOL, rng)
    half = _POOL // 2
    layers = codes[:half, 3:].reshape(half, -1, 2)
    odd = rng.uniform(-0.5, 1, (half, 1)) > rng.random(layers.shape[:2])  # none in a third of them
    layers = np.where(odd[:, :, None], layers, layers[:, :1])
    codes[:half, 3:] = layers.reshape(half, -1)
    return space.canonical(codes)


def _without(codes: Codes, others: Codes) -> Codes:
    """The distinct rows that are not among others, sorted."""
    seen = {row.tobytes() for row in others}
    rows = np.unique(codes, axis=0)
    return rows[[row.tobytes() not in seen for row in rows]]
