"""A Pareto front with its architectures."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hwnas import pareto
from hwnas.deprecation import warn_renamed
from hwnas.errors import InvalidInput
from hwnas.objectives import Objective, losses_of
from hwnas.typing import Array, BoolArray, Codes, IndexArray


@dataclass(frozen=True, slots=True)
class Front:
    """Mutually non-dominated architectures, best in the first objective first.

    Attributes
    ----------
    codes : (n, d) int8
    values : (n, m) float64
        Values of the objectives, in raw units.
    objectives
        The m objectives.
    epsilon
        0 for the exact front. Otherwise every feasible architecture is dominated by a member up to
        `epsilon` times each objective's range over the members; ``None`` where no such bound is
        proved.

    Examples
    --------
    >>> from hwnas.objectives import parse_objectives
    >>> objectives = parse_objectives(["latency", "-accuracy"])
    >>> codes = np.arange(3, dtype=np.int8)[:, None]
    >>> front = Front.of(codes, np.array([[2.0, 90], [1.0, 80], [3.0, 85]]), objectives)
    >>> front.values.tolist()
    [[1.0, 80.0], [2.0, 90.0]]
    >>> front.exactness
    'exact front'
    """

    codes: Codes
    values: Array
    objectives: tuple[Objective, ...]
    epsilon: float | None = 0.0

    def __len__(self) -> int:
        return len(self.codes)

    @classmethod
    def of(
        cls,
        codes: Codes,
        values: Array,
        objectives: tuple[Objective, ...],
        epsilon: float | None = 0.0,
    ) -> Front:
        """Return the front of the non-dominated architectures, one for each distinct point.

        Parameters
        ----------
        codes : (n, d) int8
        values : (n, m) float64
            Raw units, finite.
        objectives
            The m objectives.
        epsilon
            Proved epsilon of the front.
        """
        losses = losses_of(objectives, values)
        indices = np.flatnonzero(pareto.non_dominated(losses))
        # lexsort's last key is the primary one: the first objective.
        indices = indices[np.lexsort(losses[indices].T[::-1])]
        return cls(codes[indices], values[indices], objectives, epsilon)

    @property
    def losses(self) -> Array:
        """Values with the sign of minimization, (n, m)."""
        return losses_of(self.objectives, self.values)

    @property
    def exactness(self) -> str:
        """Description of the epsilon: ``"exact front"``, ``"front within 1.24 %"``."""
        return exactness(self.epsilon)

    @property
    def standing(self) -> str:
        """Former name of `exactness`."""
        warn_renamed("Front.standing", "Front.exactness")
        return self.exactness

    def best(self, k: int) -> Front:
        """Return the `k` members with the largest hypervolume together, exactly.

        The reference point is `reference_point`. A subset of a front has no `epsilon`.

        Raises
        ------
        InvalidInput
            The front does not have two objectives, or `k` is less than 1.

        References
        ----------
        Bringmann, Friedrich and Klitzke 2014, see `hwnas.pareto.best_subset`.
        """
        if len(self.objectives) != 2:
            raise InvalidInput(f"best: expected two objectives, found {len(self.objectives)}")
        if not isinstance(k, int | np.integer) or k < 1:
            raise InvalidInput(f"best: expected at least 1, found {k!r}")
        if k >= len(self):
            return self
        losses = self.losses
        return self.subset(pareto.best_subset(losses, reference_point(losses), k))

    def subset(self, indices: IndexArray | BoolArray) -> Front:
        """Return the members at some indices, or where a mask (n,) is true; without an `epsilon`.

        >>> front = Front(np.array([[0], [1]], dtype=np.int8), np.array([[1.0, 2], [2, 1]]), ())
        >>> front.subset(np.array([False, True])).values.tolist()
        [[2.0, 1.0]]
        """
        return Front(self.codes[indices], self.values[indices], self.objectives, None)


def exactness(epsilon: float | None) -> str:
    """Return a description of a front with a proved epsilon.

    Examples
    --------
    >>> exactness(0.0), exactness(0.0123), exactness(None)
    ('exact front', 'front within 1.23 %', 'best known front')
    """
    if epsilon is None:
        return "best known front"
    # Rounded up: the statement must remain true.
    return f"front within {math.ceil(1e4 * epsilon) / 100:g} %" if epsilon > 0 else "exact front"


def reference_point(losses: Array) -> Array:
    """Return the reference point of a front's hypervolume, (m,).

    The nadir of the front (n, m) plus a tenth of the way from its ideal to its nadir.

    Examples
    --------
    >>> reference_point(np.array([[0.0, 20.0], [10.0, 0.0]])).tolist()
    [11.0, 22.0]
    """
    ideal, nadir = losses.min(axis=0), losses.max(axis=0)
    return np.asarray(nadir + 0.1 * (nadir - ideal))
