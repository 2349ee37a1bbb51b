"""Fronts of sums over layers, of two objectives: points of the convex hull and those beside them.

The sums of layers' options with the smallest weighted sums of two objectives lie on the convex hull
of all sums. The hull of a sum of sets is the sum of their hulls (Minkowski): starting from the
smallest first objective, its edges are those of all layers' hulls, in the order of their slopes. So
a *path* of exchanges of one option for the next, sorted by slope, visits all of it. The other
members of a front lie in the small triangles between two points of the hull. They differ from a
point nearby by few exchanges of about the same slope, made earlier or later than their turn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.typing import Array, BoolArray, IndexArray

_MANY_EXCHANGES = 120  # of a path beyond which fewer points beside it are tried
_REACH, _SHORT_REACH = 8, 4  # exchanges before and after a point of the hull that are tried


@dataclass(frozen=True)
class Hulls:
    """Lower left convex hulls of the options of each root and layer.

    Attributes
    ----------
    first : (R, L)
        Option of the smallest first objective.
    options : (R, L, K)
        Options that follow, along the hull.
    slopes : (R, L, K)
        Change of the second objective by that of the first, negative and ascending; infinite behind
        the end of a hull.
    """

    first: IndexArray
    options: IndexArray
    slopes: Array


def layer_hulls(layers: Array) -> Hulls:
    """Return the hulls of tables (2, R, L, O); rows of an absent layer are constant.

    Examples
    --------
    >>> hulls = layer_hulls(np.array([[[[0.0, 1.0, 2.0]]], [[[4.0, 1.0, 0.0]]]]))
    >>> hulls.first.tolist(), hulls.options.tolist(), hulls.slopes.tolist()
    ([[0]], [[[1, 2]]], [[[-3.0, -1.0]]])
    """
    x, y = layers
    first = np.lexsort((y, x), axis=-1)[..., 0]
    current, options, slopes = first, [], []
    for _ in range(x.shape[-1] - 1):
        # Gift wrapping, in all layers at once: the steepest way down from the current option.
        dx = x - np.take_along_axis(x, current[..., None], -1)
        dy = y - np.take_along_axis(y, current[..., None], -1)
        steep = np.where(dy < 0, dy / np.maximum(dx, 1e-300), np.inf)
        option = steep.argmin(axis=-1)
        slope = np.take_along_axis(steep, option[..., None], -1)[..., 0]
        options.append(option)
        slopes.append(slope)
        current = np.where(np.isfinite(slope), option, current)
    if not options:
        return Hulls(first, first[..., None][..., :0], x[..., :0])
    return Hulls(first, np.stack(options, axis=-1), np.stack(slopes, axis=-1))


def nearly_supported(
    base: Array, layers: Array, present: BoolArray
) -> tuple[IndexArray, IndexArray]:
    """Return the non-dominated among points on the hull of each root and beside it.

    Parameters
    ----------
    base : (2, R)
    layers : (2, R, L, O)
        Tables of two objectives, see `hwnas.additive.effects.Effects.tables`.
    present : (R, L)
        Mask of the layers of each root.

    Returns
    -------
    root : (n,) intp
    options : (n, L) intp

    Examples
    --------
    >>> layers = np.array([[[[0.0, 1.0]] * 2], [[[1.0, 0.0]] * 2]])
    >>> present = np.ones((1, 2), dtype=bool)
    >>> root, options = nearly_supported(np.zeros((2, 1)), layers, present)
    >>> sorted(options.sum(axis=1).tolist())
    [0, 1, 2]
    """
    layers = np.where(present[:, :, None], layers, 0.0)
    paths = _Paths(base, layers, layer_hulls(layers))
    values, routes = paths.points(*paths.near_front())
    routes = routes[:, _front_of_pairs(values)]
    # One point can be reached in several ways, whose sums differ by rounding.
    distinct = np.unique(np.column_stack([routes[0], paths.options(*routes)]), axis=0)
    return distinct[:, 0], distinct[:, 1:]


class _Paths:
    """Paths of exchanges of each root from the smallest first to the smallest second objective.

    A *point* is the index of a root and a number of exchanges, t, that are made.

    Parameters
    ----------
    base : (2, R)
    layers : (2, R, L, O)
    hulls
        Hulls of the layers.
    """

    def __init__(self, base: Array, layers: Array, hulls: Hulls) -> None:
        n_roots, _, n_steps = hulls.slopes.shape
        slopes = hulls.slopes.reshape(n_roots, -1)
        order = np.argsort(slopes, axis=1, kind="stable")  # the steps of a layer stay in order
        is_exchange = np.isfinite(np.take_along_axis(slopes, order, axis=1))
        replaced = np.concatenate([hulls.first[..., None], hulls.options], axis=2)[..., :n_steps]
        changes = np.take_along_axis(layers, hulls.options[None], axis=3)
        changes -= np.take_along_axis(layers, replaced[None], axis=3)
        changes = np.take_along_axis(changes.reshape(2, n_roots, -1), order[None], axis=2)
        start = np.take_along_axis(layers, hulls.first[None, ..., None], axis=3)
        start = base + start[..., 0].sum(axis=2)
        # Behind the last exchange of a root stand changes of 0, and one more of layer -1.
        self.first = hulls.first  # (R, L)
        self.n = is_exchange.sum(axis=1)  # (R,) number of exchanges
        self.changes = _padded(np.where(is_exchange, changes, 0.0), 0.0)  # (2, R, T + 1)
        self.layer = _padded(order // max(n_steps, 1), -1)  # (R, T + 1)
        self.old, self.new = (
            _padded(np.take_along_axis(options.reshape(n_roots, -1), order, axis=1), 0)
            for options in (replaced, hulls.options)
        )
        steps = np.cumsum(self.changes[..., :-1], axis=2)
        zero = np.zeros((2, n_roots, 1))
        self.hull = start[:, :, None] + np.concatenate([zero, steps], axis=2)  # (2, R, T + 1)

    def near_front(self) -> tuple[IndexArray, IndexArray]:
        """Return the points, roots and t (n,), that few exchanges can bring to the front."""
        exists = np.arange(self.hull.shape[2]) <= self.n[:, None]
        root, t = np.nonzero(exists)
        values = self.hull[:, root, t]
        front = values[:, _front_of_pairs(values)]
        # The exchanges before and after are about as large as those that are tried.
        sizes = np.abs(self.changes)
        x, y = values - sizes[:, root, t] - sizes[:, root, np.maximum(t - 1, 0)]
        lowest = np.append(np.inf, np.minimum.accumulate(front[1]))
        near = y <= lowest[np.searchsorted(front[0], x, side="right")]
        return root[near], t[near]

    def points(self, root: IndexArray, t: IndexArray) -> tuple[Array, IndexArray]:
        """Return points of the hull (k,) and beside it.

        Returns
        -------
        values : (2, n)
        places : (4, n)
            Of each the root, the point of the hull, and two exchanges that are made or taken back
            from there, -1 for none.
        """
        hull, none = self.hull[:, root, t], np.full(len(t), -1)
        values, routes = [hull], [np.stack([root, t, none, none])]
        reach = _SHORT_REACH if self.n.max() > _MANY_EXCHANGES else _REACH
        offsets = [*range(-reach, 0), *range(reach)]
        toggles = [self._toggle(root, t, offset) for offset in offsets]
        moves = [
            np.copysign(1, offset) * self.changes[:, root, step]
            for offset, step in zip(offsets, toggles, strict=True)
        ]
        layers = [self.layer[root, step] for step in toggles]  # -1 where a step is impossible
        for a, first in enumerate(toggles):
            usable = first >= 0
            values.append((hull + moves[a])[:, usable])
            routes.append(np.stack([root, t, first, none])[:, usable])
            for b, second in enumerate(toggles[:a]):
                both = usable & (second >= 0) & (layers[a] != layers[b])
                values.append((hull + moves[a] + moves[b])[:, both])
                routes.append(np.stack([root, t, first, second])[:, both])
        return np.concatenate(values, axis=1), np.concatenate(routes, axis=1)

    def options(
        self, root: IndexArray, t: IndexArray, first: IndexArray, second: IndexArray
    ) -> IndexArray:
        """Return the options (n, L) of points with two exchanges made or taken back."""
        n_roots, n_steps = self.layer.shape[0], self.layer.shape[1] - 1
        # The last exchange of each layer before every point of the hull, -1 for none.
        last = np.full((n_roots, n_steps + 1, self.first.shape[1]), -1)
        r, step = np.nonzero(np.arange(n_steps) < self.n[:, None])
        last[r, step + 1, self.layer[r, step]] = step
        last = np.maximum.accumulate(last, axis=1)[root, t]  # (n, L)
        options = np.where(last >= 0, self.new[root[:, None], last], self.first[root])
        for toggle in (first, second):
            rows = np.flatnonzero(toggle >= 0)
            r, step = root[rows], toggle[rows]
            exchanged = np.where(step < t[rows], self.old[r, step], self.new[r, step])
            options[rows, self.layer[r, step]] = exchanged
        return np.asarray(options)

    def _toggle(self, root: IndexArray, t: IndexArray, offset: int) -> IndexArray:
        """Return the exchange at an offset from each point, -1 where that is impossible.

        An exchange can be taken back if it is the last one of its layer, and made before its turn
        if it is the next one.
        """
        step = t + offset
        usable = (step >= 0) & (step < self.n[root])
        step = np.where(usable, step, -1)
        layer = self.layer[root, step]
        for offset_between in range(offset + 1, 0) if offset < 0 else range(offset):
            usable &= self.layer[root, np.where(usable, t + offset_between, -1)] != layer
        return np.where(usable, step, -1)


def _padded(values: NDArray[Any], end: float) -> NDArray[Any]:
    """Append a column."""
    return np.append(values, np.full((*values.shape[:-1], 1), end, dtype=values.dtype), axis=-1)


def _front_of_pairs(values: Array) -> IndexArray:
    """Return the indices of the non-dominated among points (2, n), one of equal ones."""
    order = np.lexsort((values[1], values[0]))
    y = values[1, order]
    lowest_before = np.concatenate([[np.inf], np.minimum.accumulate(y)[:-1]])
    return np.asarray(order[y < lowest_before])
