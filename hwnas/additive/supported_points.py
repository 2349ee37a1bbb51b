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

import numpy as np

from hwnas.typing import Array, BoolArray, IndexArray

_MANY_EXCHANGES = 120  # of a path beyond which fewer points beside it are tried
_REACH, _SHORT_REACH = 8, 4  # exchanges before and after a point of the hull that are tried

_Toggles = tuple[IndexArray, IndexArray]  # exchanges that are made or taken back, -1 for none


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


def nearly_supported(base: Array, layers: Array, present: BoolArray) -> tuple[IndexArray, Array]:
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
    hulls = layer_hulls(layers)
    paths = [_Path(base[:, r], layers[:, r], hulls, r) for r in range(base.shape[1])]
    points = [path.points() for path in paths]
    values = np.concatenate([values for values, _ in points], axis=1)
    places = np.concatenate([places for _, places in points], axis=1)  # (3, n)
    roots = np.repeat(np.arange(len(paths)), [values.shape[1] for values, _ in points])
    indices = _front_of_pairs(values)
    roots, places = roots[indices], places[:, indices]
    options = np.empty((len(indices), layers.shape[2]), dtype=np.intp)
    for r in np.unique(roots):
        rows = np.flatnonzero(roots == r)
        options[rows] = paths[r].options(places[:, rows])
    # One point can be reached in several ways, whose sums differ by rounding.
    distinct = np.unique(np.column_stack([roots, options]), axis=0)
    return distinct[:, 0], distinct[:, 1:]


class _Path:
    """Path of exchanges of one root from the smallest first to the smallest second objective."""

    def __init__(self, base: Array, layers: Array, hulls: Hulls, r: int) -> None:
        n_layers, n_steps = hulls.slopes[r].shape
        slopes = hulls.slopes[r].ravel()
        order = np.argsort(slopes, kind="stable")  # stable: the steps of a layer stay in order
        order = order[np.isfinite(slopes[order])]
        self.first = hulls.first[r]
        before = np.concatenate([self.first[:, None], hulls.options[r][:, :-1]], axis=1)
        before = before[:, :n_steps]
        every = np.arange(n_layers)
        changes = layers[:, every[:, None], hulls.options[r]] - layers[:, every[:, None], before]
        self.layer = order // max(n_steps, 1)  # (T,) layer of each exchange
        self.old, self.new = before.ravel()[order], hulls.options[r].ravel()[order]
        self.changes = changes.reshape(2, -1)[:, order]
        start = base + layers[:, every, self.first].sum(axis=1)
        steps = np.concatenate([np.zeros((2, 1)), np.cumsum(self.changes, axis=1)], axis=1)
        self.hull = start[:, None] + steps  # (2, T + 1)

    def points(self) -> tuple[Array, IndexArray]:
        """Return values (2, n), and of each the point of the hull and two exchanges (3, n)."""
        n = len(self.layer) + 1
        t, none = np.arange(n), np.full(n, -1)
        reach = _SHORT_REACH if n > _MANY_EXCHANGES else _REACH
        # Exchanges that are taken back or made before their turn, -1 where that is impossible: of
        # each layer only the last one that was made, or the next one.
        toggles = [(self._toggle(t, -i - 1), -1.0) for i in range(reach)]
        toggles += [(self._toggle(t, i), 1.0) for i in range(reach)]
        values, places = [self.hull], [np.stack([t, none, none])]
        changes = np.concatenate([self.changes, np.zeros((2, 1))], axis=1)  # that of -1 is 0
        layer = np.append(self.layer, -1)
        for a, (first, sign) in enumerate(toggles):
            for second, other_sign in [(none, 1.0), *toggles[:a]]:
                alone = second is none
                usable = (first >= 0) & (alone | ((second >= 0) & (layer[first] != layer[second])))
                moved = self.hull + sign * changes[:, first] + other_sign * changes[:, second]
                values.append(moved[:, usable])
                places.append(np.stack([t, first, second])[:, usable])
        return np.concatenate(values, axis=1), np.concatenate(places, axis=1)

    def options(self, places: IndexArray) -> IndexArray:
        """Return the options (n, L) of points (3, n)."""
        t, *toggles = places
        steps, n_layers = np.arange(len(self.layer)), len(self.first)
        # The last exchange of each layer before every point of the hull, -1 for none.
        last = np.full((len(steps) + 1, n_layers), -1)
        last[steps + 1, self.layer] = steps
        last = np.maximum.accumulate(last, axis=0)[t]
        new = np.append(self.new, 0)
        options = np.where(last >= 0, new[last], self.first)
        for toggle in toggles:
            rows = np.flatnonzero(toggle >= 0)
            step = toggle[rows]
            is_made = step < t[rows]
            options[rows, self.layer[step]] = np.where(is_made, self.old[step], self.new[step])
        return options

    def _toggle(self, t: IndexArray, offset: int) -> IndexArray:
        """Return the exchange at an offset from each point, -1 where its layer's order forbids."""
        n = len(self.layer)
        step = t + offset
        usable = (step >= 0) & (step < n)
        padded = np.append(self.layer, -1)
        between = range(offset + 1, 0) if offset < 0 else range(offset)
        for other in between:
            at = np.clip(t + other, 0, n)
            usable &= padded[at] != padded[np.clip(step, 0, n)]
        return np.where(usable, step, -1)


def _front_of_pairs(values: Array) -> IndexArray:
    """Return the indices of the non-dominated among points (2, n), one of equal ones."""
    order = np.lexsort((values[1], values[0]))
    y = values[1, order]
    lowest_before = np.concatenate([[np.inf], np.minimum.accumulate(y)[:-1]])
    return order[y < lowest_before]
