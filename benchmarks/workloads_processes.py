"""Repeats of the same networks in fresh processes on one board, for ``workloads.py``."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from workloads_rows import Row, append_row, read_rows, rows_of

PREFIX = "processes-"  # of the CSVs, where the column `piece` is the number of the process


class Spread(NamedTuple):
    """Relative distances of repeated values from their network's median."""

    median: float
    worst: float


def measure_in_processes(
    space: str, *, processes: int, count: int, seconds: float, out: Path, device: str, small: bool
) -> None:
    """Measure the first networks of a space in several processes, one after the other.

    Parameters
    ----------
    space
        Space whose first networks are measured.
    processes, count
        Number of processes, and of networks that each measures; the first two with energies.
    seconds
        Time limit of each process.
    out
        Folder of ``processes-SPACE.csv``, to which rows are appended.
    device, small
        As of `workloads_measure.measure`.
    """
    name = f"small-{space}" if small else space
    target = out / f"{PREFIX}{name}.csv"
    n_before = max((int(row["piece"]) for row in rows_of(PREFIX + name, [out])), default=0)
    script = Path(__file__).with_name("workloads.py")
    for process in range(n_before + 1, n_before + processes + 1):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, str(script), "measure", space, "--count", str(count)]
            command += ["--energy", "2", "--seconds", str(seconds), "--device", device]
            command += ["--out", folder, *(["--small"] if small else [])]
            subprocess.run(command, check=True)
            for row in read_rows(Path(folder, f"{name}.csv"))[:count]:
                append_row(target, {**row, "piece": process})


def spread(rows: Sequence[Row], metric: str) -> Spread | None:
    """Return the spread of a metric over processes; ``None`` where nothing was measured twice."""
    by_network: dict[str, list[float]] = {}
    for row in rows:
        if row[metric]:
            by_network.setdefault(row["arch"], []).append(float(row[metric]))
    distances = [
        abs(value / np.median(values) - 1)
        for values in by_network.values()
        if len(values) > 1
        for value in values
    ]
    return Spread(float(np.median(distances)), float(max(distances))) if distances else None
