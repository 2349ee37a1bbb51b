"""Labels: the partial sums of additive tables, layer by layer, as few of them as will do.

Within one ``embed_dim``, ``n_layer`` and ``bias`` a network is a path through the layers, and each
objective the sum of what its layers add. A *label* is a partial sum, one number a table. If one
label is nowhere worse than another after the same layers, so is each of its completions; so after
every layer only non-dominated labels stay. This is the multiobjective shortest path of a layered
graph (Hansen 1980; Ehrgott, Multicriteria Optimization, 2005, chapter 9). Nor need a label stay
that a known network dominates with the least added that can still come.

Labels are summed in the order in which `hwnas.surrogates.tables.predict` sums. Floating-point
addition is monotone, so what holds of labels holds of what `predict` says, rounding included.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwnas import pareto
from hwnas.spaces import Codes
from hwnas.surrogates.tables import AdditiveTable
from hwnas.typing import Array

Reduction = Callable[[Array, Array], tuple[NDArray[np.intp], Array]]
"""Labels (k, n), and points (k, q) by which they may be dominated too, to which of the labels stay,
(r,), and what those are from there on, (k, r)."""

_LEADING = 3  # columns of a code before those of its first layer
_SLACK = 1e-9  # of the numbers at hand: far above rounding, far below what matters


class TooManyLabels(Exception):
    """More labels than allowed."""


@dataclass(frozen=True, slots=True)
class Ends:
    """Complete labels of one (embed_dim, n_layer, bias)."""

    root: tuple[int, int, int]
    values: Array  # (k, n)
    parents: list[NDArray[np.int32]]  # of each layer: its labels' predecessors
    options: list[NDArray[np.int16]]  # and what they chose there, ratio * H + head


@dataclass(frozen=True, slots=True)
class Labelling:
    """How labels are made.

    Attributes
    ----------
    tables
        k tables of one space.
    bounds : (k,)
        Most that a network may have of each, infinite where it may have any.
    m
        How many of the tables are objectives; they come first.
    most
        Candidate labels after any layer beyond which to give up.
    """

    tables: Sequence[AdditiveTable]
    bounds: Array
    m: int
    most: int

    def ends(self, reduction: Callable[[], Reduction], known: Array) -> list[Ends]:
        """Complete labels that keep the bounds.

        Parameters
        ----------
        reduction
            Makes a reduction for those labels that are compared with each other.
        known : (m, q)
            Objectives of networks that keep the bounds. Labels with nothing but completions that
            one of them dominates may be left out.

        Raises
        ------
        TooManyLabels
            There are more than `most` after a layer.
        """
        return [
            end
            for e in range(self.tables[0].base.shape[0])
            for roots in _alike(self.tables, e)
            for end in self._paths(e, roots, reduction(), known)
        ]

    def codes(self, ends: Sequence[Ends], rows: NDArray[np.intp]) -> Codes:
        """The networks (n, d) of some of the labels of all ends, counted one after the other."""
        depth, _, heads = self.tables[0].layers.shape[3:]
        owner = np.repeat(np.arange(len(ends)), [end.values.shape[1] for end in ends])
        label = np.concatenate([np.arange(end.values.shape[1]) for end in ends])
        codes = np.zeros((len(rows), _LEADING + 2 * depth), dtype=np.int8)
        for k, end in enumerate(ends):
            mine = np.flatnonzero(owner[rows] == k)
            codes[mine, :_LEADING] = end.root
            at = label[rows[mine]]
            for i in reversed(range(len(end.parents))):
                option = end.options[i][at]
                codes[mine, _LEADING + 2 * i] = option // heads
                codes[mine, _LEADING + 2 * i + 1] = option % heads
                at = end.parents[i][at]
        return codes

    def _paths(
        self, e: int, roots: list[tuple[int, int]], reduction: Reduction, known: Array
    ) -> Iterator[Ends]:
        """Labels left at each root's depth, for one width and roots whose layers are alike."""
        tables, bounds, m = self.tables, self.bounds, self.m
        depths: list[int] = tables[0].depths.tolist()
        deepest, bias = roots[0]
        layers = np.stack([t.layers[e, deepest, bias, : depths[deepest]] for t in tables])
        layers = layers.reshape(*layers.shape[:2], -1)  # (k, L, R * H)
        bases = [(depths[d], np.array([t.base[e, d, b] for t in tables])) for d, b in roots]
        least = _to_come(layers, bases, np.min)
        greatest = _to_come(layers, bases, np.max)
        tolerance = _SLACK * (
            np.abs(least) + np.abs(greatest) + np.where(np.isinf(bounds), 0, np.abs(bounds))
        )
        limited = np.flatnonzero(np.isfinite(bounds))
        rival = np.zeros((len(tables), known.shape[1]))
        size = np.abs(known).max(axis=1, initial=0)
        labels = np.zeros((len(tables), 1))
        parents: list[NDArray[np.int32]] = []
        options: list[NDArray[np.int16]] = []
        for i in range(layers.shape[1]):
            useful = non_dominated(layers[:, i])
            n = labels.shape[1]
            if n * len(useful) > self.most:
                raise TooManyLabels
            # One run for each option, each in the order of the labels: a merge for the sort.
            grown = (layers[:, i, useful, None] + labels[:, None, :]).reshape(len(tables), -1)
            kept = np.arange(grown.shape[1])
            if len(limited):
                room = bounds - least[i + 1] + tolerance[i + 1]
                kept = np.flatnonzero((grown[limited] <= room[limited, None]).all(axis=0))
                for j in limited[limited >= m]:
                    # Whatever comes keeps the limit from here down: no need to tell labels apart.
                    safe = bounds[j] - greatest[i + 1, j] - tolerance[i + 1, j]
                    np.maximum(grown[j], safe, out=grown[j])
            grown = grown[:, kept]
            few = grown.shape[1] <= known.shape[1]  # then rivals cost more than they save
            if not few:
                short = tolerance[i + 1, :m] + _SLACK * size - least[i + 1, :m]
                rival[:m] = known + short[:, None]
                rival[m:] = grown[m:].min(axis=1, keepdims=True)
            rows, labels = reduction(grown, rival[:, :0] if few else rival)
            kept = kept[rows]
            parents.append((kept % n).astype(np.int32))
            options.append(useful[kept // n].astype(np.int16))
            for root, (depth, base) in zip(roots, bases, strict=True):
                if depth == i + 1:
                    values = labels + base[:, None]
                    fine = np.flatnonzero((values <= bounds[:, None]).all(axis=0))
                    yield Ends(
                        (e, *root),
                        values[:, fine],
                        [*parents[:-1], parents[-1][fine]],
                        [*options[:-1], options[-1][fine]],
                    )


def undominated(labels: Array, rivals: Array) -> tuple[NDArray[np.intp], Array]:
    """The reduction that loses nothing: to labels that neither a label nor a rival dominates."""
    q = rivals.shape[1]
    rows = non_dominated(np.concatenate([rivals, labels], axis=1) if q else labels)
    rows = rows[rows >= q] - q
    return rows, labels[:, rows]


def _alike(tables: Sequence[AdditiveTable], e: int) -> list[list[tuple[int, int]]]:
    """The (n_layer, bias) of a width, those together whose layers all add the same.

    In each group the deepest come first.
    """
    groups: list[list[tuple[int, int]]] = []
    depths = tables[0].depths.tolist()
    for d, b in itertools.product(reversed(range(len(depths))), range(tables[0].base.shape[2])):

        def same(first: tuple[int, int], own: tuple[int, int] = (d, b)) -> bool:
            active = slice(depths[own[0]])
            return all(
                np.array_equal(t.layers[(e, *own, active)], t.layers[(e, *first, active)])
                for t in tables
            )

        home = next((group for group in groups if same(group[0])), None)
        if home is None:
            groups.append([(d, b)])
        else:
            home.append((d, b))
    return groups


def _to_come(layers: Array, bases: list[tuple[int, Array]], extreme: Callable[..., Array]) -> Array:
    """Least or most that can still be added to labels after i layers, (L + 1, k)."""
    depth = layers.shape[1]
    out = np.empty((depth + 1, len(layers)))
    for i in reversed(range(depth + 1)):
        reachable = [base for n_layer, base in bases if n_layer == i]
        if i < depth:
            reachable.append(out[i + 1] + extreme(layers[:, i], axis=1))
        out[i] = extreme(np.stack(reachable), axis=0)
    return out


def non_dominated(values: Array) -> NDArray[np.intp]:
    """Which of the points (k, n) no other dominates, one of each; ascending in the first of two."""
    if values.shape[0] != 2:
        return np.flatnonzero(pareto.non_dominated(values.T))
    order = np.argsort(values[0], kind="stable")
    x, y = values[0, order], values[1, order]
    fresh = np.ones(len(x), dtype=bool)  # below all before it
    fresh[1:] = y[1:] < np.minimum.accumulate(y)[:-1]
    order, x = order[fresh], x[fresh]
    last = np.ones(len(x), dtype=bool)  # of equal x the last is the lowest
    last[:-1] = x[1:] > x[:-1]
    return order[last]
