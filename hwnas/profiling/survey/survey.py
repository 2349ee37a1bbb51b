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

from hwnas.errors import InvalidInput, UnknownName
from hwnas.profiling import measurement_log
from hwnas.profiling.device_profiler import DeviceProfiler, Measure, Measurement
from hwnas.profiling.errors import TrialFailed
from hwnas.profiling.gpt import GPT
from hwnas.profiling.meters.forward_pass import environment, resolve_protocol
from hwnas.profiling.meters.memory import PeakMemory
from hwnas.profiling.meters.nvml import NoMeter
from hwnas.profiling.survey.csv_log import CsvLog, open_log
from hwnas.profiling.survey.design import anchor, d_optimal_design
from hwnas.profiling.survey.drift import Row, Summary, rows_with_role, summarize
from hwnas.spaces import LanguageModelSpace
from hwnas.spaces.architecture import Architecture

# Measurements in the order of their columns, and the statistics in columns behind each value.
_STATISTICS: dict[Measure, tuple[str, ...]] = {
    "latency": ("std", "p90"),
    "energy": ("std",),
    "peak_memory": (),
}
_SOFTWARE = ("device_name", "torch", "driver")
_CONSTANT_COLUMNS = (*_SOFTWARE, "mode", "precision", "batch_size", "tokens", "threads")


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
) -> Summary:
    """Measure designed architectures, except for those that are in the file already.

    The anchor is measured first, after every `anchor_every` architectures, and last. A failed
    measurement, for example for lack of memory, is a row with a reason.

    Parameters
    ----------
    metrics
        ``latency``, ``energy``, ``memory``, or full names such as ``peak_memory@cuda``.
    file
        The CSV file, see `csv_columns`.
    count
        Number of architectures without the anchor.
    seed
        Seed of the design.
    anchor_every
        Number of architectures between two measurements of the anchor.
    report
        Function called with each new row and the number of architectures measured so far.

    Raises
    ------
    InvalidInput
        A metric cannot be measured here, the space has fewer architectures, the settings do not
        fit together, or the file contains another survey.
    """
    names = resolve_metrics(profiler, metrics)
    for name, value, minimum in (("seed", seed, 0), ("anchor_every", anchor_every, 1)):
        if type(value) is not int or value < minimum:
            raise InvalidInput(
                f"{name}: expected an integer of at least {minimum}, found {value!r}"
            )
    if file.suffix != ".csv":
        raise InvalidInput(f"expected a file whose name ends in .csv, found {file}")
    settings = _survey_settings(space, profiler, names, seed=seed, anchor_every=anchor_every)
    archs = space.decode(d_optimal_design(space, count, np.random.default_rng(seed)))
    anchor_arch = space.decode(anchor(space)[None])[0]
    log = open_log(file, settings, csv_columns(names))
    _check_rows(log, archs, anchor_arch)
    constants = {name: settings[name] for name in _CONSTANT_COLUMNS}
    # The rows determine what is measured next, so a survey needs no other state to continue.
    while (role := _next_role(log.rows, count, anchor_every)) is not None:
        n_design = len(rows_with_role(log.rows, "design"))
        arch = anchor_arch if role == "anchor" else archs[n_design]
        row = _measure_row(space, profiler, names, arch, role, log, constants)
        if report is not None:
            report(row, n_design + (role == "design"))
    return summarize(log.rows, {name: profiler.metrics[name].unit for name in names})


def resolve_metrics(profiler: DeviceProfiler, metrics: Sequence[str]) -> list[str]:
    """Return the full names of metrics, in the order of their columns.

    Raises
    ------
    UnknownName
        There is no metric of this name.
    InvalidInput
        A metric cannot be measured here, or occurs twice, or there are no metrics.
    """
    # A metric can be given as "latency", as "latency@cpu", and memory by a short name too.
    by_measure: dict[str, str] = {name: f"{name}@{profiler.name}" for name in _STATISTICS}
    aliases = {
        **by_measure,
        "memory": by_measure["peak_memory"],
        **{name: name for name in by_measure.values()},
    }
    names = []
    for metric in metrics:
        if metric not in aliases:
            raise UnknownName("metric", metric, aliases)
        if (name := aliases[metric]) not in profiler.metrics:
            reason = profiler.missing.get(name, f"there is no meter on {profiler.name}")
            raise InvalidInput(f"{name}: leave it out, it cannot be measured here: {reason}")
        names.append(name)
    if not names or len(set(names)) < len(names):
        raise InvalidInput(f"expected distinct metrics, found {', '.join(metrics) or 'none'}")
    return sorted(names, key=list(by_measure.values()).index)


def csv_columns(names: Sequence[str]) -> list[str]:
    """Return the columns of a survey of metrics.

    Examples
    --------
    >>> csv_columns(["latency@cuda"])[:6]
    ['number', 'role', 'arch', 'latency@cuda', 'latency@cuda std', 'latency@cuda p90']
    """
    values = [[name, *(f"{name} {s}" for s in _STATISTICS[_measure_of(name)])] for name in names]
    return [
        *("number", "role", "arch"),
        *(column for group in values for column in group),
        *("seconds", "time", "status", "reason", *_CONSTANT_COLUMNS),
        *("clock_mhz", "temperature_c"),
    ]


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
    all_settings = {
        "space": choices.pop("name"),
        **choices,
        "metrics": names,
        **settings,
        "within": profiler.within,
        "energy_within": profiler.energy_within,
        "max_seconds": profiler.max_seconds,
        **asdict(resolve_protocol(smallest, profiler.passes)),
        "device": profiler.name,
        **{name: getattr(machine, name) for name in _SOFTWARE},
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
                f"{log.file}: line {line}: expected {arch}, found {row['arch']}; give another --out"
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
    results, reason = _measure(space, profiler, names, arch)
    identity = {"number": len(log.rows), "role": role, "arch": str(arch), "reason": reason}
    # The record goes first: `open_log` removes a record without a row, but cannot add one.
    records = {name: result.record for name, result in results.items()}
    measurement_log.append(log.file.with_suffix(".jsonl"), {**identity, "measured": records})
    return log.append(
        {
            **identity,
            **_value_cells(results),
            "seconds": f"{time.perf_counter() - start:.3f}",
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "status": "failed" if reason else "ok",
            **constants,
            **_gpu_cells(results),
        }
    )


def _measure(
    space: LanguageModelSpace, profiler: DeviceProfiler, names: Sequence[str], arch: object
) -> tuple[dict[str, Measurement], str]:
    """Return the results until the first failure, and the reason of the failure if there is one."""
    results: dict[str, Measurement] = {}
    try:
        model = profiler.build_model(space, arch)
        for name in names:
            results[name] = profiler.measure(model, _measure_of(name))
    except (TrialFailed, NoMeter) as error:
        return results, str(error) or type(error).__name__
    return results, ""


def _value_cells(results: Mapping[str, Measurement]) -> dict[str, float]:
    """Return the values and statistics of the results, by column."""
    cells = {}
    for name, result in results.items():
        cells[name] = result.value
        for statistic in _STATISTICS[_measure_of(name)]:
            value = result.std if statistic == "std" else result.quantile(0.9)
            cells[f"{name} {statistic}"] = value
    return cells


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


def _measure_of(name: str) -> Measure:
    """Return the part of a metric's name before the device."""
    measure: Measure = name.partition("@")[0]  # type: ignore[assignment]
    return measure
