"""ZDT and DTLZ on grids, beside pymoo's own loops: ``benchmarks/classic.md``.

    python benchmarks/classic.py run [--workers 1] [--seeds 10] [--only REGEX] [--small]
    python benchmarks/classic.py report

A grid has 64 values of each variable, and its exact front is known. `run` adds what is missing to
``benchmarks/classic.csv``, a row a search, so it can be stopped and gone on with; REGEX is matched
with ``PROBLEM METHOD``. Two indicators, both of the non-dominated points found:

* hypervolume to the componentwise worst of 1,000 random points, the same for all, relative to that
  of the exact front. An objective f whose worst is more than 30 ranges of the front away from its
  best counts as log(1 + (f - best) / range).
* IGD+ to the exact front (of DTLZ to 1,000 of its points), in units of the front's ranges.

A population is of 100, of ours and of pymoo's, with the same operators on integers.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import astuple, dataclass, fields
from functools import cache, cached_property
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np

import hwnas
from hwnas import pareto, registry
from hwnas.backends import Backend
from hwnas.objectives import parse_objectives
from hwnas.problems.classic import ProblemSpace
from hwnas.runner.executors import one_thread
from hwnas.typing import Array, Codes

HERE = Path(__file__).parent
ROWS, PAGE = HERE / "classic.csv", HERE / "classic.md"
PROBLEMS = ("zdt1", "zdt2", "zdt3", "zdt4", "zdt6", "dtlz2", "dtlz7")
EVOLUTIONARY = ("nsga2", "nsga3", "smsemoa", "moead")
MODELS = ("ehvi", "additive")
MARKS = (100, 5000)  # evaluations at which a search is judged
N_RANDOM = 1000  # fixed random points that set the reference point
LOG_SPAN = 30.0  # ranges of the front from which the scale of an objective is logarithmic
TOLERANCE = 0.01


@dataclass(frozen=True)
class Task:
    """One method on one problem with one seed; ``pymoo NAME`` is the library's own loop."""

    problem: str
    method: str
    seed: int
    evaluations: int


@dataclass(frozen=True)
class Row:
    """Indicators of a search after some evaluations."""

    problem: str
    method: str
    seed: int
    evaluations: int
    hypervolume: float
    igd_plus: float


@dataclass(frozen=True)
class Scale:
    """Fixed scale of the indicators of a problem.

    Attributes
    ----------
    front
        Losses (n, m) of the exact front.
    reference
        Componentwise worst of the random points, (m,).
    """

    front: Array
    reference: Array

    @cached_property
    def best(self) -> float:
        """Hypervolume of the exact front."""
        return self.hypervolume(self.front)

    @cached_property
    def points(self) -> Array:
        """Up to 1,000 points of the front, for IGD+."""
        n = min(len(self.front), 1000)
        return self.front[np.random.default_rng(0).choice(len(self.front), n, replace=False)]

    def hypervolume(self, losses: Array) -> float:
        """Return the hypervolume of losses (n, m), objectives of a large span as logarithms."""
        best, unit = self.front.min(axis=0), np.ptp(self.front, axis=0)
        is_log = (self.reference - best) / unit > LOG_SPAN
        points = (np.concatenate([losses, self.reference[None]]) - best) / unit
        points[:, is_log] = np.log1p(np.maximum(points[:, is_log], 0))
        return pareto.hypervolume(points[:-1], points[-1])

    def indicators(self, losses: Array) -> tuple[float, float]:
        """Return the relative hypervolume and IGD+ of losses (n, m)."""
        losses = losses[pareto.non_dominated(losses)]
        unit = np.ptp(self.front, axis=0)
        distance = pareto.igd_plus(losses / unit, self.points / unit)
        return self.hypervolume(losses) / self.best, distance


@cache
def problem_of(name: str) -> tuple[ProblemSpace, Backend, Scale]:
    """Return the space of a problem, its backend and its scale."""
    space = hwnas.space(name)
    assert isinstance(space, ProblemSpace)
    backend = registry.backend("problem", space)
    front = backend.front(objectives_of(space))
    assert front is not None
    losses = values_of(backend, space.sample(N_RANDOM, np.random.default_rng(0)))
    return space, backend, Scale(front.losses, losses.max(axis=0))


def objectives_of(space: ProblemSpace) -> Any:
    return parse_objectives([f"f{j}" for j in range(1, space.n_obj + 1)])


def values_of(backend: Backend, codes: Any) -> Array:
    """Return all losses (n, m) of codes."""
    assert isinstance(backend.space, ProblemSpace)
    seeds = np.zeros(len(codes), dtype=np.uint64)
    return backend.evaluate(codes, objectives_of(backend.space), seeds=seeds).values


# -- searches ------------------------------------------------------------------------------------


def search(task: Task) -> list[Row]:
    """Run one search and judge it at each of `MARKS` that it reaches."""
    space, backend, scale = problem_of(task.problem)
    with one_thread():
        if task.method.startswith("pymoo "):
            losses = pymoo_loop(task, space, backend)
        else:
            losses = own_loop(task, space, backend)
    marks = [mark for mark in MARKS if mark <= task.evaluations] or [task.evaluations]
    return [
        Row(task.problem, task.method, task.seed, mark, *scale.indicators(losses[:mark]))
        for mark in marks
    ]


def own_loop(task: Task, space: ProblemSpace, backend: Backend) -> Array:
    """Return the losses (n, m) that an optimizer of hwnas evaluates, in order."""
    settings: dict[str, Any] = {"pop_size": 100} if task.method in EVOLUTIONARY else {}
    optimizer = hwnas.optimizer(task.method, space, space.n_obj, seed=task.seed, **settings)
    batch = 1 if task.method in MODELS else optimizer.batch
    losses: list[Array] = []
    n_left = task.evaluations
    while n_left > 0:
        codes = optimizer.ask(min(batch, n_left))
        losses.append(values_of(backend, codes))
        optimizer.tell(codes, losses[-1])
        n_left -= len(codes)
    return np.concatenate(losses)


def pymoo_loop(task: Task, space: ProblemSpace, backend: Backend) -> Array:
    """Return the losses (n, m) that pymoo's `minimize` evaluates, in order."""
    from pymoo.algorithms.moo.moead import MOEAD
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.algorithms.moo.nsga3 import NSGA3
    from pymoo.algorithms.moo.sms import SMSEMOA
    from pymoo.core.problem import Problem
    from pymoo.operators.crossover.ux import UniformCrossover
    from pymoo.operators.mutation.pm import PolynomialMutation
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.operators.sampling.rnd import IntegerRandomSampling
    from pymoo.optimize import minimize
    from pymoo.util.ref_dirs import get_reference_directions

    batches: list[Array] = []

    class Grid(Problem):  # type: ignore[misc]
        def _evaluate(self, x: Any, out: Any, *args: Any, **kwargs: Any) -> None:
            out["F"] = values_of(backend, np.atleast_2d(x).astype(np.int8))
            batches.append(out["F"])

    upper = space.cardinalities - 1
    grid = Grid(n_var=space.n_var, n_obj=space.n_obj, xl=0, xu=upper, vtype=int)
    operators = {
        "sampling": IntegerRandomSampling(),
        "crossover": UniformCrossover(),
        "mutation": PolynomialMutation(eta=3.0, vtype=float),
        "repair": RoundingRepair(),
    }
    # The largest lattice of at most 100 directions, as our optimizers choose it.
    partitions = 99 if space.n_obj == 2 else 12
    directions = get_reference_directions("das-dennis", space.n_obj, n_partitions=partitions)
    algorithm = {
        "nsga2": lambda: NSGA2(pop_size=100, **operators),
        "nsga3": lambda: NSGA3(directions, pop_size=100, **operators),
        "smsemoa": lambda: SMSEMOA(pop_size=100, **operators),
        "moead": lambda: MOEAD(directions, n_neighbors=20, **operators),
    }[task.method.removeprefix("pymoo ")]()
    minimize(grid, algorithm, ("n_eval", task.evaluations), seed=task.seed)
    return np.concatenate(batches)[: task.evaluations]


def tasks_of(seeds: int, small: bool) -> list[Task]:
    """Return all searches, first seeds first."""
    large_budget = 300 if small else MARKS[-1]
    small_budget = 20 if small else MARKS[0]
    methods = [("random", large_budget), *((name, large_budget) for name in EVOLUTIONARY)]
    methods += [(f"pymoo {name}", large_budget) for name in EVOLUTIONARY]
    methods += [(name, small_budget) for name in MODELS]
    return [
        Task(problem, method, seed, evaluations)
        for seed in range(seeds)
        for problem in PROBLEMS
        for method, evaluations in methods
    ]


def run(seeds: int, workers: int, only: str, small: bool) -> None:
    """Run what is missing in ``classic.csv``; a small run prints its rows and stores none."""
    finished = set() if small else {(r.problem, r.method, r.seed) for r in read_rows()}
    tasks = [
        task
        for task in tasks_of(seeds, small)
        if (task.problem, task.method, task.seed) not in finished
        and re.search(only, f"{task.problem} {task.method}")
    ]
    with ProcessPoolExecutor(workers) as pool:
        for i, future in enumerate(as_completed([pool.submit(search, t) for t in tasks]), 1):
            rows = future.result()
            for row in rows:
                print(f"{i}/{len(tasks)}", *astuple(row), flush=True)
            if not small:
                append(rows)


def append(rows: Sequence[Row]) -> None:
    """Append rows to ``classic.csv``."""
    is_new = not ROWS.exists()
    with ROWS.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        if is_new:
            writer.writerow([field.name for field in fields(Row)])
        writer.writerows(map(astuple, rows))


def read_rows() -> list[Row]:
    """Return the rows of ``classic.csv``; none before the first run."""
    if not ROWS.exists():
        return []
    with ROWS.open(newline="", encoding="utf-8") as file:
        return [
            Row(
                row["problem"], row["method"], int(row["seed"]), int(row["evaluations"]),
                float(row["hypervolume"]), float(row["igd_plus"]),
            )
            for row in csv.DictReader(file)
        ]  # fmt: skip


# -- report --------------------------------------------------------------------------------------

Table = dict[tuple[str, str], dict[int, Row]]  # rows by seed, of each problem and method


def report() -> None:
    """Write ``classic.md`` from ``classic.csv``."""
    rows = read_rows()
    lines = [
        "# ZDT and DTLZ on grids",
        "",
        "Written by `python benchmarks/classic.py report` from `classic.csv`; the script says how",
        "the indicators are scaled. Means over seeds; 64 values of each variable, populations of",
        "100.",
    ]
    for mark in MARKS:
        table: Table = defaultdict(dict)
        for row in rows:
            if row.evaluations == mark:
                table[row.problem, row.method][row.seed] = row
        if table:
            lines += ["", f"## {mark:,} evaluations", *_means(table)]
        if table and mark == MARKS[-1]:
            lines += ["", "## Differences to pymoo's own loops", *_differences(table)]
        if table and mark == MARKS[0]:
            lines += ["", "## Where additivity fails", *_additivity(table)]
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _means(table: Table) -> list[str]:
    methods = list(dict.fromkeys(method for _, method in table))
    lines = []
    for indicator, title in (("hypervolume", "Relative hypervolume"), ("igd_plus", "IGD+")):
        lines += [
            "",
            f"{title}:",
            "",
            f"| | {' | '.join(methods)} |",
            "|---" * (len(methods) + 1) + "|",
        ]
        for problem in PROBLEMS:
            cells = [
                f"{np.mean([getattr(r, indicator) for r in table[problem, m].values()]):.4f}"
                if (problem, m) in table
                else ""
                for m in methods
            ]
            lines.append(f"| {problem} | {' | '.join(cells)} |")
    return lines


def _additivity(table: Table) -> list[str]:
    """Return how additive each objective is, beside the results of `additive` and `ehvi`."""
    lines = [
        "",
        "`additive` models an objective as a sum of effects of single variables, and a Gaussian",
        "process for the rest. Two variables are changed at once, each to a random value; what the",
        "two changes by themselves miss of the change by both, relative to them (the mean over",
        "objectives), from random points and from members of the exact front; and the relative",
        "hypervolume after 100 evaluations:",
        "",
        "| | missed, random points | missed, front | additive | ehvi | additive - ehvi |",
        "|---|---|---|---|---|---|",
    ]
    for problem in PROBLEMS:
        space, backend, _ = problem_of(problem)
        front = backend.front(objectives_of(space))
        assert front is not None
        rng = np.random.default_rng(1)
        starts = space.sample(5000, rng), front.codes[rng.integers(len(front.codes), size=5000)]
        missed = [interaction(space, backend, codes, rng) for codes in starts]
        means = [
            float(np.mean([row.hypervolume for row in table[problem, name].values()]))
            for name in ("additive", "ehvi")
        ]
        cells = [*(f"{m:.0%}" for m in missed), *(f"{m:.3f}" for m in means)]
        lines.append(f"| {problem} | {' | '.join(cells)} | {means[0] - means[1]:+.3f} |")
    return lines


def interaction(
    space: ProblemSpace, backend: Backend, codes: Codes, rng: np.random.Generator
) -> float:
    """Return the share of changes by two variables that the changes by each of them miss."""
    rows = np.arange(len(codes))
    pairs = np.array([rng.choice(codes.shape[1], 2, replace=False) for _ in codes])
    changed = [codes, codes.copy(), codes.copy(), codes.copy()]  # neither, first, second, both
    for column, versions in ((pairs[:, 0], (1, 3)), (pairs[:, 1], (2, 3))):
        values = rng.integers(space.cardinalities[column])
        for version in versions:
            changed[version][rows, column] = values
    neither, first, second, both = (values_of(backend, version) for version in changed)
    missed = np.abs(both - first - second + neither).mean(axis=0)
    single = (np.abs(first - neither) + np.abs(second - neither)).mean(axis=0)
    return float((missed / single).mean())


def _differences(table: Table) -> list[str]:
    """Return ours minus pymoo's, seed by seed, with 95 % intervals of the mean."""
    lines = [
        "",
        "Ours minus pymoo's, with the 95 % interval of the mean. The aim is a hypervolume at most",
        f"{TOLERANCE} lower and an IGD+ at most {TOLERANCE} higher.",
    ]
    for indicator, sign, title in (
        ("hypervolume", 1, "Relative hypervolume"),
        ("igd_plus", -1, "IGD+"),
    ):
        lines += [
            "",
            f"{title}:",
            "",
            "| | " + " | ".join(EVOLUTIONARY) + " |",
            "|---" * (len(EVOLUTIONARY) + 1) + "|",
        ]
        for problem in PROBLEMS:
            cells = [_difference(table, problem, name, indicator, sign) for name in EVOLUTIONARY]
            lines.append(f"| {problem} | {' | '.join(cells)} |")
    return lines


def _difference(table: Table, problem: str, name: str, indicator: str, sign: int) -> str:
    """Return the mean difference to pymoo's loop over shared seeds, as a cell of a table."""
    ours, theirs = table[problem, name], table[problem, f"pymoo {name}"]
    seeds = sorted(ours.keys() & theirs.keys())
    gains = np.array([getattr(ours[s], indicator) - getattr(theirs[s], indicator) for s in seeds])
    if len(gains) < 2:
        return ""
    half = 1.96 * gains.std(ddof=1) / np.sqrt(len(gains))
    mark = "" if sign * gains.mean() >= -TOLERANCE else " **worse**"
    count = "" if len(seeds) == 10 else f" ({len(seeds)} seeds)"
    return f"{gains.mean():+.4f} ± {half:.4f}{count}{mark}"


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["run", "report"])
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--only", default="")
    parser.add_argument("--small", action="store_true", help="few evaluations, nothing stored")
    arguments = parser.parse_args()
    if arguments.command == "report":
        report()
    else:
        run(arguments.seeds, arguments.workers, arguments.only, arguments.small)


if __name__ == "__main__":
    main()
