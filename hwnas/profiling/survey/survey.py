"""Survey: a designed set of architectures, measured one after the other on one device.

One architecture, the anchor, is measured repeatedly to show the drift of the device. A survey
writes a CSV file with one row for each measured architecture. Next to it, with the suffix
``.jsonl``, it writes the settings of the survey and the complete record of each measurement. A
survey that was stopped continues at the same point, also with a larger number of architectures.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.errors import InvalidInput
from hwnas.objectives import Objective
from hwnas.profiling import measurement_log
from hwnas.profiling.device_profiler import DeviceProfiler, Measure, Measurement, workload_of
from hwnas.profiling.errors import TrialFailed
from hwnas.profiling.gpt import GPT
from hwnas.profiling.meters.forward_pass import environment, resolve_protocol
from hwnas.profiling.meters.memory import PeakMemory
from hwnas.profiling.meters.nvml import NoMeter
from hwnas.profiling.survey.columns import (
    CONSTANT_COLUMNS,
    SOFTWARE,
    csv_columns,
    imprecise_cell,
    resolve_metrics,
    value_cells,
    workloads_of,
)
from hwnas.profiling.survey.csv_log import CsvLog, open_log
from hwnas.profiling.survey.drift import Row, Summary, rows_with_role, summarize
from hwnas.spaces import LanguageModelSpace
from hwnas.spaces.architecture import Architecture


def run_survey(
    space: LanguageModelSpace,
    profiler: DeviceProfiler,
    metrics: Sequence[str],
    file: Path,
    *,
    count: int,
    seed: int = 0,
    anchor_every: int = 10,
    report: Callable[[Row, int], object] | None = None,
    is_enough: Callable[[Sequence[Row]], bool] | None = None,
) -> Summary:
    """Measure designed architectures, except for those that are in the file already.

    The anchor is measured first, after every `anchor_every` architectures, and last. A failed
    measurement, for example for lack of memory, is a row with a reason.

    Parameters
    ----------
    metrics
        See `hwnas.profiling.survey.columns.resolve_metrics`.
    file
        The CSV file, see `hwnas.profiling.survey.columns.csv_columns`.
    count
        Number of architectures without the anchor.
    seed
        Seed of the design.
    anchor_every
        Number of architectures between two measurements of the anchor.
    report
        Function called with each new row and the number of architectures measured so far.
    is_enough
        Function that tells from all rows whether a survey may end before `count` architectures.

    Raises
    ------
    InvalidInput
        A metric cannot be measured here, the space has fewer architectures, the settings do not
        fit together, or the file contains another survey.
    """
    # What to measure needs the packages of fits; to measure needs NumPy and torch alone.
    from hwnas.devices.design import anchor, survey_design

    names = resolve_metrics(profiler, metrics)
    for name, value, minimum in (("seed", seed, 0), ("anchor_every", anchor_every, 1)):
        if type(value) is not int or value < minimum:
            raise InvalidInput(
                f"{name}: expected an integer of at least {minimum}, found {value!r}"
            )
    if file.suffix != ".csv":
        raise InvalidInput(f"{file}: expected a name that ends in .csv")
    settings = _survey_settings(space, profiler, names, seed=seed, anchor_every=anchor_every)
    archs = space.decode(survey_design(space, count, np.random.default_rng(seed)))
    anchor_arch = space.decode(anchor(space)[None])[0]
    log = open_log(file, settings, csv_columns(names), optional="imprecise")
    _check_rows(log, archs, anchor_arch)
    constants = {name: settings[name] for name in CONSTANT_COLUMNS}
    # The rows determine what is measured next, so a survey needs no other state to continue.
    while True:
        n_design = len(rows_with_role(log.rows, "design"))
        if n_design and is_enough is not None and is_enough(log.rows):
            count = n_design
        if (role := _next_role(log.rows, count, anchor_every)) is None:
            break
        arch = anchor_arch if role == "anchor" else archs[n_design]
        row = _measure_row(space, profiler, names, arch, role, log, constants)
        if report is not None:
            report(row, n_design + (role == "design"))
    return summarize(log.rows, {name: profiler.metrics[name].unit for name in names})


def _survey_settings(
    space: LanguageModelSpace, profiler: DeviceProfiler, names: Sequence[str], **settings: int
) -> dict[str, Any]:
    """Return everything that must be equal for a survey to continue, as JSON has it."""
    # The protocol, with all defaults filled in, needs a model: a tiny one of any family will do.
    smallest = GPT(
        Architecture("smallest", 4, 1, (1,), (1,), True),
        head_size=4,
        context=space.context,
        vocab_size=4,
        device=profiler.device,
    )
    machine = environment(profiler.device)
    choices = space.to_dict()
    protocol = asdict(resolve_protocol(smallest, profiler.passes))
    workloads = {name: asdict(profiler.workloads[name]) for name in workloads_of(names)}
    if len(workloads_of(names, plain=True)) == len(workloads):
        # No forward pass is measured; workloads have a batch and a precision of their own.
        protocol |= {"batch_size": None, "tokens": None, "precision": None}
    all_settings = {
        "space": choices.pop("name"),
        **choices,
        "metrics": names,
        **settings,
        "within": profiler.within,
        "energy_within": profiler.energy_within,
        "max_seconds": profiler.max_seconds,
        **protocol,
        **({"workloads": workloads} if workloads else {}),
        "device": profiler.name,
        **{name: getattr(machine, name) for name in SOFTWARE},
    }
    plain: dict[str, Any] = measurement_log.to_json(all_settings)
    return plain


def _check_rows(log: CsvLog, archs: Sequence[object], anchor_arch: object) -> None:
    """Raise InvalidInput unless the rows have the architectures of the design.

    There may be more rows than architectures, if the survey was larger before.
    """
    design = iter(archs)
    for line, row in enumerate(log.rows, start=2):
        arch = anchor_arch if row["role"] == "anchor" else next(design, None)
        if arch is not None and row["arch"] != str(arch):
            raise InvalidInput(
                f"{log.file}: line {line}: expected {arch}, found {row['arch']}, as in a survey of "
                "an earlier version; choose another file with --out"
            )


def _next_role(rows: Sequence[Row], count: int, anchor_every: int) -> str | None:
    """Return the role of the next row; None if the survey is complete."""
    roles = [row["role"] for row in rows]
    if "anchor" not in roles:
        return "anchor"
    # The anchor comes after every `anchor_every` rows of the design, and once more at the end.
    n_since_anchor = roles[::-1].index("anchor")
    if n_since_anchor < anchor_every and roles.count("design") < count:
        return "design"
    return "anchor" if n_since_anchor else None


def _measure_row(
    space: LanguageModelSpace,
    profiler: DeviceProfiler,
    names: Sequence[str],
    arch: object,
    role: str,
    log: CsvLog,
    constants: Mapping[str, Any],
) -> Row:
    """Measure one architecture; append its record and its row."""
    start = time.perf_counter()
    results, reason = measure_architecture(space, profiler, names, arch)
    identity = {"number": len(log.rows), "role": role, "arch": str(arch), "reason": reason}
    # The record goes first: `open_log` removes a record without a row, but cannot add one.
    records = {name: result.record for name, result in results.items()}
    measurement_log.append(log.file.with_suffix(".jsonl"), {**identity, "measured": records})
    return log.append(
        {
            **identity,
            **value_cells(results),
            "seconds": f"{time.perf_counter() - start:.3f}",
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "status": "failed" if reason else "ok",
            "imprecise": imprecise_cell(results),
            **constants,
            **_gpu_cells(results),
        }
    )


def measure_architecture(
    space: LanguageModelSpace, profiler: DeviceProfiler, names: Sequence[str], arch: object
) -> tuple[dict[str, Measurement], str]:
    """Measure metrics of an architecture, given by their full names.

    Returns
    -------
    results, reason
        Results by name until the first failure, and its reason; empty where all were measured.
    """
    results: dict[str, Measurement] = {}
    try:
        model = profiler.build_model(space, arch)
        for name in names:
            objective = Objective.parse(name)
            measure: Measure = objective.metric  # type: ignore[assignment]
            if objective.workload is None:
                results[name] = profiler.measure(model, measure)
            else:
                workload = workload_of(space, arch, profiler.workloads[objective.workload])
                results[name] = profiler.measure(model, measure, workload)
    except (TrialFailed, NoMeter) as error:
        return results, str(error) or type(error).__name__
    finally:
        profiler.release()
    return results, ""


def _gpu_cells(results: Mapping[str, Measurement]) -> dict[str, int | None]:
    """Return the median clock and the maximum temperature of a GPU during the measurements."""
    records = [result.record for result in results.values()]
    states = [s for record in records if not isinstance(record, PeakMemory) for s in record.states]
    clocks = [state.clock for state in states if state.clock is not None]
    temperatures = [state.temperature for state in states if state.temperature is not None]
    return {
        "clock_mhz": int(np.median(clocks)) if clocks else None,
        "temperature_c": max(temperatures, default=None),
    }
