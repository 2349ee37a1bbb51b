"""Fronts of tables that were fitted to thirty measurements: writes few_shot_fronts.md.

    python benchmarks/few_shot_fronts.py [--repetitions 20] [--points 10 20 30]

From the measurements in ``benchmarks/workloads/``. A fit to some of a space's networks, chosen from
a random part of them as ``hwnas profile`` chooses networks, has an exact front, of perplexity where
it is published and of as many parameters as possible elsewhere. Tables fitted to all of the
networks judge it beside their own front.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from few_shot import CANDIDATES, designed_points
from hardware_common import table
from threadpoolctl import threadpool_limits
from workloads_fronts import front_points
from workloads_rows import FOLDER, SPACES, TIMES, WITH_PERPLEXITY, rows_of
from workloads_statistics import Measured, measured

import hwnas
from hwnas.devices.fit import fit_tables
from hwnas.objectives import Objective
from hwnas.surrogates.pareto_front import exact_front
from hwnas.surrogates.tables import AdditiveTable
from hwnas.surrogates.transfer import Loss, loss
from hwnas.typing import Codes

HERE = Path(__file__).parent
POINTS = (10, 20, 30)
WANTED_POINTS, WANTED = 30, 0.995  # share of the hypervolume
MIN_NETWORKS = 60  # twice as many as the largest number of points
PUBLISHED_DEVICE = "latency@a100"  # whose front takes the time to compare with
HEADER = [
    "space", "metric", "networks", "members", "members, time, ratios", "share of the hypervolume",
    "slower, mean", "slower, worst",
]  # fmt: skip


@dataclass(frozen=True)
class Judged:
    """Fronts of few measurements of one metric.

    Attributes
    ----------
    space, metric
        What was measured.
    n_networks
        Number of all networks.
    n_members
        Number of members of the front of the fit to all.
    ratios
        Members and time of a front of few measurements over those of a published device's; NaN
        without one.
    losses
        Losses of each repetition by number of points.
    """

    space: str
    metric: str
    n_networks: int
    n_members: int
    ratios: tuple[float, float]
    losses: dict[int, list[Loss]]


def judged_fronts(
    networks: Measured, metric: str, points: Sequence[int], repetitions: int
) -> Judged | None:
    """Return what the fronts of few measurements lose; ``None`` with too few networks."""
    mask = np.isfinite(networks.values[metric])
    codes, values = networks.space.encode(networks.archs)[mask], networks.values[metric][mask]
    if len(values) < MIN_NETWORKS:
        return None
    against, published = other_tables(networks)
    truth = fit_tables(networks.space, codes, values, metric=metric).tables
    best = front_points([against, truth], front_of([against, truth]))
    losses: dict[int, list[Loss]] = {n: [] for n in points}
    sizes, seconds = [], []
    for repetition in range(repetitions):
        order = np.random.default_rng(repetition).permutation(len(values))
        candidates = order[: int(CANDIDATES * len(order))]
        for n in points:
            chosen = designed_points(networks.space, codes, candidates, n)
            fit = fit_tables(networks.space, codes[chosen], values[chosen], metric=metric).tables
            begin = time.perf_counter()
            members = front_of([against, fit])
            seconds.append(time.perf_counter() - begin)
            sizes.append(len(members))
            losses[n].append(loss(front_points([against, truth], members), best))
    size, duration = published_front(against, published)
    ratios = float(np.median(sizes)) / size, float(np.median(seconds)) / duration
    return Judged(networks.space.name, metric, len(values), len(best), ratios, losses)


def other_tables(networks: Measured) -> tuple[AdditiveTable, AdditiveTable | None]:
    """Return the table of the other loss, and that of a published device where there is one."""
    predictor = hwnas.surrogate(networks.space).predictor
    if networks.space.name in WITH_PERPLEXITY:
        objectives = map(Objective.parse, ("perplexity", PUBLISHED_DEVICE))
        perplexity, latency = map(predictor.table, objectives)
        return perplexity, latency
    params = predictor.table(Objective.parse("params"))
    return replace(params, base=-params.base, layers=-params.layers), None


def front_of(tables: Sequence[AdditiveTable]) -> Codes:
    """Return the exact front (n, d) of two tables."""
    front = exact_front(list(tables))
    assert front is not None, "too many labels"
    return front


def published_front(against: AdditiveTable, published: AdditiveTable | None) -> tuple[float, float]:
    """Return members and median seconds of the front of a published device; NaN without one."""
    if published is None:
        return float("nan"), float("nan")
    seconds = []
    for _ in range(5):
        begin = time.perf_counter()
        members = front_of([against, published])
        seconds.append(time.perf_counter() - begin)
    return float(len(members)), float(np.median(seconds))


def rows(results: Sequence[Judged]) -> Iterator[list[object]]:
    """Yield the rows of the page's table."""
    for result in results:
        groups = list(result.losses.values())
        shares = [1 - np.array([entry.hypervolume for entry in group]) for group in groups]
        cells = [f"{np.median(share):.4f} ({share.min():.4f})" for share in shares]
        if (last := shares[-1]).min() < WANTED and list(result.losses)[-1] == WANTED_POINTS:
            cells[-1] += f"; {np.mean(last >= WANTED):.0%} reach it"
        yield [
            result.space,
            f"`{result.metric}`",
            result.n_networks,
            result.n_members,
            "" if np.isnan(result.ratios[0]) else " / ".join(f"{r:.1f}" for r in result.ratios),
            " / ".join(cells),
            " / ".join(f"{100 * np.mean([e.mean for e in group]):.2f}" for group in groups),
            " / ".join(f"{100 * np.max([e.worst for e in group]):.1f}" for group in groups),
        ]


def page(fronts: Sequence[Judged], points: Sequence[int], repetitions: int) -> str:
    """Return the page."""
    numbers = " / ".join(map(str, points))
    good = sum(
        entry.hypervolume <= 1 - WANTED for front in fronts for entry in front.losses[WANTED_POINTS]
    )
    return f"""# Fronts from thirty measurements

    python benchmarks/few_shot_fronts.py

Tables fitted to {numbers} networks that an H100 measured (`benchmarks/workloads/`),
chosen from two thirds of them as `hwnas profile` chooses networks, {repetitions} repetitions; the
exact front of such a fit and perplexity (where it is published; of as many parameters as possible
in the other spaces), judged by a fit to all networks beside that one's own front. Share of the
hypervolume: median, and the smallest in brackets; wanted at {WANTED_POINTS} points:
at least {WANTED}, which {good} of {len(fronts) * repetitions} fronts reach.
Slower: in % at equal perplexity, the mean over the front, then the worst member of any repetition.
Members and time: of such a front over those of `{PUBLISHED_DEVICE}`'s, in one run.

{table(HEADER, list(rows(fronts)))}
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Judge the fronts of all measured spaces and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("spaces", nargs="*", default=SPACES, metavar="SPACE")
    parser.add_argument("--rows", type=Path, default=FOLDER, help="folder of the CSVs")
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--points", type=int, nargs="+", default=POINTS)
    parser.add_argument("--to", type=Path, default=HERE / "few_shot_fronts.md", help="the page")
    options = parser.parse_args(arguments)
    results = []
    with threadpool_limits(1):
        for name in options.spaces:
            group = rows_of(name, [options.rows])
            for metric in TIMES if group else ():
                result = judged_fronts(
                    measured(name, group), metric, options.points, options.repetitions
                )
                if result is not None:
                    results.append(result)
                    print(*next(rows([result])), flush=True)
    options.to.write_text(page(results, options.points, options.repetitions), encoding="utf-8")


if __name__ == "__main__":
    main()
