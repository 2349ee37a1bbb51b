"""Repeated measurements against new architectures under noise: ``benchmarks/noise.md``.

    python benchmarks/noise.py [--seeds 5] [--draws 400]

Every draw is an evaluation. The hypervolume is true: what each optimizer recommends in the end,
valued by medians.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

import hwnas

DEVICES = ("rtx3080", "cpu_xeon_gold")
SEARCHES = [
    "random",
    {"type": "random", "name": "random-9", "repeats": 9},
    "moasha",
]
RUNGS = (1, 3, 9, 27, 81)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--draws", type=int, default=400)
    chosen = parser.parse_args()
    rows, rungs = [], []
    spread = {}
    for device in DEVICES:
        bench = hwnas.surrogate("gpt-s")
        codes = bench.space.sample(1000, np.random.default_rng(0))
        quantiles = bench.quantiles(codes, f"latency@{device}")
        spread[device] = np.median((quantiles[:, 8] - quantiles[:, 0]) / quantiles[:, 4]) / 2.563
        with tempfile.TemporaryDirectory() as folder:
            result = hwnas.run(
                {
                    "name": "noise",
                    "space": "gpt-s",
                    "objectives": ["perplexity", f"latency@{device}"],
                    "optimizers": SEARCHES,
                    "budget": {"evaluations": chosen.draws},
                    "noise": True,
                    "seeds": chosen.seeds,
                },
                out=Path(folder, "out"),
            )
        for name in ("random", "random-9", "moasha"):
            cells = [cell for cell in result.searches if cell.optimizer == name]
            final = [row["normalised"] for row in result.summary if row["optimizer"] == name]
            steps = [
                s for c, s in zip(result.searches, result.trajectories, strict=True) if c in cells
            ]
            observed = np.mean([s.observed[-1] / result.best_hypervolume for s in steps])
            networks = np.mean([len(np.unique(c.trials.codes, axis=0)) for c in cells])
            rows.append(
                f"| {device} | {name} | {networks:.0f} | {np.mean(final):.4f} | "
                f"{min(final):.4f} to {max(final):.4f} | {observed:.4f} |"
            )
        reached: Counter[int] = Counter()
        for cell in (cell for cell in result.searches if cell.optimizer == "moasha"):
            codes = map(bytes, cell.trials.codes)
            reached.update(dict(zip(codes, cell.trials.fidelity.tolist(), strict=True)).values())
        top = {f: n / chosen.seeds for f, n in sorted(reached.items())}
        rungs.append(f"| {device} | " + " | ".join(f"{top.get(f, 0):.1f}" for f in RUNGS) + " |")
    page = f"""# Optimizers under noise: repeats or more architectures

    python benchmarks/noise.py --seeds {chosen.seeds} --draws {chosen.draws}

gpt-s, perplexity against latency, {chosen.draws} draws, {chosen.seeds} seeds; every draw counts as
an evaluation. *True* is the hypervolume of the optimizer's final recommendation, valued by
medians, relative to the exact front; *observed* is that of the noisy observations.

| device | search | networks | true, mean | range | observed, mean |
|---|---|---:|---:|---:|---:|
{chr(10).join(rows)}

Architectures of moasha by their final number of repeats, mean over seeds:

| device | {" | ".join(map(str, RUNGS))} |
|---|{"---:|" * len(RUNGS)}
{chr(10).join(rungs)}

## Explanation

The standard deviation of one draw of latency is about
{100 * spread["rtx3080"]:.1f} % on rtx3080 and {100 * spread["cpu_xeon_gold"]:.1f} % on
cpu_xeon_gold, and perplexity has no noise. The latencies of gpt-s differ by a factor of four, so
a single draw is informative enough, and a budget spent on repeats is missing for other
architectures: random search with nine repeats evaluates a ninth of them and is worse. moasha is
similar to it: its top rung takes 81 draws for each architecture that reaches it, and the first
ones reach it because there is nothing yet to compare them with. Repeats reduce the gap between
observed and true, which is largest where every architecture has one draw, because favorable draws
make the front. Multi-fidelity pays where the noise is as large as the differences, or where a low
fidelity costs a small part of a high one and is highly correlated with it, as in training.
"""
    Path(__file__).with_suffix(".md").write_text(page)
    print(page)


if __name__ == "__main__":
    main()
