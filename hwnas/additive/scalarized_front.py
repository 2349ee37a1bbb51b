"""Architectures that minimize weighted sums of additive tables."""

from __future__ import annotations

import numpy as np

from hwnas import pareto
from hwnas.additive.choice import AnyEffects
from hwnas.typing import Array, Codes, IndexArray


def weight_vectors(n: int, m: int, c: int, rng: np.random.Generator) -> Array:
    """Return weights of objectives and constraint violations, each row of sum 1.

    The weights of two objectives have evenly spread angles, those of more objectives are uniform
    on the simplex. If there are violations, every second row includes them. The last rows have
    almost all weight on one objective, so that the other objectives break ties, or all weight on
    one violation.

    Parameters
    ----------
    n
        Number of weights besides those of the last rows.
    m, c
        Numbers of objectives and of violations.
    rng
        Source of randomness.

    Returns
    -------
    (n + m + c, m + c)

    Examples
    --------
    >>> weight_vectors(1, 2, 0, np.random.default_rng(0)).round(3)
    array([[0.5, 0.5],
           [1. , 0. ],
           [0. , 1. ]])
    """
    # Cosine spacing places more angles near the ends, where fronts are steep.
    if m == 2:
        angle = np.pi / 2 * (0.5 - 0.5 * np.cos(np.linspace(0, np.pi, n + 2)[1:-1]))
        weights = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    else:
        weights = rng.dirichlet(np.ones(m), size=n)
    # Weights of violations, of total 0 to 2 in every second row.
    share = rng.uniform(0, 2, size=(n, 1)) * (np.arange(n)[:, None] % 2)
    violation = rng.dirichlet(np.ones(c), size=n) * share if c else np.empty((n, 0))
    # One objective or violation alone, with a small share of the other objectives.
    corners = np.eye(m + c)
    corners[:m, :m] += 1e-4
    weights = np.concatenate([np.concatenate([weights, violation], axis=1), corners])
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def scalarized_front(
    effects: AnyEffects,
    base: Array,
    layers: Array,
    weights: Array,
    m: int,
    n_infeasible: int | None = None,
) -> Codes:
    """Return the non-dominated architectures among the minimizers of weighted sums.

    A weighted sum of tables is a table, and every root's minimizer takes the smallest entry of
    every layer. The sums of many layers' options are so dense that nearly all of a front is close
    to such a minimizer (theorem of Shapley and Folkman; Starr, "Quasi-equilibria in markets with
    non-convex preferences", Econometrica 1969).

    Parameters
    ----------
    effects
        Effects of the search space.
    base : (q, R)
    layers : (q, R, L, O)
        Tables of m objectives, then of violations; see `Effects.tables`.
    weights : (k, q)
    m
        Number of objectives.
    n_infeasible
        Number of minimizers of least violation that join the front of the feasible ones; ``None``
        returns the front of objectives and violations together, most of which is infeasible.

    Returns
    -------
    (n, d) int8
    """
    layers = layers * effects.present[:, :, None]
    # Divide the weights by the ranges of the tables, so that units do not matter.
    span = np.ptp(layers, axis=3).sum(axis=2).mean(axis=1)
    scaled = weights / np.where(span > 0, span, 1.0)
    # Minimize every weighted sum layer by layer.
    sums = np.tensordot(scaled, layers, axes=1)  # (k, R, L, O)
    options = sums.argmin(axis=3)
    # Values (k * R, q) of the minimizers; violations that are met count as 0.
    values = np.stack(
        [
            np.take_along_axis(table[None], options[..., None], axis=3)[..., 0].sum(axis=2) + root
            for table, root in zip(layers, base, strict=True)
        ],
        axis=-1,
    ).reshape(-1, len(base))
    values[:, m:] = np.maximum(values[:, m:], 0)
    if n_infeasible is None:
        front = np.flatnonzero(pareto.non_dominated(values))
    else:
        front = _feasible_front(values, m, n_infeasible)
    roots = np.broadcast_to(np.arange(base.shape[1]), options.shape[:2]).ravel()
    return effects.codes(roots[front], options.reshape(-1, options.shape[2])[front])


def _feasible_front(values: Array, m: int, n_infeasible: int) -> IndexArray:
    """Return the front of the feasible among values (n, q), and infeasible members of the front.

    The latter are up to `n_infeasible`, of the least sum of violations in units of their ranges.
    """
    is_feasible = (values[:, m:] == 0).all(axis=1)
    feasible, others = np.flatnonzero(is_feasible), np.flatnonzero(~is_feasible)
    front = feasible[pareto.non_dominated(values[feasible, :m])]
    others = others[pareto.non_dominated(values[others])]
    span = np.ptp(values[:, m:], axis=0)
    violation = (values[others, m:] / np.where(span > 0, span, 1.0)).sum(axis=1)
    return np.concatenate([front, others[np.argsort(violation)[:n_infeasible]]])
