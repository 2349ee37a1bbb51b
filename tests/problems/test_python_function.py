"""The backend ``python``: what a function gets, may return, and how its faults are told."""

from __future__ import annotations

import copy
import json
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import threadpoolctl

from hwnas import registry
from hwnas.errors import InvalidInput
from hwnas.function_source import defined_here
from hwnas.objectives import parse_objectives
from hwnas.problems.python_function import FunctionConfig, PythonFunction
from hwnas.runner.evaluation import measure
from hwnas.spaces import GPTSpace, SearchSpace

SPACE = SearchSpace(
    "mlp",
    {"depth": [1, 2], "rate": [0.01, 0.1], "act": ["relu", "tanh"], "bias": [False, True]},
    layers={"width": [16, 32]},
)
OBJECTIVES = parse_objectives(["error", "-ms"])
SEEDS = np.array([7, 8], dtype=np.uint64)
CODES = np.array([[1, 0, 1, 0, 0, 1], [0, 1, 0, 1, 1, 0]], dtype=np.int8)


def backend_of(function: Callable[[Any], Any], **settings: Any) -> PythonFunction:
    settings = {"returns": ("error", "ms"), **settings}
    backend = PythonFunction(SPACE, function="__main__:f", **settings)
    with defined_here({"__main__:f": function}):
        assert backend.function is function
    return backend


def values(function: Callable[[Any], Any], **settings: Any) -> Any:
    return backend_of(function, **settings).evaluate(CODES, OBJECTIVES, seeds=SEEDS).values


def test_a_function_gets_a_dict_of_its_own() -> None:
    configs: list[FunctionConfig] = []

    def function(config: FunctionConfig) -> dict[str, float]:
        configs.append(config)
        return {"error": 1.0, "ms": 2.0, "ignored": math.nan}

    np.testing.assert_array_equal(values(function), [[1, 2], [1, 2]])
    assert [dict(c) for c in configs] == [
        {"depth": 2, "rate": 0.01, "act": "tanh", "bias": False, "width": (16, 32)},
        {"depth": 1, "rate": 0.1, "act": "relu", "bias": True, "width": (32,)},
    ]
    config = configs[0]
    assert (config.seed, config.steps) == (7, None)
    assert str(config) == "mlp:depth=2/rate=0.01/act=tanh/bias=False/width=16:32"
    assert json.loads(json.dumps(config))["width"] == [16, 32]
    for twin in (copy.deepcopy(config), pickle.loads(pickle.dumps(config))):
        assert (twin, str(twin), twin.seed) == (config, str(config), 7)
    config["rate"] = 5
    assert config.member["rate"] == 0.01


def test_architectures_of_language_models_become_dicts_too(small_space: GPTSpace) -> None:
    (arch,) = small_space.decode(small_space.sample(1, np.random.default_rng(0)))
    config = FunctionConfig(arch)
    assert [*config] == ["embed_dim", "n_layer", "mlp_ratio", "n_head", "bias"]
    assert config["mlp_ratio"] == arch.mlp_ratio
    np.testing.assert_array_equal(small_space.encode([config]), small_space.encode([arch]))


@pytest.mark.parametrize(
    "result",
    [
        {"ms": 2, "error": 1},
        (1, 2),
        [1.0, 2.0],
        np.array([1, 2]),
        {"error": np.float32(1), "ms": np.array(2.0)},
        (True, 2),
    ],
    ids=str,
)
def test_values_are_returned_by_name_or_in_order(result: Any) -> None:
    np.testing.assert_array_equal(values(lambda config: result), [[1, 2], [1, 2]])


def test_a_single_number_is_the_value_of_a_single_name() -> None:
    backend = backend_of(lambda config: 3, returns=("error",))
    answer = backend.evaluate(CODES, OBJECTIVES[:1], seeds=SEEDS)
    np.testing.assert_array_equal(answer.values, [[3], [3]])


@pytest.mark.parametrize(
    ("result", "error", "message"),
    [
        ({"error": 1}, LookupError, "__main__:f returned no 'ms', only error"),
        ({}, LookupError, "returned no 'error'"),
        ({"error": 1, "ms": "2"}, TypeError, "expected a number as 'ms', found '2'"),
        ({"error": None, "ms": 2}, TypeError, "expected a number as 'error', found None"),
        ({"error": [1, 2], "ms": 2}, TypeError, "expected a number as 'error', found"),
        ({"error": 1j, "ms": 2}, TypeError, "expected a number as 'error', found 1j"),
        (None, TypeError, "to return a dict, or 2 numbers for error, ms; found None"),
        (1.5, TypeError, "or 2 numbers for error, ms; found 1.5"),
        ((1, 2, 3), TypeError, r"found \(1, 2, 3\)"),
        ((1, (2, 3)), TypeError, "or 2 numbers for error, ms; found"),
        ("error", TypeError, "found 'error'"),
    ],
    ids=str,
)
def test_wrong_results_are_programming_errors(result: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        values(lambda config: result)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_a_failed_trial(value: float) -> None:
    backend = backend_of(lambda config: {"error": value, "ms": 1})
    answer = measure(backend, CODES, OBJECTIVES, seeds=SEEDS)
    assert answer.status == ["failed", "failed"]
    assert answer.reasons == ["not finite: error"] * 2


def test_an_exception_is_a_failed_trial_and_names_the_line() -> None:
    def function(config: FunctionConfig) -> tuple[int, int]:
        if config["act"] == "tanh":
            raise RuntimeError("diverged")
        return 1, 2

    answer = measure(backend_of(function), CODES, OBJECTIVES, seeds=SEEDS)
    assert answer.status == ["failed", "ok"]
    assert "RuntimeError: diverged (" in (answer.reasons or [""])[0]
    assert "test_python_function.py, line" in (answer.reasons or [""])[0]


def test_a_function_that_ends_the_program_is_a_failed_trial() -> None:
    def function(config: FunctionConfig) -> None:
        raise SystemExit(2)

    answer = measure(backend_of(function), CODES[:1], OBJECTIVES, seeds=SEEDS[:1])
    assert "ended the program: SystemExit(2)" in (answer.reasons or [""])[0]


# -- steps ---------------------------------------------------------------------------------------


class Trained:
    """Function whose error falls with the steps, and the number of steps it has run."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def __call__(self, config: FunctionConfig) -> dict[str, float]:
        assert config.steps is not None
        last = {"error": 1.0, "ms": 0.0}
        for step in range(1, 10):
            self.steps.append(step)
            last = {"error": 1 / step, "ms": float(len(config["width"]))}
            try:
                config.report(last, step)
            except Exception:  # as a user's own code may have it
                raise AssertionError("the end of a call is no error") from None
        return {**last, "error": -1.0}


@pytest.mark.parametrize(("fidelity", "error"), [(1, 1.0), (3, 1 / 3), (9, -1.0), (None, -1.0)])
def test_a_call_ends_at_the_step_that_is_asked_for(fidelity: int | None, error: float) -> None:
    function = Trained()
    backend = backend_of(function, steps=(1, 3, 9))
    assert backend.fidelities == (1, 3, 9)
    answer = backend.evaluate(CODES[:1], OBJECTIVES, seeds=SEEDS[:1], fidelity=fidelity)
    np.testing.assert_array_equal(answer.values, [[error, 2.0]])
    assert function.steps == [*range(1, (fidelity or 9) + 1)]
    assert all(metric.fidelity_dependent for metric in backend.metrics.values())


def test_the_last_report_counts_where_nothing_is_returned() -> None:
    def function(config: FunctionConfig) -> None:
        for step in (1, 2):
            config.report((0.5 / step, 3), step)

    np.testing.assert_array_equal(values(function), [[0.25, 3], [0.25, 3]])


@pytest.mark.parametrize("step", [0, -1, 1.0, "1", None, True])
def test_steps_are_positive_integers(step: Any) -> None:
    with pytest.raises(TypeError, match="report: expected a step of 1, 2"):
        values(lambda config: config.report((1, 2), step))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": (3, 1)}, r"steps: expected increasing positive integers, found \[3, 1\]"),
        ({"steps": (0, 1)}, "steps: expected increasing positive integers"),
        ({"threads": 0}, "threads: expected at least 1, found 0"),
        ({"units": {"mss": "ms"}}, "units: expected names of error, ms, found 'mss'"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        PythonFunction(SPACE, function="m:f", returns=("error", "ms"), **settings)


def test_units_are_those_of_the_metrics() -> None:
    backend = backend_of(len, units={"ms": "ms"})
    assert {name: metric.unit for name, metric in backend.metrics.items()} == {
        "error": "",
        "ms": "ms",
    }


def test_a_function_has_its_own_number_of_threads() -> None:
    limits: list[Any] = []

    def function(config: FunctionConfig) -> tuple[int, int]:
        limits.extend(library["num_threads"] for library in threadpoolctl.threadpool_info())
        return 1, 1

    backend = backend_of(function, threads=2)
    with threadpoolctl.threadpool_limits(1):
        before = [library["num_threads"] for library in threadpoolctl.threadpool_info()]
        backend.evaluate(CODES[:1], OBJECTIVES, seeds=SEEDS[:1])
        after = [library["num_threads"] for library in threadpoolctl.threadpool_info()]
    assert before == after
    assert set(before) == {1}
    assert set(limits) == {2}


def test_building_it_imports_nothing(tmp_path: Path) -> None:
    settings = {"function": "no_such_module:f", "returns": ["a", "b"]}
    backend = registry.backend("python", SPACE, **settings)
    with pytest.raises(InvalidInput, match="there is no module no_such_module"):
        backend.on_start(tmp_path)
