"""A survey: a designed set of networks, measured one after another on one device.

One network, the anchor, is measured again and again, so that whatever drifts meanwhile is seen. A
survey leaves a CSV with a row a measurement and, beside it, the suffix ``.jsonl`` instead, what was
asked and then all that was seen of each network. However it was stopped it goes on where it stood,
also to a greater count.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hwnas.errors import InvalidInput, UnknownName
from hwnas.profiling import measurement_log
from hwnas.profiling.errors import TrialFailed
from hwnas.profiling.gpt import GPT
from hwnas.profiling.meters.forward_pass import environment, protocol_of
from hwnas.profiling.meters.memory import PeakMemory
from hwnas.profiling.meters.nvml import NoMeter
from hwnas.profiling.survey.csv_log import Sheet, opened
from hwnas.profiling.survey.design import anchor, designed
from hwnas.profiling.survey.drift import Row, Summary, rows_of, summary
from hwnas.spaces import SearchSpace
from hwnas.spaces.architecture import Architecture

if TYPE_CHECKING:
    from hwnas.profiling.device_profiler import Bench, Measure, Measured

# What is measured, in the order of the columns, and what stands behind each value.
_BESIDE: dict[Measure, tuple[str, ...]] = {
    "latency": ("std", "p90"),
    "energy": ("std",),
    "peak_memory": (),
}
_SOFTWARE = ("device_name", "torch", "driver")
_SETTINGS = (*_SOFTWARE, "mode", "precision", "batch_size", "tokens", "threads")


def survey(
    space: SearchSpace,
    bench: Bench,
    metrics: Sequence[str],
    file: Path,
    *,
    count: int,
    seed: int = 0,
    anchor_every: int = 10,
    report: Callable[[Row, int], object] | None = None,
) -> Summary:
    """Measure designed networks, or those of them that are not in the file yet.

    The anchor comes first, after every `anchor_every` networks, and last. What cannot be measured,
    for want of memory say, is a row with the reason.

    Parameters
    ----------
    metrics
        ``latency``, ``energy``, ``memory``, or in full: ``peak_memory@cuda``.
    file
        The CSV; its columns are the metrics' names, as in objectives, with `` std`` and `` p90``
        behind some, and what `columns` says.
    count
        Networks, the anchor not counted.
    seed
        Of the design.
    report
        History of each new row, with the number of networks that are done.

    Raises
    ------
    InvalidInput
        A metric cannot be measured here, the space has fewer networks, the settings do not fit, or
        the file holds another survey.
    """
    names = resolved(bench, metrics)
    for name, value, least in (("seed", seed, 0), ("anchor_every", anchor_every, 1)):
        if type(value) is not int or value < least:
            raise InvalidInput(f"{name}: expected an integer from {least} on, found {value!r}")
    if file.suffix != ".csv":
        raise InvalidInput(f"expected a file whose name ends in .csv, found {file}")
    asked = _asked(space, bench, names, seed=seed, anchor_every=anchor_every)
    archs = space.decode(designed(space, count, np.random.default_rng(seed)))
    middle = space.decode(anchor(space)[None])[0]
    sheet = opened(file, asked, columns(names))
    _check(sheet, archs, middle)
    constant = {name: asked[name] for name in _SETTINGS}
    while (role := _next_role(sheet.rows, count, anchor_every)) is not None:
        done = rows_of(sheet.rows, "design")
        arch = middle if role == "anchor" else archs[len(done)]
        began = time.perf_counter()
        measured, reason = _tried(space, bench, names, arch)
        place = {"number": len(sheet.rows), "role": role, "arch": str(arch), "reason": reason}
        full = {name: found.record for name, found in measured.items()}
        measurement_log.append(file.with_suffix(".jsonl"), {**place, "measured": full})
        row = sheet.append(
            {
                **place,
                **_values(measured),
                "seconds": f"{time.perf_counter() - began:.3f}",
                "time": datetime.now(UTC).isoformat(timespec="seconds"),
                "status": "failed" if reason else "ok",
                **constant,
                **_board(measured),
            }
        )
        if report is not None:
            report(row, len(done) + (role == "design"))
    return summary(sheet.rows, {name: bench.metrics[name].unit for name in names})


def resolved(bench: Bench, metrics: Sequence[str]) -> list[str]:
    """The full names of metrics, in the order of the columns.

    Raises
    ------
    InvalidInput
        One is not known, cannot be measured here, or comes twice.
    """
    full: dict[str, str] = {name: f"{name}@{bench.name}" for name in _BESIDE}
    known = {**full, "memory": full["peak_memory"], **{name: name for name in full.values()}}
    found = []
    for metric in metrics:
        if metric not in known:
            raise UnknownName("metric", metric, known)
        if (name := known[metric]) not in bench.metrics:
            reason = bench.missing.get(name, f"there is no meter on {bench.name}")
            raise InvalidInput(f"{name}: leave it out, it cannot be measured here: {reason}")
        found.append(name)
    if not found or len(set(found)) < len(found):
        raise InvalidInput(f"expected distinct metrics, found {', '.join(metrics) or 'none'}")
    return sorted(found, key=list(full.values()).index)


def columns(names: Sequence[str]) -> list[str]:
    """The columns of a survey of these metrics."""
    values = [[name, *(f"{name} {more}" for more in _BESIDE[_kind(name)])] for name in names]
    return [
        *("number", "role", "arch"),
        *(column for group in values for column in group),
        *("seconds", "time", "status", "reason", *_SETTINGS, "clock_mhz", "temperature_c"),
    ]


def _asked(
    space: SearchSpace, bench: Bench, names: Sequence[str], **settings: int
) -> dict[str, Any]:
    """All that must be the same when a survey goes on, as JSON has it."""
    smallest = GPT(
        Architecture("smallest", 4, 1, (1,), (1,), True),
        head_size=4,
        context=space.context,
        vocab_size=4,
        device=bench.device,
    )
    place = environment(bench.device)
    choices = space.to_dict()
    asked = {
        "space": choices.pop("name"),
        **choices,
        "metrics": names,
        **settings,
        "within": bench.within,
        "energy_within": bench.energy_within,
        "max_seconds": bench.max_seconds,
        **asdict(protocol_of(smallest, bench.passes)),
        "device": bench.name,
        **{name: getattr(place, name) for name in _SOFTWARE},
    }
    plain: dict[str, Any] = measurement_log.plain(asked)
    return plain


def _check(sheet: Sheet, archs: Sequence[Architecture], middle: Architecture) -> None:
    """That the rows have the networks that they should have; there may be more than asked for."""
    rest = iter(archs)
    for line, row in enumerate(sheet.rows, start=2):
        arch = middle if row["role"] == "anchor" else next(rest, None)
        if arch is not None and row["arch"] != str(arch):
            raise InvalidInput(
                f"{sheet.file}: line {line}: expected {arch}, found {row['arch']}; give another "
                "--out"
            )


def _next_role(rows: Sequence[Row], count: int, anchor_every: int) -> str | None:
    """What is measured next; None when all is done."""
    roles = [row["role"] for row in rows]
    if "anchor" not in roles:
        return "anchor"
    since = roles[::-1].index("anchor")
    if since < anchor_every and roles.count("design") < count:
        return "design"
    return "anchor" if since else None


def _tried(
    space: SearchSpace, bench: Bench, names: Sequence[str], arch: Architecture
) -> tuple[dict[str, Measured], str]:
    """What was measured of a network, and why not all of it."""
    measured: dict[str, Measured] = {}
    try:
        model = bench.built(space, arch)
        for name in names:
            measured[name] = bench.measure(model, _kind(name))
    except (TrialFailed, NoMeter) as error:
        return measured, str(error) or type(error).__name__
    return measured, ""


def _values(measured: Mapping[str, Measured]) -> dict[str, float]:
    values = {}
    for name, found in measured.items():
        values[name] = found.value
        for more in _BESIDE[_kind(name)]:
            values[f"{name} {more}"] = found.std if more == "std" else found.quantile(0.9)
    return values


def _board(measured: Mapping[str, Measured]) -> dict[str, int | None]:
    """Median clock and highest temperature of a GPU's board meanwhile, where it says them."""
    found = [one.record for one in measured.values()]
    states = [s for record in found if not isinstance(record, PeakMemory) for s in record.states]
    clocks = [state.clock for state in states if state.clock is not None]
    temperatures = [state.temperature for state in states if state.temperature is not None]
    return {
        "clock_mhz": int(np.median(clocks)) if clocks else None,
        "temperature_c": max(temperatures, default=None),
    }


def _kind(name: str) -> Measure:
    kind: Measure = name.partition("@")[0]  # type: ignore[assignment]
    return kind
