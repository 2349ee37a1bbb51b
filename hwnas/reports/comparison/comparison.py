"""Optimizers compared over problems and seeds: mean ranks, and a test of every pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hwnas import statistics
from hwnas.errors import UnknownName
from hwnas.reports.comparison.problem_comparison import GREATER, METRICS, Contest, Entry, contests
from hwnas.runner.results import Result
from hwnas.typing import Array

Over = Literal["problems", "seeds"]

ENOUGH = 5  # problems for a test over them; with fewer it is over seeds


@dataclass(frozen=True)
class Pair:
    """Two optimizers, and whether they differ.

    Attributes
    ----------
    first, second
        Their names; the first is ahead by `lead`.
    over
        What is paired: problems, by means over seeds, or seeds on a problem.
    n
        How many pairs.
    wins
        In how many of them the first is better.
    lead
        Mean difference in the metric by which the first is better; NaN where it is of infinities.
    p
        Of Wilcoxon's signed-rank test.
    p_holm
        The same corrected by Holm for all pairs of the comparison.
    """

    first: str
    second: str
    over: Over
    n: int
    wins: int
    lead: float
    p: float
    p_holm: float


@dataclass(frozen=True, eq=False)
class Comparison:
    """What optimizers are worth, beside each other.

    Attributes
    ----------
    contests
        One for each problem.
    metric
        What ranks and tests are of.
    at
        After how many evaluations searches are judged; ``None``: at their ends.
    level
        Of significance.
    optimizers : tuple of k names
        Those that are judged on every problem, best mean rank first.
    ranks : (k,)
        Their mean ranks.
    over, blocks
        What is ranked, and how many there are.
    friedman
        p-value of Friedman's test that all rank alike; NaN with fewer than three optimizers.
    pairs
        Of all optimizers that share problems or seeds; none where there is but one optimizer.
    """

    contests: tuple[Contest, ...]
    metric: str
    at: int | None
    level: float
    optimizers: tuple[str, ...]
    ranks: Array
    over: Over
    blocks: int
    friedman: float
    pairs: tuple[Pair, ...]

    @property
    def ranked_over(self) -> str:
        """What is ranked, in words: ``"24 problems"``, ``"20 seeds of 2 problems"``."""
        problems = counted(len(self.contests), "problems")
        seeds = f"{counted(self.blocks, 'seeds')} of {problems}"
        return seeds if self.over == "seeds" else problems

    @property
    def differ(self) -> NDArray[np.bool_]:
        """Which of the ranked optimizers differ by the tests of pairs, (k, k)."""
        apart = {frozenset((p.first, p.second)) for p in self.pairs if p.p_holm < self.level}
        return np.array(
            [[frozenset((a, b)) in apart for b in self.optimizers] for a in self.optimizers],
            dtype=bool,
        ).reshape(len(self.optimizers), -1)

    @property
    def cliques(self) -> list[tuple[int, ...]]:
        """Neighbours among the ranked of which no two differ, see `hwnas.statistics.cliques`."""
        return statistics.cliques(self.ranks, self.differ)

    def leaders(self, contest: Contest) -> tuple[set[str], set[str] | None]:
        """Who is best on a problem by the mean over seeds, and who is not significantly worse.

        By Wilcoxon's signed-rank test over the seeds that each shares with the best, corrected by
        Holm.

        Returns
        -------
        best
            More than one where means are equal.
        alike : set or None
            Without the best; ``None`` where there are too few seeds for any to be worse.
        """
        scores = {name: _score(entry, self.metric) for name, entry in contest.judged.items()}
        if not scores:
            return set(), None
        best = min(scores, key=lambda name: scores[name])
        others = [name for name in scores if scores[name] > scores[best]]
        top = contest.judged[best]
        paired = [_seeds_paired(top, contest.judged[name], self.metric) for name in others]
        if statistics.least_p([len(a) for a, _ in paired]) >= self.level:
            return set(scores) - set(others), None
        p = statistics.holm([statistics.wilcoxon(*both) for both in paired])
        alike = {name for name, value in zip(others, p, strict=True) if value >= self.level}
        return set(scores) - set(others), alike

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know of the figures, a line each."""
        notes = [f"{c.name}: {note}" for c in self.contests for note in c.notes]
        for contest in self.contests:
            used = {int(n) for entry in contest.entries for n in entry.evaluations}
            if self.at is None and len(used) > 1:
                notes.append(
                    f"{contest.name}: searches used {min(used)} to {max(used)} evaluations; "
                    "--at N judges all after N"
                )
        names = _names(self.contests)
        for name in names:
            if len({c.judged[name].settings for c in self.contests if name in c.judged}) > 1:
                notes.append(f"{name}: its settings are not the same on all problems")
        if len(names) < 2:
            return (*notes, "one optimizer: nothing is tested")
        if unranked := [name for name in names if name not in self.optimizers]:
            notes.append(f"not on every problem and so not ranked: {', '.join(unranked)}")
        tested = {frozenset((pair.first, pair.second)) for pair in self.pairs}
        if missing := [
            f"{a} and {b}" for a, b in combinations(names, 2) if frozenset((a, b)) not in tested
        ]:
            notes.append(f"not tested, for they share no seed of a problem: {', '.join(missing)}")
        least = statistics.least_p([pair.n for pair in self.pairs])
        if self.pairs and least >= self.level:
            notes.append(
                f"so few pairs can give no p (Holm) below {least:.2g}: whatever the optimizers "
                "are, no difference could be significant"
            )
        if any(pair.over == "seeds" for pair in self.pairs):
            notes.append(
                f"with fewer than {ENOUGH} problems in common, tests are over seeds: they speak of "
                "these problems alone, and over few seeds say little, for the first samples of a "
                "seed are the same for all optimizers and on all problems of a space"
            )
        if any(pair.over == "problems" for pair in self.pairs):
            seeds = {s for c in self.contests for entry in c.judged.values() for s in entry.seeds}
            notes.append(
                "the first samples of a seed are the same on all problems of a space: leads early "
                f"in a search are {len(seeds)} draws there, one a seed, and p-values over problems "
                "make too much of them"
            )
        return tuple(notes)


def compare(
    results: Sequence[Result],
    *,
    metric: str = "normalised",
    at: int | None = None,
    level: float = 0.05,
) -> Comparison:
    """Compare the optimizers of several runs.

    Tests of pairs and mean ranks are over problems, by means over seeds, where there are at least
    five in common, as Demšar (2006) recommends; otherwise over the seeds that are shared. The first
    samples of a seed are the same on all problems of a space, so that with few seeds p-values over
    problems make too much of leads early in a search.

    Parameters
    ----------
    results
        Runs of one problem or of several, see `hwnas.reports.comparison.problem_comparison.contests`.
    metric
        One of `hwnas.reports.comparison.problem_comparison.METRICS`.
    at
        Judge what every search had found after so many evaluations.
    level
        Of significance.

    Raises
    ------
    UnknownName
        There is no such metric.
    InvalidInput
        See `hwnas.reports.comparison.problem_comparison.contests`.
    """
    if metric not in METRICS:
        raise UnknownName("metric", metric, METRICS)
    return comparison_of(contests(results, at=at), metric=metric, at=at, level=level)


def comparison_of(
    found: Sequence[Contest],
    *,
    metric: str = "normalised",
    at: int | None = None,
    level: float = 0.05,
) -> Comparison:
    """Rank and test what was judged on problems; parameters are those of `compare`."""
    names = _names(found)
    ranked = [name for name in names if all(name in contest.judged for contest in found)]
    over, scores = _blocks(found, ranked, metric)
    ranks = statistics.ranks(scores) if scores.size else np.zeros(0)
    order = np.argsort(ranks, kind="stable")
    enough = scores.shape[1] > 2 and len(scores) > 1
    pairs = [
        pair
        for first, second in combinations(
            [*(ranked[i] for i in order), *(name for name in names if name not in ranked)], 2
        )
        if (pair := _pair(found, first, second, metric))
    ]
    together = statistics.holm([pair.p for pair in pairs]).tolist()
    return Comparison(
        tuple(found),
        metric,
        at,
        level,
        tuple(ranked[i] for i in order),
        ranks[order],
        over,
        len(scores),
        statistics.friedman(scores) if enough else float("nan"),
        tuple(replace(pair, p_holm=p) for pair, p in zip(pairs, together, strict=True)),
    )


def counted(n: int, things: str) -> str:
    """A number of things, which are given in the plural.

    >>> counted(1, "seeds")
    '1 seed'
    """
    return f"{n} {things if n != 1 else things[:-1]}"


def _names(found: Sequence[Contest]) -> list[str]:
    """All optimizers that are judged anywhere, in order."""
    return list(dict.fromkeys(name for contest in found for name in contest.judged))


def _turned(values: Array, metric: str) -> Array:
    """Values turned so that less is better."""
    return -values if metric in GREATER else values


def _score(entry: Entry, metric: str) -> float:
    """An optimizer's mean over seeds, turned so that less is better."""
    return float(_turned(np.array(entry.mean(metric)), metric))


def _seeds_paired(a: Entry, b: Entry, metric: str) -> tuple[Array, Array]:
    """Scores of the seeds that two optimizers share, (s,) each."""
    shared = sorted(set(a.seeds) & set(b.seeds))
    first, second = (
        _turned(entry.values[metric][[entry.seeds.index(seed) for seed in shared]], metric)
        for entry in (a, b)
    )
    return first, second


def _blocks(found: Sequence[Contest], ranked: Sequence[str], metric: str) -> tuple[Over, Array]:
    """What optimizers are ranked on: problems, or the seeds that all share; scores (n, k)."""
    entries = [[contest.judged[name] for name in ranked] for contest in found]
    means = np.array([[_score(entry, metric) for entry in row] for row in entries])
    if not ranked or len(found) >= ENOUGH:
        return "problems", means.reshape(len(found), -1)
    rows = []
    for row in entries:
        for seed in sorted(set.intersection(*(set(entry.seeds) for entry in row))):
            rows.append([entry.values[metric][entry.seeds.index(seed)] for entry in row])
    return ("seeds", _turned(np.array(rows), metric)) if rows else ("problems", means)


def _pair(found: Sequence[Contest], first: str, second: str, metric: str) -> Pair | None:
    """The test of two optimizers, not yet corrected; ``None`` where nothing can be paired."""
    both = [
        (contest.judged[first], contest.judged[second])
        for contest in found
        if first in contest.judged and second in contest.judged
    ]
    over: Over = "problems" if len(both) >= ENOUGH else "seeds"
    if over == "problems":
        a, b = np.array([[_score(entry, metric) for entry in pair] for pair in both]).T
    elif both:
        parts = [_seeds_paired(*pair, metric) for pair in both]
        a, b = (np.concatenate(side) for side in zip(*parts, strict=True))
    if not both or len(a) == 0:
        return None
    differences = np.subtract(b, a, out=np.zeros(len(a)), where=a != b)
    lead = float(differences.mean()) if np.isfinite(differences).all() else float("nan")
    if lead < 0 or (np.isnan(lead) and (a > b).sum() > (a < b).sum()):
        first, second, a, b, lead = second, first, b, a, -lead
    p = statistics.wilcoxon(a, b)
    return Pair(first, second, over, len(a), int((a < b).sum()), lead, p, p)
