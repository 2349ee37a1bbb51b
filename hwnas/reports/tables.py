"""Tables of a run."""

from __future__ import annotations

from hwnas.reports.style import names
from hwnas.results import Result


def overview(result: Result) -> tuple[list[str], list[list[str]]]:
    """A row for each optimizer: the mean over its seeds, and the range of the hypervolume.

    Returns
    -------
    header, rows
    """
    rows = []
    for optimizer in names([cell.optimizer for cell in result.cells]):
        of = [row for row in result.summary if row["optimizer"] == optimizer]
        hypervolumes = [row["normalised"] for row in of]
        mean = {
            key: sum(row[key] for row in of) / len(of)
            for key in ("evaluations", "igd_plus", "epsilon", "front_size", "seconds")
        }
        rows.append(
            [
                optimizer,
                str(len(of)),
                f"{mean['evaluations']:.0f}",
                f"{sum(hypervolumes) / len(of):.4f}",
                f"{min(hypervolumes):.4f} to {max(hypervolumes):.4f}",
                f"{mean['igd_plus']:.4f}",
                f"{mean['epsilon']:.4f}",
                f"{mean['front_size']:.0f}",
                f"{mean['seconds']:.2f}",
                ", ".join(names([row["status"] for row in of])),
            ]
        )
    header = [
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
    return header, rows
