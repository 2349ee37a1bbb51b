from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import interp1d

from hwnas.surrogates.quantiles import (
    LEVELS,
    MAX_LEVEL,
    MEDIAN,
    MIN_LEVEL,
    interpolate,
    locate_level,
    median_levels,
    standard_deviation,
)


def nine(seed: int, n: int = 1) -> np.ndarray:
    return np.sort(np.random.default_rng(seed).gamma(2, 1, (n, 9)), axis=1)


@given(st.floats(MIN_LEVEL, MAX_LEVEL))
def test_a_level_is_interpolated_on_its_piece(level: float) -> None:
    k, weight = locate_level(level)
    assert LEVELS[k] + weight * (LEVELS[k + 1] - LEVELS[k]) == pytest.approx(level)
    assert 0 <= weight < 1 or (k == 0 and weight < 0) or (k == 7 and weight >= 1)


def test_the_nine_levels_need_no_interpolation() -> None:
    assert [locate_level(p) for p in LEVELS] == [(k, 0) for k in range(8)] + [(7, 1)]
    assert LEVELS[MEDIAN] == 0.5


@given(st.integers(0, 1000), st.floats(0, 1))
def test_interpolation_is_linear_and_clipped(seed: int, level: float) -> None:
    quantiles = nine(seed)
    line = interp1d(LEVELS, quantiles[0], fill_value="extrapolate")
    actual = interpolate(quantiles, np.array([[level]]))[0, 0]
    assert actual == pytest.approx(float(line(np.clip(level, MIN_LEVEL, MAX_LEVEL))))


@given(st.integers(0, 1000))
def test_values_increase_with_levels(seed: int) -> None:
    values = interpolate(nine(seed, 3), np.tile(np.linspace(0, 1, 301), (3, 1)))
    assert (np.diff(values, axis=1) >= 0).all()


@pytest.mark.parametrize("seed", range(5))
def test_standard_deviation_is_that_of_many_draws(seed: int) -> None:
    quantiles = nine(seed)
    levels = (np.arange(200_000) + 0.5)[None] / 200_000
    assert standard_deviation(quantiles)[0] == pytest.approx(
        interpolate(quantiles, levels).std(), rel=1e-4
    )


def test_standard_deviation_of_a_uniform_distribution() -> None:
    # Uniform on 0 ... 1, except that the outer hundredths are clipped.
    inner = (0.98**3 / 12 + 2 * 0.01 * 0.49**2) ** 0.5
    assert standard_deviation(np.array([LEVELS]))[0] == pytest.approx(inner)
    assert standard_deviation(np.full((3, 9), 7.0)).tolist() == [0, 0, 0]


@pytest.mark.parametrize("repeats", [1, 2, 3, 10])
def test_middle_levels_are_of_the_first_draws(repeats: int) -> None:
    seeds = np.arange(20, dtype=np.uint64)
    middle = median_levels(seeds, "latency@h100", np.full(20, repeats))
    assert middle.shape == (20, 2)
    assert (middle[:, 0] == middle[:, 1]).all() == (repeats % 2 == 1)
    assert not np.array_equal(middle, median_levels(seeds, "latency@a100", np.full(20, repeats)))


def test_more_repeats_come_closer_to_the_median() -> None:
    seeds = np.arange(200, dtype=np.uint64)
    off = [np.abs(median_levels(seeds, "x", np.full(200, r)) - 0.5).mean() for r in (1, 9, 81)]
    assert off[0] > 2 * off[1] > 4 * off[2]
