"""Measurements of chosen networks on this machine, beside the values of the surrogate."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwnas.cli.components import Table
from hwnas.errors import InvalidInput
from hwnas.files import unreadable
from hwnas.spaces import LanguageModelSpace, SearchSpace, arch_input
from hwnas.spaces.arch_input import LocatedArchitecture
from hwnas.surrogates.devices import DEVICES

if TYPE_CHECKING:
    from hwnas.profiling.device_profiler import DeviceProfiler, Measurement

IMPRECISE = "!"  # mark of a value that missed its precision


@dataclass(frozen=True, slots=True)
class MeasuredNetwork:
    """Measurements of one network.

    Attributes
    ----------
    arch
        String of the architecture.
    results
        By the full names of the metrics.
    reason
        Reason of a failure, after which nothing was measured; else empty.
    surrogate
        Values of the surrogate, by the name of the metric that they stand beside.
    seconds
        Duration of all measurements.
    """

    arch: str
    results: Mapping[str, Measurement]
    reason: str
    surrogate: Mapping[str, float]
    seconds: float

    @property
    def row(self) -> dict[str, str]:
        """The network as a row of a survey, for `hwnas.profiling.survey.drift.describe_row`."""
        from hwnas.profiling.survey.columns import imprecise_cell

        values = {name: repr(result.value) for name, result in self.results.items()}
        description = {"arch": self.arch, "reason": self.reason, "seconds": repr(self.seconds)}
        return {**values, **description, "imprecise": imprecise_cell(self.results)}


def read_archs(texts: Sequence[str], space: SearchSpace | None) -> list[LocatedArchitecture]:
    """Return the architectures of arguments: strings, files of them, or - for standard input.

    Raises
    ------
    InvalidInput
        One is no architecture, or a file cannot be read.
    """
    archs: list[LocatedArchitecture] = []
    for number, text in enumerate(texts, 1):
        if text == "-":
            if sys.stdin is None:
                raise InvalidInput("profile: expected networks on standard input, it is closed")
            archs += arch_input.parse_text(_decode(sys.stdin.buffer.read(), "-"), space)
        elif text.endswith((".csv", ".json", ".jsonl", ".txt")):
            try:
                content = Path(text).read_bytes()
            except OSError as error:
                raise InvalidInput(unreadable(text, error)) from None
            try:
                archs += arch_input.parse_text(_decode(content, text), space)
            except InvalidInput as error:
                raise InvalidInput(f"{text}: {error}") from None
        else:
            archs += arch_input.parse_arguments([text], space, first=number)
    return archs


def measure_networks(
    space: LanguageModelSpace,
    archs: Sequence[LocatedArchitecture],
    profiler: DeviceProfiler,
    names: Sequence[str],
    report: Callable[[MeasuredNetwork], object],
) -> list[MeasuredNetwork]:
    """Measure networks one after the other; `report` is called after each.

    Raises
    ------
    InvalidInput
        An architecture is not in the space; nothing is measured then.
    """
    from hwnas.cli.space_values import encode
    from hwnas.profiling.survey.survey import measure_architecture

    encode(archs, space)  # an architecture of another space is refused before the first measurement
    references = surrogate_values(space, [item.arch for item in archs], profiler, names)
    networks = []
    for item, values in zip(archs, references, strict=True):
        start = time.perf_counter()
        results, reason = measure_architecture(space, profiler, names, item.arch)
        seconds = time.perf_counter() - start
        networks.append(MeasuredNetwork(str(item.arch), results, reason, values, seconds))
        report(networks[-1])
    return networks


def surrogate_values(
    space: LanguageModelSpace,
    archs: Sequence[object],
    profiler: DeviceProfiler,
    names: Sequence[str],
) -> list[dict[str, float]]:
    """Return the surrogate's values of architectures, by the metric that they stand beside.

    They are ``perplexity``, and the measured metrics of the published device that this machine is.
    Where there are none, the dictionaries are empty.
    """
    from hwnas.cli.listing import published_figures
    from hwnas.profiling.meters.forward_pass import environment

    try:
        bench = published_figures(space)
    except InvalidInput:
        return [{} for _ in archs]
    device = published_device(environment(profiler.device).device_name)
    pairs = {"perplexity": "perplexity"}
    pairs |= {name: f"{name.partition('@')[0]}@{device}" for name in names}
    pairs = {name: key for name, key in pairs.items() if key in bench.metrics}
    values = bench.predict(space.encode(archs), list(pairs.values()))
    return [dict(zip(pairs, row, strict=True)) for row in values.tolist()]


def published_device(device_name: str) -> str | None:
    """Return the published device of a model's name; None for others.

    Examples
    --------
    >>> published_device("NVIDIA H100 80GB HBM3"), published_device("Apple M2")
    ('h100', None)
    """
    for name, device in DEVICES.items():
        words = device.model.partition(" (")[0].split()
        numbered = [word for word in words if re.search(r"\d", word)]
        # The number says which model it is; processors without one have a series.
        if any(re.search(rf"\b{word}\b", device_name) for word in numbered[:1] or words[-1:]):
            return name
    return None


def full_table(networks: Sequence[MeasuredNetwork], names: Sequence[str]) -> Table:
    """Return all values in full, a row for each network, for CSV and JSON."""
    columns = _surrogate_columns(networks)
    header = ["arch"]
    for name in names:
        header += [name, f"{name} std"]
    header += ["imprecise", "reason", *(f"{name} surrogate" for name in columns)]
    rows: list[list[Any]] = []
    for network in networks:
        row: list[Any] = [network.arch]
        for name in names:
            result = network.results.get(name)
            row += ["", ""] if result is None else [result.value, result.std]
        row += [network.row["imprecise"], network.reason]
        rows.append([*row, *(network.surrogate.get(name, "") for name in columns)])
    return header, rows


def short_table(
    networks: Sequence[MeasuredNetwork], names: Sequence[str], units: Mapping[str, str]
) -> Table:
    """Return values for people: of one network a row for each metric, of several one row each.

    An imprecise value is marked.
    """
    columns = _surrogate_columns(networks)
    if len(networks) == 1:
        (network,) = networks
        rows: list[list[Any]] = []
        for name in [*names, *(name for name in columns if name not in names)]:
            measured, error = _cells(network.results.get(name))
            row = [name, units.get(name, ""), measured, error]
            rows.append(row + [_number(network.surrogate.get(name))] * bool(columns))
        header = ["metric", "unit", "measured", "std %"]
        return header + ["surrogate"] * bool(columns), rows
    header = ["arch"]
    for name in names:
        header += [f"{name} {units.get(name, '')}".rstrip()]
        header += ["surrogate"] * (name in columns)
    header += [f"{name}, surrogate" for name in columns if name not in names]
    table: list[list[Any]] = []
    for network in networks:
        cells = [network.arch]
        for name in names:
            cells.append(_cells(network.results.get(name))[0])
            cells += [_number(network.surrogate.get(name))] * (name in columns)
        cells += [_number(network.surrogate.get(name)) for name in columns if name not in names]
        table.append(cells)
    return header, table


def _surrogate_columns(networks: Sequence[MeasuredNetwork]) -> list[str]:
    return list(networks[0].surrogate) if networks else []


def _cells(result: Measurement | None) -> tuple[str, str]:
    """Return a value, marked if it is imprecise, and its standard error in %."""
    if result is None:
        return "-", "-"
    error = f"{100 * result.std / result.value:.2g}" if result.std else "-"
    return _number(result.value) + ("" if result.precise else f" {IMPRECISE}"), error


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}" if value < 1e4 else f"{value:,.0f}"


def _decode(content: bytes, source: str) -> str:
    """Return a text; some programs begin a file with a byte order mark."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        name = "standard input" if source == "-" else source
        raise InvalidInput(f"{name}: expected UTF-8 text") from None
