from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import DescrStatsW

from hwnas import statistics
from hwnas.typing import Array


def frozen(values: object) -> Array:
    """Return a read-only array: a function that writes to it fails."""
    array = np.array(values, dtype=np.float64)
    array.flags.writeable = False
    return array


def grids(rows: tuple[int, int], columns: tuple[int, int]) -> st.SearchStrategy[Array]:
    """Scores (n, k) with many ties."""
    shapes = st.tuples(st.integers(*rows), st.integers(*columns))
    return shapes.flatmap(
        lambda shape: hnp.arrays(np.float64, shape, elements=st.integers(0, 4)).map(frozen)
    )


# -- intervals -----------------------------------------------------------------------------------


@given(hnp.arrays(np.float64, st.integers(2, 9), elements=st.integers(-50, 50)).map(frozen))
def test_interval_agrees_with_statsmodels(values: Array) -> None:
    for level in (0.9, 0.95):
        expected = DescrStatsW(values).tconfint_mean(1 - level)
        np.testing.assert_allclose(statistics.interval(values, level), expected, atol=1e-9)


def test_known_interval() -> None:
    # Of 1, 2, 3: 2 ± 4.303 / sqrt(3), Student's table with two degrees of freedom.
    assert statistics.interval([1, 2, 3]) == pytest.approx((2 - 2.484, 2 + 2.484), abs=1e-3)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, np.inf], [np.nan, 1.0]])
def test_interval_is_nan_without_enough_values(values: list[float]) -> None:
    assert np.isnan(statistics.interval(values)).all()


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_interval_refuses_levels(level: float) -> None:
    with pytest.raises(ValueError, match="expected a level between 0 and 1"):
        statistics.interval([1, 2], level)


@pytest.mark.parametrize("n", [6, 10, 20])
def test_bootstrap_interval_covers_the_mean(n: int) -> None:
    rng = np.random.default_rng(n)
    samples = rng.normal(1, 1, (150, n))
    bounds = np.array([statistics.bootstrap_interval(x, np.zeros(n), rng) for x in samples])
    low, high = bounds.T
    # Plain percentiles of six values cover the mean in 86 % of samples.
    assert 0.90 <= ((low <= 1) & (high >= 1)).mean() <= 1
    assert ((low <= samples.mean(axis=1)) & (high >= samples.mean(axis=1))).all()
    # Near Student's interval, which is exact for normal values.
    student = np.array([np.subtract(*statistics.interval(x)) for x in samples])
    np.testing.assert_allclose((low - high).mean(), student.mean(), rtol=0.1)


def test_bootstrap_interval_is_paired() -> None:
    rng = np.random.default_rng(0)
    common = frozen(rng.normal(0, 100, 12))
    differences = rng.normal(1, 0.1, 12)
    intervals = [
        statistics.bootstrap_interval(common + differences, common, np.random.default_rng(5)),
        statistics.bootstrap_interval(differences, np.zeros(12), np.random.default_rng(5)),
    ]
    np.testing.assert_allclose(*intervals)
    assert statistics.bootstrap_interval([1] * 7, [1] * 7, rng) == (0, 0)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, np.inf], [np.nan, 1.0]])
def test_bootstrap_interval_is_nan_without_enough_values(values: list[float]) -> None:
    rng = np.random.default_rng(0)
    interval = statistics.bootstrap_interval(values, np.zeros(len(values)), rng)
    assert np.isnan(interval).all()


# -- tests ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 5, 8, 10, 30, 60, 200])
@pytest.mark.parametrize("ties", [False, True])
def test_wilcoxon_agrees_with_scipy(n: int, ties: bool) -> None:
    rng = np.random.default_rng(n)
    for _ in range(3):
        a, b = frozen(rng.integers(0, 6, (2, n)) if ties else rng.random((2, n)))
        if (a == b).all():
            continue
        expected = stats.wilcoxon(a[a != b], b[a != b]).pvalue
        assert statistics.wilcoxon(a, b) == pytest.approx(expected, rel=1e-12)
        assert statistics.wilcoxon(b, a) == pytest.approx(expected, rel=1e-12)
        if not (a == b).any():  # with zeros, SciPy's choice of an exact test is another
            assert statistics.wilcoxon(a, b) == pytest.approx(stats.wilcoxon(a, b).pvalue)


@pytest.mark.parametrize("n", range(1, 9))
def test_wilcoxon_by_enumeration(n: int) -> None:
    differences = np.random.default_rng(n).normal(0.5, 1, n)
    sizes = np.argsort(np.argsort(abs(differences))) + 1
    signs = np.array(list(itertools.product([0, 1], repeat=n)))
    sums, centre = signs @ sizes, n * (n + 1) / 4
    off = abs(sizes[differences > 0].sum() - centre)
    expected = (abs(sums - centre) >= off - 1e-9).mean()
    assert statistics.wilcoxon(differences, np.zeros(n)) == pytest.approx(expected)


def test_wilcoxon_without_differences() -> None:
    assert statistics.wilcoxon([], []) == 1
    assert statistics.wilcoxon([3], [3]) == 1
    assert statistics.wilcoxon([3], [4]) == 1
    assert statistics.wilcoxon([1, 2, np.inf], [1, 2, np.inf]) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert statistics.wilcoxon([1, 1, 1, np.inf], [1, 2, 3, 4]) > 0.2


def test_wilcoxon_refuses_invalid_pairs() -> None:
    for a, b in (([1], [1, 2]), ([np.nan], [1]), ([[1]], [[1]])):
        with pytest.raises(ValueError, match="expected pairs without NaN"):
            statistics.wilcoxon(a, b)


probabilities = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.01, 0.01, 0.05, 1.0]))


@settings(max_examples=20)  # statsmodels takes 0.1 s
@given(hnp.arrays(np.float64, st.integers(1, 12), elements=probabilities).map(frozen))
def test_holm_agrees_with_statsmodels(p: Array) -> None:
    together = statistics.holm(p)
    rejected, expected, *_ = multipletests(p, alpha=0.2, method="holm")
    np.testing.assert_allclose(together, expected, atol=1e-12)
    assert (together >= p).all()
    assert (together[~rejected] > 0.2).all()


def test_holm_of_no_tests() -> None:
    assert statistics.holm([]).shape == (0,)


@pytest.mark.parametrize("n", range(1, 8))
def test_min_adjusted_p_is_reached(n: int) -> None:
    always = statistics.wilcoxon(np.arange(1.0, n + 1), np.zeros(n))
    assert statistics.min_adjusted_p([n]) == pytest.approx(always)
    assert statistics.min_adjusted_p([n] * 3) == pytest.approx(min(1, 3 * always))


def test_min_adjusted_p_of_no_tests() -> None:
    assert statistics.min_adjusted_p([]) == statistics.min_adjusted_p([0]) == 1


# -- numbers of problems and seeds ---------------------------------------------------------------


@pytest.mark.parametrize("level", [0.01, 0.05, 0.1])
@pytest.mark.parametrize("k", range(2, 17))
def test_problems_needed_is_the_least_number(k: int, level: float) -> None:
    pairs = len(list(itertools.combinations(range(k), 2)))
    needed = statistics.problems_needed(k, level)
    # One optimizer of one pair wins everywhere, and all others are equal.
    for n, significant in ((needed, True), (needed - 1, False)):
        unanimous = statistics.wilcoxon(np.arange(1.0, n + 1), np.zeros(n))
        corrected = statistics.holm([unanimous, *[1.0] * (pairs - 1)])[0]
        assert (corrected < level) == significant
        assert statistics.min_adjusted_p([n] * pairs) == pytest.approx(corrected)


@pytest.mark.parametrize(("k", "level"), [(1, 0.05), (0, 0.05), (3, 0.0), (3, 1.0)])
def test_problems_needed_refuses_invalid_arguments(k: int, level: float) -> None:
    with pytest.raises(ValueError, match="expected two optimizers and a level between 0 and 1"):
        statistics.problems_needed(k, level)


@pytest.mark.parametrize("k", range(1, 9))
@pytest.mark.parametrize("n", [1, 5, 6, 7, 8, 9, 20])
@pytest.mark.parametrize("seeds", [0, 1, 2, 5, 6, 30])
def test_comparison_note_names_what_is_missing(k: int, n: int, seeds: int) -> None:
    note = statistics.comparison_note(k, n, seeds)
    if k < 2 or n >= statistics.problems_needed(k):
        assert note is None
        return
    assert note is not None
    assert "\n" not in note
    assert f"{k} optimizers on {n} problem" in note
    assert f"need at least {statistics.problems_needed(k)} for p < 0.05" in note
    assert ("need at least 6 seeds, found" in note) == (seeds < 6)
    assert ("hold for each problem alone" in note) == (seeds >= 6)


def test_known_comparison_note() -> None:
    note = statistics.comparison_note(5, 1, 5)
    assert note is not None
    assert note.endswith(
        "found 5 (a signed-rank test of so few, corrected for 10 pairs, cannot get below p = 0.62)"
    )


# -- ranks ---------------------------------------------------------------------------------------


@given(grids((1, 6), (1, 6)))
def test_ranks_agree_with_their_definition(scores: Array) -> None:
    below = (scores[:, None] < scores[:, :, None]).sum(axis=2)
    equal = (scores[:, None] == scores[:, :, None]).sum(axis=2)
    np.testing.assert_allclose(statistics.ranks(scores), (below + (equal + 1) / 2).mean(axis=0))


def test_known_ranks() -> None:
    assert statistics.ranks([[1, 2, 2, np.inf], [4, 3, 2, 1]]).tolist() == [2.5, 2.75, 2.25, 2.5]


@given(grids((1, 8), (3, 6)))
def test_friedman_agrees_with_scipy(scores: Array) -> None:
    if (scores == scores[:, :1]).all():
        assert statistics.friedman(scores) == 1
    else:
        expected = stats.friedmanchisquare(*scores.T).pvalue
        assert statistics.friedman(scores) == pytest.approx(expected)


def test_friedman_of_two_optimizers_is_nan() -> None:
    assert np.isnan(statistics.friedman([[1, 2], [3, 4]]))


@pytest.mark.parametrize("scores", [[1, 2], [[]], np.empty((0, 3)), [[1, np.nan, 2]]])
def test_invalid_scores_are_refused(scores: object) -> None:
    for call in (statistics.ranks, statistics.friedman):
        with pytest.raises(ValueError, match=r"expected scores \(n, k\) without NaN"):
            call(scores)  # type: ignore[arg-type]


# Demšar 2006, table 5 a: q of the Nemenyi test for 2 ... 10 classifiers.
NEMENYI = {
    0.05: [1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164],
    0.10: [1.645, 2.052, 2.291, 2.459, 2.589, 2.693, 2.780, 2.855, 2.920],
}


@pytest.mark.parametrize("alpha", list(NEMENYI))
def test_critical_differences_of_demsar(alpha: float) -> None:
    for k, q in enumerate(NEMENYI[alpha], start=2):
        difference = statistics.critical_difference(k, 14, alpha)
        assert difference / np.sqrt(k * (k + 1) / (6 * 14)) == pytest.approx(q, abs=1.1e-3)


@pytest.mark.parametrize(("k", "n", "alpha"), [(1, 5, 0.05), (2, 0, 0.05), (2, 5, 0.0)])
def test_critical_difference_refuses_invalid_arguments(k: int, n: int, alpha: float) -> None:
    with pytest.raises(ValueError, match="expected k >= 2"):
        statistics.critical_difference(k, n, alpha)
