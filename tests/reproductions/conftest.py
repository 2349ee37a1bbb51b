"""A reproduction that takes seconds: experiments of the same kinds, with optimizers that do too."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwnas.reproductions import plan, reproduce
from hwnas.reproductions.plan import NOISE, THREE, TWO, Part


def small_parts(*, quick: bool) -> list[Part]:
    """One experiment of each kind and two of the first, 12 evaluations each."""
    few = {
        "budget.evaluations": 12,
        "seeds": 2,
        "optimizers": ["random", {"type": "nsga2", "pop_size": 4}, "moasha"],
    }
    return [
        plan._two("gpt-s", "latency@a100", few),
        plan._two("gpt-s", "params", few),
        plan._on("gpt-s", "a100", THREE, few),
        plan._on("gpt-s", "a100", NOISE, few),
    ]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> list[Part]:
    """The parts, in place of those of the paper."""
    monkeypatch.setattr(plan, "parts", small_parts)
    return small_parts(quick=True)


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A page with everything on it, and what was said meanwhile."""
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "parts", small_parts)
        out = tmp_path_factory.mktemp("paper") / "x"
        page = reproduce.reproduce("hw-gpt-bench", out, quick=True, say=said.append)
    assert TWO in {part.kind for part in small_parts(quick=True)}
    return page, said
