"""Faults that are injected into runs, and what must hold afterwards.

Every scenario starts ``hwnas run`` in a process of its own, lets a fault happen, and goes on with
``hwnas resume`` as the message says. It returns what was lost in words, nothing if the run has
survived.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import yaml

from hwnas.runner.storage import Store, Trials

HERE = Path(__file__).parent
HWNAS = [sys.executable, "-c", "from hwnas.cli.main import main; main()"]
EVALUATIONS = 30
TIMES = {"seconds", "elapsed", "ask", "tells_before", "tell"}
# Settings with which a search leaves its initial design within the budget.
SETTINGS = {name: {"pop_size": 8} for name in ("nsga2", "nsga3", "smsemoa", "moead", "morea")} | {
    name: {"initial": 6} for name in ("ehvi", "parego", "lsbo", "rsbo", "motpe", "local_search")
}


Scenario = Callable[["Bench"], str]


class NotInjected(Exception):
    """A fault that cannot happen on this machine."""


@dataclass
class Bench:
    """A folder for the runs of one scenario.

    Attributes
    ----------
    folder
        An empty folder.
    optimizer
        Name of the optimizer.
    executor
        Name of the executor.
    """

    folder: Path
    optimizer: str = "random"
    executor: str = "serial"

    def __post_init__(self) -> None:
        self.run = self.folder / "run"
        self.told = self.folder / "told"
        entry = {"type": self.optimizer, **SETTINGS.get(self.optimizer, {})}
        content = {
            "name": "faults",
            "space": "gpt-s",
            "backend": "faulty",
            "objectives": ["a", "b"],
            "optimizers": [entry],
            "budget": {"evaluations": EVALUATIONS},
            # Given, so that the process of the run itself evaluates nothing.
            "reference": [100.0, 600.0],
            "seeds": 1,
        }
        self.file = self.folder / "faults.yaml"
        self.file.write_text(yaml.safe_dump(content), encoding="utf-8")

    def start(
        self, *arguments: str, fault: str = "", seconds: float = 0.02, stdout: object = None
    ) -> subprocess.Popen:
        """Start hwnas in the folder, with a fault, and some seconds for an evaluation."""
        environment = {
            **os.environ,
            "HWNAS_FAULT": fault,
            "HWNAS_SECONDS": str(seconds),
            "HWNAS_TOLD": str(self.told),
            "HWNAS_ONCE": str(self.folder / "once"),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "PYTHONWARNINGS": "ignore",
        }
        return subprocess.Popen(
            [*HWNAS, *arguments],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE if stdout is None else stdout,
            stderr=subprocess.PIPE,
            text=True,
        )

    def start_run(self, *arguments: str, fault: str = "", **others: object) -> subprocess.Popen:
        """Start the run."""
        executor = [] if self.executor == "serial" else ["--executor", self._executor()]
        plugin = ["--plugin", str(HERE / "faulty.py")]
        words = ["run", str(self.file), "--out", str(self.run), "--no-draw"]
        return self.start(*words, *plugin, *executor, *arguments, fault=fault, **others)

    def start_resume(self, run: Path | None = None) -> subprocess.Popen:
        """Start a resume without a fault."""
        return self.start("resume", str(run or self.run), "--no-draw")

    def _executor(self) -> str:
        limits = ", timeout: 2" + (", memory: 4 GB" if self.executor == "process" else "")
        return f"{{type: {self.executor}, workers: 2{limits}}}"

    def database(self, run: Path | None = None) -> Path:
        """File of the run's only search."""
        return (run or self.run) / self.optimizer / "seed-0" / "trials.db"

    def n_stored(self) -> int:
        """Return the number of committed trials; 0 without a store."""
        if not self.database().exists():
            return 0
        database = sqlite3.connect(self.database())
        try:
            return int(database.execute("SELECT count(*) FROM trials").fetchone()[0])
        except sqlite3.OperationalError:  # the store is being created
            return 0
        finally:
            database.close()

    def wait_for_trials(self, process: subprocess.Popen, n: int = 5) -> None:
        """Wait until some trials are committed, or the process has ended."""
        deadline = time.monotonic() + 120
        while self.n_stored() < n and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)

    def trials(self, run: Path | None = None) -> Trials:
        """Return all trials of the run."""
        with Store.open(self.database(run)) as store:
            return store.trials()


def fault_in_one_line(process: subprocess.Popen, code: int) -> str:
    """Wait for a process and return what is wrong with its exit code or its message."""
    try:
        _, err = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return "still running after 120 s"
    if process.returncode != code:
        return f"exit code {process.returncode}, expected {code}: {err[-300:]}"
    lines = [line for line in err.splitlines() if line.startswith("hwnas: ")]
    if code and len(lines) != 1:
        return f"expected one line that says why, found: {err[-300:]}"
    return "traceback on stderr" if "Traceback" in err else ""


def lost_trials(bench: Bench, run: Path | None = None) -> str:
    """Return what is missing or twice among the trials of a run that is done."""
    trials = bench.trials(run)
    keys = [
        (code.tobytes(), int(repeat), None if fidelity is None else int(fidelity))
        for code, repeat, fidelity in zip(
            trials.codes, trials.repeat, getattr(trials, "fidelity", [None] * len(trials)),
            strict=True,
        )
    ]  # fmt: skip
    twice = [key for key, count in Counter(keys).items() if count > 1]
    if twice:
        return f"{len(twice)} trials twice"
    if trials.evaluations.sum() != EVALUATIONS:
        return f"{trials.evaluations.sum()} evaluations, expected {EVALUATIONS}"
    if bench.told.exists():
        # The last line may be cut off by a kill.
        told = {line for line in bench.told.read_text().splitlines(keepends=True) if "\n" in line}
        stored = {code.tobytes().hex() + "\n" for code in trials.codes}
        if told - stored:
            return f"{len(told - stored)} told trials lost"
    return ""


def difference(one: Trials, other: Trials) -> str:
    """Return the first field in which two searches differ, times aside."""
    if len(one) != len(other):
        return f"{len(one)} trials, uninterrupted {len(other)}"
    for field in fields(Trials):
        if field.name in TIMES - {"ask"}:
            continue
        left, right = np.asarray(getattr(one, field.name)), np.asarray(getattr(other, field.name))
        if left.dtype.kind == "f":
            if not np.array_equal(left, right, equal_nan=True):
                return f"{field.name} differs from the uninterrupted run"
        elif not np.array_equal(left, right):
            return f"{field.name} differs from the uninterrupted run"
    return ""


def resumed(bench: Bench, *, fault: str = "", run: Path | None = None) -> str:
    """Resume a run and return what is lost; a serial one must equal an uninterrupted one.

    Parameters
    ----------
    fault
        Fault of single evaluations that the uninterrupted run has too.
    run
        Directory to resume, if it is not the one that was started.
    """
    if wrong := fault_in_one_line(bench.start_resume(run), 0):
        return f"resume: {wrong}"
    if lost := lost_trials(bench, run):
        return lost
    if bench.executor != "serial":
        return ""
    return difference_to_uninterrupted(bench, fault, run)


def difference_to_uninterrupted(bench: Bench, fault: str, run: Path | None) -> str:
    """Run the same experiment from its start to its end and compare the trials."""
    folder = bench.folder / "uninterrupted"
    folder.mkdir()
    other = Bench(folder, bench.optimizer, bench.executor)
    if wrong := fault_in_one_line(other.start_run(fault=fault), 0):
        return f"uninterrupted: {wrong}"
    return difference(bench.trials(run), other.trials())


# -- faults of processes -------------------------------------------------------------------------


def kill_run(bench: Bench) -> str:
    """Kill the run with -9 after some trials."""
    process = bench.start_run()
    bench.wait_for_trials(process)
    process.kill()
    process.communicate()
    return resumed(bench)


def stop_run(bench: Bench) -> str:
    """Stop the run with SIGTERM after some trials."""
    process = bench.start_run()
    bench.wait_for_trials(process)
    process.send_signal(signal.SIGTERM)
    return fault_in_one_line(process, 2) or resumed(bench)


def kill_worker(bench: Bench) -> str:
    """Let a worker die once in mid-trial."""
    return fault_in_one_line(bench.start_run(fault="dies once"), 0) or resumed(bench)


# -- faults of evaluations and of optimizers ------------------------------------------------------


def evaluation(fault: str, code: int = 0) -> Scenario:
    """Return the scenario of a fault of single evaluations, with the exit code of the run."""

    def inject(bench: Bench) -> str:
        wrong = fault_in_one_line(bench.start_run(fault=fault), code)
        # A run that has ended repeats nothing: the uninterrupted run has the fault too.
        return wrong or resumed(bench, fault="" if code else fault)

    return inject


def optimizer(fault: str, code: int) -> Scenario:
    """Return the scenario of a fault of an optimizer, with the exit code of the run."""

    def inject(given: Bench) -> str:
        bench = Bench(given.folder, "faulty", given.executor)
        wrong = fault_in_one_line(bench.start_run(fault=fault), code)
        return wrong or resumed(bench, fault="" if code else fault)

    return inject


# -- faults of files -----------------------------------------------------------------------------


def _killed(bench: Bench) -> None:
    process = bench.start_run()
    bench.wait_for_trials(process)
    process.kill()
    process.communicate()


def damage_store(change: Callable[[Path], None]) -> Scenario:
    """Return the scenario of a store that is damaged and then put back."""

    def inject(bench: Bench) -> str:
        _killed(bench)
        backup = bench.folder / "backup"
        shutil.copytree(bench.database().parent, backup)
        change(bench.database())
        if wrong := fault_in_one_line(bench.start_resume(), 2):
            return wrong
        shutil.rmtree(bench.database().parent)
        shutil.copytree(backup, bench.database().parent)
        return resumed(bench)

    return inject


def _truncate(file: Path) -> None:
    for log in file.parent.glob("trials.db-*"):
        log.unlink()
    os.truncate(file, file.stat().st_size // 2)


def _corrupt(file: Path) -> None:
    for log in file.parent.glob("trials.db-*"):
        log.unlink()
    data = bytearray(file.read_bytes())
    data[:200] = b"\xff" * 200
    file.write_bytes(data)


def lock_store(bench: Bench) -> str:
    """Hold a lock of the database while the run is resumed."""
    _killed(bench)
    database = sqlite3.connect(bench.database(), isolation_level=None)
    database.execute("PRAGMA locking_mode = EXCLUSIVE")
    database.execute("BEGIN EXCLUSIVE")
    wrong = fault_in_one_line(bench.start_resume(), 2)
    database.execute("ROLLBACK")
    database.close()
    return wrong or resumed(bench)


def run_twice(bench: Bench) -> str:
    """Start a second run on the directory while the first one runs."""
    first = bench.start_run(seconds=0.5)  # until the others have been refused
    bench.wait_for_trials(first, 1)
    wrong = fault_in_one_line(bench.start_run(), 2) or fault_in_one_line(bench.start_resume(), 2)
    return wrong or fault_in_one_line(first, 0) or resumed(bench)


def copy_run(bench: Bench) -> str:
    """Resume a copy of a killed run, then the run itself."""
    _killed(bench)
    copy = bench.folder / "copy of it"
    shutil.copytree(bench.run, copy)
    if wrong := fault_in_one_line(bench.start_resume(copy), 0) or lost_trials(bench, copy):
        return f"copy: {wrong}"
    return resumed(bench)


def move_run(bench: Bench) -> str:
    """Resume a killed run under another name in another folder."""
    _killed(bench)
    place = bench.folder / "elsewhere" / "renamed"
    place.parent.mkdir()
    bench.run.rename(place)
    return resumed(bench, run=place)


def fill_disk(bench: Bench) -> str:
    """Run on a small disk that is filled in mid-run, then make space."""
    with mounted(bench.run.parent / "disk", "size=1m") as disk:
        bench.run = disk / "run"
        process = bench.start_run()
        bench.wait_for_trials(process)
        filler = disk / "filler"
        with filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass
        if wrong := fault_in_one_line(process, 2):
            return wrong
        filler.unlink()
        return resumed(bench)


def shrink_disk(bench: Bench) -> str:
    """Start the run on disks with too little space for its files, then on a larger one."""
    for kilobytes in (12, 16, 24, 32, 48):
        with mounted(bench.run.parent / f"disk-{kilobytes}", f"size={kilobytes}k") as disk:
            bench.run = disk / "run"
            if wrong := fault_in_one_line(bench.start_run(), 2):
                return f"{kilobytes} kB: {wrong}"
            if left := [*disk.rglob("*.part"), *disk.rglob("*-journal")]:
                return f"{kilobytes} kB: half-written {left[0].name}"
            subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
            started = (bench.run / "experiment.yaml").exists()
            again = bench.start_resume() if started else bench.start_run()
            if wrong := fault_in_one_line(again, 0) or lost_trials(bench):
                return f"{kilobytes} kB: {wrong}"
    return ""


def read_only(bench: Bench) -> str:
    """Resume a killed run on a disk that is read-only, then make it writable."""
    with mounted(bench.run.parent / "disk", "size=64m") as disk:
        bench.run = disk / "run"
        _killed(bench)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        wrong = fault_in_one_line(bench.start_resume(), 2)
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        return wrong or resumed(bench)


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """Mount a tmpfs for the time of the block.

    Raises
    ------
    NotInjected
        This machine lets nobody, or only others, mount a file system.
    """
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise NotInjected(f"cannot mount a tmpfs: {error}") from error
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def close_stdout(bench: Bench) -> str:
    """Close the stream of the run's output in mid-run."""
    process = bench.start_run()
    assert process.stdout
    process.stdout.close()
    process.stdout = None
    bench.wait_for_trials(process, EVALUATIONS)
    _, err = process.communicate(timeout=300)
    return "traceback on stderr" if "Traceback" in err else resumed(bench)


def fill_stdout(bench: Bench) -> str:
    """Let the run write to a full device."""
    with open("/dev/full", "w", encoding="utf-8") as full:
        process = bench.start_run(stdout=full)
        _, err = process.communicate(timeout=300)
    return "traceback on stderr" if "Traceback" in err else resumed(bench)


SERIAL, POOLS = ("serial",), ("process", "ray")
EVERYWHERE = (*SERIAL, *POOLS)
# Faults by name: the scenario, and the executors in which it can happen.
SCENARIOS: dict[str, tuple[Scenario, Sequence[str]]] = {
    "run killed": (kill_run, EVERYWHERE),
    "run stopped": (stop_run, EVERYWHERE),
    "worker killed": (kill_worker, POOLS),
    "evaluation raises": (evaluation("raise"), EVERYWHERE),
    "evaluation is NaN": (evaluation("nan"), EVERYWHERE),
    "evaluation is infinite": (evaluation("infinity"), EVERYWHERE),
    "evaluation has the wrong shape": (evaluation("shape"), EVERYWHERE),
    "evaluation hangs": (evaluation("hang"), POOLS),
    "evaluation takes all memory": (evaluation("memory"), ("process",)),
    "clock jumps": (evaluation("clock"), EVERYWHERE),
    "ask raises": (optimizer("ask raises", 1), EVERYWHERE),
    "tell raises": (optimizer("tell raises", 1), EVERYWHERE),
    "invalid codes": (optimizer("invalid codes", 1), EVERYWHERE),
    "codes of floats": (optimizer("float codes", 1), EVERYWHERE),
    "duplicate codes": (optimizer("duplicate codes", 0), EVERYWHERE),
    "optimizer prints": (optimizer("prints", 0), EVERYWHERE),
    "store truncated": (damage_store(_truncate), SERIAL),
    "store corrupt": (damage_store(_corrupt), SERIAL),
    "store locked": (lock_store, SERIAL),
    "two runs in one directory": (run_twice, EVERYWHERE),
    "run copied": (copy_run, EVERYWHERE),
    "run moved": (move_run, EVERYWHERE),
    "disk full": (fill_disk, EVERYWHERE),
    "disk too small": (shrink_disk, SERIAL),
    "directory read-only": (read_only, EVERYWHERE),
    "stdout closed": (close_stdout, EVERYWHERE),
    "stdout full": (fill_stdout, EVERYWHERE),
}
# Faults that are injected with every optimizer, not only with random search.
WITH_EVERY_OPTIMIZER = ("run killed", "worker killed", "evaluation raises", "evaluation is NaN")
