"""Pairs of networks of equal perplexity, and rows of their measurements, for ``confirmation.py``.

One CSV for each device: one row for each network and each way to decode it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from csv_rows import append_fields
from workloads_rows import FOLDER as PAIRS_FOLDER
from workloads_rows import FOUND_FOR, JUDGED_BY, PAIRS_FILE, Pair, read_pairs

FOLDER = Path(__file__).parent / "confirmation"
SPACES = ("gpt-s", "gpt-l")
PAIRS_OF_A_SPACE = 5
ROLES = (FOUND_FOR, JUDGED_BY)  # the metric for which the first and the second of a pair was found
COLUMNS = (
    "space", "pair", "role", "arch", "way", "tpot", "std", "workload", "failed", "card", "torch",
    "library", "date", "seconds",
)  # fmt: skip

Row = Mapping[str, str]


def chosen_pairs(file: Path = PAIRS_FOLDER / PAIRS_FILE) -> list[Pair]:
    """Return five pairs of different networks of each space, evenly spaced along the front.

    They come in turn from each space, so that a time limit cuts all spaces alike.
    """
    chosen: list[list[Pair]] = []
    for space in SPACES:
        pairs = [p for p in read_pairs(file) if p.space == space and p.first != p.second]
        last = len(pairs) - 1
        steps = PAIRS_OF_A_SPACE - 1
        chosen.append([pairs[(2 * k * last + steps) // (2 * steps)] for k in range(steps + 1)])
    return [pair for turn in zip(*chosen, strict=True) for pair in turn]


def read_rows(files: Iterable[Path]) -> list[dict[str, str]]:
    """Return the complete rows of CSVs, of those that exist."""
    rows = []
    for file in files:
        if file.exists():
            with file.open(newline="", encoding="utf-8") as lines:
                rows += [row for row in csv.DictReader(lines) if row["seconds"]]
    return rows


def append_row(file: Path, row: Mapping[str, object]) -> None:
    """Append a row to a CSV, with six digits of its numbers."""
    fields = {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()}
    append_fields(file, COLUMNS, fields)


def measured_ways(rows: Sequence[Row]) -> set[tuple[str, str]]:
    """Return the networks and ways of rows, failed ones too."""
    return {(row["arch"], row["way"]) for row in rows}
