"""Tables of a run's results: the rows of ``summary.csv`` and ``front.csv``."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from hwnas import pareto
from hwnas.objectives import Objective, constraint_violations
from hwnas.runner.reference_point import Reference
from hwnas.runner.search_result import SearchResult
from hwnas.spaces import SearchSpace
from hwnas.typing import Array

SUMMARY = (
    "optimizer",
    "seed",
    "evaluations",
    "hypervolume",
    "normalised",
    "igd_plus",
    "epsilon",
    "front_size",
    "seconds",
    "status",
)
NOISE_COLUMNS = ("normalised_measured", "unmeasured")


def slack_column(constraint: Objective) -> str:
    """Return the name of the column of a constraint's slack, which is positive inside the bound.

    >>> from hwnas.objectives import parse_constraints
    >>> slack_column(parse_constraints(["params <= 1e8"])[0])
    'slack of params <= 100000000'
    """
    return f"slack of {constraint}"


def summary_columns(constraints: Sequence[Objective], noise: bool) -> tuple[str, ...]:
    """Return the columns of ``summary.csv``.

    Under noise `SUMMARY` is followed by ``normalised_measured`` and ``unmeasured``, with
    constraints by ``feasible`` and the smallest slack of each constraint on the front.
    """
    slacks = ("feasible", *map(slack_column, constraints)) if constraints else ()
    return (*SUMMARY, *(NOISE_COLUMNS if noise else ()), *slacks)


def summary_row(
    search: SearchResult,
    constraints: Sequence[Objective],
    reference: Reference,
    best_front: Array,
    best_hypervolume: float,
    *,
    noise: bool,
) -> dict[str, Any]:
    """Return the row of one search by `summary_columns`.

    ``seconds`` is the time from the first proposal to the last trial. ``normalised_measured`` is
    the normalized hypervolume of the recommended architectures that were measured, ``unmeasured``
    the number of members of the front that were not; ``feasible`` is the number of complete trials
    within all constraints.

    Parameters
    ----------
    search
        The search.
    constraints
        Constraints of its problem.
    reference
        Scale and reference point of its problem.
    best_front : (n, m)
        Losses of the best known front.
    best_hypervolume
        Its hypervolume.
    noise
        Whether the search observed noisy draws.
    """
    # 1. Quality indicators.
    hypervolume, measured = (
        pareto.hypervolume(losses, reference.point)
        for losses in (search.front.losses, search.measured_losses)
    )
    scale = 1 / best_hypervolume if best_hypervolume > 0 else 0.0
    best, front = map(reference.scaled, (best_front, search.front.losses))
    comparable = len(front) > 0 and len(best) > 0
    values: list[Any] = [
        search.optimizer,
        search.seed,
        int(search.trials.evaluations.sum()),
        hypervolume,
        hypervolume * scale,
        pareto.igd_plus(front, best) if comparable else float("nan"),
        pareto.epsilon(front, best) if comparable else float("nan"),
        len(front),
        float(search.trials.elapsed[-1]) if len(search.trials) else 0.0,
        search.status,
    ]
    # 2. Members that were recommended but never measured.
    if noise:
        values += [measured * scale, search.n_unmeasured]
    # 3. Constraints.
    if constraints:
        slacks = front_slacks(search, constraints)
        values.append(int(np.isfinite(search.losses).all(axis=1).sum()))
        values += (slacks.min(axis=0) if len(slacks) else slacks.sum(axis=0) + np.nan).tolist()
    return dict(zip(summary_columns(constraints, noise), values, strict=True))


def html_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a table as HTML, floats with five significant digits; notebooks show it.

    >>> html_table(["a"], [[0.123456], ["<b>"]])
    '<table><tr><th>a</th></tr><tr><td>0.12346</td></tr><tr><td>&lt;b&gt;</td></tr></table>'
    """
    texts = [[f"{v:.5g}" if isinstance(v, float) else str(v) for v in row] for row in rows]
    lines = [("th", header), *(("td", row) for row in texts)]
    cells = ("".join(f"<{tag}>{escape(v)}</{tag}>" for v in row) for tag, row in lines)
    return "<table>" + "".join(f"<tr>{row}</tr>" for row in cells) + "</table>"


def front_slacks(search: SearchResult, constraints: Sequence[Objective]) -> Array:
    """Return the slack (k, c) of each member of a front, in the constraint's unit.

    It is positive inside the bound and never negative on a front, whose members are feasible.
    """
    # 0.0 - violation, so that no slack is printed as -0.0.
    return 0.0 - constraint_violations(tuple(constraints), search.front_constraints)


def front_table(
    search: SearchResult, space: SearchSpace, constraints: Sequence[Objective]
) -> tuple[list[str], list[list[Any]]]:
    """Return header and rows of ``front.csv``.

    Returns
    -------
    header, rows
        First trial (empty where there is none), architecture, objectives in raw units, and for each
        constraint its value and its slack.
    """
    header = ["trial", "arch", *map(str, search.front.objectives)]
    trials = [str(trial) if trial >= 0 else "" for trial in search.front_trials.tolist()]
    columns: list[Sequence[Any]] = [trials, space.decode(search.front.codes)]
    columns += search.front.values.T.tolist()
    # One pair of columns for each constraint.
    slacks = front_slacks(search, constraints)
    for j, constraint in enumerate(constraints):
        header += [str(constraint), slack_column(constraint)]
        columns += [search.front_constraints[:, j].tolist(), slacks[:, j].tolist()]
    return header, [list(row) for row in zip(*columns, strict=True)]
