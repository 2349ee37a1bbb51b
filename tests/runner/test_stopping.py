"""Tests of the end of a search that misses little."""

from __future__ import annotations

import itertools
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hwnas
from hwnas.additive.choice import create_effects
from hwnas.additive.missing import Measured, missing_draws
from hwnas.additive.model import Design, fit_model
from hwnas.errors import InvalidInput
from hwnas.fronts import reference_point
from hwnas.runner.missing_estimate import MissingEstimate, calibrated
from hwnas.runner.results import Result
from hwnas.runner.stopping import FIRST_CHECK
from hwnas.runner.storage import Store
from hwnas.spaces import SearchSpace
from hwnas.typing import Codes

EXPERIMENT: dict[str, Any] = {
    "name": "stopping",
    "space": "gpt-s",
    "objectives": ["perplexity", "latency@h100"],
    "optimizers": ["additive"],
    "budget": {"within": 0.05, "evaluations": 100},
    "seeds": 1,
}


def run(path: Path, **changes: Any) -> Result:
    """Run the experiment with changes."""
    return hwnas.run({**EXPERIMENT, **changes}, path, draw=False)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """Result of the experiment."""
    return run(tmp_path_factory.mktemp("stopping") / "run")


def test_a_search_ends_when_little_is_missing(result: Result) -> None:
    (search,) = result.searches
    estimates = MissingEstimate.from_json(search.meta["missing"], search.path)
    assert FIRST_CHECK <= len(search.trials) < 100
    assert search.meta["within"] == "reached"
    assert estimates[-1].trials == len(search.trials)
    assert estimates[-1].is_within(0.05)
    assert not any(estimate.is_within(0.05) for estimate in estimates[:-1])


def test_trials_are_those_of_a_search_that_does_not_ask(result: Result, tmp_path: Path) -> None:
    (search,) = result.searches
    n = len(search.trials)
    (plain,) = run(tmp_path / "plain", budget={"evaluations": n}).searches
    np.testing.assert_array_equal(search.trials.codes, plain.trials.codes)
    assert "missing" not in plain.meta


def test_the_first_of_several_budgets_ends_a_search(tmp_path: Path) -> None:
    (search,) = run(tmp_path / "run", budget={"within": 0.001, "evaluations": 30}).searches
    assert len(search.trials) == 30
    assert "within" not in search.meta


@pytest.mark.parametrize("executor", ["serial", {"type": "process", "workers": 2}])
def test_a_resumed_search_ends_where_it_would_have(tmp_path: Path, executor: Any) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    settings = {"executor": executor, "optimizers": [{"type": "nsga2", "pop_size": 8}]}
    budget = {"within": 0.2, "evaluations": 60}
    (search,) = run(whole, budget=budget, **settings).searches
    # What a kill leaves: some trials, and the estimates up to then.
    run(cut, budget={"within": 0.2, "evaluations": 32}, **settings)
    hwnas.resume(cut, overrides={"budget.evaluations": 60}, draw=False)
    (resumed,) = Result(cut).searches
    # Where evaluations run in parallel, trials are stored in the order in which they end.
    codes = [np.unique(result.trials.codes, axis=0) for result in (search, resumed)]
    np.testing.assert_array_equal(*codes)
    assert search.meta["missing"] == resumed.meta["missing"]


def test_the_table_of_a_search_has_its_estimates(result: Result) -> None:
    (search,) = result.searches
    header, *rows = (search.path / "hypervolume.csv").read_text().splitlines()
    assert header.endswith("expected_missing,expected_missing_lower,expected_missing_upper")
    last = MissingEstimate.from_json(search.meta["missing"], search.path)[-1]
    assert [float(cell) for cell in rows[-1].split(",")[-3:]] == pytest.approx(
        [last.expected, last.lower, last.upper]
    )
    assert float(rows[0].split(",")[0]) < FIRST_CHECK
    assert rows[0].endswith(",nan,nan,nan")


def test_progress_states_the_interval(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="hwnas.runner"):
        run(tmp_path / "run", optimizers=["uniform"], budget={"within": 0.001, "evaluations": 24})
    lines = [record.getMessage() for record in caplog.records]
    assert any("of the hypervolume expected to be missing (" in line for line in lines)


def test_noise_and_constraints(tmp_path: Path) -> None:
    changes = {
        "noise": True,
        "constraints": ["energy@h100 <= 1.5"],
        "budget": {"within": 0.001, "evaluations": 30},
    }
    (search,) = run(tmp_path / "run", **changes).searches
    for estimate in MissingEstimate.from_json(search.meta["missing"], tmp_path):
        assert 0 < estimate.lower < estimate.expected < estimate.upper <= 1


@pytest.mark.parametrize("within", [0, 1, -0.1, "little", True])
def test_a_share_is_between_0_and_1(tmp_path: Path, within: Any) -> None:
    with pytest.raises(InvalidInput, match=r"budget\.within: expected a share"):
        run(tmp_path / "run", budget={"within": within})


def test_a_damaged_estimate_is_refused_in_one_line(tmp_path: Path) -> None:
    (search,) = run(tmp_path / "run", optimizers=["random"], budget={"evaluations": 5}).searches
    with Store.open(search.path / "trials.db") as store:
        store.set_meta("missing", "[[24, 0.1, 0.2, 0.3]]")
    with pytest.raises(InvalidInput, match="its estimates are damaged"):
        Result(tmp_path / "run").write()


FLAT = SearchSpace("flat", {"x": range(12), "y": range(12), "kind": ["a", "b"]})


def measured(codes: Codes) -> Measured:
    """Return what a search of a flat space would have measured of two sums."""
    x, y, kind = codes.T
    losses = np.stack([x + 2.0 * y + kind, (11 - x) ** 2 / 11 + 11 - y + 2 * kind], axis=1)
    return Measured(codes, losses, np.zeros((len(codes), 0)))


def draws(known: Measured, n: int = 8) -> np.ndarray[Any, Any]:
    """Return draws of what is missing."""
    effects = create_effects(FLAT)
    design, std = Design(effects, known.codes), np.zeros(len(known.codes))
    models = [fit_model(effects, design, values, std) for values in known.losses.T]
    return missing_draws(models, known, n, np.random.default_rng(0), reference_point)


def test_nothing_is_missing_where_all_is_measured() -> None:
    codes = np.concatenate(list(FLAT.enumerate()))
    assert draws(measured(codes)).tolist() == [0.0] * 8


def test_more_is_missing_of_less() -> None:
    codes = FLAT.sample(200, np.random.default_rng(1))
    codes = codes[np.sort(np.unique(codes, axis=0, return_index=True)[1])]
    means = [draws(measured(codes[:n])).mean() for n in (10, 25, 80)]
    assert means[0] > means[1] > means[2] > 0


def test_intervals_are_ordered_and_grow_with_the_share() -> None:
    rng = np.random.default_rng(0)
    spread = rng.lognormal(0, 0.1, 12)
    estimates = [calibrated(share * spread, share, 50) for share in (0.001, 0.01, 0.1, 1.0)]
    for estimate in estimates:
        assert 0 < estimate.lower < estimate.expected <= estimate.upper <= 1
    for less, more in itertools.pairwise(estimates):
        assert less.lower < more.lower
        assert less.upper < more.upper or more.upper == 1


def test_a_search_that_stands_still_is_not_complete() -> None:
    draws = np.full(12, 0.05)
    moving, still = (calibrated(draws, progress, 50) for progress in (0.05, 0.0))
    assert still.expected > moving.expected / 3
    assert calibrated(np.full(12, 0.2), 0.0, 50).expected > still.expected


def test_with_constraints_more_is_expected_once_little_is_missing() -> None:
    rng = np.random.default_rng(0)
    for share in (0.001, 0.2):
        draws = share * rng.lognormal(0, 0.1, 12)
        free, bound = (calibrated(draws, share, 50, constrained=c) for c in (False, True))
        assert (bound.expected > free.expected) == (share < 0.01)


def test_a_target_below_the_estimate_is_not_reached() -> None:
    estimate = MissingEstimate(50, 0.01, 0.008, 0.0125)
    assert not estimate.is_within(0.01)
    assert estimate.is_within(0.0125)
    assert MissingEstimate(50, 0.0, 0.0, 0.0).is_within(1e-9)
