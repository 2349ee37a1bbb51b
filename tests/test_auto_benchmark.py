"""The benchmark of `auto`: its order of searches, its made-up trainings, and its verdicts."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import hwnas

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import auto
import auto_problems
from auto_problems import CANDIDATES, MARKS


def rows_of(group: str, scores: dict[str, list[float]]) -> list[list[str]]:
    """Return rows of one problem, with the score of each seed at the first mark."""
    empty = [""] * (len(MARKS) - 1)
    return [
        [group, "a problem", name, str(seed), str(score), *empty, "1.0"]
        for name, values in scores.items()
        for seed, score in enumerate(values)
    ]


def test_any_first_part_has_all_groups_and_two_seeds() -> None:
    first = [*auto_problems.cases()][: 2 * len(CANDIDATES)]
    for group in CANDIDATES:
        own = [case for case in first if case.group == group]
        assert [case.seed for case in own] == [0, 1]
        assert len({case.problem for case in own}) == 1
    everything = [*auto_problems.cases()]
    assert len(set(everything)) == len(everything)


def test_the_single_is_chosen_by_other_seeds() -> None:
    scores = {name: [0.5, 0.5] for name in ("auto", *CANDIDATES["layered"])}
    scores |= {"auto": [0.80, 0.90], "morea": [0.9, 0.1], "nsga2": [0.2, 0.85]}
    cases = auto.complete_cases(rows_of("layered", scores), "layered", MARKS[0])
    assert auto.best_single(cases, 0) == "nsga2"  # of seed 1
    assert auto.best_single(cases, 1) == "morea"
    line = auto.line_of("layered", MARKS[0], cases)
    assert line is not None
    # (0.80 - 0.2 + 0.90 - 0.1) / 2
    assert "| morea, nsga2 | 0.1500 | +0.7000 ± 0.1000 | pass | 2 |" in line


def test_a_miss_is_marked_and_incomplete_cases_do_not_count() -> None:
    scores = {name: [0.5, 0.5] for name in ("auto", *CANDIDATES["layered"])}
    scores |= {"auto": [0.9, 0.9], "ehvi": [0.906, 0.906]}
    rows = rows_of("layered", scores)
    cases = auto.complete_cases(rows, "layered", MARKS[0])
    assert "**miss**" in str(auto.line_of("layered", MARKS[0], cases))
    incomplete = auto.complete_cases(rows[:-1], "layered", MARKS[0])
    assert [case.seed for case in incomplete] == [0]
    assert auto.line_of("layered", MARKS[0], incomplete) is None  # no other seed


@pytest.mark.parametrize("group", CANDIDATES)
def test_every_group_can_be_searched(group: str) -> None:
    case = next(case for case in auto_problems.cases() if case.group == group)
    shares, seconds = auto_problems.shares_of(case, "local_search", MARKS[0])
    for own in shares.values():
        assert 0 < float(own[0]) <= 1
        assert own[1:] == [""] * (len(MARKS) - 1)
    assert set(shares) == ({"noisy", "noisy, measured"} if group == "noisy" else {group})
    assert seconds >= 0


def test_trainings_go_on_where_they_paused_and_end_at_the_surrogate() -> None:
    space = hwnas.space("gpt-s")
    backend = auto_problems.Curves(space)
    codes = space.sample(20, np.random.default_rng(0))
    objectives = hwnas.objectives.parse_objectives(["perplexity", "params"])[:1]
    seeds = np.zeros(20, dtype=np.uint64)
    low = backend.evaluate(codes, objectives, seeds=seeds, fidelity=3)
    high = backend.evaluate(codes, objectives, seeds=seeds, fidelity=auto_problems.FULL)
    assert set(low.seconds) == {3.0}
    assert set(high.seconds) == {auto_problems.FULL - 3.0}
    assert (low.values > high.values).all()
    np.testing.assert_array_equal(
        high.values, hwnas.surrogate("gpt-s").predict(codes, ["perplexity"])
    )
    # Rankings change on the way.
    assert (np.argsort(low.values[:, 0]) != np.argsort(high.values[:, 0])).any()


def test_bounds_leave_one_to_six_percent() -> None:
    device, bounds = auto_problems.bounds_of("gpt-s", 0)
    metrics = ["perplexity", f"latency@{device}", f"energy@{device}"]
    codes = hwnas.space("gpt-s").sample(4000, np.random.default_rng(5))
    share = (hwnas.surrogate("gpt-s").predict(codes, metrics) <= bounds).all(axis=1).mean()
    assert 0.005 < share < 0.08
