"""The search loop: propose, evaluate, store, tell. A resumed search replays what is stored."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwnas.errors import HwnasError, InvalidInput, SpaceExhausted
from hwnas.experiment import Budget, Experiment, OptimizerEntry, run_plugin_files
from hwnas.files import locked
from hwnas.optimizers import Optimizer
from hwnas.problem import Problem, build_optimizer, build_problem
from hwnas.registry import lookup
from hwnas.runner.ask_and_tell import (
    continues_for_free,
    propose,
    tell_and_recommend,
)
from hwnas.runner.budget import BudgetTracker
from hwnas.runner.commit_groups import CommitGroups
from hwnas.runner.evaluation_cache import EvaluationCache
from hwnas.runner.executors import one_thread
from hwnas.runner.executors.choice import create_executor, is_parallel
from hwnas.runner.executors.interface import EvaluatorFactory, Executor, TrialEvaluator
from hwnas.runner.executors.serial import SerialExecutor
from hwnas.runner.failures import ERROR_FILE, Failure, FailureLog
from hwnas.runner.parallel_loop import ParallelLoop
from hwnas.runner.reference_point import Reference, measured_references
from hwnas.runner.replay import ReplayLog
from hwnas.runner.shared_start import with_shared_start
from hwnas.runner.stopping import StoppingRule
from hwnas.runner.storage import Store, Trials
from hwnas.runner.warm_start import WarmStart, load_warm_start

Report = Callable[[int], None]


@dataclass(frozen=True)
class SearchRun:
    """One optimizer with one seed: the unit that is run, stored and resumed.

    Attributes
    ----------
    experiment
        Experiment that it belongs to.
    entry
        The optimizer and its settings.
    seed
        Seed of the optimizer and of the trials' noise.
    path
        Directory that holds its ``trials.db``.
    reference
        Reference by which it will be judged; only stored here.
    warm_start
        File of prior trials, see `hwnas.runner.warm_start`.
    """

    experiment: Experiment
    entry: OptimizerEntry
    seed: int
    path: Path
    reference: Reference
    warm_start: Path | None = None

    @property
    def database(self) -> Path:
        """File of its trials."""
        return self.path / "trials.db"

    def __str__(self) -> str:
        return f"{self.entry.name} seed {self.seed}"


def ignore_progress(evaluations: int) -> None:
    """Ignore a report of progress."""


def attempt(
    run: SearchRun, report: Report = ignore_progress, problem: Problem | None = None
) -> Failure | None:
    """Run a search as `search` does; return what ended it early, if anything did.

    The traceback is kept in ``error.txt`` beside the trials.
    """
    try:
        search(run, report, problem)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a user's code may even call sys.exit
        failure = Failure.of(error, *_plugin_classes(run.experiment, run.entry))
        failure.write(run.path)
        # What the user can mend is no property of the trials.
        if failure.kind is None and run.database.exists():
            with contextlib.suppress(HwnasError), Store.open(run.database) as store:
                store.set_meta("error", str(failure))
        return failure
    return None


def search(
    run: SearchRun, report: Report = ignore_progress, problem: Problem | None = None
) -> None:
    """Run a search to the end of its budget, starting from the trials that it has.

    Parameters
    ----------
    run
        The search.
    report
        Called with the number of evaluations so far after every tell.
    problem
        Problem of the experiment; built here, in a worker process, if it is not given.
    """
    # A worker process starts without registered plugins and without a problem.
    if problem is None:
        run_plugin_files(run.experiment)
        problem = build_problem(run.experiment)
    prior = None if run.warm_start is None else load_warm_start(run.warm_start)
    run.path.mkdir(parents=True, exist_ok=True)
    with locked(run.path), _open_store(run, problem) as store:
        if "finished" in store.meta:  # a replay can take as long as the search did
            return
        optimizer = build_optimizer(run.entry, problem, seed=run.seed)
        optimizer = with_shared_start(optimizer, run.experiment, run.seed)
        # The backend may restore its own state before anything is replayed.
        problem.backend.on_start(run.path)
        _check_same_data(store, problem)
        statuses = store.statuses()
        if "failed" not in statuses:
            (run.path / ERROR_FILE).unlink(missing_ok=True)  # of an attempt that was mended
        failures = FailureLog(run.path, type(problem.backend), "ok" in statuses)
        with one_thread():  # of the libraries that the optimizer has loaded by now
            _run_loop(run, problem, optimizer, store, prior, report, failures)
            failures.raise_bug()
            diagnostics = optimizer.diagnostics()
            if isinstance(diagnostics, str):
                name = type(optimizer).__name__
                raise TypeError(f"{name}.diagnostics: expected a list of lines, found a text")
            if diagnostics:
                store.set_meta("notes", "\n".join(diagnostics))
            if notes := problem.backend.diagnostics():
                store.set_meta("backend_notes", "\n".join(notes))
        problem.backend.on_end()
        store.set_meta("finished", "true")


def _run_loop(
    run: SearchRun,
    problem: Problem,
    optimizer: Optimizer,
    store: Store,
    prior: WarmStart | None,
    report: Report,
    failures: FailureLog,
) -> None:
    """Run the loop that the executor of the experiment calls for."""
    budget, entry = run.experiment.budget, run.experiment.executor
    stopping = StoppingRule(
        problem,
        store,
        seed=run.seed,
        within=budget.within,
        reference=run.reference,
        label=str(run),
    )
    executor: Executor | None = None
    if entry is not None and is_parallel(entry):
        executor = create_executor(entry, EvaluatorFactory(run.experiment, run.path))
    elif store.asks(len(problem.space.columns)):  # begun with several at once
        executor = SerialExecutor(TrialEvaluator(problem))
    if executor is None:
        batch = run.entry.batch or optimizer.batch
        loop(
            problem,
            optimizer,
            budget,
            store,
            seed=run.seed,
            batch=batch,
            prior=prior,
            report=report,
            failures=failures,
            known=measured_references(problem, run.path.parents[1]),
            stopping=stopping,
        )
        return
    with executor:
        if executor.folder is not None:  # what evaluators keep is found, and removed, there
            problem.backend.on_start(executor.folder)
        ParallelLoop(
            problem,
            optimizer,
            budget,
            store,
            executor,
            seed=run.seed,
            batch=run.entry.batch,
            prior=prior,
            report=report,
            failures=failures,
            stopping=stopping,
        ).run()


def loop(
    problem: Problem,
    optimizer: Optimizer,
    budget: Budget,
    store: Store,
    *,
    seed: int,
    batch: int,
    prior: WarmStart | None = None,
    report: Report = ignore_progress,
    failures: FailureLog | None = None,
    known: Trials | None = None,
    stopping: StoppingRule | None = None,
) -> None:
    """Propose, evaluate, store and tell, until the budget or the space is spent.

    An ask whose trials are stored already is answered from the store. If the replayed proposal
    differs (on another machine, with another version of a library), the stored trials are told all
    the same, and the store notes from which trial on.

    Parameters
    ----------
    problem
        Problem to evaluate.
    optimizer
        Optimizer in its initial state.
    budget
        Limits of the search.
    store
        Store to which trials are committed before they are told.
    seed
        Seed of the trials' noise.
    batch
        Number of architectures to ask for at once.
    prior
        Trials that the optimizer is told before its first ask; they count for nothing else.
    report
        Called with the number of evaluations so far after every tell and, where trials are stored
        one by one, between them.
    failures
        Log that records the errors of the backend.
    known
        Trials measured before the search, see `hwnas.runner.evaluation_cache.EvaluationCache`.
    stopping
        Rule that ends the search once little is missing.
    """
    replay = ReplayLog(store.trials())
    tracker = BudgetTracker(budget, start=time.perf_counter() - replay.elapsed)
    cache = EvaluationCache(problem, seed, failures, known)
    # Prior trials inform the optimizer but are no part of the search.
    if prior is not None:
        prior.tell(optimizer, problem)
    groups = CommitGroups(problem.backend.on_hardware)
    for ask in itertools.count():
        # 1. Propose, if the budget allows.
        is_new = len(replay.trials(ask)) == 0
        if is_new and stopping is not None and stopping.reached:
            stopping.note_end()
            break
        if (
            (tracker.evaluations_left <= 0 and not continues_for_free(optimizer, problem))
            or (is_new and tracker.time_is_up())
            or tracker.cost_is_spent()
        ):
            break
        try:
            proposal = propose(optimizer, batch, tracker.evaluations_left, cache)
        except SpaceExhausted:
            if tracker.evaluations_left > 0:
                store.set_meta("exhausted", "true")
            break
        if proposal is None:
            break
        codes, fidelity = proposal
        if not replay.is_faithful(ask, codes) and "diverged" not in store.meta:
            store.set_meta("diverged", str(len(cache)))

        # 2. Evaluate what is not stored, and commit it.
        parts = [replay.trials(ask)]
        cache.add(parts[0])
        unstored = replay.unstored(ask, codes)
        evaluations, untold = 0, 0.0  # of the trials that the optimizer has not been told
        while len(unstored):
            group, unstored = np.split(unstored, [groups.size])
            evaluations += int(parts[-1].evaluations.sum())
            untold += float(parts[-1].seconds.sum())
            if len(parts) > 1 or len(parts[0]):
                report(tracker.evaluations + evaluations)
                # Groups of fast evaluations depend on timing, so they must not decide about cost.
                is_spent = groups.one_by_one and tracker.cost_is_spent(untold)
                if is_spent or tracker.time_is_up():
                    break
            with groups.timed(len(group)):
                parts.append(cache.evaluate(group, fidelity, ask, tracker.start))
            store.add(parts[-1])
            cache.add(parts[-1])

        # 3. Tell the optimizer; under noise ask for its recommendation at every checkpoint.
        trials = Trials.concatenate([part for part in parts if len(part)])
        tell_and_recommend(optimizer, problem, trials, tracker, store)
        report(tracker.evaluations)
        if stopping is not None:
            stopping.update(trials)
    # The final recommendation is the result of a noisy search.
    if problem.noisy and len(cache):
        store.recommend(len(cache), optimizer.recommend())


def _plugin_classes(experiment: Experiment, entry: OptimizerEntry) -> list[type]:
    """Return the classes of an optimizer and the backend; none that cannot be loaded."""
    classes: list[type] = []
    with contextlib.suppress(HwnasError):
        classes.append(lookup("optimizer", entry.type))
        classes.append(lookup("backend", experiment.backend.type))
    return classes


def _check_same_data(store: Store, problem: Problem) -> None:
    """Refuse to resume a search whose backend rests on other data than before."""
    data_hash = problem.truth.data_hash()
    if store.meta.setdefault("data", data_hash) != data_hash:
        raise InvalidInput(
            f"{store.path}: its trials rest on other data than there is now; put back the data, or "
            "begin anew with --out"
        )
    store.set_meta("data", data_hash)


def _open_store(run: SearchRun, problem: Problem) -> Store:
    """Open the store of a search, or create it."""
    if run.database.exists():
        return Store.open(run.database)
    return Store.create(
        run.database,
        [str(objective) for objective in problem.measured],
        {
            "experiment": run.experiment.to_yaml(),
            "optimizer": run.entry.name,
            "seed": str(run.seed),
            "reference": run.reference.to_json(),
        },
    )
