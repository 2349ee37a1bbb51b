"""All searches of a run: from a locked directory to written results."""

from __future__ import annotations

import contextlib
import functools
import traceback
from collections.abc import Callable
from pathlib import Path

from hwnas.errors import HwnasError, InvalidInput, SearchFailed
from hwnas.experiment import Experiment
from hwnas.problem import Problem
from hwnas.runner.executors import run_all
from hwnas.runner.reference_point import Reference
from hwnas.runner.results import Result
from hwnas.runner.run_directory import note_divergence
from hwnas.runner.search_loop import SearchRun, search
from hwnas.runner.storage import Store
from hwnas.runner.warm_start import FILE as WARM_START
from hwnas.runner.warm_start import PriorTrials, collect

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
    # 1. Run the searches. A worker process cannot be handed a problem: it builds its own.
    errors = run_all(
        functools.partial(search, problem=problem) if in_this_process else search,
        runs,
        workers=workers,
        progress=lambda i, evaluations: progress(runs[i], evaluations),
    )
    # 2. Keep what went wrong beside the search.
    failures = [(run, error) for run, error in zip(runs, errors, strict=True) if error]
    for run, error in failures:
        _note_error(run, error)
    # 3. Write the results of all searches, finished or not.
    if any(run.database.exists() for run in runs):
        result = Result(path, allow_plugins=True, problem=problem)
        result.write()
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


def collect_prior_trials(experiment: Experiment, problem: Problem) -> PriorTrials | None:
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


def _note_error(run: SearchRun, error: BaseException) -> None:
    """Keep the traceback of a failed search in its directory."""
    run.path.mkdir(parents=True, exist_ok=True)
    text = "".join(traceback.format_exception(error))
    (run.path / "error.txt").write_text(text, encoding="utf-8")
    if isinstance(error, HwnasError) or not run.database.exists():
        return
    with contextlib.suppress(HwnasError), Store.open(run.database) as store:
        store.set_meta("error", f"{type(error).__name__}: {error}")


def _raise_failure(failures: list[tuple[SearchRun, BaseException]], n_searches: int) -> None:
    """Raise the first error that is nobody's input, or else the first."""
    faults = [failure for failure in failures if not isinstance(failure[1], HwnasError)]
    run, error = (faults or failures)[0]
    if isinstance(error, HwnasError):
        raise error
    raise SearchFailed(
        f"{len(failures)} of {n_searches} searches failed, first {run} with "
        f"{type(error).__name__}: {error}; see {run.path / 'error.txt'}"
    ) from error
