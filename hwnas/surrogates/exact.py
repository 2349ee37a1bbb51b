"""Exact Pareto fronts of additive tables, by dynamic programming over layers.

Within one ``embed_dim`` and ``bias`` a network is a path through the layers, and each objective the
sum of what its layers add. A *label* is a partial sum, one number a table. If one label is nowhere
worse than another after the same layers, so is each of its completions; so after every layer only
non-dominated labels stay. This is the multiobjective shortest path of a layered graph (Hansen
1980; Ehrgott, Multicriteria Optimization, 2005, chapter 9).

Labels are summed in the order in which `hwnas.surrogates.tables.predict` sums. Floating-point
addition is monotone, so the front is exact for what `predict` says, rounding included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwnas import pareto
from hwnas.spaces import Codes
from hwnas.surrogates.tables import AdditiveTable

Array = NDArray[np.float64]

MOST_LABELS = 5_000_000
_LEADING = 3  # columns of a code before those of its first layer
_SLACK = 1e-9  # of the numbers at hand: far above rounding, far below what matters


@dataclass(frozen=True, slots=True)
class Limit:
    """A constraint: at most `bound` of a table."""

    table: AdditiveTable
    bound: float


@dataclass(frozen=True, slots=True)
class _Ends:
    """Complete labels of one (embed_dim, n_layer, bias)."""

    root: tuple[int, int, int]
    values: Array  # (k, n)
    parents: list[NDArray[np.int32]]  # of each layer: its labels' predecessors
    options: list[NDArray[np.int16]]  # and what they chose there, ratio * H + head


class _TooMany(Exception):
    """More labels than allowed."""


def exact_front(
    objectives: Sequence[AdditiveTable],
    limits: Sequence[Limit] = (),
    *,
    most: int = MOST_LABELS,
) -> Codes | None:
    """The networks that no other network dominates, one for each distinct point.

    Parameters
    ----------
    objectives
        m tables of one space, all minimised.
    limits
        Constraints. One on the very table of an objective costs nothing, any other is a dimension
        more of the labels.
    most
        Candidate labels after any layer beyond which to give up: with three dimensions and more
        their number explodes.

    Returns
    -------
    (n, d) int8, or None
        In no particular order, empty where no network keeps the limits; ``None`` where more than
        `most` labels would be needed.
    """
    m = len(objectives)
    tables = list(objectives)
    bounds = [np.inf] * m
    for limit in limits:
        known = [j for j, table in enumerate(tables) if table is limit.table]
        if known:
            bounds[known[0]] = min(bounds[known[0]], limit.bound)
        else:
            tables.append(limit.table)
            bounds.append(limit.bound)
    try:
        ends = [
            end
            for e in range(tables[0].base.shape[0])
            for biases in _alike(tables, e)
            for end in _paths(tables, np.array(bounds), m, e, biases, most)
        ]
    except _TooMany:
        return None
    depth, _, heads = tables[0].layers.shape[2:]
    found = np.concatenate([end.values[:m] for end in ends], axis=1)
    owner = np.repeat(np.arange(len(ends)), [end.values.shape[1] for end in ends])
    label = np.concatenate([np.arange(end.values.shape[1]) for end in ends])
    best = _non_dominated(found)
    codes = np.zeros((len(best), _LEADING + 2 * depth), dtype=np.int8)
    for k, end in enumerate(ends):
        rows = np.flatnonzero(owner[best] == k)
        codes[rows, :_LEADING] = end.root
        at = label[best[rows]]
        for i in reversed(range(len(end.parents))):
            option = end.options[i][at]
            codes[rows, _LEADING + 2 * i] = option // heads
            codes[rows, _LEADING + 2 * i + 1] = option % heads
            at = end.parents[i][at]
    return codes


def _alike(tables: Sequence[AdditiveTable], e: int) -> list[list[int]]:
    """The biases of a width, those together for which every layer adds the same."""
    groups: dict[bytes, list[int]] = {}
    for b in range(tables[0].base.shape[2]):
        groups.setdefault(b"".join(t.layers[e, b].tobytes() for t in tables), []).append(b)
    return list(groups.values())


def _paths(
    tables: Sequence[AdditiveTable],
    bounds: Array,
    m: int,
    e: int,
    biases: list[int],
    most: int,
) -> Iterator[_Ends]:
    """The labels that are left at every depth, for one width and biases whose layers are alike."""
    depths = tables[0].depths.tolist()
    layers = np.stack([t.layers[e, biases[0]] for t in tables])  # (k, L, R, H)
    layers = layers.reshape(*layers.shape[:2], -1)  # (k, L, R * H)
    base = np.stack([t.base[e][:, biases] for t in tables])  # (k, D, biases)
    least = _to_come(layers, base, depths, np.min)
    greatest = _to_come(layers, base, depths, np.max)
    slack = _SLACK * (
        np.abs(least) + np.abs(greatest) + np.where(np.isinf(bounds), 0, np.abs(bounds))
    )
    limited = np.flatnonzero(np.isfinite(bounds))
    labels = np.zeros((len(tables), 1))
    parents: list[NDArray[np.int32]] = []
    options: list[NDArray[np.int16]] = []
    for i in range(depths[-1]):
        useful = _non_dominated(layers[:, i])
        n = labels.shape[1]
        if n * len(useful) > most:
            raise _TooMany
        # One run for each option, each in the order of the labels: a merge for the sort.
        grown = (layers[:, i, useful, None] + labels[:, None, :]).reshape(len(tables), -1)
        kept = np.arange(grown.shape[1])
        if len(limited):
            room = bounds - least[i + 1] + slack[i + 1]
            kept = np.flatnonzero((grown[limited] <= room[limited, None]).all(axis=0))
            for j in limited[limited >= m]:
                # Whatever comes keeps the limit from here down: no need to tell labels apart.
                safe = bounds[j] - greatest[i + 1, j] - slack[i + 1, j]
                np.maximum(grown[j], safe, out=grown[j])
        kept = kept[_non_dominated(grown[:, kept])]
        labels = grown[:, kept]
        parents.append((kept % n).astype(np.int32))
        options.append(useful[kept // n].astype(np.int16))
        if i + 1 in depths:
            d = depths.index(i + 1)
            for k, b in enumerate(biases):
                values = labels + base[:, d, k, None]
                fine = np.flatnonzero((values <= bounds[:, None]).all(axis=0))
                yield _Ends(
                    (e, d, b),
                    values[:, fine],
                    [*parents[:-1], parents[-1][fine]],
                    [*options[:-1], options[-1][fine]],
                )


def _to_come(layers: Array, base: Array, depths: list[int], extreme: Callable[..., Array]) -> Array:
    """Least or most that can still be added to labels after i layers, (L + 1, k)."""
    out = np.empty((depths[-1] + 1, len(layers)))
    ends = extreme(base, axis=2)  # (k, D)
    for i in reversed(range(depths[-1] + 1)):
        reachable = []
        if i < depths[-1]:
            reachable.append(out[i + 1] + extreme(layers[:, i], axis=1))
        if i in depths:
            reachable.append(ends[:, depths.index(i)])
        out[i] = extreme(np.stack(reachable), axis=0)
    return out


def _non_dominated(values: Array) -> NDArray[np.intp]:
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
