"""Run and resume experiments: from a YAML to a directory of results, plots and a report."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwnas.errors import DrawingFailed, HwnasError, HwnasWarning, InvalidInput, SearchFailed
from hwnas.experiment import Experiment, override, run_plugin_files, validate_form
from hwnas.files import locked, write_text
from hwnas.foreign_code import refuse_cluster
from hwnas.problem import Problem, load_experiment
from hwnas.runner.completion import is_finished
from hwnas.runner.environment import (
    allowed_cluster,
    note_plugins,
    recorded_cluster,
    recorded_plugins,
    update_environment,
)
from hwnas.runner.executors.choice import check_executor
from hwnas.runner.extend_run import extend_run
from hwnas.runner.log_follower import followed
from hwnas.runner.preflight import reference_warnings, setup_warnings
from hwnas.runner.reference_point import Reference, build_reference
from hwnas.runner.results import Result
from hwnas.runner.run_directory import (
    describe_environment,
    new_directory,
    refuse_existing,
    refuse_running,
)
from hwnas.runner.run_files import search_databases
from hwnas.runner.run_searches import (
    Progress,
    collect_prior_trials,
    run_searches,
    write_results,
)
from hwnas.runner.search_loop import SearchRun
from hwnas.runner.storage import Store
from hwnas.runner.warm_start import FILE as WARM_START
from hwnas.runner.warm_start import load_warm_start
from hwnas.yaml_loader import read_yaml

if TYPE_CHECKING:
    from hwnas.profiling.language_model import LanguageModel

_log = logging.getLogger("hwnas.runner")


def ignore_progress(run: SearchRun, evaluations: int) -> None:
    """Ignore a report of progress."""


def run(
    source: str | Path | Mapping[str, Any] | Experiment,
    out: str | Path | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    workers: int = 1,
    progress: Progress = ignore_progress,
    plugins: Sequence[str | Path] = (),
    allow_plugins: bool = False,
    draw: bool = True,
    problem: Problem | None = None,
) -> Result:
    """Run an experiment and write its results to a directory.

    Parameters
    ----------
    source
        A YAML file, the name of an experiment that hwnas ships, or the content as a mapping.
    out
        Directory to create; ``runs/<name>`` by default.
    overrides
        Values by dotted path, ``{"budget.evaluations": 50}``.
    workers
        Number of processes that run searches side by side; the results do not depend on it.
    progress
        Called with a search and the number of its evaluations so far.
    plugins
        Python files that register optimizers or backends.
    allow_plugins
        Whether the plugin files that the experiment itself lists may run, and a Ray cluster that a
        YAML names may be joined.
    draw
        Whether to write ``plots/`` and ``report.html`` too.
    problem
        Problem of an `Experiment` that `hwnas.problem.load_experiment` has built already.

    Returns
    -------
    Result
        With `summary`, `fronts` and `path`.

    Raises
    ------
    ExperimentError
        The experiment is wrong, see `hwnas.problem.load_experiment`.
    InvalidInput
        The directory exists and is not empty.
    SearchFailed
        An optimizer raised an error; the other searches have run to their end.

    Examples
    --------
    >>> import hwnas, tempfile
    >>> experiment = {
    ...     "name": "example",
    ...     "space": "gpt-s",
    ...     "objectives": ["perplexity", "latency@h100"],
    ...     "optimizers": ["random"],
    ...     "budget": {"evaluations": 10},
    ...     "seeds": 1,
    ... }
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     result = hwnas.run(experiment, f"{folder}/example", draw=False)
    >>> result.summary[0]["evaluations"]
    10
    """
    _check_workers(workers)
    # Load once: everything below gets the experiment and its problem.
    if isinstance(source, Experiment) and problem is not None:
        experiment = source
    else:
        experiment, problem = load_experiment(
            source, overrides, plugins=plugins, allow_plugins=allow_plugins
        )
    path = Path("runs", experiment.name) if out is None else Path(out)
    refuse_existing(path, experiment)
    _check_workers(workers, problem)
    check_executor(experiment.executor, problem, workers)
    prior = collect_prior_trials(experiment, problem)
    lines = setup_warnings(experiment, problem, prior)
    with new_directory(path), locked(path):
        refuse_running(path)
        refuse_existing(path, experiment)  # another run may have started in between

        # 1. What can still be refused comes before the first file.
        reference = None
        if not problem.backend.on_hardware:
            reference = build_reference(experiment, problem, path)
            lines += reference_warnings(reference, problem.objectives)
        description = json.dumps(describe_environment(experiment, problem), indent=2) + "\n"
        for line in lines:
            warnings.warn(line, HwnasWarning, stacklevel=2)

        # 2. The files from which a killed run is resumed.
        write_text(path / "experiment.yaml", experiment.to_yaml())
        write_text(path / "environment.json", description)
        if prior is not None:
            prior.save(path / WARM_START)
            _log.info("warm start: %s", prior)

        # 3. Measurements and searches, which continue from their own files.
        if reference is None:
            reference = build_reference(experiment, problem, path)
            for line in reference_warnings(reference, problem.objectives):
                warnings.warn(line, HwnasWarning, stacklevel=2)
        return run_searches(
            path,
            experiment,
            problem,
            reference,
            workers=workers,
            progress=progress,
            on_results=_drawing(draw),
        )


def resume(
    path: str | Path,
    *,
    overrides: Mapping[str, Any] | None = None,
    workers: int = 1,
    progress: Progress = ignore_progress,
    allow_plugins: bool = False,
    draw: bool = True,
    problem: Problem | None = None,
) -> Result:
    """Resume a run that was stopped, or give more to one, stopped or finished.

    Its trials will be those of an uninterrupted run that had everything from the start. Where an
    optimizer does not allow that, a note of the summary says from which trial on they differ.

    Parameters
    ----------
    path
        Directory of the run.
    overrides
        What the run is given: a greater ``budget.evaluations``, ``budget.cost`` or
        ``budget.seconds``, and ``seeds``, ``optimizers`` and ``plugins`` that include those it has.
        They are written to its ``experiment.yaml``; a change that is made there by hand counts too.
    workers, progress, allow_plugins, draw
        As for `run`. A plugin file that the run was started with runs without leave as long as it
        is unchanged, and its cluster is joined; any other counts as listed by the experiment.
    problem
        Problem of the run, if it is built already.

    Raises
    ------
    InvalidInput
        The directory holds no run, is in use by another process, or a file in it is damaged; or
        what has changed is the problem, the settings of an optimizer with trials, or a limit of the
        budget to less than is spent.

    Examples
    --------
    >>> import hwnas, tempfile
    >>> experiment = {
    ...     "name": "example",
    ...     "space": "gpt-s",
    ...     "objectives": ["perplexity", "latency@h100"],
    ...     "optimizers": ["random"],
    ...     "budget": {"evaluations": 10},
    ...     "seeds": 1,
    ... }
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     result = hwnas.run(experiment, f"{folder}/example", draw=False)
    ...     more = {"budget.evaluations": 30, "seeds": 2}
    ...     result = hwnas.resume(result.path, overrides=more, draw=False)
    >>> [row["evaluations"] for row in result.summary]
    [30, 30]
    """
    _check_workers(workers)
    path = Path(path)
    if not (path / "experiment.yaml").is_file():
        raise InvalidInput(f"{path}: no experiment.yaml here, expected the directory of a run")
    file = path / "experiment.yaml"
    # A run that is finished needs nothing but its results: no plugin, no device.
    with locked(path):
        refuse_running(path)
        if not overrides and is_finished(path):
            result = Result(path, allow_plugins=allow_plugins, problem=problem)
            with followed(path, result.experiment):  # loggers may lack the end
                write_results(result)
                _drawing(draw)(result)
            return result
    if problem is not None:
        content = read_yaml(file)
        override(content, overrides or {})
        experiment = validate_form(content, str(file))
        if experiment.executor and not allow_plugins:
            settings, allowed = experiment.executor.settings, recorded_cluster(path)
            refuse_cluster(settings, str(file), overrides or {}, allowed)
    else:
        experiment, problem = load_experiment(
            file,
            overrides,
            allow_plugins=allow_plugins,
            allowed_hashes=recorded_plugins(path),
            allowed_address=recorded_cluster(path),
        )
    _check_workers(workers, problem)
    check_executor(experiment.executor, problem, workers)
    with locked(path):
        refuse_running(path)
        # A warm start is copied before the searches start, unless the run was killed earlier.
        is_copied = (path / WARM_START).exists()
        prior = (
            load_warm_start(path / WARM_START)
            if is_copied
            else collect_prior_trials(experiment, problem)
        )
        lines = setup_warnings(experiment, problem, prior)  # or a refusal, before anything changes
        if extend_run(path, experiment):
            for line in lines:
                warnings.warn(line, HwnasWarning, stacklevel=2)
        note_plugins(path, run_plugin_files(experiment))
        executor = experiment.executor
        update_environment(path, allowed_cluster(executor.settings if executor else {}))
        if prior is not None and not is_copied:
            prior.save(path / WARM_START)
            _log.info("warm start: %s", prior)
        reference = _stored_reference(path, len(problem.objectives))
        if reference is None:
            reference = build_reference(experiment, problem, path)
        return run_searches(
            path,
            experiment,
            problem,
            reference,
            workers=workers,
            progress=progress,
            on_results=_drawing(draw),
        )


def _drawing(draw: bool) -> Callable[[Result], None]:
    """Return a function that draws plots and the report of results, or does nothing."""
    return _draw if draw else lambda result: None


def _draw(result: Result) -> None:
    """Draw plots and the report; warn of what cannot be drawn, which costs no results."""

    # Matplotlib is loaded only for runs that are drawn, and may not load.
    def draw_plots() -> None:
        from hwnas.reports.plots.kinds import draw

        draw(result)

    def draw_report() -> None:
        from hwnas.reports.html.page import write_page

        write_page(result)

    missing: dict[str, str] = {}  # file and command that makes it
    reasons: dict[str, None] = {}
    for name, command, function in (
        ("plots", f"hwnas plot {result.path}", draw_plots),
        ("report.html", f"hwnas report {result.path}", draw_report),
    ):
        try:
            function()
        except Exception as error:
            missing[name] = command
            kind = "" if isinstance(error, HwnasError) else f"{type(error).__name__}: "
            reasons[kind + " ".join(str(error).split())] = None
    if missing:
        warnings.warn(
            f"{result.path}: {' and '.join(missing)} could not be written: {'; '.join(reasons)}; "
            f"the results are complete, try again with: {' and '.join(missing.values())}",
            DrawingFailed,
            stacklevel=2,
        )


def load(folder: str | Path, *, device: str = "cpu") -> LanguageModel:
    """Load a network that ``hwnas build`` or `hwnas.profiling.save_model` wrote.

    Parameters
    ----------
    folder
        Directory with ``config.json`` and ``model.safetensors``.
    device
        Device for its weights, such as ``"cuda"``.

    Returns
    -------
    LanguageModel
        A torch module of the architecture.

    Raises
    ------
    InvalidInput
        A file is missing, or was not written by hwnas. Pickles are never read.
    MissingExtra
        safetensors is not installed.

    Examples
    --------
    >>> import hwnas, tempfile
    >>> from hwnas.profiling import build_model, save_model
    >>> space = hwnas.space({"name": "tiny", "embed_dim": [16], "n_layer": [1], "mlp_ratio": [1],
    ...                      "n_head": [2], "head_size": 8, "context": 16, "vocab_size": 50})
    >>> model = build_model(space, space.parse("tiny-1-16-1-2-True"))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     hwnas.load(save_model(model, folder)).params == model.params
    True
    """
    from hwnas.profiling.export.safetensors import load_model  # needs torch

    return load_model(folder, device=device)


def _stored_reference(path: Path, n_objectives: int) -> Reference | None:
    """Return the reference that the stores of a run hold, if there are any."""
    reference = None
    for file in search_databases(path):
        with Store.open(file) as store:  # every one, so that a damaged one is named
            reference = Reference.from_json(store.meta["reference"], n_objectives, file)
    return reference


def _check_workers(workers: int, problem: Problem | None = None) -> None:
    if not isinstance(workers, int) or workers < 1:
        raise InvalidInput(f"workers: expected at least 1, found {workers!r}")
    backend = None if problem is None else problem.backend
    if workers > 1 and backend and backend.on_hardware and not backend.side_by_side:
        raise InvalidInput(
            f"workers: searches that measure on this machine would disturb each other, expected 1, "
            f"found {workers}"
        )


__all__ = ["Result", "SearchFailed", "load", "resume", "run"]
