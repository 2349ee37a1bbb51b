"""All searches of a run: from a locked directory to written results."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

from hwnas.errors import InvalidInput, SearchFailed
from hwnas.experiment import Experiment
from hwnas.files import unreadable
from hwnas.problem import Problem
from hwnas.runner.environment import note_divergence
from hwnas.runner.executors import run_all
from hwnas.runner.failures import ERROR_FILE, Failure
from hwnas.runner.log_follower import followed
from hwnas.runner.reference_point import Reference
from hwnas.runner.results import Result
from hwnas.runner.search_loop import SearchRun, attempt
from hwnas.runner.warm_start import FILE as WARM_START
from hwnas.runner.warm_start import WarmStart, collect

Progress = Callable[[SearchRun, int], None]


def run_searches(
    path: Path,
    experiment: Experiment,
    problem: Problem,
    reference: Reference,
    *,
    workers: int,
    progress: Progress,
    on_results: Callable[[Result], None],
) -> Result:
    """Run or resume every search of an experiment and write the results.

    Parameters
    ----------
    path
        Directory of the run.
    experiment, problem, reference
        Experiment, what it names, and what its searches are judged by.
    workers
        Number of processes; with more than one, each builds its own problem.
    progress
        Called with a search and the number of its evaluations so far.
    on_results
        Called with the results once they are written, also if some searches failed.

    Raises
    ------
    HwnasError
        A search was refused.
    SearchFailed
        An optimizer raised an error; the other searches have run to their end.
    """
    warm_start = path / WARM_START if experiment.warm_start else None
    runs = [
        SearchRun(
            experiment, entry, seed, path / entry.name / f"seed-{seed}", reference, warm_start
        )
        for entry in experiment.optimizers
        for seed in experiment.seeds
    ]
    in_this_process = workers == 1 or len(runs) == 1
    with followed(path, experiment):
        # 1. Run the searches. A worker process cannot be handed a problem: it builds its own.
        outcomes = run_all(
            functools.partial(attempt, problem=problem) if in_this_process else attempt,
            runs,
            workers=workers,
            progress=lambda i, evaluations: progress(runs[i], evaluations),
        )
        # 2. Collect what went wrong; a worker that died has left no failure of its own.
        failures: list[tuple[SearchRun, Failure]] = []
        for run, outcome in zip(runs, outcomes, strict=True):
            if isinstance(outcome, Exception):
                outcome = Failure.of(outcome)
                outcome.write(run.path)
            if isinstance(outcome, Failure):
                failures.append((run, outcome))
        # 3. Write the results of all searches, finished or not.
        if any(run.database.exists() for run in runs):
            result = Result(path, allow_plugins=True, problem=problem)
            write_results(result)
            diverged = {
                f"{s.optimizer}/seed-{s.seed}": int(s.meta["diverged"])
                for s in result.searches
                if "diverged" in s.meta
            }
            if diverged:
                note_divergence(path, diverged)
            on_results(result)
    # 4. Only then report a failure.
    if failures:
        _raise_failure(failures, len(runs))
    return result


def write_results(result: Result) -> None:
    """Write the tables of a run.

    Raises
    ------
    InvalidInput
        A file cannot be written, as on a full disk; the trials are not touched.
    """
    try:
        result.write()
    except OSError as error:
        raise InvalidInput(
            f"{result.path}: results cannot be written: {error.strerror or error}; the trials are "
            f"kept, write the results later with: hwnas resume {result.path}"
        ) from error


def collect_prior_trials(experiment: Experiment, problem: Problem) -> WarmStart | None:
    """Collect the trials of the experiment's warm start, if it has one.

    Raises
    ------
    InvalidInput
        Its directory holds no run that fits.
    """
    if experiment.warm_start is None:
        return None
    try:
        return collect(Path(experiment.warm_start), problem)
    except InvalidInput as error:
        raise InvalidInput(f"warm_start: {error}") from error
    except OSError as error:
        raise InvalidInput(f"warm_start: {unreadable(experiment.warm_start, error)}") from error


def _raise_failure(failures: list[tuple[SearchRun, Failure]], n_searches: int) -> None:
    """Raise the first failure that is nobody's input, or else the first."""
    bugs = [(run, failure) for run, failure in failures if failure.kind is None]
    run, failure = (bugs or failures)[0]
    if failure.kind is not None:
        raise failure.kind(failure.text)
    raise SearchFailed(
        f"{len(failures)} of {n_searches} searches failed, first {run} with {failure}; see "
        f"{run.path / ERROR_FILE}"
    )
