"""The loop with evaluations in parallel, on simulated clocks."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import hwnas
from hwnas.backends import Backend, Evaluation
from hwnas.errors import MachineFailed
from hwnas.experiment import Budget
from hwnas.objectives import Metric, parse_constraints, parse_objectives
from hwnas.problem import Problem
from hwnas.runner.checkpoints import CHECKPOINTS
from hwnas.runner.executors.interface import TrialEvaluator, TrialOutcome, TrialRequest
from hwnas.runner.executors.serial import SerialExecutor
from hwnas.runner.executors.simulated import SimulatedExecutor
from hwnas.runner.failures import FailureLog
from hwnas.runner.parallel_loop import ParallelLoop
from hwnas.runner.search_loop import loop
from hwnas.runner.storage import Store, Trials
from hwnas.spaces import Codes, SearchSpace

PAIR = ("error", "latency@fast")
# Settings that let a search of few evaluations leave its initial design.
SETTINGS: dict[str, dict[str, Any]] = {
    "random": {},
    "uniform": {},
    "morea": {"pop_size": 8, "sample_size": 3},
    "local_search": {"initial": 6},
    "moasha": {},
    "nsga2": {"pop_size": 8},
    "motpe": {"initial": 4},
    "additive": {},
}
QUICK = ["random", "uniform", "morea", "local_search", "moasha", "nsga2"]


class Killed(BaseException):
    """Stands for SIGKILL."""


class Graded(Backend):
    """Values as a function of the code, with fidelities, noise of the seed and failures."""

    metrics: Mapping[str, Metric] = {
        "error": Metric("", fidelity_dependent=True),
        "latency@fast": Metric("ms", quantiles=True),
    }
    fidelities = (1, 3, 9)

    def __init__(self, space: SearchSpace, *, fails: Callable[[bytes], bool] | None = None) -> None:
        super().__init__(space)
        self.fails = fails

    def evaluate(
        self, codes: Codes, objectives: Any, *, seeds: Any, fidelity: int | None = None
    ) -> Evaluation:
        if self.fails and self.fails(codes[0].tobytes()):
            raise RuntimeError("no luck")
        noise = np.array([np.random.default_rng(int(seed)).random() for seed in seeds])
        columns = {
            "error": 10.0 - codes.sum(axis=1) + noise / (fidelity or 9),
            "latency": 1.0 + codes.sum(axis=1) + 0.1 * codes[:, 0],
        }
        return Evaluation(np.stack([columns[o.metric] for o in objectives], axis=1))


def share(code: bytes, salt: str = "") -> float:
    """A number in [0, 1) as a function of the code."""
    digest = hashlib.blake2b(salt.encode() + code, digest_size=8).digest()
    return int.from_bytes(digest, "little") / 2**64


def duration(request: TrialRequest) -> float:
    """From 1 to 10 seconds, log-uniformly; ties are common."""
    return float(round(10.0 ** share(request.code), 1)) * (request.fidelity or 1)


def problem_of(backend: Backend, *, noisy: bool = False) -> Problem:
    truth = Graded(backend.space) if noisy else backend
    return Problem(backend.space, backend, truth, parse_objectives(list(PAIR)), ())


class Search:
    """One search in a folder, which can be killed and resumed."""

    def __init__(self, folder: Path, problem: Problem, name: str, **how: Any) -> None:
        self.folder, self.problem, self.name, self.how = folder, problem, name, how
        self.slots = how.pop("slots", 4)
        self.budget = how.pop("budget", Budget(evaluations=30))
        self.started: dict[int, float] = {}
        self.asked: list[int] = []
        if not (folder / "trials.db").exists():
            Store.create(folder / "trials.db", [str(o) for o in problem.measured], {}).close()

    def run(self, *, commits: int | None = None) -> Trials:
        """Run or resume it; with `commits` until the store has been written so many times."""
        optimizer = hwnas.optimizer(
            self.name,
            self.problem.space,
            2,
            seed=3,
            n_constraints=len(self.problem.constraints),
            fidelities=self.problem.backend.fidelities,
            **SETTINGS.get(self.name, {}),
        )
        with Store.open(self.folder / "trials.db") as store:
            elapsed = store.trials().elapsed
            executor = SimulatedExecutor(
                TrialEvaluator(self.problem),
                self.slots,
                duration,
                time=float(elapsed[-1]) if len(elapsed) else 0.0,
                started=self.started,
            )
            if commits is not None:
                kill_after(store, commits)
            try:
                ParallelLoop(
                    self.problem, optimizer, self.budget, store, executor, seed=0, **self.how
                ).run()
            except Killed:
                pass
            finally:
                self.started = executor.started
            return store.trials()


def kill_after(store: Store, commits: int) -> None:
    """Let a store die before or after its next writes: even numbers die before the write."""
    count = itertools.count()
    add, add_asks = store.add, store.add_asks

    def wrapped(write: Callable[[Any], None]) -> Callable[[Any], None]:
        def write_or_die(value: Any) -> None:
            at = next(count)
            if at == commits:
                if commits % 2:
                    write(value)
                raise Killed
            write(value)

        return write_or_die

    store.add = wrapped(add)  # type: ignore[method-assign]
    store.add_asks = wrapped(add_asks)  # type: ignore[method-assign]


def assert_equal(found: Trials, expected: Trials, *, but: tuple[str, ...] = ()) -> None:
    assert len(found) == len(expected)
    for field in fields(Trials) if len(found) else ():
        if field.name not in but:
            pair = getattr(found, field.name), getattr(expected, field.name)
            np.testing.assert_array_equal(*map(np.asarray, pair), err_msg=field.name)


def keys(trials: Trials) -> list[tuple[bytes, int, int]]:
    rows = zip(trials.codes, trials.repeat.tolist(), trials.fidelity.tolist(), strict=True)
    return [(code.tobytes(), repeat, fidelity) for code, repeat, fidelity in rows]


@pytest.mark.parametrize("name", [*QUICK, "motpe", "additive"])
def test_resume_after_kills_ends_with_the_same_trials_in_the_same_order(
    name: str, small_space: SearchSpace, tmp_path: Path
) -> None:
    problem = problem_of(Graded(small_space))
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    whole = Search(tmp_path / "whole", problem, name).run()
    assert whole.evaluations.sum() == 30
    killed = Search(tmp_path / "killed", problem, name)
    for commits in (0, 1, 4, 7):
        prefix = killed.run(commits=commits)
        assert_equal(prefix, whole[: len(prefix)])
    assert_equal(killed.run(), whole)
    with Store.open(tmp_path / "killed" / "trials.db") as store:
        assert "diverged" not in store.meta


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@example(
    name="local_search", slots=7, evaluations=7, commits=1, noisy=False, failing=0.0
)  # killed behind an ask in vain
@given(
    name=st.sampled_from(QUICK),
    slots=st.integers(1, 9),
    evaluations=st.integers(1, 40),
    commits=st.integers(0, 30),
    noisy=st.booleans(),
    failing=st.sampled_from([0.0, 0.3]),
)
def test_every_trial_once_whatever_happens(
    small_space: SearchSpace,
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    slots: int,
    evaluations: int,
    commits: int,
    noisy: bool,
    failing: float,
) -> None:
    backend = Graded(small_space, fails=lambda code: share(code, "fails") < failing)
    problem = problem_of(backend, noisy=noisy)
    how = {"slots": slots, "budget": Budget(evaluations=evaluations)}
    whole = Search(tmp_path_factory.mktemp("whole"), problem, name, **how).run()
    assert whole.evaluations.sum() == evaluations
    assert len(set(keys(whole))) == len(whole)
    assert (np.diff(whole.tell) >= 0).all()
    # No more than the slots are ever in flight, and none waits while there is a budget.
    start = whole.elapsed - whole.seconds
    for at in whole.elapsed:
        assert ((start < at - 1e-9) & (whole.elapsed >= at - 1e-9)).sum() <= slots
    killed = Search(tmp_path_factory.mktemp("killed"), problem, name, **how)
    prefix = killed.run(commits=commits)
    assert_equal(prefix, whole[: len(prefix)])
    assert_equal(killed.run(), whole)


@pytest.mark.parametrize("name", ["nsga2", "nsga3", "smsemoa", "moead"])
def test_generations_stay_whole_and_equal_a_serial_search(
    name: str, small_space: SearchSpace, tmp_path: Path
) -> None:
    problem = problem_of(Graded(small_space))
    found = Search(tmp_path, problem, name).run()
    optimizer = hwnas.optimizer(name, small_space, 2, seed=3, **SETTINGS.get(name, {}))
    with Store.create(tmp_path / "serial.db", PAIR, {}) as store:
        loop(problem, optimizer, Budget(evaluations=30), store, seed=0, batch=optimizer.batch)
        serial = store.trials()
    assert found.elapsed[-1] < found.seconds.sum() / 2  # several at once
    assert sorted(keys(found)) == sorted(keys(serial))
    assert set(zip(keys(found), found.tell.tolist(), strict=True)) == set(
        zip(keys(serial), serial.tell.tolist(), strict=True)
    )


def test_a_slow_trial_holds_nobody_up(small_space: SearchSpace, tmp_path: Path) -> None:
    problem = problem_of(Graded(small_space))

    def one_is_slow(request: TrialRequest) -> float:
        return 1000.0 if request.number == 0 else 1.0

    optimizer = hwnas.optimizer("random", small_space, 2, seed=0)
    with Store.create(tmp_path / "trials.db", PAIR, {}) as store:
        executor = SimulatedExecutor(TrialEvaluator(problem), 2, one_is_slow)
        ParallelLoop(problem, optimizer, Budget(evaluations=50), store, executor, seed=0).run()
        trials = store.trials()
    assert trials.elapsed[:-1].tolist() == list(range(1, 50))
    assert trials.elapsed[-1] == 1000.0
    assert trials.ask[-1] == 0


def test_limits_of_cost_and_time(small_space: SearchSpace, tmp_path: Path) -> None:
    problem = problem_of(Graded(small_space))
    for name, budget in (("cost", Budget(cost=40.0)), ("time", Budget(seconds=40.0))):
        (tmp_path / name).mkdir()
        trials = Search(tmp_path / name, problem, "random", budget=budget).run()
        # Whatever was in flight when the limit was reached has ended, and nothing came after.
        start = trials.elapsed - trials.seconds
        spent = np.cumsum(trials.seconds) if name == "cost" else trials.elapsed
        reached = trials.elapsed[np.argmax(spent >= 40.0)]
        assert spent[-1] >= 40.0 if name == "cost" else reached >= 0
        assert (start < max(reached, 40.0 if name == "time" else 0) + 1e-9).all()
        assert len(trials) > 8


def test_a_search_begun_one_after_another_goes_on_in_parallel_and_back(
    small_space: SearchSpace, tmp_path: Path
) -> None:
    problem = problem_of(Graded(small_space))
    search = Search(tmp_path, problem, "random", budget=Budget(evaluations=30))
    optimizer = hwnas.optimizer("random", small_space, 2, seed=3)
    with Store.open(tmp_path / "trials.db") as store:
        loop(problem, optimizer, Budget(evaluations=7), store, seed=0, batch=1000)
        begun = store.trials()
    killed = search.run(commits=9)
    assert_equal(killed[:7], begun)
    assert 7 < len(killed) < 30
    optimizer = hwnas.optimizer("random", small_space, 2, seed=3)
    with Store.open(tmp_path / "trials.db") as store:
        executor = SerialExecutor(TrialEvaluator(problem))
        ParallelLoop(problem, optimizer, Budget(evaluations=30), store, executor, seed=0).run()
        trials = store.trials()
        assert "diverged" not in store.meta
    assert_equal(trials[: len(killed)], killed)
    assert len(trials) == len(set(keys(trials))) == 30
    # All of them are the serial search's: its proposals beyond the budget were not lost.
    optimizer = hwnas.optimizer("random", small_space, 2, seed=3)
    assert {key[0] for key in keys(trials)} == {row.tobytes() for row in optimizer.ask(1000)[:30]}


def test_a_greater_budget_continues(small_space: SearchSpace, tmp_path: Path) -> None:
    problem = problem_of(Graded(small_space))
    first = Search(tmp_path, problem, "nsga2", budget=Budget(evaluations=13)).run()
    more = Search(tmp_path, problem, "nsga2", budget=Budget(evaluations=29)).run()
    assert_equal(more[:13], first)
    assert len(set(keys(more))) == 29


def test_repeats_have_seeds_of_their_own(small_space: SearchSpace, tmp_path: Path) -> None:
    problem = problem_of(Graded(small_space), noisy=True)
    optimizer = hwnas.optimizer("random", small_space, 2, seed=0, repeats=5)
    with Store.create(tmp_path / "trials.db", PAIR, {}) as store:
        executor = SimulatedExecutor(TrialEvaluator(problem), 3, lambda r: 9.0 - r.repeat)
        ParallelLoop(problem, optimizer, Budget(evaluations=20), store, executor, seed=0).run()
        trials = store.trials()
        recommendations = store.recommendations(len(small_space.columns))
    assert len(set(keys(trials))) == 20
    assert np.bincount(trials.repeat).tolist() == [4] * 5
    assert len(set(trials.values[:, 0].tolist())) == 20
    assert [n for n, _ in recommendations] == [n for n in CHECKPOINTS.tolist() if n <= 20]


def test_errors_of_a_backend_are_failed_trials(small_space: SearchSpace, tmp_path: Path) -> None:
    problem = problem_of(Graded(small_space, fails=lambda code: share(code, "fails") < 0.5))
    failures = FailureLog(tmp_path, Graded)
    trials = Search(tmp_path, problem, "random", failures=failures).run()
    assert 5 < trials.ok.sum() < 25
    assert {r for r, ok in zip(trials.reason, trials.ok, strict=True) if not ok} == {
        trials.reason[int(np.argmin(trials.ok))]
    }
    assert "no luck" in (tmp_path / "error.txt").read_text()
    assert failures.n_failed == (~trials.ok).sum()


def test_a_search_whose_first_evaluations_fail_by_a_bug_is_given_up(
    small_space: SearchSpace, tmp_path: Path
) -> None:
    class Broken(Graded):
        def evaluate(self, *args: Any, **kwargs: Any) -> Evaluation:
            return undefined  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(Exception, match="name 'undefined' is not defined"):
        Search(
            tmp_path,
            problem_of(Broken(small_space)),
            "random",
            failures=FailureLog(tmp_path, Broken),
        ).run()
    with Store.open(tmp_path / "trials.db") as store:
        assert 10 <= len(store.trials()) <= 13


def test_a_machine_that_fails_ends_the_search(small_space: SearchSpace, tmp_path: Path) -> None:
    class Full(Graded):
        def evaluate(self, codes: Codes, *args: Any, **kwargs: Any) -> Evaluation:
            if share(codes[0].tobytes()) > 0.8:
                raise MachineFailed("disk full; continue with: hwnas resume")
            return super().evaluate(codes, *args, **kwargs)

    with pytest.raises(MachineFailed, match="disk full"):
        Search(tmp_path, problem_of(Full(small_space)), "random").run()
    with Store.open(tmp_path / "trials.db") as store:
        assert all(status == "ok" for status in store.trials().status)


def test_constraints_and_stopped_trials(small_space: SearchSpace, tmp_path: Path) -> None:
    class OnHardware(Graded):
        on_hardware = True

    backend = OnHardware(small_space)
    params = small_space.params(small_space.sample(50, np.random.default_rng(0)))
    constraints = parse_constraints([f"params <= {np.median(params)}"])
    problem = Problem(small_space, backend, backend, parse_objectives(list(PAIR)), constraints)
    trials = Search(tmp_path, problem, "morea").run()
    assert {"ok", "infeasible"} == set(trials.status)
    assert np.isfinite(trials.values[:, 2]).all()


def test_an_outcome_of_a_lost_trial_is_a_failure() -> None:
    request = TrialRequest(3, b"", 0, 1, None, (0, 1))
    outcome = TrialOutcome.failed(request, "lost")
    assert (outcome.number, outcome.status, outcome.std) == (3, "failed", (0.0, 0.0))
    assert np.isnan(outcome.values).all()
