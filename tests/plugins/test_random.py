"""Tests of random search: distribution of choices, exhaustion."""

from __future__ import annotations

import numpy as np
import pytest
from hwnas_plugins.random import Random

import hwnas
from hwnas.errors import SpaceExhausted
from hwnas.spaces import Codes, GPTSpace, SearchSpace


def propose(optimizer: Random, n: int, at_once: int) -> Codes:
    return np.concatenate([optimizer.ask(at_once) for _ in range(n // at_once)])


@pytest.mark.parametrize("name", ["gpt-s", "gpt-l-wide"])
def test_every_choice_is_uniform_and_independent(name: str) -> None:
    space = hwnas.space(name)
    codes = propose(Random(space, 2, seed=0), 20_000, 1_000)
    active = space.active(codes)
    for column, cardinality in enumerate(space.cardinalities):
        choices = codes[active[:, column], column]
        shares = np.bincount(choices, minlength=cardinality) / len(choices)
        # Binomial standard error of each share.
        sigma = np.sqrt((1 - 1 / cardinality) / cardinality / len(choices))
        assert (abs(shares - 1 / cardinality) < 4.5 * sigma).all(), space.columns[column]
    correlations = np.atleast_2d(np.corrcoef(codes[:, active.all(axis=0)].T))
    assert abs(np.triu(correlations, k=1)).max() < 4.5 / np.sqrt(len(codes))


def test_shallow_architectures_run_out_first() -> None:
    """Half of the draws are shallow, and only 4 of 4,100 architectures are."""
    space = GPTSpace(
        "x", embed_dim=[64], n_layer=[1, 6], mlp_ratio=[1, 2], n_head=[1, 2], bias=[True]
    )
    codes = propose(Random(space, 2, seed=0), 100, 10)
    assert (codes[:, 1] == 0).sum() == 4
    assert len(np.unique(codes, axis=0)) == 100


def test_a_whole_space_at_once(small_space: SearchSpace) -> None:
    optimizer = Random(small_space, 2, seed=0)
    assert len(np.unique(optimizer.ask(10_000), axis=0)) == small_space.size == 272
    with pytest.raises(SpaceExhausted, match="all 272 architectures of tiny are taken"):
        optimizer.ask(1)
