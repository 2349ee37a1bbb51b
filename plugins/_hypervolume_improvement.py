"""Hypervolume improvement over draws of a posterior."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from hwnas import pareto
from hwnas.typing import Array

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

    def seen(self, points: Array) -> Array:
        """Points (s, k, m) in the form in which `of` and `add` take them, (s, k, ...)."""
        return points

    @abstractmethod
    def of(self, seen: Array) -> Array:
        """Hypervolume (s, k) that points (s, k, ...) add, each by itself."""

    @abstractmethod
    def add(self, seen: Array) -> None:
        """Put a point (s, ...) into every front."""


class Staircases(Improvement):
    """Exactly, for two objectives."""

    def __init__(self, fronts: Sequence[Array], reference: Array) -> None:
        self.reference = reference
        self.fronts = [self._sorted(front) for front in fronts]

    def of(self, seen: Array) -> Array:
        pairs = zip(self.fronts, seen, strict=True)
        return np.stack([self._added(front, drawn) for front, drawn in pairs])

    def add(self, seen: Array) -> None:
        self.fronts = [
            self._sorted(np.concatenate([front, point[None]]))
            for front, point in zip(self.fronts, seen, strict=True)
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
    """On average over directions, for any number of objectives; with one there is one direction.

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
        self.span = reference - ideal
        m = len(reference)
        drawn = np.abs(rng.standard_normal((_RAYS, m)))
        self.rays = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
        reaches = [self.seen(front[None])[0] for front in fronts]
        self.reached = np.stack([reach.max(axis=0, initial=0.0) for reach in reaches])

    def seen(self, points: Array) -> Array:
        """How far points (s, k, m) reach along each ray, to the power m, (s, k, rays)."""
        inside = np.maximum((self.reference - points) / self.span, 0)
        reach = inside[..., :1] / self.rays[:, 0]
        for j in range(1, points.shape[-1]):
            np.minimum(reach, inside[..., j : j + 1] / self.rays[:, j], out=reach)
        return np.asarray(reach ** points.shape[-1])

    def of(self, seen: Array) -> Array:
        pairs = zip(seen, self.reached, strict=True)
        return np.stack([np.maximum(reach - there, 0).mean(axis=1) for reach, there in pairs])

    def add(self, seen: Array) -> None:
        self.reached = np.maximum(self.reached, seen)


def improvement(
    fronts: Sequence[Array], reference: Array, ideal: Array, rng: np.random.Generator
) -> Improvement:
    """Exact for two objectives, and for one; on average over directions for more.

    Parameters
    ----------
    fronts, reference
        See `Improvement`.
    ideal : (m,)
        Better than the reference; gives objectives their units, where there are not two of them.
    rng
        Draws the directions.
    """
    if len(reference) == 2:
        return Staircases(fronts, reference)
    return Rays(fronts, reference, ideal, rng)
