"""Candidate architectures: mutation and crossover of parents, and random samples."""

from __future__ import annotations

import numpy as np

from hwnas.optimizers import UniqueSampler
from hwnas.spaces import SearchSpace
from hwnas.typing import Codes


def mutate_and_crossover(
    parents: Codes, n: int, sampler: UniqueSampler, rng: np.random.Generator
) -> Codes:
    """Return about `n` new architectures: children of the parents and some random samples.

    Half of the children are crossovers, and most of them are mutated.

    Parameters
    ----------
    parents : (p, d) int8
        At least one.
    n
        Number of children; copies and architectures sampled before are dropped.
    sampler
        Record of the architectures sampled before; it is not changed.
    rng
        Source of randomness.

    Returns
    -------
    (k, d) int8, distinct and new

    Examples
    --------
    >>> import hwnas
    >>> space, rng = hwnas.space("gpt-s"), np.random.default_rng(0)
    >>> parents = space.sample(3, rng)
    >>> children = mutate_and_crossover(parents, 50, UniqueSampler(space, rng), rng)
    >>> bool(space.is_valid(children).all())
    True
    """
    space = sampler.space
    # Uniform crossover of two random parents, for half of the children.
    first = parents[rng.integers(len(parents), size=n)]
    second = parents[rng.integers(len(parents), size=n)]
    crossed = rng.random((n, 1)) < 0.5
    children = np.where(crossed & (rng.random(first.shape) < 0.5), second, first)
    # Two kinds of mutation, then a fifth as many random architectures.
    children = _mutate_choices(space, children, rng)
    has_layers = space.layer_columns.size > 0
    children = (_mutate_layer_runs if has_layers else _step_choices)(space, children, rng)
    samples = space.sample(max(1, n // 5), rng)
    codes = np.unique(np.concatenate([space.canonical(children), samples]), axis=0)
    return codes[[code not in sampler for code in codes]]


def _mutate_choices(space: SearchSpace, codes: Codes, rng: np.random.Generator) -> Codes:
    """Redraw single choices: none of half of the architectures, else one on average."""
    # The rate is exponential, so that some architectures change in many choices.
    rate = rng.exponential(1.0, size=(len(codes), 1)) * (rng.random((len(codes), 1)) < 0.5)
    mask = rng.random(codes.shape) < rate / space.active(codes).sum(axis=1, keepdims=True)
    return np.where(mask, rng.integers(0, space.cardinalities, size=codes.shape), codes)


def _mutate_layer_runs(space: SearchSpace, codes: Codes, rng: np.random.Generator) -> Codes:
    """Set one choice to the same value in a run of layers, in half of the architectures.

    Layers contribute alike to most objectives, so a run changes a sum in larger steps than a
    single layer does.
    """
    layers = space.layer_columns
    n, depth = len(codes), len(layers)
    # Runs have geometric lengths, of mean (L + 1) / 2 before they are cut at the last layer.
    start = rng.integers(depth, size=n)
    length = rng.geometric(2 / (depth + 1), size=n) * (rng.random(n) < 0.5)
    inside = (np.arange(depth) >= start[:, None]) & (
        np.arange(depth) < (start + length)[:, None]
    )  # (n, L)
    out = codes.copy()
    choice = rng.integers(layers.shape[1], size=n)
    for k in range(layers.shape[1]):
        # Values are drawn for every choice; an architecture uses that of its own choice.
        value = rng.integers(space.cardinalities[layers[0, k]], size=(n, 1))
        block = out[:, layers[:, k]]
        out[:, layers[:, k]] = np.where(inside & (choice == k)[:, None], value, block)
    return out


def _step_choices(space: SearchSpace, codes: Codes, rng: np.random.Generator) -> Codes:
    """Move one ordered choice in half of the architectures, to a near one more often than afar.

    A choice of many values is refined by small steps, which redrawn choices seldom make.
    """
    n, (ordered,) = len(codes), np.nonzero(space.ordered & (space.cardinalities > 2))
    if len(ordered) == 0:
        return codes
    column = rng.choice(ordered, size=n)
    # Steps have geometric lengths, of mean 1 to a tenth of the choices.
    mean = np.maximum(1.0, space.cardinalities[column] / 10 * rng.random(n))
    steps = rng.geometric(1 / mean) * rng.choice([-1, 1], size=n) * (rng.random(n) < 0.5)
    out = codes.astype(np.int64)
    out[np.arange(n), column] += steps
    return space.canonical(out)
