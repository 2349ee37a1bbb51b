"""Measurements of two cores of a CPU, of which ``ship_devices.py`` makes the device ``cpu-2core``.

    python benchmarks/cpu_device.py --seconds 7200
    python benchmarks/ship_devices.py

The forward pass, chat and serve of ``workloads.py``, of the first random networks of each space,
with two threads of torch. A network takes minutes, most of them for the prefill of ``serve``. What
the time has not sufficed for goes on in the next call: rows are appended to
``benchmarks/workloads/cpu-2core/SPACE.csv``. The machine must be quiet, or nothing is measured; it
must have two cores at least, and instructions for bfloat16. ``--small`` tries it in seconds, with
tiny networks.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from workloads_measure import measure
from workloads_rows import FOLDER, SPACES

NAME, THREADS = "cpu-2core", 2
MAX_LOAD = 0.3  # other work, in cores, that is tolerated
TIME_SECONDS = 5.0  # of sampling of one time; the work alone may take longer


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is missing, if the machine is quiet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("spaces", nargs="*", default=["gpt-s", "gpt-s-wide", "llama-s"])
    parser.add_argument("--count", type=int, default=40, help="networks of each space")
    parser.add_argument("--seconds", type=float, default=7200.0, help="nothing is begun after them")
    parser.add_argument("--out", type=Path, default=FOLDER / NAME, help="folder of the CSVs")
    parser.add_argument("--small", action="store_true", help="short work, to try the script")
    options = parser.parse_args(arguments)
    if unknown := set(options.spaces) - set(SPACES):
        parser.error(f"unknown spaces {', '.join(sorted(unknown))}; known: {', '.join(SPACES)}")
    load = os.getloadavg()[0]
    if load > MAX_LOAD and not options.small:
        sys.exit(f"the machine is busy: its load is {load:.2f}, expected at most {MAX_LOAD}")
    if len(os.sched_getaffinity(0)) < THREADS:
        sys.exit(f"expected {THREADS} cores, found {len(os.sched_getaffinity(0))}")
    # Two cores, whatever the machine has.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
    torch.set_num_threads(THREADS)
    measure(
        options.spaces,
        count=options.count,
        n_energies=0,
        seconds=options.seconds,
        out=options.out,
        device="cpu",
        small=options.small,
        time_seconds=TIME_SECONDS,
        reference=options.out,
    )


if __name__ == "__main__":
    main()
