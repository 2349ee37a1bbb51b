from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hwnas.errors import InvalidInput
from hwnas.registry import lookup, optimizer
from hwnas.spaces import Codes, SearchSpace


def made(space: SearchSpace | str = "gpt-s", *, c: int = 0, **settings: Any) -> Any:
    return optimizer("local_search", space, 2, seed=0, n_constraints=c, **settings)


def around(search: Any, *codes: Codes) -> set[bytes]:
    return {key for code in codes for key in map(bytes, search.space.neighbours(code))}


def drained(search: Any) -> set[bytes]:
    """All that it proposes before it starts again, none of which turns out good."""
    found: set[bytes] = set()
    while True:
        codes = search.ask(7)
        again = len(search._codes) == 0  # a new archive
        search.tell(codes, np.full((len(codes), 2), 99.0))
        if again:
            return found
        found |= set(map(bytes, codes))


def test_neighbours_of_the_archive_and_nothing_else() -> None:
    search = made(initial=3)
    codes = search.ask(10)
    assert len(codes) == 3
    search.tell(codes, np.array([[1, 2], [2, 1], [3, 3.0]]))
    known = set(map(bytes, codes))
    assert drained(search) == around(search, codes[0], codes[1]) - known


def test_what_is_dominated_has_no_more_turns() -> None:
    search = made(initial=2)
    codes = search.ask(2)
    search.tell(codes, np.array([[1, 2], [2, 1.0]]))
    step = search.ask(1)
    search.tell(step, np.array([[0, 0.0]]))
    assert drained(search) <= around(search, step[0])


def test_the_least_violation_comes_first() -> None:
    search = made(initial=3, c=2)
    codes = search.ask(3)
    violations = np.array([[2, 2], [3, -9], [0, 4.0]])
    search.tell(codes, np.array([[1, 1], [9, 9], [1, 1.0]]), constraints=violations)
    assert {bytes(code) for code in search.ask(20)} <= around(search, codes[1])
    feasible = search.space.sample(1, np.random.default_rng(5))
    search.tell(feasible, np.array([[99, 99.0]]), constraints=np.zeros((1, 2)))
    assert {bytes(code) for code in search.ask(20)} <= around(search, feasible[0])


def test_the_lonely_come_first() -> None:
    """Of five on a line the middle one is far from the others; ends have no neighbour at all."""
    search = made(initial=5, sample_size=100)
    codes = search.ask(5)
    search.tell(codes, np.array([[0, 10], [0.1, 9.9], [5, 5], [9.9, 0.1], [10, 0.0]]))
    ends = around(search, codes[0], codes[4])
    first = [bytes(code) for code in search.ask(len(ends - set(map(bytes, codes))))]
    assert set(first) <= ends
    assert {bytes(code) for code in search.ask(20)} <= around(search, codes[2])


def test_it_starts_again(small_space: SearchSpace) -> None:
    search = made(small_space, initial=2)
    codes = search.ask(2)
    search.tell(codes, np.array([[1, 1], [2, 2.0]]))
    n = len(drained(search))
    assert n == len(around(search, codes[0]) - set(map(bytes, codes)))
    assert len(search._codes) == 1  # the fresh one is an archive of its own, though it is bad


def test_it_finds_the_whole_front_of_a_small_space(small_space: SearchSpace, toy: Any) -> None:
    objectives = ("error", "memory")
    exact = toy.front(lookup_objectives(objectives)).values
    search = made(small_space)
    while len(search.history) < 200:
        codes = search.ask(10)
        search.tell(codes, values(toy, codes, objectives))
    found = values(toy, search.recommend(), objectives)
    np.testing.assert_allclose(np.unique(found, axis=0), np.unique(exact, axis=0))


def lookup_objectives(names: tuple[str, ...]) -> Any:
    from hwnas.objectives import Objective

    return tuple(Objective(name) for name in names)


def values(toy: Any, codes: Codes, names: tuple[str, ...]) -> Any:
    return np.stack([toy.column(codes, o) for o in lookup_objectives(names)], axis=1)


@pytest.mark.parametrize("setting", ["initial", "sample_size"])
def test_settings(small_space: SearchSpace, setting: str) -> None:
    with pytest.raises(InvalidInput, match=f"{setting}: expected at least 1, found 0"):
        lookup("optimizer", "local_search")(small_space, 2, seed=0, **{setting: 0})
