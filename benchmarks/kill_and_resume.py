"""Kill runs with two workers by ``kill -9`` at random moments; resume them.

    python benchmarks/kill_and_resume.py [--times 10] [--seed 0]

Two kinds of runs: two searches side by side (``hwnas run --workers 2``), and trials in two worker
processes (``executor: process``). Each is killed once at a moment of its own, between its first
import and its last trial. It counts if

1. no process of it is alive 2 s later: they are found by a variable of their environment, which
   every process of a run inherits (Linux);
2. ``hwnas resume`` ends with the trials of a run left alone. With an executor the order of
   the trials is the machine's, so they are compared by code and repeat.

Prints ``10 of 10`` for each kind, and exits with 1 where it is fewer.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from pathlib import Path

import yaml

from hwnas.runner.storage import Store

HERE = Path(__file__).parent
HWNAS = str(Path(sys.executable).with_name("hwnas"))
MARK = "HWNAS_BENCHMARK_RUN"
SECONDS_TO_END = 2.0
EXPERIMENT = {
    "name": "kill",
    "space": "gpt-s",
    "backend": {"type": "sleeper", "pause": 0.02},
    "objectives": ["error", "delay"],
    # Proposals of the one depend on no result, those of the other on whole generations.
    "optimizers": ["random", {"type": "nsga2", "pop_size": 8}],
    "budget": {"evaluations": 64},
    "seeds": 1,
}
KINDS = {
    "--workers 2": ["--workers", "2"],
    "executor: process": ["--executor", "{type: process, workers: 2}"],
}
Trial = tuple[bytes, int, bytes]  # code, repeat and values


def start(arguments: list[str], mark: str) -> subprocess.Popen[bytes]:
    """Start hwnas; its processes, and theirs, have a mark in their environment."""
    environment = {**os.environ, MARK: mark}
    return subprocess.Popen([HWNAS, *arguments, "--quiet", "--no-draw"], env=environment)


def processes_with(mark: str) -> list[int]:
    """Return the processes alive that have a mark in their environment."""
    pids = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # ended meanwhile, or another user's
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes():
                pids.append(int(folder.name))
    return pids


def trials_of(run: Path) -> dict[str, Counter[Trial]]:
    """Return the stored trials of each optimizer."""
    trials = {}
    for file in sorted(run.glob("*/seed-0/trials.db")):
        with Store.open(file) as store:
            stored = store.trials()
        rows = zip(stored.codes, stored.repeat, stored.values, strict=True)
        trials[file.parts[-3]] = Counter((c.tobytes(), int(r), v.tobytes()) for c, r, v in rows)
    return trials


def kill_once(file: Path, options: list[str], run: Path, moment: float) -> tuple[int, str]:
    """Kill a run after some seconds and resume it.

    Returns
    -------
    n_processes
        Number of its processes when it was killed.
    wrong
        What was not as it should be; empty for nothing.

    Raises
    ------
    TimeoutError
        The run had ended before.
    """
    mark = uuid.uuid4().hex
    words = ["run", str(file), "--out", str(run), *plugin(), *options]
    process = start(words, mark)
    time.sleep(moment)
    n_processes = len(processes_with(mark))
    process.kill()
    if process.wait() != -9:
        raise TimeoutError
    time.sleep(SECONDS_TO_END)
    if alive := processes_with(mark):
        return n_processes, f"{len(alive)} processes alive {SECONDS_TO_END:g} s later"
    # A run that was killed before it had a directory starts anew.
    started = (run / "experiment.yaml").exists()
    arguments = ["resume", str(run), *options] if started else words
    code = start(arguments, mark).wait()
    return n_processes, f"exit code {code}" if code else ""


def plugin() -> list[str]:
    """Return the option that registers the backend of the experiment."""
    return ["--plugin", str(HERE / "sleeper.py")]


def count_intact(file: Path, options: list[str], folder: Path, times: int, seed: int) -> int:
    """Kill and resume a kind of run some times; return how often nothing was lost."""
    rng, alone = random.Random(seed), folder / "alone"
    begin = time.perf_counter()
    if start(["run", str(file), "--out", str(alone), *plugin(), *options], "").wait():
        raise SystemExit("the run left alone has failed")
    seconds, expected = time.perf_counter() - begin, trials_of(alone)
    intact = n_killed = 0
    while n_killed < times:
        run, moment = folder / f"killed-{n_killed}", rng.uniform(0.1, seconds)
        try:
            n_processes, wrong = kill_once(file, options, run, moment)
        except TimeoutError:  # too late: draw another moment
            shutil.rmtree(run)
            continue
        if not wrong and trials_of(run) != expected:
            wrong = "its trials differ"
        state = f"killed after {moment:.2f} of {seconds:.2f} s with {n_processes} processes"
        print(f"  {state}: {wrong or 'intact'}", flush=True)
        intact += not wrong
        n_killed += 1
    return intact


def main() -> None:
    """Kill runs of each kind and print how many were intact."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    is_intact = True
    for kind, options in KINDS.items():
        with tempfile.TemporaryDirectory() as name:
            file = Path(name, "kill.yaml")
            file.write_text(yaml.safe_dump(EXPERIMENT))
            intact = count_intact(file, options, Path(name), chosen.times, chosen.seed)
        print(f"{kind}: {intact} of {chosen.times}", flush=True)
        is_intact &= intact == chosen.times
    sys.exit(not is_intact)


if __name__ == "__main__":
    main()
