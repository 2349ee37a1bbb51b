"""The loop: budgets, failures, replay, and that a trial's luck is its own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hwnas import pareto
from hwnas.backends import Backend, Evaluation
from hwnas.errors import MachineFailed, SpaceExhausted
from hwnas.experiment import Budget
from hwnas.objectives import Metric, Objective, parse_constraints, parse_objectives
from hwnas.optimizers import MultiFidelityOptimizer, Optimizer
from hwnas.problem import Problem
from hwnas.runner.evaluation_cache import trial_seeds
from hwnas.runner.search_loop import loop
from hwnas.runner.storage import Store, Trials
from hwnas.spaces import Codes, SearchSpace, space
from hwnas.surrogates import Surrogate

PAIR = ("error", "latency@fast")


class Scribe(Optimizer):
    """Random search that writes down what happens to it."""

    batch = 4

    def __init__(self, space: SearchSpace, *, seed: int = 0, n_constraints: int = 0) -> None:
        super().__init__(space, 2, seed=seed, n_constraints=n_constraints)
        self.asked: list[int] = []
        self.failed: list[tuple[bytes, str]] = []
        self.violations: list[Any] = []

    def ask(self, n: int) -> Codes:
        self.asked.append(n)
        return self.space.sample(n, self.rng)

    def update(
        self, codes: Codes, losses: Any, *, std: Any = None, constraints: Any = None
    ) -> None:
        self.violations.append(constraints)

    def fail(self, codes: Codes, reason: str) -> None:
        assert codes.shape == (1, len(self.space.columns))
        self.failed.append((codes.tobytes(), reason))


def problem_of(
    backend: Backend, objectives: Sequence[str] = PAIR, constraints: Sequence[str] = ()
) -> Problem:
    return Problem(
        backend.space,
        backend,
        backend,
        parse_objectives(list(objectives)),
        parse_constraints(list(constraints)),
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "trials.db", PAIR, {})


def run(problem: Problem, optimizer: Optimizer, store: Store, n: int = 10, **how: Any) -> Trials:
    loop(
        problem,
        optimizer,
        how.pop("budget", Budget(evaluations=n)),
        store,
        seed=how.pop("seed", 0),
        batch=how.pop("batch", optimizer.batch),
        **how,
    )
    return store.trials()


def test_a_budget_of_evaluations_is_kept_exactly(toy: Backend, store: Store) -> None:
    optimizer, reports = Scribe(toy.space), []
    trials = run(problem_of(toy), optimizer, store, report=reports.append)
    assert len(trials) == 10
    assert optimizer.asked == [4, 4, 4]  # whatever is left of the budget
    assert [n for n in reports if n in (4, 8, 10)] == [4, 8, 10]
    assert reports == sorted(set(reports))  # between them, where a group was stored
    assert trials.ask.tolist() == [0] * 4 + [1] * 4 + [2] * 2
    assert (trials.tells_before <= trials.ask).all()
    assert (np.diff(trials.elapsed) >= 0).all()
    np.testing.assert_array_equal(optimizer.history.codes, trials.codes)
    np.testing.assert_array_equal(optimizer.history.losses, trials.values)


def test_a_budget_of_seconds_ends(toy: Backend, store: Store) -> None:
    trials = run(problem_of(toy), Scribe(toy.space), store, budget=Budget(seconds=0.05))
    assert len(trials) >= 4
    assert (trials.elapsed[:-4] < 0.05).all()  # nothing is asked for once the time is over


def priced(toy: Backend, *, fails: bool = False, dies_after: int = 10**6) -> Problem:
    """Networks take 0.1 s, or 0.3 s with the wider embedding; also if they fail."""

    class Priced(type(toy)):  # type: ignore[misc]
        calls = 0

        def evaluate(self, codes: Codes, objectives: Any, **how: Any) -> Evaluation:
            self.calls += 1
            if self.calls > dies_after:
                raise KeyboardInterrupt
            answer = super().evaluate(codes, objectives, **how)
            seconds = np.where(codes[:, 0] == 1, 0.3, 0.1)
            return Evaluation(
                answer.values, status=["failed" if fails else "ok"] * len(codes), seconds=seconds
            )

    return problem_of(Priced(toy.space))


@pytest.mark.parametrize("fails", [False, True])
def test_a_budget_of_cost_counts_what_evaluations_took(
    toy: Backend, store: Store, fails: bool
) -> None:
    budget = Budget(cost=5.0)
    trials = run(priced(toy, fails=fails), Scribe(toy.space), store, budget=budget, batch=1)
    total = np.cumsum(trials.seconds)
    assert total[-2] < 5.0 <= total[-1]
    assert set(trials.seconds) == {0.1, 0.3}
    assert trials.ok.all() != fails


def test_what_a_trial_cost_is_kept_with_it(toy: Backend, tmp_path: Path) -> None:
    budget = Budget(cost=5.0)
    with Store.create(tmp_path / "whole.db", PAIR, {}) as whole:
        expected = run(priced(toy), Scribe(toy.space), whole, budget=budget)
        asks = int(expected.ask[-1]) + 1
        assert_same(run(priced(toy), Scribe(toy.space), whole, budget=budget), expected)
    for stop in (0, 1, asks // 2, asks - 1):
        with Store.create(tmp_path / f"{stop}.db", PAIR, {}) as store:
            with pytest.raises(KeyboardInterrupt):
                run(priced(toy, dies_after=stop), Scribe(toy.space), store, budget=budget)
            assert len(store.trials()) >= stop
            found = run(priced(toy), Scribe(toy.space), store, budget=budget)
            assert_same(found, expected)
            np.testing.assert_array_equal(found.seconds, expected.seconds)


def test_losses_are_signed_and_values_are_not(toy: Backend, tmp_path: Path) -> None:
    objectives, constraints = ["-error", "latency@fast"], ["memory >= 3", "latency@fast <= 2.5"]
    names = [*objectives, *constraints]
    optimizer = Scribe(toy.space, n_constraints=2)
    with Store.create(tmp_path / "t.db", names, {}) as store:
        trials = run(problem_of(toy, objectives, constraints), optimizer, store)
    assert (trials.values > 0).all()
    np.testing.assert_array_equal(optimizer.history.losses[:, 0], -trials.values[:, 0])
    np.testing.assert_array_equal(optimizer.history.losses[:, 1], trials.values[:, 1])
    violations = np.concatenate(optimizer.violations)
    np.testing.assert_array_equal(violations[:, 0], 3 - trials.values[:, 2])
    np.testing.assert_array_equal(violations[:, 1], trials.values[:, 3] - 2.5)


def test_failures_are_trials(toy: Backend, store: Store) -> None:
    class Fragile(type(toy)):  # type: ignore[misc]
        def evaluate(self, codes: Codes, objectives: Any, **how: Any) -> Evaluation:
            if (codes[:, 0] == 1).any() and (codes[:, 2] == 1).any():
                raise RuntimeError("out of\nmemory")
            answer = super().evaluate(codes, objectives, **how)
            answer.values[codes[:, 1] == 0, 0] = np.nan
            return answer

    optimizer = Scribe(toy.space)
    trials = run(problem_of(Fragile(toy.space)), optimizer, store, n=40)
    raised = (trials.codes[:, 0] == 1) & (trials.codes[:, 2] == 1)
    missing = ~raised & (trials.codes[:, 1] == 0)
    assert raised.any()
    assert missing.any()
    assert (~trials.ok == (raised | missing)).all()
    reasons = np.array(trials.reason)
    assert all(r.startswith("RuntimeError: out of memory (") for r in reasons[raised])
    assert set(reasons[missing]) == {"not finite: error"}
    assert len(optimizer.failed) == (~trials.ok).sum()
    assert len(optimizer.history) == trials.ok.sum()


def test_an_exhausted_space_ends_the_search(toy: Backend, store: Store) -> None:
    class Short(Scribe):
        def ask(self, n: int) -> Codes:
            if len(self.history) >= 8:
                raise SpaceExhausted("no more")
            return super().ask(n)

    assert len(run(problem_of(toy), Short(toy.space), store, n=100)) == 8
    assert store.meta["exhausted"] == "true"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (np.zeros((0, 9), dtype=np.int8), "expected 1 to 4 codes, found 0"),
        (np.zeros((5, 9), dtype=np.int8), "expected 1 to 4 codes, found 5"),
        (np.full((1, 9), 7), "expected canonical codes of tiny"),
        (np.zeros((1, 9)), "expected integer codes"),
        (np.zeros(9, dtype=np.int8), "expected integer codes"),
    ],
)
def test_wrong_proposals_are_named(
    toy: Backend, store: Store, answer: NDArray[Any], message: str
) -> None:
    class Wrong(Scribe):
        def ask(self, n: int) -> Codes:
            return answer

    with pytest.raises((ValueError, TypeError), match=re.escape(message)) as caught:
        run(problem_of(toy), Wrong(toy.space), store)
    assert str(caught.value).startswith("Wrong.ask")


# -- resume --------------------------------------------------------------------------------------

SAME = [f.name for f in fields(Trials) if f.name not in ("seconds", "elapsed")]


def assert_same(left: Trials, right: Trials) -> None:
    for name in SAME:
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name), err_msg=name)


@pytest.mark.parametrize("stop", [1, 4, 5, 12, 19, 20])
def test_resuming_is_the_same_loop(toy: Backend, tmp_path: Path, stop: int) -> None:
    with Store.create(tmp_path / "whole.db", PAIR, {}) as whole:
        expected = run(problem_of(toy), Scribe(toy.space), whole, n=20)

    class Killed(Exception):
        pass

    class Mortal(type(toy)):  # type: ignore[misc]
        n_evaluated = 0

        def evaluate(self, codes: Codes, objectives: Any, **how: Any) -> Evaluation:
            if self.n_evaluated + len(codes) > stop:
                raise KeyboardInterrupt
            self.n_evaluated += len(codes)
            return super().evaluate(codes, objectives, **how)

    mortal = Mortal(toy.space)
    with Store.create(tmp_path / "trials.db", PAIR, {}) as store:
        if stop < 20:
            with pytest.raises(KeyboardInterrupt):
                run(problem_of(mortal), Scribe(toy.space), store, n=20)
            assert len(store.trials()) == mortal.n_evaluated > 0  # whatever was measured is there
        optimizer = Scribe(toy.space)
        assert_same(run(problem_of(toy), optimizer, store, n=20), expected)
        np.testing.assert_array_equal(optimizer.history.codes, expected.codes)
        assert "diverged" not in store.meta


def test_a_different_proposal_is_told_what_is_stored(toy: Backend, store: Store) -> None:
    before = run(problem_of(toy), Scribe(toy.space, seed=0), store, n=8)
    other = Scribe(toy.space, seed=1)
    after = run(problem_of(toy), other, store, n=16)
    assert_same(after[:8], before)
    np.testing.assert_array_equal(other.history.codes, after.codes)
    assert store.meta["diverged"] == "0"


def test_seconds_go_on_from_where_they_were(toy: Backend, store: Store) -> None:
    run(problem_of(toy), Scribe(toy.space), store, budget=Budget(seconds=0.05))
    before = store.trials()
    run(problem_of(toy), Scribe(toy.space), store, budget=Budget(seconds=0.1))
    after = store.trials()
    assert len(after) > len(before)
    assert after.elapsed[len(before)] >= before.elapsed[-1]


# -- seeds of trials -----------------------------------------------------------------------------


def test_a_trials_luck_is_its_own(small_space: SearchSpace) -> None:
    codes = small_space.sample(6, np.random.default_rng(0))
    repeats = np.arange(6)
    seeds = trial_seeds(3, codes, repeats)
    assert seeds.dtype == np.uint64
    assert len(set(seeds.tolist())) == 6
    one_by_one = [trial_seeds(3, codes[i : i + 1], repeats[i : i + 1])[0] for i in range(6)]
    np.testing.assert_array_equal(seeds, one_by_one)
    assert (seeds != trial_seeds(4, codes, repeats)).all()
    assert (seeds != trial_seeds(3, codes, repeats + 1)).all()


def test_repeats_are_counted(toy: Backend, store: Store) -> None:
    class Stubborn(Scribe):
        def ask(self, n: int) -> Codes:
            return np.zeros((n, 9), dtype=np.int8)

    class Seeds(type(toy)):  # type: ignore[misc]
        def evaluate(
            self,
            codes: Codes,
            objectives: Any,
            *,
            seeds: NDArray[np.uint64],
            fidelity: int | None = None,
        ) -> Evaluation:
            return Evaluation(np.stack([seeds, seeds], axis=1).astype(float))

    trials = run(problem_of(Seeds(toy.space)), Stubborn(toy.space), store, n=10)
    assert trials.repeat.tolist() == list(range(10))
    assert len(np.unique(trials.values[:, 0])) == 10


def test_objective_of_a_problem_is_measured_once(toy: Backend) -> None:
    problem = problem_of(toy, PAIR, ["latency@fast <= 2"])
    assert problem.measured == (
        Objective("error"),
        Objective("latency", ("fast",)),
        Objective("latency", ("fast",), relation="<=", bound=2.0),
    )


# -- fidelity ------------------------------------------------------------------------------------


class Rungs(MultiFidelityOptimizer):
    """Climbs with whatever is best in the first objective, and writes down what it is told."""

    batch = 2

    def __init__(self, space: SearchSpace, **how: Any) -> None:
        super().__init__(space, 2, seed=0, **how)
        self.next: list[tuple[Codes, int]] = []
        self.refused: list[str] = []
        self.fidelity = 0

    def ask(self, n: int) -> tuple[Codes, int]:  # type: ignore[override]
        codes, self.fidelity = (
            self.next.pop() if self.next else (self.space.sample(n, self.rng), self.fidelities[0])
        )
        return codes, self.fidelity

    def update(
        self, codes: Codes, losses: Any, *, std: Any = None, constraints: Any = None
    ) -> None:
        higher = [f for f in self.fidelities if f > self.fidelity]
        if higher:
            self.next.append((codes[:1], higher[0]))

    def fail(self, codes: Codes, reason: str) -> None:
        self.refused.append(reason)


@pytest.fixture(scope="module")
def noisy() -> Problem:
    where = space("gpt-s")
    return Problem(
        where,
        Surrogate(where, noise=True),
        Surrogate(where),
        parse_objectives(["perplexity", "latency@h100"]),
        (),
    )


def climbed(noisy: Problem, path: Path, n: int = 60) -> tuple[Trials, Rungs, Store]:
    optimizer = Rungs(noisy.space, fidelities=(1, 3, 9, 27, 81))
    store = Store.create(path, ["perplexity", "latency@h100"], {})
    return run(noisy, optimizer, store, n=n), optimizer, store


def test_a_higher_rung_costs_what_it_adds(noisy: Problem, tmp_path: Path) -> None:
    trials, optimizer, _ = climbed(noisy, tmp_path / "t.db")
    assert trials.fidelity.tolist()[:5] == [1, 1, 3, 9, 27]
    assert trials.evaluations.tolist()[:5] == [1, 1, 2, 6, 18]
    assert trials.evaluations.sum() <= 60
    # 54 more draws for 81 do not fit into what is left; the search goes on with what does.
    assert 81 not in trials.fidelity
    assert set(optimizer.refused) == {"does not fit the budget"}
    assert trials.evaluations.sum() == 60


def test_only_what_depends_on_the_fidelity_is_measured_again(
    noisy: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    evaluate = Surrogate.evaluate

    def watched(self: Any, codes: Codes, objectives: Any, **how: Any) -> Evaluation:
        asked.append([o.key for o in objectives])
        return evaluate(self, codes, objectives, **how)

    monkeypatch.setattr(Surrogate, "evaluate", watched)
    trials, _, _ = climbed(noisy, tmp_path / "t.db", n=28)
    changes = [
        names for names, former in zip(asked, [None, *asked], strict=False) if names != former
    ]
    assert changes[:2] == [["perplexity", "latency@h100"], ["latency@h100"]]
    first, *_, last = np.flatnonzero((trials.codes == trials.codes[2]).all(axis=1))
    assert trials.values[first, 0] == trials.values[last, 0]
    assert trials.values[first, 1] != trials.values[last, 1]
    assert trials.repeat[last] == trials.repeat[first] == 0
    assert trials.std[last, 1] < trials.std[first, 1]


def test_the_draws_of_a_lower_rung_go_on(noisy: Problem, tmp_path: Path) -> None:
    trials, _, _ = climbed(noisy, tmp_path / "t.db")
    i = trials.fidelity.tolist().index(9)
    seeds = trial_seeds(0, trials.codes[i : i + 1], trials.repeat[i : i + 1])
    whole = noisy.backend.evaluate(
        trials.codes[i : i + 1], noisy.objectives, seeds=seeds, fidelity=9
    )
    np.testing.assert_array_equal(trials.values[i], whole.values[0])


def test_a_wrong_fidelity_is_named(noisy: Problem, tmp_path: Path) -> None:
    class Odd(Rungs):
        def ask(self, n: int) -> tuple[Codes, int]:  # type: ignore[override]
            return self.space.sample(n, self.rng), 2

    store = Store.create(tmp_path / "t.db", ["perplexity", "latency@h100"], {})
    with pytest.raises(ValueError, match="expected a fidelity of 1, 3, found 2"):
        run(noisy, Odd(noisy.space, fidelities=(1, 3)), store)


@pytest.mark.parametrize("stop", [3, 7])
def test_resuming_with_fidelities(
    noisy: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    expected, _, whole = climbed(noisy, tmp_path / "whole.db")
    add, adds = Store.add, 0

    def dying(self: Store, trials: Trials) -> None:
        nonlocal adds
        adds += 1
        if adds > stop:
            raise KeyboardInterrupt
        add(self, trials)

    monkeypatch.setattr(Store, "add", dying)
    store = Store.create(tmp_path / "t.db", ["perplexity", "latency@h100"], {})
    with pytest.raises(KeyboardInterrupt):
        run(noisy, Rungs(noisy.space, fidelities=(1, 3, 9, 27, 81)), store, n=60)
    monkeypatch.undo()
    found = run(noisy, Rungs(noisy.space, fidelities=(1, 3, 9, 27, 81)), store, n=60)
    assert_same(found, expected)
    for (n, codes), (m, others) in zip(
        store.recommendations(27), whole.recommendations(27), strict=True
    ):
        assert n == m
        np.testing.assert_array_equal(codes, others)


def test_recommendations_come_at_checkpoints_whatever_the_batch(
    noisy: Problem, tmp_path: Path
) -> None:
    at = []
    for batch in (1, 7, 1000):
        with Store.create(tmp_path / f"{batch}.db", ["perplexity", "latency@h100"], {}) as store:
            run(noisy, Scribe(noisy.space), store, n=50, batch=batch)
            found = store.recommendations(27)
            at.append([n for n, _ in found])
            trials = store.trials()
        n, codes = found[3]
        best = trials.codes[:n][pareto.non_dominated(trials.values[:n])]
        assert {row.tobytes() for row in codes} == {row.tobytes() for row in best}
    assert at[0] == at[1] == at[2]
    assert at[0][0] == 1
    assert at[0][-1] == 50


def test_without_noise_nothing_is_recommended(toy: Backend, store: Store) -> None:
    run(problem_of(toy), Scribe(toy.space), store)
    assert store.recommendations(9) == []


class OneByOne(Backend):
    """Takes its time with each network; the process dies at one of them."""

    metrics: Mapping[str, Metric] = {"error": Metric(), "latency@fast": Metric("ms")}
    on_hardware = True

    def __init__(self, space: SearchSpace, dies_at: int = -1) -> None:
        super().__init__(space)
        self.dies_at, self.seen = dies_at, 0

    def evaluate(self, codes: Codes, objectives: Any, *, seeds: Any, fidelity: Any = None) -> Any:
        assert len(codes) == 1
        if self.seen == self.dies_at:
            raise KeyboardInterrupt  # as a kill, nothing in between may catch it
        self.seen += 1
        values = np.stack([self.space.params(codes), codes.sum(axis=1)], axis=1)
        return Evaluation(values + (seeds % 7)[:, None])


@pytest.mark.parametrize("dies_at", range(10))
def test_where_a_kill_falls_changes_nothing(
    small_space: SearchSpace, tmp_path: Path, dies_at: int
) -> None:
    whole = Store.create(tmp_path / "whole.db", PAIR, {})
    expected = run(problem_of(OneByOne(small_space)), Scribe(small_space), whole)
    store = Store.create(tmp_path / "killed.db", PAIR, {})
    reports: list[int] = []
    problem = problem_of(OneByOne(small_space, dies_at))
    with pytest.raises(KeyboardInterrupt):
        run(problem, Scribe(small_space), store, report=reports.append)
    assert len(store.trials()) == dies_at
    assert reports == list(range(1, dies_at + 1))
    backend, optimizer = OneByOne(small_space), Scribe(small_space)
    trials = run(problem_of(backend), optimizer, store)
    assert backend.seen == 10 - dies_at
    assert optimizer.asked == [4, 4, 4]  # whatever is left of the budget
    assert "diverged" not in store.meta
    for field in fields(Trials):
        if field.name not in ("seconds", "elapsed"):
            one, other = getattr(trials, field.name), getattr(expected, field.name)
            assert np.array_equal(one, other), field.name


class Climber(MultiFidelityOptimizer):
    """Asks for new networks at the lowest fidelity, then for one of them at the highest."""

    batch = 2

    def __init__(self, space: SearchSpace) -> None:
        super().__init__(space, 2, seed=0, fidelities=(1, 9))
        self.waiting: list[Any] = []

    def ask(self, n: int) -> Any:
        if self.waiting:
            return self.waiting.pop(), 9
        codes = self.space.sample(n, self.rng)
        return codes, 1

    def update(
        self, codes: Codes, losses: Any, *, std: Any = None, constraints: Any = None
    ) -> None:
        if len(codes) > 1:
            self.waiting.append(codes[:1])


def test_what_goes_on_for_nothing_goes_on_when_the_budget_is_spent(
    small_space: SearchSpace, store: Store
) -> None:
    backend = OneByOne(small_space)
    backend.metrics = {**backend.metrics, "error": Metric(fidelity_dependent=True)}
    backend.fidelities = (1, 9)
    backend.dies_at = -1

    def evaluate(codes: Codes, objectives: Any, *, seeds: Any, fidelity: Any = None) -> Any:
        return Evaluation(np.full((len(codes), len(objectives)), float(fidelity)))

    backend.evaluate = evaluate  # type: ignore[method-assign]
    trials = run(problem_of(backend), Climber(small_space), store, n=4)
    assert trials.fidelity.tolist() == [1, 1, 9, 1, 1, 9]
    assert trials.evaluations.tolist() == [1, 1, 0, 1, 1, 0]
    assert trials.values[2].tolist() == [9.0, 1.0]  # latency is not measured again


def test_a_budget_of_cost_ends_within_an_ask(small_space: SearchSpace, tmp_path: Path) -> None:
    """Networks of 1 s each, four at once, 6 s: the second ask is cut, and a replay cuts it too."""

    class Slow(OneByOne):
        def evaluate(self, codes: Codes, objectives: Any, **how: Any) -> Any:
            found = super().evaluate(codes, objectives, **how)
            return Evaluation(found.values, seconds=np.ones(len(codes)))

    for dies_at in (-1, 5):
        store = Store.create(tmp_path / f"{dies_at}.db", PAIR, {})
        problem, budget = problem_of(Slow(small_space, dies_at)), Budget(cost=6)
        if dies_at > 0:
            with pytest.raises(KeyboardInterrupt):
                run(problem, Scribe(small_space), store, budget=budget)
            problem = problem_of(Slow(small_space))
        optimizer = Scribe(small_space)
        trials = run(problem, optimizer, store, budget=budget)
        assert trials.ask.tolist() == [0] * 4 + [1] * 2
        assert optimizer.asked == [4, 4]


def test_a_stopped_network_teaches_its_slacks(small_space: SearchSpace, tmp_path: Path) -> None:
    class Student(Scribe):
        def tell_infeasible(self, codes: Codes, constraints: Any) -> None:
            self.violations.append((codes, constraints))

    optimizer = Student(small_space, n_constraints=2)
    bounds = ["params <= 1", "latency@fast <= 1e9"]
    store = Store.create(tmp_path / "trials.db", [*PAIR, *bounds], {})
    run(problem_of(OneByOne(small_space), constraints=bounds), optimizer, store, n=3)
    assert list(store.trials().status) == ["infeasible"] * 3
    for codes, violations in optimizer.violations:
        assert violations[0, 0] == small_space.params(codes)[0] - 1
        assert np.isnan(violations[0, 1])
    silent = Scribe(small_space, n_constraints=2)
    store = Store.create(tmp_path / "silent.db", [*PAIR, *bounds], {})
    run(problem_of(OneByOne(small_space), constraints=bounds), silent, store, n=3)
    assert {reason for _, reason in silent.failed} == {"stopped at a bound"}


def test_a_machine_that_fails_fails_no_trial(small_space: SearchSpace, store: Store) -> None:
    class Lost(OneByOne):
        def evaluate(self, codes: Codes, objectives: Any, **how: Any) -> Any:
            if self.seen == 5:
                raise MachineFailed("the disk is full")
            return super().evaluate(codes, objectives, **how)

    with pytest.raises(MachineFailed, match="the disk is full"):
        run(problem_of(Lost(small_space)), Scribe(small_space), store)
    assert list(store.trials().status) == ["ok"] * 5
