from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from hwnas.profiling.meters.convergence import is_precise, is_steady, median_interval, median_rank

SAMPLES = st.lists(st.floats(0.1, 10), min_size=6, max_size=60)


@pytest.mark.parametrize(
    ("n", "rank"), [(1, 0), (5, 0), (6, 1), (8, 1), (9, 2), (10, 2), (20, 6), (30, 10), (100, 40)]
)
def test_ranks_match_published_tables(n: int, rank: int) -> None:
    """Conover (1999), Practical Nonparametric Statistics, section 3.2, by the binomial's table."""
    assert median_rank(n) == rank


@given(st.integers(1, 3000))
def test_ranks_match_binomial_quantiles(n: int) -> None:
    k = median_rank(n)
    assert k == 0 or 2 * binom.cdf(k - 1, n, 0.5) <= 0.05 + 1e-9
    assert 2 * binom.cdf(k, n, 0.5) > 0.05 - 1e-9


def test_interval_has_its_coverage() -> None:
    rng = np.random.default_rng(0)
    intervals = np.array([median_interval(rng.exponential(size=25)) for _ in range(4000)])
    is_covered = (intervals[:, 0] <= math.log(2)) & (math.log(2) <= intervals[:, 1])
    assert is_covered.mean() == pytest.approx(1 - 2 * binom.cdf(7, 25, 0.5), abs=0.01)  # 0.957


@given(SAMPLES)
def test_interval_ends_at_samples_and_contains_the_median(samples: list[float]) -> None:
    low, high = median_interval(samples)
    assert {low, high} <= set(samples)
    assert low <= np.median(samples) <= high
    assert median_interval(sorted(samples)) == (low, high)


@given(SAMPLES, st.floats(0.5, 2))
def test_precision_is_relative_to_the_median(samples: list[float], scale: float) -> None:
    low, high = median_interval(samples)
    median = float(np.median(samples))
    tolerance = max(median - low, high - median) / median
    for array in (np.array(samples), scale * np.array(samples)):
        assert is_precise(array, tolerance * 1.001 + 1e-9)
        assert not is_precise(array, tolerance * 0.999 - 1e-9)


def test_minimum_numbers_of_samples() -> None:
    assert all(math.isnan(end) for end in median_interval([1, 1, 1, 1, 1]))
    assert not is_precise([1.0] * 5, 1.0)
    assert is_precise([1.0] * 6, 1e-9)
    assert not is_steady([1.0] * 9)
    assert is_steady([1.0] * 10)


@pytest.mark.parametrize("direction", [1, -1])
@given(seed=st.integers(0, 2**32 - 1))
def test_noise_is_steady_and_a_trend_is_not(direction: int, seed: int) -> None:
    trend = 10 + direction * np.arange(10) * 0.5
    noise = np.random.default_rng(seed).uniform(-0.2, 0.2, size=10)
    assert not is_steady(trend + noise)
    assert is_steady(10 + noise / 4)
    assert is_steady(np.concatenate((trend, 20 + noise / 4)))  # earlier samples are ignored
