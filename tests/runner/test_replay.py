from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hwnas.experiment import Budget
from hwnas.runner.budget import BudgetTracker
from hwnas.runner.checkpoints import CHECKPOINTS, reaches_checkpoint, split_at_checkpoints
from hwnas.runner.replay import ReplayLog
from hwnas.runner.storage import Trials


def trials(asks: list[int], evaluations: int = 1) -> Trials:
    """Trials whose codes are their numbers, proposed by these asks."""
    n = len(asks)
    integers: dict[str, Any] = {
        name: np.zeros(n, dtype=np.int64) for name in ("repeat", "fidelity", "tells_before", "tell")
    }
    return Trials(
        codes=np.arange(n, dtype=np.int8)[:, None],
        values=np.zeros((n, 2)),
        std=np.zeros((n, 2)),
        evaluations=np.full(n, evaluations),
        seconds=np.full(n, 0.5),
        ask=np.array(asks, dtype=np.int64),
        elapsed=np.arange(n, dtype=np.float64),
        status=["ok"] * n,
        reason=[""] * n,
        **integers,
    )


def codes(*values: int) -> np.ndarray[Any, np.dtype[np.int8]]:
    return np.array(values, dtype=np.int8)[:, None]


def test_stored_trials_by_ask() -> None:
    log = ReplayLog(trials([0, 0, 1, 2]))
    assert [len(log.trials(ask)) for ask in range(5)] == [2, 1, 1, 0, 0]
    assert log.trials(0).codes.ravel().tolist() == [0, 1]
    assert log.elapsed == 3.0


def test_an_empty_log() -> None:
    log = ReplayLog(trials([]))
    assert log.elapsed == 0.0
    assert log.is_faithful(0, codes(7))
    assert log.unstored(0, codes(7, 8)).ravel().tolist() == [7, 8]


def test_only_the_last_ask_may_be_incomplete() -> None:
    log = ReplayLog(trials([0, 0, 1]))
    assert log.is_faithful(0, codes(0, 1))
    assert not log.is_faithful(0, codes(0, 1, 5))  # one trial too few, but not at the end
    assert log.is_faithful(1, codes(2, 5))
    assert log.unstored(1, codes(2, 5)).ravel().tolist() == [5]
    assert log.unstored(0, codes(0, 1)).size == 0


def test_another_proposal_is_not_evaluated() -> None:
    log = ReplayLog(trials([0, 1]))
    assert not log.is_faithful(1, codes(9, 10))
    assert log.unstored(1, codes(9, 10)).size == 0


def test_budget_in_evaluations_and_cost() -> None:
    tracker = BudgetTracker(Budget(evaluations=5, cost=2.0), start=0.0)
    tracker.add(trials([0, 0, 0]))
    assert (tracker.evaluations, tracker.cost, tracker.evaluations_left) == (3, 1.5, 2)
    assert not tracker.cost_is_spent()
    assert tracker.cost_is_spent(untold=0.5)
    assert not tracker.time_is_up()


def test_budget_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hwnas.runner.budget.time.perf_counter", lambda: 110.0)
    assert BudgetTracker(Budget(seconds=10.0), start=100.0).time_is_up()
    assert not BudgetTracker(Budget(seconds=10.5), start=100.0).time_is_up()
    assert BudgetTracker(Budget(seconds=1.0), start=0.0).evaluations_left == np.inf


def test_checkpoints_are_ten_percent_apart() -> None:
    ratios = CHECKPOINTS[30:] / CHECKPOINTS[29:-1]
    assert CHECKPOINTS[0] == 1
    assert ((ratios > 1) & (ratios < 1.2)).all()


@pytest.mark.parametrize("n_before", [0, 1, 17, 100])
def test_pieces_end_at_checkpoints(n_before: int) -> None:
    batch = trials([0] * 60)
    pieces = list(split_at_checkpoints(batch, n_before))
    assert np.concatenate([piece.codes for piece in pieces]).tolist() == batch.codes.tolist()
    ends = n_before + np.cumsum([len(piece) for piece in pieces])
    assert all(reaches_checkpoint(int(end), 1) for end in ends[:-1])
    passed = [c for c in CHECKPOINTS.tolist() if n_before < c <= n_before + 60]
    assert set(passed) <= set(ends.tolist())
