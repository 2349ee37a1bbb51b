"""Summary of a run: a table with a row for each optimizer, and the notes of searches."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from hwnas.runner.failures import ERROR_FILE
from hwnas.runner.missing_estimate import stored_estimates
from hwnas.runner.results import Result
from hwnas.runner.search_result import SearchResult
from hwnas.runner.summary import slack_column

_Row = dict[str, Any]


def summary_table(result: Result) -> tuple[list[str], list[list[str]]]:
    """Return a row for each optimizer: means over seeds, and the range of the hypervolume.

    Where recommended architectures were never measured there is a column ``measured``, the
    normalized hypervolume of those that were; with constraints there are ``feasible``, the number
    of feasible trials, and the smallest slack of each constraint on the fronts of all seeds.

    Returns
    -------
    header, rows
    """
    table: dict[str, list[str]] = {}
    # One column after another, each over the rows of an optimizer's seeds.
    names = [*dict.fromkeys(search.optimizer for search in result.searches)]
    groups = [[row for row in result.summary if row["optimizer"] == name] for name in names]
    table["optimizer"] = names
    table["seeds"] = [str(len(rows)) for rows in groups]
    table["evaluations"] = _means(groups, "evaluations", ".0f")
    table["normalised"] = _means(groups, "normalised", ".4f")
    table["range"] = ["{:.4f} to {:.4f}".format(*_extremes(rows, "normalised")) for rows in groups]
    if has_unmeasured(result):
        table["measured"] = _means(groups, "normalised_measured", ".4f")
    table["igd_plus"] = _means(groups, "igd_plus", ".4f")
    table["epsilon"] = _means(groups, "epsilon", ".4f")
    table["front_size"] = _means(groups, "front_size", ".0f")
    if result.constraints:
        table["feasible"] = _means(groups, "feasible", ".0f")
    for column in map(slack_column, result.constraints):
        table[column] = [_signed(_extremes(rows, column)[0]) for rows in groups]
    table["seconds"] = _means(groups, "seconds", ".2f")
    table["status"] = ["; ".join(dict.fromkeys(row["status"] for row in rows)) for rows in groups]
    return list(table), [list(row) for row in zip(*table.values(), strict=True)]


def table_notes(result: Result) -> list[str]:
    """Return what the columns of `summary_table` mean, and what they leave out; one line each."""
    n_seeds = len({search.seed for search in result.searches})
    means = f"means over {n_seeds} seeds; " if n_seeds > 1 else ""
    notes = [f"{means}seconds from the first proposal of a search to its last trial"]
    notes += unequal_notes(result)
    if result.constraints:
        notes.append("slack: the smallest on a front, positive inside the bound")
    if has_unmeasured(result):
        counts = dict.fromkeys(
            f"{s.optimizer} seed {s.seed} {s.n_unmeasured} of {len(s.front)}"
            for s in result.searches
            if s.n_unmeasured
        )
        notes.append(
            "measured: hypervolume of the recommended architectures that were measured; never "
            f"measured were, by search: {', '.join(counts)}"
        )
    return notes


def unequal_notes(result: Result) -> list[str]:
    """Return what means over searches mix: unequal numbers of evaluations or of seeds, a line each.

    Numbers of evaluations are also unequal where the budget is one of cost or seconds.
    """
    evaluations: dict[str, list[int]] = {}
    for row in result.summary:
        evaluations.setdefault(row["optimizer"], []).append(row["evaluations"])
    notes = []
    used = [n for counts in evaluations.values() for n in counts]
    if len(set(used)) > 1:
        mixed = [
            f"{name} {min(counts)} to {max(counts)}"
            for name, counts in evaluations.items()
            if len(set(counts)) > 1
        ]
        within = f", within an optimizer: {', '.join(mixed)}" if mixed else ""
        notes.append(
            f"searches used {min(used)} to {max(used)} evaluations{within}; hwnas compare --at N "
            "compares all after N"
        )
    n_seeds = [len(counts) for counts in evaluations.values()]
    if len(set(n_seeds)) > 1:
        notes.append(f"means are over unequal numbers of seeds, {min(n_seeds)} to {max(n_seeds)}")
    return notes


def has_unmeasured(result: Result) -> bool:
    """Return whether a front holds architectures that were never measured."""
    return any(search.n_unmeasured for search in result.searches)


def search_notes(result: Result) -> list[str]:
    """Return the notes of the backend and of all searches, one line each."""
    # The backend says the same in every search.
    lines = [line for s in result.searches for line in s.meta.get("backend_notes", "").splitlines()]
    notes = [*dict.fromkeys(lines)]
    for search in result.searches:
        name = f"{search.optimizer} seed {search.seed}"
        lines = search.meta.get("notes", "").splitlines()
        notes += [f"{name}: {_with_names(line, result)}" for line in lines]
        if estimates := stored_estimates(search.meta, search.path / "trials.db"):
            reached = ", which ended it" if "within" in search.meta else ""
            notes.append(f"{name}: {estimates[-1]} after {estimates[-1].trials} trials{reached}")
        if len(search.trials) and not len(search.front):
            bounds = "within all constraints " if result.constraints else ""
            notes.append(f"{name}: no architecture {bounds}was found")
        if search.first_failure:
            notes.append(f"{name}: {_failure_note(search)}")
        if first := search.meta.get("diverged"):
            notes.append(
                f"{name}: from trial {first} on its trials are not those of a run in one go with "
                "this budget"
            )
        # Early stopping of infeasible evaluations is worth reporting only if it saved time.
        if saved := search.seconds_saved:
            stopped = search.trials.status.count("infeasible")
            notes.append(
                f"{name}: {stopped} evaluations stopped at a bound, about {saved:.0f} s saved"
            )
    return notes


def _failure_note(search: SearchResult) -> str:
    """Return how many trials of a search failed, the first reason, and where to read more."""
    n_failed = search.trials.status.count("failed")
    note = (
        f"{n_failed} of {len(search.trials)} trials failed, the first with {search.first_failure}"
    )
    file = search.path / ERROR_FILE
    return f"{note}; see {file}" if file.exists() else note


def _with_names(line: str, result: Result) -> str:
    """Return a note with the names of objectives, which an optimizer knows by number only."""
    names = [str(objective) for objective in result.objectives]

    def name(match: re.Match[str]) -> str:
        number = int(match[1])
        return names[number - 1] if 1 <= number <= len(names) else match[0]

    return re.sub(r"\bobjective (\d+)\b", name, line)


def _signed(slack: float) -> str:
    """Return a slack with its sign; empty where there is none."""
    return "" if math.isnan(slack) else f"{slack:+.4g}"


def _means(groups: Sequence[Sequence[_Row]], column: str, form: str) -> list[str]:
    """Return the mean of a column in each group of rows, formatted."""
    return [format(sum(row[column] for row in rows) / len(rows), form) for rows in groups]


def _extremes(rows: Sequence[_Row], column: str) -> tuple[float, float]:
    """Return the smallest and the largest value of a column."""
    values = [row[column] for row in rows]
    values = [value for value in values if not math.isnan(value)] or [math.nan]
    return min(values), max(values)
