"""Lagrangian relaxations of constrained fronts of two objectives, which rule labels out.

With multipliers ``c >= 0`` and constraints ``g <= b``, a feasible architecture has
``f + c g <= f + c b``. If no rival dominates it, its objectives f lie below one of the *corners* of
the region that rivals leave open, so ``f + c g <= corner + c b``: an additive problem of two
objectives without constraints. Its *ceilings*, computed from the last layer to the first, are the
largest partial sums from which a completion comes below a corner. A label above all of them can be
dropped (`pruning`). The multipliers of a group of roots maximize the Lagrangian dual. Pairs of
constraints have ceilings too, which show early that they contradict each other.

Where there are too many corners, neighbours are replaced by one above both: labels are then kept
that could have been dropped, never the other way round.

References
----------
Geoffrion, "Lagrangean relaxation for integer programming", Mathematical Programming Study 2, 1974.
Ehrgott and Gandibleux, "Bound sets for biobjective combinatorial optimization problems", Computers
& Operations Research 34, 2007. Dumitrescu and Boland, "Improved preprocessing, labeling and scaling
algorithms for the weight-constrained shortest path problem", Networks 42, 2003.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwnas.surrogates.label_setting import Pruning, RootGroup, non_dominated_columns
from hwnas.typing import Array, BoolArray

_MAX_CORNERS = 1_000

# Weights of the two objectives, over their ranges, of which the dual is maximized.
_DIRECTIONS = np.array([[1, 0], [0, 1], [0.5, 0.5]])

_ROUNDS = 3  # of the ascent of a dual, one multiplier after the other
_BISECTIONS = 20
_LOG_RANGE = (-14.0, 7.0)  # of a multiplier, relative to the ratio of what options change


@dataclass(frozen=True, slots=True)
class Relaxation:
    """Two objectives that take up the constraints.

    Attributes
    ----------
    weights : (2, k)
        The relaxed objectives are ``weights @ tables``.
    allowance : (2,)
        What a feasible architecture can have above a corner, at most.
    is_of_objectives
        Whether objectives are in it; else `allowance` is the only corner.
    """

    weights: Array
    allowance: Array
    is_of_objectives: bool = True


def conflicts(bounds: Array) -> list[Relaxation]:
    """Return, for each pair of constraints, what a relaxation is without the objectives."""
    rows = np.eye(len(bounds))
    return [
        Relaxation(rows[list(pair)], bounds[list(pair)], is_of_objectives=False)
        for pair in itertools.combinations(range(2, len(bounds)), 2)
    ]


def relaxations(group: RootGroup, bounds: Array) -> list[Relaxation]:
    """Return the relaxations of a group, that without multipliers first."""
    extent = (group.max_completion[0] - group.min_completion[0])[:2]
    extent = np.where(extent > 0, extent, 1)
    multipliers = _multipliers(group, bounds, _DIRECTIONS / extent)
    # Objectives that have a weight take up the constraints in equal parts.
    penalties = extent[:, None] * np.sign(_DIRECTIONS)[:, :, None] * multipliers[:, None, :]
    penalties = np.concatenate([np.zeros((1, *penalties.shape[1:])), penalties])
    return [
        Relaxation(np.concatenate([np.eye(2), penalty], axis=1), penalty @ bounds[2:])
        for penalty in np.unique(penalties, axis=0)
    ]


def _multipliers(group: RootGroup, bounds: Array, directions: Array) -> Array:
    """Return multipliers (q, k - 2) near the maximum of the dual, of weighted objectives (q, 2).

    The dual is the minimum over architectures of ``weights @ f + c (g - b)``, which is concave in
    c. Along one multiplier its slope is ``g - b`` of the architecture that attains the minimum,
    which falls: bisection finds where it is 0. Any other multipliers would be valid too.
    """
    depth = group.depths[0]
    layers = group.layers[:, :depth]
    weighted, constrained = np.tensordot(directions, layers[:2], axes=1), layers[2:]
    allowed = (bounds - group.bases[0])[2:]
    # The unit of a multiplier: what options change in the objectives, over that in the constraint.
    changes = np.ptp(constrained, axis=2).sum(axis=1)
    unit = np.ptp(weighted, axis=2).sum(axis=1)[:, None] / np.where(changes > 0, changes, np.inf)
    out = np.zeros(unit.shape)

    def is_exceeded(j: int, multiplier: Array) -> BoolArray:
        """Whether the architectures of the minima violate constraint j, (q,)."""
        others = out.copy()
        others[:, j] = multiplier
        options = (weighted + np.tensordot(others, constrained, axes=1)).argmin(axis=2)
        sums = constrained[j][np.arange(depth), options].sum(axis=1)
        return np.asarray(sums > allowed[j])

    for _ in range(_ROUNDS if len(allowed) > 1 else 1):
        for j in range(len(allowed)):
            is_needed = is_exceeded(j, np.zeros(len(out)))
            low, high = (np.full(len(out), end) for end in _LOG_RANGE)
            for _ in range(_BISECTIONS):
                middle = (low + high) / 2
                rises = is_exceeded(j, np.exp(middle) * unit[:, j])
                low, high = np.where(rises, middle, low), np.where(rises, high, middle)
            out[:, j] = np.where(is_needed, np.exp(high) * unit[:, j], 0)
    return out


def pruning(group: RootGroup, relaxations: Sequence[Relaxation], corners: Array) -> Pruning | None:
    """Return what drops the labels of a group above all ceilings of some relaxation.

    Parameters
    ----------
    group
        Roots of a problem with two objectives, which come first.
    relaxations
        Those of the group.
    corners : (2, c)
        Largest values of the objectives that are of interest, ascending in the first and descending
        in the second.

    Returns
    -------
    Pruning, or None
        ``None`` where all labels of the group are dropped.
    """
    # Twice: of a partial sum and of what completes it.
    tolerance = 2 * group.tolerance.max(axis=0)
    root = np.zeros((len(group.layers), 1))
    known: list[tuple[Array, Array, list[Array]]] = []
    for relaxation in relaxations:
        ceilings = _ceilings(group, relaxation, corners)
        shift = relaxation.weights @ tolerance
        known.append((relaxation.weights, shift, ceilings))
        if not _is_below(relaxation.weights @ root - shift[:, None], ceilings[0]).any():
            return None

    def prune(labels: Array, n_layers: int) -> BoolArray:
        indices = np.arange(labels.shape[1])
        for weights, shift, ceilings in known:
            points = weights @ labels[:, indices] - shift[:, None]
            indices = indices[_is_below(points, ceilings[n_layers])]
        mask = np.zeros(labels.shape[1], dtype=bool)
        mask[indices] = True
        return mask

    return prune


def _ceilings(group: RootGroup, relaxation: Relaxation, corners: Array) -> list[Array]:
    """Return for each number of layers, from 0, the ceilings (2, c) of relaxed partial sums."""
    weights = relaxation.weights
    depth = group.layers.shape[1]
    if not relaxation.is_of_objectives:
        corners = np.zeros((2, 1))
    out: list[Array] = []
    for i in reversed(range(depth + 1)):
        parts = [
            corners + (relaxation.allowance - weights @ base)[:, None]
            for n_layer, base in zip(group.depths, group.bases, strict=True)
            if n_layer == i
        ]
        if i < depth:
            options = weights @ group.layers[:, i]
            options = options[:, non_dominated_columns(options)]
            parts.append((out[-1][:, None, :] - options[:, :, None]).reshape(2, -1))
        out.append(_highest(np.concatenate(parts, axis=1)))
    return out[::-1]


def _highest(points: Array) -> Array:
    """Return the points (2, n) that none is above, ascending in the first.

    Where they are too many, fewer and higher ones.
    """
    points = points[:, non_dominated_columns(-points)[::-1]]
    n = points.shape[1]
    if n <= _MAX_CORNERS:
        return points
    ends = np.arange(_MAX_CORNERS + 1) * n // _MAX_CORNERS
    return np.stack([points[0, ends[1:] - 1], points[1, ends[:-1]]])


def _is_below(points: Array, ceilings: Array) -> BoolArray:
    """Return whether each point (2, n) is nowhere above one of the ceilings (2, c), (n,)."""
    heights = np.append(ceilings[1], -np.inf)
    return np.asarray(points[1] <= heights[np.searchsorted(ceilings[0], points[0])])
