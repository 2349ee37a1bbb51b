"""Runs that the tests of reports share, and results made of given trials."""

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
from hwnas.spaces import Codes, SearchSpace

SMALL: dict[str, Any] = {
    "name": "small",
    "space": "gpt-s",
    "objectives": ["perplexity", "latency@rtx3080"],
    "optimizers": ["random", "uniform"],
    "budget": {"evaluations": 60},
    "seeds": 2,
}


@pytest.fixture(scope="session")
def small() -> dict[str, Any]:
    """An experiment that takes no time."""
    return dict(SMALL)


@pytest.fixture(scope="session")
def done(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return run(SMALL, out=tmp_path_factory.mktemp("reports") / "x")


@pytest.fixture(scope="session")
def three(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A run with three objectives."""
    content = {**SMALL, "objectives": ["perplexity", "params", "energy@h100"], "seeds": 1}
    return run(content, out=tmp_path_factory.mktemp("reports") / "three")


TINY = SearchSpace(
    "tiny",
    embed_dim=[192, 384],
    n_layer=[2, 3],
    mlp_ratio=[2, 3, 4],
    n_head=[4, 8, 12],
    bias=[False, True],
)


@pytest.fixture(scope="session")
def tiny() -> SearchSpace:
    """Layers that come and go, with three choices of each kind."""
    return TINY


@pytest.fixture
def measured(done: Result) -> Callable[..., Result]:
    """Makes a result whose only trials are given ones."""

    def make(codes: Codes, values: Any, *, std: Any = 0.0, fidelity: Any = -1, **of: Any) -> Result:
        n = len(codes)
        values = np.asarray(values, dtype=float)
        made = copy.copy(done)
        made.space = of.get("space", TINY)
        made.objectives = parse_objectives(of.get("objectives", ["params"]))
        trials = replace(
            done.searches[0].trials,
            codes=codes,
            values=values,
            std=np.broadcast_to(std, values.shape),
            fidelity=np.broadcast_to(fidelity, n),
            status=of.get("status", ["ok"] * n),
        )
        made.searches = [replace(done.searches[0], trials=trials)]
        return made

    return make
