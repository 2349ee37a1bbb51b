"""Networks that are best in a weighted sum of additive tables."""

from __future__ import annotations

import numpy as np

from hwnas import pareto
from hwnas.additive.effects import Effects
from hwnas.spaces import Codes
from hwnas.typing import Array


def directions(n: int, m: int, c: int, rng: np.random.Generator) -> Array:
    """Weights (k, m + c) of objectives and violations, of sum 1.

    Of two objectives evenly spread angles, of more what is drawn from their simplex. Where there
    are violations, half of the weights leave them out. Every objective comes nearly on its own, so that
    the others break ties, and every violation on its own.
    """
    if m == 2:
        angle = np.pi / 2 * (0.5 - 0.5 * np.cos(np.linspace(0, np.pi, n + 2)[1:-1]))
        weights = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    else:
        weights = rng.dirichlet(np.ones(m), size=n)
    share = rng.uniform(0, 2, size=(n, 1)) * (np.arange(n)[:, None] % 2)
    violation = rng.dirichlet(np.ones(c), size=n) * share if c else np.empty((n, 0))
    corners = np.eye(m + c)
    corners[:m, :m] += 1e-4
    weights = np.concatenate([np.concatenate([weights, violation], axis=1), corners])
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def supported(effects: Effects, base: Array, layers: Array, weights: Array, m: int) -> Codes:
    """The non-dominated of the networks of each root that are best in some weighted sum.

    A weighted sum of tables is a table, and least where every layer's entry is. The sums of many
    layers' options lie so densely that little of a front is not near such a network (the theorem of
    Shapley and Folkman; Starr, "Quasi-equilibria in markets with non-convex preferences",
    Econometrica 1969).

    Parameters
    ----------
    effects
        Of the space.
    base : (q, R)
    layers : (q, R, L, O)
        Tables of m objectives, then of violations.
    weights : (k, q)
    m
        How many of the tables are objectives.

    Returns
    -------
    (n, d) int8
    """
    layers = layers * effects.present[:, :, None]
    span = np.ptp(layers, axis=3).sum(axis=2).mean(axis=1)  # what layers can change
    scaled = weights / np.where(span > 0, span, 1.0)
    sums = np.tensordot(scaled, layers, axes=1)  # (k, R, L, O)
    options = sums.argmin(axis=3)
    values = np.stack(
        [
            np.take_along_axis(table[None], options[..., None], axis=3)[..., 0].sum(axis=2) + once
            for table, once in zip(layers, base, strict=True)
        ],
        axis=-1,
    ).reshape(-1, len(base))
    values[:, m:] = np.maximum(values[:, m:], 0)
    keep = np.flatnonzero(pareto.non_dominated(values))
    root = np.broadcast_to(np.arange(base.shape[1]), options.shape[:2]).ravel()
    return effects.codes(root[keep], options.reshape(-1, options.shape[2])[keep])
