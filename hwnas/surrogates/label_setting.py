"""Label setting: partial sums of additive tables, layer by layer, pruned by dominance.

Within one ``embed_dim``, ``n_layer`` and ``bias`` (a *root*) an architecture is a path through the
layers, and each objective is the sum of the terms along it. A *label* is a partial sum, one number
per table. If one label is nowhere worse than another after the same layers, so is each of its
completions; so after every layer only non-dominated labels are kept. This is the label-setting
algorithm for the multiobjective shortest path of a layered graph (Hansen 1980; Ehrgott,
Multicriteria Optimization, 2005, chapter 9). A label can also be dropped if a feasible
architecture that was found earlier (a *rival*) dominates even its best completion: a bound as in
branch and bound.

Labels are summed in the order in which `hwnas.surrogates.tables.predict` sums. Floating-point
addition is monotone, so what holds for labels holds for the values that `predict` returns,
rounding included.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwnas import pareto
from hwnas.surrogates.layer_layout import N_ROOT_COLUMNS
from hwnas.surrogates.tables import AdditiveTable
from hwnas.typing import Array, BoolArray, Codes, IndexArray

Reduction = Callable[[Array, Array], tuple[IndexArray, Array]]
"""Select labels: from labels (k, n), and points (k, q) that may dominate them too, to the indices
(r,) of the labels that are kept, and the values (k, r) with which they continue."""

Pruning = Callable[[Array, int], BoolArray]
"""Mask (n,) of the labels (k, n) after some number of layers that may still end on the front."""

# Relative tolerance of comparisons between sums in different orders: far above rounding errors,
# far below differences that matter.
_TOLERANCE = 1e-9


class TooManyLabels(Exception):
    """More labels than allowed."""


@dataclass(frozen=True, slots=True)
class CompleteLabels:
    """Labels after the last layer of one root, with the paths that lead to them.

    Attributes
    ----------
    root
        Indices of ``embed_dim``, ``n_layer`` and ``bias``.
    values : (k, n)
        Sum of each table along the path of each label.
    parents : n_layer arrays
        Of each layer, the index of each label's predecessor among the labels before that layer.
    options : n_layer arrays
        Of each layer, the option on the path to each label, ``ratio * H + head``.
    """

    root: tuple[int, int, int]
    values: Array
    parents: list[NDArray[np.int32]]
    options: list[NDArray[np.int16]]


@dataclass(frozen=True, slots=True)
class LabelSetting:
    """A label-setting problem.

    Attributes
    ----------
    tables
        k tables of one space.
    bounds : (k,)
        Upper bound of each table, infinite where there is none.
    n_objectives
        Number of tables, m, that are objectives; they come first.
    max_labels
        Number of candidate labels after any layer beyond which to give up.
    """

    tables: Sequence[AdditiveTable]
    bounds: Array
    n_objectives: int
    max_labels: int

    def run(self, new_reduction: Callable[[], Reduction], rivals: Array) -> list[CompleteLabels]:
        """Return complete labels that satisfy the bounds.

        Parameters
        ----------
        new_reduction
            Returns a fresh reduction, for each set of labels that are compared with each other.
        rivals : (m, q)
            Objectives of feasible architectures. Labels of which one rival dominates every
            completion may be missing from the result.

        Raises
        ------
        TooManyLabels
            There are more than `max_labels` after a layer.
        """
        return [
            complete
            for group in self.groups()
            for complete in self.search(group, new_reduction(), rivals)
        ]

    def groups(self) -> list[RootGroup]:
        """Return all roots, in groups that are searched together."""
        return [
            RootGroup.create(self.tables, self.bounds, embed_dim, roots)
            for embed_dim in range(self.tables[0].base.shape[0])
            for roots in _group_roots(self.tables, embed_dim)
        ]

    def codes(self, results: Sequence[CompleteLabels], indices: IndexArray) -> Codes:
        """Return the architectures (n, d) of complete labels, by backtracking.

        Parameters
        ----------
        results
            Results of `run`.
        indices : (n,)
            Indices into the labels of all results, concatenated.
        """
        depth, _, heads = self.tables[0].layers.shape[3:]
        owner = np.repeat(np.arange(len(results)), [len(r.values.T) for r in results])
        label = np.concatenate([owner[:0], *(np.arange(len(r.values.T)) for r in results)])
        codes = np.zeros((len(indices), N_ROOT_COLUMNS + 2 * depth), dtype=np.int8)
        for k, result in enumerate(results):
            rows = np.flatnonzero(owner[indices] == k)
            codes[rows, :N_ROOT_COLUMNS] = result.root
            # From the last layer to the first, along the predecessors.
            current = label[indices[rows]]
            for i in reversed(range(len(result.parents))):
                option = result.options[i][current]
                codes[rows, N_ROOT_COLUMNS + 2 * i] = option // heads
                codes[rows, N_ROOT_COLUMNS + 2 * i + 1] = option % heads
                current = result.parents[i][current]
        return codes

    def search(
        self,
        group: RootGroup,
        reduction: Reduction,
        rivals: Array,
        prune: Pruning | None = None,
    ) -> Iterator[CompleteLabels]:
        """Yield the complete labels of each root of a group, shallowest first.

        Parameters
        ----------
        group
            One of `groups`.
        reduction, rivals
            See `run`; the reduction is one that was used for no other group.
        prune
            Drops further labels.

        Raises
        ------
        TooManyLabels
            There are more than `max_labels` after a layer.
        """
        labels = np.zeros((len(self.tables), 1))
        parents: list[NDArray[np.int32]] = []
        options: list[NDArray[np.int16]] = []
        for i in range(group.layers.shape[1]):
            # 1. Extend every label by every option of the layer that no other option dominates.
            useful = non_dominated_columns(group.layers[:, i])
            n = labels.shape[1]
            if n * len(useful) > self.max_labels:
                raise TooManyLabels
            # One run for each option, each in the order of the labels: sorting is then a merge.
            extended = (group.layers[:, i, useful, None] + labels[:, None, :]).reshape(
                len(self.tables), -1
            )
            # 2. Drop labels that no completion makes feasible, or brings to the front.
            indices = self.feasible(extended, group, i + 1)
            extended = extended[:, indices]
            if prune is not None:
                mask = prune(extended, i + 1)
                indices, extended = indices[mask], extended[:, mask]
            # 3. Drop dominated labels; the reduction may also round labels down.
            rows, labels = reduction(extended, self._rival_labels(extended, group, i + 1, rivals))
            indices = indices[rows]
            parents.append((indices % n).astype(np.int32))
            options.append(group.options[useful[indices // n]].astype(np.int16))
            # 4. Roots of this depth are complete: add their bases, check their bounds.
            for root, depth, base in zip(group.roots, group.depths, group.bases, strict=True):
                if depth == i + 1:
                    values = labels + base[:, None]
                    feasible = np.flatnonzero((values <= self.bounds[:, None]).all(axis=0))
                    yield CompleteLabels(
                        (group.embed_dim, *root),
                        values[:, feasible],
                        [*parents[:-1], parents[-1][feasible]],
                        [*options[:-1], options[-1][feasible]],
                    )

    def feasible(self, labels: Array, group: RootGroup, n_layers: int) -> IndexArray:
        """Return the indices of labels (k, n) after some layers that can still become feasible.

        Bounded tables that are no objectives are changed in place where every completion is
        feasible: those labels need not be distinguished, so all get the same value.
        """
        bounded = np.flatnonzero(np.isfinite(self.bounds))
        if len(bounded) == 0:
            return np.arange(labels.shape[1])
        tolerance = group.tolerance[n_layers]
        limit = self.bounds - group.min_completion[n_layers] + tolerance
        indices = np.flatnonzero((labels[bounded] <= limit[bounded, None]).all(axis=0))
        for j in bounded[bounded >= self.n_objectives]:
            safe = self.bounds[j] - group.max_completion[n_layers, j] - tolerance[j]
            np.maximum(labels[j], safe, out=labels[j])
        return indices

    def _rival_labels(self, labels: Array, group: RootGroup, n_layers: int, rivals: Array) -> Array:
        """Return points (k, q) such that the rivals dominate every completion of what they do.

        A rival dominates the completions of a label if it dominates the label plus the minimum that
        is still to come; equivalently, if the rival minus this minimum dominates the label. In
        constrained tables rivals are feasible, so they count as the best of the labels.
        """
        m = self.n_objectives
        if labels.shape[1] <= rivals.shape[1]:
            return np.zeros((len(self.tables), 0))  # rivals would cost more than they save
        size = np.abs(rivals).max(axis=1, initial=0)
        shift = (
            group.tolerance[n_layers, :m] + _TOLERANCE * size - group.min_completion[n_layers, :m]
        )
        out = np.empty((len(self.tables), rivals.shape[1]))
        out[:m] = rivals + shift[:, None]
        out[m:] = labels[m:].min(axis=1, keepdims=True)
        return out


@dataclass(frozen=True, slots=True)
class RootGroup:
    """Roots of one ``embed_dim`` whose layers have equal entries, searched together.

    Attributes
    ----------
    embed_dim
        Index of the ``embed_dim``.
    roots
        Indices of ``n_layer`` and ``bias``, deepest first.
    depths
        Number of layers of each root.
    bases : arrays (k,)
        Base of each root, one number per table.
    layers : (k, L, O)
        Entries of the deepest root's layers, for each of `options`.
    options : (O,)
        The options of a layer that exist, ``ratio * H + head``.
    min_completion, max_completion : (L + 1, k)
        Minimum and maximum that labels can still gain after each number of layers.
    tolerance : (L + 1, k)
        Tolerance of comparisons between a label plus its completion and a bound.
    """

    embed_dim: int
    roots: list[tuple[int, int]]
    depths: list[int]
    bases: list[Array]
    layers: Array
    options: IndexArray
    min_completion: Array
    max_completion: Array
    tolerance: Array

    @classmethod
    def create(
        cls,
        tables: Sequence[AdditiveTable],
        bounds: Array,
        embed_dim: int,
        roots: list[tuple[int, int]],
    ) -> RootGroup:
        """Return the group of some roots of an ``embed_dim`` with equal layers, deepest first."""
        n_layer: list[int] = tables[0].depths.tolist()
        deepest, bias = roots[0]
        layers = np.stack([t.layers[embed_dim, deepest, bias, : n_layer[deepest]] for t in tables])
        layers = layers.reshape(*layers.shape[:2], -1)  # (k, L, O)
        allowed = tables[0].allowed
        options = np.arange(layers.shape[2]) if allowed is None else np.flatnonzero(allowed)
        layers = layers[:, :, options]
        depths = [n_layer[d] for d, _ in roots]
        bases = [np.array([t.base[embed_dim, d, b] for t in tables]) for d, b in roots]
        low = _completions(layers, depths, bases, np.min)
        high = _completions(layers, depths, bases, np.max)
        tolerance = _TOLERANCE * (
            np.abs(low) + np.abs(high) + np.where(np.isinf(bounds), 0, np.abs(bounds))
        )
        return cls(embed_dim, roots, depths, bases, layers, options, low, high, tolerance)


def keep_non_dominated(labels: Array, rivals: Array) -> tuple[IndexArray, Array]:
    """Select the labels (k, n) that neither a label nor a rival (k, q) dominates.

    This is the `Reduction` without loss.
    """
    q = rivals.shape[1]
    # Rivals come first: of equal points the first is kept.
    indices = non_dominated_columns(np.concatenate([rivals, labels], axis=1) if q else labels)
    indices = indices[indices >= q] - q
    return indices, labels[:, indices]


def _group_roots(tables: Sequence[AdditiveTable], embed_dim: int) -> list[list[tuple[int, int]]]:
    """Group the (n_layer, bias) of an ``embed_dim`` by equality of their layers' entries.

    In each group the deepest come first.
    """
    groups: list[list[tuple[int, int]]] = []
    depths = tables[0].depths.tolist()

    def is_equal(shallow: tuple[int, int], deep: tuple[int, int]) -> bool:
        active = slice(depths[shallow[0]])
        return all(
            np.array_equal(
                t.layers[(embed_dim, *shallow, active)], t.layers[(embed_dim, *deep, active)]
            )
            for t in tables
        )

    for root in itertools.product(reversed(range(len(depths))), range(tables[0].base.shape[2])):
        group = next((group for group in groups if is_equal(root, group[0])), None)
        if group is None:
            groups.append([root])
        else:
            group.append(root)
    return groups


def _completions(
    layers: Array, depths: list[int], bases: list[Array], extreme: Callable[..., Array]
) -> Array:
    """Return the extreme sums that labels can still gain after i layers, (L + 1, k).

    A backward recursion: stop at a root of this depth, or go on by one layer.
    """
    depth = layers.shape[1]
    out = np.empty((depth + 1, len(layers)))
    for i in reversed(range(depth + 1)):
        reachable = [base for n_layer, base in zip(depths, bases, strict=True) if n_layer == i]
        if i < depth:
            reachable.append(out[i + 1] + extreme(layers[:, i], axis=1))
        out[i] = extreme(np.stack(reachable), axis=0)
    return out


def non_dominated_columns(values: Array) -> IndexArray:
    """Return the indices of the points (k, n) that no other dominates, one of each.

    In ascending order of the first objective where there are two.
    """
    if values.shape[0] != 2:
        return np.flatnonzero(pareto.non_dominated(values.T))
    # Two objectives, by sorting in the first: a point is non-dominated if its second value is
    # below all earlier ones.
    order = np.argsort(values[0], kind="stable")
    x, y = values[0, order], values[1, order]
    is_record = np.ones(len(x), dtype=bool)
    is_record[1:] = y[1:] < np.minimum.accumulate(y)[:-1]
    order, x = order[is_record], x[is_record]
    # Of points with equal x the last has the lowest y.
    is_last = np.ones(len(x), dtype=bool)
    is_last[:-1] = x[1:] > x[:-1]
    return order[is_last]
