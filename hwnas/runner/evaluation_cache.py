"""From proposals to trials: what is measured, with which luck, and what it counts for."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwnas.experiment import Problem
from hwnas.runner.evaluation import measure
from hwnas.runner.storage import Trials
from hwnas.spaces import Codes
from hwnas.typing import Array


@dataclass(frozen=True, slots=True)
class _Record:
    """How far a network has been measured."""

    fidelity: int
    repeat: int
    values: Array
    std: Array


class EvaluationCache:
    """The trials of one search so far, as far as the next ones depend on them.

    Parameters
    ----------
    problem
        What to evaluate.
    seed
        The run's seed.
    """

    def __init__(self, problem: Problem, seed: int) -> None:
        self.problem = problem
        self.seed = seed
        self._trials = 0
        self._times: Counter[bytes] = Counter()  # evaluated anew, by code
        self._records: dict[bytes, _Record] = {}  # only of networks with a fidelity

    def __len__(self) -> int:
        return self._trials

    def add(self, trials: Trials) -> None:
        """Take note of trials, new or stored."""
        self._trials += len(trials)
        for i, row in enumerate(trials.codes):
            key = row.tobytes()
            self._times[key] = int(trials.repeat[i]) + 1
            if trials.fidelity[i] < 0:
                continue
            if trials.status[i] == "ok":
                self._records[key] = _Record(
                    int(trials.fidelity[i]),
                    int(trials.repeat[i]),
                    trials.values[i],
                    trials.std[i],
                )
            else:
                self._records.pop(key, None)

    def evaluations(self, codes: Codes, fidelity: int | None) -> NDArray[np.int64]:
        """What measuring networks counts for in a budget, (n,)."""
        if fidelity is None:
            return np.ones(len(codes), dtype=np.int64)
        done = [0 if (r := self._record(row, fidelity)) is None else r.fidelity for row in codes]
        return np.array([self.problem.backend.evaluations(fidelity, d) for d in done])

    def evaluated(self, codes: Codes, fidelity: int | None, ask: int, began: float) -> Trials:
        """Measure networks.

        One that goes on from a lower fidelity keeps its luck, and only metrics that depend on the
        fidelity are measured again.

        Parameters
        ----------
        codes : (n, d) int8
        fidelity
            One of the backend's; ``None`` for a plain evaluation.
        ask
            Number of the ask that proposed them.
        began
            Clock reading at which the search began.
        """
        n, measured = len(codes), self.problem.measured
        records = [self._record(row, fidelity) for row in codes]
        repeat = np.zeros(n, dtype=np.int64)
        within: Counter[bytes] = Counter()
        for i, (row, record) in enumerate(zip(codes, records, strict=True)):
            key = row.tobytes()
            repeat[i] = record.repeat if record else self._times[key] + within[key]
            within[key] += 1
        seeds = trial_seeds(self.seed, codes, repeat)
        values, std = np.zeros((2, n, len(measured)))
        for i, record in enumerate(records):
            if record:
                values[i], std[i] = record.values, record.std
        new = np.array([record is None for record in records])
        every = np.arange(len(measured))
        changing = np.array(self.problem.fidelity_dependent, dtype=np.intp)
        status, reason, seconds = [""] * n, [""] * n, np.zeros(n)
        for rows, columns in ((np.flatnonzero(new), every), (np.flatnonzero(~new), changing)):
            if len(rows) == 0:
                continue
            wanted = [measured[j] for j in columns]
            answer = measure(
                self.problem.backend, codes[rows], wanted, seeds=seeds[rows], fidelity=fidelity
            )
            block = np.ix_(rows, columns)
            values[block] = answer.values
            std[block] = 0.0 if answer.std is None else answer.std
            seconds[rows] = answer.seconds
            for i, word, why in zip(
                rows.tolist(), answer.status or (), answer.reasons or (), strict=True
            ):
                status[i], reason[i] = word, why
        return Trials(
            codes=codes,
            values=values,
            std=std,
            repeat=repeat,
            fidelity=np.full(n, -1 if fidelity is None else fidelity),
            evaluations=self.evaluations(codes, fidelity),
            seconds=seconds,
            ask=np.full(n, ask),
            tells_before=np.full(n, ask),
            tell=np.full(n, ask),
            elapsed=np.full(n, time.perf_counter() - began),
            status=status,
            reason=reason,
        )

    def _record(self, code: Codes, fidelity: int | None) -> _Record | None:
        """What a measurement at this fidelity goes on from."""
        record = self._records.get(code.tobytes()) if fidelity is not None else None
        return record if record and fidelity and record.fidelity < fidelity else None


def trial_seeds(seed: int, codes: Codes, repeats: NDArray[np.int64]) -> NDArray[np.uint64]:
    """A seed for each trial from the run's seed, the network and how often it came before.

    So the luck of a trial depends neither on batches nor on workers, and every optimizer meets
    the same.

    Parameters
    ----------
    codes : (n, d) int8
    repeats : (n,)

    Returns
    -------
    (n,) uint64
    """
    prefix = hashlib.blake2b(str(seed).encode(), digest_size=8)
    seeds = np.empty(len(codes), dtype=np.uint64)
    for i, (row, repeat) in enumerate(zip(codes, repeats.tolist(), strict=True)):
        digest = prefix.copy()
        digest.update(b"%d:" % repeat)
        digest.update(row.tobytes())
        seeds[i] = int.from_bytes(digest.digest(), "little")
    return seeds
