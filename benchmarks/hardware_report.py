"""The page ``benchmarks/hardware.md``, from the records of ``hardware.py``."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from hardware_common import percent, table, verdict
from hardware_meters import ENERGY_WITHIN, again_table, throughput_tables
from hardware_requests import requests_tables
from hardware_training import largest_tables, rates, training_table

Record = dict[str, Any]

# What is wanted: the greatest deviations on a GPU and on a CPU, networks a minute, shares.
AGAIN = {"cuda": {"latency_ms": 0.01, "joules": 0.03}, "cpu": {"latency_ms": 0.05}}
A_MINUTE = {"memory": 60, "energy": 12}
R2 = 0.99
UTILISATION = 0.45
OF_PLAIN = 0.9
WANTED = ("", "wanted", "measured", "holds")


def page(folder: Path) -> str:
    """The page; it has a section for each record that is there."""
    records = read(folder)
    if not records:
        raise SystemExit(f"{folder}: no records; the other commands of hardware.py write them")
    machines = {place(record) for record in records.values()}
    shared = len(machines) == 1
    parts = ["# hwnas.profiling on a GPU", "Written by `python benchmarks/hardware.py report`."]
    if shared:
        parts.append(machines.pop())
    for title, prefix, section in SECTIONS:
        section_records = [record for name, record in records.items() if name.startswith(prefix)]
        if not section_records:
            continue
        parts.append(f"## {title}")
        parts.append("\n".join(f"    {line}" for line in dict.fromkeys(commands(section_records))))
        if not shared:
            parts += dict.fromkeys(place(record) for record in section_records)
        if any(record["small"] for record in section_records):
            parts.append("A shortened form, to try the script: these figures say nothing.")
        parts += section(section_records)
    return "\n\n".join(map(wrapped, parts)) + "\n"


def wrapped(part: str) -> str:
    """A paragraph in lines of at most 100 characters; titles, tables and commands stay."""
    if part.startswith(("#", "|", "    ")):
        return part
    return textwrap.fill(part, 100, break_long_words=False, break_on_hyphens=False)


def read(folder: Path) -> dict[str, Record]:
    """The records of a folder by name, training by its batch size."""

    def order(file: Path) -> tuple[str, int]:
        name, _, number = file.stem.partition("-")
        return name, int(number or 0)

    files = sorted(folder.glob("*.json"), key=order)
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files}


def commands(records: list[Record]) -> Iterator[str]:
    """Commands that made the records."""
    return (record["command"] for record in records)


def place(record: Record) -> str:
    """Machine, software and date of a record, in a line."""
    machine = record["machine"]
    words = [machine["device_name"], f"driver {machine['driver']}", f"torch {machine['torch']}"]
    words += [f"Python {machine['python']}", f"{machine['cpu_count']} processors", record["date"]]
    return ", ".join(word for word in words if word != "driver None") + "."


def again(records: list[Record]) -> Iterator[str]:
    """The same again."""
    for record in records:
        results = record["results"]
        bounds = AGAIN["cuda" if record["device"].startswith("cuda") else "cpu"]
        yield (
            f"Three networks of gpt-s with all layers alike, each measured in "
            f"{len(results['processes'])} new processes. *Off by* is the greatest distance of one "
            "process from the median of all."
        )
        yield table(*again_table(results))
        names = {"latency_ms": "latency off by", "joules": "energy off by"}
        rows = []
        for key, bound in bounds.items():
            deviations = [n[f"{key}_deviation"] for n in results["networks"] if key in n]
            if deviations:
                worst = max(deviations)
                wanted = f"at most {100 * bound:g} %"
                rows.append([names[key], wanted, percent(worst), verdict(worst <= bound)])
        yield table(WANTED, rows)
        if results["no_energy"]:
            yield f"Energy was not measured: {results['no_energy']}."


def throughput(records: list[Record]) -> Iterator[str]:
    """Networks a minute."""
    for record in records:
        results = record["results"]
        yield (
            "Networks of gpt-s drawn at random, from an architecture to its figures: latency (a "
            "CUDA graph on a GPU) by the median's 95 % interval within 1 %, energy with a stated "
            f"error of at most {100 * ENERGY_WITHIN:g} %. A network that was measured less "
            "precisely than that does not count."
        )
        rows: list[list[object]] = []
        for name, bound in A_MINUTE.items():
            if name in results:
                rate = results[name]["a_minute"]
                title = {"memory": "latency and peak memory", "energy": "latency and energy"}[name]
                rows.append([f"{title}, networks a minute", f"at least {bound}", rate])
                rows[-1].append(verdict(rate >= bound))
        fitted = [fit["r2"] for fit in results["fits"].values() if fit["r2"] is not None]
        if fitted:
            lowest = min(fitted)
            rows.append(["R2 of latency", f"at least {R2}", lowest, verdict(lowest >= R2)])
        yield table(WANTED, rows)
        for header, body in throughput_tables(results):
            yield table(header, body)
        yield (
            "R2 is that of a linear model of latency with depth, bias, and sums of MLP ratios and "
            "of heads, for each embed_dim."
        )
        if "no_energy" in results:
            yield f"Energy was not measured: {results['no_energy']}."


def training(records: list[Record]) -> Iterator[str]:
    """Tokens a second."""
    yield (
        "The largest network of gpt-s, sequences of 1,024 random tokens, bfloat16. `plain` is "
        "`benchmarks/plain_gpt.py`, a GPT-2 of the same size trained as plainly as can be; "
        "`compile` and `eager` are `hwnas.profiling.train`. Variants took turns; the rows stand in "
        "that order, and *of plain* is relative to the median of its runs. The steps in which "
        "kernels are compiled are not in tokens/s, but in the seconds."
    )
    rows: list[list[object]] = []
    for record in records:
        results = record["results"]
        size = results["batch_size"]
        ours, plain = rates(results, "compile"), rates(results, "plain")
        shares = [r["utilisation"] for r in results["runs"] if r["variant"] == "compile"]
        if ours and None not in shares:
            share = float(np.median(shares))
            bound = f"at least {100 * UTILISATION:g} %"
            row = [f"utilisation, batch {size}", bound, percent(share, 1)]
            rows.append([*row, verdict(share >= UTILISATION)])
        if ours and plain:
            ratio = float(np.median(ours) / np.median(plain))
            bound = f"at least {100 * OF_PLAIN:g} %"
            row = [f"tokens/s of plain, batch {size}", bound, percent(ratio, 1)]
            rows.append([*row, verdict(ratio >= OF_PLAIN)])
    if rows:
        yield table(WANTED, rows)
    for record in records:
        yield table(*training_table(record["results"]))
    for record in records:
        for variant, kernels in record["results"].get("kernels", {}).items():
            yield f"Where `{variant}` spends a step of {record['results']['batch_size']} sequences:"
            body = [[name, percent(share, 1), ms, calls] for name, share, ms, calls in kernels]
            yield table(("kernel", "share", "ms", "calls"), body)


def largest(records: list[Record]) -> Iterator[str]:
    """The largest network."""
    for record in records:
        results = record["results"]
        yield f"The largest network of gpt-xl, {results['params']:,} parameters, in bfloat16."
        for header, rows in largest_tables(results):
            yield table(header, rows)
        if failed := results.get("training", {}).get("not_enough_memory_at"):
            parts = ", ".join(map(str, failed))
            yield f"Memory was not enough for a batch in so many parts: {parts}."


def requests(records: list[Record]) -> Iterator[str]:
    """Meters of requests."""
    for record in records:
        results = record["results"]
        meanings = "; ".join(f"{name}: {text}" for name, text in results["workloads"].items())
        yield (
            f"Three networks of gpt-s with all layers alike, in new processes, and networks drawn "
            f"at random from an architecture to TTFT and TPOT of both workloads ({meanings}). A "
            "network that was measured less precisely than wanted does not count. *Off by* of "
            "memory is the distance of the closed forms from the bytes that torch asks of its "
            "allocator, *blocks* that from the allocator's blocks."
        )
        for header, body in requests_tables(results):
            yield table(header, body)
        if results.get("no_energy"):
            yield f"Energy was not measured: {results['no_energy']}."


def tests(records: list[Record]) -> Iterator[str]:
    """The tests that need a GPU."""
    for record in records:
        yield record["results"]["summary"]
        rows = [
            [t["test"], t["outcome"], t["seconds"], t["why"].replace("|", "/")[:90]]
            for t in record["results"]["tests"]
        ]
        yield table(("test", "outcome", "seconds", "why"), rows)


SECTIONS: tuple[tuple[str, str, Callable[[list[Record]], Iterator[str]]], ...] = (
    ("The same again", "again", again),
    ("Networks a minute", "throughput", throughput),
    ("Requests", "requests", requests),
    ("Training", "training", training),
    ("The largest network", "largest", largest),
    ("Tests on a GPU", "tests", tests),
)
