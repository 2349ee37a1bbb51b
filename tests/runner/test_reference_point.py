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
from hwnas.runner.evaluation_cache import EvaluationCache
from hwnas.runner.reference_point import Reference, build_reference, measured_references

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
        InvalidInput, match="none of 9 architectures could be measured: RuntimeError"
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


class Machine(Frontless):
    """A backend on hardware whose metric b is expensive; it counts what it measures."""

    metrics = {  # noqa: RUF012
        "a": hwnas.Metric("ms"),
        "b": hwnas.Metric("", cost="expensive", fidelity_dependent=True),
    }
    on_hardware = True
    too_large = float("inf")

    def __init__(self, space: hwnas.SearchSpace) -> None:
        super().__init__(space)
        self.requests: list[tuple[int, tuple[str, ...]]] = []  # parameters and metrics

    def evaluate(self, codes: Any, objectives: Any, **how: Any) -> Evaluation:
        answer = super().evaluate(codes, objectives, **how)
        keys = tuple(o.key for o in objectives)
        sizes = self.space.params(codes).tolist()
        self.requests += [(size, keys) for size in sizes]
        failed = [size > self.too_large for size in sizes]
        answer.values[failed] = np.nan
        status = ["failed" if flag else "ok" for flag in failed]
        return replace(answer, status=status, seconds=np.full(len(codes), 7.0))


def on_machine(space: hwnas.SearchSpace, constraints: list[str] | None = None) -> Problem:
    machine = Machine(space)
    bounds = parse_constraints(constraints or [])
    return Problem(space, machine, machine, parse_objectives(["a", "-b"]), bounds)


def machine_of(problem: Problem) -> Machine:
    assert isinstance(problem.truth, Machine)
    return problem.truth


def extremes(space: hwnas.SearchSpace) -> list[int]:
    return space.params(space.canonical([[0] * 9, [9] * 9])).tolist()


def test_expensive_metrics_are_those_of_the_extremes(
    small_space: hwnas.SearchSpace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    problem = on_machine(small_space)
    with caplog.at_level("INFO", "hwnas.runner"):
        found = build_reference(load_experiment(BASE)[0], problem, tmp_path)
    requests = machine_of(problem).requests
    smallest, largest = extremes(small_space)
    assert [size for size, keys in requests if "b" in keys] == [smallest, largest]
    others = [size for size, keys in requests if keys == ("a",)]
    assert others
    assert not {smallest, largest} & {*others}
    assert [found.ideal[0], found.nadir[0]] == [smallest, largest]
    assert [found.ideal[1], found.nadir[1]] == [-1 / smallest, -1 / largest]
    messages = [record.getMessage() for record in caplog.records]
    assert [message.split(" for ")[0] for message in messages] == [
        "measuring 2 architectures",
        "measured the references in 0 s",
    ]
    # A second time nothing is measured again.
    build_reference(load_experiment(BASE)[0], problem, tmp_path)
    assert len(machine_of(problem).requests) == len(requests)


def test_others_are_measured_where_an_extreme_fails(
    small_space: hwnas.SearchSpace, tmp_path: Path
) -> None:
    problem = on_machine(small_space)
    machine_of(problem).too_large = extremes(small_space)[1] - 1
    found = build_reference(load_experiment(BASE)[0], problem, tmp_path)
    sizes = [size for size, keys in machine_of(problem).requests if keys == ("a", "b")]
    assert len(sizes) > 2
    assert found.nadir[0] == sorted(sizes)[-2]


def test_a_space_of_one_architecture_is_measured_once(tmp_path: Path) -> None:
    choices = {"embed_dim": [16], "n_layer": [1], "mlp_ratio": [1], "n_head": [1], "bias": [True]}
    space = hwnas.space({"name": "one", **choices, "head_size": 16, "context": 8})
    problem = on_machine(space)
    found = build_reference(load_experiment(BASE)[0], problem, tmp_path)
    assert len(machine_of(problem).requests) == 1
    assert (found.nadir == found.ideal + 1).all()


def test_nothing_is_measured_for_a_given_point(
    small_space: hwnas.SearchSpace, tmp_path: Path
) -> None:
    problem = on_machine(small_space)
    experiment = load_experiment({**BASE, "reference": [100.0, 0.5]})[0]
    found = build_reference(experiment, problem, tmp_path)
    assert (found.source, found.point.tolist()) == ("given", [100.0, -0.5])
    assert (found.nadir > found.ideal).all()
    assert not machine_of(problem).requests
    assert not (tmp_path / "reference").exists()


def test_searches_reuse_the_extremes(small_space: hwnas.SearchSpace, tmp_path: Path) -> None:
    # A constraint that the largest architecture violates does not stop its measurement.
    problem = on_machine(small_space, ["a <= 5"])
    build_reference(load_experiment(BASE)[0], problem, tmp_path)
    known = measured_references(problem, tmp_path)
    assert known is not None
    before = len(machine_of(problem).requests)
    codes = small_space.canonical([[9] * 9, [0] * 9, [1] * 9])
    for seed in (0, 1):
        cache = EvaluationCache(problem, seed, known=known)
        first = cache.evaluate(codes, None, 0, 0.0)
        cache.add(first)
        assert first.values[:, 0].tolist() == small_space.params(codes).tolist()
        assert first.evaluations.tolist() == [1, 1, 1]
        # They cost every search the same, whichever measured them.
        assert first.seconds.tolist() == [7.0, 7.0, 7.0]
        assert len(machine_of(problem).requests) == before + 1
        # A second evaluation is a new one.
        cache.evaluate(codes[:1], None, 1, 0.0)
        before += 2
        assert len(machine_of(problem).requests) == before


def test_a_lower_fidelity_is_measured(small_space: hwnas.SearchSpace, tmp_path: Path) -> None:
    problem = on_machine(small_space)
    problem.backend.fidelities = (1, 3)
    build_reference(load_experiment(BASE)[0], problem, tmp_path)
    known = measured_references(problem, tmp_path)
    codes = small_space.canonical([[9] * 9])
    before = len(machine_of(problem).requests)
    EvaluationCache(problem, 0, known=known).evaluate(codes, 3, 0, 0.0)
    assert len(machine_of(problem).requests) == before
    EvaluationCache(problem, 0, known=known).evaluate(codes, 1, 0, 0.0)
    assert len(machine_of(problem).requests) == before + 1
