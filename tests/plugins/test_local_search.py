"""Tests of local search: neighbours, archive, restart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hwnas.errors import InvalidInput
from hwnas.registry import lookup, optimizer
from hwnas.spaces import Codes, SearchSpace


def create(space: SearchSpace | str = "gpt-s", *, c: int = 0, **settings: Any) -> Any:
    return optimizer("local_search", space, 2, seed=0, n_constraints=c, **settings)


def neighbours_of(search: Any, *codes: Codes) -> set[bytes]:
    return {key for code in codes for key in map(bytes, search.space.neighbours(code))}


def exhaust_archive(search: Any) -> set[bytes]:
    """Return all proposals before the next restart, and report bad losses for them."""
    proposed: set[bytes] = set()
    while True:
        codes = search.ask(7)
        restarted = len(search._codes) == 0  # a new archive
        search.tell(codes, np.full((len(codes), 2), 99.0))
        if restarted:
            return proposed
        proposed |= set(map(bytes, codes))


def test_proposals_are_neighbours_of_the_archive() -> None:
    search = create(initial=3)
    codes = search.ask(10)
    assert len(codes) == 3
    search.tell(codes, np.array([[1, 2], [2, 1], [3, 3.0]]))
    evaluated = set(map(bytes, codes))
    assert exhaust_archive(search) == neighbours_of(search, codes[0], codes[1]) - evaluated


def test_dominated_members_leave_the_archive() -> None:
    search = create(initial=2)
    codes = search.ask(2)
    search.tell(codes, np.array([[1, 2], [2, 1.0]]))
    step = search.ask(1)
    search.tell(step, np.array([[0, 0.0]]))
    assert exhaust_archive(search) <= neighbours_of(search, step[0])


def test_the_least_violation_comes_first() -> None:
    search = create(initial=3, c=2)
    codes = search.ask(3)
    violations = np.array([[2, 2], [3, -9], [0, 4.0]])
    search.tell(codes, np.array([[1, 1], [9, 9], [1, 1.0]]), constraints=violations)
    assert {bytes(code) for code in search.ask(20)} <= neighbours_of(search, codes[1])
    feasible = search.space.sample(1, np.random.default_rng(5))
    search.tell(feasible, np.array([[99, 99.0]]), constraints=np.zeros((1, 2)))
    assert {bytes(code) for code in search.ask(20)} <= neighbours_of(search, feasible[0])


def test_least_crowded_members_come_first() -> None:
    """Five points on a line: the ends are first, then the middle one, far from the others."""
    search = create(initial=5, sample_size=100)
    codes = search.ask(5)
    search.tell(codes, np.array([[0, 10], [0.1, 9.9], [5, 5], [9.9, 0.1], [10, 0.0]]))
    ends = neighbours_of(search, codes[0], codes[4])
    first = [bytes(code) for code in search.ask(len(ends - set(map(bytes, codes))))]
    assert set(first) <= ends
    assert {bytes(code) for code in search.ask(20)} <= neighbours_of(search, codes[2])


def test_restart(small_space: SearchSpace) -> None:
    search = create(small_space, initial=2)
    codes = search.ask(2)
    search.tell(codes, np.array([[1, 1], [2, 2.0]]))
    n = len(exhaust_archive(search))
    assert n == len(neighbours_of(search, codes[0]) - set(map(bytes, codes)))
    assert len(search._codes) == 1  # a new archive, whose member is worse than the old ones


def test_exact_front_of_a_small_space(small_space: SearchSpace, toy: Any) -> None:
    objectives = ("error", "memory")
    exact = toy.front(lookup_objectives(objectives)).values
    search = create(small_space)
    while len(search.history) < 200:
        codes = search.ask(10)
        search.tell(codes, values(toy, codes, objectives))
    recommended = values(toy, search.recommend(), objectives)
    np.testing.assert_allclose(np.unique(recommended, axis=0), np.unique(exact, axis=0))


def lookup_objectives(names: tuple[str, ...]) -> Any:
    from hwnas.objectives import Objective

    return tuple(Objective(name) for name in names)


def values(toy: Any, codes: Codes, names: tuple[str, ...]) -> Any:
    return np.stack([toy.column(codes, o) for o in lookup_objectives(names)], axis=1)


@pytest.mark.parametrize("setting", ["initial", "sample_size"])
def test_settings(small_space: SearchSpace, setting: str) -> None:
    with pytest.raises(InvalidInput, match=f"{setting}: expected at least 1, found 0"):
        lookup("optimizer", "local_search")(small_space, 2, seed=0, **{setting: 0})
