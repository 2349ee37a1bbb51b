"""Measure the start-up time of the command line, and write ``benchmarks/startup.md``.

    python benchmarks/startup.py [--rounds 30]

Whole processes are timed in rounds: ``python -c "import typer"``, ``hwnas --help`` and a run of one
random evaluation without plots, once each in random order. Ratios are taken within a round, so that
other work on the machine slows both processes of a pair alike. The exit code is 1 if ``hwnas
--help`` takes more than 1.6 times the time of importing typer.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
HWNAS = Path(sys.executable).with_name("hwnas")
MAX_HELP_RATIO = 1.6
# The smallest run: one evaluation by the surrogate benchmark.
EXPERIMENT = """\
name: startup
space: gpt-s
objectives: [perplexity, latency@h100]
optimizers: [random]
budget: {evaluations: 1}
seeds: 1
"""
TYPER, HELP, RUN = 'python -c "import typer"', "hwnas --help", "hwnas run (1 evaluation, no plots)"


def commands(folder: Path, round_number: int) -> dict[str, list[str]]:
    """Return the command lines of a round; each run gets a directory of its own."""
    out = folder / f"run-{round_number}"
    experiment = folder / "startup.yaml"
    return {
        TYPER: [sys.executable, "-c", "import typer"],
        HELP: [str(HWNAS), "--help"],
        RUN: [str(HWNAS), "run", str(experiment), "--out", str(out), "--no-draw", "--quiet"],
    }


def time_process(command: Sequence[str]) -> float:
    """Return the wall time of a process from start to exit, in seconds."""
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def measure(rounds: int, seed: int = 0) -> dict[str, list[float]]:
    """Return the seconds of each command in every round.

    Parameters
    ----------
    rounds
        Number of rounds that count; one more comes first, which fills the caches of files.
    seed
        Seed of the order within rounds.
    """
    rng = np.random.default_rng(seed)
    seconds: dict[str, list[float]] = {TYPER: [], HELP: [], RUN: []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "startup.yaml").write_text(EXPERIMENT)
        for i in range(rounds + 1):
            lines = commands(folder, i)
            # A random order, so that no command always runs just after the same other one.
            for label in rng.permutation(list(lines)):
                elapsed = time_process(lines[label])
                if i > 0:
                    seconds[label].append(elapsed)
    return seconds


def table_row(label: str, seconds: Sequence[float], baseline: Sequence[float]) -> str:
    """Return a row: median time, and median and quartiles of the ratios to the baseline."""
    # Pairs within a round; the median is insensitive to rounds with other work on the machine.
    ratios = [a / b for a, b in zip(seconds, baseline, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    bound = f"at most {MAX_HELP_RATIO}" if label == HELP else ""
    median = 1000 * statistics.median(seconds)
    return f"| `{label}` | {median:.0f} | {middle:.2f} | {low:.2f} to {high:.2f} | {bound} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    seconds = measure(rounds)
    rows = [table_row(label, values, seconds[TYPER]) for label, values in seconds.items()]
    busy = os.getloadavg()[0] - 1  # without this script's own process
    page = f"""# Start-up time of the command line

    python benchmarks/startup.py --rounds {rounds}

{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python
{platform.python_version()}; {rounds} rounds of whole processes in random order; at the end
{max(busy, 0):.1f} other processes were running. Ratios are to `{TYPER}` in the same round.

| command | median, ms | median ratio | quartiles of the ratio | required |
|---|---:|---:|---:|---:|
{chr(10).join(rows)}
"""
    (HERE / "startup.md").write_text(page)
    print(page)
    ratio = statistics.median(a / b for a, b in zip(seconds[HELP], seconds[TYPER], strict=True))
    return int(ratio > MAX_HELP_RATIO)


if __name__ == "__main__":
    sys.exit(main())
