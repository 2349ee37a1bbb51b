"""Fronts of the surrogate backend."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas import pareto
from hwnas.backends import metric_of
from hwnas.errors import InvalidInput
from hwnas.objectives import (
    Objective,
    constraint_violations,
    losses_of,
    parse_constraints,
    parse_objectives,
)
from hwnas.pareto import non_dominated
from hwnas.runner.evaluation import measure
from hwnas.spaces import GPTSpace
from hwnas.surrogates import Surrogate, surrogate
from hwnas.surrogates.predictor import bound_of_table, divisor_of
from hwnas.surrogates.published import SCALES
from hwnas.workloads import BUILT_IN, CLOSED_FORMS, Workload

# Small enough to enumerate.
SMALL = {
    "s": GPTSpace("s", embed_dim=[192, 768], n_layer=[10, 11], mlp_ratio=[2, 4], n_head=[8]),
    "m": GPTSpace(
        "m", embed_dim=[256, 512, 1024], n_layer=[22, 23, 24], mlp_ratio=[3], n_head=[12]
    ),
    "s-heads": GPTSpace(
        "s-heads", embed_dim=[384], n_layer=[10], mlp_ratio=[3], n_head=[4, 8, 12], bias=[False]
    ),
    "s-shallow": GPTSpace(
        "s-shallow", embed_dim=[192, 384, 768], n_layer=[10, 12], mlp_ratio=[2, 3], n_head=[4]
    ),
}
PROBLEMS: list[tuple[str, list[str], list[str]]] = [
    ("s", ["perplexity", "latency@rtx3080"], []),
    ("s", ["perplexity", "latency@h100:p90"], []),
    ("s", ["perplexity", "latency@h100:p85"], []),
    ("s", ["latency@h100", "-params"], []),
    ("s", ["-perplexity", "-flops"], []),
    ("s", ["perplexity", "latency@a100", "energy@cpu_xeon_gold"], []),
    ("s", ["perplexity", "latency@rtx3080"], ["bfloat16_memory <= 400"]),
    ("s", ["perplexity", "latency@rtx3080"], ["perplexity <= 28", "params >= 5e7"]),
    ("s", ["perplexity", "latency@rtx3080"], ["perplexity >= 28"]),
    ("s", ["latency@v100"], []),
    ("s", ["-latency@v100"], ["perplexity >= 26"]),
    ("m", ["perplexity", "energy@a40"], []),
    ("s-heads", ["perplexity", "latency@cpu_amd_7502"], []),
    ("s-shallow", ["perplexity", "flops"], ["latency@P100:p10 <= 100"]),
    ("s-heads", ["perplexity", "kv_cache.serve"], []),
    ("s-heads", ["-kv_cache.chat", "latency@h100"], []),
    ("s-shallow", ["perplexity", "weight_memory.chat"], []),
    # Bounds that 60 heads reach exactly: 2 x 64 x 1,024 x 64 x 60 numbers of 2 bytes.
    ("s-heads", ["perplexity", "latency@h100"], ["kv_cache.serve <= 1006.63296"]),
    ("s-heads", ["perplexity", "latency@h100"], ["kv_cache.serve >= 1006.63296"]),
    ("s", ["perplexity", "latency@h100"], ["weight_memory.serve <= 120"]),
]


@pytest.fixture(scope="module")
def bench() -> Surrogate:
    return surrogate("gpt-s")


@pytest.fixture(scope="module")
def noisy(bench: Surrogate) -> Surrogate:
    return Surrogate(bench.space, noise=True)


def sample(bench: Surrogate, n: int, seed: int = 0) -> np.ndarray:
    return bench.space.sample(n, np.random.default_rng(seed))


# -- enumeration and optima -----------------------------------------------------------------------


@pytest.mark.parametrize(("name", "objectives", "constraints"), PROBLEMS)
def test_front_is_that_of_all_architectures(
    name: str, objectives: list[str], constraints: list[str]
) -> None:
    small = surrogate(SMALL[name])
    front = small.front(objectives, constraints)
    assert front is not None
    codes = np.concatenate(list(small.space.enumerate()))
    limits = parse_constraints(constraints)
    codes = codes[(constraint_violations(limits, small.predict(codes, limits)) <= 0).all(axis=1)]
    losses = losses_of(parse_objectives(objectives), small.predict(codes, objectives))
    best = np.unique(losses[pareto.non_dominated(losses)], axis=0)
    assert len(best) > 0
    assert np.array_equal(front.losses, best)  # both ascend in the first objective
    assert np.array_equal(front.values, small.predict(front.codes, objectives))
    assert small.space.is_valid(front.codes).all()


@pytest.mark.parametrize("scale", ["gpt-s", "gpt-m", "gpt-l"])
def test_no_sample_dominates_a_front(scale: str) -> None:
    backend = surrogate(scale)
    front = backend.front(["perplexity", "latency@rtx3080"])
    assert front is not None
    start = np.concatenate([backend.space.neighbours(code) for code in front.codes[::200]])
    codes = np.concatenate([sample(backend, 20_000), start])
    values = backend.predict(codes, ["perplexity", "latency@rtx3080"])
    # The front is sorted: the best second value among members no worse in the first.
    last = np.searchsorted(front.values[:, 0], values[:, 0], side="right") - 1
    assert (last >= 0).all()
    assert (values[:, 1] >= front.values[last, 1]).all()


def test_a_single_objective_gives_its_optimum(bench: Surrogate) -> None:
    minimum, maximum = bench.front(["perplexity"]), bench.front(["-perplexity"])
    assert minimum is not None
    assert maximum is not None
    table = bench.predictor.table(Objective("perplexity"))
    assert minimum.values.tolist() == [[table.minimum()]]
    assert maximum.values.tolist() == [[table.maximum()]]


def test_fronts_are_cached_and_read_only(bench: Surrogate) -> None:
    front = bench.front(["perplexity", "params"])
    assert front is not None
    assert bench.front((Objective("perplexity"), Objective("params"))) is front
    with pytest.raises(ValueError, match="read-only"):
        front.values[0] = 0


def test_front_is_empty_where_nothing_is_feasible(bench: Surrogate) -> None:
    front = bench.front(["perplexity", "params"], ["params <= 1"])
    assert front is not None
    assert front.values.shape == (0, 2)


@pytest.mark.parametrize("limits", [[], ["latency@h100+rtx3080 <= 2"], ["params <= 1e8"]])
@pytest.mark.parametrize("name", sorted(SMALL))
def test_the_worst_ratio_has_an_exact_front(name: str, limits: list[str]) -> None:
    """Known answer: all members, evaluated as a search evaluates them."""
    bench = Surrogate(SMALL[name])
    objectives = parse_objectives(["perplexity", "latency@h100+rtx3080+cpu_amd_7502"])
    constraints = parse_constraints(limits)
    codes = np.concatenate(list(bench.space.enumerate()))
    values = measure(bench, codes, objectives).values
    if constraints:
        answer = measure(bench, codes, constraints).values
        values = values[(constraint_violations(constraints, answer) <= 0).all(axis=1)]
    front = bench.front(objectives, constraints)
    assert front is not None
    assert front.epsilon == 0
    expected = np.unique(values[non_dominated(values)], axis=0)
    np.testing.assert_array_equal(np.unique(front.values, axis=0), expected)


def test_the_worst_ratio_is_that_to_the_optima(bench: Surrogate) -> None:
    assert bench.front(["perplexity"], ["latency@h100+rtx3080 >= 2"]) is None
    codes = sample(bench, 10)
    (worst,) = parse_objectives(["latency@h100+rtx3080"])
    ratios = bench.predict(codes, ["latency@h100", "latency@rtx3080"])
    for j, key in enumerate(worst.keys):
        optimum = bench.front([key])
        assert optimum is not None
        ratios[:, j] /= optimum.values[0, 0]
    np.testing.assert_allclose(measure(bench, codes, [worst]).values[:, 0], ratios.max(axis=1))


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(
    "names", [["perplexity", "latency@rtx3080"], ["-flops", "energy@h100:p90"]]
)
def test_every_weighting_has_its_optimum_on_the_front(scale: str, names: list[str]) -> None:
    # A weighted sum of tables is a table, whose minimum over the whole space is known.
    backend = surrogate(scale)
    front = backend.front(names)
    assert front is not None
    tables = [
        (-1 if objective.maximise else 1) * backend.predictor.table(objective)
        for objective in parse_objectives(names)
    ]
    extent = front.losses.max(axis=0) - front.losses.min(axis=0)
    for angle in np.linspace(0, np.pi / 2, 50):
        weights = np.array([np.cos(angle), np.sin(angle)]) / extent
        combined = float(weights[0]) * tables[0] + float(weights[1]) * tables[1]
        best = (front.losses @ weights).min()
        assert best == pytest.approx(combined.minimum(), rel=1e-9)


@pytest.mark.parametrize("scale", SCALES)
def test_no_sample_and_no_neighbour_beats_the_front(scale: str) -> None:
    names = ["perplexity", "latency@cpu_xeon_gold"]
    backend = surrogate(scale)
    front = backend.front(names)
    assert front is not None
    rng = np.random.default_rng(0)
    members = rng.choice(len(front), 30, replace=False)
    near = [backend.space.neighbours(code) for code in front.codes[members]]
    tried = np.concatenate([backend.space.sample(5_000, rng), *near])
    both = np.concatenate([front.values, backend.predict(tried, names)])
    assert non_dominated(both).tolist() == [True] * len(front) + [False] * len(tried)


@pytest.mark.parametrize("scale", SCALES)
def test_one_objective_is_the_optimum_of_the_space(scale: str) -> None:
    backend = surrogate(scale)
    for name in ("perplexity", "latency@h100", "energy@v100:p90", "params"):
        table = backend.predictor.table(Objective.parse(name))
        for text, best in ((name, table.minimum()), (f"-{name}", table.maximum())):
            front = backend.front([text])
            assert front is not None
            assert front.values.tolist() == [[best]]


def test_an_impossible_constraint_gives_an_empty_front() -> None:
    backend = surrogate("gpt-m")
    for constraints in (["latency@h100 <= 0"], ["bfloat16_memory <= 1"], ["params >= 1e12"]):
        front = backend.front(["perplexity", "latency@h100"], constraints)
        assert front is not None
        assert len(front) == 0
        assert front.codes.shape == (0, len(backend.space.columns))
        assert front.values.shape == (0, 2)


# -- noise and errors ------------------------------------------------------------------------------


def test_a_noisy_backend_has_the_front_of_medians(bench: Surrogate, noisy: Surrogate) -> None:
    names, constraints = ["perplexity", "latency@rtx3080"], ["energy@rtx3080 <= 400"]
    quiet, loud = bench.front(names, constraints), noisy.front(names, constraints)
    assert quiet is not None
    assert loud is not None
    assert len(loud) > 0
    assert np.array_equal(quiet.codes, loud.codes)
    assert np.array_equal(quiet.values, loud.values)


def test_codes_of_a_front_are_read_only(bench: Surrogate) -> None:
    front = bench.front(["perplexity", "flops"])
    assert front is not None
    with pytest.raises(ValueError, match="read-only"):
        front.codes[0] = 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"objectives": ["params <= 3"]}, "has a bound"),
        ({"objectives": ["params"], "constraints": ["flops"]}, "found no bound"),
        ({"objectives": ["params"], "constraints": ["latency <= 3"]}, "needs a device"),
    ],
)
def test_front_refuses_invalid_problems(
    bench: Surrogate, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        bench.front(**arguments)


# -- workloads ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["kv_cache.serve", "weight_memory.chat", "kv_cache.mine"])
@pytest.mark.parametrize("model", ["additive", "trees"])
def test_closed_forms_of_workloads_are_exact(name: str, model: Any) -> None:
    """The tables' values are those of the formula, to the last bit."""
    mine = {**BUILT_IN, "mine": Workload(100, 50, 3, "int8")}
    backend = surrogate("gpt-s", model=model, workloads=mine)
    codes = sample(backend, 500)
    objective = Objective.parse(name)
    assert objective.workload is not None
    form = CLOSED_FORMS[objective.metric]
    expected = form(backend.space, codes, mine[objective.workload])
    assert np.array_equal(backend.predict(codes, [name])[:, 0], expected)
    assert np.array_equal(measure(backend, codes, [objective]).values[:, 0], expected)
    corners = backend.space.canonical([[0] * 27, [9] * 27])
    ends = form(backend.space, corners, mine[objective.workload])
    assert backend.range(name) == tuple(ends)
    assert metric_of(backend, objective).unit == "MB"


def test_equal_memory_gives_one_member_of_a_front() -> None:
    """Sums in bytes: the order of layers makes no difference."""
    bench = surrogate(SMALL["s-heads"])
    front = bench.front(["perplexity", "kv_cache.chat"])
    assert front is not None
    assert front.epsilon == 0
    assert len(set(front.values[:, 1])) == len(front) <= 21


@given(st.floats(-1e6, 1e6), st.sampled_from(["kv_cache.serve", "params"]))
def test_bounds_of_tables_separate_the_same_values(bound: float, name: str) -> None:
    objective = Objective.parse(name)
    limit, divisor = bound_of_table(objective, bound), divisor_of(objective)
    assert limit / divisor <= bound
    assert (limit + 1) / divisor > bound
