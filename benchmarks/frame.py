"""Measure the overhead of the framework, and write ``benchmarks/frame.md``.

    python benchmarks/frame.py

Quality: normalised hypervolume of random, uniform and nsga2, beside pymoo's own loop. Time: whole
processes, medians of five after a warm-up, run in turns so that a drift of the machine hits all.
"""

from __future__ import annotations

import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from libraries import LOOPS, normalised

import hwnas

HERE = Path(__file__).parent
PROBLEM = {
    "space": "gpt-s",
    "objectives": ["perplexity", "latency@rtx3080"],
    "seeds": 3,
    "optimizers": ["random", {"type": "nsga2", "pop_size": 100}, "uniform"],
    "budget": {"evaluations": 10_000},
}
# One seed; the process prints nothing, writes its files and draws its plots.
YAML = """\
name: timing
space: gpt-s
objectives: [perplexity, latency@rtx3080]
optimizers: [{{type: {optimizer}{settings}}}]
budget: {{evaluations: {evaluations}}}
seeds: 1
"""


def quality() -> list[str]:
    """Rows of hypervolumes."""
    with tempfile.TemporaryDirectory() as folder:
        result = hwnas.run({"name": "quality", **PROBLEM}, out=Path(folder, "out"))
        rows = []
        for optimizer in ("random", "nsga2"):
            values = [r["normalised"] for r in result.summary if r["optimizer"] == optimizer]
            rows.append((f"{optimizer}, 10,000 evaluations, 3 seeds", np.mean(values)))
        homogeneous = [
            float(steps.normalised[np.searchsorted(steps.evaluations, 162, side="right") - 1])
            for cell, steps in zip(result.searches, result.trajectories, strict=True)
            if cell.optimizer == "uniform"
        ]
    rows.append(("uniform's 162 homogeneous networks", np.mean(homogeneous)))
    bench, objectives = hwnas.surrogate("gpt-s"), PROBLEM["objectives"]
    front = bench.front(objectives)
    loop = LOOPS["nsga2"]
    bare = [normalised(loop(bench, objectives, 10_000, seed), front) for seed in range(3)]
    rows.append(("pymoo's own loop, 10,000 evaluations, 3 seeds", np.mean(bare)))
    return [f"| {name} | {value:.4f} |" for name, value in rows]


def timed(commands: dict[str, str], runs: int = 5) -> dict[str, float]:
    """Median seconds of whole processes, in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(runs + 1):
        for name, command in commands.items():
            with tempfile.TemporaryDirectory() as folder:
                begin = time.perf_counter()
                subprocess.run(
                    shlex.split(command.format(out=Path(folder, "out"))),
                    check=True,
                    stdout=subprocess.DEVNULL,
                )
                if turn:  # the first fills the caches
                    seconds[name].append(time.perf_counter() - begin)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    rows = quality()
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for optimizer, evaluations in (("nsga2", 10_000), ("nsga2", 100), ("random", 100_000)):
            file = Path(folder, f"{optimizer}-{evaluations}.yaml")
            settings = ", pop_size: 100" if optimizer == "nsga2" else ""  # as in pymoo's own loop
            file.write_text(
                YAML.format(optimizer=optimizer, settings=settings, evaluations=evaluations)
            )
            files[optimizer, evaluations] = file
        hwnas_command = Path(sys.executable).with_name("hwnas")
        bare = f"{sys.executable} {HERE / 'libraries.py'} nsga2 --evaluations"
        seconds = timed(
            {
                "`hwnas --help`": f"{hwnas_command} --help",
                "pymoo's own loop, 10,000 evaluations": f"{bare} 10000",
                "pymoo's own loop, 100 evaluations (start-up)": f"{bare} 100",
                **{
                    f"`hwnas run`, {name}, {n:,} evaluations": (
                        f"{hwnas_command} run {file} --quiet --out {{out}}"
                    )
                    for (name, n), file in files.items()
                },
            }
        )
    page = f"""# Overhead of the framework

    python benchmarks/frame.py

{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python
{platform.python_version()}. gpt-s, perplexity and latency@rtx3080.

| normalised hypervolume | mean |
|---|---:|
{chr(10).join(rows)}

| whole process | seconds, median of 5 |
|---|---:|
{chr(10).join(f"| {name} | {value:.2f} |" for name, value in seconds.items())}
"""
    (HERE / "frame.md").write_text(page)
    print(page)


if __name__ == "__main__":
    main()
