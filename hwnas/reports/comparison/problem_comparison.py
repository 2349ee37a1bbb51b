"""Scores of all optimizers on one problem, from one run or several."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np

from hwnas import pareto, statistics
from hwnas.errors import InvalidInput
from hwnas.experiment import Budget
from hwnas.objectives import constraint_violations
from hwnas.reports.comparison.quality_indicators import (
    LARGER_IS_BETTER,
    METRICS,
    QualityIndicators,
)
from hwnas.reports.comparison.run_groups import RunGroup, group_runs
from hwnas.runner.results import Result
from hwnas.runner.search_result import Recommendation, SearchResult
from hwnas.runner.summary import slack_column
from hwnas.typing import Array, BoolArray, IntArray

Source = Literal["measured", "recommended"]  # members of a front that count under noise
SOURCES: tuple[Source, ...] = get_args(Source)

_SLACK = "slack of "  # the start of `slack_column`
_MIN_SEEDS = 3  # for an interval: with two seeds it exceeds all attainable values


@dataclass(frozen=True, eq=False)
class OptimizerScore:
    """Scores of one optimizer on one problem.

    Attributes
    ----------
    optimizer
        Name of the optimizer in the comparison.
    seeds
        Seeds that are scored, ascending.
    evaluations : (s,)
        Evaluations after which each seed is scored.
    values
        Scores (s,) of the seeds, by metric; distances are infinite for an empty front. With
        constraints also ``feasible``, the number of feasible trials, and the smallest slack of each
        constraint on the front by `hwnas.runner.summary.slack_column`, NaN for an empty front;
        under noise also ``recommended``, the normalized hypervolume of all recommended
        architectures, and ``measured``, that of those that were measured.
    status
        State of the searches, including those that are left out.
    settings
        Settings of the optimizer, as JSON.
    n_front, n_unmeasured
        Number of architectures on the fronts of all seeds, and of those that were recommended but
        never measured.
    """

    optimizer: str
    seeds: tuple[int, ...]
    evaluations: IntArray
    values: dict[str, Array]
    status: str
    settings: str
    n_front: int = 0
    n_unmeasured: int = 0

    def mean(self, metric: str) -> float:
        """Return the mean over seeds; there must be at least one."""
        return float(self.values[metric].mean())

    def std(self, metric: str) -> float:
        """Return the standard deviation over seeds; NaN with one seed or infinite values."""
        values = self.values[metric]
        is_defined = len(values) > 1 and np.isfinite(values).all()
        return float(values.std(ddof=1)) if is_defined else float("nan")

    def best(self, metric: str) -> float:
        """Return the value of the best seed; there must be at least one."""
        values = self.values[metric]
        is_distance = metric in METRICS and metric not in LARGER_IS_BETTER
        return float(values.min() if is_distance else values.max())

    def interval(self, metric: str, level: float = 0.95) -> tuple[float, float]:
        """Return the confidence interval of the mean over seeds; NaN with fewer than three.

        See `hwnas.statistics.interval`.
        """
        if len(self.seeds) < _MIN_SEEDS or np.isnan(self.values[metric]).any():
            return float("nan"), float("nan")
        return statistics.interval(self.values[metric], level)


@dataclass(frozen=True, eq=False)
class ProblemComparison:
    """Scores of all optimizers that searched one problem.

    Attributes
    ----------
    name
        Objectives, space, constraints and backend.
    standard
        Name of the front that `normalised` and distances are relative to.
    scores
        Scores in the order of the runs. One without seeds has no search that can be scored.
    notes
        Remarks on how the runs are compared, one line each.
    """

    name: str
    standard: str
    scores: tuple[OptimizerScore, ...]
    notes: tuple[str, ...] = ()

    @property
    def by_optimizer(self) -> dict[str, OptimizerScore]:
        """Scores with at least one seed, by optimizer."""
        return {score.optimizer: score for score in self.scores if score.seeds}

    @property
    def slack_columns(self) -> tuple[str, ...]:
        """Names of the columns of the constraints' slacks."""
        names = (name for score in self.scores for name in score.values)
        return tuple(dict.fromkeys(name for name in names if name.startswith(_SLACK)))

    @property
    def has_unmeasured(self) -> bool:
        """Whether architectures are recommended that were never measured."""
        return any(score.n_unmeasured for score in self.scores)


def problem_comparisons(
    results: Sequence[Result], *, at: int | None = None, of: Source = "measured"
) -> list[ProblemComparison]:
    """Group runs by problem and score their fronts.

    Runs are of one problem if space, backend, data, objectives, constraints, noise and reference
    are the same. If an optimizer's name is in several of them, its seeds are pooled if its
    settings, the budget, the warm start and the plugins are the same and no seed is repeated;
    otherwise the label of the run is appended to the name.

    A search that has not ended is left out, unless it has `at` evaluations.

    Parameters
    ----------
    results
        Runs, none of them repeated.
    at
        Score the front of each search after this number of evaluations; under noise its last
        recommendation up to then. A search that exhausted its space earlier is scored at its end.
    of
        Members of a front that are scored under noise: those that were ``"measured"``, or all that
        are ``"recommended"``. Without noise both are the same.

    Raises
    ------
    InvalidInput
        There is no run, a run is repeated, a search ended before `at`, or no search can be scored.
    """
    if not results:
        raise InvalidInput("compare: expected at least one run, found none")
    for path, count in Counter(result.path.resolve() for result in results).items():
        if count > 1:
            raise InvalidInput(f"{path}: expected every run once, found it {count} times")
    # A search that ended earlier cannot be scored after `at` evaluations.
    if at is not None:
        _check_evaluations(results, at)
    comparisons = [_compare_group(group, at, of) for group in group_runs(results)]
    if not any(comparison.by_optimizer for comparison in comparisons):
        raise InvalidInput("no search has ended yet; --at N compares their fronts after N")
    return comparisons


def optimizer_names(problems: Sequence[ProblemComparison]) -> list[str]:
    """Return the names of all optimizers that are scored on any problem, in order."""
    return list(dict.fromkeys(name for problem in problems for name in problem.by_optimizer))


class FrontAt(NamedTuple):
    """Front of a search after some evaluations.

    Attributes
    ----------
    losses : (k, m)
        True losses of feasible architectures.
    constraints : (k, c)
        Values of the constraints, in raw units.
    measured : (k,)
        Whether each architecture was measured.
    evaluations
        Number of evaluations that the search had used.
    n_feasible
        Number of feasible trials.
    """

    losses: Array
    constraints: Array
    measured: BoolArray
    evaluations: int
    n_feasible: int


def front_at(
    result: Result, search: SearchResult, at: int | None = None, of: Source = "recommended"
) -> FrontAt:
    """Return the front of a search after `at` evaluations, or at its end.

    Under noise, of `"measured"` members what is left of the recommendation without the others: an
    architecture counts that an unmeasured one dominates.
    """
    # Trials may differ in their budget cost.
    spent = np.cumsum(search.trials.evaluations)
    n = len(spent) if at is None else int(np.searchsorted(spent, at, side="right"))
    losses = search.losses[:n]
    constraints = search.trials.values[:n, len(result.objectives) :]
    measured = np.ones(n, dtype=bool)
    n_feasible = int(np.isfinite(losses).all(axis=1).sum())
    if result.experiment.noise:
        # Measured values are noisy: score the true losses of the last recommendation.
        recommended = [r for r in search.recommended if r.n_trials <= n]
        none = Recommendation(0, losses[:0], constraints[:0], measured[:0])
        _, losses, constraints, measured = recommended[-1] if recommended else none
    # Infeasible and failed trials are left out; the rest is reduced to its front.
    usable = np.flatnonzero(np.isfinite(losses).all(axis=1) & (measured | (of == "recommended")))
    front = usable[pareto.non_dominated(losses[usable])]
    evaluations = int(spent[n - 1]) if n else 0
    return FrontAt(losses[front], constraints[front], measured[front], evaluations, n_feasible)


class _Part(NamedTuple):
    """Searches of one optimizer in one run, and the settings that they share."""

    label: str
    result: Result
    settings: str
    searches: list[SearchResult]


def _compare_group(group: RunGroup, at: int | None, of: Source) -> ProblemComparison:
    """Score all optimizers of a group of runs."""
    indicators = QualityIndicators.of_runs(group.results)
    scores = tuple(
        _score_optimizer(name, parts, indicators, at, of) for name, parts in _pooled_parts(group)
    )
    first = group.results[0]
    standard = "union of all fronts" if first.reference.best is None else first.standard
    return ProblemComparison(group.name, standard, scores, group.notes)


def _pooled_parts(group: RunGroup) -> Iterator[tuple[str, list[_Part]]]:
    """Yield the name of each optimizer, and its searches run by run."""
    parts_by_name: dict[str, list[_Part]] = {}
    for result, label in zip(group.results, group.labels, strict=True):
        for config in result.experiment.optimizers:
            searches = [search for search in result.searches if search.optimizer == config.name]
            settings = json.dumps(config.model_dump(exclude={"name"}), sort_keys=True)
            part = _Part(label, result, settings, searches)
            parts_by_name.setdefault(config.name, []).append(part)
    for name, parts in parts_by_name.items():
        # Several pools of one name need the labels of their runs to be distinct.
        pools = _pool(parts)
        for pool in pools:
            suffix = f" ({'+'.join(part.label for part in pool)})" if len(pools) > 1 else ""
            yield name + suffix, pool


def _pool(parts: list[_Part]) -> list[list[_Part]]:
    """Group the searches of one optimizer whose runs differ in nothing but seeds."""
    same_setup: dict[Hashable, list[_Part]] = {}
    for part in parts:
        experiment = part.result.experiment
        # Prior trials, a shared start and plugins change a search like its settings do.
        shared = (experiment.initial or {}).get("shared")
        history = (experiment.warm_start, shared, *experiment.plugins)
        same_setup.setdefault((part.settings, experiment.budget, history), []).append(part)
    pools = []
    for candidates in same_setup.values():
        # A repeated seed is no independent sample: such runs differ in machine or version.
        seeds = [seed for part in candidates for seed in part.result.experiment.seeds]
        distinct = len(seeds) == len(set(seeds))
        pools += [candidates] if distinct else [[part] for part in candidates]
    return pools


def _score_optimizer(
    name: str, parts: list[_Part], indicators: QualityIndicators, at: int | None, of: Source
) -> OptimizerScore:
    """Score every seed of an optimizer that has ended or reached `at` evaluations."""
    fronts: dict[int, FrontAt] = {}
    values: dict[int, dict[str, float]] = {}
    status: dict[int, str] = {}
    for part in parts:
        # Seeds of the experiment without a search on disk remain "missing".
        status |= dict.fromkeys(part.result.experiment.seeds, "missing")
        for search in part.searches:
            status[search.seed] = search.status
            # An unfinished search has an arbitrary length: score it only at a fixed length.
            if "finished" in search.meta or (at is not None and _evaluations(search) >= at):
                members = {source: front_at(part.result, search, at, source) for source in SOURCES}
                fronts[search.seed] = members["recommended"]
                values[search.seed] = _front_values(part.result, members, indicators, of)
            else:
                status[search.seed] += f" at {_evaluations(search)}, left out"
    seeds = tuple(sorted(fronts))
    # Seeds share their problem, and so the names of their values.
    names = next(iter(values.values()), METRICS)
    return OptimizerScore(
        name,
        seeds,
        np.array([fronts[seed].evaluations for seed in seeds], dtype=np.int64),
        {key: np.array([values[seed][key] for seed in seeds]) for key in names},
        _join_status(status),
        parts[0].settings,
        sum(len(front.losses) for front in fronts.values()),
        sum(int((~front.measured).sum()) for front in fronts.values()),
    )


def _front_values(
    result: Result, fronts: dict[Source, FrontAt], indicators: QualityIndicators, of: Source
) -> dict[str, float]:
    """Return all values of a search's fronts, see `OptimizerScore`."""
    front = fronts[of]
    values = indicators.values(front.losses)
    if result.experiment.noise:
        for name in SOURCES:
            values[name] = indicators.normalized(indicators.hypervolume(fronts[name].losses))
    if result.constraints:
        values["feasible"] = float(front.n_feasible)
        # 0.0 - violation, so that no slack is printed as -0.0.
        slacks = 0.0 - constraint_violations(result.constraints, front.constraints)
        for constraint, column in zip(result.constraints, slacks.T, strict=True):
            values[slack_column(constraint)] = float(column.min()) if len(column) else float("nan")
    return values


def _join_status(status: dict[int, str]) -> str:
    """Return the status of seeds as one text; seeds are named only where they differ."""
    seeds_by_text: dict[str, list[int]] = {}
    for seed, text in sorted(status.items()):
        seeds_by_text.setdefault(text, []).append(seed)
    if len(seeds_by_text) == 1:
        return next(iter(seeds_by_text))
    return "; ".join(
        f"seed{'s'[: len(seeds) > 1]} {', '.join(map(str, seeds))}: {text}"
        for text, seeds in seeds_by_text.items()
    )


def _evaluations(search: SearchResult) -> int:
    """Return the number of evaluations that a search has used."""
    return int(search.trials.evaluations.sum())


def _check_evaluations(results: Sequence[Result], at: int) -> None:
    """Raise InvalidInput if a search ended before `at` evaluations."""
    if at < 1:
        raise InvalidInput(f"--at {at}: expected at least 1")
    too_short = []
    for result in results:
        # A search that ended within a sufficient budget had no evaluation left to spend.
        budget = result.experiment.budget
        sufficient = (
            budget == Budget(evaluations=budget.evaluations) and (budget.evaluations or 0) >= at
        )
        for search in result.searches:
            ended = "finished" in search.meta and "exhausted" not in search.meta and not sufficient
            if ended and _evaluations(search) < at:
                too_short.append((_evaluations(search), f"{search.path}"))
    if too_short:
        evaluations, path = min(too_short)
        raise InvalidInput(
            f"--at {at}: {path} ended after {evaluations} evaluations; "
            f"expected at most {evaluations}"
        )
