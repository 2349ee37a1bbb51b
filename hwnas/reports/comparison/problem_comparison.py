"""What optimizers found on one problem, in one run or several, judged by one measure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwnas import pareto, statistics
from hwnas.errors import InvalidInput
from hwnas.experiment import Budget
from hwnas.runner.reference_point import Reference
from hwnas.runner.results import Result
from hwnas.runner.search_result import SearchResult
from hwnas.typing import Array

METRICS = ("normalised", "hypervolume", "igd_plus", "epsilon", "r2")
_FEWEST = 3  # seeds for an interval: of two it goes beyond what any search can have
GREATER = ("normalised", "hypervolume")  # of these more is better, of the others less


@dataclass(frozen=True, eq=False)
class Entry:
    """An optimizer on a problem.

    Attributes
    ----------
    optimizer
        Its name in the comparison.
    seeds
        Those that are judged, ascending.
    evaluations : (s,)
        Of each seed, after which it is judged.
    values
        By metric, of each seed, (s,); infinite distances where nothing feasible was found.
    status
        How its searches stand, those that are left out among them.
    settings
        Of the optimizer, as a text.
    """

    optimizer: str
    seeds: tuple[int, ...]
    evaluations: NDArray[np.int64]
    values: dict[str, Array]
    status: str
    settings: str

    def mean(self, metric: str) -> float:
        """Mean over seeds; at least one is judged."""
        return float(self.values[metric].mean())

    def best(self, metric: str) -> float:
        """The best of its seeds; at least one is judged."""
        values = self.values[metric]
        return float(values.max() if metric in GREATER else values.min())

    def interval(self, metric: str, level: float = 0.95) -> tuple[float, float]:
        """Of the mean over seeds, see `hwnas.statistics.interval`; NaN of fewer than three."""
        if len(self.seeds) < _FEWEST:
            return float("nan"), float("nan")
        return statistics.interval(self.values[metric], level)


@dataclass(frozen=True, eq=False)
class Contest:
    """All that searched one problem.

    Attributes
    ----------
    name
        What is asked, where.
    standard
        What `normalised` and distances are relative to, in words.
    entries
        In the order of the runs. One without a seed has nothing that can be judged.
    notes
        What should be known of how they are compared.
    """

    name: str
    standard: str
    entries: tuple[Entry, ...]
    notes: tuple[str, ...] = ()

    @property
    def judged(self) -> dict[str, Entry]:
        """Entries of which at least one seed is judged, by name."""
        return {entry.optimizer: entry for entry in self.entries if entry.seeds}


@dataclass(frozen=True, eq=False)
class Measure:
    """What fronts of a problem are judged by.

    All but the hypervolume is of losses with the reference's ideal at 0 and its nadir at 1.

    Attributes
    ----------
    reference
        Its scale and reference point.
    known : (k, m)
        The backend's own front, or the union of all that was found, as losses.
    best
        Hypervolume of `known`.
    """

    reference: Reference
    known: Array
    best: float

    @classmethod
    def of(cls, results: Sequence[Result]) -> Measure:
        """The measure of runs of one problem, of which the first gives the scale."""
        first = results[0]
        if first.reference.best is not None:
            return cls(first.reference, first.best_known, first.best_hypervolume)
        union = np.concatenate([cell.front.losses for run in results for cell in run.searches])
        union = union[pareto.non_dominated(union)]
        return cls(first.reference, union, pareto.hypervolume(union, first.reference.point))

    def values(self, losses: Array) -> dict[str, float]:
        """What losses (n, m) of a front are worth, by metric."""
        hypervolume = pareto.hypervolume(losses, self.reference.point)
        values = dict.fromkeys(METRICS, float("inf"))
        values["hypervolume"] = hypervolume
        values["normalised"] = hypervolume / self.best if self.best > 0 else 0.0
        if len(losses) and len(self.known):
            known, found = map(self.reference.scaled, (self.known, losses))
            # A measured reference can be surpassed, which the ideal of R2 must not be.
            ideal = np.minimum(known.min(axis=0), 0.0)
            values["igd_plus"] = pareto.igd_plus(found, known)
            values["epsilon"] = pareto.epsilon(found, known)
            values["r2"] = pareto.r2(found, ideal)
        return values


def contests(results: Sequence[Result], *, at: int | None = None) -> list[Contest]:
    """Sort runs by problem and judge what they found.

    Runs are of one problem where space, backend, data, objectives, constraints, noise and reference
    are the same. Where an optimizer's name is in several of them, its seeds are pooled if its
    settings, the budget and what it was told before are the same and no seed comes twice; otherwise
    the run's name is put behind it.

    A search that has not ended is left out, unless it has `at` evaluations.

    Parameters
    ----------
    results
        Runs, of which none comes twice.
    at
        Judge what each search had found after so many evaluations; under noise what it last
        recommended up to then. A search whose space was exhausted before keeps what it has.

    Raises
    ------
    InvalidInput
        A run comes twice, a search ended before `at`, or none can be judged.
    """
    if not results:
        raise InvalidInput("compare: expected at least one run, found none")
    for path, times in Counter(result.path.resolve() for result in results).items():
        if times > 1:
            raise InvalidInput(f"{path}: expected every run once, found it {times} times")
    if at is not None:
        _check_reached(results, at)
    labels = _labels(results)
    groups: dict[Hashable, list[int]] = {}
    for i, result in enumerate(results):
        groups.setdefault((*_question(result), *_scale(result)), []).append(i)
    asked = Counter(_name(results[members[0]]) for members in groups.values())
    found = []
    for members in groups.values():
        runs, names = [results[i] for i in members], [labels[i] for i in members]
        name = _name(runs[0])
        apart = asked[name] > 1
        notes = _apart(groups, results, members) if apart else []
        if len(runs) > 1 and _free(runs[0].reference) and len(set(map(_extent, runs))) > 1:
            notes.append(f"all but hypervolumes is on the scale of {names[0]}")
        measure = Measure.of(runs)
        entries = tuple(_entry(*part, measure, at) for part in _entrants(runs, names))
        standard = "union of all fronts" if runs[0].reference.best is None else runs[0].standard
        title = f"{name} ({', '.join(names)})" if apart else name
        found.append(Contest(title, standard, entries, tuple(notes)))
    if not any(contest.judged for contest in found):
        raise InvalidInput("no search has ended yet; --at N compares what they had found before")
    return found


def front_at(result: Result, cell: SearchResult, at: int | None = None) -> tuple[Array, int]:
    """The front of a search after so many evaluations, or at its end; by then how many it used.

    Returns
    -------
    losses : (k, m)
        True ones, of feasible networks.
    evaluations : int
    """
    spent = np.cumsum(cell.trials.evaluations)
    n = len(spent) if at is None else int(np.searchsorted(spent, at, side="right"))
    losses = cell.losses[:n]
    if result.experiment.noise:
        until = [told for trials, told in cell.recommended if trials <= n]
        losses = until[-1] if until else losses[:0]
    losses = losses[np.isfinite(losses).all(axis=1)]
    return losses[pareto.non_dominated(losses)], int(spent[n - 1]) if n else 0


Part = tuple[Result, str, list[SearchResult]]
"""An optimizer's searches in one run, and the settings that they share."""


def _entrants(runs: Sequence[Result], labels: Sequence[str]) -> Iterator[tuple[str, list[Part]]]:
    """Every optimizer of runs of one problem: its name, and its searches run by run."""
    named: dict[str, list[tuple[str, Part]]] = {}
    for result, label in zip(runs, labels, strict=True):
        for entry in result.experiment.optimizers:
            cells = [cell for cell in result.searches if cell.optimizer == entry.name]
            part = (result, json.dumps(entry.model_dump(exclude={"name"}), sort_keys=True), cells)
            named.setdefault(entry.name, []).append((label, part))
    for name, parts in named.items():
        alike: dict[Hashable, list[tuple[str, Part]]] = {}
        for label, part in parts:
            experiment = part[0].experiment
            told = (experiment.warm_start, *experiment.plugins)
            alike.setdefault((part[1], experiment.budget, told), []).append((label, part))
        pools = []
        for same in alike.values():
            seeds = [seed for _, (result, *_) in same for seed in result.experiment.seeds]
            distinct = len(seeds) == len(set(seeds))
            pools += [same] if distinct else [[one] for one in same]
        for pool in pools:
            suffix = f" ({'+'.join(label for label, _ in pool)})" if len(pools) > 1 else ""
            yield name + suffix, [part for _, part in pool]


def _entry(name: str, parts: list[Part], measure: Measure, at: int | None) -> Entry:
    judged: dict[int, tuple[int, dict[str, float]]] = {}
    status: dict[int, str] = {}
    for result, _, cells in parts:
        status |= dict.fromkeys(result.experiment.seeds, "missing")
        for cell in cells:
            losses, evaluations = front_at(result, cell, at)
            status[cell.seed] = cell.status
            if "finished" in cell.meta or (at is not None and _spent(cell) >= at):
                judged[cell.seed] = (evaluations, measure.values(losses))
            else:
                status[cell.seed] += f" at {_spent(cell)}, left out"
    seeds = tuple(sorted(judged))
    return Entry(
        name,
        seeds,
        np.array([judged[seed][0] for seed in seeds], dtype=np.int64),
        {metric: np.array([judged[seed][1][metric] for seed in seeds]) for metric in METRICS},
        _stated(status),
        parts[0][1],
    )


def _stated(status: dict[int, str]) -> str:
    """What is said of seeds: once where it is the same of all."""
    said: dict[str, list[int]] = {}
    for seed, words in sorted(status.items()):
        said.setdefault(words, []).append(seed)
    if len(said) == 1:
        return next(iter(said))
    return "; ".join(
        f"seed{'s'[: len(seeds) > 1]} {', '.join(map(str, seeds))}: {words}"
        for words, seeds in said.items()
    )


def _spent(cell: SearchResult) -> int:
    return int(cell.trials.evaluations.sum())


def _check_reached(results: Sequence[Result], at: int) -> None:
    """Refuse to judge searches that ended before."""
    if at < 1:
        raise InvalidInput(f"--at {at}: expected at least 1")
    short = []
    for result in results:
        # What no evaluation could be spent on any more is no shorter search.
        budget = result.experiment.budget
        whole = budget == Budget(evaluations=budget.evaluations) and (budget.evaluations or 0) >= at
        for cell in result.searches:
            ended = "finished" in cell.meta and "exhausted" not in cell.meta and not whole
            if ended and _spent(cell) < at:
                short.append((_spent(cell), f"{cell.path}"))
    if short:
        least, where = min(short)
        raise InvalidInput(
            f"--at {at}: {where} ended after {least} evaluations; expected at most {least}"
        )


def _labels(results: Sequence[Result]) -> list[str]:
    """What tells runs apart: their experiments' names, or the directories', or whole paths."""
    for names in (
        [result.experiment.name for result in results],
        [result.path.resolve().name for result in results],
    ):
        if len(set(names)) == len(names):
            return names
    return [str(result.path) for result in results]


def _question(result: Result) -> tuple[str, ...]:
    """What a run asks, apart from the scale it is judged on."""
    experiment = result.experiment
    return (
        json.dumps(experiment.space, sort_keys=True),
        json.dumps(experiment.backend.model_dump(), sort_keys=True),
        *map(str, result.objectives),
        *sorted(map(str, result.constraints)),
        str(experiment.noise),
        result.searches[0].meta.get("data", ""),
        result.reference.source,
    )


def _scale(result: Result) -> tuple[str, ...]:
    """What a run is judged by; the last digits may differ from machine to machine."""
    reference = result.reference
    point = tuple(f"{x:.9g}" for x in reference.point)
    return point if _free(reference) else (*point, *_extent(result))


def _extent(result: Result) -> tuple[str, ...]:
    return tuple(f"{x:.9g}" for x in (*result.reference.ideal, *result.reference.nadir))


def _free(reference: Reference) -> bool:
    """Whether its point is the user's, so that a scale that was measured anew may be another."""
    return reference.source == "given" and reference.best is None


def _apart(
    groups: dict[Hashable, list[int]], results: Sequence[Result], members: list[int]
) -> list[str]:
    """What to say of runs that differ in nothing but what was measured to judge them by."""
    first = results[members[0]]
    alike = [group for group in groups.values() if _question(results[group[0]]) == _question(first)]
    if len(alike) < 2 or first.reference.source != "measured":
        return []
    return [
        "stands apart from the same question in another run, whose reference was measured to be "
        "another; give both the same 'reference:' to have them side by side"
    ]


def _name(result: Result) -> str:
    """What is asked, where."""
    experiment = result.experiment
    settings = "".join(f", {key} {value}" for key, value in experiment.backend.settings.items())
    backend = experiment.backend.type + settings
    parts = [
        f"{', '.join(map(str, result.objectives))} on {result.space.name}",
        *map(str, result.constraints),
        *([backend] if backend != "surrogate" else []),
        *(["with noise"] if experiment.noise else []),
    ]
    return "; ".join(parts)
