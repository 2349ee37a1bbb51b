"""Constrained fronts of two objectives, by one constraint after the other.

Every constrained table adds a dimension to the labels (`hwnas.surrogates.label_setting`), which
then hardly dominate each other: they become many, and most of them lead nowhere. A front without
some of the constraints has members that satisfy these and others that violate them. The first
belong to the constrained front, and each architecture that is still missing is dominated by one of
the others, or equals it. So the next search, with one more constraint, needs to look only where
such a lower bound is left; often that is nowhere.

1. Search without constraints.
2. Feasible members of relaxed fronts, near the constrained front: further rivals.
3. Search with the constraint that most of the lower bounds violate, too; groups of roots with most
   of the rivals first, because what they add rules out others as a whole, and each group first
   with a sample of its labels. Again until no lower bound is left.

Within a search `hwnas.surrogates.relaxations` drop labels that cannot come below what was found.

References
----------
Ehrgott and Gandibleux, "Bound sets for biobjective combinatorial optimization problems", Computers
& Operations Research 34, 2007.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hwnas.surrogates.label_setting import (
    LabelSetting,
    Pruning,
    Reduction,
    RootGroup,
    keep_non_dominated,
    non_dominated_columns,
)
from hwnas.surrogates.relaxations import Relaxation, conflicts, pruning, relaxations
from hwnas.surrogates.tables import predict
from hwnas.typing import Array, Codes, IndexArray

_MAX_RELAXED_LABELS = 300  # of a relaxed front, after each layer
_MAX_SAMPLED_LABELS = 1_000  # of a group's first search, after each layer


def constrained_front(problem: LabelSetting) -> Codes:
    """Return the architectures within the bounds that no other dominates, one for each point.

    Parameters
    ----------
    problem
        Of two objectives, with further tables that are bounded.

    Returns
    -------
    (n, d) int8
        In ascending order of the first objective.

    Raises
    ------
    TooManyLabels
        There are more than the problem allows after a layer.

    Examples
    --------
    One layer with three options, the first of which is forbidden.

    >>> from hwnas.surrogates.tables import AdditiveTable
    >>> def table(*entries):
    ...     layers = np.array(entries, dtype=float).reshape(1, 1, 1, 1, 1, -1)
    ...     return AdditiveTable(np.array([1]), np.zeros((1, 1, 1)), layers)
    >>> tables = [table(1, 2, 3), table(5, 3, 2), table(9, 4, 0)]
    >>> problem = LabelSetting(tables, np.array([np.inf, np.inf, 4]), 2, max_labels=100)
    >>> predict(tables, constrained_front(problem)).tolist()
    [[2.0, 3.0, 4.0], [3.0, 2.0, 0.0]]
    """
    search = _Search(problem)
    rows = [0, 1]  # tables that labels keep
    while search.groups and not search.is_complete:
        search.run(rows)
        if len(rows) == 2 and not search.is_complete:
            search.add_relaxed_members()
        rows = [*rows, *search.most_violated()]
    return search.codes[non_dominated_columns(predict(problem.tables[:2], search.codes).T)]


class _Search:
    """A search for the constrained front, with more and more of the constraints.

    Parameters
    ----------
    problem
        Of two objectives.

    Attributes
    ----------
    groups
        Roots of the whole problem that may have members.
    codes : (n, d)
        Feasible architectures that were found.
    is_complete
        Whether the front is among them.
    """

    def __init__(self, problem: LabelSetting) -> None:
        self._problem = problem
        everywhere = np.full((2, 1), np.inf)
        self.groups = [
            group
            for group in problem.groups()
            if len(problem.feasible(np.zeros((len(problem.tables), 1)), group, 0))
            and pruning(group, conflicts(problem.bounds), everywhere) is not None
        ]
        self.codes = problem.codes([], np.zeros(0, dtype=np.intp))
        self.is_complete = False
        self._rivals = np.empty((2, 0))  # of feasible architectures
        self._violating = np.full((len(problem.tables), 1), -np.inf)  # values of lower bounds
        self._promise: dict[tuple[int, int, int], float] = {}  # of roots: rivals on the front

    def run(self, rows: list[int]) -> None:
        """Search with the constraints on some tables, of which the first two are the objectives."""
        problem = replace(
            self._problem,
            tables=[self._problem.tables[j] for j in rows],
            bounds=self._problem.bounds[rows],
        )
        live = {root for group in self.groups for root in _roots(group)}
        groups = [group for group in problem.groups() if live.intersection(_roots(group))]
        groups.sort(key=lambda group: -sum(self._promise.get(r, 0) for r in _roots(group)))
        lower, self._violating = self._violating[:2], self._violating[:, :0]
        for group in groups:
            if len(rows) == 2:
                self._search(problem, group, keep_non_dominated, None)
                continue
            relaxed = [*relaxations(group, problem.bounds), *conflicts(problem.bounds)]
            # First with a sample of the labels; if that is not all of them, what it finds is near
            # the front and drops more of the others.
            sample = _Sample()
            for reduction in (sample, keep_non_dominated):
                corners = _open(_corners(self._rivals, problem.bounds), lower)
                prune = pruning(group, relaxed, corners)
                if prune is None:
                    break
                self._search(problem, group, reduction, prune)
                if sample.is_complete:
                    break
        # Lower bounds come first: of equal points the first is kept, and a rival may lack codes.
        indices = non_dominated_columns(np.concatenate([self._violating[:2], self._rivals], axis=1))
        self._violating = self._violating[:, indices[indices < self._violating.shape[1]]]
        self.is_complete = self._violating.shape[1] == 0

    def add_relaxed_members(self) -> None:
        """Add the feasible members of relaxed fronts to the rivals."""
        members = [
            np.concatenate(
                [
                    _feasible_members(self._problem, group, relaxation)
                    for relaxation in relaxations(group, self._problem.bounds)
                ],
                axis=1,
            )
            for group in self.groups
        ]
        owner = np.repeat(np.arange(len(members)), [found.shape[1] for found in members])
        rivals = np.concatenate(members, axis=1)
        front = non_dominated_columns(rivals)
        counts = np.bincount(owner[front], minlength=len(members))
        for group, count in zip(self.groups, counts.tolist(), strict=True):
            self._promise.update(dict.fromkeys(_roots(group), count / len(group.roots)))
        self._add_rivals(rivals[:, front])

    def most_violated(self) -> list[int]:
        """Return the index of the table whose bound most lower bounds violate; none if complete."""
        if self.is_complete:
            return []
        counts = (self._violating > self._problem.bounds[:, None]).sum(axis=1)
        return [int(np.argmax(counts))]

    def _search(
        self, problem: LabelSetting, group: RootGroup, reduction: Reduction, prune: Pruning | None
    ) -> None:
        """Search a group of a problem, and add the complete labels that none of it dominates."""
        no_rivals = np.empty((2, 0))  # they are in the corners
        results = list(problem.search(group, reduction, no_rivals, prune))
        values = np.concatenate([result.values[:2] for result in results], axis=1)
        self._add(problem.codes(results, non_dominated_columns(values)))

    def _add(self, codes: Codes) -> None:
        """Add complete labels: to what was found, or to the lower bounds."""
        values = predict(self._problem.tables, codes).T
        is_feasible = (values <= self._problem.bounds[:, None]).all(axis=0)
        self.codes = np.concatenate([self.codes, codes[is_feasible]])
        self._add_rivals(values[:2, is_feasible])
        self._violating = np.concatenate([self._violating, values[:, ~is_feasible]], axis=1)

    def _add_rivals(self, rivals: Array) -> None:
        rivals = np.concatenate([self._rivals, rivals], axis=1)
        self._rivals = rivals[:, non_dominated_columns(rivals)]


class _Sample:
    """Reduction to a sample of the non-dominated labels.

    Attributes
    ----------
    is_complete
        Whether no label was left out.
    """

    def __init__(self) -> None:
        self.is_complete = True

    def __call__(self, labels: Array, rivals: Array) -> tuple[IndexArray, Array]:
        indices, labels = keep_non_dominated(labels, rivals)
        if len(indices) <= _MAX_SAMPLED_LABELS:
            return indices, labels
        self.is_complete = False
        # Evenly spaced in the order of the first objective.
        places = np.linspace(0, len(indices) - 1, _MAX_SAMPLED_LABELS).astype(np.intp)
        rows = np.sort(np.argsort(labels[0], kind="stable")[places])
        return indices[rows], labels[:, rows]


def _roots(group: RootGroup) -> list[tuple[int, int, int]]:
    """Return the indices of ``embed_dim``, ``n_layer`` and ``bias`` of a group."""
    return [(group.embed_dim, *root) for root in group.roots]


def _open(corners: Array, lower: Array) -> Array:
    """Return the corners (2, c), in ascending order of the first, below which a lower bound is.

    Parameters
    ----------
    corners : (2, c)
    lower : (2, n)
        Points of which every architecture that is still missing is dominated by one, or equals it.
    """
    order = np.argsort(lower[0])
    lowest = np.append(np.inf, np.minimum.accumulate(lower[1, order]))
    reached = np.searchsorted(lower[0, order], corners[0], side="right")
    return corners[:, lowest[reached] <= corners[1]]


def _corners(rivals: Array, bounds: Array) -> Array:
    """Return the corners (2, q + 1) of the region that rivals and bounds on objectives leave.

    Parameters
    ----------
    rivals : (2, q)
        In ascending order of the first objective; none dominates another.
    bounds : (k,)
    """
    corners = np.stack([np.append(rivals[0], np.inf), np.insert(rivals[1], 0, np.inf)])
    return np.asarray(np.minimum(corners, bounds[:2, None]))


def _feasible_members(problem: LabelSetting, group: RootGroup, relaxation: Relaxation) -> Array:
    """Return the objectives (2, n) of the feasible architectures that a relaxed front comes by."""
    labels = np.zeros((len(problem.tables), 1))
    out = [np.empty((2, 0))]
    for i in range(group.layers.shape[1]):
        options = group.layers[:, i]
        options = options[:, non_dominated_columns(relaxation.weights @ options)]
        labels = (options[:, :, None] + labels[:, None, :]).reshape(len(labels), -1)
        labels = labels[:, problem.feasible(labels, group, i + 1)]
        rows = non_dominated_columns(relaxation.weights @ labels)
        if len(rows) > _MAX_RELAXED_LABELS:
            rows = rows[np.linspace(0, len(rows) - 1, _MAX_RELAXED_LABELS).astype(np.intp)]
        labels = labels[:, rows]
        for depth, base in zip(group.depths, group.bases, strict=True):
            if depth == i + 1:
                values = labels + base[:, None]
                out.append(values[:2, (values <= problem.bounds[:, None]).all(axis=0)])
    return np.concatenate(out, axis=1)
