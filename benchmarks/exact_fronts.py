"""Prove the exact fronts: how long they take, how large they are, and that no search beats them.

::

    python benchmarks/exact_fronts.py [--evaluations 50000] [--problems gpt-s:latency@rtx3080 ...]
                                      [--out benchmarks/exact_fronts.md]

A problem is perplexity against latency or energy on one device, on one scale: 78 of them; and on
each scale some with constraints and with three to five objectives. For each, NSGA-II searches for
long, and every network that it has evaluated and that keeps the constraints is held against the
front. Exits with 1 when one of them is not equal to, or dominated by, a member (where the front is
exact up to an epsilon: up to that).
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import hwnas
from hwnas import pareto
from hwnas.fronts import Front, reference_point
from hwnas.objectives import constraint_violations, parse_constraints, parse_objectives
from hwnas.surrogates.published import SCALES
from hwnas.typing import Array

POPULATION = 100
METRICS = ("latency", "energy")
THIRDS = ("bfloat16_memory", "params", "flops", "latency@cpu_xeon_gold", "latency@h100:p90")


@dataclass(frozen=True)
class Row:
    """Front of one problem beside a search."""

    scale: str
    names: str
    members: int
    epsilon: float
    seconds: float
    beyond: int
    normalised: float


def problems() -> list[str]:
    """All problems of two objectives, as ``"gpt-s:latency@rtx3080"``."""
    return [
        f"{scale}:{key}"
        for scale in SCALES
        for metric in METRICS
        for key in hwnas.surrogate(scale).metrics
        if key.startswith(f"{metric}@")
    ]


def beyond(front: Front, points: Array) -> int:
    """Number of points that no member equals or dominates up to epsilon, of those that matter.

    Of points that dominate each other the best count: 0 is 0 of all.

    Parameters
    ----------
    front
        Exact, or up to its epsilon.
    points : (k, m)
        Losses.
    """
    exact = front.losses
    better = exact - (front.epsilon or 0) * np.ptp(exact, axis=0)
    return int(pareto.non_dominated(np.concatenate([better, points]))[len(exact) :].sum())


def searched(
    bench: hwnas.Backend, names: Sequence[str], constraints: Sequence[str], evaluations: int
) -> Array:
    """Losses (k, m) of the networks that NSGA-II tries and that keep the constraints."""
    objectives, limits = parse_objectives(tuple(names)), parse_constraints(tuple(constraints))
    optimizer = hwnas.optimizer("nsga2", bench.space, len(names), seed=0, pop_size=POPULATION)
    batches = []
    remaining = evaluations
    while remaining > 0:
        codes = optimizer.ask(min(remaining, optimizer.batch))
        seeds = np.zeros(len(codes), dtype=np.uint64)
        losses = bench.evaluate(codes, objectives, seeds=seeds).values
        optimizer.tell(codes, losses)
        bounded = bench.evaluate(codes, limits, seeds=seeds).values
        batches.append(losses[(constraint_violations(limits, bounded) <= 0).all(axis=1)])
        remaining -= len(codes)
    return np.concatenate(batches)


def normalised(front: Front, losses: Array) -> float:
    """Hypervolume of losses (n, m) as a part of the front's."""
    exact = front.losses
    reference = reference_point(exact)
    search_front = losses[pareto.non_dominated(losses)]
    return pareto.hypervolume(search_front, reference) / pareto.hypervolume(exact, reference)


def prove(scale: str, names: Sequence[str], constraints: Sequence[str], evaluations: int) -> Row:
    """Front and search of one problem."""
    bench = hwnas.surrogate(scale)
    start = time.process_time()
    front = bench.front(names, constraints)
    seconds = time.process_time() - start
    assert front is not None
    assert front.epsilon is not None
    losses = searched(bench, names, constraints, evaluations)
    return Row(
        scale,
        ", ".join([*names, *constraints]),
        len(front),
        front.epsilon,
        seconds,
        beyond(front, losses),
        normalised(front, losses),
    )


def larger(scale: str) -> list[tuple[list[str], list[str]]]:
    """Objectives and constraints of the other problems of a scale."""
    bench = hwnas.surrogate(scale)

    def half(name: str) -> str:
        low, high = bench.range(name)
        return f"{name} <= {(low + high) / 2:.4g}"

    two = ["perplexity", "latency@h100"]
    three = [*two, "energy@h100"]
    four = [*three, "bfloat16_memory"]
    memory, cpu_latency = half("bfloat16_memory"), half("latency@cpu_xeon_gold")
    return [
        (two, [memory]),
        (two, [half("energy@rtx2080:p90")]),
        (two, [memory, half("energy@h100"), cpu_latency]),
        (three, []),
        *(([*two, name], []) for name in THIRDS),
        (three, [memory]),
        (four, []),
        (four, [half("params")]),
        (four, [half("latency@h100")]),
        ([*four, "latency@cpu_xeon_gold"], []),
    ]


def page(
    rows: Sequence[Row], larger_rows: Sequence[Row], evaluations: int, total_seconds: float
) -> str:
    """The result as Markdown: problems of two objectives, and the others."""
    failed = sum(row.beyond > 0 for row in [*rows, *larger_rows])
    lines = [
        "# Exact fronts against long searches",
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
        f"{failed} of {len(rows) + len(larger_rows)} fronts were beaten. Everything together took "
        f"{total_seconds / 60:.1f} minutes of one core.",
        "",
        "| scale | problems | members, least to most | seconds, median | most | "
        "dominated by search | hypervolume, least | mean |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for scale in dict.fromkeys(row.scale for row in rows):
        group = [row for row in rows if row.scale == scale]
        sizes = [row.members for row in group]
        seconds = [row.seconds for row in group]
        reached = [row.normalised for row in group]
        lines.append(
            f"| {scale} | {len(group)} | {min(sizes):,} to {max(sizes):,} | "
            f"{np.median(seconds):.3f} | {max(seconds):.3f} | "
            f"{sum(row.beyond for row in group)} | {min(reached):.4f} | {np.mean(reached):.4f} |"
        )
    lines += [
        "",
        "| scale | metric@device | members | seconds | dominated by search | hypervolume |",
        "|---|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row.scale} | {row.names.partition(', ')[2]} | {row.members:,} | {row.seconds:.3f} | "
        f"{row.beyond} | {row.normalised:.4f} |"
        for row in rows
    ]
    if larger_rows:
        lines += larger_page(larger_rows)
    return "\n".join(lines) + "\n"


def larger_page(rows: Sequence[Row]) -> list[str]:
    """The section on constraints and on three objectives and more."""
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # of kB
    return [
        "",
        "## Constraints, and three objectives and more",
        "",
        "A constraint is half way between the least and the greatest value of any network. With "
        "four objectives and more, fronts are exact up to *epsilon*: every network that keeps the "
        "constraints is, up to that part of each objective's range over the members, dominated by "
        "a member; the proof is in `hwnas/surrogates/exact.py`. *dominated by search* holds the "
        "search against the front so widened; the search knows nothing of the constraints. "
        f"*seconds* are of one core; memory was {memory:.1f} GB at most.",
        "",
        "| scale | objectives and constraints | members | epsilon | seconds | "
        "dominated by search | hypervolume |",
        "|---|---|---:|---:|---:|---:|---:|",
        *(
            f"| {row.scale} | {row.names} | {row.members:,} | "
            f"{f'{row.epsilon:.2%}' if row.epsilon else 'exact'} | {row.seconds:.2f} | "
            f"{row.beyond} | {row.normalised:.4f} |"
            for row in rows
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--evaluations", type=int, default=50_000, help="of each search")
    parser.add_argument("--problems", nargs="+", metavar="SCALE:METRIC@DEVICE", help="only these")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()
    if options.evaluations < 1:
        parser.error(f"--evaluations: expected at least 1, found {options.evaluations}")
    all_problems = problems()
    for problem in options.problems or ():
        if problem not in all_problems:
            parser.error(f"--problems: {problem!r} is not one, such as {all_problems[0]!r} is")
    start = time.process_time()
    rows, larger_rows = [], []
    for problem in options.problems or all_problems:
        scale, _, metric = problem.partition(":")
        rows.append(prove(scale, ["perplexity", metric], [], options.evaluations))
        print(rows[-1], flush=True)
    for scale in () if options.problems else SCALES:
        for names, constraints in larger(scale):
            larger_rows.append(prove(scale, names, constraints, options.evaluations))
            print(larger_rows[-1], flush=True)
    total_seconds = time.process_time() - start
    options.out.write_text(
        page(rows, larger_rows, options.evaluations, total_seconds), encoding="utf-8"
    )
    sys.exit(any(row.beyond for row in [*rows, *larger_rows]))


if __name__ == "__main__":
    main()
