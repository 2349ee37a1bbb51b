"""Hypervolume improvement over draws of a posterior."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hwnas.hypervolume_improvement import added_areas, sorted_front
from hwnas.typing import Array

_N_RAYS = 2048


class HypervolumeImprovement(ABC):
    """Hypervolume that points add to fronts, one front for each of s posterior draws.

    Points are first converted by `prepare`, once for all evaluations.

    Parameters
    ----------
    fronts : s arrays (f, m)
        Losses of the architectures that are evaluated or pending.
    reference : (m,)
        Reference point.
    """

    def prepare(self, points: Array) -> Array:
        """Return points (s, k, m) in the form (s, k, ...) that `evaluate` and `add` take."""
        return points

    @abstractmethod
    def evaluate(self, prepared: Array) -> Array:
        """Return the hypervolume (s, k) that each of the prepared points (s, k, ...) adds alone."""

    @abstractmethod
    def add(self, prepared: Array) -> None:
        """Add a prepared point (s, ...) to every front."""


class StaircaseImprovement(HypervolumeImprovement):
    """Exact hypervolume improvement for two objectives, O(log f) a point."""

    def __init__(self, fronts: Sequence[Array], reference: Array) -> None:
        self.reference = reference
        self.fronts = [sorted_front(front, reference) for front in fronts]

    def evaluate(self, prepared: Array) -> Array:
        pairs = zip(self.fronts, prepared, strict=True)
        return np.stack([added_areas(front, points, self.reference) for front, points in pairs])

    def add(self, prepared: Array) -> None:
        self.fronts = [
            sorted_front(np.concatenate([front, point[None]]), self.reference)
            for front, point in zip(self.fronts, prepared, strict=True)
        ]


class RayImprovement(HypervolumeImprovement):
    """Approximate hypervolume improvement for any number of objectives.

    In polar coordinates about the reference point, the hypervolume is proportional to the mean,
    over directions in the positive orthant of the unit sphere, of the length of the dominated ray
    to the power m. The constant of proportionality is left out. With one objective there is one
    direction, and the result is exact.

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
        # Normalized Gaussians are uniform on the sphere; absolute values, on its orthant.
        m = len(reference)
        normals = np.abs(rng.standard_normal((_N_RAYS, m)))
        rays = normals / np.linalg.norm(normals, axis=1, keepdims=True)
        # Single precision: the error of a mean over few directions is far larger.
        self._inverse_rays: NDArray[np.float32] = (1 / rays).astype(np.float32)
        # A front dominates a ray as far as the point does that reaches farthest along it.
        # Without noise all draws have the same front.
        lengths: dict[bytes, Array] = {}
        for front in fronts:
            if front.tobytes() not in lengths:
                length = self.prepare(front[None])[0].max(axis=0, initial=0.0)
                lengths[front.tobytes()] = length
        self.lengths = np.stack([lengths[front.tobytes()] for front in fronts])

    def prepare(self, points: Array) -> Array:
        """Return the dominated lengths (s, k, rays) of points (s, k, m), to the power m.

        A point dominates a ray up to the smallest of its distances to the reference, each divided
        by the ray's component.
        """
        inside = np.maximum((self.reference - points) / self.span, 0).astype(np.float32)
        length = inside[..., :1] * self._inverse_rays[:, 0]
        for j in range(1, points.shape[-1]):
            np.minimum(length, inside[..., j : j + 1] * self._inverse_rays[:, j], out=length)
        # Products, because a power of floats takes ten times as long.
        volume = length.copy()
        for _ in range(points.shape[-1] - 1):
            volume *= length
        return np.asarray(volume)

    def evaluate(self, prepared: Array) -> Array:
        pairs = zip(prepared, self.lengths, strict=True)
        return np.stack([np.maximum(points - front, 0).mean(axis=1) for points, front in pairs])

    def add(self, prepared: Array) -> None:
        self.lengths = np.maximum(self.lengths, prepared)


def create_improvement(
    fronts: Sequence[Array], reference: Array, ideal: Array, rng: np.random.Generator
) -> HypervolumeImprovement:
    """Return the exact improvement for two objectives, that over rays for any other number.

    Parameters
    ----------
    fronts, reference
        See `HypervolumeImprovement`.
    ideal : (m,)
        Better than the reference; rays are scaled by the difference.
    rng
        Source of the directions of rays.

    Examples
    --------
    >>> fronts, rng = [np.array([[1.0, 2.0], [2.0, 1.0]])], np.random.default_rng(0)
    >>> improvement = create_improvement(fronts, np.full(2, 3.0), np.zeros(2), rng)
    >>> improvement.evaluate(improvement.prepare(np.array([[[1.0, 1.0], [2.5, 2.5]]])))
    array([[1., 0.]])
    """
    if len(reference) == 2:
        return StaircaseImprovement(fronts, reference)
    return RayImprovement(fronts, reference, ideal, rng)
