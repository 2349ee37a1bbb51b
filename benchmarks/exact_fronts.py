"""Prove the exact fronts: how long they take, how large they are, and that no search beats them.

::

    python benchmarks/exact_fronts.py [--evaluations 50000] [--problems gpt-s:latency@rtx3080 ...]
                                      [--out benchmarks/exact_fronts.md]

A problem is perplexity against latency or energy on one device, on one scale: 78 of them. For each,
NSGA-II searches for long, and every network that it has evaluated is held against the front. Exits
with 1 when one of them is not equal to, or dominated by, a member.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import hwnas
from hwnas import pareto
from hwnas.fronts import Front, reference_point
from hwnas.objectives import parse_objectives
from hwnas.surrogates.published import SCALES

Array = NDArray[np.float64]

POPULATION = 100
METRICS = ("latency", "energy")


@dataclass(frozen=True)
class Row:
    """What was found for one problem."""

    scale: str
    metric: str
    members: int
    seconds: float
    beyond: int
    normalised: float


def problems() -> list[str]:
    """All problems, as ``"gpt-s:latency@rtx3080"``."""
    return [
        f"{scale}:{key}"
        for scale in SCALES
        for metric in METRICS
        for key in hwnas.surrogate(scale).metrics
        if key.startswith(f"{metric}@")
    ]


def beyond(front: Array, points: Array) -> int:
    """How many points no member of a front equals or dominates: 0 where the front is exact.

    A point that dominates a member is one of them, and so is one that lies between members.

    Parameters
    ----------
    front : (n, 2)
        Non-dominated, ascending in the first objective; both are minimised.
    points : (k, 2)
    """
    # Of the members at most as far to the right as the point, the last is the lowest.
    last = np.searchsorted(front[:, 0], points[:, 0], side="right") - 1
    covered = (last >= 0) & (front[last, 1] <= points[:, 1])
    return int(np.count_nonzero(~covered))


def searched(bench: hwnas.Backend, names: Sequence[str], evaluations: int) -> Array:
    """Losses (evaluations, 2) of the networks that NSGA-II tries."""
    objectives = parse_objectives(tuple(names))
    optimizer = hwnas.optimizer("nsga2", bench.space, len(names), seed=0, pop_size=POPULATION)
    found = []
    left = evaluations
    while left > 0:
        codes = optimizer.ask(min(left, optimizer.batch))
        seeds = np.zeros(len(codes), dtype=np.uint64)
        losses = bench.evaluate(codes, objectives, seeds=seeds).values
        optimizer.tell(codes, losses)
        found.append(losses)
        left -= len(codes)
    return np.concatenate(found)


def normalised(front: Front, losses: Array) -> float:
    """Hypervolume of losses (n, 2) as a part of the exact front's."""
    exact = front.losses
    reference = reference_point(exact)
    kept = losses[pareto.non_dominated(losses)]
    return pareto.hypervolume(kept, reference) / pareto.hypervolume(exact, reference)


def prove(problem: str, evaluations: int) -> Row:
    """Front and search of one problem."""
    scale, _, metric = problem.partition(":")
    names = ["perplexity", metric]
    bench = hwnas.surrogate(scale)
    start = time.perf_counter()
    front = bench.front(names)
    seconds = time.perf_counter() - start
    assert front is not None
    losses = searched(bench, names, evaluations)
    return Row(
        scale,
        metric,
        len(front),
        seconds,
        beyond(front.losses, losses),
        normalised(front, losses),
    )


def page(rows: Sequence[Row], evaluations: int, took: float) -> str:
    """The result as Markdown."""
    failed = sum(row.beyond > 0 for row in rows)
    lines = [
        "# Exact fronts, and what a long search finds against them",
        "",
        f"    python benchmarks/exact_fronts.py --evaluations {evaluations}",
        "",
        f"Perplexity against each metric, {len(rows)} of {len(problems())} problems. *members* and "
        "*seconds* are the size of the exact front and the time to compute it (one core, the "
        f"tables' assembly included). Then NSGA-II with a population of {POPULATION} and seed 0 "
        f"evaluates {evaluations:,} networks of each problem. *dominated by search* counts those "
        "that no member equals or dominates: networks that dominate a member, or that the front "
        "has missed. It must be 0. *hypervolume* is what the search reached of the exact front's "
        "(reference: nadir plus a tenth of the way from ideal to nadir).",
        "",
        f"{failed} of {len(rows)} fronts were beaten. Everything together took {took / 60:.1f} "
        "minutes of one core.",
        "",
        "| scale | problems | members, least to most | seconds, median | most | "
        "dominated by search | hypervolume, least | mean |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for scale in dict.fromkeys(row.scale for row in rows):
        some = [row for row in rows if row.scale == scale]
        sizes = [row.members for row in some]
        seconds = [row.seconds for row in some]
        reached = [row.normalised for row in some]
        lines.append(
            f"| {scale} | {len(some)} | {min(sizes):,} to {max(sizes):,} | "
            f"{np.median(seconds):.3f} | {max(seconds):.3f} | "
            f"{sum(row.beyond for row in some)} | {min(reached):.4f} | {np.mean(reached):.4f} |"
        )
    lines += [
        "",
        "| scale | metric@device | members | seconds | dominated by search | hypervolume |",
        "|---|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row.scale} | {row.metric} | {row.members:,} | {row.seconds:.3f} | {row.beyond} | "
        f"{row.normalised:.4f} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--evaluations", type=int, default=50_000, help="of each search")
    parser.add_argument("--problems", nargs="+", metavar="SCALE:METRIC@DEVICE", help="only these")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()
    if options.evaluations < 1:
        parser.error(f"--evaluations: expected at least 1, found {options.evaluations}")
    known = problems()
    for problem in options.problems or ():
        if problem not in known:
            parser.error(f"--problems: {problem!r} is not one, such as {known[0]!r} is")
    start, rows = time.process_time(), []
    for problem in options.problems or known:
        rows.append(prove(problem, options.evaluations))
        print(rows[-1], flush=True)
    options.out.write_text(
        page(rows, options.evaluations, time.process_time() - start), encoding="utf-8"
    )
    sys.exit(any(row.beyond for row in rows))


if __name__ == "__main__":
    main()
