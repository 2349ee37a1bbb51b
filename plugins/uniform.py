"""The baseline nobody runs: networks whose layers are all alike.

There are only a few of them (81 in gpt-s with biases, 81 without), they need no model, and together
they have most of the hypervolume. Whoever does not beat them has learned nothing.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from hwnas.spaces import Codes, SearchSpace

from .random import Random


class Uniform(Random):
    """The homogeneous networks of the space, then random search.

    ``bias`` stays on until all other combinations have been proposed. Among the rest the order is
    farthest first, from a start that the seed chooses (Gonzalez 1985), so that few evaluations
    already span the space.
    """

    claims_to_beat_random = True

    def __init__(
        self, space: SearchSpace, n_objectives: int, *, seed: int, n_constraints: int = 0
    ) -> None:
        super().__init__(space, n_objectives, seed=seed, n_constraints=n_constraints)
        self._queue = homogeneous(space, self.rng)

    def ask(self, n: int) -> Codes:
        """The next networks: homogeneous ones, and once these are through, `n` random ones."""
        self._queue = self._queue[[code not in self._sampler for code in self._queue]]
        if len(self._queue) == 0:
            return super().ask(n)
        codes, self._queue = self._queue[:n], self._queue[n:]
        return self._sampler.take(codes)


def homogeneous(space: SearchSpace, rng: np.random.Generator) -> Codes:
    """All networks whose layers are alike, spread-out ones first.

    Returns
    -------
    (k, d) int8, distinct
    """
    layers = np.array([group.columns for group in space.groups], dtype=np.intp)
    alone = [j for j in range(len(space.columns)) if j not in set(layers.ravel().tolist())]
    bias = space.columns.index("bias")
    per_layer = layers[0].tolist() if len(layers) else []
    chosen = [j for j in alone if j != bias] + per_layer
    grid = np.array(list(itertools.product(*(range(space.cardinalities[j]) for j in chosen))))
    order = farthest_first(grid / np.maximum(space.cardinalities[chosen] - 1, 1), rng)

    codes = np.zeros((len(grid), len(space.columns)), dtype=np.int8)
    codes[:, chosen] = grid[order]
    for offset, column in enumerate(per_layer):
        codes[:, layers[:, offset]] = codes[:, [column]]
    parts = []
    for choice in reversed(range(space.cardinalities[bias])):
        part = codes.copy()
        part[:, bias] = choice
        parts.append(space.canonical(part))
    return np.concatenate(parts)


def farthest_first(points: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.intp]:
    """An order in which each point is as far as can be from those before it.

    Parameters
    ----------
    points : (n, d)
    rng
        Chooses the first point and breaks ties.

    Returns
    -------
    (n,) intp, a permutation

    References
    ----------
    Gonzalez, "Clustering to minimize the maximum intercluster distance", 1985.
    """
    shuffled = rng.permutation(len(points))
    points = points[shuffled]
    order = [0]
    distance = np.linalg.norm(points - points[0], axis=1)
    while len(order) < len(points):
        distance[order[-1]] = -1.0
        order.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(points - points[order[-1]], axis=1))
    return shuffled[order]
