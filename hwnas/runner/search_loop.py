"""The one loop: ask, evaluate, store, tell. Resuming is the same loop over stored trials."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwnas.errors import InvalidInput, SpaceExhausted
from hwnas.experiment import (
    Budget,
    Experiment,
    OptimizerEntry,
    Problem,
    load_plugins,
    optimizer_of,
    problem_of,
)
from hwnas.objectives import constraint_violations, losses_of
from hwnas.optimizers import MultiFidelityOptimizer, Optimizer
from hwnas.runner.evaluation_cache import EvaluationCache
from hwnas.runner.executors import one_thread
from hwnas.runner.reference_point import Reference
from hwnas.runner.storage import Store, Trials
from hwnas.runner.warm_start import Known
from hwnas.spaces import Codes, SearchSpace
from hwnas.typing import Array

# Evaluations after which, under noise, an optimizer says what it recommends.
_CHECKPOINTS = np.unique(np.ceil(1.1 ** np.arange(250)))
_MOST_REFUSALS = 1000


@dataclass(frozen=True)
class SearchRun:
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
    warm_start
        What earlier runs measured, see `hwnas.runner.warm_start`.
    """

    experiment: Experiment
    entry: OptimizerEntry
    seed: int
    path: Path
    reference: Reference
    warm_start: Path | None = None

    @property
    def database(self) -> Path:
        """Where its trials are."""
        return self.path / "trials.db"

    def __str__(self) -> str:
        return f"{self.entry.name} seed {self.seed}"


def search(cell: SearchRun, report: Callable[[int], None] = lambda done: None) -> None:
    """Run a cell to the end of its budget, going on from the trials that it has.

    Parameters
    ----------
    cell
        What to run.
    report
        Called after every tell with the number of evaluations so far.
    """
    load_plugins(cell.experiment)  # in a worker, nothing is registered yet
    problem = problem_of(cell.experiment)
    known = None if cell.warm_start is None else Known.load(cell.warm_start)
    with _store_of(cell, problem) as store:
        if "finished" in store.meta:  # a replay can take as long as the search did
            return
        optimizer = optimizer_of(cell.experiment, cell.entry, problem, seed=cell.seed)
        problem.backend.on_start(cell.path)
        _same_data(store, problem)
        with one_thread():  # of the libraries that the optimizer has loaded by now
            loop(
                problem,
                optimizer,
                cell.experiment.budget,
                store,
                seed=cell.seed,
                batch=cell.entry.batch or optimizer.batch,
                known=known,
                report=report,
            )
            if notes := optimizer.diagnostics():
                store.note("notes", "\n".join(notes))
        problem.backend.on_end()
        store.note("finished", "true")


def loop(
    problem: Problem,
    optimizer: Optimizer,
    budget: Budget,
    store: Store,
    *,
    seed: int,
    batch: int,
    known: Known | None = None,
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
    known
        What the optimizer is told before it is asked; it counts for nothing else.
    report
        Called after every tell with the number of evaluations so far, and, where trials are stored
        one by one, between them.
    """
    past = store.trials()
    bounds = np.searchsorted(past.ask, np.arange(past.ask[-1] + 2 if len(past) else 1))
    began = time.perf_counter() - (past.elapsed[-1] if len(past) else 0.0)
    history = EvaluationCache(problem, seed)
    told, spent, cost = 0, 0, 0.0
    if known is not None and len(known.codes):
        _tell_values(optimizer, problem, known.codes, known.values, known.std)
    for ask in itertools.count():
        stored = past[bounds[ask] : bounds[ask + 1]] if ask < len(bounds) - 1 else past[:0]
        left = np.inf if budget.evaluations is None else budget.evaluations - spent
        late = not len(stored) and time.perf_counter() - began >= (budget.seconds or np.inf)
        if (left <= 0 and not _goes_on_free(optimizer, problem)) or late:
            break
        if cost >= (budget.cost or np.inf):
            break
        try:
            proposal = _proposal(optimizer, int(min(batch, left)) or batch, left, history)
        except SpaceExhausted:
            if left > 0:
                store.note("exhausted", "true")
            break
        if proposal is None:
            break
        codes, fidelity = proposal
        # A kill can leave a part of the last ask where trials are stored one by one.
        last = ask + 1 >= len(bounds) - 1
        same = len(stored) == 0 or np.array_equal(codes[: len(stored)], stored.codes)
        if not (same and (last or len(stored) == len(codes))) and "diverged" not in store.meta:
            store.note("diverged", str(len(history)))
        history.add(stored)
        rest = codes[len(stored) :] if same and last else codes[:0]
        parts = [stored]
        for some in _shares(rest, problem):
            if any(map(len, parts)):
                report(spent + sum(int(part.evaluations.sum()) for part in parts))
                took = sum(float(part.seconds.sum()) for part in parts)
                late = time.perf_counter() - began >= (budget.seconds or np.inf)
                if cost + took >= (budget.cost or np.inf) or late:
                    break
            parts.append(history.evaluated(some, fidelity, ask, began))
            store.add(parts[-1])
            history.add(parts[-1])
        trials = Trials.joined([part for part in parts if len(part)])
        for piece in _pieces(trials, spent) if problem.noisy else [trials]:
            _tell(optimizer, problem, piece)
            told += len(piece)
            spent += int(piece.evaluations.sum())
            cost += float(piece.seconds.sum())
            if problem.noisy and _is_checkpoint(spent, int(piece.evaluations[-1])):
                store.recommend(told, optimizer.recommend())
        report(spent)
    if problem.noisy and len(history):
        store.recommend(len(history), optimizer.recommend())


def _shares(codes: Codes, problem: Problem) -> list[Codes]:
    """What is measured and stored at once: all networks, or one where each takes its time."""
    if len(codes) == 0:
        return []
    return np.split(codes, len(codes)) if problem.backend.on_hardware else [codes]


def _goes_on_free(optimizer: Optimizer, problem: Problem) -> bool:
    """Whether networks can be measured better when no evaluations are left."""
    if not isinstance(optimizer, MultiFidelityOptimizer) or len(optimizer.fidelities) < 2:
        return False
    lowest, highest = optimizer.fidelities[0], optimizer.fidelities[-1]
    return problem.backend.evaluations(highest, lowest) == 0


def _same_data(store: Store, problem: Problem) -> None:
    """Trials of a search rest on the same data, also after a resume."""
    now = problem.truth.data_hash()
    if store.meta.setdefault("data", now) != now:
        raise InvalidInput(
            f"{store.path}: its trials rest on other data than there is now; put back the data, or "
            "begin anew with --out"
        )
    store.note("data", now)


def _store_of(cell: SearchRun, problem: Problem) -> Store:
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


def _proposal(
    optimizer: Optimizer, n: int, left: float, history: EvaluationCache
) -> tuple[Codes, int | None] | None:
    """What the optimizer asks for and at which fidelity; ``None`` once nothing fits the budget.

    What does not fit has failed for the optimizer, which may go on with something cheaper.
    """
    for _ in range(_MOST_REFUSALS if left > 0 else 1):
        asked = optimizer.ask(n)
        fidelity = None
        if isinstance(optimizer, MultiFidelityOptimizer):
            asked, fidelity = asked
            if fidelity not in optimizer.fidelities:
                name = type(optimizer).__name__
                expected = ", ".join(map(str, optimizer.fidelities))
                raise ValueError(f"{name}.ask: expected a fidelity of {expected}, found {fidelity}")
        codes = _checked(asked, n, optimizer.space, optimizer)
        if history.evaluations(codes, fidelity).sum() <= left:
            return codes, fidelity
        optimizer.fail(codes, "does not fit the budget")
    return None


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


def _pieces(trials: Trials, spent: int) -> Iterator[Trials]:
    """Trials cut after each checkpoint, so that a large batch is not recommended from at once."""
    total = spent + np.cumsum(trials.evaluations)
    crossed = np.searchsorted(_CHECKPOINTS, total, side="right")
    before = np.searchsorted(_CHECKPOINTS, spent, side="right")
    ends = np.flatnonzero(np.diff(crossed, prepend=before)) + 1
    start = 0
    for end in [*ends.tolist(), len(trials)]:
        if end > start:
            yield trials[start:end]
        start = end


def _is_checkpoint(spent: int, last: int) -> bool:
    """Whether the last trial, of so many evaluations, reached or passed a checkpoint."""
    reached = np.searchsorted(_CHECKPOINTS, [spent - last, spent], side="right")
    return bool(reached[0] < reached[1])


def _tell(optimizer: Optimizer, problem: Problem, trials: Trials) -> None:
    """Tell what was measured, and of what was not that it failed."""
    ok = trials.ok
    if ok.any():
        _tell_values(optimizer, problem, trials.codes[ok], trials.values[ok], trials.std[ok])
    m = len(problem.objectives)
    for i in np.flatnonzero(~ok).tolist():
        code = trials.codes[i : i + 1]
        if trials.status[i] == "infeasible" and problem.constraints:
            optimizer.tell_infeasible(
                code, constraint_violations(problem.constraints, trials.values[i : i + 1, m:])
            )
        else:
            optimizer.fail(code, trials.reason[i] or trials.status[i])


def _tell_values(
    optimizer: Optimizer, problem: Problem, codes: Codes, values: Array, std: Array
) -> None:
    """Tell raw values (k, q) of objectives and constraints, and their standard errors."""
    m = len(problem.objectives)
    optimizer.tell(
        codes,
        losses_of(problem.objectives, values[:, :m]),
        std=std[:, :m] if std.any() else None,
        constraints=constraint_violations(problem.constraints, values[:, m:])
        if problem.constraints
        else None,
    )
