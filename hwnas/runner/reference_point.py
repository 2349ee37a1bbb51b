"""Reference points: fixed scales of the hypervolume, the same for every optimizer and seed.

An optimizer never sees them.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from hwnas import pareto
from hwnas.backends import metric_of
from hwnas.errors import InvalidInput, SearchFailed
from hwnas.experiment import Experiment
from hwnas.objectives import Objective, losses_of
from hwnas.problem import Problem
from hwnas.runner.evaluation_cache import EvaluationCache
from hwnas.runner.executors.choice import create_executor, is_parallel
from hwnas.runner.executors.interface import EvaluatorFactory, Executor
from hwnas.runner.failures import (
    ERROR_FILE,
    PROGRAMMING_ERRORS,
    Failure,
    FailureLog,
    RemoteError,
    is_bug,
)
from hwnas.runner.parallel_evaluation import evaluate_in_parallel
from hwnas.runner.storage import Store, Trials
from hwnas.typing import Array, Codes

Source = Literal["exact", "epsilon", "best known", "given", "measured"]

_SOURCES: dict[float | None, Source] = {0.0: "exact", None: "best known"}
FOLDER = "reference"  # of the architectures that are measured, in the directory of the run
_SAMPLE_SEED = (0, 1)
_N_SAMPLES = 8  # architectures measured beside the smallest and the largest one

_log = logging.getLogger("hwnas.runner")


@dataclass(frozen=True)
class Reference:
    """Scale and reference point of a problem's hypervolume, as losses.

    Attributes
    ----------
    source
        ``"exact"``: the exact front; ``"epsilon"``: a front that is exact up to `epsilon`;
        ``"best known"``: a front without proof; ``"given"``: the experiment; ``"measured"``: the
        smallest and the largest architecture, and cheap metrics of a few fixed ones.
    ideal, nadir : (m,)
        Minimum and maximum of each objective over the front or the measured architectures. Where
        the point is given and there is no front, the nadir is the point, and the ideal lies below
        it by its absolute value.
    point : (m,)
        Reference point.
    best
        Hypervolume of the backend's front, where it has one. The front itself, which can have a
        million members, stays with the backend. No search exceeds the hypervolume of an exact
        front; it may exceed that of another by a little.
    epsilon
        Epsilon of the backend's front, see `hwnas.fronts.Front`.
    """

    source: Source
    ideal: Array
    nadir: Array
    point: Array
    best: float | None = None
    epsilon: float | None = None

    def scaled(self, losses: Array) -> Array:
        """Scale losses so that the ideal is at 0 and the nadir at 1."""
        return (losses - self.ideal) / (self.nadir - self.ideal)

    def to_json(self) -> str:
        """Return a text from which `from_json` restores the same reference."""
        arrays = {key: getattr(self, key).tolist() for key in ("ideal", "nadir", "point")}
        plain = {"source": self.source, **arrays, "best": self.best, "epsilon": self.epsilon}
        return json.dumps(plain)

    @classmethod
    def from_json(cls, text: str, n_objectives: int, file: Path) -> Reference:
        """Restore a reference from the text of `to_json`.

        Parameters
        ----------
        text
            The text.
        n_objectives
            Number of objectives of its problem.
        file
            File that holds it, for error texts.

        Raises
        ------
        InvalidInput
            The text is another one.
        """
        try:
            plain = json.loads(text)
            keys = ("ideal", "nadir", "point")
            arrays = {key: np.array(plain[key], dtype=np.float64) for key in keys}
            if {array.shape for array in arrays.values()} != {(n_objectives,)}:
                raise ValueError(f"expected {n_objectives} numbers in each of {', '.join(keys)}")
            best, epsilon = plain["best"], plain.get("epsilon", 0.0)
            numbers = [None if number is None else float(number) for number in (best, epsilon)]
            return cls(plain["source"], **arrays, best=numbers[0], epsilon=numbers[1])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InvalidInput(f"{file}: its reference is damaged: {error!r:.200}") from error


def build_reference(experiment: Experiment, problem: Problem, folder: Path) -> Reference:
    """Build the reference of a problem.

    It is computed from the backend's front where there is one, and otherwise from a few
    architectures, which are measured here. A reference point of the experiment takes precedence;
    then nothing is measured.

    Parameters
    ----------
    experiment, problem
        Experiment and its problem.
    folder
        Directory of the run. Measurements on hardware are stored in ``reference`` there, to
        continue from after a kill, and the first error in ``error.txt``.

    Raises
    ------
    InvalidInput
        No architecture is feasible, or none could be measured.
    SearchFailed
        None could be measured because of a bug in the backend.
    """
    # 1. The backend's own front is the best scale there is.
    front = problem.truth.front(problem.objectives, problem.constraints)
    point_of_user = experiment.reference
    if front is not None:
        if len(front) == 0:
            bounds = ", ".join(map(str, problem.constraints))
            name = problem.space.name
            if not bounds:
                wanted = ", ".join(map(str, problem.objectives))
                raise InvalidInput(f"objectives: no architecture of {name} has finite {wanted}")
            raise InvalidInput(f"constraints: no architecture of {name} keeps {bounds}")
        ideal, nadir = _extent(front.losses, problem)
        # 10 % beyond the nadir, so that the extremes of the front count too.
        point = nadir + 0.1 * (nadir - ideal)
        if point_of_user is not None:
            point = _given_point(point_of_user, problem.objectives, ideal)
        best = pareto.hypervolume(front.losses, point)
        source = "given" if point_of_user is not None else _SOURCES.get(front.epsilon, "epsilon")
        return Reference(source, ideal, nadir, point, best, front.epsilon)
    # 2. Without a front the scale comes from the point of the user, or else from measurements.
    if point_of_user is not None:
        point = losses_of(problem.objectives, np.array([point_of_user], dtype=np.float64)).ravel()
        ideal = point - np.where(point == 0, 1.0, np.abs(point))
        _given_point(point_of_user, problem.objectives, ideal)
        return Reference("given", ideal, point, point)
    losses = _measure_losses(experiment, problem, folder)
    ideal, nadir = np.nanmin(losses, axis=0), np.nanmax(losses, axis=0)
    nadir = np.where(nadir > ideal, nadir, ideal + 1)
    return Reference("measured", ideal, nadir, nadir + 0.1 * (nadir - ideal))


def _given_point(values: list[float], objectives: tuple[Objective, ...], ideal: Array) -> Array:
    """Return a reference point as losses (m,), if hypervolumes up to it are finite."""
    point = losses_of(objectives, np.array([values], dtype=np.float64)).ravel()
    with np.errstate(over="ignore"):
        largest = np.prod(np.maximum(point - ideal, 0.0))
    if not np.isfinite(largest):
        raise InvalidInput(
            f"reference: expected a point up to which hypervolumes are finite, found {values}"
        )
    return point


def _extent(losses: Array, problem: Problem) -> tuple[Array, Array]:
    """Return ideal and nadir of a front; where they coincide, the worst of the space as nadir."""
    ideal, nadir = losses.min(axis=0), losses.max(axis=0)
    for j in np.flatnonzero(ideal == nadir):
        worst = problem.truth.front((_opposite(problem.objectives[j]),))
        nadir[j] = -worst.losses[0, 0] if worst is not None else ideal[j]
        if nadir[j] <= ideal[j]:
            nadir[j] = ideal[j] + 1  # the objective is constant
    return ideal, nadir


def _opposite(objective: Objective) -> Objective:
    return replace(objective, maximise=not objective.maximise)


def measured_references(problem: Problem, folder: Path) -> Trials | None:
    """Return the trials of the reference architectures that searches need not repeat.

    Parameters
    ----------
    problem
        Problem of the searches.
    folder
        Directory of the run.

    Returns
    -------
    Trials or None
        Successful trials of all objectives and constraints; None if there are none.
    """
    file = folder / FOLDER / "trials.db"
    if not problem.truth.on_hardware or not file.exists():
        return None
    with Store.open(file) as store:
        trials = store.trials()
    is_complete = trials.values.shape[1] == len(problem.measured)
    return trials if is_complete and trials.ok.any() else None


def _measure_losses(experiment: Experiment, problem: Problem, folder: Path) -> Array:
    """Return losses (k, m) of the smallest, the largest and other architectures, feasible or not.

    NaN where a metric of the others is expensive.
    """
    codes, n_corners = _reference_codes(problem)
    is_cheap = [not _is_expensive(problem, objective) for objective in problem.objectives]
    failures = FailureLog(folder, type(problem.truth))
    reason = ""
    try:
        with _executor(experiment, problem, folder) as executor:
            # A constraint without its bound is measured and stops nothing. The evaluators of an
            # executor have the bounds.
            plain = (
                () if executor else tuple(constraint.value for constraint in problem.constraints)
            )
            unbounded = replace(problem, backend=problem.truth, constraints=plain)
            count = len(codes) if all(is_cheap) else n_corners
            start = _announce(problem, count)
            trials = _measure(unbounded, codes[:count], folder / FOLDER, failures, executor)
            if trials.ok.sum() < 2 and count < len(codes):
                # An extreme may be too large to train; others show the scale then.
                count = len(codes)
                trials = _measure(unbounded, codes, folder / FOLDER, failures, executor)
            if trials.ok.any():
                values = trials.values[trials.ok, : len(is_cheap)]
                if any(is_cheap) and count < len(codes) and executor is None:
                    cheap = _measure_cheap(unbounded, codes[count:], is_cheap, folder, failures)
                    values = np.concatenate([values, cheap])
                _log.info("measured the references in %.0f s", time.perf_counter() - start)
                return np.asarray(losses_of(problem.objectives, values))
        reason = next((reason for reason in trials.reason if reason), "")
    except (*PROGRAMMING_ERRORS, RemoteError) as error:
        if error is not failures.first_error:  # raised by the log once all have failed
            raise
    first = failures.first_error
    if first is None:  # without one, values were missing
        raise InvalidInput(f"none of {count} architectures could be measured: {reason}")
    text = (
        f"none of {count} architectures could be measured: "
        f"{Failure.of(first, type(problem.truth))}; see {folder / ERROR_FILE}"
    )
    raise (SearchFailed if is_bug(first) else InvalidInput)(text) from first


def _measure_cheap(
    problem: Problem, codes: Codes, is_cheap: list[bool], folder: Path, failures: FailureLog
) -> Array:
    """Measure the cheap objectives alone; return values (k, m), NaN for the others."""
    cheap = tuple(o for o, flag in zip(problem.objectives, is_cheap, strict=True) if flag)
    part = replace(problem, objectives=cheap, constraints=())
    trials = _measure(part, codes, folder / FOLDER / "others", failures, None)
    values = np.full((int(trials.ok.sum()), len(is_cheap)), np.nan)
    values[:, is_cheap] = trials.values[trials.ok]
    return values


def _reference_codes(problem: Problem) -> tuple[Codes, int]:
    """Return distinct codes, and how many extremes of the space are the first of them."""
    space = problem.space
    # `canonical` clips codes, so the greatest index of every column is its last choice.
    corners = space.canonical(np.stack([np.zeros_like(space.cardinalities), space.cardinalities]))
    # Optimizers draw from the generator of their own seed: this one is of none of them.
    samples = space.sample(_N_SAMPLES, np.random.default_rng(_SAMPLE_SEED))
    codes = np.concatenate([corners, samples])
    _, first = np.unique(codes, axis=0, return_index=True)
    return codes[np.sort(first)], int((first < len(corners)).sum())


def _is_expensive(problem: Problem, objective: Objective) -> bool:
    return metric_of(problem.truth, objective).cost == "expensive"


def _announce(problem: Problem, count: int) -> float:
    """Say which measurements come before the searches; return the time of their start."""
    if problem.truth.on_hardware:
        _log.info(
            "measuring %d architectures for the reference point; searches that propose them reuse "
            "their values; with reference: in the experiment nothing is measured",
            count,
        )
    return time.perf_counter()


def _executor(
    experiment: Experiment, problem: Problem, folder: Path
) -> AbstractContextManager[Executor | None]:
    """Return the executor of the experiment; ``None`` where this process measures.

    An evaluation that hangs or ends its process is then one of a worker, as in the search.
    """
    entry = experiment.executor
    if entry is None or not is_parallel(entry) or problem.truth is not problem.backend:
        return nullcontext()
    return create_executor(entry, EvaluatorFactory(experiment, folder / FOLDER))


def _measure(
    problem: Problem, codes: Codes, folder: Path, failures: FailureLog, executor: Executor | None
) -> Trials:
    """Measure architectures; on hardware each is stored as soon as it is measured."""

    def trials_of(codes: Codes) -> Iterator[Trials]:
        if executor is not None:
            yield from evaluate_in_parallel(problem, codes, executor, failures)
            return
        # One by one on hardware, in one call of the backend elsewhere.
        cache, start = EvaluationCache(problem, 0, failures), time.perf_counter()
        size = 1 if problem.truth.on_hardware else len(codes)
        for i in range(0, len(codes), size):
            yield cache.evaluate(codes[i : i + size], None, i, start)

    if not problem.truth.on_hardware:
        return Trials.concatenate(list(trials_of(codes)))
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "trials.db"
    n_objectives = len(problem.objectives)
    names = [f"{'constraint ' * (j >= n_objectives)}{o}" for j, o in enumerate(problem.measured)]
    if file.exists():
        with Store.open(file) as store:
            trials = store.trials()
            failures.has_success = bool(trials.ok.any())
        # What prevented them all may have been mended; other columns are those of older versions.
        if not failures.has_success or trials.values.shape[1] != len(names):
            file.unlink()
    with Store.open(file) if file.exists() else Store.create(file, names, {}) as store:
        shared = None if executor is None else executor.folder
        problem.backend.on_start(shared or folder)
        for trial in trials_of(codes[len(store.trials()) :]):
            store.add(trial)
        problem.backend.on_end()
        return store.trials()
