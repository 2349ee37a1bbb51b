"""Compare the processor time of the serial search loop with that of another checkout.

    git worktree add --detach /tmp/before COMMIT
    python benchmarks/serial_overhead.py /tmp/before [--repeats 15]

Both run the same searches on a backend that costs next to nothing, in processes of their own that
take turns. The figures are processor time (`time.process_time`) of the loop alone, its store
included, so that other programs of the machine count little. Writes
``benchmarks/serial_overhead.md``, and exits with 1 where the median ratio of a pair is above 1.02.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOLERANCE = 0.02  # of the median ratio of a pair
# Optimizer, evaluations, and whether each trial is committed by itself, as on hardware.
CASES = {
    "random, 100,000 evaluations": ("random", 100_000, False),
    "nsga2, 20,000 evaluations": ("nsga2", 20_000, False),
    "random, 3,000 evaluations one by one": ("random", 3_000, True),
}
# Runs beside any version since the first with this loop.
CHILD = """
import json, sys, time
from pathlib import Path
import numpy as np
import hwnas
from hwnas import registry
from hwnas.experiment import Budget
from hwnas.objectives import parse_objectives
from hwnas.problem import Problem
from hwnas.runner.search_loop import loop
from hwnas.runner.storage import Store

class Sums(hwnas.Backend):
    metrics = {"a": hwnas.Metric(""), "b": hwnas.Metric("")}

    def evaluate(self, codes, objectives, *, seeds, fidelity=None):
        total = codes.sum(axis=1, dtype=float)
        return hwnas.Evaluation(np.stack([total, 1 / (1 + total)], axis=1))

assert Path(hwnas.__file__).resolve().is_relative_to(Path(sys.argv[1]).resolve()), hwnas.__file__
folder, cases = Path(sys.argv[2]), json.loads(sys.argv[3])
space, seconds = hwnas.space("gpt-s"), {}
for name, (optimizer, evaluations, one_by_one) in cases.items():
    backend = Sums(space)
    backend.on_hardware = one_by_one
    problem = Problem(space, backend, backend, parse_objectives(["a", "b"]), ())
    for n in (200, evaluations):  # the first loads and caches what is loaded late
        search = registry.optimizer(optimizer, space, 2, seed=0)
        with Store.create(folder / f"{len(seconds)}-{n}.db", ["a", "b"], {}) as store:
            start = time.process_time()
            loop(problem, search, Budget(evaluations=n), store, seed=0, batch=search.batch)
            seconds[name] = time.process_time() - start
            assert sum(store.trials().evaluations) == n
print(json.dumps(seconds))
"""


def link_packages(checkout: Path, folder: Path) -> Path:
    """Make a folder from which Python imports the packages of a checkout."""
    folder.mkdir()
    for package, source in (("hwnas", "hwnas"), ("hwnas_plugins", "plugins")):
        (folder / package).symlink_to(checkout.resolve() / source)
    return folder


def seconds_of(checkout: Path, packages: Path) -> dict[str, float]:
    """Return the processor time of each case, in a new process."""
    environment = {**os.environ, "PYTHONPATH": str(packages), "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        arguments = [sys.executable, "-c", CHILD, str(checkout), folder, json.dumps(CASES)]
        process = subprocess.run(
            arguments, cwd=folder, env=environment, check=True, stdout=subprocess.PIPE, text=True
        )
    seconds: dict[str, float] = json.loads(process.stdout)
    return seconds


def main() -> None:
    """Measure both checkouts in turns and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", type=Path, help="The other checkout.")
    parser.add_argument("--repeats", type=int, default=15)
    chosen = parser.parse_args()
    checkouts = (chosen.before, ROOT)
    measured: list[list[dict[str, float]]] = [[], []]
    with tempfile.TemporaryDirectory() as name:
        packages = [link_packages(path, Path(name, str(i))) for i, path in enumerate(checkouts)]
        for turn in range(chosen.repeats):
            # Each is the first of its pair every other time.
            for i in (0, 1) if turn % 2 == 0 else (1, 0):
                measured[i].append(seconds_of(checkouts[i], packages[i]))
            print(f"{turn + 1} of {chosen.repeats}", file=sys.stderr, flush=True)
    rows, is_slower = [], False
    for case in CASES:
        former, now = ([seconds[case] for seconds in times] for times in measured)
        ratio = min(now) / min(former)
        pairs = statistics.median(b / a for a, b in zip(former, now, strict=True))
        rows.append(f"| {case} | {min(former):.3f} | {min(now):.3f} | {ratio:.3f} | {pairs:.3f} |")
        is_slower |= pairs > 1 + TOLERANCE
    commit = subprocess.run(
        ["git", "-C", str(chosen.before), "rev-parse", "--short", "HEAD"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout.strip()
    page = f"""# Overhead of the serial search loop, before and now

    git worktree add --detach /tmp/before {commit}
    python benchmarks/serial_overhead.py /tmp/before --repeats {chosen.repeats}

Processor seconds of the loop with its store, on a backend that costs next to nothing; {commit} is
the last version without executors. {chosen.repeats} processes of each, in turns. Times of nsga2
differ by 15 % between repeats of either, so that the smallest says less than the median over pairs.

| search | {commit}, smallest | now, smallest | ratio | median ratio of a pair |
|---|---:|---:|---:|---:|
{chr(10).join(rows)}
"""
    Path(__file__).with_suffix(".md").write_text(page)
    print(page)
    sys.exit(is_slower)


if __name__ == "__main__":
    main()
