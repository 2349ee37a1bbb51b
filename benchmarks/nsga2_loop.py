"""Lead of the wrapped NSGA-II over pymoo's own loop, over many seeds.

    python benchmarks/nsga2_loop.py [--seeds 100:140]

Prints the mean lead in normalized hypervolume with its standard error, after 100, 200, 500 and
1,000 evaluations. Each seed has its own first samples, so seeds are independent, which problems of
one seed are not.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
from libraries import LOOPS

import hwnas
from hwnas import pareto
from hwnas.fronts import reference_point
from hwnas.runner.executors import one_thread
from hwnas.typing import Array

PROBLEMS = {"gpt-s": "latency@rtx2080", "gpt-l": "energy@cpu_xeon_gold"}
MARKS = (100, 200, 500, 1000)


def wrapped(space: str, objectives: list[str], n: int, seed: int, pop_size: int) -> Array:
    """Return the losses (n, 2) of the optimizer ``nsga2``."""
    bench = hwnas.surrogate(space)
    optimizer = hwnas.optimizer("nsga2", bench.space, 2, seed=seed, pop_size=pop_size)
    losses = np.empty((0, 2))
    while len(losses) < n:
        codes = optimizer.ask(min(optimizer.batch, n - len(losses)))
        values = bench.predict(codes, objectives)
        optimizer.tell(codes, values)
        losses = np.concatenate([losses, values])
    return losses


def leads(space: str, pop_size: int, seed: int) -> list[float]:
    """Return the lead at each of `MARKS` for one seed."""
    bench, objectives = hwnas.surrogate(space), ["perplexity", PROBLEMS[space]]
    front = bench.front(objectives).losses
    reference = reference_point(front)
    ours = wrapped(space, objectives, MARKS[-1], seed, pop_size)
    own = LOOPS["nsga2"](bench, objectives, MARKS[-1], seed, pop_size=pop_size)
    volumes = [[pareto.hypervolume(x[:k], reference) for x in (ours, own)] for k in MARKS]
    best = pareto.hypervolume(front, reference)
    return [(a - b) / best for a, b in volumes]


def main() -> None:
    """Print a row for each problem and population."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="100:140", help="FIRST:END")
    first, end = map(int, parser.parse_args().seeds.split(":"))
    warnings.simplefilter("ignore")
    with one_thread():
        for space in PROBLEMS:
            for pop_size in (20, 100):
                rows = np.array([leads(space, pop_size, seed) for seed in range(first, end)])
                errors = rows.std(axis=0, ddof=1) / np.sqrt(len(rows))
                cells = [
                    f"{a:+.4f} ± {b:.4f}" for a, b in zip(rows.mean(axis=0), errors, strict=True)
                ]
                print(space, pop_size, *cells, flush=True)


if __name__ == "__main__":
    main()
