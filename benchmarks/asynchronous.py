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

HERE = Path(__file__).parent
SLOTS = 8
EVALUATIONS = 200
SEEDS = range(5)
OPTIMIZERS = ["additive", "ehvi", "morea"]
PROBLEMS = [
    ("gpt-s", "latency@rtx3080"),
    ("gpt-s", "energy@h100"),
    ("gpt-m", "latency@a100"),
    ("gpt-l", "latency@v100"),
]
WANTED = 0.65
PLUGIN = """
import time
import numpy as np
import hwnas

@hwnas.register_backend("sleeper")
class Sleeper(hwnas.Backend):
    metrics = {"error": hwnas.Metric(""), "delay": hwnas.Metric("s")}

    def __init__(self, space, *, pause: float):
        super().__init__(space)
        self.pause = pause

    def evaluate(self, codes, objectives, *, seeds, fidelity=None):
        time.sleep(self.pause)
        total = codes.sum(axis=1).astype(float)
        return hwnas.Evaluation(np.stack([total, 1 / (1 + total)], axis=1))
"""


@dataclass(frozen=True)
class Row:
    """One pair of searches.

    Attributes
    ----------
    synchronous, asynchronous
        Simulated seconds of the whole searches.
    reached
        Simulated seconds until the asynchronous search has the final hypervolume of the other;
        infinite if it never has.
    """

    optimizer: str
    problem: str
    seed: int
    synchronous: float
    asynchronous: float
    reached: float


def duration(request: TrialRequest) -> float:
    """Seconds of an evaluation, from 1 to 10, as a function of the architecture."""
    digest = hashlib.blake2b(request.code, digest_size=8).digest()
    return float(10.0 ** (int.from_bytes(digest, "little") / 2**64))


def search(name: str, space: str, objective: str, seed: int, *, waits: bool) -> Trials:
    """Run one simulated search; with `waits` it waits for all results of an ask."""
    content = {
        "name": "simulated",
        "space": space,
        "objectives": ["perplexity", objective],
        "optimizers": [name],
        "budget": {"evaluations": EVALUATIONS},
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
                Budget(evaluations=EVALUATIONS * (1 if waits else 2)),
                store,
                executor,
                seed=seed,
                batch=SLOTS,
            ).run()
            return store.trials()


def compare(task: tuple[str, tuple[str, str], int]) -> Row:
    """Run both searches of an optimizer on a problem with a seed."""
    name, (space, objective), seed = task
    synchronous = search(name, space, objective, seed, waits=True)
    asynchronous = search(name, space, objective, seed, waits=False)
    front = hwnas.surrogate(space).front(["perplexity", objective]).values
    low, high = front.min(axis=0), front.max(axis=0)
    reference = high + 0.1 * (high - low)
    target = pareto.hypervolume(synchronous.values, reference)
    # The first trial after which the hypervolume is that of the other search, by bisection.
    first, last = 0, len(asynchronous)
    while first < last:
        middle = (first + last) // 2
        volume = pareto.hypervolume(asynchronous.values[: middle + 1], reference)
        first, last = (first, middle) if volume >= target else (middle + 1, last)
    reached = asynchronous.elapsed[first] if first < len(asynchronous) else np.inf
    return Row(
        name,
        f"{space} {objective}",
        seed,
        float(synchronous.elapsed[-1]),
        float(asynchronous.elapsed[EVALUATIONS - 1]),
        float(reached),
    )


def search_section(workers: int) -> str:
    """Table of the simulated searches."""
    tasks = [(name, problem, seed) for name in OPTIMIZERS for problem in PROBLEMS for seed in SEEDS]
    with ProcessPoolExecutor(workers) as pool:
        rows = list(pool.map(compare, tasks))
    lines = []
    for name in OPTIMIZERS:
        own = [row for row in rows if row.optimizer == name]
        shares = [row.reached / row.synchronous for row in own]
        by_problem = [
            statistics.mean(row.reached / row.synchronous for row in own if row.problem == problem)
            for problem in dict.fromkeys(row.problem for row in own)
        ]
        whole = statistics.mean(row.asynchronous / row.synchronous for row in own)
        cells = [f"{share:.2f}" for share in by_problem]
        lines.append(
            f"| {name} | {' | '.join(cells)} | {statistics.mean(shares):.2f} | "
            f"{statistics.median(shares):.2f} | {max(shares):.2f} | {whole:.2f} |"
        )
    problems = " | ".join(f"{space}, {objective}" for space, objective in PROBLEMS)
    return f"""## Search

{SLOTS} simulated workers, evaluations of 1 to 10 s (log-uniform, a function of the architecture),
{EVALUATIONS} evaluations, {len(SEEDS)} seeds. Simulated time in which the asynchronous search
reaches the final hypervolume of the synchronous one, as a share of the latter's whole time; wanted
is a mean of at most {WANTED}. The last column is the time of equally many evaluations: the share if
no information were lost.

| optimizer | {problems} | mean | median | largest | equal evaluations |
|---|{"---:|" * (len(PROBLEMS) + 4)}
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
        plugin = Path(folder, "sleeper.py")
        plugin.write_text(PLUGIN)
        content = {
            "name": "sleeper",
            "space": "gpt-s",
            "backend": {"type": "sleeper", "pause": pause},
            "objectives": ["error", "delay"],
            "optimizers": ["random"],
            "budget": {"evaluations": n},
            "plugins": [str(plugin)],
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
    lines = []
    for pause, n in ((0.1, 3000), (0.3, 1500), (0.0, 10_000)):
        share, cost, rate = utilisation(pause, 32, n)
        shown = f"{share:.1%}" if pause else "-"
        lines.append(f"| {1000 * pause:.0f} ms | {shown} | {cost:.2f} ms | {rate:.0f} |")
    return f"""## Utilisation

32 processes on {os.cpu_count()} cores, evaluations that sleep, `random`, after start-up; wanted
are at least 85 % at 100 ms. The driver's cost is its time between two waits: storing, telling,
asking and submitting, per trial.

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
