"""ZDT and DTLZ on grids: pymoo's values, and exact fronts."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np
import pytest
from pymoo.problems import get_problem

import hwnas
from hwnas import pareto, registry
from hwnas.errors import InvalidInput, MissingExtra
from hwnas.objectives import parse_constraints, parse_objectives
from hwnas.problem import load_experiment
from hwnas.problems.classic import N_VARIABLES, ClassicProblem, ProblemSpace

WITH_FRONT = [name for name in N_VARIABLES if name not in ("dtlz5", "dtlz6")]


def objectives_of(space: ProblemSpace) -> Any:
    return parse_objectives([f"f{j}" for j in range(1, space.n_obj + 1)])


@pytest.mark.parametrize("name", N_VARIABLES)
def test_values_equal_those_of_pymoo(name: str) -> None:
    space = hwnas.space(name)
    assert isinstance(space, ProblemSpace)
    backend = registry.backend("problem", space, name=name)
    # As many variables as pymoo has by default.
    definition = get_problem(name, **({"n_var": space.n_var} if "dtlz" in name else {}))
    assert (definition.n_var, definition.n_obj) == (space.n_var, space.n_obj)
    codes = space.sample(100, np.random.default_rng(0))
    x = np.array([[*config.values()] for config in space.decode(codes)])
    objectives = objectives_of(space)
    answer = backend.evaluate(codes, objectives, seeds=np.zeros(100, dtype=np.uint64))
    np.testing.assert_array_equal(answer.values, definition.evaluate(x))
    # The ends of the grid are the bounds of the variables.
    ends = np.array(
        [
            [values[0] for values in space.choices.values()],
            [values[-1] for values in space.choices.values()],
        ]
    )
    np.testing.assert_array_equal(ends, [definition.xl, definition.xu])
    assert {len(values) for values in space.choices.values()} == {64}
    reverse = backend.evaluate(codes, objectives[::-1], seeds=np.zeros(100, dtype=np.uint64))
    np.testing.assert_array_equal(reverse.values, answer.values[:, ::-1])


@pytest.mark.parametrize("n_obj", [2, 3])
@pytest.mark.parametrize("values", [5, 6])
@pytest.mark.parametrize("name", WITH_FRONT)
def test_fronts_are_exact(name: str, values: int, n_obj: int) -> None:
    if name.startswith("zdt") and n_obj == 3:
        return
    space = ProblemSpace("small", problem=name, n_var=4, n_obj=n_obj, values=values)
    backend = ClassicProblem(space)
    codes = np.concatenate(list(space.enumerate()))
    objectives = objectives_of(space)
    losses = backend.evaluate(codes, objectives, seeds=np.zeros(len(codes), np.uint64)).values
    expected = losses[pareto.non_dominated(losses)]
    front = backend.front(objectives)
    assert front is not None
    # DTLZ's points on one arc differ in their last bits, so some dominate others by rounding.
    assert pareto.epsilon(front.losses, expected) < 1e-9
    assert pareto.epsilon(expected, front.losses) < 1e-9
    answer = backend.evaluate(front.codes, objectives, seeds=np.zeros(len(front), np.uint64))
    np.testing.assert_array_equal(answer.values, front.values)


def test_fronts_of_anything_else_are_unknown() -> None:
    backend = ClassicProblem(ProblemSpace("p", problem="dtlz2"))
    assert backend.front(parse_objectives(["f1", "f2"])) is None
    assert backend.front(parse_objectives(["f1", "-f2", "f3"])) is None
    objectives = parse_objectives(["f1", "f2", "f3"])
    assert backend.front(objectives, parse_constraints(["f1 <= 1"])) is None
    for name in ("dtlz5", "dtlz6"):
        assert ClassicProblem(ProblemSpace("p", problem=name)).front(objectives) is None
    many = ClassicProblem(ProblemSpace("p", problem="dtlz2", n_obj=5))
    assert many.front(parse_objectives([f"f{j}" for j in range(1, 6)])) is None


def test_sizes_are_settings_of_the_space() -> None:
    source = {"family": "problem", "name": "p", "problem": "dtlz1", "n_obj": 4, "values": 9}
    space = hwnas.space(source)
    assert space.size == 9**8
    assert space.to_dict() == {**source, "n_var": 8}
    assert hwnas.space(space.to_dict()).to_dict() == space.to_dict()
    assert [*registry.backend("problem", space).metrics] == ["f1", "f2", "f3", "f4"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"problem": "zdt5"}, "unknown problem 'zdt5'"),
        ({"problem": "ZDT1"}, "unknown problem 'ZDT1'; did you mean 'zdt1'"),
        ({"problem": "zdt1", "n_obj": 3}, "n_obj: expected 2 for zdt1, found 3"),
        ({"problem": "dtlz2", "n_obj": 1}, "n_obj: expected an integer of at least 2"),
        ({"problem": "dtlz2", "n_var": 2}, "n_var: expected an integer from 3 to 10000, found 2"),
        ({"problem": "zdt1", "n_var": 1.5}, "n_var: expected an integer from 2"),
        ({"problem": "zdt1", "values": 1}, "values: expected an integer from 2 to 127, found 1"),
        ({"problem": "zdt1", "values": 128}, "values: expected an integer from 2 to 127"),
    ],
)
def test_sizes_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        ProblemSpace("p", **settings)


def test_problem_and_space_belong_together() -> None:
    with pytest.raises(InvalidInput, match="problem: expected a space of the family problem"):
        registry.backend("problem", hwnas.space("gpt-s"))
    space = hwnas.space("zdt1")
    with pytest.raises(InvalidInput, match="name: expected zdt1, that of the space, found zdt2"):
        registry.backend("problem", space, name="zdt2")
    with pytest.raises(InvalidInput, match="unknown problem 'zdt'"):
        registry.backend("problem", space, name="zdt")


def test_spaces_need_no_pymoo_and_the_backend_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def without_pymoo(name: str, *rest: Any, **keywords: Any) -> Any:
        if name.partition(".")[0] == "pymoo":
            raise ModuleNotFoundError("No module named 'pymoo'", name="pymoo")
        return real_import(name, *rest, **keywords)

    monkeypatch.setattr(builtins, "__import__", without_pymoo)
    space = hwnas.space("zdt4")
    assert space.choices["x2"][0] == -5
    with pytest.raises(MissingExtra, match=r'backend \'problem\' needs pymoo: pip install "hwnas'):
        registry.backend("problem", space)


def test_an_experiment_of_one_line_each() -> None:
    result_names = ["zdt1", "dtlz2"]
    for name in result_names:
        objectives = [f"f{j}" for j in range(1, 3 if name == "zdt1" else 4)]
        experiment = {
            "name": name,
            "space": name,
            "backend": {"type": "problem", "name": name},
            "objectives": objectives,
            "optimizers": ["random"],
            "budget": {"evaluations": 20},
            "seeds": 1,
            "reference": [10.0] * len(objectives),
        }
        _, problem = load_experiment(experiment)
        assert problem.truth.front(problem.objectives) is not None
