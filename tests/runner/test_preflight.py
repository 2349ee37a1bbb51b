"""Warnings before a run, for every optimizer and every reason."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

import hwnas
from hwnas import registry
from hwnas.errors import HwnasError, HwnasWarning
from hwnas.optimizers import MultiFidelityOptimizer
from hwnas.problem import build_optimizer, load_experiment
from hwnas.runner.preflight import setup_warnings
from hwnas.typing import Codes

EXPERIMENT: dict[str, Any] = {
    "name": "x",
    "space": "gpt-s",
    "objectives": ["perplexity", "latency@h100"],
    "optimizers": ["random"],
    "budget": {"evaluations": 10_000},
    "seeds": 1,
}
NAMES = registry.names("optimizer")


def warnings_of(optimizer: object, **change: Any) -> list[str]:
    return setup_warnings(*load_experiment(EXPERIMENT | {"optimizers": [optimizer]} | change))


def attributes_of(name: str) -> hwnas.Optimizer:
    try:
        experiment, problem = load_experiment(EXPERIMENT | {"optimizers": [name]})
    except HwnasError as error:
        pytest.skip(str(error))
    return build_optimizer(experiment.optimizers[0], problem, seed=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_large_budget_on_a_plain_problem_needs_no_warning(name: str) -> None:
    optimizer = attributes_of(name)
    lines = warnings_of(name)
    if isinstance(optimizer, MultiFidelityOptimizer):
        assert lines == [lines[0]]
        assert lines[0].startswith(f"{name}: there is one fidelity here, so it is random search")
        assert warnings_of(name, noise=True) == []
    else:
        assert lines == []


@pytest.mark.parametrize("name", NAMES)
def test_a_budget_within_the_initial_design(name: str) -> None:
    n_initial = attributes_of(name).n_initial
    if n_initial:
        (line,) = warnings_of(name, budget={"evaluations": n_initial})
        assert line.startswith(
            f"{name}: all {n_initial} evaluations fall within its initial design"
        )
        assert not any(
            "initial design" in w for w in warnings_of(name, budget={"evaluations": n_initial + 1})
        )


@pytest.mark.parametrize("name", NAMES)
def test_fewer_than_five_generations(name: str) -> None:
    optimizer = attributes_of(name)
    size = optimizer.generation
    short, enough = 5 * size - 1, max(5 * size, optimizer.n_initial + 1)
    lines = warnings_of(name, budget={"evaluations": enough})
    assert not any("generations" in line for line in lines)
    if size > 1 and short > optimizer.n_initial:
        expected = f" generations of {size}, expected at least 5: a larger budget or a smaller"
        lines = warnings_of(name, budget={"evaluations": short})
        (line,) = [line for line in lines if expected in line]
        assert line.startswith(f"{name}: {short} evaluations are 4.")


@pytest.mark.parametrize("name", NAMES)
def test_constraints_that_an_optimizer_takes_no_heed_of(name: str) -> None:
    handles = attributes_of(name).handles_constraints
    lines = warnings_of(name, constraints=["bfloat16_memory <= 300"])
    assert any("takes no heed of constraints" in line for line in lines) != handles


def test_other_limits_than_evaluations_are_no_reason() -> None:
    assert warnings_of("nsga2", budget={"cost": 1.0}) == []


def test_a_run_warns_once(tmp_path: Path) -> None:
    content = EXPERIMENT | {"optimizers": ["nsga2"], "budget": {"evaluations": 15}, "seeds": 2}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = hwnas.run(content, tmp_path / "x", draw=False)
    (warning,) = [w for w in caught if w.category is HwnasWarning]
    assert str(warning.message).startswith("nsga2: ")
    assert warning.filename == __file__
    assert {row["evaluations"] for row in result.summary} == {15}


def test_only_feasible_members_count(tmp_path: Path) -> None:
    registry.replace_registered({})

    @hwnas.register_optimizer("heedless")
    class Heedless(hwnas.Optimizer):
        handles_constraints = False

        def ask(self, n: int) -> Any:
            return self.space.sample(n, self.rng)

    change = {"constraints": ["bfloat16_memory <= 150"], "budget": {"evaluations": 60}}
    with pytest.warns(HwnasWarning, match="heedless: takes no heed of constraints"):
        result = hwnas.run(
            EXPERIMENT | {"optimizers": ["heedless"]} | change, tmp_path / "x", draw=False
        )
    (search,) = result.searches
    assert len(search.front) > 0
    assert result.summary[0]["feasible"] < 60
    assert (search.front_constraints <= 150).all()


class Patient(hwnas.Optimizer):
    """Asks for one architecture and waits for its result."""

    def ask(self, n: int) -> Codes:
        return self.space.sample(n, self.rng)


def test_an_executor_without_anything_to_do_in_parallel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._registered["optimizer"], "patient", Patient)
    (line,) = warnings_of("patient", executor="process")
    assert line.startswith("patient: asks for one architecture and waits for its result")
    assert "{type: patient, batch: 8}" in line
    assert warnings_of("patient") == []
    assert warnings_of({"type": "patient", "batch": 8}, executor="process") == []
    assert warnings_of("ehvi", executor="process") == []
