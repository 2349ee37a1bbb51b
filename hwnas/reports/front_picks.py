"""Members of a run's front by name: the knee, the fastest, the best, or by a bound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hwnas import pareto
from hwnas.backends import is_closed_form, metric_of
from hwnas.errors import InvalidInput
from hwnas.fronts import Front
from hwnas.objectives import Objective, losses_of, parse_constraints
from hwnas.runner.evaluation import measure
from hwnas.runner.results import Result
from hwnas.runner.search_result import SearchResult
from hwnas.typing import Array, IndexArray

PICKS = ("knee", "fastest", "best")
_TIMES = ("latency", "ttft", "tpot", "throughput")
_QUALITIES = ("perplexity", "bits_per_byte")


@dataclass(frozen=True)
class FrontMember:
    """Member of the front of all searches of a run.

    Attributes
    ----------
    arch
        Its architecture.
    values : (m,)
        Values of the objectives, in raw units.
    search
        Search that found it.
    place, n_members
        Its place on the front, from 1, sorted by the first objective, and the front's size.
    """

    arch: object
    values: Array
    search: SearchResult
    place: int
    n_members: int


def pick(result: Result, name: str) -> FrontMember:
    """Return a member of the front of all searches.

    Parameters
    ----------
    name
        ``"knee"``: the member farthest below the plane through the ends of the front (Das 1999).
        ``"fastest"`` and ``"best"``: best in the first objective that is a time, and in the first
        that is a quality, else the first of all. Or a bound, ``"latency@cpu <= 5"``: of the members
        that keep it, the best. The bound is on an objective or a constraint of the run, on a closed
        form such as ``kv_cache.serve``, or on any metric of the surrogate if that was searched.

    Raises
    ------
    InvalidInput
        The name is none of these, the front is empty, no member keeps the bound, or its metric
        would have to be measured.
    """
    union = _union(result)
    front = union.front
    if not len(front):
        raise InvalidInput(f"{result.path}: the front is empty")
    if name in PICKS:
        index = _RULES[name](front)
    elif "<=" in name or ">=" in name:
        index = _best_within(result, union, parse_constraints([name])[0])
    else:
        raise InvalidInput(
            f"--pick: expected {', '.join(PICKS)} or a bound, such as "
            f"'{front.objectives[-1].value} <= {front.values[:, -1].min():.4g}', found {name!r}"
        )
    (arch,) = result.space.decode(front.codes[index : index + 1])
    search = result.searches[int(union.owners[index])]
    return FrontMember(arch, front.values[index], search, index + 1, len(front))


@dataclass(frozen=True)
class _Union:
    """Front of all searches.

    Attributes
    ----------
    front
        Its n members.
    owners : (n,)
        Index of the search of each member.
    constraints : (n, c)
        Their values of the constraints.
    """

    front: Front
    owners: IndexArray
    constraints: Array


def _union(result: Result) -> _Union:
    """Return the front of all searches."""
    fronts = [search.front for search in result.searches]
    codes = np.concatenate([front.codes for front in fronts])
    values = np.concatenate([front.values for front in fronts])
    constraints = np.concatenate([search.front_constraints for search in result.searches])
    owners = np.repeat(np.arange(len(fronts)), [len(front) for front in fronts])
    rows = np.arange(len(codes))
    if len(rows):
        losses = losses_of(result.objectives, values)
        rows = np.flatnonzero(pareto.non_dominated(losses))
        rows = rows[np.lexsort(losses[rows].T[::-1])]
        # One member for each point: several searches may have found it.
        is_new = np.ones(len(rows), dtype=bool)
        is_new[1:] = (losses[rows][1:] != losses[rows][:-1]).any(axis=1)
        rows = rows[is_new]
    front = Front(codes[rows], values[rows], result.objectives, None)
    return _Union(front, owners[rows], constraints[rows])


def _knee(front: Front) -> int:
    """Return the member whose losses, scaled to the front's range, have the smallest sum."""
    losses = front.losses
    span = np.ptp(losses, axis=0)
    scaled = (losses - losses.min(axis=0)) / np.where(span > 0, span, 1)
    return int(scaled.sum(axis=1).argmin())


def _fastest(front: Front) -> int:
    times = [j for j, o in enumerate(front.objectives) if o.metric in _TIMES]
    if not times:
        raise InvalidInput(
            f"--pick fastest: expected an objective that is a time, found "
            f"{', '.join(map(str, front.objectives))}"
        )
    return int(front.losses[:, times[0]].argmin())


def _best(front: Front) -> int:
    return int(front.losses[:, _quality(front)].argmin())


def _quality(front: Front) -> int:
    """Return the index of the objective by which the best is chosen."""
    indices = (j for j, o in enumerate(front.objectives) if o.metric in _QUALITIES)
    return next(indices, 0)


def _best_within(result: Result, union: _Union, bound: Objective) -> int:
    """Return the best of the members that keep a bound."""
    values = _values_of(result, union, bound)
    rows = np.flatnonzero(bound.violation(values) <= 0)
    if not len(rows):
        raise InvalidInput(
            f"--pick {bound}: no member of the front keeps it; its values are {values.min():.4g} "
            f"to {values.max():.4g}"
        )
    front = union.front
    return int(rows[front.losses[rows, _quality(front)].argmin()])


def _values_of(result: Result, union: _Union, bound: Objective) -> Array:
    """Return the values (n,) that a bound limits: those of the run, or computed ones."""
    columns = {
        str(objective.value): values
        for objective, values in zip(
            (*result.constraints, *result.objectives),
            (*union.constraints.T, *union.front.values.T),
            strict=True,
        )
    }
    name = str(bound.value)
    if name in columns:
        return np.asarray(columns[name])
    is_computed = is_closed_form(result.space, bound)
    if not is_computed and result.experiment.backend.type != "surrogate":
        raise InvalidInput(
            f"--pick {bound}: the run has no {name}; expected a bound on {', '.join(columns)}, or "
            "on what follows from architectures, such as params"
        )
    backend = result.problem.truth
    metric_of(backend, bound)  # refuses what the backend does not know
    values: Array = measure(backend, union.front.codes, (bound.value,)).values[:, 0]
    return values


_RULES: dict[str, Callable[[Front], int]] = {"knee": _knee, "fastest": _fastest, "best": _best}
