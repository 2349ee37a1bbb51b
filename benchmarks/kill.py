"""Kill runs with -9 at random moments, resume them, and compare with an uninterrupted run.

    python benchmarks/kill.py [--times 10] [--optimizers random nsga2 ...]

Every run is killed again and again, until it has been killed `--times` times or is done, and the
last resume has another number of threads in its environment. Writes ``benchmarks/kill.md``; exits
with 1 when any trial differs, is lost or comes twice.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import fields
from pathlib import Path

import numpy as np

from hwnas import registry
from hwnas.runner.storage import Store, Trials

HWNAS = str(Path(sys.executable).with_name("hwnas"))
# Enough evaluations that a search takes a few seconds beyond its start-up.
EVALUATIONS = {"random": 60_000, "uniform": 200_000, "nsga2": 30_000, "ehvi": 60, "moasha": 1_500}
YAML = """\
name: kill
space: gpt-s
objectives: [perplexity, latency@rtx3080]
optimizers: [{optimizer}]
budget: {{evaluations: {evaluations}}}
noise: {noise}
seeds: 1
"""


def trials_of(path: Path, optimizer: str) -> Trials:
    """Trials that a run has stored."""
    with Store.open(path / optimizer / "seed-0" / "trials.db") as store:
        return store.trials()


def difference(actual: Trials, expected: Trials) -> str:
    """Name of a field in which two searches differ, times aside; empty for none."""
    for field in fields(Trials):
        values, expected_values = getattr(actual, field.name), getattr(expected, field.name)
        if field.name in ("seconds", "elapsed"):
            continue
        if len(values) != len(expected_values):
            return f"{len(values)} trials, expected {len(expected_values)}"
        if not np.array_equal(
            values, expected_values, equal_nan=np.asarray(values).dtype.kind == "f"
        ):
            return field.name
    return ""


def started(*arguments: str, threads: int = 1) -> subprocess.Popen[bytes]:
    """A run in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    return subprocess.Popen([HWNAS, *arguments, "--quiet"], env=environment, stderr=subprocess.PIPE)


def tried(optimizer: str, times: int, folder: Path, rng: random.Random) -> tuple[int, int, str]:
    """Numbers of kills and of trials in the end, and the name of a field that differs."""
    file = folder / f"{optimizer}.yaml"
    noise = "true" if optimizer in ("moasha", "ehvi") else "false"
    file.write_text(
        YAML.format(optimizer=optimizer, evaluations=EVALUATIONS.get(optimizer, 2000), noise=noise)
    )
    alone, killed = folder / f"{optimizer}-alone", folder / f"{optimizer}-killed"
    begin = time.perf_counter()
    assert started("run", str(file), "--out", str(alone)).wait() == 0
    duration = time.perf_counter() - begin
    expected = trials_of(alone, optimizer)
    kills = 0
    arguments = ["run", str(file), "--out", str(killed)]
    while kills < times:
        process = started(*arguments)
        try:
            process.wait(timeout=rng.uniform(0.1, 0.7 * duration))
            if process.returncode == 0:
                break
            return kills, 0, process.stderr.read().decode()  # type: ignore[union-attr]
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
        if (killed / "experiment.yaml").exists():
            arguments = ["resume", str(killed)]
    last = started(*arguments, threads=2)
    if last.wait() != 0:
        return kills, 0, last.stderr.read().decode()  # type: ignore[union-attr]
    trials = trials_of(killed, optimizer)
    return kills, len(trials), difference(trials, expected)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--optimizers", nargs="*", default=registry.names("optimizer"))
    chosen = parser.parse_args()
    rng = random.Random(0)
    rows, wrong = [], False
    with tempfile.TemporaryDirectory() as folder:
        for optimizer in chosen.optimizers:
            kills, trials, differs = tried(optimizer, chosen.times, Path(folder), rng)
            rows.append(f"| {optimizer} | {kills} | {trials:,} | {differs or 'nothing'} |")
            print(rows[-1], flush=True)
            wrong |= bool(differs)
    page = f"""# Runs that are killed and resumed

    python benchmarks/kill.py --times {chosen.times}

Each run is killed at random moments of its time, resumed, killed again; the last resume has two
numerical threads in its environment in place of one. ehvi and moasha run with noise.

| optimizer | times killed | trials in the end | differs from the run left alone in |
|---|---:|---:|---|
{chr(10).join(rows)}
"""
    Path(__file__).with_suffix(".md").write_text(page)
    sys.exit(int(wrong))


if __name__ == "__main__":
    main()
