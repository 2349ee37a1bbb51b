"""Searches that start from a search on another space or device, and searches that do not.

    python benchmarks/warm_start.py run [--most 10] [--seconds 600]
    python benchmarks/warm_start.py report

An earlier search of 100 evaluations, on gpt-s or of latency@a100, is told to a search on gpt-l or
of a CPU's latency before its first proposal. `run` appends to ``warm_start.csv`` what it does not
have yet, in random order, and can be stopped at any time; `report` writes ``warm_start.md``.
"""

from __future__ import annotations

import argparse
import itertools
import time
from functools import cache
from pathlib import Path

import numpy as np
from csv_rows import append_row, read_rows
from known_values import N_KNOWN, known_trials

import hwnas
from hwnas import pareto
from hwnas.fronts import reference_point
from hwnas.optimizers import Optimizer
from hwnas.related_trials import RelatedTrials
from hwnas.runner.executors import one_thread
from hwnas.typing import Array, Codes

HERE = Path(__file__).parent
ROWS, PAGE = HERE / "warm_start.csv", HERE / "warm_start.md"
SEEDS = range(5)
MARKS = (10, 20, 30, 50, 100)
COLUMNS = ("transfer", "space", "device", "seed", "start", *map(str, MARKS), "seconds")
CPUS = ("cpu_xeon_silver", "cpu_xeon_gold", "cpu_amd_7502", "cpu_amd_7513", "cpu_amd_7452")
SOURCE_DEVICE = "a100"
STARTS = {"cold": "cold", "warm": "warm", "known": "perplexity known"}
TRANSFERRED = (
    "perplexity", "latency@h100", "latency@rtx3080", "latency@cpu_amd_7502", "energy@h100"
)  # fmt: skip
N_MEMBERS = 2000  # of a front, for its best subset
BOUNDS = (
    ("gpt-s", "cpu_xeon_gold"), ("gpt-s", "cpu_amd_7502"), ("gpt-l", "h100"), ("gpt-l", "rtx3080")
)  # fmt: skip


@cache
def exact(space: str, device: str) -> tuple[Array, float]:
    """Return the reference point (2,) of a problem and the hypervolume of its exact front."""
    front = hwnas.surrogate(space).front(objectives(device)).losses
    point = reference_point(front)
    return point, pareto.hypervolume(front, point)


def objectives(device: str) -> list[str]:
    """Return the objectives of a device."""
    return ["perplexity", f"latency@{device}"]


@cache
def earlier_search(space: str, device: str, seed: int) -> tuple[Codes, Array]:
    """Return architectures (100, d) and losses (100, 2) of a search without a warm start."""
    return search(hwnas.optimizer("additive", space, 2, seed=seed), space, device, MARKS[-1])


def search(optimizer: Optimizer, space: str, device: str, n: int) -> tuple[Codes, Array]:
    """Return architectures (n, d) and losses (n, 2) of a search."""
    backend, losses, parts = hwnas.surrogate(space), np.empty((0, 2)), []
    while len(losses) < n:
        codes = optimizer.ask(min(optimizer.batch, n - len(losses)))
        values = backend.predict(codes, objectives(device))
        optimizer.tell(codes, values)
        losses = np.concatenate([losses, values])
        parts.append(codes)
    return np.concatenate(parts), losses


def related(transfer: str, space: str, device: str, seed: int) -> RelatedTrials:
    """Return the trials of an earlier search on gpt-s, or of latency on another device."""
    source, source_device = ("gpt-s", device) if transfer == "space" else (space, SOURCE_DEVICE)
    codes, losses = earlier_search(source, source_device, seed)
    is_same = np.array([transfer == "device", False])  # perplexity does not depend on devices
    exact_values = np.zeros_like(losses)
    return RelatedTrials(hwnas.space(source), codes, losses, exact_values, np.arange(2), is_same)


def known_perplexity(space: str) -> RelatedTrials:
    """Return perplexities of the space itself, more than a transfer can tell."""
    backend = hwnas.surrogate(space)
    return known_trials(space, lambda codes: backend.predict(codes, ["perplexity"]), [0])


def row_of(transfer: str, space: str, device: str, seed: int, start: str) -> list[str]:
    """Return the row of one search: normalized hypervolume at the marks, processor seconds."""
    point, best = exact(space, device)
    begin = time.process_time()
    if start == "cold":
        _, losses = earlier_search(space, device, seed)
    else:
        warm = start == "warm"
        trials = related(transfer, space, device, seed) if warm else known_perplexity(space)
        begin = time.process_time()
        optimizer = hwnas.optimizer("additive", space, 2, seed=seed)
        optimizer.tell_related(trials)
        _, losses = search(optimizer, space, device, MARKS[-1])
    seconds = time.process_time() - begin
    shares = [pareto.hypervolume(losses[:mark], point) / best for mark in MARKS]
    key = [transfer, space, device, str(seed), start]
    return [*key, *(f"{share:.4f}" for share in shares), f"{seconds:.1f}"]


def best_subset(space: str, device: str, n: int) -> float:
    """Return the share of the hypervolume that `n` members of the exact front can have.

    The best subset of two objectives, by dynamic programming over members in order.
    """
    point, best = exact(space, device)
    front = hwnas.surrogate(space).front(objectives(device)).losses
    x, y = front[np.argsort(front[:, 0])].T
    if len(x) > N_MEMBERS:
        chosen = np.linspace(0, len(x) - 1, N_MEMBERS).round().astype(int)
        x, y = x[chosen], y[chosen]
    # Area left of each member if it is the last of those chosen, and all pairs of steps.
    areas, steps = np.zeros(len(x)), (x - x[:, None]) * (point[1] - y)[:, None]
    steps[np.tril_indices(len(x))] = -np.inf
    for _ in range(n - 1):
        areas = np.max(areas[:, None] + steps, axis=0)
        areas[0] = -np.inf
    return float(np.max(areas + (point[0] - x) * (point[1] - y))) / best


def run(max_searches: int, seconds: float) -> None:
    """Make up to `max_searches` searches that are missing."""
    begin = time.monotonic()
    finished = {tuple(row[:5]) for row in read_rows(ROWS)}
    cases = [("space", "gpt-l", d, s) for d in hwnas.surrogate("gpt-l").devices for s in SEEDS]
    cases += [("device", space, d, s) for space in ("gpt-s", "gpt-l") for d in CPUS for s in SEEDS]
    n_made = 0
    for i in np.random.default_rng(0).permutation(len(cases)):
        for start in STARTS:
            transfer, space, device, seed = cases[i]
            if (transfer, space, device, str(seed), start) in finished:
                continue
            if n_made == max_searches or time.monotonic() - begin > seconds:
                return
            row = row_of(transfer, space, device, seed, start)
            append_row(ROWS, COLUMNS, row)
            print(*row, flush=True)
            n_made += 1


def report() -> None:
    """Write the page."""
    rows = read_rows(ROWS)
    marks = " | ".join(map(str, MARKS))
    lines = [
        "# Warm starts from another space or device",
        "",
        "    python benchmarks/warm_start.py run",
        "    python benchmarks/warm_start.py report",
        "",
        "Share of the exact front's hypervolume of perplexity and latency after so many evaluations"
        " of `additive`,",
        "mean over searches. *cold*: without a warm start. *warm*: after an earlier search of 100",
        "evaluations, on gpt-s for the same device, or of latency@a100 on the same space.",
        f"*perplexity known*: after {N_KNOWN:,} exact perplexities of the space, more than any"
        " transfer of layers",
        "can tell; latency is learned. Wanted: 30 warm evaluations reach what 100 reach cold.",
        "",
        f"| from | space | start | searches | {marks} | cold evaluations for what 30 have here |",
        "|---|---|---|---:|" + "---:|" * (len(MARKS) + 1),
    ]
    groups = sorted({(row[0], row[1]) for row in rows})
    for transfer, space in groups:
        own = {start: shares_of(rows, transfer, space, start) for start in STARTS}
        cold = own["cold"].mean(axis=0)
        for start, shares in own.items():
            means = shares.mean(axis=0)
            equal = np.interp(means[MARKS.index(30)], cold, MARKS)
            source = "gpt-s" if transfer == "space" else SOURCE_DEVICE
            cells = " | ".join(f"{share:.4f}" for share in means)
            lines.append(
                f"| {source} | {space} | {STARTS[start]} | {len(shares)} | {cells} | {equal:.0f} |"
            )
    lines += [
        "",
        "## What 30 evaluations can reach",
        "",
        "A front of thousands of members is approximated by those that were evaluated. The best 30",
        "members of the exact front, chosen with all known (dynamic programming over at most",
        f"{N_MEMBERS:,} of them), have:",
        "",
        "| space | device | best 30 | best 100 | cold search at 100 |",
        "|---|---|---:|---:|---:|",
    ]
    for space, device in BOUNDS:
        cold = np.array(
            [row[5:10] for row in rows if row[1:3] == [space, device] and row[4] == "cold"], float
        )
        reached = f"{cold[:, -1].mean():.4f}" if len(cold) else ""
        shares = " | ".join(f"{best_subset(space, device, n):.4f}" for n in (30, 100))
        lines.append(f"| {space} | {device} | {shares} | {reached} |")
    lines += [
        "",
        "## What carries over from gpt-s to gpt-l",
        "",
        "Terms of a layer's options in the largest network of each width, by relative depth:",
        "correlation of all terms, and of what is left of them without the mean over layers, which",
        "no transfer is needed for. Lowest and highest of three widths.",
        "",
        "| metric | all terms | without the mean over layers |",
        "|---|---:|---:|",
    ]
    for metric in TRANSFERRED:
        pairs = np.array([correlations(metric, width) for width in range(3)])
        low, high = pairs.min(axis=0), pairs.max(axis=0)
        cells = " | ".join(f"{a:.2f} to {b:.2f}" for a, b in zip(low, high, strict=True))
        lines.append(f"| {metric} | {cells} |")
    PAGE.write_text("\n".join(lines) + "\n")


def correlations(metric: str, width: int) -> tuple[float, float]:
    """Return the correlations between terms of gpt-s and gpt-l, with and without their means."""
    small, large = layer_terms("gpt-s", metric, width), layer_terms("gpt-l", metric, width)
    depth, position = np.linspace(0, 1, len(large)), np.linspace(0, 1, len(small))
    small = np.stack([np.interp(depth, position, column) for column in small.T], axis=1)
    parts = (small, large), (small - small.mean(axis=0), large - large.mean(axis=0))
    return tuple(float(np.corrcoef(a.ravel(), b.ravel())[0, 1]) for a, b in parts)


def layer_terms(space: str, metric: str, width: int) -> Array:
    """Return the terms (L, O) of each layer's options in the largest network of a width."""
    search_space = hwnas.space(space)
    layers = search_space.layer_columns
    largest = search_space.cardinalities - 1
    largest[search_space.columns.index("embed_dim")] = width
    options = list(itertools.product(*(range(n) for n in search_space.cardinalities[layers[0]])))
    rows = np.tile(largest, (len(layers) * len(options), 1))
    for row, (columns, option) in zip(rows, itertools.product(layers, options), strict=True):
        row[columns] = option
    values = hwnas.surrogate(space).predict(search_space.canonical(rows), [metric])
    terms = values.reshape(len(layers), len(options))
    return np.asarray(terms - terms.mean(axis=1, keepdims=True))


def shares_of(rows: list[list[str]], transfer: str, space: str, start: str) -> Array:
    """Return the shares (searches, marks) of one group, in cases that have every start."""
    keys = [
        {tuple(row[:4]) for row in rows if row[:2] == [transfer, space] and row[4] == any_start}
        for any_start in STARTS
    ]
    complete = set.intersection(*keys)
    own = [row[5:10] for row in rows if tuple(row[:4]) in complete and row[4] == start]
    return np.array(own, dtype=float)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=("run", "report"))
    parser.add_argument("--most", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=np.inf)
    options = parser.parse_args()
    if options.task == "report":
        report()
        return
    with one_thread():
        run(options.most, options.seconds)


if __name__ == "__main__":
    main()
