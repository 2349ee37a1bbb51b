"""The choice of an optimizer by the problem."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

import numpy as np
import pytest
from hwnas_plugins import auto
from hwnas_plugins.additive import Additive

import hwnas
from hwnas.optimizers import Optimizer
from hwnas.typing import Codes

FLAT = hwnas.space({"name": "flat", "choices": {name: list(range(16)) for name in "abcd"}})
has_botorch = importlib.util.find_spec("botorch") is not None


def losses_of(codes: Codes, m: int = 2) -> Any:
    total = codes.astype(float)
    return np.stack([((total - j) ** 2).sum(axis=1) for j in range(m)], axis=1)


def search(optimizer: Optimizer, n: int) -> Codes:
    seen: list[Codes] = []
    while sum(map(len, seen)) < n:
        codes = optimizer.ask(min(optimizer.batch, n - sum(map(len, seen))))
        optimizer.tell(codes, losses_of(codes, optimizer.n_objectives))
        seen.append(codes)
    return np.concatenate(seen)


@pytest.mark.parametrize("m", [2, 3])
def test_layers_are_searched_by_additive(m: int) -> None:
    space = hwnas.space("gpt-s")
    ours, expected = hwnas.optimizer("auto", space, m, seed=3), Additive(space, m, seed=3)
    np.testing.assert_array_equal(search(ours, 24), search(expected, 24))
    np.testing.assert_array_equal(ours.recommend(), expected.recommend())
    assert ours.diagnostics()[0].startswith("auto chose additive: the space has layers")
    assert ours.diagnostics()[1:] == expected.diagnostics()


@pytest.mark.skipif(not has_botorch, reason="needs botorch")
def test_other_spaces_are_searched_by_two_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "MAX_PROCESS", 28)
    ours = hwnas.optimizer("auto", FLAT, 2, seed=0)
    codes = search(ours, 36)
    assert len(np.unique(codes, axis=0)) == 36
    assert [line.split(":")[0] for line in ours.diagnostics()[:2]] == [
        "auto chose additive and ehvi in turns",
        "auto chose additive and local_search in turns",
    ]
    np.testing.assert_array_equal(search(hwnas.optimizer("auto", FLAT, 2, seed=0), 36), codes)


def test_without_botorch_additive_searches_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hwnas_plugins.ehvi", None)
    ours, expected = hwnas.optimizer("auto", FLAT, 2, seed=1), Additive(FLAT, 2, seed=1)
    np.testing.assert_array_equal(search(ours, 24), search(expected, 24))
    assert "BoTorch" in ours.diagnostics()[0]


def test_neighbours_are_searched_where_a_model_may_be_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "hwnas_plugins.ehvi", None)
    monkeypatch.setattr(auto, "MAX_PROCESS", 20)
    monkeypatch.setattr(auto, "MAX_MODEL", 40)
    ours = hwnas.optimizer("auto", FLAT, 2, seed=0)
    codes = search(ours, 60)
    assert len(np.unique(codes, axis=0)) == 60
    assert [line.split(":")[0] for line in ours.diagnostics()] == [
        "auto chose additive",
        "auto chose additive and local_search in turns",
        "auto chose local_search",
    ]
    # Half of the proposals differ in one choice from an architecture before them.
    steps = [(codes[i] != codes[:i]).sum(axis=1).min() for i in range(20, 40)]
    assert steps.count(1) >= 10


def test_with_three_objectives_no_process_is_slow() -> None:
    ours, expected = hwnas.optimizer("auto", FLAT, 3, seed=1), Additive(FLAT, 3, seed=1)
    np.testing.assert_array_equal(search(ours, 24), search(expected, 24))
    assert ours.diagnostics()[0].startswith("auto chose additive: 3 objectives")


def test_layers_need_no_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "MAX_PROCESS", 16)
    space = hwnas.space("gpt-s")
    ours, expected = hwnas.optimizer("auto", space, 2, seed=3), Additive(space, 2, seed=3)
    np.testing.assert_array_equal(search(ours, 24), search(expected, 24))


def test_long_searches_end_without_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "MAX_MODEL", 20)
    ours = hwnas.optimizer("auto", "gpt-s", 2, seed=0)
    codes = search(ours, 60)
    assert len(np.unique(codes, axis=0)) == 60
    assert ours.diagnostics()[-1] == "auto chose local_search: 20 evaluations"
    # What was found by the model is known to the local search.
    best = {code.tobytes() for code in ours.recommend()}
    assert best <= {code.tobytes() for code in codes}
    losses = losses_of(codes)
    expected = codes[hwnas.pareto.non_dominated(losses, keep_equal=True)]
    assert best == {code.tobytes() for code in expected}


def test_many_objectives_are_searched_locally() -> None:
    ours = hwnas.optimizer("auto", "gpt-s", 6, seed=0)
    assert len(search(ours, 60)) == 60
    assert ours.diagnostics() == ["auto chose local_search: 6 objectives"]


def test_open_proposals_are_not_repeated() -> None:
    ours = hwnas.optimizer("auto", FLAT, 2, seed=0)
    search(ours, 20)
    proposals = np.concatenate([ours.ask(4) for _ in range(6)])
    assert len(np.unique(proposals, axis=0)) == len(proposals)
    ours.fail(proposals[:3], "out of memory")
    ours.tell(proposals[3:], losses_of(proposals[3:]))
    assert len(ours.ask(4)) > 0
