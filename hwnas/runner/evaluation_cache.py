"""From proposals to trials: what is measured, with which noise seed, at which budget cost."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwnas.problem import Problem
from hwnas.runner.evaluation import measure
from hwnas.runner.failures import FailureLog
from hwnas.runner.storage import Trials
from hwnas.typing import Array, BoolArray, Codes, IntArray


@dataclass(frozen=True, slots=True)
class _Measurement:
    """The highest fidelity at which an architecture has been measured, and its values there."""

    fidelity: int
    repeat: int
    values: Array
    std: Array


@dataclass(frozen=True, slots=True)
class TrialPlan:
    """Evaluations of n architectures before they are made.

    Attributes
    ----------
    codes : (n, d) int8
    fidelity
        Fidelity of the measurements; ``None`` for plain ones.
    repeat : (n,)
        Number of earlier evaluations of the same code.
    seeds : (n,) uint64
        Noise seeds.
    continues : (n,) bool
        Whether a trial continues from a lower fidelity, so that only metrics that depend on the
        fidelity are measured.
    values, std : (n, q)
        Those of the lower fidelity; zeros where there is none.
    evaluations : (n,)
        Budget costs.
    """

    codes: Codes
    fidelity: int | None
    repeat: IntArray
    seeds: NDArray[np.uint64]
    continues: BoolArray
    values: Array
    std: Array
    evaluations: IntArray


class EvaluationCache:
    """State of earlier trials that the next ones of a search depend on.

    Parameters
    ----------
    problem
        Problem to evaluate.
    seed
        Seed of the run.
    failures
        Log that records the errors of the backend.
    known
        Trials measured before the search, whose values the first complete trials of their
        architectures take over.
    """

    def __init__(
        self,
        problem: Problem,
        seed: int,
        failures: FailureLog | None = None,
        known: Trials | None = None,
    ) -> None:
        self.problem = problem
        self.seed = seed
        self.failures = failures
        self._n_trials = 0
        self._n_evaluations: Counter[bytes] = Counter()  # of each code, not counting continuations
        self._measurements: dict[bytes, _Measurement] = {}  # of codes measured at a fidelity
        self._known: dict[bytes, Trials] = {}  # by code, one trial each
        if known is not None:
            for i in np.flatnonzero(known.ok).tolist():
                self._known[known.codes[i].tobytes()] = known[i : i + 1]

    def __len__(self) -> int:
        return self._n_trials

    def add(self, trials: Trials) -> None:
        """Record trials, new or stored."""
        self._n_trials += len(trials)
        for i, row in enumerate(trials.codes):
            key = row.tobytes()
            # Trials that run in parallel can end in any order.
            self._n_evaluations[key] = max(self._n_evaluations[key], int(trials.repeat[i]) + 1)
            if trials.fidelity[i] < 0:
                continue
            if trials.status[i] == "ok":
                self._measurements[key] = _Measurement(
                    int(trials.fidelity[i]),
                    int(trials.repeat[i]),
                    trials.values[i],
                    trials.std[i],
                )
            else:
                self._measurements.pop(key, None)

    def evaluations(self, codes: Codes, fidelity: int | None) -> IntArray:
        """Return the budget cost of each architecture in evaluations, (n,)."""
        return self._costs([self._continued_from(row, fidelity) for row in codes], fidelity)

    def _costs(self, earlier: list[_Measurement | None], fidelity: int | None) -> IntArray:
        if fidelity is None:
            return np.ones(len(earlier), dtype=np.int64)
        reached = [0 if measurement is None else measurement.fidelity for measurement in earlier]
        return np.array([self.problem.backend.evaluations(fidelity, r) for r in reached])

    def evaluate(self, codes: Codes, fidelity: int | None, ask: int, start: float) -> Trials:
        """Evaluate architectures.

        One that continues from a lower fidelity keeps its noise seed, and only metrics that depend
        on the fidelity are measured again.

        Parameters
        ----------
        codes : (n, d) int8
        fidelity
            One of the backend's; ``None`` for a plain evaluation.
        ask
            Number of the ask that proposed them.
        start
            Reading of `time.perf_counter` at which the search started.
        """
        n, measured = len(codes), self.problem.measured
        plan = self.plan(codes, fidelity)
        values, std, repeat, seeds = plan.values, plan.std, plan.repeat, plan.seeds

        # Two groups: new architectures with all metrics, continued ones with those that change.
        is_new = ~plan.continues
        all_columns = np.arange(len(measured))
        changing_columns = np.array(self.problem.fidelity_dependent, dtype=np.intp)
        status, reason, seconds = [""] * n, [""] * n, np.zeros(n)
        # Values that are known, such as those of the reference point, are not measured again.
        for i, trial in self._known_rows(plan).items():
            values[i], std[i], seconds[i] = trial.values[0], trial.std[0], trial.seconds[0]
            status[i], is_new[i] = "ok", False
        for rows, columns in (
            (np.flatnonzero(is_new), all_columns),
            (np.flatnonzero(plan.continues), changing_columns),
        ):
            if len(rows) == 0:
                continue
            answer = measure(
                self.problem.backend,
                codes[rows],
                [measured[j] for j in columns],
                seeds=seeds[rows],
                fidelity=fidelity,
                failures=self.failures,
            )
            block = np.ix_(rows, columns)
            values[block] = answer.values
            std[block] = 0.0 if answer.std is None else answer.std
            seconds[rows] = answer.seconds
            for i, word, text in zip(
                rows.tolist(), answer.status or (), answer.reasons or (), strict=True
            ):
                status[i], reason[i] = word, text
        return Trials(
            codes=codes,
            values=values,
            std=std,
            repeat=repeat,
            fidelity=np.full(n, -1 if fidelity is None else fidelity),
            evaluations=plan.evaluations,
            seconds=seconds,
            ask=np.full(n, ask),
            tells_before=np.full(n, ask),
            tell=np.full(n, ask),
            elapsed=np.full(n, time.perf_counter() - start),
            status=status,
            reason=reason,
        )

    def _known_rows(self, plan: TrialPlan) -> dict[int, Trials]:
        """Return the trials that the first complete trials of a plan take over, by row."""
        complete = (None, *(self.problem.backend.fidelities or ())[-1:])
        if not self._known or plan.fidelity not in complete:
            return {}
        rows = np.flatnonzero((plan.repeat == 0) & ~plan.continues).tolist()
        keys = {i: plan.codes[i].tobytes() for i in rows}
        return {i: self._known[key] for i, key in keys.items() if key in self._known}

    def plan(self, codes: Codes, fidelity: int | None) -> TrialPlan:
        """Return what evaluating architectures (n, d) now would be: repeats, seeds and costs."""
        earlier = [self._continued_from(row, fidelity) for row in codes]
        repeat = self._repeats(codes, earlier)
        values, std = np.zeros((2, len(codes), len(self.problem.measured)))
        for i, measurement in enumerate(earlier):
            if measurement:
                values[i], std[i] = measurement.values, measurement.std
        return TrialPlan(
            codes=codes,
            fidelity=fidelity,
            repeat=repeat,
            seeds=trial_seeds(self.seed, codes, repeat),
            continues=np.array([measurement is not None for measurement in earlier], dtype=bool),
            values=values,
            std=std,
            evaluations=self._costs(earlier, fidelity),
        )

    def reserve(self, plan: TrialPlan) -> None:
        """Count planned evaluations as made, so that further ones of their codes are repeats."""
        for row, repeat in zip(plan.codes, plan.repeat.tolist(), strict=True):
            key = row.tobytes()
            self._n_evaluations[key] = max(self._n_evaluations[key], repeat + 1)

    def _repeats(self, codes: Codes, earlier: list[_Measurement | None]) -> IntArray:
        """Return how often each code has been evaluated before, in this batch too, (n,)."""
        repeat = np.zeros(len(codes), dtype=np.int64)
        in_batch: Counter[bytes] = Counter()
        for i, (row, measurement) in enumerate(zip(codes, earlier, strict=True)):
            key = row.tobytes()
            anew = self._n_evaluations[key] + in_batch[key]
            repeat[i] = measurement.repeat if measurement else anew
            in_batch[key] += 1
        return repeat

    def _continued_from(self, code: Codes, fidelity: int | None) -> _Measurement | None:
        """Return the measurement at a lower fidelity that a new one continues from."""
        measurement = self._measurements.get(code.tobytes()) if fidelity is not None else None
        if measurement and fidelity and measurement.fidelity < fidelity:
            return measurement
        return None


def trial_seeds(seed: int, codes: Codes, repeats: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return a noise seed for each trial from the run's seed, the code and its repeat.

    So the noise of a trial depends neither on batches nor on workers, and is the same for every
    optimizer.

    Parameters
    ----------
    codes : (n, d) int8
    repeats : (n,)
        Number of earlier evaluations of the same code.

    Returns
    -------
    (n,) uint64
    """
    # Seed, repeat and code identify a trial; hashing spreads them over all 64 bits.
    prefix = hashlib.blake2b(str(seed).encode(), digest_size=8)
    seeds = np.empty(len(codes), dtype=np.uint64)
    for i, (row, repeat) in enumerate(zip(codes, repeats.tolist(), strict=True)):
        digest = prefix.copy()
        digest.update(b"%d:" % repeat)
        digest.update(row.tobytes())
        seeds[i] = int.from_bytes(digest.digest(), "little")
    return seeds
