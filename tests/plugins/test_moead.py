"""Tests of MOEA/D: directions, replacement, scaling."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("pymoo")

from hwnas_plugins._pymoo import reference_directions
from hwnas_plugins.moead import NeighbourhoodReplacement, scale_losses
from pymoo.core.population import Population

from hwnas.errors import InvalidInput
from hwnas.registry import lookup, optimizer
from hwnas.spaces import SearchSpace


@pytest.mark.parametrize(("m", "k"), [(2, 100), (3, 91), (4, 84), (5, 70)])
def test_directions(m: int, k: int) -> None:
    directions = reference_directions(m, 100)
    assert directions.shape == (k, m)
    np.testing.assert_allclose(directions.sum(axis=1), 1)
    assert (directions.max(axis=1) == 1).sum() == m


def population(losses: list[list[float]], violation: list[float]) -> Population:
    pop = Population.new(X=np.arange(len(losses))[:, None])
    pop.set("F", np.array(losses, dtype=float))
    pop.set("G", np.array(violation, dtype=float)[:, None])
    return pop


def survivors_of(
    losses: list[list[float]], violation: list[float], *, initialized: bool, near: int = 3
) -> list[int]:
    """Return the survivor of each of the directions (0, 1), (1/2, 1/2), (1, 0)."""
    directions = reference_directions(2, 3)
    neighbours = np.array([[0, 1, 2], [1, 0, 2], [2, 1, 0]])[:, :near]
    survivors = NeighbourhoodReplacement(directions, neighbours)._do(
        None, population(losses, violation), SimpleNamespace(is_initialized=initialized)
    )
    return [int(x) for x in survivors.get("X")[:, 0]]


def test_each_scalarization_keeps_its_best() -> None:
    losses = [[0, 10], [9, 9], [4, 4], [10, 0.0]]
    assert survivors_of(losses, [0, 0, 0, 0], initialized=False) == [3, 2, 0]


def test_offspring_replace_the_neighbours_of_their_best_scalarization() -> None:
    # Individuals 0, 1, 2 are the members; 3 is in the middle, and better than all members for every
    # direction but the ends.
    losses = [[10, 0], [6, 6], [0, 10], [4, 4.0]]
    assert survivors_of(losses, [0] * 4, initialized=True) == [0, 3, 2]
    losses = [[10, 5], [6, 6], [5, 10], [4, 4.0]]
    assert survivors_of(losses, [0] * 4, initialized=True) == [3, 3, 3]
    assert survivors_of(losses, [0] * 4, initialized=True, near=1).count(3) == 1


def test_less_violation_replaces_regardless_of_losses() -> None:
    losses = [[1, 0], [0.5, 0.5], [0, 1], [9, 9.0]]
    assert survivors_of(losses, [1, 1, 1, 0.5], initialized=True) == [3, 3, 3]
    assert survivors_of(losses, [0, 1, 0, 0.5], initialized=True) == [0, 3, 2]
    assert 3 not in survivors_of([*losses[:3], [-9, -9]], [0, 0, 0, 0.5], initialized=True)


def test_losses_are_scaled_by_feasible_individuals() -> None:
    losses = np.array([[0, 4], [2, 0], [9, 9], [-99, -99.0]])
    expected = [[0, 1], [1, 0], [4.5, 2.25]]
    np.testing.assert_allclose(scale_losses(losses, np.array([0, 0, 0, 1.0]))[:3], expected)


def test_settings(small_space: SearchSpace) -> None:
    with pytest.raises(InvalidInput, match="neighbours: expected at least 2, found 1"):
        lookup("optimizer", "moead")(small_space, 2, seed=0, neighbours=1)
    search = optimizer("moead", "gpt-s", 3, seed=0)
    assert search.batch == 16
    assert len(search.ask(500)) == 16
    search = optimizer("moead", "gpt-s", 3, seed=0, pop_size=100)
    assert search.batch == 20
    assert len(search.ask(500)) == 100
