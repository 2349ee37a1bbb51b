"""Runs that the tests of plots share, and results with chosen trials."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hwnas.api import run
from hwnas.objectives import parse_objectives
from hwnas.runner.results import Result
from hwnas.spaces import GPTSpace, SearchSpace
from hwnas.typing import Codes

SMALL: dict[str, Any] = {
    "name": "small",
    "space": "gpt-s",
    "objectives": ["perplexity", "latency@rtx3080"],
    "optimizers": ["random", "uniform"],
    "budget": {"evaluations": 60},
    "seeds": 2,
}


@pytest.fixture(scope="session")
def small_experiment() -> dict[str, Any]:
    """Settings of an experiment that takes a second."""
    return dict(SMALL)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A run with two objectives, two optimizers and two seeds."""
    return run(SMALL, out=tmp_path_factory.mktemp("reports") / "x")


@pytest.fixture(scope="session")
def three_objective_run(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A run with three objectives."""
    content = {**SMALL, "objectives": ["perplexity", "params", "energy@h100"], "seeds": 1}
    return run(content, out=tmp_path_factory.mktemp("reports") / "three")


# A layer can be active or not, and each kind of choice has three values.
TINY = GPTSpace(
    "tiny",
    embed_dim=[192, 384],
    n_layer=[2, 3],
    mlp_ratio=[2, 3, 4],
    n_head=[4, 8, 12],
    bias=[False, True],
)


@pytest.fixture(scope="session")
def tiny_space() -> SearchSpace:
    """A search space of at most three layers."""
    return TINY


@pytest.fixture
def make_result(finished_run: Result) -> Callable[..., Result]:
    """Return a function that makes a result with chosen trials."""

    def make(
        codes: Codes,
        values: Any,
        *,
        std: Any = 0.0,
        fidelity: Any = -1,
        space: SearchSpace = TINY,
        objectives: tuple[str, ...] | list[str] = ("params",),
        status: list[str] | None = None,
    ) -> Result:
        n = len(codes)
        values = np.asarray(values, dtype=float)
        # A copy of a real run, in which one search has these trials and the others are left out.
        result = copy.copy(finished_run)
        result.space = space
        result.objectives = parse_objectives(list(objectives))
        trials = replace(
            finished_run.searches[0].trials,
            codes=codes,
            values=values,
            std=np.broadcast_to(std, values.shape),
            fidelity=np.broadcast_to(fidelity, n),
            status=["ok"] * n if status is None else status,
        )
        result.searches = [replace(finished_run.searches[0], trials=trials)]
        return result

    return make
