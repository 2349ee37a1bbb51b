"""Payload of a report's fronts: searches with their trials, fronts and failures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from hwnas import pareto
from hwnas.fronts import Front
from hwnas.reports.plots import style, trajectories
from hwnas.reports.plots.subset import select_evenly
from hwnas.runner.results import Result
from hwnas.runner.search_result import SearchResult, Trajectory
from hwnas.spaces import SearchSpace
from hwnas.typing import Array, Codes, IndexArray

_MAX_KNOWN = 3_000  # members of the backend's own front, which can have a million
_MAX_FAILURES = 200
_ZERO = ord("0")  # character of a column's first choice


class ArchitectureIndex:
    """Index of architectures, each stored once, in the order in which they are added."""

    def __init__(self) -> None:
        self._indices: dict[bytes, int] = {}

    def add(self, codes: Codes) -> list[int]:
        """Add architectures (n, d) that are new, and return the index of each."""
        # Codes of one space all have the same length, so their bytes identify them.
        keys = (row.tobytes() for row in np.ascontiguousarray(codes))
        return [self._indices.setdefault(key, len(self._indices)) for key in keys]

    def codes(self, space: SearchSpace) -> Codes:
        """Return the codes (n, d) of all architectures."""
        flat = np.frombuffer(b"".join(self._indices), dtype=np.int8)
        return flat.reshape(len(self._indices), len(space.columns))


def encode_codes(codes: Codes) -> str:
    """Return a character for each code, row by row: ``"0"`` for 0, and up from there; "/" for -1.

    >>> encode_codes(np.array([[0, 2], [1, 0]], dtype=np.int8))
    '0210'
    """
    return (codes.astype(np.uint8) + _ZERO).tobytes().decode("latin-1")


def round_number(value: float, digits: int = 6) -> float | int | None:
    """Return a number with some significant digits; a whole one exactly, NaN as ``None``.

    >>> round_number(3.14159265), round_number(12345678.0), round_number(float("nan"))
    (3.14159, 12345678, None)
    """
    if not math.isfinite(value):
        return None
    return int(value) if value.is_integer() else float(f"{value:.{digits}g}")


def round_columns(values: Array, digits: int = 6) -> list[list[float | int | None]]:
    """Return the columns of values (n, q), rounded."""
    return [[round_number(value, digits) for value in column] for column in values.T.tolist()]


def optimizer_names(result: Result) -> list[str]:
    """Return the distinct optimizers of a run, in order."""
    return style.unique_names([search.optimizer for search in result.searches])


def searches_payload(
    result: Result, architectures: ArchitectureIndex, limit: int
) -> tuple[list[dict[str, Any]], list[IndexArray]]:
    """Return every search with its trials and its front.

    Parameters
    ----------
    result
        The run.
    architectures
        Index to which architectures are added.
    limit
        Maximum number of trials of all searches.

    Returns
    -------
    searches
        Payload of each search.
    members
        For each search, indices of the members of its front in the payload.
    """
    m = len(result.objectives)
    # A trial is drawn if all its objectives have values.
    masks = [np.isfinite(s.trials.values[:, :m]).all(axis=1) for s in result.searches]
    # If there are too many trials, every search keeps the same share of its own.
    share = min(1.0, limit / max(1, sum(int(mask.sum()) for mask in masks)))
    optimizers = optimizer_names(result)
    searches, all_members = [], []
    for search, mask in zip(result.searches, masks, strict=True):
        quota = limit if share == 1 else max(1, int(share * mask.sum()))
        members = select_evenly(np.arange(len(search.front)), quota)
        front_trials = search.front_trials[members]
        rows = _select_rows(np.flatnonzero(mask), front_trials, quota)
        all_members.append(members)
        searches.append(
            {
                "optimizer": optimizers.index(search.optimizer),
                "seed": search.seed,
                "status": search.status,
                "of": len(search.trials),
                "valued": int(mask.sum()),
                "trials": _trials_payload(search, rows, result, architectures),
                "front": {
                    "of": len(search.front),
                    "network": architectures.add(search.front.codes[members]),
                    "trial": front_trials.tolist(),
                    "values": round_columns(search.front.values[members]),
                    "constraints": round_columns(search.front_constraints[members]),
                },
            }
        )
    return searches, all_members


def optimizer_notes(result: Result) -> list[str]:
    """Return what to know of each optimizer in a legend, empty where there is nothing.

    Fronts with members that were never measured, and an earlier optimizer with equal results, whose
    lines cannot be seen.
    """
    notes: list[str] = []
    first: dict[tuple[object, ...], str] = {}
    for name, long_name in trajectories.front_names(result).items():
        texts = [long_name.removeprefix(name).strip(" ()")]
        # Fronts and curves are what the page draws of an optimizer.
        key = tuple(
            (search.seed, search.front.values.tobytes(), *_curve_bytes(trajectory))
            for search, trajectory in zip(result.searches, result.trajectories, strict=True)
            if search.optimizer == name
        )
        if key in first:
            texts.append(f"same results as {first[key]}")
        first.setdefault(key, name)
        notes.append("; ".join(filter(None, texts)))
    return notes


def _curve_bytes(trajectory: Trajectory) -> tuple[bytes, bytes]:
    return trajectory.evaluations.tobytes(), trajectory.normalised.tobytes()


def failure_notes(result: Result) -> list[str]:
    """Return a line for each optimizer with failed trials: their number and the first reason."""
    notes = []
    for name in optimizer_names(result):
        searches = [search for search in result.searches if search.optimizer == name]
        failed = [(s, s.trials.status.count("failed")) for s in searches]
        failed = [(search, count) for search, count in failed if count]
        if not failed:
            continue
        count, total = sum(count for _, count in failed), sum(len(s.trials) for s in searches)
        reason = failed[0][0].first_failure or "no reason given"
        notes.append(f"{name}: {count:,} of {total:,} trials failed; the first: {reason}")
    return notes


def union_payload(result: Result, members: Sequence[IndexArray]) -> list[list[int]]:
    """Return search and member of each point of the front of all searches' fronts.

    Parameters
    ----------
    result
        The run.
    members
        Members of each search's front to consider, as `searches_payload` returns them.
    """
    # Non-dominated members over all searches, as pairs of indices.
    losses = [s.front.losses[rows] for s, rows in zip(result.searches, members, strict=True)]
    pairs = [[i, j] for i, rows in enumerate(losses) for j in range(len(rows))]
    indices = np.flatnonzero(pareto.non_dominated(np.concatenate(losses)))
    return [pairs[k] for k in indices.tolist()]


def known_front_payload(
    result: Result, architectures: ArchitectureIndex, limit: int
) -> dict[str, Any] | None:
    """Return the backend's own front; at most `limit` members, evenly along it."""
    front: Front | None = result.known
    if front is None:
        return None
    rows = select_evenly(np.arange(len(front)), min(_MAX_KNOWN, limit))
    return {
        "name": front.exactness,
        "of": len(front),
        "network": architectures.add(front.codes[rows]),
        "values": round_columns(front.values[rows]),
    }


def failures_payload(result: Result, architectures: ArchitectureIndex) -> dict[str, Any]:
    """Return the number of trials without all values, and the first of them with reasons."""
    failures = [
        (i, trial)
        for i, search in enumerate(result.searches)
        for trial in np.flatnonzero(~search.trials.ok).tolist()
    ]
    rows = []
    for i, trial in failures[:_MAX_FAILURES]:
        trials = result.searches[i].trials
        index = architectures.add(trials.codes[trial : trial + 1])[0]
        status, reason = trials.status[trial], trials.reason[trial]
        # An evaluation that was stopped at a bound is infeasible, not failed.
        default = "stopped" if status == "infeasible" else status
        rows.append({"search": i, "trial": trial, "network": index, "reason": reason or default})
    return {"of": len(failures), "rows": rows}


def _select_rows(rows: IndexArray, preferred: IndexArray, limit: int) -> IndexArray:
    """Return at most `limit` rows: the preferred ones first, then evenly from the others."""
    if len(rows) <= limit:
        return rows
    # Trials on the front matter most, because the page links members to their trials.
    mask = np.isin(rows, preferred)
    first = select_evenly(rows[mask], limit)
    return np.sort(np.concatenate([first, select_evenly(rows[~mask], limit - len(first))]))


def _trials_payload(
    search: SearchResult, rows: IndexArray, result: Result, architectures: ArchitectureIndex
) -> dict[str, Any]:
    """Return columns of the trials in `rows`; columns without information are left out."""
    trials, m = search.trials, len(result.objectives)
    std = trials.std[rows, :m]
    fidelity, repeat = trials.fidelity[rows], trials.repeat[rows]
    feasible = np.isfinite(search.losses[rows]).all(axis=1)  # by measured values
    columns: dict[str, Any] = {
        "network": architectures.add(trials.codes[rows]),
        "values": round_columns(trials.values[rows]),
    }
    # Without the numbers of trials, rows are all trials in order.
    if len(rows) < len(trials):
        columns["number"] = rows.tolist()
    if not feasible.all():
        columns["kept"] = feasible.astype(int).tolist()
    if (std > 0).any():
        columns["std"] = round_columns(std, 2)
    if (repeat > 0).any():
        columns["repeat"] = repeat.tolist()
    if (fidelity >= 0).any():
        columns["fidelity"] = fidelity.tolist()
    return columns
