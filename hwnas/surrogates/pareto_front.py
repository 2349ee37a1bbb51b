"""Pareto fronts of additive tables: exact, or up to an epsilon that is proved.

`exact_front` keeps every label that could end on the front (`hwnas.surrogates.label_setting`). Their
number explodes with the objectives; `epsilon_front` rounds labels down to a grid wherever they are
too many (the scaling of Warburton 1987; Papadimitriou and Yannakakis 2000), and so knows two sets:

- *lows*: complete labels that were rounded on their way, and networks that were known before;
- *members*: networks, with the values that they really have.

**Every network is dominated by a low, or equals one.** Before the first layer that is true of
partial sums and labels. A layer adds the same to both; rounding moves a label, and only down;
dropping a dominated label leaves one that is nowhere worse; and a label is otherwise left out only
where a known network dominates all its completions. **Every low is dominated by a member up to
epsilon**: there are finitely many of both, so epsilon is computed, as the additive epsilon
indicator (Zitzler et al. 2003). Hence every network is dominated by a member up to epsilon.

Limited tables are not rounded. A label that dominates is then nowhere worse in what is limited
either, so the network behind a low keeps every limit that the network it dominates keeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial, reduce
from operator import add

import numpy as np
from numpy.typing import NDArray

from hwnas import pareto
from hwnas.spaces import Codes
from hwnas.surrogates.label_setting import Labelling, TooManyLabels, non_dominated, undominated
from hwnas.surrogates.tables import AdditiveTable, predict
from hwnas.typing import Array

EXACT_OBJECTIVES = 3
MOST_LABELS = 5_000_000
KEPT_LABELS = 30_000
_FINEST = 2.0**-14  # first width of a grid of labels, as a part of an objective's range
_COARSEST = 2.0**-3  # where labels are many because of what is limited, this does not help
_FINE = 2.0**-11  # and of one of complete networks
_TIE = 1e-6  # weight of the other objectives where one's optimum is wanted
_FULL = 1.5  # of the labels to keep: beyond, a coarser grid at once
_PILOT = 3_000  # labels to keep where all that is wanted is to be near the front


@dataclass(frozen=True, slots=True)
class Limit:
    """A constraint: at most `bound` of a table."""

    table: AdditiveTable
    bound: float


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
    labelling = _labelling(objectives, limits, most)
    known = np.empty((labelling.m, 0))
    try:
        if len(labelling.tables) > 2:
            known = predict(objectives, _pilot(labelling, _PILOT)).T
        ends = labelling.ends(lambda: undominated, known)
    except TooManyLabels:
        return None
    found = np.concatenate([end.values[: labelling.m] for end in ends], axis=1)
    return labelling.codes(ends, non_dominated(found))


def epsilon_front(
    objectives: Sequence[AdditiveTable],
    limits: Sequence[Limit] = (),
    *,
    kept: int = KEPT_LABELS,
    most: int = MOST_LABELS,
) -> tuple[Codes, float] | None:
    """Networks that dominate every network up to epsilon, of those that keep the limits.

    Parameters
    ----------
    objectives, limits, most
        As of `exact_front`.
    kept
        About how many labels to keep after a layer, and at most how many networks, beside one that
        is best in each objective.

    Returns
    -------
    codes : (n, d) int8
        Networks that keep the limits and do not dominate each other, one for each point; in no
        particular order.
    epsilon : float
        For every network that keeps the limits there is a member that is in no objective worse by
        more than epsilon times the difference between the worst and the best member (where there is
        none, between the worst and the best network). 0 where no label was rounded and no member
        left out: the front is exact.

    ``None`` where limits, which are not rounded, need more than `most` labels all the same.

    References
    ----------
    Warburton, "Approximation of Pareto optima in multiple-objective, shortest-path problems",
    Operations Research 35, 1987. Papadimitriou and Yannakakis, "On the approximability of
    trade-offs and optimal access of web sources", FOCS 2000.
    """
    labelling = _labelling(objectives, limits, most)
    try:
        pilot = _pilot(labelling, min(_PILOT, kept))
        if len(pilot) == 0:
            return pilot, 0.0
        optima = _optima(objectives, limits)
        near = np.concatenate([pilot, *optima])
        known = predict(objectives, near).T
        scale = _ranges(objectives, known)
        lows, codes = _rounded(labelling, scale, kept, known)
    except TooManyLabels:
        return None
    codes = np.concatenate([codes, near])
    codes = np.concatenate([codes[_spread(predict(objectives, codes).T, scale, kept)], *optima])
    values = predict(objectives, codes).T
    members = non_dominated(values)
    values = values[:, members]
    lows = np.concatenate([lows, known], axis=1)
    scale = _ranges(objectives, values)[:, None]
    return codes[members], pareto.epsilon((values / scale).T, (lows / scale).T)


def known_front(
    objectives: Sequence[AdditiveTable], limits: Sequence[Limit] = ()
) -> tuple[Codes, float] | None:
    """The exact front and 0, or what `epsilon_front` gives where an exact one is out of reach.

    More than `EXACT_OBJECTIVES` objectives are not tried: what they take, and what hypervolumes of
    so large a front take, is out of proportion to what is gained. With as many and a limit on
    something else, the try ends early.
    """
    codes = None
    if len(objectives) <= EXACT_OBJECTIVES:
        tables = len(_labelling(objectives, limits, MOST_LABELS).tables)
        hard = tables > EXACT_OBJECTIVES == len(objectives)
        codes = exact_front(objectives, limits, most=MOST_LABELS // 5 if hard else MOST_LABELS)
    return epsilon_front(objectives, limits) if codes is None else (codes, 0.0)


class _Grid:
    """Keeps the non-dominated labels, rounded down where they are too many.

    Parameters
    ----------
    widths : (k,)
        What a cell is to be in proportion to; 0 where labels stay as they are.
    kept
        About how many labels to keep.
    """

    def __init__(self, widths: Array, kept: int) -> None:
        self._rounded = np.flatnonzero(widths > 0)
        self._widths = widths[self._rounded, None]
        self._kept = kept
        self._step = 0.0  # of the widths; 0 until labels are too many

    def __call__(self, labels: Array, rivals: Array) -> tuple[NDArray[np.intp], Array]:
        rows = np.arange(labels.shape[1])
        if self._step == 0 or len(rows) <= self._kept:
            rows, labels = undominated(labels, rivals)
            if len(rows) <= self._kept or len(self._rounded) == 0:
                return rows, labels
        self._step = self._step or _FINEST
        while True:
            # Rounding twice loses twice, so the next layer's step is set by this one's labels.
            before = labels[self._rounded]
            cell = self._step * self._widths
            labels[self._rounded] = np.minimum(np.floor(before / cell) * cell, before)
            some, labels = undominated(labels, rivals)
            rows = rows[some]
            step = self._step * float(np.clip(np.sqrt(len(rows) / self._kept), 0.5, 2))
            self._step = min(step, _COARSEST)
            if len(rows) <= _FULL * self._kept or step >= _COARSEST:
                return rows, labels


def _labelling(
    objectives: Sequence[AdditiveTable], limits: Sequence[Limit], most: int
) -> Labelling:
    tables = list(objectives)
    bounds = [np.inf] * len(tables)
    for limit in limits:
        known = [j for j, table in enumerate(tables) if table is limit.table]
        if known:
            bounds[known[0]] = min(bounds[known[0]], limit.bound)
        else:
            tables.append(limit.table)
            bounds.append(limit.bound)
    return Labelling(tables, np.array(bounds), len(objectives), most)


def _ranges(tables: Sequence[AdditiveTable], values: Array) -> Array:
    """Worst less best of points (m, n), (m,); where that is 0 of all networks, or else 1."""
    whole = [(table.maximum() - table.minimum()) or 1 for table in tables]
    extent = np.ptp(values, axis=1)
    return np.where(extent > 0, extent, whole)


def _rounded(labelling: Labelling, scale: Array, kept: int, known: Array) -> tuple[Array, Codes]:
    """Lows (m, n) of which none dominates another, and the networks behind them."""
    widths = np.zeros(len(labelling.tables))
    widths[: labelling.m] = scale
    widths[np.isfinite(labelling.bounds)] = 0
    ends = labelling.ends(partial(_Grid, widths, kept), known)
    lows = np.concatenate([end.values[: labelling.m] for end in ends], axis=1)
    rows = non_dominated(lows)
    return lows[:, rows], labelling.codes(ends, rows)


def _pilot(labelling: Labelling, kept: int) -> Codes:
    """Networks near the front, found with few labels; empty where none keeps the bounds."""
    tables = labelling.tables[: labelling.m]
    scale = np.array([(table.maximum() - table.minimum()) or 1 for table in tables])
    _, codes = _rounded(labelling, scale, kept, np.empty((labelling.m, 0)))
    return codes[non_dominated(predict(tables, codes).T)]


def _optima(tables: Sequence[AdditiveTable], limits: Sequence[Limit]) -> list[Codes]:
    """For each table a network that is best in it, to a millionth of a range, and then in the rest.

    None for a table where limits make it hard.
    """
    even = [(1 / ((table.maximum() - table.minimum()) or 1)) * table for table in tables]
    rest = reduce(add, [_TIE * table for table in even])
    found = [exact_front([table + rest], limits) for table in even]
    return [codes for codes in found if codes is not None]


def _spread(values: Array, scale: Array, kept: int) -> NDArray[np.intp]:
    """At most `kept` of the non-dominated points (m, n), in different cells of a grid."""
    members = some = non_dominated(values)
    step = _FINE
    above = values[:, members] - values[:, members].min(axis=1, initial=np.inf, keepdims=True)
    while len(some) > kept:
        cells = np.floor(above / (step * scale[:, None]))
        some = members[non_dominated(cells)]
        step *= max(1.1, np.sqrt(len(some) / kept))
    return some
