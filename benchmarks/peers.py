"""Our optimizers and the libraries' own loops on the same problems: ``benchmarks/peers.md``.

    python benchmarks/peers.py run [--only REGEX] [--seeds 5] [--workers 1]
    python benchmarks/peers.py report

A problem is perplexity against one latency or energy of one space's surrogate, without noise. `run`
adds what is not yet there to ``benchmarks/peers.csv``, a row a search, first seeds first, so it can
be stopped and gone on with; REGEX is matched with ``METHOD SPACE OBJECTIVE``. `report` turns the
rows into ``peers.md`` and ``peers.png``.

Quality is the normalised hypervolume after so many evaluations. Time is that of the processor, of
one thread, until the last of them: two searches beside each other do not slow each other's clock.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import re
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from libraries import LOOPS, Losses, moasha
from scipy.stats import wilcoxon

import hwnas
from hwnas import pareto
from hwnas.executors import one_thread
from hwnas.fronts import reference_point
from hwnas.reports import style

HERE = Path(__file__).parent
ROWS = HERE / "peers.csv"
DEVICES = ("rtx2080", "h100", "cpu_xeon_silver", "cpu_xeon_gold")
OBJECTIVES = [f"{metric}@{device}" for metric in ("latency", "energy") for device in DEVICES]
MARKS = (20, 32, 50, 64, 81, 100, 200, 500, 1000, 2000, 5000, 10_000)
POPULATIONS = (20, 100, 400, 1000)
DRAWS = 2000  # of a noisy search
ONE = OBJECTIVES[:1]  # for loops that take minutes


@dataclass(frozen=True)
class Method:
    """A way to search, and where and how long it is tried.

    Attributes
    ----------
    name
        Of our optimizer, or of its peer in `libraries.LOOPS`.
    ours
        Which of the two.
    evaluations
        Of one search.
    settings
        Other than the defaults.
    spaces, objectives
        Its problems.
    seeds
        At most so many.
    model
        Of the surrogate.
    """

    name: str
    ours: bool
    evaluations: int
    settings: tuple[tuple[str, Any], ...] = ()
    spaces: Sequence[str] = ("gpt-s", "gpt-l")
    objectives: Sequence[str] = tuple(OBJECTIVES)
    seeds: int = 5
    model: str = "additive"

    def __str__(self) -> str:
        settings = "".join(f" {key}={value}" for key, value in self.settings)
        model = "" if self.model == "additive" else f" on {self.model}"
        return f"{'' if self.ours else 'library '}{self.name}{settings}{model}"


def methods() -> Iterator[Method]:
    """All of them."""
    scales = ("gpt-s", "gpt-m", "gpt-l")
    yield Method("additive", True, 200, spaces=scales)
    yield Method("additive", True, 200, spaces=scales, model="trees")
    for name in ("uniform", "random", "morea", "local_search"):
        yield Method(name, True, 1000, spaces=scales)
    for name in ("nsga2", "nsga3", "moead", "smsemoa"):
        for pop_size in POPULATIONS:
            # Larger ones are worse up to 10,000: that much is tried on fewer problems.
            where = OBJECTIVES if pop_size <= 100 else ONE
            for ours in (True, False):
                yield Method(name, ours, 10_000, (("pop_size", pop_size),), objectives=where)
    yield Method("motpe", True, 200)
    yield Method("motpe", False, 200)
    yield Method("ehvi", True, 200, spaces=scales)
    yield Method("ehvi", False, 100, objectives=ONE)
    yield Method("gp", True, 100, objectives=ONE, seeds=2)
    yield Method("gp", False, 100, objectives=ONE, seeds=2)
    for name in ("parego", "rsbo", "lsbo"):
        yield Method(name, True, 200, spaces=scales, seeds=2)
    yield Method("moasha", True, DRAWS, objectives=ONE)
    yield Method("moasha", False, DRAWS, objectives=ONE)


@cache
def bench_of(space: str, model: str) -> Any:
    """The backend of a space."""
    return hwnas.surrogate(space, model=model)  # type: ignore[arg-type]


@cache
def known(space: str, model: str, objective: str) -> tuple[Any, float]:
    """Reference point of a problem, and the best hypervolume known."""
    front = bench_of(space, model).front(["perplexity", objective]).losses
    reference = reference_point(front)
    return reference, pareto.hypervolume(front, reference)


def ours(method: Method, bench: Any, objectives: list[str], seed: int) -> Losses:
    """Losses (n, 2) of one of our optimizers, asked for as the loop asks."""
    optimizer = hwnas.optimizer(method.name, bench.space, 2, seed=seed, **dict(method.settings))
    seen: list[Losses] = []
    left = method.evaluations
    while left > 0:
        codes = optimizer.ask(min(optimizer.batch, left))
        losses = bench.predict(codes, objectives)
        optimizer.tell(codes, losses)
        seen.append(losses)
        left -= len(codes)
    return np.concatenate(seen)


def noisy(method: Method, space: str, objectives: list[str], seed: int) -> float:
    """True normalised hypervolume of what moasha recommends after `DRAWS` draws."""
    if method.ours:
        with tempfile.TemporaryDirectory() as folder:
            experiment = {
                "name": "noisy",
                "space": space,
                "objectives": objectives,
                "optimizers": [method.name],
                "budget": {"evaluations": method.evaluations},
                "seeds": [seed],
                "noise": True,
            }
            result = hwnas.run(experiment, out=Path(folder, "out"))
            return float(result.summary[0]["normalised"])
    bench = hwnas.surrogate(space, noise=True)
    codes = moasha(bench, objectives, method.evaluations, seed)
    reference, best = known(space, method.model, objectives[1])
    return pareto.hypervolume(bench.predict(codes, objectives), reference) / best


def row_of(method: Method, space: str, objective: str, seed: int) -> list[Any]:
    """One search: who, where, seconds, and the hypervolume at each mark."""
    bench, objectives = bench_of(space, method.model), ["perplexity", objective]
    reference, best = known(space, method.model, objective)
    key = [str(method), space, objective, seed]
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        begin = time.process_time()
        if method.name == "moasha":
            value = noisy(method, space, objectives, seed)
            seconds = time.process_time() - begin
            return [*key, f"{seconds:.2f}", *[""] * (len(MARKS)), f"{value:.5f}"]
        if method.ours:
            losses = ours(method, bench, objectives, seed)
        else:
            loop, settings = LOOPS[method.name], dict(method.settings)
            losses = loop(bench, objectives, method.evaluations, seed, **settings)
        seconds = time.process_time() - begin
    values = [
        f"{pareto.hypervolume(losses[:mark], reference) / best:.5f}" if mark <= len(losses) else ""
        for mark in MARKS
    ]
    return [*key, f"{seconds:.2f}", *values, ""]


HEADER = ["method", "space", "objective", "seed", "seconds", *map(str, MARKS), "noisy"]


def read() -> list[dict[str, str]]:
    """The rows there are."""
    if not ROWS.exists():
        return []
    with ROWS.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def run(only: str, seeds: int, workers: int) -> None:
    """Add the searches that are missing."""
    done = {(r["method"], r["space"], r["objective"], int(r["seed"])) for r in read()}
    tasks = [
        (method, space, objective, seed)
        for seed in range(seeds)
        for method in methods()
        for space in method.spaces
        for objective in method.objectives
        if seed < method.seeds
        and (str(method), space, objective, seed) not in done
        and re.search(only, f"{method} {space} {objective}")
    ]
    print(f"{len(tasks)} searches", flush=True)
    spawn = multiprocessing.get_context("spawn")
    with (
        ROWS.open("a", newline="", encoding="utf-8") as file,
        ProcessPoolExecutor(workers, spawn) as pool,
    ):
        writer = csv.writer(file, lineterminator="\n")
        if not done and ROWS.stat().st_size == 0:
            writer.writerow(HEADER)
        for future in as_completed([pool.submit(row_of, *task) for task in tasks]):
            writer.writerow(future.result())
            file.flush()


def report() -> None:
    raise NotImplementedError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    runs = actions.add_parser("run")
    runs.add_argument("--only", default="", metavar="REGEX")
    runs.add_argument("--seeds", type=int, default=5)
    runs.add_argument("--workers", type=int, default=1)
    actions.add_parser("report")
    chosen = parser.parse_args()
    if chosen.action == "run":
        run(chosen.only, chosen.seeds, chosen.workers)
    else:
        report()


if __name__ == "__main__":
    main()
