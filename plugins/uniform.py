"""Homogeneous architectures: a baseline without a model.

There are few of them (81 in gpt-s with biases, 81 without), and together they have most of the
hypervolume. An optimizer that does not beat them has learned nothing.
"""

from __future__ import annotations

import itertools

import numpy as np

from hwnas.spaces import SearchSpace
from hwnas.typing import Array, Codes, IndexArray

from .random import Random


class Uniform(Random):
    """The homogeneous architectures of the space, then random search.

    ``bias`` stays on until all combinations of the other choices have been proposed. Within either
    half the order is farthest first, from a start that depends on the seed (Gonzalez 1985), so that
    few evaluations already span the space.
    """

    claims_to_beat_random = True

    def __init__(
        self, space: SearchSpace, n_objectives: int, *, seed: int, n_constraints: int = 0
    ) -> None:
        super().__init__(space, n_objectives, seed=seed, n_constraints=n_constraints)
        self._queue = homogeneous_codes(space, self.rng)

    def ask(self, n: int) -> Codes:
        """Return the next homogeneous architectures; after the last of them, random ones."""
        # Architectures of a warm start are not proposed again.
        self._queue = self._queue[[code not in self._sampler for code in self._queue]]
        if len(self._queue) == 0:
            return super().ask(n)
        codes, self._queue = self._queue[:n], self._queue[n:]
        return self._sampler.take(codes)


def homogeneous_codes(space: SearchSpace, rng: np.random.Generator) -> Codes:
    """Return all architectures with equal layers, in farthest-first order.

    Returns
    -------
    (k, d) int8, distinct

    Examples
    --------
    >>> import hwnas
    >>> homogeneous_codes(hwnas.space("gpt-s"), np.random.default_rng(0)).shape
    (162, 27)
    """
    layers = np.array([group.columns for group in space.groups], dtype=np.intp)
    inside = set(layers.ravel().tolist())
    bias = space.columns.index("bias")
    # All combinations of the choices but bias; the first layer stands for all layers.
    first_layer = layers[0].tolist() if len(layers) else []
    outside = [j for j in range(len(space.columns)) if j not in inside and j != bias]
    columns = outside + first_layer
    grid = np.array(list(itertools.product(*(range(space.cardinalities[j]) for j in columns))))
    order = farthest_first(grid / np.maximum(space.cardinalities[columns] - 1, 1), rng)

    codes = np.zeros((len(grid), len(space.columns)), dtype=np.int8)
    codes[:, columns] = grid[order]
    for offset, column in enumerate(first_layer):
        codes[:, layers[:, offset]] = codes[:, [column]]
    # The same order for every choice of bias, the last choice first.
    parts = []
    for choice in reversed(range(space.cardinalities[bias])):
        part = codes.copy()
        part[:, bias] = choice
        parts.append(space.canonical(part))
    return np.concatenate(parts)


def farthest_first(points: Array, rng: np.random.Generator) -> IndexArray:
    """Return an order in which each point is the farthest from those before it.

    Parameters
    ----------
    points : (n, d)
    rng
        Source of the first point, and of the order of ties.

    Returns
    -------
    (n,) intp, a permutation

    References
    ----------
    Gonzalez, "Clustering to minimize the maximum intercluster distance", 1985.

    Examples
    --------
    >>> order = farthest_first(np.array([[0.0], [1.0], [9.0]]), np.random.default_rng(0))
    >>> sorted(order.tolist()), int(order[2])  # the middle point is last
    ([0, 1, 2], 1)
    """
    shuffled = rng.permutation(len(points))
    points = points[shuffled]
    order = [0]
    distance = np.linalg.norm(points - points[0], axis=1)  # to the nearest point of the order
    # Greedy: the point with the largest distance to the order comes next.
    while len(order) < len(points):
        distance[order[-1]] = -1.0
        order.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(points - points[order[-1]], axis=1))
    return shuffled[order]
