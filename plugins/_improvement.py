"""Hypervolume improvement over draws of a posterior."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from hwnas import pareto
from hwnas.optimizers import Array

_RAYS = 512


class Improvement(ABC):
    """What points add to fronts, of which there is one for each draw.

    Parameters
    ----------
    fronts : s arrays (f, m)
        Losses that are there.
    reference : (m,)
        Reference point.
    """

    @abstractmethod
    def of(self, points: Array) -> Array:
        """Hypervolume (s, k) that points (s, k, m) add, each by itself."""

    @abstractmethod
    def add(self, points: Array) -> None:
        """Put a point (s, m) into every front."""


class Staircases(Improvement):
    """Exactly, for two objectives."""

    def __init__(self, fronts: Sequence[Array], reference: Array) -> None:
        self.reference = reference
        self.fronts = [self._sorted(front) for front in fronts]

    def of(self, points: Array) -> Array:
        return np.stack(
            [self._added(front, drawn) for front, drawn in zip(self.fronts, points, strict=True)]
        )

    def add(self, points: Array) -> None:
        self.fronts = [
            self._sorted(np.concatenate([front, point[None]]))
            for front, point in zip(self.fronts, points, strict=True)
        ]

    def _sorted(self, front: Array) -> Array:
        front = front[(front < self.reference).all(axis=1)]
        front = front[pareto.non_dominated(front)]
        return front[np.argsort(front[:, 0])]

    def _added(self, front: Array, points: Array) -> Array:
        # Strip j lies left of x[j] and right of x[j - 1]; what is not dominated of it, below y[j].
        x = np.append(front[:, 0], self.reference[0])
        y = np.append(self.reference[1], front[:, 1])
        width = np.diff(x, prepend=x[0])
        widths = np.append(0.0, np.cumsum(width))
        areas = np.append(0.0, np.cumsum(width * y))
        first = np.searchsorted(x, points[:, 0], side="right")  # strips from here lie right of it
        last = np.searchsorted(-y, -points[:, 1])  # and those before this one reach above it
        some = last > first
        first = np.minimum(first, len(x) - 1)
        last = np.maximum(last, first + 1)
        part = (x[first] - points[:, 0]) * (y[first] - points[:, 1])
        whole = areas[last] - areas[first + 1] - points[:, 1] * (widths[last] - widths[first + 1])
        return np.where(some, part + whole, 0.0)


class Rays(Improvement):
    """On average over directions, for any number of objectives.

    The hypervolume is in proportion to the mean, over directions from the reference point into the
    positive orthant of a sphere, of how far what is dominated reaches, to the power m.

    References
    ----------
    Deng and Zhang, "Approximating hypervolume and hypervolume contributions using polar
    coordinate", IEEE Transactions on Evolutionary Computation 2019.
    """

    def __init__(
        self, fronts: Sequence[Array], reference: Array, ideal: Array, rng: np.random.Generator
    ) -> None:
        self.reference = reference
        self.span = np.where(reference > ideal, reference - ideal, 1.0)
        m = len(reference)
        drawn = np.abs(rng.standard_normal((_RAYS, m)))
        self.rays = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
        self.reached = np.stack(
            [self._reach(front[None]).max(axis=1, initial=0.0)[0] for front in fronts]
        )

    def of(self, points: Array) -> Array:
        parts = [self._reach(drawn[None])[0] for drawn in points]  # each (k, rays)
        pairs = zip(parts, self.reached, strict=True)
        return np.stack([np.maximum(part - there, 0).mean(axis=1) for part, there in pairs])

    def add(self, points: Array) -> None:
        self.reached = np.maximum(self.reached, self._reach(points[:, None])[:, 0])

    def _reach(self, points: Array) -> Array:
        """How far points (s, k, m) reach along each ray, to the power m, (s, k, rays)."""
        inside = np.maximum((self.reference - points) / self.span, 0)
        reach = (inside[:, :, None] / self.rays).min(axis=3) ** points.shape[2]
        return np.asarray(reach)


def improvement(
    fronts: Sequence[Array], reference: Array, ideal: Array, rng: np.random.Generator
) -> Improvement:
    """Exact for two objectives, on average over directions for more.

    Parameters
    ----------
    fronts, reference
        See `Improvement`.
    ideal : (m,)
        Gives objectives their units, for more than two of them.
    rng
        Draws the directions.
    """
    if len(reference) == 2:
        return Staircases(fronts, reference)
    return Rays(fronts, reference, ideal, rng)
