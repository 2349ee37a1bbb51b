"""Notes of a comparison: remarks that a reader needs to interpret its numbers, one line each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

from hwnas import statistics
from hwnas.reports.comparison.pairwise import PairwiseTest
from hwnas.reports.comparison.problem_comparison import ProblemComparison, optimizer_names
from hwnas.reports.comparison.seed_differences import SeedDifference


def format_count(n: int, plural: str) -> str:
    """Return a number with its noun, which is passed in the plural.

    >>> format_count(1, "seeds")
    '1 seed'
    """
    return f"{n} {plural if n != 1 else plural[:-1]}"


def mean_notes(problems: Sequence[ProblemComparison], at: int | None) -> Iterator[str]:
    """Yield what the means of the tables hide: unequal budgets, seeds and settings."""
    for problem in problems:
        yield from (f"{problem.name}: {note}" for note in problem.notes)
        yield from (f"{problem.name}: {note}" for note in _problem_notes(problem, at))
    # Mean ranks and tests over problems weigh each problem alike.
    if len(problems) > 1:
        yield from _unequal_problem_notes(problems)
    for name in optimizer_names(problems):
        scores = [p.by_optimizer[name] for p in problems if name in p.by_optimizer]
        if len({score.settings for score in scores}) > 1:
            yield f"{name}: its settings are not the same on all problems"


def unranked_notes(
    problems: Sequence[ProblemComparison], optimizers: Sequence[str]
) -> Iterator[str]:
    """Yield the optimizers that are not ranked."""
    if unranked := [name for name in optimizer_names(problems) if name not in optimizers]:
        yield f"not on every problem and so not ranked: {', '.join(unranked)}"


def power_notes(
    problems: Sequence[ProblemComparison], pairs: Sequence[PairwiseTest], level: float
) -> Iterator[str]:
    """Yield limits of tests over problems."""
    min_problems = statistics.problems_needed(2, level)
    if untested := _missing_pairs(problems, [(pair.first, pair.second) for pair in pairs]):
        yield f"not tested, because they share fewer than {min_problems} problems: {untested}"
    # Problems are not independent, because a seed starts with the same samples on all.
    scores = [score for problem in problems for score in problem.by_optimizer.values()]
    seeds = {seed for score in scores for seed in score.seeds}
    yield (
        "the first samples of a seed are the same on all problems of a space: early in a search, "
        f"differences rest on {format_count(len(seeds), 'independent samples')}, one per seed, "
        "and p-values over problems are too small"
    )


def difference_notes(
    problems: Sequence[ProblemComparison],
    differences: Sequence[Sequence[SeedDifference]],
    level: float,
) -> Iterator[str]:
    """Yield why nothing is tested over problems, and limits of differences seed to seed."""
    compared = [difference for one_problem in differences for difference in one_problem]
    if missing := _missing_pairs(problems, [(d.first, d.second) for d in compared]):
        yield f"not compared, because they share no seed of a problem: {missing}"
    names = optimizer_names(problems)
    n_shared = max(
        sum(a in problem.by_optimizer and b in problem.by_optimizer for problem in problems)
        for a, b in combinations(names, 2)
    )
    n_seeds = min((difference.n for difference in compared), default=0)
    if note := statistics.comparison_note(len(names), n_shared, n_seeds, level):
        yield note
    # Each interval is at the level of a single comparison.
    n_intervals = sum(d.n >= statistics.seeds_needed(level) for d in compared)
    if n_intervals > 1:
        yield (
            f"each interval is at {100 * (1 - level):g} % by itself: of {n_intervals} intervals of "
            f"equal optimizers, {n_intervals * level:.2g} would exclude 0 by chance"
        )


def _problem_notes(problem: ProblemComparison, at: int | None) -> Iterator[str]:
    """Yield seeds without a score, unmeasured members, and unequal budgets and seeds of means."""
    for score in problem.scores:
        if "left out" in score.status or "missing" in score.status:
            yield f"{score.optimizer}: {score.status}"
    scores = problem.by_optimizer.values()
    for score in scores:
        if score.n_unmeasured:
            yield (
                f"{score.optimizer}: {score.n_unmeasured} of {score.n_front} recommended "
                "architectures were never measured; the measured ones have normalized hypervolume "
                f"{score.mean('measured'):.4f} in place of {score.mean('recommended'):.4f}"
            )
    used = {int(n) for score in scores for n in score.evaluations}
    if len(used) > 1:
        remedy = "; --at N compares all after N" if at is None else ""
        yield f"searches used {min(used)} to {max(used)} evaluations{remedy}"
    counts = {len(score.seeds) for score in scores}
    if len(counts) > 1:
        yield f"means are over unequal numbers of seeds, {min(counts)} to {max(counts)}"
    elif len({score.seeds for score in scores}) > 1:
        yield "means are over different seeds"


def _unequal_problem_notes(problems: Sequence[ProblemComparison]) -> Iterator[str]:
    """Yield unequal budgets and numbers of seeds between problems."""
    scored = [problem for problem in problems if problem.by_optimizer]
    used = [max(int(s.evaluations.max()) for s in p.by_optimizer.values()) for p in scored]
    if len(set(used)) > 1:
        yield (
            f"budgets differ between problems, from {min(used)} to {max(used)} evaluations: mean "
            "ranks and tests over problems mix them"
        )
    counts = [max(len(score.seeds) for score in p.by_optimizer.values()) for p in scored]
    if len(set(counts)) > 1:
        yield (
            f"numbers of seeds differ between problems, from {min(counts)} to {max(counts)}: mean "
            "ranks and tests over problems count each problem once"
        )


def _missing_pairs(problems: Sequence[ProblemComparison], pairs: Sequence[tuple[str, str]]) -> str:
    """Return the pairs of optimizers that are not among some pairs, as one text."""
    compared = {frozenset(pair) for pair in pairs}
    missing = [
        f"{a} and {b}"
        for a, b in combinations(optimizer_names(problems), 2)
        if frozenset((a, b)) not in compared
    ]
    return ", ".join(missing)
