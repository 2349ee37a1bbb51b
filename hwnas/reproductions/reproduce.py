"""Reproduce a paper: run what is missing, draw its figures, write the page."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from hwnas.errors import InvalidInput, UnknownName
from hwnas.reports.plots import style
from hwnas.reproductions import page, plan
from hwnas.reproductions.claims import claims
from hwnas.reproductions.figures import FIGURES, NEEDS, Found
from hwnas.reproductions.plan import Part, Progress
from hwnas.runner.results import Result

PAPERS = ("hw-gpt-bench",)

Say = Callable[[str], None]


def described() -> list[list[str]]:
    """The figures, and what each shows."""
    return [[name, (draw.__doc__ or "").partition("\n")[0]] for name, draw in FIGURES.items()]


def reproduce(
    paper: str,
    out: Path | None = None,
    *,
    figures: Sequence[str] = (),
    quick: bool = False,
    run: bool = True,
    workers: int = 1,
    progress: Progress = lambda cell, evaluations: None,
    say: Say = lambda line: None,
) -> Path:
    """Run a paper's experiments again and draw its kinds of figures.

    What is there already is not run again, so a reproduction that was stopped goes on where it
    stood.

    Parameters
    ----------
    paper
        One of `PAPERS`.
    out
        The directory; ``runs/<paper>``, or ``runs/<paper>-quick``, by default.
    figures
        Which of `hwnas.reproductions.figures.FIGURES`, with the experiments they need; all by
        default.
    quick
        A selection that takes minutes.
    run
        Whether to run what is missing, or to draw what is there.
    workers
        How many processes run searches side by side.
    progress
        Called with a search and how many evaluations it has done.
    say
        Called with lines that tell how far it is.

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
    if paper not in PAPERS:
        raise UnknownName("paper", paper, PAPERS)
    for name in figures:
        if name not in FIGURES:
            raise UnknownName("figure", name, FIGURES)
    if workers < 1:
        raise InvalidInput(f"workers: expected at least 1, found {workers}")
    wanted = list(figures) or list(FIGURES)
    kinds = {kind for name in wanted for kind in NEEDS.get(name, ())}
    parts = plan.parts(quick=quick)
    folder = out or Path("runs", f"{paper}-quick" if quick else paper)
    there = {part: plan.complete(folder / "runs" / part.folder, part) for part in parts}
    results = {part: result for part, result in there.items() if result is not None}
    pictures = folder / "figures"
    if not run and not results and not pictures.is_dir() and kinds:
        raise InvalidInput(f"{folder}: no reproduction is here yet; run it without --draw")
    try:
        pictures.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"{folder}: nothing can be put here: {error}") from error
    if run:
        left = [part for part in parts if part.kind in kinds and part not in results]
        results |= _run(left, folder, workers, progress, say)
    found = Found({p: results[p] for p in parts if p in results}, plan.scales(quick=quick))
    for name in wanted:
        began = time.monotonic()
        for title, made in FIGURES[name](found):
            (pictures / name).mkdir(exist_ok=True)
            style.save(made, pictures / name / f"{title}.png")
        say(f"figure {name}: {time.monotonic() - began:.0f} s")
    images = {  # also of earlier
        name: [f"figures/{name}/{file.name}" for file in sorted((pictures / name).glob("*.png"))]
        for name in FIGURES
    }
    took = sum(
        float(cell.trials.elapsed[-1])
        for result in found.results.values()
        for cell in result.cells
        if len(cell.trials)
    )
    text = page.page(
        found,
        claims(found),
        images,
        quick=quick,
        missing=len(parts) - len(found.results),
        took=took,
    )
    try:
        draft = folder / "index.html.part"
        draft.write_text(text, encoding="utf-8")
        return draft.replace(folder / "index.html")
    except OSError as error:
        raise InvalidInput(f"{folder}: no page can be put here: {error}") from error


def _run(
    left: Sequence[Part], folder: Path, workers: int, progress: Progress, say: Say
) -> dict[Part, Result]:
    """Run experiments one after the other, and tell how long the rest takes."""
    results: dict[Part, Result] = {}
    if not left:
        return results
    searches = sum(len(p.experiment.optimizers) * len(p.experiment.seeds) for p in left)
    about = plan.told(plan.seconds(left, workers))
    say(
        f"{len(left)} experiments to run, {searches} searches: "
        f"about {about} with {workers} worker{'s'[: workers > 1]}"
    )
    expected = spent = 0.0
    for i, part in enumerate(left, start=1):
        began = time.monotonic()
        results[part] = plan.completed(part, folder, workers, progress)
        spent += time.monotonic() - began
        expected += plan.seconds([part], workers)
        rest = plan.told(spent / expected * plan.seconds(left[i:], workers))
        say(f"{i} of {len(left)}: {part.folder}" + (f"; about {rest} left" if left[i:] else ""))
    return results
