"""Distributions agree with SciPy's, which the base installation does not have."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from hwnas.distributions import (
    average_ranks,
    chi2_tail,
    friedman_p,
    kendall_tau,
    normal_range_quantile,
    normal_tail,
    signed_rank_p,
    t_quantile,
)


@pytest.mark.parametrize("df", [1, 2, 3, 4, 9, 30, 101, 1000])
@pytest.mark.parametrize("p", [0.01, 0.3, 0.5, 0.8, 0.975, 0.9995])
def test_t(p: float, df: int) -> None:
    assert t_quantile(p, df) == pytest.approx(stats.t.ppf(p, df), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("df", [1, 2, 3, 6, 15])
@pytest.mark.parametrize("x", [0.0, 0.1, 3.0, 25.0, 200.0])
def test_chi2(x: float, df: int) -> None:
    assert chi2_tail(x, df) == pytest.approx(stats.chi2.sf(x, df), rel=1e-9, abs=1e-300)


@pytest.mark.parametrize("k", [2, 3, 10, 25])
@pytest.mark.parametrize("p", [0.5, 0.9, 0.95, 0.999])
def test_range(p: float, k: int) -> None:
    expected = stats.studentized_range.ppf(p, k, np.inf)
    assert normal_range_quantile(p, k) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("z", [-9.0, -1.0, 0.0, 2.0, 12.0])
def test_normal(z: float) -> None:
    assert normal_tail(z) == pytest.approx(stats.norm.sf(z), rel=1e-12)


@pytest.mark.parametrize("digits", [0, 1, 9])
@pytest.mark.parametrize("n", [1, 2, 5, 13, 14, 50, 51, 90])
def test_signed_ranks(n: int, digits: int) -> None:
    rng = np.random.default_rng(n)
    for _ in range(1 if n == 13 else 5):  # SciPy goes through all signs of 13 pairs with ties
        differences = np.round(rng.normal(0.3, 1.5, n), digits)
        differences = np.where(differences == 0, 1.0, differences)
        expected = stats.wilcoxon(differences).pvalue
        assert signed_rank_p(differences) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("digits", [0, 9])
def test_ranks_friedman_and_kendall(digits: int) -> None:
    rng = np.random.default_rng(digits)
    for n, k in ((4, 3), (8, 4), (20, 10)):
        scores = np.round(rng.normal(size=(n, k)), digits)
        for row in scores:
            assert average_ranks(row).tolist() == stats.rankdata(row).tolist()
        expected = stats.friedmanchisquare(*scores.T).pvalue
        assert friedman_p(scores) == pytest.approx(expected, rel=1e-9)
        tau = stats.kendalltau(scores[:, 0], scores[:, 1]).statistic
        assert kendall_tau(scores[:, 0], scores[:, 1]) == pytest.approx(tau, nan_ok=True)


def test_kendall_of_equal_values_is_unknown() -> None:
    assert math.isnan(kendall_tau(np.ones(4), np.arange(4.0)))
