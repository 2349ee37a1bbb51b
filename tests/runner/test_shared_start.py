"""Shared starts: the same first architectures for every optimizer, as ordinary trials."""

from __future__ import annotations

import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hwnas
from hwnas import registry
from hwnas.errors import ExperimentError, HwnasError, InvalidInput
from hwnas.experiment import validate_form
from hwnas.problem import build_optimizer, load_experiment
from hwnas.reports.comparison.comparison import compare
from hwnas.reports.comparison.run_groups import group_runs
from hwnas.runner.preflight import setup_warnings
from hwnas.runner.results import Result
from hwnas.runner.shared_start import SharedStart, shared_design, with_shared_start
from hwnas.runner.storage import Store, Trials
from hwnas.typing import Codes

pytestmark = pytest.mark.filterwarnings("ignore::hwnas.errors.HwnasWarning")

N = 6
OPTIMIZERS = [
    "random",
    {"type": "nsga2", "pop_size": N},
    {"type": "local_search", "initial": 20},
    "additive",
]
NAMES = [name for name in registry.names("optimizer") if name not in ("uniform", "random")]


def experiment(**changed: Any) -> dict[str, Any]:
    return {
        "name": "shared",
        "space": "gpt-s",
        "objectives": ["perplexity", "latency@h100"],
        "optimizers": OPTIMIZERS,
        "budget": {"evaluations": 14},
        "seeds": 2,
        "initial": {"shared": N},
        **changed,
    }


def first_codes(result: Result, seed: int) -> list[Codes]:
    return [s.trials.codes[:N] for s in result.searches if s.seed == seed]


def assert_same_trials(one: Result, other: Result) -> None:
    for a, b in zip(one.searches, other.searches, strict=True):
        for field in fields(Trials):
            if field.name not in ("seconds", "elapsed"):
                pair = [getattr(search.trials, field.name) for search in (a, b)]
                np.testing.assert_array_equal(*pair, err_msg=f"{a.path}: {field.name}")
        assert "diverged" not in b.meta


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shared") / "run"
    hwnas.run(experiment(), path, draw=False)
    return path


# -- trials --------------------------------------------------------------------------------------


def test_all_optimizers_of_a_seed_begin_alike(finished: Path) -> None:
    result = Result(finished)
    designs = []
    for seed in (0, 1):
        design = shared_design(result.space, N, seed)
        designs.append(design)
        for codes in first_codes(result, seed):
            np.testing.assert_array_equal(codes, design)
    assert not np.array_equal(*designs)
    # They are ordinary trials: in the budget, with values, and no architecture comes twice.
    for search in result.searches:
        assert len(search.trials) == 14
        assert len(np.unique(search.trials.codes, axis=0)) == 14
    assert len({s.trials.codes[N].tobytes() for s in result.searches if s.seed == 0}) > 1


def test_the_shared_architectures_are_in_the_hypervolume(finished: Path) -> None:
    result = Result(finished)
    at = {}
    for search, steps in zip(result.searches, result.trajectories, strict=True):
        if search.seed == 0:
            value = steps.hypervolume[np.searchsorted(steps.evaluations, N, side="right") - 1]
            at[search.optimizer] = float(value)
    assert len(set(at.values())) == 1
    assert min(at.values()) > 0


def test_noise_is_shared_too(tmp_path: Path) -> None:
    content = experiment(noise=True, optimizers=["random", "local_search", "moasha"], seeds=1)
    pytest.importorskip("syne_tune")
    result = hwnas.run(content, tmp_path / "run", draw=False)
    random, local, moasha = (search.trials for search in result.searches)
    np.testing.assert_array_equal(random.values[:N], local.values[:N])
    # At the lowest fidelity, which is one draw.
    np.testing.assert_array_equal(random.values[:N], moasha.values[:N])
    assert set(moasha.fidelity[:N]) == {1}


@pytest.mark.parametrize(
    "executor", [{"type": "process", "workers": 2}, None], ids=["process", "in turn"]
)
def test_a_killed_search_goes_on_to_the_same_trials(
    executor: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = experiment(optimizers=["local_search", "nsga2"], seeds=1)
    if executor:
        content["executor"] = executor
    add, n_adds = Store.add, 0

    def dying(self: Store, trials: Trials) -> None:
        nonlocal n_adds
        n_adds += 1
        if n_adds == 2:
            raise KeyboardInterrupt
        add(self, trials)

    monkeypatch.setattr(Store, "add", dying)
    with pytest.raises(KeyboardInterrupt):
        hwnas.run(content, tmp_path / "part", draw=False)
    monkeypatch.undo()
    result = hwnas.resume(tmp_path / "part", draw=False)
    design = {code.tobytes() for code in shared_design(result.space, N, 0)}
    for search in result.searches:
        assert len(search.trials) == 14
        assert {code.tobytes() for code in search.trials.codes[:N]} == design
        assert "diverged" not in search.meta
    if not executor:
        assert_same_trials(hwnas.run(content, tmp_path / "whole", draw=False), result)


def test_a_budget_that_ends_in_the_design_can_grow(finished: Path, tmp_path: Path) -> None:
    hwnas.run(experiment(budget={"evaluations": N - 2}), tmp_path / "part", draw=False)
    overrides = {"budget.evaluations": 14}
    result = hwnas.resume(tmp_path / "part", overrides=overrides, draw=False)
    assert_same_trials(Result(finished), result)


# -- optimizers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_no_results_are_outstanding_when_an_optimizer_is_first_asked(name: str) -> None:
    content = experiment(optimizers=[name], initial="shared")
    try:
        loaded, problem = load_experiment(content)
    except HwnasError as error:
        pytest.skip(str(error))
    plain = build_optimizer(loaded.optimizers[0], problem, seed=0)
    own_class = type(plain).__name__
    optimizer = with_shared_start(plain, loaded, seed=0)
    assert isinstance(optimizer, SharedStart)
    assert type(optimizer).__name__ == own_class
    is_pair = hasattr(optimizer, "fidelities")
    design = shared_design(problem.space, 16, 0)
    asked: list[Codes] = []
    while sum(map(len, asked)) < 16:
        proposal: Any = optimizer.ask(10)
        asked.append(proposal[0] if is_pair else proposal)
    np.testing.assert_array_equal(np.concatenate(asked), design)
    proposal = optimizer.ask(10)
    assert len(proposal[0] if is_pair else proposal) == 0  # it waits
    losses = problem.backend.evaluate(design, problem.objectives, seeds=np.zeros(16, dtype="u8"))
    optimizer.tell(design[:10], losses.values[:10])
    optimizer.fail(design[10:12], "a test")
    optimizer.tell(design[12:], losses.values[12:])
    proposal = optimizer.ask(1)
    codes = proposal[0] if is_pair else proposal
    known = {code.tobytes() for code in design}
    # A multi-fidelity optimizer promotes known ones.
    assert is_pair or codes[0].tobytes() not in known
    assert len(optimizer.recommend())


@pytest.mark.parametrize("name", NAMES)
def test_a_design_that_fails_stops_no_optimizer(name: str) -> None:
    try:
        loaded, problem = load_experiment(experiment(optimizers=[name]))
    except HwnasError as error:
        pytest.skip(str(error))
    optimizer = with_shared_start(
        build_optimizer(loaded.optimizers[0], problem, seed=0), loaded, seed=0
    )
    optimizer.ask(N)
    design = shared_design(problem.space, N, 0)
    optimizer.fail(design, "a test")
    proposal: Any = optimizer.ask(1)
    codes = proposal[0] if isinstance(proposal, tuple) else proposal
    assert codes[0].tobytes() not in {code.tobytes() for code in design}


def test_own_initial_designs_are_left_out() -> None:
    loaded, problem = load_experiment(experiment())
    local = build_optimizer(loaded.optimizers[2], problem, seed=0)
    optimizer = with_shared_start(local, loaded, seed=0)
    design = optimizer.ask(N)
    losses = problem.backend.evaluate(design, problem.objectives, seeds=np.zeros(N, dtype="u8"))
    optimizer.tell(design, losses.values)
    # A neighbour of a member of the front: one choice differs, or what follows from it.
    (proposal,) = optimizer.ask(1)
    front = optimizer.recommend()
    neighbours = {row.tobytes() for code in front for row in problem.space.neighbours(code)}
    assert proposal.tobytes() in neighbours


@pytest.mark.parametrize("name", ["additive", "auto", "ehvi", "motpe"])
def test_no_design_is_left_to_learn_from(name: str) -> None:
    try:
        loaded, problem = load_experiment(experiment(optimizers=[name], initial="shared"))
    except HwnasError as error:
        pytest.skip(str(error))
    optimizer = with_shared_start(
        build_optimizer(loaded.optimizers[0], problem, seed=0), loaded, seed=0
    )
    own = build_optimizer(loaded.optimizers[0], problem, seed=0)
    own_design = {code.tobytes() for code in own.ask(1)}
    assert optimizer.n_initial == 16
    while len(optimizer.history) < 18:
        codes = optimizer.ask(8 if len(optimizer.history) < 16 else 2)
        values = problem.backend.evaluate(
            codes, problem.objectives, seeds=np.zeros(len(codes), dtype="u8")
        )
        optimizer.tell(codes, values.values)
    proposed = {code.tobytes() for code in optimizer.history.codes[16:]}
    assert not proposed & own_design


def test_without_the_key_nothing_changes() -> None:
    loaded, problem = load_experiment({k: v for k, v in experiment().items() if k != "initial"})
    optimizer = build_optimizer(loaded.optimizers[0], problem, seed=0)
    assert with_shared_start(optimizer, loaded, seed=0) is optimizer


def test_a_small_space_is_shared_as_a_whole() -> None:
    space = hwnas.SearchSpace("few", {"a": [0, 1], "b": [0, 1]})
    assert len(np.unique(shared_design(space, 99, seed=3), axis=0)) == 4


# -- experiment ----------------------------------------------------------------------------------


def test_forms_of_the_key() -> None:
    assert validate_form(experiment(initial="shared")).initial == {"shared": 16}
    read = validate_form(experiment(initial={"shared": 30}))
    assert read.initial == {"shared": 30}
    assert "initial: {shared: 30}" in read.to_yaml() or "shared: 30" in read.to_yaml()


@pytest.mark.parametrize(
    ("value", "key", "text"),
    [
        ("own", "initial", "expected shared, or a number of architectures as in {shared: 16}"),
        (16, "initial", "expected shared, or"),
        ({}, "initial", "expected shared, or"),
        ({"own": 3}, "initial", "expected shared, or"),
        ({"shared": 0}, "initial.shared", "expected an integer from 1 to 10,000, found 0"),
        ({"shared": True}, "initial.shared", "found True"),
    ],
)
def test_other_forms_are_refused(value: Any, key: str, text: str) -> None:
    with pytest.raises(ExperimentError) as error:
        validate_form(experiment(initial=value))
    assert f"{key}: " in str(error.value)
    assert text in str(error.value)


def test_a_run_keeps_its_start(finished: Path, tmp_path: Path) -> None:
    path = shutil.copytree(finished, tmp_path / "run")
    with pytest.raises(InvalidInput, match=r"initial.shared was 6 and cannot become 7"):
        hwnas.resume(path, overrides={"initial": {"shared": 7}}, draw=False)


def test_a_budget_within_the_design_is_warned_of() -> None:
    loaded, problem = load_experiment(experiment(budget={"evaluations": N}))
    lines = setup_warnings(loaded, problem)
    assert lines[0].startswith(f"random: all {N} evaluations fall within its initial design of {N}")


# -- comparison ----------------------------------------------------------------------------------


def test_a_comparison_says_how_searches_began(finished: Path, tmp_path: Path) -> None:
    shared = Result(finished)
    (group,) = group_runs([shared])
    assert group.notes == ("all searches of a seed began with the same 6 random architectures",)
    content = experiment(name="own", optimizers=["random"])
    del content["initial"]
    own = hwnas.run(content, tmp_path / "own", draw=False)
    (group,) = group_runs([own])
    assert group.notes == ()
    (group,) = group_runs([shared, own])
    assert group.notes == (
        "searches did not begin alike: shared with 6 shared architectures; own with designs of "
        "their own",
    )
    # Searches of one optimizer that began differently are not pooled.
    names = [score.optimizer for score in compare([shared, own]).problems[0].scores]
    assert {"random (shared)", "random (own)"} <= set(names)
