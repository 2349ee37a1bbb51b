"""Homogeneous configurations: a baseline without a model.

There are few of them (81 in gpt-s with biases, 81 without), and together they have most of the
hypervolume. An optimizer that does not beat them has learned nothing.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from hwnas.spaces import SearchSpace
from hwnas.spaces.choice_features import choice_features
from hwnas.typing import Array, Codes, IndexArray

from .random import Random

MAX_HOMOGENEOUS = 10_000  # combinations that are listed; of more a sample is ordered
_N_SAMPLES = 1000


class Uniform(Random):
    """The homogeneous configurations of the space, whose layers are all alike; then random search.

    Bools outside the layers, such as ``bias``, stay on until all combinations of the other choices
    have been proposed. The order is farthest first, from a start that depends on the seed (Gonzalez
    1985), so that few evaluations already span the space. In a space without layers every
    configuration is homogeneous; of more than 10,000, a random thousand are put in this order.
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
    """Return all configurations with equal layers, in farthest-first order.

    Of more than 10,000 combinations of choices, a random thousand are returned.

    Returns
    -------
    (k, d) int8, distinct

    Examples
    --------
    >>> import hwnas
    >>> homogeneous_codes(hwnas.space("gpt-s"), np.random.default_rng(0)).shape
    (162, 27)
    """
    switches = _switches(space)
    outside = [j for j in space.global_columns.tolist() if j not in switches]
    columns = [*outside, *space.layer_columns[:1].ravel().tolist()]
    n_combinations = math.prod(space.cardinalities[columns].tolist())
    if n_combinations > MAX_HOMOGENEOUS:
        return _homogeneous_sample(space, rng)
    # All combinations of the choices but the switches; the first layer stands for all layers.
    grid = np.array(list(itertools.product(*(range(space.cardinalities[j]) for j in columns))))
    codes = np.zeros((len(grid), len(space.columns)), dtype=np.int8)
    codes[:, columns] = grid
    codes = codes[farthest_first(choice_features(space, codes, columns), rng)]
    codes = _repeat_first_layer(space, codes)
    # The same order for every combination of the switches, the last choices first.
    parts = []
    for settings in itertools.product(*(reversed(range(space.cardinalities[j])) for j in switches)):
        part = codes.copy()
        part[:, switches] = settings
        parts.append(space.canonical(part))
    return _distinct(np.concatenate(parts))


def _switches(space: SearchSpace) -> list[int]:
    """Return the columns of bools outside the layers, of a space that has layers."""
    if len(space.layer_columns) == 0:
        return []
    values = enumerate(space.choices.values())
    return [j for j, choices in values if all(isinstance(choice, bool) for choice in choices)]


def _homogeneous_sample(space: SearchSpace, rng: np.random.Generator) -> Codes:
    """Return random configurations with equal layers, in farthest-first order."""
    codes = space.canonical(_repeat_first_layer(space, space.sample(_N_SAMPLES, rng)))
    codes = _distinct(codes)
    return codes[farthest_first(choice_features(space, codes, range(codes.shape[1])), rng)]


def _repeat_first_layer(space: SearchSpace, codes: Codes) -> Codes:
    """Return codes (n, d) with the choices of the first layer in all layers."""
    out = codes.copy()
    if space.layer_columns.size:
        out[:, space.layer_columns] = codes[:, None, space.layer_columns[0]]
    return out


def _distinct(codes: Codes) -> Codes:
    """Return the first occurrence of each code, in order."""
    _, first = np.unique(codes, axis=0, return_index=True)
    return codes[np.sort(first)]


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
