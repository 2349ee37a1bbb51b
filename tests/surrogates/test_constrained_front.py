from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from additive_problems import assert_front, everything, problems
from hypothesis import given
from hypothesis import strategies as st

from hwnas.objectives import Objective
from hwnas.spaces import SearchSpace
from hwnas.surrogates import constrained_front as constrained_module
from hwnas.surrogates import relaxations, surrogate
from hwnas.surrogates.constrained_front import constrained_front
from hwnas.surrogates.label_setting import (
    LabelSetting,
    keep_non_dominated,
    non_dominated_columns,
)
from hwnas.surrogates.pareto_front import MAX_LABELS, Limit, exact_front
from hwnas.surrogates.tables import AdditiveTable, predict
from hwnas.typing import Array

RandomProblem = tuple[SearchSpace, list[AdditiveTable], np.random.Generator]


def bounded(problem: RandomProblem, n_limits: int, same_architecture: bool) -> list[Limit]:
    """Bounds that an architecture meets exactly: the same one, or each another one."""
    small_space, tables, rng = problem
    values = predict(tables[2:], everything(small_space))
    rows = rng.integers(len(values), size=n_limits)
    if same_architecture:
        rows[:] = rows[0]
    return [Limit(tables[2 + j], values[row, j]) for j, row in enumerate(rows)]


@given(problems(n_tables=6), st.integers(1, 4), st.booleans(), st.booleans())
def test_the_constrained_front_is_that_of_all_feasible_architectures(
    problem: RandomProblem, n_limits: int, same_architecture: bool, is_objective_bounded: bool
) -> None:
    small_space, tables, rng = problem
    limits = bounded(problem, n_limits, same_architecture)
    if is_objective_bounded:
        limits.append(Limit(tables[0], rng.choice(tables[0].predict(everything(small_space)))))
    codes = exact_front(tables[:2], limits)
    assert codes is not None
    assert_front(small_space, tables[:2], limits, codes)
    assert len(codes) > 0 or is_objective_bounded or not same_architecture


@given(problems(n_tables=5), st.integers(1, 3), st.integers(1, 3))
def test_the_front_is_exact_with_few_corners_and_sampled_labels(
    problem: RandomProblem, n_limits: int, count: int
) -> None:
    small_space, tables, _ = problem
    limits = bounded(problem, n_limits, same_architecture=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(relaxations, "_MAX_CORNERS", count)
        patch.setattr(constrained_module, "_MAX_RELAXED_LABELS", count)
        patch.setattr(constrained_module, "_MAX_SAMPLED_LABELS", count)
        codes = exact_front(tables[:2], limits)
    assert codes is not None
    assert_front(small_space, tables[:2], limits, codes)


@given(problems(n_tables=5), st.integers(1, 3))
def test_constraints_that_oppose_an_objective(problem: RandomProblem, n_limits: int) -> None:
    """Bounds on an objective from below, and on a table and its negative."""
    small_space, tables, rng = problem
    opposed = [-1 * tables[0], tables[2], -1 * tables[2]][:n_limits]
    values = predict(opposed, everything(small_space))
    limits = [Limit(t, b) for t, b in zip(opposed, rng.permuted(values, axis=0)[0], strict=True)]
    codes = exact_front(tables[:2], limits)
    assert codes is not None
    assert_front(small_space, tables[:2], limits, codes)


# -- the surrogate ---------------------------------------------------------------------------------


def surrogate_problem(scale: str, names: Sequence[str], shares: Sequence[float]) -> LabelSetting:
    """The problem of two metrics, with bounds on the others at shares of their ranges."""
    predictor = surrogate(scale).predictor
    tables = []
    for name in names:
        table = predictor.table(Objective.parse(name.removeprefix("-")))
        tables.append(-1 * table if name.startswith("-") else table)
    low = np.array([table.minimum() for table in tables])
    high = np.array([table.maximum() for table in tables])
    bounds = low + np.array([np.inf, np.inf, *shares]) * (high - low)
    return LabelSetting(tables, bounds, 2, MAX_LABELS)


def front_of_labels(problem: LabelSetting) -> Array:
    """The front (n, 2) by labels with all constraints, of which only dominated ones are dropped."""
    results = problem.run(lambda: keep_non_dominated, np.empty((2, 0)))
    values = np.concatenate([result.values[:2] for result in results], axis=1)
    return values[:, non_dominated_columns(values)].T


def assert_front_of_labels(problem: LabelSetting) -> None:
    values = predict(problem.tables, constrained_front(problem))
    assert (values <= problem.bounds).all()
    np.testing.assert_array_equal(values[:, :2], front_of_labels(problem))


AXES = ["perplexity", "latency@h100"]


@pytest.mark.parametrize(
    ("names", "shares"),
    [
        ([*AXES, "params"], [0.3]),
        ([*AXES, "kv_cache.serve"], [0.6]),
        ([*AXES, "energy@h100", "kv_cache.serve"], [0.4, 0.6]),
        ([*AXES, "params", "kv_cache.serve"], [0.25, 0.5]),
        ([*AXES, "energy@h100", "params", "kv_cache.serve"], [0.4, 0.25, 0.5]),
        (["perplexity", "energy@a100", "-latency@h100", "bfloat16_memory"], [0.7, 0.3]),
        (["latency@rtx3080", "energy@h100", "perplexity", "-params"], [0.5, 0.8]),
    ],
    ids=str,
)
def test_gpt_s_has_the_front_of_all_labels(names: list[str], shares: list[float]) -> None:
    assert_front_of_labels(surrogate_problem("gpt-s", names, shares))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("others", "shares"),
    [
        (["params"], [0.17]),
        (["params", "energy@h100"], [0.17, 0.33]),
        (["energy@h100", "kv_cache.serve"], [0.73, 0.55]),
        (["params", "kv_cache.serve"], [0.17, 0.55]),
        (["params", "energy@h100", "kv_cache.serve"], [0.3, 0.73, 0.55]),
    ],
    ids=str,
)
def test_gpt_l_has_the_front_of_all_labels(others: list[str], shares: list[float]) -> None:
    assert_front_of_labels(surrogate_problem("gpt-l", [*AXES, *others], shares))


def dimensions(problem: LabelSetting, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of tables of each set of labels that a front needs."""
    numbers = []
    original = LabelSetting.search

    def count(setting: LabelSetting, *arguments: object) -> object:
        numbers.append(len(setting.tables))
        return original(setting, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(LabelSetting, "search", count)
    constrained_front(problem)
    return numbers


def test_constraints_that_members_satisfy_add_no_dimension(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    problem = surrogate_problem("gpt-s", [*AXES, "params", "energy@h100"], [1, 1])
    values = predict(problem.tables, constrained_front(problem))
    satisfied = replace(problem, bounds=np.array([np.inf, np.inf, *values[:, 2:].max(axis=0)]))
    assert set(dimensions(satisfied, monkeypatch)) == {2}
    satisfied.bounds[2] = np.median(values[:, 2])
    monkeypatch.undo()
    assert set(dimensions(satisfied, monkeypatch)) == {2, 3}


def test_contradictory_constraints_need_no_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = surrogate_problem("gpt-s", [*AXES, "params", "-params"], [0.4, 0.5])
    assert dimensions(problem, monkeypatch) == []
    problem = replace(problem, bounds=np.array([np.inf, np.inf, 0, 0]))
    assert constrained_front(problem).shape == (0, len(surrogate("gpt-s").space.columns))
