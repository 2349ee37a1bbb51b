"""Summary of a run: a table with a row for each optimizer, and the notes of searches."""

from __future__ import annotations

from hwnas.reports.plots.style import unique_names
from hwnas.runner.results import Result

_HEADER = [
    "optimizer",
    "seeds",
    "evaluations",
    "normalised",
    "range",
    "igd_plus",
    "epsilon",
    "front_size",
    "seconds",
    "status",
]


def summary_table(result: Result) -> tuple[list[str], list[list[str]]]:
    """Return a row for each optimizer: means over seeds, and the range of the hypervolume.

    Returns
    -------
    header, rows
    """
    rows = []
    for optimizer in unique_names([search.optimizer for search in result.searches]):
        seeds = [row for row in result.summary if row["optimizer"] == optimizer]
        hypervolumes = [row["normalised"] for row in seeds]
        # Only the hypervolume also has its range: it is the headline of the table.
        mean = {
            key: sum(row[key] for row in seeds) / len(seeds)
            for key in ("evaluations", "igd_plus", "epsilon", "front_size", "seconds")
        }
        rows.append(
            [
                optimizer,
                str(len(seeds)),
                f"{mean['evaluations']:.0f}",
                f"{sum(hypervolumes) / len(seeds):.4f}",
                f"{min(hypervolumes):.4f} to {max(hypervolumes):.4f}",
                f"{mean['igd_plus']:.4f}",
                f"{mean['epsilon']:.4f}",
                f"{mean['front_size']:.0f}",
                f"{mean['seconds']:.2f}",
                ", ".join(unique_names([row["status"] for row in seeds])),
            ]
        )
    return list(_HEADER), rows


def search_notes(result: Result) -> list[str]:
    """Return the notes of all searches, one line each."""
    notes = []
    for search in result.searches:
        name = f"{search.optimizer} seed {search.seed}"
        notes += [f"{name}: {line}" for line in search.meta.get("notes", "").splitlines()]
        # Early stopping of infeasible evaluations is worth reporting only if it saved time.
        if saved := search.seconds_saved:
            stopped = search.trials.status.count("infeasible")
            notes.append(
                f"{name}: {stopped} evaluations stopped at a bound, about {saved:.0f} s saved"
            )
    return notes
