"""The fit of benchmarks/stopping.py, on searches whose constants are known."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

import stopping_fit
import stopping_report

from hwnas.runner.missing_estimate import CALIBRATION, calibrated


def rows_of_searches(n: int, *, noise: float = 0.2, seed: int = 0) -> list[list[str]]:
    """Rows of searches whose truth is off from the estimates in use by `noise`."""
    rng, rows = np.random.default_rng(seed), []
    for i in range(n):
        key = ["tables", "gpt-s", f"perplexity latency@{i}", "additive", str(i % 2)]
        for trials, mean in zip(range(24, 124, 5), np.geomspace(0.05, 0.002, 20), strict=True):
            own = mean * np.exp(0.3 * rng.normal())
            progress = own * np.exp(rng.normal())
            # Draws as alike as those that the constants were learned from.
            draws = own * (1 + 0.1 * np.array([-1.0, 1.0]))
            e = calibrated(draws, progress, trials)
            truth = e.expected * np.exp(noise * rng.normal())
            numbers = [truth, e.expected, e.lower, e.upper, 200, 60, 90, 1.0]
            numbers += [draws.mean(), draws.std(), progress]
            rows.append([*key, str(trials), *(f"{x:.6g}" for x in numbers)])
    return rows


def test_the_fit_finds_the_constants_that_made_the_searches() -> None:
    rows = rows_of_searches(60)
    searches = stopping_fit.columns_of(rows)
    assert [part.shape for part in searches] == [(20, 4)] * 60
    found = stopping_fit.fit(searches)
    np.testing.assert_allclose(found[:3], CALIBRATION[:3], atol=0.1)
    assert abs(found.spread - 0.2) < 0.03  # the noise
    columns, equal = np.concatenate(searches), np.full(1200, 1 / 1200)
    losses = [stopping_fit.loss(constants, columns, equal) for constants in (found, CALIBRATION)]
    assert losses[0] <= losses[1]


def test_a_search_counts_as_often_as_it_is_drawn() -> None:
    searches = stopping_fit.columns_of(rows_of_searches(6))
    twice = stopping_fit.fit(searches[:3] + searches[:1])
    counted = stopping_fit.fit(searches, np.array([2, 1, 1, 0, 0, 0]))
    np.testing.assert_allclose(counted, twice, rtol=1e-3, atol=1e-3)


def test_rows_without_the_columns_of_a_fit_are_left_out() -> None:
    rows = rows_of_searches(2)
    old = [[*row[:14], "", "", ""] for row in rows]
    other = [["trees", *row[1:]] for row in rows]
    assert stopping_fit.columns_of([*old, *other]) == []


def test_a_wider_margin_stops_later() -> None:
    searches = stopping_report.searches_of(rows_of_searches(20))
    stops = [[search.stop(0.01, margin) for search in searches] for margin in (0.5, 1.0, 2.0)]
    for early, late in itertools.pairwise(stops):
        assert all(
            b is None or (a is not None and a <= b) for a, b in zip(early, late, strict=True)
        )
    assert stops[0] != stops[2]
