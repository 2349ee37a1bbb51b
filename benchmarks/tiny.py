"""Successive halving beside random search on real trainings: ``benchmarks/tiny.md``.

    python benchmarks/tiny.py [--seeds 3]

Runs ``experiments/hardware/cpu-tiny.yaml`` with random and moasha alone and counts the steps that
each trained.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np

import hwnas
from hwnas.runner.results import Result
from hwnas.runner.search_result import SearchResult

PAGE = Path(__file__).with_suffix(".md")


def steps(cell: SearchResult, full_steps: int) -> int:
    """Steps of all trainings of a search; a network goes on from where it paused.

    Parameters
    ----------
    full_steps
        Those of a training without fidelity.
    """
    reached: dict[bytes, int] = {}
    total = 0
    for code, fidelity in zip(cell.trials.codes, cell.trials.fidelity.tolist(), strict=True):
        until = full_steps if fidelity < 0 else fidelity
        total += until - reached.get(code.tobytes(), 0)
        reached[code.tobytes()] = until
    return total


def reached(result: Result, seed: int, evaluations: float) -> float:
    """Normalised hypervolume of random search after so many evaluations."""
    cells = zip(result.searches, result.trajectories, strict=True)
    steps = next(t for c, t in cells if c.optimizer == "random" and c.seed == seed)
    indices = np.flatnonzero(steps.evaluations <= evaluations)
    return float(steps.normalised[indices[-1]]) if len(indices) else 0.0


def page(result: Result, seconds: float) -> str:
    """Report of the runs, as Markdown."""
    full_steps = result.experiment.backend.settings["training"]["steps"]
    rows: list[tuple[str, float, list[float], float, float]] = []
    for name in ("random", "moasha"):
        cells = [cell for cell in result.searches if cell.optimizer == name]
        summary_rows = [row for row in result.summary if row["optimizer"] == name]
        hypervolumes = [row["normalised"] for row in summary_rows]
        trained = [steps(cell, full_steps) for cell in cells]
        durations = [float(cell.trials.seconds.sum()) for cell in cells]
        means = (float(np.mean(values)) for values in (hypervolumes, trained, durations))
        mean, mean_trained, mean_taken = means
        rows.append((name, mean, hypervolumes, mean_trained, mean_taken))
    early = [reached(result, i, rows[1][3] / full_steps) for i, _ in enumerate(rows[0][2])]
    lines = [
        "# Successive halving and random search with real training",
        "",
        f"    python benchmarks/tiny.py --seeds {len(result.experiment.seeds)}",
        "",
        "`experiments/hardware/cpu-tiny.yaml` with random and moasha alone: the same number of",
        "networks, perplexity after at most "
        f"{full_steps} steps against latency on this CPU; hypervolume relative",
        f"to the union of all fronts. {os.cpu_count()} cores, one thread, {seconds:.0f} s in all.",
        "",
        "| search | hypervolume, mean | of each seed | steps trained, mean | seconds, mean |",
        "|---|---|---|---|---|",
    ]
    for name, mean, hypervolumes, trained, duration in rows:
        each = ", ".join(f"{value:.3f}" for value in hypervolumes)
        lines.append(f"| {name} | {mean:.3f} | {each} | {trained:,.0f} | {duration:.1f} |")
    ratio = rows[0][3] / rows[1][3]
    lines += [
        "",
        f"moasha trained {ratio:.2f} times fewer steps (wanted: at least 3, for a hypervolume that",
        f"is no worse). Random search after as many steps as moasha: {np.mean(early):.3f}.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    chosen = parser.parse_args()
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        overrides = {"seeds": chosen.seeds, "optimizers": ["random", "moasha"]}
        result = hwnas.run("hardware/cpu-tiny", Path(folder, "out"), overrides=overrides)
        text = page(result, time.perf_counter() - begin)
    PAGE.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
