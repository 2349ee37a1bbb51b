"""Reproduction of a paper: run its experiments, draw its figures and write a page."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hwnas.errors import InvalidInput, UnknownName
from hwnas.files import write_text
from hwnas.reports.plots import style
from hwnas.reproductions import plan
from hwnas.reproductions.claims import check_claims
from hwnas.reproductions.figures import FIGURES, NEEDS
from hwnas.reproductions.page import render_page
from hwnas.reproductions.plan import PlannedExperiment, Progress
from hwnas.reproductions.results import ReproductionResults
from hwnas.runner.results import Result

PAPERS = ("hw-gpt-bench",)

Say = Callable[[str], None]


def describe_figures() -> list[list[str]]:
    """Return name and description of each figure."""
    return [[name, (draw.__doc__ or "").partition("\n")[0]] for name, draw in FIGURES.items()]


def reproduce(
    paper: str,
    out: Path | None = None,
    *,
    figures: Sequence[str] = (),
    quick: bool = False,
    run: bool = True,
    workers: int = 1,
    progress: Progress = lambda search, evaluations: None,
    say: Say = lambda line: None,
) -> Path:
    """Run the experiments of a paper, draw its figures and write a page of its claims.

    Complete experiments are not run again, so a reproduction that was stopped can be continued.

    Parameters
    ----------
    paper
        One of `PAPERS`.
    out
        The directory; ``runs/<paper>``, or ``runs/<paper>-quick``, by default.
    figures
        Names in `hwnas.reproductions.figures.FIGURES`, which are drawn with the experiments that
        they need; all by default.
    quick
        Run a selection that takes minutes.
    run
        Run the missing experiments; otherwise only existing results are drawn.
    workers
        Number of processes that run searches in parallel.
    progress
        Called with a search and its number of evaluations.
    say
        Called with lines that report the progress.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    UnknownName
        There is no such paper or figure.
    InvalidInput
        The directory holds other experiments, cannot be written, or has nothing to draw.
    """
    # 1. Refuse wrong arguments and directories before anything is written.
    _check_arguments(paper, figures, workers)
    names = list(figures) or list(FIGURES)
    kinds = {kind for name in names for kind in NEEDS.get(name, ())}
    planned = plan.planned_experiments(quick=quick)
    folder = out or Path("runs", f"{paper}-quick" if quick else paper)
    results = _load_results(planned, folder)
    pictures = folder / "figures"
    if not run and not results and not pictures.is_dir() and kinds:
        raise InvalidInput(f"{folder}: no reproduction is here yet; run it without --draw")
    try:
        pictures.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"{folder}: cannot write a reproduction here: {error}") from error
    # 2. Run the experiments that the requested figures need and that are not complete.
    if run:
        missing = [p for p in planned if p.kind in kinds and p not in results]
        results |= _run_experiments(missing, folder, workers, progress, say)
    # 3. Draw figures. The page shows all results, in the order of the plan, also those that the
    # requested figures do not need.
    reproduction = ReproductionResults(
        {p: results[p] for p in planned if p in results}, plan.scales(quick=quick)
    )
    _draw_figures(reproduction, names, pictures, say)
    # 4. Write the page, with the figures of earlier calls too.
    text = render_page(
        reproduction,
        check_claims(reproduction),
        _image_paths(pictures),
        quick=quick,
        missing=len(planned) - len(reproduction.results),
    )
    page = folder / "index.html"
    try:
        write_text(page, text)
    except OSError as error:
        raise InvalidInput(f"{folder}: cannot write the page here: {error}") from error
    return page


def _check_arguments(paper: str, figures: Sequence[str], workers: int) -> None:
    if paper not in PAPERS:
        raise UnknownName("paper", paper, PAPERS)
    for name in figures:
        if name not in FIGURES:
            raise UnknownName("figure", name, FIGURES)
    if workers < 1:
        raise InvalidInput(f"workers: expected at least 1, found {workers}")


def _load_results(
    planned: Sequence[PlannedExperiment], folder: Path
) -> dict[PlannedExperiment, Result]:
    """Return the results of the experiments that are complete."""
    # An experiment that another command has started and not finished counts as missing.
    results = {p: plan.load_complete(folder / "runs" / p.folder, p) for p in planned}
    return {p: result for p, result in results.items() if result is not None}


def _run_experiments(
    experiments: Sequence[PlannedExperiment],
    folder: Path,
    workers: int,
    progress: Progress,
    say: Say,
) -> dict[PlannedExperiment, Result]:
    """Run experiments one after the other, and report the remaining time after each."""
    results: dict[PlannedExperiment, Result] = {}
    if not experiments:
        return results
    searches = sum(len(p.experiment.optimizers) * len(p.experiment.seeds) for p in experiments)
    duration = plan.format_duration(plan.estimate_seconds(experiments, workers))
    say(
        f"{len(experiments)} experiments to run, {searches} searches: "
        f"about {duration} with {workers} worker{'s'[: workers > 1]}"
    )
    expected = elapsed = 0.0
    for i, planned in enumerate(experiments, start=1):
        start = time.monotonic()
        results[planned] = plan.run_or_resume(planned, folder, workers, progress)
        # Correct the estimate by the speed of this machine so far.
        elapsed += time.monotonic() - start
        expected += plan.estimate_seconds([planned], workers)
        remaining = elapsed / expected * plan.estimate_seconds(experiments[i:], workers)
        suffix = f"; about {plan.format_duration(remaining)} left" if experiments[i:] else ""
        say(f"{i} of {len(experiments)}: {planned.folder}{suffix}")
    return results


def _draw_figures(
    reproduction: ReproductionResults, names: Sequence[str], folder: Path, say: Say
) -> None:
    """Draw figures to files, in a folder for each name."""
    for name in names:
        start = time.monotonic()
        for title, figure in FIGURES[name](reproduction):
            (folder / name).mkdir(exist_ok=True)
            style.save(figure, folder / name / f"{title}.png")
        say(f"figure {name}: {time.monotonic() - start:.0f} s")


def _image_paths(folder: Path) -> Mapping[str, list[str]]:
    """Return the paths of all figures relative to the page, also of those of earlier calls."""
    return {
        name: [f"figures/{name}/{file.name}" for file in sorted((folder / name).glob("*.png"))]
        for name in FIGURES
    }
