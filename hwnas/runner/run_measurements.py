"""Measurements of a run: what its trials tell of one metric."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hwnas.devices.measurements import Measurements
from hwnas.errors import InvalidInput
from hwnas.objectives import Objective
from hwnas.runner.environment import read_environment
from hwnas.runner.results import Result
from hwnas.surrogates.device_file import metric_key
from hwnas.surrogates.layer_layout import LayerLayout
from hwnas.typing import Array, Codes

_MAX_TEXT = 400


def measurements_of_run(
    path: Path, metrics: Sequence[str], *, allow_plugins: bool = False
) -> list[Measurements]:
    """Return the measurements of some metrics in the trials of a run.

    Parameters
    ----------
    path
        Directory of the run.
    metrics
        Names of metrics; those of them that the run does not have are left out.
    allow_plugins
        Whether the plugin files of the run may run, see `Result`.

    Returns
    -------
    list
        One entry for each metric. Trials that failed, or were trained less than others, have no
        part in it.

    Raises
    ------
    InvalidInput
        The directory holds no run, its space has no layers, or a value is not positive.
    """
    result = Result(path, allow_plugins=allow_plugins)
    space = result.space
    LayerLayout(space)  # what has no tables is refused here
    columns = {
        o.key: j for j, o in enumerate((*result.objectives, *result.constraints)) if o.level is None
    }
    out = []
    for key in map(metric_key, metrics):
        if key not in columns:
            continue
        codes, values, std = _trials(result, columns[key])
        if len(values) and values.min() <= 0:
            raise InvalidInput(
                f"{path}: {key}: expected values above 0, found {values.min():g}; errors of a fit "
                "are relative"
            )
        workload = Objective.parse(key).workload
        definition = None if workload is None else result.problem.backend.workloads[workload]
        out.append(Measurements(space, key, codes, values, std, definition, _texts(result, key)))
    return out


def _trials(result: Result, column: int) -> tuple[Codes, Array, Array | None]:
    """Return codes (n, d), values (n,) and standard errors (n,) of a column of the trials."""
    codes, values, std = [], [], []
    for search in result.searches:
        is_complete = result.has_full_fidelity(search) & np.isfinite(
            search.trials.values[:, column]
        )
        codes.append(search.trials.codes[is_complete])
        values.append(search.trials.values[is_complete, column])
        std.append(search.trials.std[is_complete, column])
    all_codes, all_values = np.concatenate(codes), np.concatenate(values)
    # Searches share measurements: an equal value of an equal architecture is no repeat.
    table = np.column_stack([all_codes, all_values])
    rows = np.sort(np.unique(table, axis=0, return_index=True)[1])
    errors = np.nan_to_num(np.concatenate(std)[rows])
    return all_codes[rows], all_values[rows], errors if errors.any() else None


def _texts(result: Result, key: str) -> dict[str, str]:
    """Return what the record of a run tells of its measurements."""
    content = read_environment(result.path)
    versions = content.get("versions")
    names = ("hwnas", "torch")
    version_of = versions if isinstance(versions, dict) else {}
    metric = result.metrics.get(key)
    texts = {
        "protocol": f"run {result.path.name}" + (f"; {metric.meaning}" if metric else ""),
        "date": str(content.get("started", "")),
        "versions": ", ".join(f"{name} {version_of[name]}" for name in names if name in version_of),
        "unit": metric.unit if metric else "",
    }
    return {k: "".join(c for c in t if c.isprintable())[:_MAX_TEXT] for k, t in texts.items()}
