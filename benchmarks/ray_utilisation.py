"""Measure the ray executor, and write ``benchmarks/ray_utilisation.md``.

    python benchmarks/ray_utilisation.py [--only 0.1]

32 actors whose evaluations sleep, on a cluster that the executor starts on this machine. The share
of time in which actors are busy is measured from when all of them are ready and each has evaluated
twice, until the last submission.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import ray

import hwnas
from hwnas.experiment import Budget, validate_form
from hwnas.problem import build_problem
from hwnas.runner.executors.interface import EvaluatorFactory, TrialOutcome, TrialRequest
from hwnas.runner.executors.ray import RayExecutor
from hwnas.runner.parallel_loop import ParallelLoop
from hwnas.runner.storage import Store

HERE = Path(__file__).parent
WORKERS = 32
TRIALS = {0.1: 3000, 0.3: 1500, 1.0: 500}  # by seconds of an evaluation
REPEATS = 3
PLUGIN = HERE / "sleeper.py"


class Stopwatch(RayExecutor):
    """Ray executor that notes when trials are submitted and end, and when all actors are ready."""

    def __init__(self, factory: EvaluatorFactory, **settings: object) -> None:
        self.submitted: list[float] = []
        self.ended: list[float] = []
        self.ready: float | None = None
        self.driver_seconds = 0.0  # between the end of a wait and the next
        self._left: float | None = None
        super().__init__(factory, **settings)  # type: ignore[arg-type]
        self._left = None

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
        if self.ready is None and self.slots == WORKERS:
            self.ready = self._left
        return outcomes


def cpu_seconds() -> dict[str, float]:
    """Processor time so far: of this process, the gateway, the actors and Ray's own processes."""
    seconds = {"search": sum(psutil.Process().cpu_times()[:2])}
    for process in psutil.Process().children(recursive=True):
        command = " ".join(process.cmdline())
        role = "gateway" if "ray_gateway" in command else "Ray"
        role = "actors" if command.startswith("ray::TrialWorker") else role
        seconds[role] = seconds.get(role, 0.0) + sum(process.cpu_times()[:2])
    return seconds


def measure(pause: float, n: int) -> dict[str, float]:
    """Run one search; return its figures, costs in milliseconds a trial."""
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
        factory()  # registers the plugin
        problem = build_problem(experiment)
        optimizer = hwnas.optimizer("random", "gpt-s", 2, seed=0)
        start = time.perf_counter()
        with (
            Store.create(Path(folder, "trials.db"), ["error", "delay"], {}) as store,
            Stopwatch(factory, workers=WORKERS) as executor,
        ):
            cpu: list[dict[str, float]] = []

            def report(evaluations: int) -> None:
                if not cpu and executor.ready is not None:
                    cpu.append(cpu_seconds())

            ParallelLoop(
                problem, optimizer, Budget(evaluations=n), store, executor, seed=0, report=report
            ).run()
            cpu.append(cpu_seconds())
    assert executor.ready is not None
    # After start-up: every actor is ready and has evaluated twice since.
    begin = [at for at in executor.ended if at > executor.ready][2 * WORKERS]
    end = executor.submitted[-1]
    n_inside = sum(begin < at <= end for at in executor.ended)
    n_after = sum(at > executor.ready for at in executor.ended)
    cost = {f"{role} CPU": 1000 * (cpu[1][role] - cpu[0].get(role, 0)) / n_after for role in cpu[1]}
    return {
        "share": n_inside * pause / (WORKERS * (end - begin)),
        "rate": n_inside / (end - begin),
        "driver": 1000 * executor.driver_seconds / n,
        "start": executor.ready - start,
        **cost,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", type=float, choices=TRIALS, help="seconds of an evaluation")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    lines = []
    for pause in [arguments.only] if arguments.only else TRIALS:
        runs = [measure(pause, TRIALS[pause]) for _ in range(REPEATS)]
        median = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
        shares = ", ".join(f"{run['share']:.1%}" for run in sorted(runs, key=lambda r: r["share"]))
        costs = " | ".join(
            f"{median[name]:.2f}"
            for name in ("driver", "search CPU", "gateway CPU", "actors CPU", "Ray CPU")
        )
        lines.append(
            f"| {1000 * pause:.0f} ms | {median['share']:.1%} ({shares}) | {median['rate']:.0f} | "
            f"{costs} | {median['start']:.1f} s |"
        )
    header = (
        "evaluation",
        "utilisation",
        "trials a second",
        "driver, ms",
        *(f"{role}, CPU ms" for role in ("search", "gateway", "actors", "Ray")),
        "all actors ready after",
    )
    page = f"""# The ray executor's utilisation

    python benchmarks/ray_utilisation.py

{WORKERS} actors on {os.cpu_count()} cores ({platform.processor() or platform.machine()}), Python
{platform.python_version()}, Ray {ray.__version__}; evaluations that sleep, `random`. The cluster is
one that the executor starts, on the same cores. Utilisation is the median of {REPEATS} searches
(each of them), from when all actors are ready and have evaluated twice until the last submission;
wanted are at least 85 % at 300 ms. The driver's cost is its time between two waits: storing,
telling, asking and submitting. Processor time is that of each kind of process, per trial, with
what its processes do in any case. Other programs had a load of {load:.1f} when it began.

| {" | ".join(header)} |
|---|---|{"---:|" * 7}
{chr(10).join(lines)}
"""
    if arguments.only is None:
        (HERE / "ray_utilisation.md").write_text(page)
    print(page)


if __name__ == "__main__":
    main()
