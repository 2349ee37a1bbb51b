"""Stopping rules and their intervals against the truth: ``benchmarks/stopping.md``.

    python benchmarks/stopping.py run [--only REGEX] [--most SEARCHES]
    python benchmarks/stopping.py fit
    python benchmarks/stopping.py report

`run` searches problems whose front is known with a target that is stricter than those that are
judged, and adds a row for every estimate to ``stopping.csv``; searches that are there are left out,
so it can be stopped and gone on with. REGEX is matched with ``GROUP SPACE OBJECTIVES OPTIMIZER``.
`fit` prints the constants of `hwnas.runner.missing_estimate` that the rows of the searches that
choose them make most probable, beside those in use. `report` turns the rows into ``stopping.md``
and ``stopping.png``.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

# Before numpy and torch are loaded.
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np

import hwnas
from hwnas import pareto
from hwnas.runner import stopping as stopping_rule
from hwnas.runner.missing_estimate import MissingEstimate
from hwnas.runner.results import Result
from hwnas.typing import Array

HERE = Path(__file__).parent
ROWS = HERE / "stopping.csv"
HEADER = (
    "group,space,objectives,optimizer,seed,trials,missing,expected,lower,upper,"
    "end,first_0.01,first_0.005,seconds,draws_mean,draws_std,progress"
)
# The weights of the estimate were fitted to seven other devices.
DEVICES = ("a40", "rtx2080", "a6000", "P100", "cpu_xeon_gold", "cpu_amd_7513")
SCALES = ("gpt-s", "gpt-m", "gpt-l")
TARGETS = (0.01, 0.005)
STRICTER = 0.004  # target of the searches, so that both others are passed
TINY = 1e-6  # ... and of those with constraints, which go on to the end
# Each alone and both together.
LIMITS = {
    "gpt-s": ("params <= 1.2e8", "perplexity <= 32"),
    "gpt-m": ("params <= 2.5e8", "perplexity <= 27"),
    "gpt-l": ("params <= 4e8", "perplexity <= 23"),
}


@dataclass(frozen=True)
class Case:
    """A search of a problem whose front is known.

    Attributes
    ----------
    group
        Part of the page.
    space, objectives, optimizer, seed
        Of the search.
    evaluations
        At most so many.
    changes
        Further keys of the experiment.
    """

    group: str
    space: Any
    objectives: tuple[str, ...]
    optimizer: str
    seed: int
    evaluations: int
    changes: tuple[tuple[str, Any], ...] = ()

    @property
    def key(self) -> tuple[str, ...]:
        """First columns of its rows."""
        space = self.space if isinstance(self.space, str) else "grid"
        return self.group, space, " ".join(self.objectives), self.optimizer, str(self.seed)


def cases() -> Iterator[Case]:
    """All searches, those of each group in a random order, groups in turn."""
    groups = [
        [*_tables("tables", "additive", 5, 400)],
        [*_tables("ehvi", "ehvi", 2, 200)],
        [*_tables("trees", "additive", 2, 300, backend={"type": "surrogate", "model": "trees"})],
        [*_tables("noise", "additive", 2, 300, noise=True)],
        [*_three()],
        [*_constrained()],
        [*_general()],
        [*_tables("nsga2", "nsga2", 1, 400), *_tables("random", "random", 1, 200)],
    ]
    rng = np.random.default_rng(0)
    for group in groups:
        # First seeds first.
        order = sorted(rng.permutation(len(group)), key=lambda i: group[i].seed)
        group[:] = [group[i] for i in order]
    while any(groups):
        # Ten of the first group for each of another.
        for group, n in zip(groups, [10] + [1] * len(groups[1:]), strict=True):
            yield from group[:n]
            del group[:n]


def _tables(
    group: str, optimizer: str, seeds: int, evaluations: int, **changes: Any
) -> Iterator[Case]:
    for space in SCALES:
        for metric in ("latency", "energy"):
            for device in DEVICES:
                for seed in range(seeds):
                    objectives = "perplexity", f"{metric}@{device}"
                    extra = tuple(changes.items())
                    yield Case(group, space, objectives, optimizer, seed, evaluations, extra)


def _three() -> Iterator[Case]:
    for space in ("gpt-s", "gpt-l"):
        for device in DEVICES:
            objectives = "perplexity", f"latency@{device}", f"energy@{device}"
            yield Case("three objectives", space, objectives, "additive", 0, 150)


def _constrained() -> Iterator[Case]:
    budget = ("budget", {"within": TINY, "evaluations": 200})
    for space, limits in LIMITS.items():
        for device in DEVICES:
            for kind in (limits[:1], limits[1:], limits):
                metric = "energy" if kind == limits[1:] else "latency"
                objectives = "perplexity", f"{metric}@{device}"
                changes = budget, ("constraints", list(kind))
                group = f"constraints, {' and '.join(kind)}"
                yield Case(group, space, objectives, "additive", 0, 200, changes)


def _general() -> Iterator[Case]:
    for name in ("zdt1", "zdt2", "zdt3", "dtlz2"):
        for seed in range(2):
            backend = ("backend", {"type": "problem"})
            space = {"family": "problem", "name": name, "problem": name, "n_var": 6}
            objectives = ("f1", "f2", "f3") if name == "dtlz2" else ("f1", "f2")
            yield Case(f"general, {name}", space, objectives, "additive", seed, 150, (backend,))


def rows_of(case: Case) -> list[list[Any]]:
    """Run a search and return a row for each of its estimates, without its key."""
    begin = time.process_time()
    experiment = {
        "name": "stopping",
        "space": case.space,
        "objectives": list(case.objectives),
        "optimizers": [case.optimizer],
        "budget": {"within": STRICTER, "evaluations": case.evaluations},
        "seeds": [case.seed],
        **dict(case.changes),
    }
    inputs: dict[int, tuple[float, float, float]] = {}  # by number of trials
    calibrated = stopping_rule.calibrated

    def recorded(draws: Array, progress: float, trials: int, **flags: bool) -> MissingEstimate:
        inputs[trials] = float(draws.mean()), float(draws.std()), progress
        return calibrated(draws, progress, trials, **flags)

    replaced = mock.patch.object(stopping_rule, "calibrated", recorded)
    with tempfile.TemporaryDirectory() as folder, replaced:
        result = hwnas.run(experiment, Path(folder) / "run", draw=False)
        (search,) = result.searches
        estimates = MissingEstimate.from_json(search.meta.get("missing", "[]"), search.path)
        missing = _missing(result)
    seconds = round(time.process_time() - begin, 1)
    # The first number of trials at which each target was met: what an oracle would have known.
    oracles = [int(np.argmax(missing <= t)) + 1 if missing.min() <= t else "" for t in TARGETS]
    rows = []
    for e in estimates:
        shares = missing[e.trials - 1], e.expected, e.lower, e.upper
        row = [e.trials, *(f"{x:.5g}" for x in shares), len(missing), *oracles, seconds]
        rows.append([*row, *(f"{x:.5g}" for x in inputs[e.trials])])
    return rows


def _missing(result: Result) -> Array:
    """Return the true missing share (n,) after each trial of the only search."""
    (search,), (trajectory,) = result.searches, result.trajectories
    if result.experiment.noise:  # that of the last recommendation
        ends = trajectory.evaluations
        values = np.concatenate([[0.0], trajectory.normalised])
        return 1 - values[np.searchsorted(ends, np.arange(1, len(search.trials) + 1), "right")]
    steps, hypervolume = pareto.hypervolume_steps(search.losses, result.reference.point)
    values = np.concatenate([[0.0], hypervolume]) / result.best_hypervolume
    return 1 - values[np.searchsorted(steps, np.arange(len(search.trials)), "right")]


def run(only: str, most: int) -> None:
    """Add the rows of searches that are not there yet."""
    done = {tuple(row[:5]) for row in _read()}
    if not ROWS.exists():
        ROWS.write_text(HEADER + "\n", encoding="utf-8")
    for case in cases():
        if case.key in done or not re.search(only, " ".join(case.key)):
            continue
        if most == 0:
            break
        most -= 1
        rows = rows_of(case)
        with ROWS.open("a", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([*case.key, *row] for row in rows)
        print(" ".join(case.key), rows[-1] if rows else "no estimate", flush=True)


def _read() -> list[list[str]]:
    if not ROWS.exists():
        return []
    with ROWS.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))[1:]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["run", "fit", "report"])
    parser.add_argument("--only", default="")
    parser.add_argument("--most", type=int, default=-1)
    chosen = parser.parse_args()
    if chosen.command == "run":
        run(chosen.only, chosen.most)
    else:
        from stopping_fit import constant_lines, margin_lines
        from stopping_report import write_report

        rows = _read()
        constants, margins = constant_lines(rows), margin_lines(rows)
        if chosen.command == "fit":
            print(constants, margins, sep="\n\n")
        else:
            write_report(rows, HERE, constants=constants, margins=margins)
