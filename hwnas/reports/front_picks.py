"""Members of a run's front by name: the knee, the fastest, the best, or by a bound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hwnas import pareto
from hwnas.errors import InvalidInput
from hwnas.fronts import Front
from hwnas.objectives import Objective, losses_of, parse_constraints
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
        that keep it, the best.

    Raises
    ------
    InvalidInput
        The name is none of these, the front is empty, or no member keeps the bound.
    """
    front, owners = _union(result)
    if not len(front):
        raise InvalidInput(f"{result.path}: the front is empty")
    if name in PICKS:
        index = _RULES[name](front)
    elif "<=" in name or ">=" in name:
        index = _best_within(front, parse_constraints([name])[0])
    else:
        raise InvalidInput(
            f"--pick: expected {', '.join(PICKS)} or a bound on an objective, such as "
            f"'{front.objectives[-1].value} <= {front.values[:, -1].min():.4g}', found {name!r}"
        )
    (arch,) = result.space.decode(front.codes[index : index + 1])
    search = result.searches[int(owners[index])]
    return FrontMember(arch, front.values[index], search, index + 1, len(front))


def _union(result: Result) -> tuple[Front, IndexArray]:
    """Return the front of all searches, and the search (n,) of each member."""
    fronts = [search.front for search in result.searches]
    codes = np.concatenate([front.codes for front in fronts])
    values = np.concatenate([front.values for front in fronts])
    owners = np.repeat(np.arange(len(fronts)), [len(front) for front in fronts])
    if not len(codes):
        return Front(codes, values, result.objectives, None), owners
    losses = losses_of(result.objectives, values)
    rows = np.flatnonzero(pareto.non_dominated(losses))
    rows = rows[np.lexsort(losses[rows].T[::-1])]
    # One member for each point: several searches may have found it.
    is_new = np.ones(len(rows), dtype=bool)
    is_new[1:] = (losses[rows][1:] != losses[rows][:-1]).any(axis=1)
    rows = rows[is_new]
    return Front(codes[rows], values[rows], result.objectives, None), owners[rows]


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


def _best_within(front: Front, bound: Objective) -> int:
    """Return the best of the members that keep a bound."""
    names = [str(objective.value) for objective in front.objectives]
    if str(bound.value) not in names:
        raise InvalidInput(
            f"--pick {bound}: expected a bound on {' or '.join(names)}, the objectives of the run"
        )
    column = front.values[:, names.index(str(bound.value))]
    rows = np.flatnonzero(bound.violation(column) <= 0)
    if not len(rows):
        raise InvalidInput(
            f"--pick {bound}: no member of the front keeps it; its values are {column.min():.4g} "
            f"to {column.max():.4g}"
        )
    return int(rows[front.losses[rows, _quality(front)].argmin()])


_RULES: dict[str, Callable[[Front], int]] = {"knee": _knee, "fastest": _fastest, "best": _best}
