"""Ranks, pairwise tests and notes of comparisons."""

from __future__ import annotations

import itertools
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from hwnas import statistics
from hwnas.errors import InvalidInput
from hwnas.reports.comparison import critical_difference, export, latex
from hwnas.reports.comparison.comparison import compare, compare_problems
from hwnas.reports.comparison.problem_comparison import ProblemComparison

sys.path.insert(0, str(Path(__file__).parent))
from score_builders import graded_problem, problem_of, random_problems, score_of


@pytest.mark.parametrize("n", [8, 12])
@pytest.mark.parametrize("metric", ["normalised", "r2"])
def test_tests_over_problems_agree_with_scipy_and_statsmodels(n: int, metric: str) -> None:
    problems = random_problems(n)
    comparison = compare_problems(problems, metric=metric)
    assert comparison.seed_differences == ()
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
        assert (pair.n, pair.wins) == (n, (lead > 0).sum())
        assert pair.lead == pytest.approx(lead.mean())
        assert pair.lead >= 0
        assert pair.p == pytest.approx(stats.wilcoxon(lead[lead != 0]).pvalue)
    corrected = multipletests([pair.p for pair in comparison.pairs], method="holm")[1]
    np.testing.assert_allclose([pair.p_holm for pair in comparison.pairs], corrected)
    assert not any("seed to seed" in note for note in comparison.notes)
    assert "early in a search, differences rest on 2 independent samples" in comparison.notes[-1]


@pytest.mark.parametrize("n", [1, 2, 5, 7])
@pytest.mark.parametrize("seeds", [1, 5, 6, 10])
@pytest.mark.parametrize("metric", ["normalised", "r2"])
def test_too_few_problems_are_compared_seed_to_seed(n: int, seeds: int, metric: str) -> None:
    problems = random_problems(n, seeds)
    comparison = compare_problems(problems, metric=metric)
    # Seeds are never taken for problems.
    assert comparison.pairs == ()
    assert np.isnan(comparison.friedman)
    assert not comparison.significant.any()
    assert comparison.cliques == []
    sign = 1 if metric == "r2" else -1
    for problem, differences in zip(problems, comparison.seed_differences, strict=True):
        assert {frozenset((d.first, d.second)) for d in differences} == {
            frozenset(pair) for pair in itertools.combinations("abcd", 2)
        }
        for difference in differences:
            first, second = (
                problem.by_optimizer[name].values[metric]
                for name in (difference.first, difference.second)
            )
            lead = sign * (second - first)
            assert difference.lead == pytest.approx(lead.mean())
            assert difference.lead >= 0
            assert (difference.n, difference.wins) == (seeds, (lead > 0).sum())
            assert np.isnan([difference.low, difference.high]).all() == (seeds < 6)
            if seeds >= 6:
                assert difference.low <= difference.lead <= difference.high
                assert difference.is_clear == (difference.low > 0)
    needed = (
        f"4 optimizers on {n} problem{'s' if n > 1 else ''}: tests over problems need at least 8"
    )
    assert any(note.startswith(needed) for note in comparison.notes)
    assert any(f"need at least 6 seeds, found {seeds}" in note for note in comparison.notes) == (
        seeds < 6
    )
    assert any("would exclude 0 by chance" in note for note in comparison.notes) == (seeds >= 6)


@pytest.mark.parametrize("k", range(2, 7))
def test_tests_start_at_the_number_of_problems_needed(k: int) -> None:
    needed = statistics.problems_needed(k)
    for n in (needed - 1, needed):
        # Each optimizer is better than the next on all problems.
        values = {f"o{i}": [i + 1.0, i + 2.0] for i in range(k)}
        problems = [
            problem_of(f"p{j}", **{name: np.array(v) * (j + 1) for name, v in values.items()})
            for j in range(n)
        ]
        comparison = compare_problems(problems, metric="r2")
        assert bool(comparison.pairs) == bool(comparison.significant.any()) == (n == needed)


def test_pairs_that_share_too_few_problems_do_not_weaken_the_others() -> None:
    problems = random_problems(6)
    for i, problem in enumerate(problems):
        # Only `a` and `d` share six problems.
        kept = tuple(s for s in problem.scores if s.optimizer in "ad" or i < 5)
        problems[i] = ProblemComparison(problem.name, "", kept)
    comparison = compare_problems(problems)
    (pair,) = comparison.pairs
    assert {pair.first, pair.second} == {"a", "d"}
    assert pair.p_holm == pair.p
    (note,) = (note for note in comparison.notes if note.startswith("not tested"))
    assert note == (
        "not tested, because they share fewer than 6 problems: "
        "a and b, a and c, b and c, b and d, c and d"
    )


def test_only_shared_seeds_are_paired() -> None:
    a, b = score_of("a", [1, 2, 3], (0, 1, 2)), score_of("b", [9, 7, 5], (1, 2, 4))
    comparison = compare_problems([ProblemComparison("p", "", (a, b))], metric="r2")
    (((difference),),) = comparison.seed_differences
    assert (difference.first, difference.n, difference.wins) == ("a", 2, 2)
    assert difference.lead == pytest.approx(((9 - 2) + (7 - 3)) / 2)
    assert "p: means are over different seeds" in comparison.notes


def test_no_seed_in_common() -> None:
    comparison = compare_problems(
        [ProblemComparison("p", "", (score_of("a", [1], [0]), score_of("b", [2], [1])))]
    )
    assert comparison.optimizers == ("b", "a")
    assert comparison.seed_differences == ((),)
    assert "not compared, because they share no seed of a problem: a and b" in comparison.notes


def test_optimizers_without_scores_on_all_problems() -> None:
    problems = [problem_of("p", a=[1, 2], b=[2, 3], c=[5, 6]), problem_of("q", a=[1, 2], b=[3, 4])]
    comparison = compare_problems(problems)
    assert comparison.optimizers == ("b", "a")
    assert comparison.ranks.tolist() == [1, 2]
    assert [len(differences) for differences in comparison.seed_differences] == [3, 1]
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


EVEN = score_of("a", [1, 2]), score_of("b", [1, 3])
UNEVEN = {
    "p: searches used 50 to 100 evaluations; --at N compares all after N": (
        [(score_of("a", [1, 2], evaluations=50), EVEN[1])]
    ),
    "p: means are over unequal numbers of seeds, 2 to 3": [(EVEN[0], score_of("b", [1, 3, 2]))],
    "p: means are over different seeds": [(EVEN[0], score_of("b", [1, 3], [0, 2]))],
    "p: b: seed 2: missing": [(EVEN[0], replace(EVEN[1], status="seed 2: missing"))],
    "p: b: unfinished at 9, left out": [
        (EVEN[0], replace(EVEN[1], status="unfinished at 9, left out"))
    ],
    "a: its settings are not the same on all problems": [
        EVEN,
        (score_of("a", [1, 2], settings="other"), EVEN[1]),
    ],
    "budgets differ between problems, from 50 to 100 evaluations: mean ranks and tests over "
    "problems mix them": [EVEN, tuple(replace(s, evaluations=np.full(2, 50)) for s in EVEN)],
    "numbers of seeds differ between problems, from 2 to 3: mean ranks and tests over problems "
    "count each problem once": [EVEN, (score_of("a", [1, 2, 3]), score_of("b", [1, 3, 2]))],
}


@pytest.mark.parametrize("note", list(UNEVEN))
def test_means_of_unequal_searches_have_a_note(note: str) -> None:
    scores = UNEVEN[note]
    problems = [ProblemComparison("pq"[i], "", row) for i, row in enumerate(scores)]
    comparison = compare_problems(problems)
    assert note in comparison.notes
    # The same note in every format that people read.
    for text in (export.markdown(comparison), latex.latex(comparison)):
        assert note.split(": ")[-1] in re.sub(r"\\", "", text)
    even = [ProblemComparison(name, "", EVEN) for name in "pq"[: len(scores)]]
    assert note not in compare_problems(even).notes


def test_infinite_scores_rank_last() -> None:
    problem = problem_of("p", a=[1, np.inf], b=[np.inf, np.inf])
    comparison = compare_problems([problem], metric="r2")
    ((difference,),) = comparison.seed_differences
    assert (difference.first, difference.wins) == ("a", 1)
    # A difference of infinities has no mean, but wins still order the pair.
    assert np.isnan(difference.lead)
    assert np.isnan(difference.low)
    # Six seeds would be enough for an interval, but not with infinite values.
    many = problem_of("p", a=[1] * 6, b=[1, 2, 3, 4, 5, np.inf])
    ((difference,),) = compare_problems([many], metric="r2").seed_differences
    assert np.isnan([difference.low, difference.high]).all()
    assert not difference.is_clear


def test_leaders() -> None:
    problem = graded_problem("p", "abc")
    assert compare_problems([problem], metric="r2").leaders(problem) == ({"a"}, {"b"})
    assert compare_problems([problem]).leaders(problem) == ({"c"}, set())
    # Two seeds are too few for an interval.
    two_seeds = problem_of("p", a=[1, 2], b=[1, 2], c=[5, 6])
    assert compare_problems([two_seeds], metric="r2").leaders(two_seeds) == ({"a", "b"}, None)
    assert compare_problems([two_seeds]).leaders(ProblemComparison("none", "", ())) == (set(), None)
