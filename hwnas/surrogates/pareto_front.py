"""Pareto fronts of additive tables: exact, or up to an epsilon that is proved.

`exact_front` keeps every label that could end on the front (`hwnas.surrogates.label_setting`). The
number of labels explodes with the objectives; `epsilon_front` rounds labels down to a grid wherever
there are too many (the scaling of Warburton 1987; Papadimitriou and Yannakakis 2000). It obtains
two sets:

- *lower bounds*: complete labels that were rounded on their way, and architectures that were found
  earlier;
- *members*: architectures, with their true values.

**Every architecture is dominated by a lower bound, or equals one.** Before the first layer that is
true of partial sums and labels. A layer adds the same to both; rounding moves a label, and only
down; dropping a dominated label leaves one that is nowhere worse; and a label is otherwise dropped
only where a feasible architecture dominates all its completions. **Every lower bound is dominated
by a member up to epsilon**: both sets are finite, so epsilon is computed, as the additive epsilon
indicator (Zitzler et al. 2003). Hence every architecture is dominated by a member up to epsilon.

Constrained tables are not rounded. A label that dominates is then nowhere worse in what is
constrained either, so the architecture behind a lower bound satisfies every constraint that the
architecture it dominates satisfies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial, reduce
from operator import add

import numpy as np

from hwnas import pareto
from hwnas.surrogates.constrained_front import constrained_front
from hwnas.surrogates.label_setting import (
    LabelSetting,
    TooManyLabels,
    keep_non_dominated,
    non_dominated_columns,
)
from hwnas.surrogates.tables import AdditiveTable, predict
from hwnas.typing import Array, Codes, IndexArray

MAX_EXACT_OBJECTIVES = 3
MAX_LABELS = 5_000_000
TARGET_LABELS = 30_000

# Cell widths are fractions of each objective's range.
_FINEST_CELL = 2.0**-14  # first cell of the grid of labels
_COARSEST_CELL = 2.0**-3  # coarser cells do not help: labels are many because of constraints
_MEMBER_CELL = 2.0**-11  # first cell of the grid that thins out members
_OVERFLOW = 1.5  # multiple of the target labels beyond which a layer is rounded once more
_TIE_WEIGHT = 1e-6  # weight of the sum of all objectives where the optimum of one is searched
_PILOT_LABELS = 3_000  # target labels of a first run that only has to come near the front


@dataclass(frozen=True, slots=True)
class Limit:
    """A constraint: the value of a table is at most `bound`."""

    table: AdditiveTable
    bound: float


def exact_front(
    objectives: Sequence[AdditiveTable],
    limits: Sequence[Limit] = (),
    *,
    max_labels: int = MAX_LABELS,
) -> Codes | None:
    """Return the architectures that no other dominates, one for each distinct point.

    Parameters
    ----------
    objectives
        m tables of one space, all minimized.
    limits
        Constraints. One on the table object of an objective costs nothing, any other may add a
        dimension to the labels (`hwnas.surrogates.constrained_front`).
    max_labels
        Number of candidate labels after any layer beyond which to give up: with three dimensions
        and more it explodes.

    Returns
    -------
    (n, d) int8, or None
        In no particular order, empty where no architecture satisfies the limits; ``None`` where
        more than `max_labels` labels would be needed.

    References
    ----------
    Hansen, "Bicriterion path problems", 1980; Ehrgott, Multicriteria Optimization, 2005, chapter 9.

    Examples
    --------
    One layer with three options; the last is dominated by the second.

    >>> def table(*entries):
    ...     layers = np.array(entries, dtype=float).reshape(1, 1, 1, 1, 1, -1)
    ...     return AdditiveTable(np.array([1]), np.zeros((1, 1, 1)), layers)
    >>> tables = [table(1, 2, 3), table(5, 3, 4)]
    >>> predict(tables, exact_front(tables)).tolist()
    [[1.0, 5.0], [2.0, 3.0]]
    """
    problem = _problem(objectives, limits, max_labels)
    rivals = np.empty((problem.n_objectives, 0))
    try:
        if len(problem.tables) > 2 == problem.n_objectives:
            return constrained_front(problem)
        # With two dimensions, labels are few and need no rivals.
        if len(problem.tables) > 2:
            rivals = predict(objectives, _pilot(problem, _PILOT_LABELS)).T
        results = problem.run(lambda: keep_non_dominated, rivals)
    except TooManyLabels:
        return None
    # Roots were searched one by one: compare their complete labels with each other.
    values = np.concatenate([r.values[: problem.n_objectives] for r in results], axis=1)
    return problem.codes(results, non_dominated_columns(values))


def epsilon_front(
    objectives: Sequence[AdditiveTable],
    limits: Sequence[Limit] = (),
    *,
    target_labels: int = TARGET_LABELS,
    max_labels: int = MAX_LABELS,
) -> tuple[Codes, float] | None:
    """Return feasible architectures that dominate every feasible architecture up to epsilon.

    Parameters
    ----------
    objectives, limits, max_labels
        See `exact_front`.
    target_labels
        Approximate number of labels after a layer, and maximum number of architectures, not
        counting the optimum of each objective.

    Returns
    -------
    codes : (n, d) int8
        Feasible architectures that do not dominate each other, one for each point; in no
        particular order.
    epsilon : float
        For every feasible architecture there is a member that is in no objective worse by more
        than epsilon times the difference between the worst and the best member (where that is 0,
        between the worst and the best architecture). 0 where no label was rounded and no member
        left out: the front is exact.

    ``None`` where limits, which are not rounded, need more than `max_labels` labels all the same.

    References
    ----------
    Warburton, "Approximation of Pareto optima in multiple-objective, shortest-path problems",
    Operations Research 35, 1987. Papadimitriou and Yannakakis, "On the approximability of
    trade-offs and optimal access of web sources", FOCS 2000.
    """
    problem = _problem(objectives, limits, max_labels)
    try:
        # 1. Architectures near the front and at its ends: they prune the labels of the main run.
        pilot = _pilot(problem, min(_PILOT_LABELS, target_labels))
        if len(pilot) == 0:
            return pilot, 0.0
        optima = _optima(objectives, limits)
        near = np.concatenate([pilot, *optima])
        rivals = predict(objectives, near).T
        # 2. Main run: lower bounds, and the architectures behind them.
        lower_bounds, codes = _rounded_front(
            problem, _ranges(objectives, rivals), target_labels, rivals
        )
    except TooManyLabels:
        return None
    # 3. Members: the non-dominated of all architectures found, thinned out to the target.
    codes = np.concatenate([codes, near])
    values = predict(objectives, codes).T
    codes = codes[_thin_out(values, _ranges(objectives, rivals), target_labels)]
    codes = np.concatenate([codes, *optima])
    values = predict(objectives, codes).T
    members = non_dominated_columns(values)
    values = values[:, members]
    # 4. Epsilon: the distance by which members fall short of the lower bounds, at most.
    lower_bounds = np.concatenate([lower_bounds, rivals], axis=1)
    scale = _ranges(objectives, values)[:, None]
    return codes[members], pareto.epsilon((values / scale).T, (lower_bounds / scale).T)


def find_front(
    objectives: Sequence[AdditiveTable], limits: Sequence[Limit] = ()
) -> tuple[Codes, float] | None:
    """Return the exact front and 0, or an `epsilon_front` where an exact one is out of reach.

    An exact front of more than `MAX_EXACT_OBJECTIVES` objectives is not tried: its cost, and that
    of hypervolumes of so large a front, is out of proportion to the gain. With as many objectives
    and a limit on another table, the attempt stops early.
    """
    codes = None
    if len(objectives) <= MAX_EXACT_OBJECTIVES:
        n_tables = len(_problem(objectives, limits, MAX_LABELS).tables)
        is_hard = n_tables > MAX_EXACT_OBJECTIVES == len(objectives)
        max_labels = MAX_LABELS // 5 if is_hard else MAX_LABELS
        codes = exact_front(objectives, limits, max_labels=max_labels)
    return epsilon_front(objectives, limits) if codes is None else (codes, 0.0)


class _GridReduction:
    """Reduction to the non-dominated labels, rounded down where there are too many.

    Parameters
    ----------
    widths : (k,)
        Range of each table, of which a cell is a fraction; 0 where labels are not rounded.
    target
        Approximate number of labels to keep.
    """

    def __init__(self, widths: Array, target: int) -> None:
        self._rounded = np.flatnonzero(widths > 0)
        self._widths = widths[self._rounded, None]
        self._target = target
        self._cell = 0.0  # fraction of the widths; 0 until there are too many labels

    def __call__(self, labels: Array, rivals: Array) -> tuple[IndexArray, Array]:
        indices = np.arange(labels.shape[1])
        # Without rounding, as long as the labels are few enough.
        if self._cell == 0 or len(indices) <= self._target:
            indices, labels = keep_non_dominated(labels, rivals)
            if len(indices) <= self._target or len(self._rounded) == 0:
                return indices, labels
        self._cell = self._cell or _FINEST_CELL
        while True:
            exact = labels[self._rounded]
            cell = self._cell * self._widths
            # The minimum guards against rounding up by floating-point error.
            labels[self._rounded] = np.minimum(np.floor(exact / cell) * cell, exact)
            rows, labels = keep_non_dominated(labels, rivals)
            indices = indices[rows]
            # Rounding twice loses twice, so this layer's count sets the next layer's cell; only
            # a large overflow is rounded again at once.
            cell_next = self._cell * float(np.clip(np.sqrt(len(indices) / self._target), 0.5, 2))
            self._cell = min(cell_next, _COARSEST_CELL)
            if len(indices) <= _OVERFLOW * self._target or cell_next >= _COARSEST_CELL:
                return indices, labels


def _problem(
    objectives: Sequence[AdditiveTable], limits: Sequence[Limit], max_labels: int
) -> LabelSetting:
    """Return the label-setting problem; limits on the same table object are merged.

    Limits that every architecture satisfies are left out.
    """
    tables = list(objectives)
    bounds = [np.inf] * len(tables)
    for limit in limits:
        if limit.table.maximum() <= limit.bound:
            continue
        index = next((j for j, table in enumerate(tables) if table is limit.table), None)
        if index is not None:
            bounds[index] = min(bounds[index], limit.bound)
        else:
            tables.append(limit.table)
            bounds.append(limit.bound)
    return LabelSetting(tables, np.array(bounds), len(objectives), max_labels)


def _range(table: AdditiveTable) -> float:
    """Return the range of a table over the whole space; 1 where that is 0."""
    return (table.maximum() - table.minimum()) or 1


def _ranges(tables: Sequence[AdditiveTable], values: Array) -> Array:
    """Return the ranges (m,) of points (m, n); where one is 0, that of the whole space."""
    extent = np.ptp(values, axis=1)
    return np.where(extent > 0, extent, [_range(table) for table in tables])


def _rounded_front(
    problem: LabelSetting, scale: Array, target: int, rivals: Array
) -> tuple[Array, Codes]:
    """Return lower bounds (m, n) that do not dominate each other, and their architectures."""
    widths = np.zeros(len(problem.tables))
    widths[: problem.n_objectives] = scale
    widths[np.isfinite(problem.bounds)] = 0
    results = problem.run(partial(_GridReduction, widths, target), rivals)
    lower_bounds = np.concatenate([r.values[: problem.n_objectives] for r in results], axis=1)
    indices = non_dominated_columns(lower_bounds)
    return lower_bounds[:, indices], problem.codes(results, indices)


def _pilot(problem: LabelSetting, target: int) -> Codes:
    """Return architectures near the front, found with few labels; empty if none is feasible."""
    tables = problem.tables[: problem.n_objectives]
    scale = np.array([_range(table) for table in tables])
    _, codes = _rounded_front(problem, scale, target, np.empty((problem.n_objectives, 0)))
    return codes[non_dominated_columns(predict(tables, codes).T)]


def _optima(tables: Sequence[AdditiveTable], limits: Sequence[Limit]) -> list[Codes]:
    """Return for each table an architecture that is best in it, to a millionth of its range.

    Among those it is best in the sum of all objectives. There is none for a table where limits need
    too many labels.
    """
    scaled = [(1 / _range(table)) * table for table in tables]
    tie_breaker = reduce(add, [_TIE_WEIGHT * table for table in scaled])
    fronts = [exact_front([table + tie_breaker], limits) for table in scaled]
    return [codes for codes in fronts if codes is not None]


def _thin_out(values: Array, scale: Array, target: int) -> IndexArray:
    """Return the indices of at most `target` non-dominated points (m, n), from different cells."""
    members = indices = non_dominated_columns(values)
    cell = _MEMBER_CELL
    above = values[:, members] - values[:, members].min(axis=1, initial=np.inf, keepdims=True)
    while len(indices) > target:
        cells = np.floor(above / (cell * scale[:, None]))
        indices = members[non_dominated_columns(cells)]
        cell *= max(1.1, np.sqrt(len(indices) / target))
    return indices
