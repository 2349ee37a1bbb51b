"""Fronts for the page: members of the known front at once, and payloads."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwnas.errors import InvalidInput
from hwnas.explorer.queries import FrontQuery
from hwnas.fronts import Front
from hwnas.objectives import constraint_violations
from hwnas.surrogates import Surrogate
from hwnas.typing import Codes

FIRST_CHARACTER = 48  # of codes as text: "0" is 0


def known_front(bench: Surrogate, query: FrontQuery) -> Front:
    """Return the front of a query without its bounds; computed once, in about 0.1 s.

    Raises
    ------
    InvalidInput
        No front is known for these objectives.
    """
    front = bench.front(query.objectives)
    if front is None:
        names = " and ".join(map(str, query.objectives))
        raise InvalidInput(f"no front is known for {names}; expected other metrics")
    return front


def filtered_front(bench: Surrogate, query: FrontQuery) -> Front:
    """Return the members of the known front that keep the bounds.

    Where all of them do, and where all bounds are on objectives, this is the exact front: the
    bounds then exclude nothing, or only an end of it. Else `Front.epsilon` is ``None``, since an
    architecture that a forbidden member dominates is missing.

    Examples
    --------
    >>> from hwnas.explorer.catalogue import Catalogue
    >>> from hwnas.explorer.queries import parse_query
    >>> catalogue = Catalogue()
    >>> bench = catalogue.bench("gpt-s")
    >>> def members(*bounds):
    ...     axes = ["perplexity", "latency@h100"]
    ...     return filtered_front(bench, parse_query(catalogue, "gpt-s", axes, bounds))
    >>> members().exactness, members("params <= 1e8").exactness
    ('exact front', 'best known front')
    """
    front = known_front(bench, query)
    if not query.bounds:
        return front
    values = bench.predict(front.codes, [bound.value for bound in query.bounds])
    within_bounds = np.all(constraint_violations(query.bounds, values) <= 0, axis=1)
    members = front.subset(within_bounds)
    goals = {(goal.value, goal.maximise) for goal in query.objectives}
    ends_only = all((b.value, b.relation == ">=") in goals for b in query.bounds)
    if within_bounds.all() or ends_only:
        return Front(members.codes, members.values, members.objectives, front.epsilon)
    return members


def front_payload(front: Front, *, is_filtered: bool) -> dict[str, Any]:
    """Return a front for the page.

    Returns
    -------
    dict
        ``codes``: one character for each column of each member; ``x`` and ``y``: their values;
        ``state``: ``"filtered"`` or how exact the front is.
    """
    return {
        "codes": codes_as_text(front.codes),
        "x": front.values[:, 0].tolist(),
        "y": front.values[:, 1].tolist(),
        "of": len(front),
        "filtered": is_filtered,
        "state": "filtered" if is_filtered else front.exactness,
    }


def codes_as_text(codes: Codes) -> str:
    """Return codes (n, d) as n d characters, from ``"0"`` on.

    Examples
    --------
    >>> codes_as_text(np.array([[0, 1], [2, 0]], dtype=np.int8))
    '0120'
    """
    return (codes.astype(np.uint8) + FIRST_CHARACTER).tobytes().decode("latin-1")


def codes_of_text(bench: Surrogate, text: str) -> Codes:
    """Return the codes (n, d) of a text of the page.

    Raises
    ------
    InvalidInput
        The text is none of codes of the space.
    """
    d = len(bench.space.columns)
    try:
        numbers = np.frombuffer(text.encode("latin-1"), dtype=np.uint8).astype(np.int64)
    except UnicodeEncodeError:
        numbers = np.full(1, -1)
    numbers = numbers - FIRST_CHARACTER
    is_shaped = len(numbers) > 0 and len(numbers) % d == 0
    if not is_shaped or not bench.space.is_valid(numbers.reshape(-1, d)).all():
        raise InvalidInput(
            f"code: expected {d} characters for each architecture of {bench.space.name}, found "
            f"{len(text)} that are none"
        )
    return numbers.reshape(-1, d).astype(np.int8)
