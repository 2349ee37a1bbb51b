"""What the report of a run shows, as plain data that a page in a browser can read."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas import pareto
from hwnas.fronts import Front
from hwnas.objectives import Objective
from hwnas.reports.comparison.tables import overview
from hwnas.reports.plots import style, trajectories
from hwnas.reports.plots.subset import evenly
from hwnas.runner.results import SUMMARY, Result
from hwnas.runner.search_result import SearchResult
from hwnas.spaces import Codes

Rows = NDArray[np.intp]

TRIALS = 60_000  # in all; with more a page would open slowly
_CHARACTERS = 6_000_000  # of all networks, one a column
_KNOWN = 3_000  # members of the backend's own front, which can have a million
_PLACES = 600  # where a trajectory is drawn; more fall on the same pixel
_FAILURES = 200
_ZERO = ord("0")  # the character of a column's first choice
_FORMATS = {
    "hypervolume": "#.6g",
    "normalised": ".4f",
    "igd_plus": ".4f",
    "epsilon": ".4f",
    "seconds": ".2f",
}


def contents(result: Result, *, trials: int = TRIALS) -> dict[str, Any]:
    """All that a report shows of a run, in lists, numbers and texts.

    Numbers have six significant digits, whole ones all of theirs. What has no value is ``None``.

    Parameters
    ----------
    result
        The run.
    trials
        How many trials to show at most, all searches together. Of more, those on fronts are taken
        and others evenly among the rest; ``shown`` then says of how many. Of networks with very
        many columns it is less, so that a page still opens.

    Returns
    -------
    dict
        Keys are what ``report.html`` reads. ``networks`` holds the code of every network once, a
        character a column; elsewhere a network is its place in there.
    """
    most = max(1, min(trials, _CHARACTERS // len(result.space.columns)))
    pool = _Pool(result)
    searches, members = _searches(result, pool, most)
    known, failures = _known(result, pool, most), _failures(result, pool)
    return {
        "name": result.experiment.name,
        "space": result.space.to_dict(),
        "noise": result.experiment.noise,
        "warm_start": result.experiment.warm_start,
        "band": trajectories.band_is(result),
        "standard": result.standard,
        "objectives": [_described(objective) for objective in result.objectives],
        "constraints": [_described(constraint) for constraint in result.constraints],
        "optimizers": [
            {"name": name, "look": _look(i)} for i, name in enumerate(_optimizers(result))
        ],
        "searches": searches,
        "union": _union(result, members),
        "known": known,
        "networks": pool.text(),
        "curves": _curves(result),
        "bound": _bound(result),
        "floor": _short(trajectories.floor(result)),
        "overview": _table(*overview(result)),
        "seeds": _table(*_seeds(result)),
        "notes": _notes(result),
        "failures": failures,
        "settings": result.experiment.to_yaml(),
        "environment": _environment(result),
    }


class _Pool:
    """Networks, each once, in the order in which they come.

    Parameters
    ----------
    result
        The run whose networks they are.
    """

    def __init__(self, result: Result) -> None:
        self._places: dict[bytes, int] = {}
        self._width = len(result.space.columns)

    def places(self, codes: Codes) -> list[int]:
        """Where each of the networks (n, d) is."""
        keys = (row.tobytes() for row in np.ascontiguousarray(codes))
        return [self._places.setdefault(key, len(self._places)) for key in keys]

    def text(self) -> str:
        """All networks, d characters each."""
        return encoded(np.frombuffer(b"".join(self._places), dtype=np.int8))


def encoded(codes: Codes) -> str:
    """A character for each number of codes, row by row: ``"0"`` for 0, and on from it."""
    return (codes.astype(np.uint8) + _ZERO).tobytes().decode("latin-1")


def _optimizers(result: Result) -> list[str]:
    return style.names([cell.optimizer for cell in result.searches])


def _look(index: int) -> dict[str, Any]:
    """How style draws an optimizer, in a browser's terms."""
    look = style.look(index)
    dash = look["linestyle"]
    return {
        "colour": look["color"],
        "mark": look["marker"],
        "dash": [] if isinstance(dash, str) else list(dash[1]),
    }


def _described(objective: Objective) -> dict[str, Any]:
    return {
        "name": str(objective),
        "value": str(objective.value),
        "unit": style.unit(objective),
        "maximise": objective.maximise,
        "relation": objective.relation,
        "bound": objective.bound,
    }


def _searches(result: Result, pool: _Pool, most: int) -> tuple[list[dict[str, Any]], list[Rows]]:
    """Every search with its trials and its front, and which members of the fronts they are."""
    m = len(result.objectives)
    valued = [np.isfinite(cell.trials.values[:, :m]).all(axis=1) for cell in result.searches]
    share = min(1.0, most / max(1, sum(int(rows.sum()) for rows in valued)))
    optimizers = _optimizers(result)
    searches, all_members = [], []
    for cell, rows in zip(result.searches, valued, strict=True):
        quota = most if share == 1 else max(1, int(share * rows.sum()))
        members = evenly(np.arange(len(cell.front)), quota)
        first = cell.front_trials[members]
        trials = _chosen(np.flatnonzero(rows), first, quota)
        all_members.append(members)
        searches.append(
            {
                "optimizer": optimizers.index(cell.optimizer),
                "seed": cell.seed,
                "status": cell.status,
                "of": len(cell.trials),
                "valued": int(rows.sum()),
                "trials": _trials(cell, trials, result, pool),
                "front": {
                    "of": len(cell.front),
                    "network": pool.places(cell.front.codes[members]),
                    "trial": first.tolist(),
                    "values": _columns(cell.front.values[members]),
                },
            }
        )
    return searches, all_members


def _chosen(rows: Rows, wanted: Rows, most: int) -> Rows:
    """So many of the rows at most: those that are wanted, then evenly among the others."""
    if len(rows) <= most:
        return rows
    among = np.isin(rows, wanted)
    best = evenly(rows[among], most)
    return np.sort(np.concatenate([best, evenly(rows[~among], most - len(best))]))


def _trials(cell: SearchResult, rows: Rows, result: Result, pool: _Pool) -> dict[str, Any]:
    """Columns of some trials; those that say nothing of any of them are left out."""
    all_trials, m = cell.trials, len(result.objectives)
    std = all_trials.std[rows, :m]
    fidelity, repeat = all_trials.fidelity[rows], all_trials.repeat[rows]
    kept = np.isfinite(cell.losses[rows]).all(axis=1)
    columns: dict[str, Any] = {
        "network": pool.places(all_trials.codes[rows]),
        "values": _columns(all_trials.values[rows]),
    }
    if len(rows) < len(all_trials):
        columns["number"] = rows.tolist()
    if not kept.all():
        columns["kept"] = kept.astype(int).tolist()  # the constraints, by what was measured
    if (std > 0).any():
        columns["std"] = [[_short(value, 2) for value in column] for column in std.T.tolist()]
    if (repeat > 0).any():
        columns["repeat"] = repeat.tolist()
    if (fidelity >= 0).any():
        columns["fidelity"] = fidelity.tolist()
    return columns


def _union(result: Result, members: Sequence[Rows]) -> list[list[int]]:
    """Search and place of what no member of any search's front dominates, of those shown."""
    losses = [c.front.losses[rows] for c, rows in zip(result.searches, members, strict=True)]
    where = [[i, j] for i, rows in enumerate(losses) for j in range(len(rows))]
    keep = np.flatnonzero(pareto.non_dominated(np.concatenate(losses)))
    return [where[k] for k in keep.tolist()]


def _known(result: Result, pool: _Pool, most: int) -> dict[str, Any] | None:
    """The backend's own front; of one with very many members, some evenly along it."""
    front: Front | None = result.known
    if front is None:
        return None
    rows = evenly(np.arange(len(front)), min(_KNOWN, most))
    return {
        "name": front.standing,
        "of": len(front),
        "network": pool.places(front.codes[rows]),
        "values": _columns(front.values[rows]),
    }


def _curves(result: Result) -> dict[str, Any]:
    """By what they grew over, the mean and the band of each optimizer's normalised hypervolume."""
    found: dict[str, Any] = {}
    for x, label in trajectories.PROGRESS.items():
        if x == "cost" and not trajectories.costs(result):
            continue
        lines = []
        for optimizer in _optimizers(result):
            at, grown = trajectories.curves(result, optimizer, x)
            line: dict[str, list[Any]] = {"at": [], "mean": [], "low": [], "high": []}
            if len(at):
                some = _telling(at)
                line["at"] = [_short(value) for value in at[some].tolist()]
                parts = (
                    grown.mean(axis=0),
                    *trajectories.band(grown, trajectories.enough_seeds(result)),
                )
                for name, part in zip(("mean", "low", "high"), parts, strict=True):
                    line[name] = part[some].round(7).tolist()
            lines.append(line)
        found[x] = {"label": label, "lines": lines}
    return found


def _telling(at: NDArray[np.float64]) -> Rows:
    """Which of increasing places (k,) to draw on a logarithmic axis; the last is one of them."""
    if len(at) <= _PLACES:
        return np.arange(len(at))
    near = np.searchsorted(at, np.geomspace(at[0], at[-1], _PLACES)[:-1])
    return np.unique(np.append(near, len(at) - 1))


def _bound(result: Result) -> dict[str, Any] | None:
    values = result.bound[: trajectories.last_evaluation(result)]
    if not len(values):
        return None
    return {"name": trajectories.bound_name(result), "values": values.round(7).tolist()}


def _seeds(result: Result) -> tuple[list[str], list[list[str]]]:
    """The rows of ``summary.csv``, as people read them."""
    return [*SUMMARY], [
        [format(row[name], _FORMATS.get(name, "")) for name in SUMMARY] for row in result.summary
    ]


def _table(header: list[str], rows: list[list[str]]) -> dict[str, Any]:
    return {"header": header, "rows": rows}


def _notes(result: Result) -> list[str]:
    """What each search says of itself."""
    notes = []
    for cell in result.searches:
        who = f"{cell.optimizer} seed {cell.seed}"
        notes += [f"{who}: {line}" for line in cell.meta.get("notes", "").splitlines()]
        if saved := cell.seconds_saved:
            stopped = cell.trials.status.count("infeasible")
            notes.append(f"{who}: {stopped} networks stopped at a bound, some {saved:.0f} s saved")
    return notes


def _failures(result: Result, pool: _Pool) -> dict[str, Any]:
    """Trials that have not all their values, the first of them, and how many there are."""
    failed = [
        (i, trial)
        for i, cell in enumerate(result.searches)
        for trial in np.flatnonzero(~cell.trials.ok).tolist()
    ]
    rows = []
    for i, trial in failed[:_FAILURES]:
        trials = result.searches[i].trials
        network = pool.places(trials.codes[trial : trial + 1])[0]
        status, reason = trials.status[trial], trials.reason[trial]
        word = "stopped" if status == "infeasible" else status
        rows.append({"search": i, "trial": trial, "network": network, "reason": reason or word})
    return {"of": len(failed), "rows": rows}


def _environment(result: Result) -> list[list[str]]:
    """Rows of ``environment.json``, nested keys with dots; none where it cannot be read."""
    try:
        found = json.loads((result.path / "environment.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []  # a page of what is there is worth more than none
    return [*_flat("", found)]


def _flat(key: str, value: Any) -> Iterable[list[str]]:
    if isinstance(value, dict) and value:
        for inner, content in value.items():
            yield from _flat(f"{key}.{inner}" if key else inner, content)
    else:
        yield [key, value if isinstance(value, str) else json.dumps(value)]


def _columns(values: NDArray[np.float64]) -> list[list[float | int | None]]:
    """The columns of values (n, q)."""
    return [[_short(value) for value in column] for column in values.T.tolist()]


def _short(value: float, digits: int = 6) -> float | int | None:
    """A number with as many digits as are worth their place; a whole one with all its own."""
    if not math.isfinite(value):
        return None
    return int(value) if value.is_integer() else float(f"{value:.{digits}g}")
