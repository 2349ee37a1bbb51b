"""Runs that the tests of comparisons share."""

from __future__ import annotations

from typing import Any

import pytest

from hwnas.api import run
from hwnas.runner.results import Result


@pytest.fixture(scope="session")
def small_run() -> dict[str, Any]:
    """An experiment with two optimizers and two seeds."""
    return {
        "name": "small",
        "space": "gpt-s",
        "objectives": ["perplexity", "latency@rtx3080"],
        "optimizers": ["random", "uniform"],
        "budget": {"evaluations": 40},
        "seeds": 2,
    }


@pytest.fixture(scope="session")
def make_run(tmp_path_factory: pytest.TempPathFactory, small_run: dict[str, Any]) -> Any:
    """Make a run by its name and changes of `small_run`; later calls return the same run."""
    folder = tmp_path_factory.mktemp("compared")
    results: dict[str, Result] = {}

    def make(name: str, **changes: Any) -> Result:
        if name not in results:
            results[name] = run({**small_run, "name": name, **changes}, out=folder / name)
        return results[name]

    return make
