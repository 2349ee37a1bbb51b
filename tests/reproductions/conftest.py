"""Small reproduction that takes seconds: every kind of experiment, with fast optimizers."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwnas.reproductions import plan, reproduce
from hwnas.reproductions.plan import NOISE, THREE, TWO, PlannedExperiment


def small_experiments(*, quick: bool) -> list[PlannedExperiment]:
    """Return two experiments with two objectives and one of each other kind, 12 evaluations."""
    settings = {
        "budget.evaluations": 12,
        "seeds": 2,
        "optimizers": ["random", {"type": "nsga2", "pop_size": 4}, "moasha"],
    }
    return [
        plan._two_objectives("gpt-s", "latency@a100", settings),
        plan._two_objectives("gpt-s", "params", settings),
        plan._on_device("gpt-s", "a100", THREE, settings),
        plan._on_device("gpt-s", "a100", NOISE, settings),
    ]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> list[PlannedExperiment]:
    """Small experiments, in place of those of the paper."""
    monkeypatch.setattr(plan, "planned_experiments", small_experiments)
    return small_experiments(quick=True)


@pytest.fixture(scope="session")
def small_reproduction(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Page of a small reproduction with all figures, and the lines that reported progress."""
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "planned_experiments", small_experiments)
        out = tmp_path_factory.mktemp("paper") / "x"
        page = reproduce.reproduce("hw-gpt-bench", out, quick=True, say=lines.append)
    assert TWO in {planned.kind for planned in small_experiments(quick=True)}
    return page, lines
