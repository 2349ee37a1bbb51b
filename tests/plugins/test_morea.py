"""Tests of regularized evolution: mutation, tournaments, ageing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import hwnas
from hwnas.errors import InvalidInput
from hwnas.optimizers import Optimizer
from hwnas.registry import optimizer
from hwnas.spaces import Codes, SearchSpace


def create(
    space: SearchSpace | str = "gpt-s", *, seed: int = 0, c: int = 0, **settings: Any
) -> Any:
    return optimizer("morea", space, 2, seed=seed, n_constraints=c, **settings)


def changes(child: Codes, parent: Codes) -> int:
    """Return the number of choices in which two architectures of one depth differ."""
    return int((child != parent).sum())


def tell_population(search: Optimizer, losses: Any, constraints: Any = None) -> Codes:
    """Report losses of random architectures of one depth, and return their codes."""
    codes = search.space.sample(len(losses), np.random.default_rng(1))
    codes[:, 1] = 2
    search.tell(codes, np.array(losses, dtype=float), constraints=constraints)
    return codes


def test_children_are_one_step_from_the_best() -> None:
    search = create(pop_size=3, sample_size=50, steps=1.0)
    codes = tell_population(search, [[5, 5], [1, 1], [3, 3]])
    neighbours = set(map(bytes, search.space.neighbours(codes[1])))
    assert {code.tobytes() for code in search.ask(30)} <= neighbours


def test_steps_are_a_mean() -> None:
    search = create(pop_size=3, sample_size=50, steps=3.0)
    codes = tell_population(search, [[5, 5], [1, 1], [3, 3]])
    children = search.ask(500)
    children = children[children[:, 1] == 2]
    assert 2.3 < np.mean([changes(child, codes[1]) for child in children]) < 3.2


def test_a_sample_of_one_selects_uniformly() -> None:
    search = create(pop_size=2, sample_size=1, steps=1.0)
    codes = tell_population(search, [[1, 1], [9, 9]])
    near = [set(map(bytes, search.space.neighbours(code))) for code in codes]
    children = [code.tobytes() for code in search.ask(40)]
    assert all(5 < sum(child in neighbours for child in children) < 35 for neighbours in near)


def test_the_oldest_is_replaced_even_if_best() -> None:
    search = create(pop_size=3, sample_size=50, steps=1.0)
    codes = tell_population(search, [[0, 0], [2, 2], [3, 3], [4, 4]])
    neighbours = set(map(bytes, search.space.neighbours(codes[1])))
    assert {code.tobytes() for code in search.ask(20)} <= neighbours


def test_feasible_individuals_win() -> None:
    search = create(pop_size=3, sample_size=50, steps=1.0, c=1)
    codes = tell_population(search, [[0, 0], [9, 9], [1, 1]], np.array([[0.1], [-3.0], [7.0]]))
    neighbours = set(map(bytes, search.space.neighbours(codes[1])))
    assert {code.tobytes() for code in search.ask(20)} <= neighbours


def test_random_start_without_waiting() -> None:
    search = create(pop_size=4)
    random = optimizer("random", "gpt-s", 2, seed=0)
    np.testing.assert_array_equal(search.ask(9), random.ask(9))
    assert len(search.ask(5)) == 5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pop_size": 0}, "pop_size: expected at least 1, found 0"),
        ({"sample_size": 0}, "sample_size: expected at least 1, found 0"),
        ({"steps": 0.5}, "steps: expected at least 1, found 0.5"),
        ({"steps": float("nan")}, "steps: expected at least 1, found nan"),
    ],
)
def test_settings(settings: dict[str, Any], message: str) -> None:
    from hwnas_plugins.morea import MOREA

    with pytest.raises(InvalidInput, match=message):
        MOREA(hwnas.space("gpt-s"), 2, seed=0, **settings)
