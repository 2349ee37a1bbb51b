"""Questions of the page: two objectives and bounds, parsed and checked."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from hwnas.backends import metric_of
from hwnas.errors import InvalidInput
from hwnas.explorer.catalogue import Catalogue
from hwnas.objectives import Objective
from hwnas.surrogates import Surrogate
from hwnas.surrogates.problem_fronts import check_front

MAX_BOUNDS = 16
MAX_TEXT = 200  # characters of a metric or a bound


@dataclass(frozen=True, slots=True)
class FrontQuery:
    """A front that the page asks for.

    Attributes
    ----------
    space
        Name of a space of the catalogue.
    objectives
        The objectives on the two axes.
    bounds
        Constraints that can exclude an architecture.
    """

    space: str
    objectives: tuple[Objective, ...]
    bounds: tuple[Objective, ...] = ()


def parse_query(
    catalogue: Catalogue, space: str, objectives: Sequence[str], bounds: Sequence[str] = ()
) -> FrontQuery:
    """Return a checked query; bounds that every architecture keeps are left out.

    Parameters
    ----------
    catalogue
        Spaces on offer.
    space
        Name of one of them.
    objectives
        Two different metrics, in the grammar of `hwnas.objectives`, each on at most one device.
    bounds
        Constraints in that grammar.

    Raises
    ------
    InvalidInput
        A name does not exist, or a text does not follow the grammar.

    Examples
    --------
    >>> query = parse_query(Catalogue(), "gpt-s", ["perplexity", "params"], ["params <= 1e12"])
    >>> query.bounds
    ()
    """
    if len(bounds) > MAX_BOUNDS:
        raise InvalidInput(f"expected at most {MAX_BOUNDS} bounds, found {len(bounds)}")
    bench = catalogue.bench(space)
    goals = tuple(map(parse_metric, objectives))
    limits = tuple(map(parse_metric, bounds))
    if len(goals) != 2 or len({goal.value for goal in goals}) != 2:
        raise InvalidInput("expected two different metrics for the two axes")
    check_front(bench, goals, limits)
    for objective in (*goals, *limits):
        if len(objective.devices) > 1:
            raise InvalidInput(f"{objective}: expected one device; compare devices instead")
    for goal in goals:
        if goal.bound is not None:
            raise InvalidInput(f"{goal}: expected a metric, found a bound")
    # Bounds that every architecture keeps would only slow the search down.
    return FrontQuery(space, goals, tuple(b for b in limits if not _is_void(bench, b)))


def parse_metric(text: str) -> Objective:
    """Return the objective or bound of a text that may come from anybody.

    Raises
    ------
    InvalidInput
        It is too long or does not follow the grammar.
    """
    if len(text) > MAX_TEXT:
        raise InvalidInput(f"expected at most {MAX_TEXT} characters, found {len(text):,}")
    return Objective.parse(text)


def front_command(catalogue: Catalogue, query: FrontQuery) -> str:
    """Return the command that prints the front of a query.

    Examples
    --------
    >>> catalogue = Catalogue()
    >>> query = parse_query(catalogue, "gpt-s", ["perplexity", "params"], ["params <= 1e8"])
    >>> front_command(catalogue, query)
    "hwnas front gpt-s perplexity params --constraint 'params <= 100000000'"
    """
    words = ["hwnas", "front", catalogue.source(query.space), *map(str, query.objectives)]
    for bound in query.bounds:
        words += ["--constraint", str(bound)]
    for path in catalogue.tables:
        words += ["--tables", path]
    return shlex.join(words)


def _is_void(bench: Surrogate, bound: Objective) -> bool:
    """Return whether every architecture of a space keeps a bound."""
    metric_of(bench, bound)
    assert bound.bound is not None
    low, high = bench.range(bound.value)
    # Ranges are sums in another order than predictions: only clear cases are void.
    margin = 1e-9 * max(abs(low), abs(high))
    return bound.bound > high + margin if bound.relation == "<=" else bound.bound < low - margin
