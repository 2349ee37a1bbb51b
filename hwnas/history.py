"""Observations that an optimizer has been told."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwnas.typing import Array, Codes, IndexArray


class History:
    """All observations that an optimizer has been told, in order.

    Attributes
    ----------
    codes : (n, d) int8
    losses : (n, m) float64
    std : (n, m) float64
        Standard errors; zero where the losses are exact.
    constraints : (n, c) float64
        Constraint violations g(x); a code is feasible where all are at most 0.

    Examples
    --------
    >>> import hwnas
    >>> optimizer = hwnas.optimizer("random", "gpt-s", 2, seed=0)
    >>> optimizer.tell(optimizer.ask(3), [[1, 4], [2, 3], [3, 2]])
    >>> optimizer.history.losses[:, 0]
    array([1., 2., 3.])
    """

    def __init__(self, n_columns: int, n_objectives: int, n_constraints: int) -> None:
        self._parts: list[tuple[Any, ...]] = [
            (
                np.empty((0, n_columns), dtype=np.int8),
                np.empty((0, n_objectives)),
                np.empty((0, n_objectives)),
                np.empty((0, n_constraints)),
            )
        ]

    def __len__(self) -> int:
        return sum(len(part[0]) for part in self._parts)

    def add(self, codes: Codes, losses: Array, std: Array, constraints: Array) -> None:
        """Append k observations."""
        self._parts.append((codes, losses, std, constraints))

    def averaged(self) -> tuple[Codes, Array, Array, Array]:
        """Average the observations of each code.

        Returns
        -------
        codes (k, d), losses (k, m), std (k, m), constraints (k, c)
            Distinct codes in the order in which they were first told, the means of their
            observations and the standard errors of these means.
        """
        # Group equal codes, and number the groups in the order of their first observation.
        codes, first, group = np.unique(self.codes, axis=0, return_index=True, return_inverse=True)
        order = np.argsort(first)
        group, k = np.argsort(order)[group.ravel()], len(codes)
        counts = np.bincount(group, minlength=k)[:, None]
        losses, variance, violations = (
            _group_sums(rows, group, k) / counts
            for rows in (self.losses, self.std**2, self.constraints)
        )
        return np.ascontiguousarray(codes[order]), losses, np.sqrt(variance / counts), violations

    codes = property(lambda self: self._joined()[0])
    losses = property(lambda self: self._joined()[1])
    std = property(lambda self: self._joined()[2])
    constraints = property(lambda self: self._joined()[3])

    def _joined(self) -> tuple[Any, ...]:
        # Parts are concatenated only when they are read: adding stays cheap.
        if len(self._parts) > 1:
            columns = zip(*self._parts, strict=True)
            self._parts = [tuple(np.concatenate(column) for column in columns)]
        return self._parts[0]


def _group_sums(rows: Array, group: IndexArray, n_groups: int) -> Array:
    """Sum the rows (n, m) of each group, (n_groups, m)."""
    out = np.zeros((n_groups, rows.shape[1]))
    np.add.at(out, group, rows)
    return out
