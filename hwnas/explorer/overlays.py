"""Fronts of runs, finished or not, over the fronts of the explorer."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hwnas import pareto
from hwnas.errors import HwnasError, InvalidInput
from hwnas.explorer.fronts import codes_as_text
from hwnas.objectives import Objective, losses_of
from hwnas.runner.completion import is_finished
from hwnas.runner.results import Result
from hwnas.surrogates import Surrogate
from hwnas.typing import Array, Codes


class RunOverlays:
    """Runs that are drawn over the fronts; their files are read again when they have changed.

    Parameters
    ----------
    paths
        Directories of runs, which may still be running.

    Raises
    ------
    InvalidInput
        A directory holds no run.
    """

    def __init__(self, paths: Sequence[Path] = ()) -> None:
        for path in paths:
            if not (path / "experiment.yaml").is_file():
                raise InvalidInput(
                    f"{path}: no experiment.yaml here, expected the directory of a run"
                )
        self.paths = tuple(paths)
        self._read: dict[Path, tuple[object, Result]] = {}
        self._lock = threading.Lock()

    def payload(self, bench: Surrogate, objectives: Sequence[Objective]) -> list[dict[str, Any]]:
        """Return each run for the page: its state, its trials and the front of each optimizer.

        A run that cannot be read, or not be drawn over these axes, has a ``note`` that says why.
        """
        return [self._one(path, bench, tuple(objectives)) for path in self.paths]

    def _one(
        self, path: Path, bench: Surrogate, objectives: tuple[Objective, ...]
    ) -> dict[str, Any]:
        name = path.resolve().name
        try:
            result, running = self._result(path), not is_finished(path)
            fronts, note = _fronts(result, bench, objectives)
        except HwnasError as error:
            return {"name": name, "running": True, "trials": 0, "fronts": [], "note": str(error)}
        return {
            "name": name,
            "running": running,
            "trials": sum(len(search.trials) for search in result.searches),
            "fronts": fronts,
            "note": note,
        }

    def _result(self, path: Path) -> Result:
        """Return the results of a run as its files are now."""
        files = sorted(path.glob("*/seed-*/trials.db*"))
        version = [(file, (stat := file.stat()).st_mtime_ns, stat.st_size) for file in files]
        with self._lock:
            if path not in self._read or self._read[path][0] != version:
                self._read[path] = version, Result(path)
            return self._read[path][1]


def _fronts(
    result: Result, bench: Surrogate, objectives: tuple[Objective, ...]
) -> tuple[list[dict[str, Any]], str]:
    """Return the front of each optimizer over two axes, and a note.

    Values are those of the run where it has both objectives, else the surrogate's of its
    architectures.
    """
    names = [str(objective.value) for objective in result.objectives]
    wanted = [str(objective.value) for objective in objectives]
    is_same_space = result.space.to_dict() == bench.space.to_dict()
    columns = [names.index(name) for name in wanted if name in names]
    if len(columns) < len(wanted) and not is_same_space:
        return [], f"is of {result.space.name}, with {', '.join(names)}: choose these axes"
    note = "" if len(columns) == len(wanted) else "values by the surrogate"
    fronts = []
    for optimizer in dict.fromkeys(search.optimizer for search in result.searches):
        searches = [search for search in result.searches if search.optimizer == optimizer]
        codes = np.concatenate([search.front.codes for search in searches])
        if len(columns) == len(wanted):
            values = np.concatenate([search.front.values for search in searches])[:, columns]
        else:
            values = bench.predict(codes, [objective.value for objective in objectives])
        fronts.append(_front_payload(optimizer, codes, values, objectives, is_same_space))
    return fronts, note


def _front_payload(
    optimizer: str,
    codes: Codes,
    values: Array,
    objectives: tuple[Objective, ...],
    has_codes: bool,
) -> dict[str, Any]:
    """Return the non-dominated of some architectures, in the order of the first axis."""
    members = np.flatnonzero(pareto.non_dominated(losses_of(objectives, values)))
    members = members[np.argsort(values[members, 0], kind="stable")]
    return {
        "optimizer": optimizer,
        "codes": codes_as_text(codes[members]) if has_codes else "",
        "x": values[members, 0].tolist(),
        "y": values[members, 1].tolist(),
    }
