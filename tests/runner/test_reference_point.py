from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hwnas
from hwnas import pareto
from hwnas.backends import Backend, Evaluation
from hwnas.errors import InvalidInput
from hwnas.experiment import Experiment
from hwnas.objectives import parse_constraints, parse_objectives
from hwnas.problem import Problem, build_problem, load_experiment
from hwnas.runner.reference_point import Reference, build_reference

BASE: dict[str, Any] = {
    "name": "x",
    "space": "gpt-s",
    "objectives": ["perplexity", "latency@rtx3080"],
    "optimizers": ["random"],
    "budget": {"evaluations": 10},
}


def reference(**change: Any) -> tuple[Reference, Problem]:
    experiment = load_experiment({**BASE, **change})[0]
    problem = build_problem(experiment)
    return build_reference(experiment, problem, Path("unused")), problem


def test_from_the_exact_front() -> None:
    found, problem = reference()
    front = problem.truth.front(problem.objectives)
    assert front is not None
    assert found.source == "exact"
    np.testing.assert_array_equal(found.ideal, front.values.min(axis=0))
    np.testing.assert_array_equal(found.nadir, front.values.max(axis=0))
    np.testing.assert_allclose(found.point, 1.1 * found.nadir - 0.1 * found.ideal)
    assert found.best == pareto.hypervolume(front.values, found.point)
    np.testing.assert_allclose(found.scaled(np.stack([found.ideal, found.nadir])), [[0, 0], [1, 1]])


def test_noise_changes_nothing() -> None:
    assert reference(noise=True)[0].to_json() == reference()[0].to_json()


def test_maximised_objectives_are_losses() -> None:
    found, problem = reference(objectives=["latency@h100", "-flops"])
    front = problem.truth.front(problem.objectives)
    assert front is not None
    assert found.ideal[1] == -front.values[:, 1].max()
    assert found.ideal[1] < found.nadir[1] < 0


def test_a_given_point_is_kept() -> None:
    found, _ = reference(objectives=["latency@h100", "-flops"], reference=[30, 1e10])
    assert found.source == "given"
    assert found.point.tolist() == [30, -1e10]
    assert found.best is not None


def test_constraints_shape_the_front() -> None:
    free, bound = reference()[0], reference(constraints=["latency@rtx3080 <= 30"])[0]
    assert bound.nadir[1] <= 30 < free.nadir[1]


def test_where_ideal_and_nadir_coincide_the_spaces_worst_counts() -> None:
    # Memory and parameters are best together in the least network: the front is one point.
    found, problem = reference(objectives=["params", "flops"])
    front = problem.truth.front(problem.objectives)
    assert front is not None
    assert len(front) == 1
    largest = problem.space.canonical([[9] * len(problem.space.columns)])
    assert found.nadir[0] == problem.space.params(largest)[0]
    assert found.nadir[1] == problem.space.flops(largest)[0]


def test_no_network_keeps_the_constraints() -> None:
    with pytest.raises(InvalidInput, match="no architecture of gpt-s keeps params <= 5"):
        reference(constraints=["params <= 5"])


class Frontless(Backend):
    """A backend that knows no front; half of it is broken."""

    metrics = {"a": hwnas.Metric("ms"), "b": hwnas.Metric("ms")}  # noqa: RUF012
    broken = False

    def evaluate(self, codes: Any, objectives: Any, **how: Any) -> Evaluation:
        if self.broken:
            raise RuntimeError("no power")
        size = self.space.params(codes).astype(float)
        columns = {"a": size, "b": 1 / size}
        return Evaluation(np.stack([columns[o.key] for o in objectives], axis=1))


def frontless(space: hwnas.SearchSpace, broken: bool = False) -> tuple[Experiment, Problem]:
    backend = Frontless(space)
    backend.broken = broken
    problem = Problem(space, backend, backend, parse_objectives(["a", "-b"]), parse_constraints([]))
    return load_experiment(BASE)[0], problem


def test_measured_where_no_front_is_known(small_space: hwnas.SearchSpace, tmp_path: Path) -> None:
    found = build_reference(*frontless(small_space), tmp_path)
    assert found.source == "measured"
    assert found.best is None
    size = small_space.params(small_space.canonical([[0] * 9, [9] * 9]))
    assert [found.ideal[0], found.nadir[0]] == size.tolist()
    assert found.ideal[1] == -1 / size[0]
    assert found.to_json() == build_reference(*frontless(small_space), tmp_path).to_json()


def test_nothing_can_be_measured(small_space: hwnas.SearchSpace, tmp_path: Path) -> None:
    with pytest.raises(
        InvalidInput, match="none of 10 architectures could be measured: RuntimeError"
    ):
        build_reference(*frontless(small_space, broken=True), tmp_path)
    assert "RuntimeError" in (tmp_path / "error.txt").read_text()


@pytest.mark.parametrize(
    ("epsilon", "source"), [(0.0, "exact"), (0.02, "epsilon"), (None, "best known")]
)
def test_a_reference_says_what_its_front_is(
    toy: Backend,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    epsilon: float | None,
    source: str,
) -> None:
    objectives = parse_objectives(["error", "latency@fast"])
    front = toy.front(objectives)
    assert front is not None
    monkeypatch.setattr(toy, "front", lambda *_: replace(front, epsilon=epsilon))
    problem = Problem(toy.space, toy, toy, objectives, ())
    found = build_reference(load_experiment(BASE)[0], problem, tmp_path)
    assert (found.source, found.epsilon) == (source, epsilon)
    assert found.best == pareto.hypervolume(front.losses, found.point)
    assert Reference.from_json(found.to_json(), 2, Path("trials.db")).epsilon == epsilon
    given = build_reference(
        load_experiment({**BASE, "reference": [1000.0, 1000.0]})[0], problem, tmp_path
    )
    assert (given.source, given.epsilon) == ("given", epsilon)


def test_round_trip() -> None:
    found, _ = reference()
    again = Reference.from_json(found.to_json(), 2, Path("trials.db"))
    assert again.source == "exact"
    assert again.best == found.best
    for name in ("ideal", "nadir", "point"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
