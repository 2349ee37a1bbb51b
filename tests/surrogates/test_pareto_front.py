from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from additive_problems import assert_front, everything, problems
from hypothesis import assume, given
from hypothesis import strategies as st

from hwnas.objectives import Objective, constraint_violations, losses_of
from hwnas.pareto import non_dominated
from hwnas.spaces import Codes, SearchSpace, space
from hwnas.surrogates import Surrogate, surrogate
from hwnas.surrogates.pareto_front import Limit, epsilon_front, exact_front, find_front
from hwnas.surrogates.tables import AdditiveTable, predict


@given(problems(), st.integers(1, 3))
def test_the_front_is_that_of_all_architectures(
    problem: tuple[SearchSpace, list[AdditiveTable], np.random.Generator], m: int
) -> None:
    small_space, tables, _ = problem
    codes = exact_front(tables[:m])
    assert codes is not None
    assert_front(small_space, tables[:m], [], codes)


@given(problems(), st.integers(1, 3), st.lists(st.integers(0, 3), min_size=1, max_size=3))
def test_the_front_of_feasible_architectures(
    problem: tuple[SearchSpace, list[AdditiveTable], np.random.Generator],
    m: int,
    limited: list[int],
) -> None:
    small_space, tables, rng = problem
    listed = everything(small_space)
    # Bounds that an architecture meets exactly, on objectives and on other tables alike.
    limits = [Limit(tables[j], rng.choice(tables[j].predict(listed))) for j in limited]
    codes = exact_front(tables[:m], limits)
    assert codes is not None
    assert_front(small_space, tables[:m], limits, codes)


@given(problems(), st.integers(1, 3), st.integers(0, 3))
def test_a_limit_below_the_minimum_is_infeasible(
    problem: tuple[SearchSpace, list[AdditiveTable], np.random.Generator], m: int, j: int
) -> None:
    small_space, tables, _ = problem
    bound = np.nextafter(tables[j].minimum(), -np.inf)
    codes = exact_front(tables[:m], [Limit(tables[j], bound)])
    assert codes is not None
    assert codes.shape == (0, len(small_space.columns))
    at_the_minimum = exact_front(tables[:m], [Limit(tables[j], tables[j].minimum())])
    assert at_the_minimum is not None
    assert len(at_the_minimum) >= 1


@given(problems())
def test_opposed_tables_keep_every_value(
    problem: tuple[SearchSpace, list[AdditiveTable], np.random.Generator],
) -> None:
    small_space, tables, _ = problem
    codes = exact_front([tables[0], -1 * tables[0]])
    assert codes is not None
    values = np.unique(tables[0].predict(everything(small_space)))
    assert sorted(tables[0].predict(codes)) == values.tolist()


@given(problems())
def test_one_objective_is_its_minimum(
    problem: tuple[SearchSpace, list[AdditiveTable], np.random.Generator],
) -> None:
    _, tables, _ = problem
    for table, best in ((tables[0], tables[0].minimum()), (-1 * tables[0], -tables[0].maximum())):
        codes = exact_front([table])
        assert codes is not None
        assert table.predict(codes).tolist() == [best]


@given(problems())
def test_too_many_labels_give_up(
    problem: tuple[SearchSpace, list[AdditiveTable], np.random.Generator],
) -> None:
    small_space, tables, _ = problem
    _, _, _, ratios, heads = small_space.cardinalities[:5]
    assume(ratios * heads > 1)
    opposed = [tables[0], -1 * tables[0], tables[1]]
    assume(len(np.unique(tables[0].layers[0, 0, 0, 0])) > 1)  # two options that stay
    assert exact_front(opposed, max_labels=1) is None
    assert exact_front(opposed, max_labels=10**6) is not None


def test_dominated_ties_and_duplicates_are_dropped() -> None:
    def table(*entries: int) -> AdditiveTable:  # one layer, one option for each entry
        options = np.array(entries, dtype=float).reshape(1, 1, 1, 1, 1, -1)
        return AdditiveTable(np.array([1]), np.zeros((1, 1, 1)), options)

    tables = [table(1, 1, 2, 2, 2), table(5, 3, 3, 1, 1)]
    codes = exact_front(tables)
    assert codes is not None
    assert sorted(predict(tables, codes).tolist()) == [[1, 3], [2, 1]]
    codes = exact_front(tables[::-1])
    assert codes is not None
    assert sorted(predict(tables, codes).tolist()) == [[1, 3], [2, 1]]


@given(problems(), st.integers(1, 3))
def test_results_are_deterministic(
    problem: tuple[SearchSpace, list[AdditiveTable], np.random.Generator], m: int
) -> None:
    _, tables, _ = problem
    first, second = exact_front(tables[:m]), exact_front(tables[:m])
    np.testing.assert_array_equal(first, second)


# -- up to an epsilon ------------------------------------------------------------------------------


def assert_covered(
    listed: Codes,
    tables: Sequence[AdditiveTable],
    limits: Sequence[Limit],
    codes: Codes,
    epsilon: float,
) -> None:
    """Every listed feasible architecture is dominated by a member up to epsilon."""
    feasible = np.ones(len(listed), dtype=bool)
    for limit in limits:
        feasible &= limit.table.predict(listed) <= limit.bound
        assert (limit.table.predict(codes) <= limit.bound).all()
    assert (len(codes) > 0) == feasible.any()
    if len(codes) == 0:
        return
    members, points = predict(tables, codes), predict(tables, listed[feasible])
    assert non_dominated(members).all()
    extent = np.ptp(members, axis=0)
    ranges = [table.maximum() - table.minimum() for table in tables]
    extent = np.where(extent > 0, extent, np.where(np.array(ranges) > 0, ranges, 1))
    for chunk in np.array_split(points, 1 + len(points) // 500):
        worse = ((members - chunk[:, None]) / extent).max(axis=2).min(axis=1)
        assert worse.max(initial=0) <= epsilon + 1e-9


@given(
    problems(),
    st.integers(1, 4),
    st.lists(st.integers(0, 3), max_size=2),
    st.sampled_from([1, 2, 5, 20]),
)
def test_every_architecture_is_dominated_up_to_epsilon(
    problem: tuple[SearchSpace, list[AdditiveTable], np.random.Generator],
    m: int,
    limited: list[int],
    target: int,
) -> None:
    small_space, tables, rng = problem
    listed = everything(small_space)
    limits = [Limit(tables[j], rng.choice(tables[j].predict(listed))) for j in limited]
    solution = epsilon_front(tables[:m], limits, target_labels=target)
    assert solution is not None
    codes, epsilon = solution
    assert small_space.is_valid(codes).all()
    assert len(codes) <= target + m  # each objective's optimum comes on top
    assert_covered(listed, tables[:m], limits, codes, epsilon)


@given(problems(), st.integers(1, 4), st.lists(st.integers(0, 3), max_size=2))
def test_epsilon_is_0_without_rounding(
    problem: tuple[SearchSpace, list[AdditiveTable], np.random.Generator],
    m: int,
    limited: list[int],
) -> None:
    small_space, tables, rng = problem
    listed = everything(small_space)
    limits = [Limit(tables[j], rng.choice(tables[j].predict(listed))) for j in limited]
    solution = epsilon_front(tables[:m], limits, target_labels=10**6)
    assert solution is not None
    assert solution[1] == 0
    assert_front(small_space, tables[:m], limits, solution[0])


@given(problems())
def test_an_epsilon_front_gives_up_like_an_exact_one(
    problem: tuple[SearchSpace, list[AdditiveTable], np.random.Generator],
) -> None:
    small_space, tables, _ = problem
    assume(small_space.cardinalities[3] * small_space.cardinalities[4] > 1)
    opposed = [tables[0], -1 * tables[0]]
    assume(len(np.unique(tables[0].layers[0, 0, 0, 0])) > 1)
    assert epsilon_front(opposed, max_labels=1) is None


# -- the surrogate ---------------------------------------------------------------------------------


def cut(scale: str, **choices: object) -> SearchSpace:
    return space({**space(scale).to_dict(), **choices})


# Small enough to enumerate: two options per layer at 10 layers, or few options at many.
SMALL = {
    "ratios": cut("gpt-s", embed_dim=[192, 768], n_layer=[10], mlp_ratio=[2, 4], n_head=[8]),
    "heads": cut("gpt-s", embed_dim=[384], n_layer=[10, 11], mlp_ratio=[3], n_head=[4, 12]),
    "plain": cut("gpt-m", mlp_ratio=[3], n_head=[16]),
    "large": cut("gpt-l", mlp_ratio=[2], n_head=[20]),
}


@cache
def listed(name: str) -> tuple[Surrogate, Codes]:
    return surrogate(SMALL[name]), everything(SMALL[name])


def parsed(*names: str) -> tuple[Objective, ...]:
    return tuple(map(Objective.parse, names))


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(
    ("objectives", "limits"),
    [
        (["perplexity", "latency@rtx3080"], {}),
        (["latency@h100:p90", "perplexity"], {}),
        (["perplexity", "-flops"], {}),
        (["-params", "energy@a100"], {}),
        (["perplexity", "latency@rtx3080", "-energy@P100"], {}),
        (["perplexity", "latency@rtx3080"], {"latency@rtx3080 <=": 0.4}),
        (["perplexity", "-flops"], {"flops >=": 0.7}),
        (["perplexity", "latency@a40"], {"bfloat16_memory <=": 0.5}),
        (["perplexity", "latency@a40"], {"params >=": 0.3, "latency@v100:p75 <=": 0.8}),
        (["perplexity", "latency@a40:p90"], {"latency@a40 <=": 0.3, "perplexity <=": 0.9}),
        (["perplexity"], {"energy@cpu_amd_7452:p10 <=": 0.1}),
    ],
    ids=str,
)
def test_a_front_is_that_of_all_architectures(
    name: str, objectives: list[str], limits: dict[str, float]
) -> None:
    backend, codes = listed(name)
    parsed_objectives = parsed(*objectives)
    constraints = []
    for text, share in limits.items():
        constraint = Objective.parse(f"{text} 0")
        values = backend.predict(codes, [constraint])[:, 0]
        # The bound is the value of one architecture, which is feasible.
        bound = float(np.quantile(values, share, method="nearest"))
        constraints.append(replace(constraint, bound=bound))
    front = backend.front(objectives, constraints)
    assert front is not None
    violations = constraint_violations(tuple(constraints), backend.predict(codes, constraints))
    feasible = codes[(violations <= 0).all(axis=1)]
    losses = losses_of(parsed_objectives, backend.predict(feasible, parsed_objectives))
    expected = np.unique(losses[non_dominated(losses)], axis=0)
    np.testing.assert_array_equal(front.losses, expected)  # best in the first objective first
    np.testing.assert_array_equal(front.values, backend.predict(front.codes, parsed_objectives))
    assert front.objectives == parsed_objectives
    assert SMALL[name].is_valid(front.codes).all()
    solution = constraint_violations(tuple(constraints), backend.predict(front.codes, constraints))
    assert (solution <= 0).all()


FOUR = ["perplexity", "latency@h100", "energy@a100", "bfloat16_memory"]


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("bound", [None, "latency@h100", "params", "energy@a100:p90"])
@pytest.mark.parametrize("target", [20, 200])
def test_four_objectives_up_to_epsilon(name: str, bound: str | None, target: int) -> None:
    backend, codes = listed(name)
    tables = [backend.predictor.table(o) for o in parsed(*FOUR)]
    limits = []
    if bound is not None:
        table = backend.predictor.table(Objective.parse(bound))
        if bound in FOUR:
            table = tables[FOUR.index(bound)]
        limits = [Limit(table, float(np.quantile(table.predict(codes), 0.5, method="nearest")))]
    solution = epsilon_front(tables, limits, target_labels=target)
    assert solution is not None
    assert solution[1] < 20 / target
    assert_covered(codes, tables, limits, *solution)


def test_a_front_of_a_whole_space_up_to_epsilon() -> None:
    backend = surrogate("gpt-l")
    tables = [backend.predictor.table(o) for o in parsed(*FOUR)]
    solution = epsilon_front(tables, target_labels=300)
    assert solution is not None
    codes, epsilon = solution
    assert 0 < epsilon < 0.25
    assert len(codes) <= 304
    near = [backend.space.neighbours(code) for code in codes[:: len(codes) // 10]]
    tried = np.concatenate([backend.space.sample(5_000, np.random.default_rng(0)), *near])
    assert_covered(tried, tables, [], codes, epsilon)
    # The optimum of each objective is a member, to a millionth of its range.
    for table in tables:
        extent = table.maximum() - table.minimum()
        assert table.predict(codes).min() == pytest.approx(table.minimum(), abs=1e-5 * extent)
    # So is, up to epsilon, that of every weighting.
    values = predict(tables, codes)
    weights = np.random.default_rng(1).dirichlet(np.ones(4), 50) / np.ptp(values, axis=0)
    for row in weights:
        combined = sum(
            (float(w) * t for w, t in zip(row[1:], tables[1:], strict=True)),
            start=float(row[0]) * tables[0],
        )
        assert combined.minimum() - 1e-9 <= (values @ row).min() <= combined.minimum() + epsilon


def test_find_front_is_exact_where_possible() -> None:
    backend, _ = listed("plain")
    three = ["perplexity", "latency@h100", "energy@a100"]
    front = backend.front(three)
    assert front is not None
    assert front.epsilon == 0
    small = surrogate(cut("gpt-s", embed_dim=[192], n_layer=[10], mlp_ratio=[2, 4], n_head=[8]))
    front = small.front(FOUR)  # few enough labels: none is rounded
    assert front is not None
    assert front.epsilon == 0
    losses = small.predict(everything(small.space), FOUR)
    assert len(front) == len(np.unique(losses[non_dominated(losses)], axis=0))
    assert small.front(FOUR) is front
    tables = [backend.predictor.table(o) for o in parsed(*three)]
    solution = find_front(tables)
    assert solution is not None
    assert solution[1] == 0
    assert_front(backend.space, tables, [], solution[0])
