"""The one loop: ask, evaluate, store, tell. Resuming is the same loop over stored trials."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwnas.backends import measure
from hwnas.errors import SpaceExhausted
from hwnas.executors import one_thread
from hwnas.experiments import Budget, Experiment, OptimizerEntry, Problem, optimizer_of, problem_of
from hwnas.objectives import losses_of, slacks_of
from hwnas.optimizers import Optimizer
from hwnas.references import Reference
from hwnas.spaces import Codes, SearchSpace
from hwnas.store import Store, Trials


@dataclass(frozen=True)
class Cell:
    """One optimizer with one seed: the unit that runs, is stored and is resumed.

    Attributes
    ----------
    experiment
        What it belongs to.
    entry
        The optimizer and its settings.
    seed
        The run's seed.
    path
        The directory that holds its ``trials.db``.
    reference
        What it will be judged by; only stored here.
    """

    experiment: Experiment
    entry: OptimizerEntry
    seed: int
    path: Path
    reference: Reference

    @property
    def database(self) -> Path:
        """Where its trials are."""
        return self.path / "trials.db"

    def __str__(self) -> str:
        return f"{self.entry.name} seed {self.seed}"


def search(cell: Cell, report: Callable[[int], None] = lambda done: None) -> None:
    """Run a cell to the end of its budget, going on from the trials that it has.

    Parameters
    ----------
    cell
        What to run.
    report
        Called after every tell with the number of evaluations so far.
    """
    problem = problem_of(cell.experiment)
    optimizer = optimizer_of(cell.experiment, cell.entry, problem, seed=cell.seed)
    with one_thread(), _store_of(cell, problem) as store:
        loop(
            problem,
            optimizer,
            cell.experiment.budget,
            store,
            seed=cell.seed,
            batch=cell.entry.batch or optimizer.batch,
            report=report,
        )
        store.note("finished", "true")


def loop(
    problem: Problem,
    optimizer: Optimizer,
    budget: Budget,
    store: Store,
    *,
    seed: int,
    batch: int,
    report: Callable[[int], None] = lambda done: None,
) -> None:
    """Ask, evaluate, store, tell, until the budget or the space is spent.

    An ask that the store has already is answered from it. Where the replayed proposal differs (on
    another machine, with another version of a library) the stored trials are told all the same,
    and the store keeps from which trial on.

    Parameters
    ----------
    problem
        What to evaluate.
    optimizer
        What proposes, fresh from its seed.
    budget
        When to end.
    store
        Where trials are committed before they are told.
    seed
        The run's seed, from which trials have theirs.
    batch
        How many networks to ask for at once.
    report
        Called after every tell with the number of evaluations so far.
    """
    past = store.trials()
    bounds = np.searchsorted(past.ask, np.arange(past.ask[-1] + 2 if len(past) else 1))
    began = time.perf_counter() - (past.elapsed[-1] if len(past) else 0.0)
    times_seen: Counter[bytes] = Counter()
    spent = trial = 0
    for ask in itertools.count():
        replaying = ask < len(bounds) - 1
        left = batch if budget.evaluations is None else min(batch, budget.evaluations - spent)
        seconds = past.elapsed[bounds[ask]] if replaying else time.perf_counter() - began
        if left <= 0 or (not replaying and seconds >= (budget.seconds or np.inf)):
            break
        try:
            codes = _checked(optimizer.ask(left), left, problem.space, optimizer)
        except SpaceExhausted:
            store.note("exhausted", "true")
            break
        if replaying:
            trials = past[bounds[ask] : bounds[ask + 1]]
            if not np.array_equal(codes, trials.codes) and "diverged" not in store.meta:
                store.note("diverged", str(trial))
        else:
            trials = _evaluated(problem, codes, ask, seed, times_seen, began)
            store.add(trials)
        times_seen.update(row.tobytes() for row in trials.codes)
        _tell(optimizer, problem, trials)
        spent += int(trials.evaluations.sum())
        trial += len(trials)
        report(spent)


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


def _store_of(cell: Cell, problem: Problem) -> Store:
    if cell.database.exists():
        return Store.open(cell.database)
    cell.path.mkdir(parents=True, exist_ok=True)
    return Store.create(
        cell.database,
        [str(objective) for objective in problem.measured],
        {
            "experiment": cell.experiment.to_yaml(),
            "optimizer": cell.entry.name,
            "seed": str(cell.seed),
            "reference": cell.reference.to_json(),
        },
    )


def _checked(codes: Codes, n: int, space: SearchSpace, optimizer: Optimizer) -> Codes:
    name = type(optimizer).__name__
    codes = np.ascontiguousarray(codes)
    if codes.ndim != 2 or not np.issubdtype(codes.dtype, np.integer):
        raise TypeError(f"{name}.ask: expected integer codes (k, d), found {codes!r}")
    if not 1 <= len(codes) <= n:
        raise ValueError(f"{name}.ask({n}): expected 1 to {n} codes, found {len(codes)}")
    if not (valid := space.is_valid(codes)).all():
        bad = codes[np.argmin(valid)].tolist()
        raise ValueError(f"{name}.ask: expected canonical codes of {space.name}, found {bad}")
    return codes.astype(np.int8)


def _evaluated(
    problem: Problem,
    codes: Codes,
    ask: int,
    seed: int,
    times_seen: Counter[bytes],
    began: float,
) -> Trials:
    n = len(codes)
    keys = [row.tobytes() for row in codes]
    within: Counter[bytes] = Counter()
    repeat = np.empty(n, dtype=np.int64)
    for i, key in enumerate(keys):
        repeat[i] = times_seen[key] + within[key]
        within[key] += 1
    answer = measure(
        problem.backend, codes, problem.measured, seeds=trial_seeds(seed, codes, repeat)
    )
    assert answer.status is not None
    assert answer.reasons is not None
    assert answer.seconds is not None
    return Trials(
        codes=codes,
        values=answer.values,
        std=np.zeros_like(answer.values) if answer.std is None else answer.std,
        repeat=repeat,
        fidelity=np.full(n, -1),
        evaluations=np.ones(n, dtype=np.int64),
        seconds=answer.seconds,
        ask=np.full(n, ask),
        tells_before=np.full(n, ask),
        tell=np.full(n, ask),
        elapsed=np.full(n, time.perf_counter() - began),
        status=answer.status,
        reason=answer.reasons,
    )


def _tell(optimizer: Optimizer, problem: Problem, trials: Trials) -> None:
    """Tell what was measured, and of what was not that it failed."""
    ok = trials.ok
    if ok.any():
        m = len(problem.objectives)
        optimizer.tell(
            trials.codes[ok],
            losses_of(problem.objectives, trials.values[ok, :m]),
            std=trials.std[ok, :m] if trials.std.any() else None,
            constraints=slacks_of(problem.constraints, trials.values[ok, m:])
            if problem.constraints
            else None,
        )
    for i in np.flatnonzero(~ok).tolist():
        optimizer.fail(trials.codes[i : i + 1], trials.reason[i] or trials.status[i])
