"""Picks of a front: knee, fastest, best, and bounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hwnas import pareto
from hwnas.errors import InvalidInput, UnknownName
from hwnas.fronts import Front
from hwnas.objectives import losses_of, parse_constraints, parse_objectives
from hwnas.reports.front_picks import FrontMember, pick
from hwnas.runner.results import Result


@pytest.fixture
def with_fronts(finished_run: Result, make_result: Any) -> Callable[..., Result]:
    """Return a function that makes a result whose searches have given fronts."""

    def make(*values: Any, objectives: tuple[str, ...], constraints: Any = None) -> Result:
        n = sum(map(len, values))
        space = finished_run.space
        codes = space.sample(n, np.random.default_rng(0))
        result: Result = make_result(
            codes, np.zeros((n, 2)), space=space, objectives=list(objectives)
        )
        parsed, searches = parse_objectives(list(objectives)), []
        result.constraints = parse_constraints(list(constraints or {}))
        for points in values:
            own, codes = codes[: len(points)], codes[len(points) :]
            front = Front(own, np.array(points, dtype=float), parsed, None)
            columns = np.array([*(constraints or {}).values()] or np.empty((0, len(own))))
            searches.append(replace(result.searches[0], front=front, front_constraints=columns.T))
        result.searches = searches
        return result

    return make


TIMES = ("perplexity", "latency@cpu")
POINTS = [[10, 9], [11, 3], [20, 2], [30, 1]]


def values(member: FrontMember) -> list[float]:
    return [float(value) for value in member.values]


def test_knee_fastest_and_best(with_fronts: Any) -> None:
    result = with_fronts(POINTS, objectives=TIMES)
    assert values(pick(result, "knee")) == [11, 3]
    assert values(pick(result, "fastest")) == [30, 1]
    assert values(pick(result, "best")) == [10, 9]
    member = pick(result, "knee")
    assert (member.place, member.n_members) == (2, 4)
    assert str(member.arch).startswith("gpt-s-")


def test_a_front_of_several_searches(with_fronts: Any) -> None:
    """Dominated members of single searches are left out, and equal points are there once."""
    result = with_fronts(POINTS, [[9, 8], [11, 3], [25, 2.5]], objectives=TIMES)
    assert values(pick(result, "best")) == [9, 8]
    assert pick(result, "best").search is result.searches[1]
    assert pick(result, "best").n_members == 4
    assert pick(result, "knee").search is result.searches[0]


def test_maximized_objectives(with_fronts: Any) -> None:
    result = with_fronts(
        [[10, 100], [11, 400], [20, 500]], objectives=("perplexity", "-throughput.serve@cpu")
    )
    assert values(pick(result, "fastest")) == [20, 500]
    assert values(pick(result, "knee")) == [11, 400]
    assert values(pick(result, "throughput.serve@cpu >= 450")) == [20, 500]


def test_bounds_on_objectives(with_fronts: Any) -> None:
    result = with_fronts(POINTS, objectives=TIMES)
    assert values(pick(result, "latency@cpu <= 2.5")) == [20, 2]
    assert values(pick(result, "latency@cpu <= 3")) == [11, 3]
    with pytest.raises(InvalidInput, match=r"no member of the front keeps it; its values are 1 to"):
        pick(result, "latency@cpu <= 0.5")


def test_bounds_on_constraints_of_the_run(with_fronts: Any) -> None:
    """A metric that was measured for a constraint is recorded, whatever its bound was."""
    result = with_fronts(
        POINTS, objectives=TIMES, constraints={"tpot.serve@cuda <= 9": [8, 4, 2, 1]}
    )
    assert values(pick(result, "tpot.serve@cuda <= 2")) == [20, 2]
    assert values(pick(result, "tpot.serve@cuda <= 4")) == [11, 3]
    with pytest.raises(InvalidInput, match="its values are 1 to 8"):
        pick(result, "tpot.serve@cuda <= 0.9")


@pytest.mark.parametrize("metric", ["params", "kv_cache.serve", "latency@h100", "energy@a100:p90"])
def test_bounds_on_computed_metrics(finished_run: Result, metric: str) -> None:
    """The front of all searches, of which the best within the bound is picked, found anew here."""
    codes = np.concatenate([search.front.codes for search in finished_run.searches])
    points = np.concatenate([search.front.values for search in finished_run.searches])
    kept = pareto.non_dominated(losses_of(finished_run.objectives, points))
    codes, points = codes[kept], points[kept]
    backend: Any = finished_run.problem.truth
    if metric == "params":
        numbers = finished_run.space.params(codes)  # type: ignore[attr-defined]
    elif metric == "kv_cache.serve":
        archs: list[Any] = finished_run.space.decode(codes)
        numbers = np.array([2 * 2 * 64 * 64 * 1024 * sum(a.n_head) / 1e6 for a in archs])
    else:
        (objective,) = parse_objectives([metric])
        numbers = backend.evaluate(codes, (objective,), seeds=np.zeros(len(codes))).values[:, 0]
    bound = float(np.median(numbers))
    expected = points[numbers <= bound, 0].min()
    assert pick(finished_run, f"{metric} <= {bound!r}").values[0] == expected


def test_bounds_that_would_need_measurements(with_fronts: Any) -> None:
    result = with_fronts(POINTS, objectives=TIMES)
    result.experiment = result.experiment.model_copy(
        update={"backend": result.experiment.backend.model_copy(update={"type": "profile"})}
    )
    with pytest.raises(InvalidInput, match=r"the run has no tpot.serve@cuda; expected a bound on"):
        pick(result, "tpot.serve@cuda <= 2")
    # What follows from the architectures alone needs none.
    assert pick(result, "params <= 1e12").place == 1


@pytest.mark.parametrize(
    ("bound", "error", "message"),
    [
        ("latency@h10 <= 2", UnknownName, "'h10'; did you mean 'h100'"),
        ("tpot.serve@h100 <= 2", InvalidInput, "tpot"),
        ("kv_cache.srve <= 2", UnknownName, "did you mean 'serve'"),
        ("latency@h100 < 2", InvalidInput, "expected knee, fastest, best or a bound"),
        ("quickest", InvalidInput, "expected knee, fastest, best or a bound, such as 'latency@rtx"),
        ("params <= many", InvalidInput, "many"),
    ],
)
def test_picks_that_are_none(
    finished_run: Result, bound: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        pick(finished_run, bound)


def test_fronts_without_a_time_or_a_member(with_fronts: Any) -> None:
    result = with_fronts([[1, 2]], objectives=("perplexity", "params"))
    with pytest.raises(InvalidInput, match="--pick fastest: expected an objective that is a time"):
        pick(result, "fastest")
    result = with_fronts(np.empty((0, 2)), objectives=TIMES)
    with pytest.raises(InvalidInput, match="the front is empty"):
        pick(result, "knee")
