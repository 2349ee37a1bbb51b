"""Tests that nsga3, moead and smsemoa share."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import hwnas
from hwnas import pareto
from hwnas.errors import InvalidInput
from hwnas.fronts import reference_point
from hwnas.registry import lookup, optimizer
from hwnas.spaces import SearchSpace
from hwnas.surrogates import Surrogate

pytest.importorskip("pymoo")
from hwnas_plugins._pymoo import reference_directions

OBJECTIVES = ["perplexity", "latency@rtx3080"]
every = pytest.mark.parametrize("name", ["nsga3", "moead", "smsemoa"])


@pytest.fixture(scope="module")
def bench() -> Surrogate:
    return hwnas.surrogate("gpt-s")


@every
def test_nearly_all_of_the_hypervolume(name: str, bench: Surrogate) -> None:
    front = bench.front(OBJECTIVES)
    assert front is not None
    reference = reference_point(front.losses)
    search = optimizer(name, "gpt-s", 2, seed=1)
    while len(search.history) < 2000:
        codes = search.ask(search.batch)
        search.tell(codes, bench.predict(codes, OBJECTIVES))
    hypervolume = pareto.hypervolume(search.history.losses, reference)
    assert hypervolume / pareto.hypervolume(front.losses, reference) > 0.95  # random: 0.93


@every
@pytest.mark.parametrize("m", [2, 5])
def test_ties_between_infeasible_individuals_depend_on_the_seed(name: str, m: int) -> None:
    runs = []
    for _ in range(2):
        search = optimizer(name, "gpt-s", m, seed=3, n_constraints=1, pop_size=10)
        for _ in range(4):
            codes = search.ask(10)
            losses = np.stack([(codes * (j + 1)).sum(axis=1) % 7.0 for j in range(m)], axis=1)
            search.tell(codes, losses, constraints=np.ones((len(codes), 1)))
        runs.append(search.history.codes)
    np.testing.assert_array_equal(*runs)


@every
def test_constraints_are_met(name: str, bench: Surrogate) -> None:
    search = optimizer(name, "gpt-s", 2, seed=0, n_constraints=1)
    shares = []
    while len(search.history) < 1500:
        codes = search.ask(50)
        violations = bench.predict(codes, ["bfloat16_memory"]) - 150
        search.tell(codes, bench.predict(codes, OBJECTIVES), constraints=violations)
        shares.append((violations <= 0).mean())
    assert shares[0] < 0.3  # random
    assert np.mean(shares[-5:]) > 0.7


@every
def test_units_do_not_matter(name: str, bench: Surrogate) -> None:
    runs = []
    for units in (1.0, 2.0**-30):
        search = optimizer(name, "gpt-s", 2, seed=0, pop_size=20)
        while len(search.history) < 200:
            codes = search.ask(20)
            search.tell(codes, bench.predict(codes, OBJECTIVES) * [1.0, units])
        runs.append(search.history.codes)
    np.testing.assert_array_equal(*runs)


@every
def test_warning_filters_are_unchanged(name: str, small_space: SearchSpace) -> None:
    filters = list(warnings.filters)
    search = optimizer(name, small_space, 3, seed=0, pop_size=5)
    for _ in range(3):
        codes = search.ask(9)
        search.tell(codes, codes[:, :3].astype(float))
    assert warnings.filters == filters


@pytest.mark.parametrize("m", [2, 3, 4, 5])
@pytest.mark.parametrize("name", ["nsga2", "nsga3", "moead", "smsemoa"])
def test_default_population(name: str, m: int) -> None:
    """One size for all, with at most as many reference directions."""
    search = optimizer(name, "gpt-s", m, seed=0)
    assert len(search.ask(1000)) == search.generation == search.n_initial == 16
    assert m <= len(reference_directions(m, search.n_initial)) <= 16


@every
def test_population_too_small(name: str, small_space: SearchSpace) -> None:
    with pytest.raises(InvalidInput, match="pop_size: expected 2 to 100000, found 1"):
        lookup("optimizer", name)(small_space, 2, seed=0, pop_size=1)


@pytest.mark.parametrize("name", ["nsga3", "moead"])
def test_directions_need_objectives_and_individuals(name: str, small_space: SearchSpace) -> None:
    cls: Any = lookup("optimizer", name)
    with pytest.raises(InvalidInput, match="at least 5, one an objective, found 4"):
        cls(small_space, 5, seed=0, pop_size=4)
    with pytest.raises(InvalidInput, match="n_objectives: expected at least 2, found 1"):
        cls(small_space, 1, seed=0)
