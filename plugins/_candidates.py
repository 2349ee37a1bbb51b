"""Networks worth a look: mutations and crossings of good ones, and fresh samples."""

from __future__ import annotations

import numpy as np

from hwnas.optimizers import UniqueSampler
from hwnas.spaces import Codes, SearchSpace


def around(parents: Codes, n: int, unseen: UniqueSampler, rng: np.random.Generator) -> Codes:
    """About `n` new networks: half of them crossings, most of them mutated, a few fresh.

    Parameters
    ----------
    parents : (p, d) int8
        Good networks, at least one.
    n
        How many to draw; copies and networks seen before are dropped.
    unseen
        Says what was seen before; it is not changed.

    Returns
    -------
    (k, d) int8, distinct, none seen
    """
    space = unseen.space
    first = parents[rng.integers(len(parents), size=n)]
    second = parents[rng.integers(len(parents), size=n)]
    crossed = rng.random((n, 1)) < 0.5
    drawn = np.where(crossed & (rng.random(first.shape) < 0.5), second, first)
    drawn = _in_runs(space, _in_places(space, drawn, rng), rng)
    fresh = space.sample(max(1, n // 5), rng)
    codes = np.unique(np.concatenate([space.canonical(drawn), fresh]), axis=0)
    return codes[[code not in unseen for code in codes]]


def _in_places(space: SearchSpace, codes: Codes, rng: np.random.Generator) -> Codes:
    """Redraw a few choices here and there: of half of the networks none, else one on average."""
    rate = rng.exponential(1.0, size=(len(codes), 1)) * (rng.random((len(codes), 1)) < 0.5)
    hit = rng.random(codes.shape) < rate / space.active(codes).sum(axis=1, keepdims=True)
    return np.where(hit, rng.integers(0, space.cardinalities, size=codes.shape), codes)


def _in_runs(space: SearchSpace, codes: Codes, rng: np.random.Generator) -> Codes:
    """Give one choice the same value in a run of layers, in half of the networks.

    What layers add is much alike, so their sum is what a step of this kind changes.
    """
    layers = np.array([group.columns for group in space.groups], dtype=np.intp)
    if layers.size == 0:
        return codes
    n, depth = len(codes), len(layers)
    start = rng.integers(depth, size=n)
    length = rng.geometric(2 / (depth + 1), size=n) * (rng.random(n) < 0.5)
    inside = (np.arange(depth) >= start[:, None]) & (
        np.arange(depth) < (start + length)[:, None]
    )  # (n, L)
    out = codes.copy()
    choice = rng.integers(layers.shape[1], size=n)
    for k in range(layers.shape[1]):
        value = rng.integers(space.cardinalities[layers[0, k]], size=(n, 1))
        block = out[:, layers[:, k]]
        out[:, layers[:, k]] = np.where(inside & (choice == k)[:, None], value, block)
    return out
