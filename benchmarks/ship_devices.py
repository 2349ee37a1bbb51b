"""The devices that hwnas ships: tables fitted to the measurements in ``benchmarks/workloads/``.

    python benchmarks/ship_devices.py

CSVs in the folder itself are of several GPUs, told apart by the column ``card``; those in a folder
``NAME`` within it are of the device ``NAME``, the processor with the most networks among them.
Every metric of a space with at least 20 measured networks is fitted, those of ``front-SPACE.csv``
included, without other devices as a prior: what ships follows from these files alone. Pieces that
several boards of one card measured are aligned. Writes ``hwnas/surrogates/data/devices/NAME.npz``
and the page ``ship_devices.md``, which also has the errors on the networks of fronts of a fit
without them.
"""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

import numpy as np
from hardware_common import table
from threadpoolctl import threadpool_limits
from workloads_pieces import aligned
from workloads_processes import PREFIX
from workloads_rows import CARDS, FOLDER, SPACES, Row, read_rows

import hwnas
from hwnas.devices.figures import fit_figure
from hwnas.devices.fit import fit_tables
from hwnas.devices.groups import average_repeats
from hwnas.devices.measurements import Measurements
from hwnas.spaces import LanguageModelSpace
from hwnas.surrogates.device_file import DeviceFile, read_device_file
from hwnas.surrogates.device_library import SHIPPED
from hwnas.surrogates.tables import AdditiveTable
from hwnas.typing import Array
from hwnas.workloads import BUILT_IN

HERE = Path(__file__).parent
MIN_NETWORKS = 20
DIGITS = 7  # of an entry of a table, relative to the smallest network
FRONT = "front-"
MEASURED = (
    "latency", "ttft.chat", "tpot.chat", "ttft.serve", "tpot.serve", "energy",
    "energy_per_token.chat", "energy_per_token.serve", "peak_memory", "peak_memory.chat",
    "peak_memory.serve",
)  # fmt: skip
REQUESTS = ("latency.chat", "latency.serve")  # follow from the times of their parts
HEADER = [
    "device", "space", "metric", "networks", "expected error", "Kendall", "in 90 % interval",
    "on fronts", "error there",
]  # fmt: skip


@dataclass(frozen=True)
class Source:
    """Rows of one device and one space."""

    device: str
    space: LanguageModelSpace
    rows: Sequence[Row]  # random networks
    on_front: Sequence[Row]


def sources(folder: Path = FOLDER) -> list[Source]:
    """Return the measured rows in a folder by device and space, those that failed left out."""
    rows: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for file in sorted(folder.rglob("*.csv")):
        name = "" if file.parent == folder else file.parent.name
        for row in read_rows(file):
            device = name or CARDS.get(row["card"], "")
            if device and not row["failed"]:
                rows[device, file.stem].append(row)
    rows = defaultdict(list, {key: of_one_card(own) for key, own in rows.items()})
    out = []
    for (device, stem), own in sorted(rows.items(), key=lambda item: _rank(item[0][1])):
        if not stem.startswith((FRONT, PREFIX)):
            space = hwnas.space(stem)
            assert isinstance(space, LanguageModelSpace)
            out.append(Source(device, space, aligned(own), rows.get((device, FRONT + stem), [])))
    return out


def of_one_card(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of the card that measured the most networks.

    Examples
    --------
    >>> row = lambda card, arch: {"card": card, "arch": arch}
    >>> of_one_card([row("A", "x"), row("B", "x"), row("B", "y")])
    [{'card': 'B', 'arch': 'x'}, {'card': 'B', 'arch': 'y'}]
    """
    networks: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        networks[row["card"]].add(row["arch"])
    card = max(networks, key=lambda name: len(networks[name]))
    return [row for row in rows if row["card"] == card]


def _rank(space: str) -> tuple[int, str]:
    """Return the position of a space, those of the survey first."""
    return SPACES.index(space) if space in SPACES else len(SPACES), space


def value_of(row: Row, metric: str) -> float:
    """Return the value of a metric in a row; NaN where it is missing.

    Examples
    --------
    >>> value_of({"ttft.chat": "5", "tpot.chat": "2"}, "latency.chat")  # 255 steps
    515.0
    """
    if metric not in REQUESTS:
        return float(row.get(metric) or math.nan)
    workload = metric.partition(".")[2]
    steps = BUILT_IN[workload].generate - 1
    return value_of(row, f"ttft.{workload}") + steps * value_of(row, f"tpot.{workload}")


def measurements(source: Source, metric: str, *, with_fronts: bool = True) -> Measurements | None:
    """Return the measurements of a metric; ``None`` with too few networks."""
    candidates = [*source.rows, *(source.on_front if with_fronts else ())]
    rows = [row for row in candidates if math.isfinite(value_of(row, metric))]
    if len({row["arch"] for row in rows}) < MIN_NETWORKS:
        return None
    workload = metric.partition(".")[2]
    texts = {
        "protocol": protocol(metric, rows[0]),
        "card": ", ".join(dict.fromkeys(row["card"] for row in rows)),
        "date": " to ".join(sorted({min(r["date"] for r in rows), max(r["date"] for r in rows)})),
        "versions": versions(rows),
    }
    return Measurements(
        source.space,
        metric,
        source.space.encode([row["arch"] for row in rows]),
        np.array([value_of(row, metric) for row in rows]),
        None,
        BUILT_IN[workload] if workload else None,
        texts,
    )


def protocol(metric: str, row: Row) -> str:
    """Return a short text on how a metric was measured."""
    method = (
        "medians in CUDA graphs" if row["card"].startswith("NVIDIA") else "medians, two threads"
    )
    text = f"random weights, {method}, 95 % interval within 1 % where the time sufficed"
    quantity, _, workload = metric.partition(".")
    if quantity.startswith("energy"):
        text = "random weights, the board under sustained load, idle power included, within 3 %"
    elif quantity == "peak_memory":
        text = "random weights, maximum during the work, weights and cache included"
    return text if workload else f"one forward pass of {row['forward']}; {text}"


def versions(rows: Iterable[Row]) -> str:
    """Return the versions of software behind rows."""
    texts = []
    for name in ("torch", "cuda", "driver"):
        values = dict.fromkeys(row[name] for row in rows if row[name])
        texts += [f"{name} {' and '.join(values)}"] if values else []
    return ", ".join(texts)


def rounded(entries: AdditiveTable) -> AdditiveTable:
    """Return a table whose entries have few digits, so that its file is small."""
    decimals = DIGITS - math.floor(math.log10(np.abs(entries.base).min()))
    base, layers = (np.round(array, decimals) for array in (entries.base, entries.layers))
    return replace(entries, base=base, layers=layers)


def fit_device(name: str, own: Sequence[Source]) -> DeviceFile:
    """Return a device of its rows; without figures where no metric has enough networks."""
    figures = []
    for source in own:
        for metric in (*MEASURED, *REQUESTS):
            if (group := measurements(source, metric)) is not None:
                figure = fit_figure(group)
                figures.append(replace(figure, table=rounded(figure.table)))
                print(f"{name}: {metric} on {source.space.name}, {figure.error:.2%}", flush=True)
    return DeviceFile(name, tuple(figures), metadata.version("hwnas"))


def errors_on_front(source: Source, metric: str) -> Array:
    """Return the relative errors (n,) on networks of fronts of a fit without them."""
    random = {row["arch"] for row in source.rows}
    values = {r["arch"]: value_of(r, metric) for r in source.on_front if r["arch"] not in random}
    values = {arch: value for arch, value in values.items() if math.isfinite(value)}
    group = measurements(source, metric, with_fronts=False)
    if not values or group is None:
        return np.empty(0)
    group = average_repeats(group)
    fit = fit_tables(group.space, group.codes, group.values, group.std)
    predictions = fit.predict(source.space.encode(list(values)))
    return np.asarray(predictions / np.array(list(values.values())) - 1)


def page(devices: Iterable[DeviceFile], own: Sequence[Source]) -> str:
    """Return the page on the devices."""
    rows = []
    by_place = {(source.device, source.space.name): source for source in own}
    for device in devices:
        for figure in device.figures:
            errors = errors_on_front(by_place[device.name, figure.space.name], figure.quantity)
            rows.append(
                [
                    device.name,
                    figure.space.name,
                    figure.quantity,
                    str(figure.points),
                    f"{figure.error:.2%}",
                    "" if math.isnan(figure.kendall) else f"{figure.kendall:.3f}",
                    "" if math.isnan(figure.coverage) else f"{figure.coverage:.0%}",
                    str(len(errors)) if len(errors) else "",
                    f"{np.abs(errors).mean():.2%}" if len(errors) else "",
                ]
            )
    left_out = sorted({source.space.name for source in own} - {row[1] for row in rows})
    return f"""# Devices of hwnas's own

    python benchmarks/ship_devices.py

Tables that ship with hwnas, fitted to the measurements in `benchmarks/workloads/`; every metric of
a space with at least {MIN_NETWORKS} measured networks. The expected error is that of an unmeasured
network, by leave-one-out; Kendall's tau is within one `embed_dim`, and the share within the 90 %
interval is of networks that a fit has not seen. The error on fronts is that of a fit to the random
networks alone on those of `front-SPACE.csv`, members of fronts; what ships is fitted to both.
Spaces with too few networks yet: {", ".join(left_out) or "none"}.

{table(HEADER, rows)}
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit all devices, and write their files and the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=Path, default=FOLDER, help="folder of the CSVs")
    parser.add_argument("--out", type=Path, default=SHIPPED, help="folder of the device files")
    parser.add_argument("--to", type=Path, default=HERE / "ship_devices.md", help="the page")
    options = parser.parse_args(arguments)
    own = sources(options.rows)
    devices = []
    with threadpool_limits(1):
        for name in sorted({source.device for source in own}):
            device = fit_device(name, [source for source in own if source.device == name])
            if device.figures:
                file = options.out / f"{name}.npz"
                file.parent.mkdir(parents=True, exist_ok=True)
                device.write(file)
                devices.append(read_device_file(file))  # after all checks
                print(f"{file}: {file.stat().st_size / 1e3:.0f} kB")
    options.to.write_text(page(devices, own), encoding="utf-8")


if __name__ == "__main__":
    main()
