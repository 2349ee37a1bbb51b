"""Follower of a run: reads the stores of its searches and hands loggers what is new.

It is a thread of the process that started the run. What each logger has got is in ``loggers.json``
of the run, so that a resumed run goes on there. A process that is killed between a logger's answer
and that note logs the same steps again, with the same numbers.
"""

from __future__ import annotations

import contextlib
import json
import math
import threading
import time
import uuid
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hwnas import registry
from hwnas.errors import HwnasError, HwnasWarning, InvalidInput, one_line
from hwnas.experiment import Experiment, LoggerEntry
from hwnas.files import read_bounded, write_text
from hwnas.loggers import (
    LoggedLoss,
    LoggedStep,
    LoggedTrial,
    Logger,
    RunInfo,
    SearchInfo,
    SearchUpdate,
)
from hwnas.runner.results import Result
from hwnas.runner.search_result import SearchResult, Trajectory
from hwnas.spaces import SearchSpace

FILE = "loggers.json"
_MAX_MB = 10  # of that file
_INTERVAL_S = 5.0  # between two readings of the stores
_MAX_SHARE = 0.1  # of the time that reading may take: large stores are read less often


@contextlib.contextmanager
def followed(path: Path, experiment: Experiment) -> Iterator[None]:
    """Log a run while the block runs it, and what is left when the block ends.

    Parameters
    ----------
    path
        Directory of the run.
    experiment
        Its experiment, which names the loggers.

    Raises
    ------
    InvalidInput
        A logger cannot start, such as one whose server does not answer.
    """
    if not experiment.loggers:
        yield
        return
    follower = LogFollower(path, experiment)
    stop = threading.Event()
    thread = threading.Thread(target=follower.run, args=(stop,), name="hwnas-loggers", daemon=True)
    thread.start()
    try:
        yield
    except BaseException as error:
        stop.set()
        thread.join()
        # After an interrupt the user waits for the prompt; hwnas resume logs the rest.
        follower.end(read=isinstance(error, Exception))
        raise
    stop.set()
    thread.join()
    follower.end()


class LogFollower:
    """Reader of a run's stores with the loggers that get what is new.

    Parameters
    ----------
    path
        Directory of the run.
    experiment
        Its experiment.

    Raises
    ------
    InvalidInput
        A logger cannot start.
    """

    def __init__(self, path: Path, experiment: Experiment) -> None:
        self.path, self.experiment = path, experiment
        self.notes = _read_notes(path / FILE)
        write_text(path / FILE, json.dumps(self.notes, indent=1) + "\n")
        entries = experiment.loggers or []
        info = RunInfo(
            experiment.name, path.absolute(), self.notes["identity"], experiment.model_dump()
        )
        self.loggers = {_key(entry): _start(entry, i, info) for i, entry in enumerate(entries)}
        self.errors: dict[str, str] = {}
        self._version: object = None
        self._last: Result | None = None

    def run(self, stop: threading.Event) -> None:
        """Read and log from time to time until an event is set."""
        interval = _INTERVAL_S
        while not stop.wait(interval):
            start = time.monotonic()
            with contextlib.suppress(HwnasError):  # no trials yet, or a store in use: next time
                self.update()
            interval = max(_INTERVAL_S, (time.monotonic() - start) / _MAX_SHARE)

    def end(self, *, read: bool = True) -> None:
        """Log what is left, close all loggers and warn of those that failed."""
        if read and any(self.path.glob("*/seed-*/trials.db")):
            try:
                self.update(is_end=True)
            except HwnasError as error:
                self.errors.setdefault("loggers", str(error))
        for key, logger in self.loggers.items():
            with self._failures(key):
                logger.close()
        for key, text in self.errors.items():
            warnings.warn(
                f"{key}: {text}; what is missing there is logged by: hwnas resume {self.path}",
                HwnasWarning,
                stacklevel=2,
            )

    def update(self, *, is_end: bool = False) -> None:
        """Read the stores, if they have changed, and log what is new.

        Parameters
        ----------
        is_end
            Whether the searches have ended, so that their results are written.
        """
        files = sorted(self.path.glob("*/seed-*/[tm]*.*"))
        version = [(file, (stat := file.stat()).st_mtime_ns, stat.st_size) for file in files]
        if version == self._version and not is_end:
            return
        # Under noise the problem is needed. It is one of this thread, built once.
        built = vars(self._last).get("problem") if self._last else None
        result = Result(self.path, allow_plugins=True, problem=built)
        for search, trajectory in zip(result.searches, result.trajectories, strict=True):
            self._log_search(result, search, trajectory, is_end=is_end)
        self._version, self._last = version, result

    def _log_search(
        self, result: Result, search: SearchResult, trajectory: Trajectory, *, is_end: bool
    ) -> None:
        entries = {entry.name: entry for entry in result.experiment.optimizers}
        settings = entries[search.optimizer].model_dump() if search.optimizer in entries else {}
        info = SearchInfo(search.optimizer, search.seed, settings)
        for key, logger in self.loggers.items():
            if key in self.errors:
                continue
            note = self.notes["logged"].setdefault(key, {}).setdefault(info.key, _new_note())
            update, after = _news(result, search, trajectory, note)
            with self._failures(key):
                if update:
                    logger.log(info, update)
                if is_end and (update or note["ended"] != after["trials"]):
                    files = [search.path / name for name in ("front.csv", "hypervolume.csv")]
                    logger.finish(info, search.status, [file for file in files if file.is_file()])
                    after["ended"] = after["trials"]
                if after != note:
                    self.notes["logged"][key][info.key] = after
                    write_text(self.path / FILE, json.dumps(self.notes, indent=1) + "\n")

    @contextlib.contextmanager
    def _failures(self, key: str) -> Iterator[None]:
        """Note the error of a logger: nothing of it may end a run."""
        try:
            yield
        except Exception as error:
            self.errors[key] = one_line(f"{type(error).__name__}: {error}", 300)


def _start(entry: LoggerEntry, index: int, info: RunInfo) -> Logger:
    """Return the logger of an entry."""
    settings = registry.checked_settings("logger", entry.type, entry.settings)
    cls = registry.lookup("logger", entry.type)
    try:
        logger: Logger = cls(info, **settings)
    except HwnasError:
        raise
    except Exception as error:
        raise InvalidInput(
            f"loggers[{index}]: {entry.type} cannot start: {type(error).__name__}: {error}; mend "
            f"this, or leave it out, and go on with: hwnas resume {info.folder}"
        ) from error
    return logger


def _key(entry: LoggerEntry) -> str:
    """Return a text by which a logger with the same settings is known again.

    >>> _key(LoggerEntry(type="wandb", project="mine"))
    'wandb {"project": "mine"}'
    """
    settings = json.dumps(entry.settings, sort_keys=True) if entry.settings else ""
    return f"{entry.type} {settings}".strip()


def _read_notes(file: Path) -> dict[str, Any]:
    """Return the notes of a run; new ones where they are missing or damaged."""
    with contextlib.suppress(OSError, ValueError, RecursionError, KeyError, TypeError):
        content = json.loads(read_bounded(file, _MAX_MB))
        logged = {
            str(key): {
                str(search): {name: int(note[name]) for name in _new_note()}
                for search, note in searches.items()
            }
            for key, searches in dict(content["logged"]).items()
        }
        return {"identity": uuid.UUID(content["identity"]).hex, "logged": logged}
    return {"identity": uuid.uuid4().hex, "logged": {}}


def _new_note() -> dict[str, int]:
    """Return the note of a search of which nothing is logged."""
    return {"trials": 0, "evaluations": 0, "losses": 0, "ended": -1}


def _news(
    result: Result, search: SearchResult, trajectory: Trajectory, note: dict[str, int]
) -> tuple[SearchUpdate, dict[str, int]]:
    """Return what a logger has not got yet, and the note once it has."""
    trials = _trials(result, search, note["trials"])
    steps = _steps(result, trajectory, note["evaluations"])
    losses = _losses(result.space, search.path / "measurements.jsonl")
    update = SearchUpdate(trials, steps, losses[note["losses"] :])
    after = {
        "trials": len(search.trials),
        "evaluations": steps[-1].evaluations if steps else note["evaluations"],
        "losses": len(losses),
        "ended": note["ended"],
    }
    return update, after


def _trials(result: Result, search: SearchResult, start: int) -> list[LoggedTrial]:
    """Return the trials of a search from a number on."""
    trials = search.trials[start:]
    names = [str(o.value) for o in (*result.objectives, *result.constraints)]
    architectures = result.space.decode(trials.codes)
    choices = _choices(result.space, trials.codes)
    return [
        LoggedTrial(start + i, str(arch), choices[i], _finite(names, row), status, float(seconds))
        for i, (arch, row, status, seconds) in enumerate(
            zip(architectures, trials.values, trials.status, trials.seconds, strict=True)
        )
    ]


def _steps(result: Result, trajectory: Trajectory, start: int) -> list[LoggedStep]:
    """Return the steps of a trajectory behind a number of evaluations."""
    columns = trajectory.columns()
    names = [name for name in columns if name not in ("evaluations", "cost", "seconds")]
    if result.reference.best is None:
        names.remove("normalised")  # relative to a front that still grows
    rows = np.column_stack([columns[name] for name in names])
    return [
        LoggedStep(int(n), _finite(names, row))
        for n, row in zip(trajectory.evaluations, rows, strict=True)
        if n > start
    ]


def _losses(space: SearchSpace, file: Path) -> list[LoggedLoss]:
    """Return the losses of all trainings that a search has recorded."""
    if not file.is_file():
        return []
    from hwnas.profiling import measurement_log  # needs torch, as what has written the file does

    losses = []
    for record in measurement_log.read(file):
        curve = record.get("curve") if isinstance(record, dict) else None
        if not isinstance(curve, list):
            continue
        arch = str(record["arch"])
        choices = _choices(space, space.encode([space.parse(arch)]))[0]
        losses += [LoggedLoss(arch, choices, int(k), loss, rate) for k, loss, rate in curve]
    return losses


def _choices(space: SearchSpace, codes: Any) -> list[dict[str, Any]]:
    """Return the active choices of codes (n, d) by the names of the columns."""
    per_layer = [*space.layers.values()] * len(space.layer_columns)
    values = [tuple(column) for column in (*space.choices.values(), *per_layer)]
    active = space.active(codes)
    return [
        {
            name: column[code]
            for name, column, code, is_active in zip(
                space.columns, values, row, is_row_active, strict=True
            )
            if is_active
        }
        for row, is_row_active in zip(codes.tolist(), active.tolist(), strict=True)
    ]


def _finite(names: Sequence[str], row: Any) -> dict[str, float]:
    """Return the finite values of a row by name."""
    pairs = zip(names, row.tolist(), strict=True)
    return {name: value for name, value in pairs if math.isfinite(value)}
