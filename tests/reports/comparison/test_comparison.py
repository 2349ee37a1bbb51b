"""Ranks, pairwise tests and notes of comparisons."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from hwnas.errors import InvalidInput
from hwnas.reports.comparison import critical_difference
from hwnas.reports.comparison.comparison import compare, compare_problems
from hwnas.reports.comparison.problem_comparison import ProblemComparison

sys.path.insert(0, str(Path(__file__).parent))
from score_builders import graded_problem, problem_of, random_problems, score_of


@pytest.mark.parametrize("n", [5, 12])
@pytest.mark.parametrize("metric", ["normalised", "r2"])
def test_tests_over_problems_agree_with_scipy_and_statsmodels(n: int, metric: str) -> None:
    problems = random_problems(n)
    comparison = compare_problems(problems, metric=metric)
    assert (comparison.over, comparison.n_blocks) == ("problems", n)
    assert comparison.ranked_over == f"{n} problems"
    # Compute means, ranks and p-values independently of hwnas.
    means = {
        name: np.array([c.by_optimizer[name].mean(metric) for c in problems])
        for name in comparison.optimizers
    }
    scores = np.stack([m if metric == "r2" else -m for m in means.values()], axis=1)
    np.testing.assert_allclose(comparison.ranks, stats.rankdata(scores, axis=1).mean(axis=0))
    assert (np.diff(comparison.ranks) >= 0).all()
    assert comparison.friedman == pytest.approx(stats.friedmanchisquare(*scores.T).pvalue)
    for pair in comparison.pairs:
        # Positive where the first optimizer is better, for either direction of the metric.
        lead = (means[pair.first] - means[pair.second]) * (-1 if metric == "r2" else 1)
        assert (pair.over, pair.n, pair.wins) == ("problems", n, (lead > 0).sum())
        assert pair.lead == pytest.approx(lead.mean())
        assert pair.lead >= 0
        assert pair.p == pytest.approx(stats.wilcoxon(lead[lead != 0]).pvalue)
    corrected = multipletests([pair.p for pair in comparison.pairs], method="holm")[1]
    np.testing.assert_allclose([pair.p_holm for pair in comparison.pairs], corrected)
    assert not any("over seeds" in note for note in comparison.notes)
    assert "early in a search, differences rest on 2 independent samples" in comparison.notes[-1]


def test_few_problems_are_tested_over_seeds() -> None:
    problems = random_problems(4, seeds=3)
    comparison = compare_problems(problems)
    assert (comparison.over, comparison.n_blocks) == ("seeds", 12)
    assert comparison.ranked_over == "12 seeds of 4 problems"
    # The values of `d` are the largest, those of `a` the smallest.
    pair = next(p for p in comparison.pairs if {p.first, p.second} == {"a", "d"})
    lead = np.concatenate(
        [
            c.by_optimizer["d"].values["normalised"] - c.by_optimizer["a"].values["normalised"]
            for c in problems
        ]
    )
    assert (pair.first, pair.n, pair.over) == ("d", 12, "seeds")
    assert pair.p == pytest.approx(stats.wilcoxon(lead).pvalue)
    assert "first samples of a seed are the same for all optimizers" in comparison.notes[-1]


def test_only_shared_seeds_are_paired() -> None:
    a, b = score_of("a", [1, 2, 3], (0, 1, 2)), score_of("b", [9, 7, 5], (1, 2, 4))
    (pair,) = compare_problems([ProblemComparison("p", "", (a, b))], metric="r2").pairs
    assert (pair.first, pair.n, pair.wins) == ("a", 2, 2)
    assert pair.lead == pytest.approx(((9 - 2) + (7 - 3)) / 2)
    assert pair.p == 0.5


def test_no_seed_in_common() -> None:
    comparison = compare_problems(
        [ProblemComparison("p", "", (score_of("a", [1], [0]), score_of("b", [2], [1])))]
    )
    assert (comparison.optimizers, comparison.over, comparison.n_blocks) == (
        ("b", "a"),
        "problems",
        1,
    )
    assert comparison.pairs == ()
    assert comparison.notes == ("not tested, because they share no seed of a problem: a and b",)


def test_optimizers_without_scores_on_all_problems() -> None:
    problems = [problem_of("p", a=[1, 2], b=[2, 3], c=[5, 6]), problem_of("q", a=[1, 2], b=[3, 4])]
    comparison = compare_problems(problems)
    assert comparison.optimizers == ("b", "a")
    assert comparison.ranks.tolist() == [1, 2]
    # Pairs with `c` have the seeds of the first problem only.
    assert {frozenset((p.first, p.second)): p.n for p in comparison.pairs} == {
        frozenset("ab"): 4,
        frozenset("ac"): 2,
        frozenset("bc"): 2,
    }
    assert "not on every problem and so not ranked: c" in comparison.notes
    # No optimizer is on both problems.
    disjoint = compare_problems([problem_of("p", a=[1]), problem_of("q", b=[1])])
    assert disjoint.optimizers == ()
    assert disjoint.pairs == ()


def test_one_optimizer(make_run: Any) -> None:
    comparison = compare([make_run("one", optimizers=["random"])])
    assert comparison.pairs == ()
    assert comparison.optimizers == ("random",)
    assert np.isnan(comparison.friedman)
    assert comparison.notes == ("one optimizer: nothing is tested",)
    with pytest.raises(InvalidInput, match="expected two optimizers on all problems, found 1"):
        critical_difference.critical_difference_figure(comparison)


def test_notes_of_uneven_comparisons() -> None:
    a = score_of("a", [1, 2], evaluations=50), score_of("b", [1, 3])
    b = score_of("a", [1, 2], settings="other"), score_of("b", [1, 3])
    notes = compare_problems([ProblemComparison("p", "", a), ProblemComparison("q", "", b)]).notes
    assert "p: searches used 50 to 100 evaluations; --at N compares all after N" in notes
    assert "a: its settings are not the same on all problems" in notes
    assert any(note.startswith("with so few samples p (Holm) is at least 0.12") for note in notes)


def test_infinite_scores_rank_last() -> None:
    comparison = compare_problems([problem_of("p", a=[1, np.inf], b=[np.inf, np.inf])], metric="r2")
    (pair,) = comparison.pairs
    assert (pair.first, pair.wins, pair.p) == ("a", 1, 1)
    # A difference of infinities has no mean, but wins still order the pair.
    assert np.isnan(pair.lead)
    assert comparison.ranks.tolist() == [1.25, 1.75]


def test_leaders() -> None:
    problem = graded_problem("p", "abc")
    assert compare_problems([problem], metric="r2").leaders(problem) == ({"a"}, {"b"})
    assert compare_problems([problem]).leaders(problem) == ({"c"}, set())
    # Two seeds are too few for any significant difference.
    two_seeds = problem_of("p", a=[1, 2], b=[1, 2], c=[5, 6])
    assert compare_problems([two_seeds], metric="r2").leaders(two_seeds) == ({"a", "b"}, None)
    assert compare_problems([two_seeds]).leaders(ProblemComparison("none", "", ())) == (set(), None)
