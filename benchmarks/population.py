"""Populations of the optimizers that have one, at several budgets: ``benchmarks/population.md``.

    python benchmarks/population.py [--workers 1]

An optimizer does not know its budget, so one search serves for all numbers of evaluations up to its
own. Quality is the hypervolume relative to that of the exact front, without noise.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

import hwnas
from hwnas import pareto
from hwnas.fronts import reference_point
from hwnas.surrogates import Surrogate
from hwnas.typing import Array

PAGE = Path(__file__).with_suffix(".md")
SPACES = ("gpt-s", "gpt-m", "gpt-l")
DEVICES = ("rtx2080", "rtx3080", "a6000", "a100", "v100", "P100", "h100", "cpu_xeon_gold")
# Name of the setting that holds the number of architectures of a population, or of a start.
SETTINGS = {
    "nsga2": "pop_size",
    "nsga3": "pop_size",
    "moead": "pop_size",
    "smsemoa": "pop_size",
    "morea": "pop_size",
    "local_search": "initial",
}
POPULATIONS = (10, 16, 20, 40, 50, 100)
N_SEEDS, N_MANY_SEEDS = 3, 24  # the latter for 100 evaluations, where chance is largest


@dataclass(frozen=True)
class Task:
    """One optimizer on one problem with one seed; population 0 is random search."""

    space: str
    objectives: tuple[str, ...]
    optimizer: str
    population: int
    seed: int
    evaluations: tuple[int, ...]


@dataclass(frozen=True)
class Suite:
    """Problems whose results are averaged."""

    title: str
    problems: tuple[tuple[str, tuple[str, ...]], ...]
    evaluations: tuple[int, ...] = (100, 500, 1000)
    n_seeds: int = N_SEEDS


def suites() -> list[Suite]:
    """Return the problems: latency, energy, three objectives, and long searches."""
    latency = [(s, ("perplexity", f"latency@{d}")) for s in SPACES for d in DEVICES]
    energy = [(s, ("perplexity", f"energy@{d}")) for s in SPACES for d in ("h100", "cpu_xeon_gold")]
    three = [(s, ("perplexity", "latency@h100", "energy@h100")) for s in SPACES]
    long = [(s, ("perplexity", "latency@h100")) for s in SPACES]
    return [
        Suite("Perplexity and latency, 8 devices", tuple(latency)),
        Suite("The same, many seeds", tuple(latency), (100,), N_MANY_SEEDS),
        Suite("Perplexity and energy, 2 devices", tuple(energy)),
        Suite("Perplexity, latency@h100 and energy@h100", tuple(three)),
        Suite("Perplexity and latency@h100, long", tuple(long), (10_000,)),
    ]


@cache
def exact(space: str, objectives: tuple[str, ...]) -> tuple[Surrogate, Array, float]:
    """Return the surrogate, the reference point and the exact front's hypervolume."""
    bench = hwnas.surrogate(space)
    front = bench.front(list(objectives))
    assert front is not None
    reference = reference_point(front.losses)
    return bench, reference, pareto.hypervolume(front.losses, reference)


def search(task: Task) -> list[float]:
    """Return a search's normalised hypervolume at each number of evaluations, then its seconds."""
    bench, reference, total = exact(task.space, task.objectives)
    settings = {SETTINGS[task.optimizer]: task.population} if task.population else {}
    optimizer = hwnas.optimizer(
        task.optimizer, task.space, len(task.objectives), seed=task.seed, **settings
    )
    limit = max(task.evaluations)
    start = time.process_time()
    while (n := len(optimizer.history)) < limit:
        codes = optimizer.ask(min(optimizer.batch, limit - n))
        optimizer.tell(codes, bench.predict(codes, list(task.objectives)))
    losses = optimizer.history.losses
    seconds = time.process_time() - start
    return [*(pareto.hypervolume(losses[:n], reference) / total for n in task.evaluations), seconds]


def tasks_of(suite: Suite, optimizer: str, population: int) -> list[Task]:
    """Return the searches of one optimizer on a suite, problem by problem."""
    return [
        Task(space, objectives, optimizer, population, seed, suite.evaluations)
        for space, objectives in suite.problems
        for seed in range(suite.n_seeds)
    ]


def table(suite: Suite, results: dict[tuple[str, int], Array]) -> list[str]:
    """Return the rows of a suite's results (problems, seeds, evaluations), as Markdown."""
    baseline = results["random", 0]
    n_problems = len(suite.problems)
    heads = [f"{n:,}" for n in suite.evaluations]
    ahead_heads = [f"ahead at {n:,}" for n in suite.evaluations]
    lines = [
        f"## {suite.title}: {n_problems} problems, {suite.n_seeds} seeds",
        "",
        f"| optimizer | population | {' | '.join(heads)} | {' | '.join(ahead_heads)} |",
        "|---|---|" + "---|" * (2 * len(heads)),
    ]
    means = {key: values.mean(axis=(0, 1)) for key, values in results.items()}
    for (name, population), values in results.items():
        # The best population of the optimizer at each number of evaluations is in bold.
        best = np.max([mean for key, mean in means.items() if key[0] == name], axis=0)
        cells = [
            f"**{mean:.4f}**" if population and mean == top else f"{mean:.4f}"
            for mean, top in zip(means[name, population], best, strict=True)
        ]
        ahead = (values.mean(axis=1) > baseline.mean(axis=1)).sum(axis=0)
        counts = [str(n) if population else "" for n in ahead]
        lines.append(
            f"| {name} | {population or ''} | {' | '.join(cells)} | {' | '.join(counts)} |"
        )
    return [*lines, ""]


def page(sections: Sequence[list[str]], seconds: float) -> str:
    """Return the page, as Markdown."""
    lines = [
        "# Populations",
        "",
        "    python benchmarks/population.py",
        "",
        "Hypervolume relative to that of the exact front, without noise: means over problems and",
        "seeds after so many evaluations, and the number of problems on which the mean of the",
        "seeds is ahead of random search with the same seeds. For local_search the population is",
        "the number of random architectures of a start (`initial`). The best population of each",
        f"optimizer is in bold. Searches took {seconds / 60:.0f} minutes of one core.",
        "",
    ]
    return "\n".join([*lines, *(line for section in sections for line in section)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    sections, seconds = [], 0.0
    methods = [("random", 0), *((name, n) for name in SETTINGS for n in POPULATIONS)]
    with ProcessPoolExecutor(arguments.workers) as pool:
        for suite in suites():
            results: dict[tuple[str, int], Array] = {}
            for name, population in methods:
                rows = np.array(
                    list(pool.map(search, tasks_of(suite, name, population), chunksize=9))
                )
                seconds += rows[:, -1].sum()
                values = rows[:, :-1].reshape(
                    len(suite.problems), suite.n_seeds, len(suite.evaluations)
                )
                results[name, population] = values
                print(suite.title, name, population, values.mean(axis=(0, 1)).round(4), flush=True)
            sections.append(table(suite, results))
            PAGE.write_text(page(sections, seconds), encoding="utf-8")


if __name__ == "__main__":
    main()
