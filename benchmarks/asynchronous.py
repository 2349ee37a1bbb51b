"""Measure evaluations in parallel, and write ``benchmarks/asynchronous.md``.

    python benchmarks/asynchronous.py [--workers 2] [--only search | utilisation]

Search: a simulated executor of 8 workers, whose evaluations take from 1 to 10 s, log-uniformly, as
a function of the architecture. The synchronous search asks for 8 architectures and waits for all of
them; the asynchronous one asks whenever a worker is free. Utilisation: real processes whose
evaluations sleep, from the end of the start-up to the last submission.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import hwnas
from hwnas import pareto
from hwnas.experiment import Budget, validate_form
from hwnas.optimizers import Optimizer
from hwnas.problem import build_problem
from hwnas.runner.executors import one_thread
from hwnas.runner.executors.interface import (
    EvaluatorFactory,
    TrialEvaluator,
    TrialOutcome,
    TrialRequest,
)
from hwnas.runner.executors.process import ProcessExecutor
from hwnas.runner.executors.simulated import SimulatedExecutor
from hwnas.runner.parallel_loop import ParallelLoop
from hwnas.runner.storage import Store, Trials
from hwnas.typing import Array

HERE = Path(__file__).parent
SLOTS = 8
EVALUATIONS = {"additive": 100, "ehvi": 100, "morea": 400}  # of morea's populations eight
SEEDS = range(5)
OPTIMIZERS = ["additive", "ehvi", "morea"]
PROBLEMS = [
    ("gpt-s", "latency@rtx3080"),
    ("gpt-s", "energy@h100"),
    ("gpt-m", "latency@a100"),
    ("gpt-l", "latency@v100"),
]
WANTED = 0.65
PLUGIN = HERE / "sleeper.py"


@dataclass(frozen=True)
class Curve:
    """Hypervolume of one search over its simulated time.

    Attributes
    ----------
    seconds, hypervolume : (n,)
        Time at which each trial has ended, and the normalised hypervolume from then on.
    """

    seconds: Array
    hypervolume: Array

    def at(self, seconds: Array) -> Array:
        """Return the hypervolume at times (k,); 0 before the first trial."""
        n_ended = np.searchsorted(self.seconds, seconds, side="right")
        return np.concatenate([[0.0], self.hypervolume])[n_ended]


def duration(request: TrialRequest) -> float:
    """Seconds of an evaluation, from 1 to 10, as a function of the architecture."""
    digest = hashlib.blake2b(request.code, digest_size=8).digest()
    return float(10.0 ** (int.from_bytes(digest, "little") / 2**64))


def search(name: str, space: str, objective: str, seed: int, *, waits: bool) -> Trials:
    """Run one simulated search; with `waits` it waits for all results of an ask."""
    n = EVALUATIONS[name]
    content = {
        "name": "simulated",
        "space": space,
        "objectives": ["perplexity", objective],
        "optimizers": [name],
        "budget": {"evaluations": n},
    }
    problem = build_problem(validate_form(content))
    optimizer: Optimizer = hwnas.optimizer(name, space, 2, seed=seed)
    if waits:
        optimizer.asynchronous = False
    with tempfile.TemporaryDirectory() as folder, one_thread():
        measured = [str(objective) for objective in problem.measured]
        with Store.create(Path(folder, "trials.db"), measured, {}) as store:
            executor = SimulatedExecutor(TrialEvaluator(problem), SLOTS, duration)
            ParallelLoop(
                problem,
                optimizer,
                Budget(evaluations=n if waits else 3 * n // 2),
                store,
                executor,
                seed=seed,
                batch=SLOTS,
            ).run()
            return store.trials()


def curves(task: tuple[str, tuple[str, str], int]) -> tuple[Curve, Curve]:
    """Run the synchronous and the asynchronous search of an optimizer with a seed."""
    name, (space, objective), seed = task
    front = hwnas.surrogate(space).front(["perplexity", objective]).values
    low, high = front.min(axis=0), front.max(axis=0)
    reference = high + 0.1 * (high - low)
    front_volume = pareto.hypervolume(front, reference)
    pair = []
    for waits in (True, False):
        trials = search(name, space, objective, seed, waits=waits)
        volumes = [
            pareto.hypervolume(trials.values[:n], reference) / front_volume
            for n in range(1, len(trials) + 1)
        ]
        pair.append(Curve(trials.elapsed, np.array(volumes)))
    return pair[0], pair[1]


def first_time(mean: Array, times: Array, target: float) -> float:
    """Return the first of some times at which a curve reaches a target; infinity for never."""
    reached = np.flatnonzero(mean >= target)
    return float(times[reached[0]]) if len(reached) else np.inf


def share_of_means(pairs: list[tuple[Curve, Curve]]) -> float:
    """Time of the mean asynchronous curve to the mean final value, over the mean whole time."""
    target = float(np.mean([synchronous.hypervolume[-1] for synchronous, _ in pairs]))
    mean_duration = float(np.mean([synchronous.seconds[-1] for synchronous, _ in pairs]))
    times = np.unique(np.concatenate([asynchronous.seconds for _, asynchronous in pairs]))
    mean = np.mean([asynchronous.at(times) for _, asynchronous in pairs], axis=0)
    return first_time(mean, times, target) / mean_duration


def share_of_seed(pair: tuple[Curve, Curve]) -> float:
    """Time of one asynchronous search to the final value of the other, over its whole time."""
    synchronous, asynchronous = pair
    target = float(synchronous.hypervolume[-1])
    reached = first_time(asynchronous.hypervolume, asynchronous.seconds, target)
    return reached / float(synchronous.seconds[-1])


def search_section(workers: int) -> str:
    """Table of the simulated searches."""
    tasks = [(name, problem, seed) for name in OPTIMIZERS for problem in PROBLEMS for seed in SEEDS]
    with ProcessPoolExecutor(workers) as pool:
        results = dict(zip(tasks, pool.map(curves, tasks), strict=True))
    lines = []
    for name in OPTIMIZERS:
        by_problem = [[results[name, p, seed] for seed in SEEDS] for p in PROBLEMS]
        shares = [share_of_means(pairs) for pairs in by_problem]
        single = [share_of_seed(pair) for pairs in by_problem for pair in pairs]
        equal = [
            float(pair[1].seconds[EVALUATIONS[name] - 1] / pair[0].seconds[-1])
            for pairs in by_problem
            for pair in pairs
        ]
        within = sum(share <= WANTED for share in single)
        lines.append(
            f"| {name} | {EVALUATIONS[name]} | {' | '.join(f'{share:.2f}' for share in shares)} | "
            f"{statistics.mean(shares):.2f} | {statistics.median(single):.2f} | "
            f"{within} of {len(single)}, {sum(map(np.isinf, single))} | "
            f"{statistics.mean(equal):.2f} |"
        )
    header = " | ".join(
        [
            "optimizer",
            "evaluations",
            *(f"{space}, {objective}" for space, objective in PROBLEMS),
            "mean",
            "median pair",
            f"pairs within {WANTED}, never",
            "equal evaluations",
        ]
    )
    return f"""## Search

{SLOTS} simulated workers, evaluations of 1 to 10 s (log-uniform, a function of the architecture),
{len(SEEDS)} seeds. The synchronous search asks for {SLOTS} architectures and waits for all of them.
For each problem: the simulated time in which the mean hypervolume of the asynchronous searches
reaches the mean final one of the synchronous searches, as a share of their mean whole time; wanted
is at most {WANTED}. The asynchronous searches stop after 1.5 times the evaluations.

Two searches with one seed are told results in another order and go different ways. So the share of
a single pair says as much about chance as about waiting; its median, how many of the pairs are
within {WANTED}, and how many never reach the other's hypervolume stand beside. The last column is
the time of equally many evaluations: the share if no information were lost.

| {header} |
|---|{"---:|" * (len(PROBLEMS) + 5)}
{chr(10).join(lines)}
"""


class Stopwatch(ProcessExecutor):
    """Process executor that notes when trials are submitted and end."""

    def __init__(self, factory: EvaluatorFactory, **settings: int) -> None:
        super().__init__(factory, **settings)
        self.driver_seconds = 0.0  # between the end of a wait and the next
        self.submitted: list[float] = []
        self.ended: list[float] = []
        self._left: float | None = None

    def submit(self, request: TrialRequest) -> None:
        """Start a trial and note when."""
        super().submit(request)
        self.submitted.append(time.perf_counter())

    def wait(self, timeout: float | None = None) -> Sequence[TrialOutcome]:
        """Wait for outcomes and note when they come."""
        if self._left is not None:
            self.driver_seconds += time.perf_counter() - self._left
        outcomes = super().wait(timeout)
        self._left = time.perf_counter()
        self.ended += [self._left] * len(outcomes)
        return outcomes


def utilisation(pause: float, workers: int, n: int) -> tuple[float, float, float]:
    """Share of busy time of workers after start-up, driver's ms a trial, and trials a second."""
    with tempfile.TemporaryDirectory() as folder:
        content = {
            "name": "sleeper",
            "space": "gpt-s",
            "backend": {"type": "sleeper", "pause": pause},
            "objectives": ["error", "delay"],
            "optimizers": ["random"],
            "budget": {"evaluations": n},
            "plugins": [str(PLUGIN)],
        }
        experiment = validate_form(content)
        factory = EvaluatorFactory(experiment, Path(folder))
        factory_problem = factory()
        optimizer = hwnas.optimizer("random", "gpt-s", 2, seed=0)
        assert isinstance(factory_problem, TrialEvaluator)
        problem = factory_problem.problem
        with (
            Store.create(Path(folder, "trials.db"), ["error", "delay"], {}) as store,
            Stopwatch(factory, workers=workers) as executor,
        ):
            ParallelLoop(problem, optimizer, Budget(evaluations=n), store, executor, seed=0).run()
    # Start-up is over once as many trials have ended as there are workers, twice over.
    begin, end = executor.ended[2 * workers], executor.submitted[-1]
    inside = [at for at in executor.ended if begin < at <= end]
    busy = len(inside) * pause
    return (
        busy / (workers * (end - begin)),
        1000 * executor.driver_seconds / n,
        len(inside) / (end - begin),
    )


def utilisation_section() -> str:
    """Table of the real workers."""
    lines, load = [], os.getloadavg()[0]
    for pause, n in ((0.1, 3000), (0.3, 1500), (0.0, 10_000)):
        share, cost, rate = utilisation(pause, 32, n)
        text = f"{share:.1%}" if pause else "-"
        lines.append(f"| {1000 * pause:.0f} ms | {text} | {cost:.2f} ms | {rate:.0f} |")
    return f"""## Utilisation

32 processes on {os.cpu_count()} cores, evaluations that sleep, `random`, after start-up; wanted
are at least 85 % at 100 ms. The driver's cost is its time between two waits: storing, telling,
asking and submitting, per trial. Other programs had a load of {load:.1f} when it began.

| evaluation | utilisation | driver, per trial | trials a second |
|---|---:|---:|---:|
{chr(10).join(lines)}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", choices=["search", "utilisation"])
    arguments = parser.parse_args()
    sections = []
    if arguments.only != "utilisation":
        sections.append(search_section(arguments.workers))
    if arguments.only != "search":
        sections.append(utilisation_section())
    page = f"""# Evaluations in parallel

    python benchmarks/asynchronous.py

{platform.processor() or platform.machine()}, Python {platform.python_version()}.

{chr(10).join(sections)}"""
    if arguments.only is None:
        (HERE / "asynchronous.md").write_text(page)
    print(page)


if __name__ == "__main__":
    main()
