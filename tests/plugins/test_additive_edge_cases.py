"""Tests of the additive optimizer on small spaces and with difficult objectives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hwnas_plugins.additive import Additive

from hwnas.errors import SpaceExhausted
from hwnas.spaces import Codes, GPTSpace
from hwnas.typing import Array

SPACE = GPTSpace(
    "x", embed_dim=[8, 16], n_layer=[4, 5], mlp_ratio=[1, 2, 3], n_head=[1, 2], bias=[True]
)
USUAL: dict[str, Any] = {
    "embed_dim": [8, 16],
    "n_layer": [1, 2],
    "mlp_ratio": [1, 2],
    "n_head": [1, 2],
    "bias": [False, True],
}
ODD: dict[str, dict[str, Any]] = {
    "usual": {},
    "one option": {"mlp_ratio": [1], "n_head": [2], "n_layer": [1, 2, 9]},
    "one width": {"embed_dim": [8]},
    "one depth": {"n_layer": [2]},
    "one layer": {"n_layer": [1]},
    "bias alone": {"embed_dim": [8], "n_layer": [1], "mlp_ratio": [1], "n_head": [1]},
    "one architecture": {
        "embed_dim": [8],
        "n_layer": [1],
        "mlp_ratio": [1],
        "n_head": [1],
        "bias": [True],
    },
}


def results(codes: Codes, m: int, kind: str) -> Array:
    """Return results (n, m) that are difficult for a model."""
    # Random walks over the columns, so that the effects of neighbouring layers are similar.
    values = np.random.default_rng(0).standard_normal((codes.shape[1], m)).cumsum(axis=0)
    sums: Array = (codes + 1.0) @ values
    if kind == "constant":
        return np.full(sums.shape, 0.1)
    if kind == "one constant":
        sums[:, 0] = 0.3
    elif kind == "identical":
        sums[:] = sums[:, :1]
    elif kind == "huge":
        sums = 1e12 * sums + 1e15
    elif kind == "tiny":
        sums = 1e-30 * np.exp(sums)
    elif kind == "steep":
        sums = np.exp(5 * sums)
    return sums


# -- small spaces --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ODD)
def test_spaces_are_exhausted(name: str) -> None:
    own = GPTSpace("odd", **(USUAL | ODD[name]))
    search = Additive(own, 2, seed=0, draws=4, tables=2)
    proposals: list[bytes] = []
    while len(proposals) < min(own.size, 60):
        codes = search.ask(6)
        assert len(codes)
        proposals += map(bytes, codes)
        search.tell(codes, results(codes, 2, "usual"))
        search.diagnostics()
    assert len(proposals) == len(set(proposals))
    if len(proposals) == own.size:
        for _ in range(2):
            with pytest.raises(SpaceExhausted):
                search.ask(1)


def test_no_proposals_while_the_last_ones_are_pending() -> None:
    own = GPTSpace("odd", **(USUAL | ODD["bias alone"]))
    search = Additive(own, 2, seed=0)
    codes = search.ask(5)
    # Both architectures are pending: there is nothing to propose, and the space is not exhausted.
    assert len(codes) == own.size == 2
    assert len(search.ask(1)) == 0
    search.tell(codes, results(codes, 2, "usual"))
    with pytest.raises(SpaceExhausted):
        search.ask(1)


# -- difficult objectives ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", ["usual", "constant", "one constant", "identical", "huge", "tiny", "steep"]
)
@pytest.mark.parametrize(("m", "c", "draws"), [(2, 1, 4), (2, 0, 0), (3, 0, 4), (5, 2, 4)])
def test_difficult_objectives(kind: str, m: int, c: int, draws: int) -> None:
    """After a warm start, the search goes on with new architectures only."""
    search = Additive(SPACE, m, seed=0, n_constraints=c, draws=draws, tables=2)
    codes = SPACE.sample(2, np.random.default_rng(0))
    search.fail(search.ask(50), "synthetic")
    evaluated = list(map(bytes, codes))
    for _ in range(4):
        values = results(codes, m + c, kind)
        # The first architecture is just feasible.
        violations = values[:, m:] - results(codes[:1], m + c, kind)[:, m:]
        search.tell(codes, values[:, :m], constraints=violations if c else None)
        codes = search.ask(5)
        assert 1 <= len(codes) <= 5
        evaluated += map(bytes, codes)
    assert len(evaluated) == len(set(evaluated))
    assert len(search.recommend())
    assert len(search.diagnostics()) == 1
