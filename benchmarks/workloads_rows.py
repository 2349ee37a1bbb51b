"""Rows of ``workloads.py``: one CSV for each space, one row for each network and piece."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from csv_rows import append_fields

FOLDER = Path(__file__).parent / "workloads"
# Batches of the forward pass, as HW-GPT-Bench has them for its three scales.
FORWARD_BATCH = {
    "gpt-s": 8, "gpt-s-wide": 8, "gpt-m": 4, "gpt-l": 1, "gpt-l-wide": 1, "gpt-xl": 1,
    "llama-s": 8, "llama-m": 4, "llama-l": 1,
}  # fmt: skip
SPACES = tuple(FORWARD_BATCH)
WITH_PERPLEXITY = ("gpt-s", "gpt-m", "gpt-l")  # spaces whose perplexity is published
# Devices that are made of rows of a card; the first one is the page's.
CARDS = {"NVIDIA H100 80GB HBM3": "h100-sxm", "NVIDIA H200": "h200-sxm"}
N_ANCHORS = 10
# Seconds of sampling at most: of one time, and of the window of one energy, in which a prefill and
# the steps after it are repeated.
TIME_SECONDS, ENERGY_SECONDS = 1.0, 3.0
TIMES = ("latency", "ttft.chat", "tpot.chat", "ttft.serve", "tpot.serve")
ENERGIES = ("energy", "energy_per_token.chat", "energy_per_token.serve")
FOUND_FOR, JUDGED_BY = "latency", "tpot.serve"  # the two fronts that are drawn and checked
# Index is the position in the sample; forward, chat and serve say what was asked for.
COLUMNS = (
    "arch", "index", "anchor", "piece", *TIMES, *ENERGIES, "imprecise", "failed", "forward",
    "chat", "serve", "card", "torch", "cuda", "driver", "date", "seconds",
)  # fmt: skip

Row = Mapping[str, str]
PAIRS_FILE = "pairs.txt"


class Pair(NamedTuple):
    """Two networks of a space, found for different metrics, of at most the first's perplexity."""

    space: str
    number: int
    first: str
    second: str


def write_pairs(file: Path, pairs: Iterable[Pair]) -> None:
    """Write pairs, one a line."""
    lines = [" ".join(map(str, pair)) for pair in pairs]
    file.write_text("\n".join([*lines, ""]), encoding="utf-8")


def read_pairs(file: Path) -> list[Pair]:
    """Return the pairs of a file."""
    words = [line.split() for line in file.read_text(encoding="utf-8").splitlines()]
    return [Pair(space, int(number), first, second) for space, number, first, second in words]


def read_rows(file: Path) -> list[dict[str, str]]:
    """Return the complete rows of a CSV, none if it does not exist.

    Raises
    ------
    ValueError
        The file has other columns.
    """
    if not file.exists():
        return []
    with file.open(newline="", encoding="utf-8") as lines:
        reader = csv.DictReader(lines)
        rows = list(reader)
    if tuple(reader.fieldnames or ()) != COLUMNS:
        raise ValueError(f"{file}: expected the columns {','.join(COLUMNS)}")
    # The end of a killed process may have cut its last row.
    return [row for row in rows if None not in row.values() and row["seconds"]]


def rows_of(space: str, folders: Iterable[Path]) -> list[dict[str, str]]:
    """Return the rows of a space in several folders, each folder once, equal rows once."""
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    for folder in dict.fromkeys(folder.resolve() for folder in folders):
        for row in read_rows(folder / f"{space}.csv"):
            rows[tuple(row.values())] = row
    return list(rows.values())


def append_row(file: Path, row: Mapping[str, object]) -> None:
    """Append a row to a CSV, as text that is `shown`."""
    append_fields(file, COLUMNS, {key: shown(value) for key, value in row.items()})


def merge(source: Path, target: Path) -> None:
    """Add the rows of one folder to those of another, where they are not there already."""
    for file in sorted(source.glob("*.csv")):
        stored_rows = {tuple(row.values()) for row in read_rows(target / file.name)}
        new = [row for row in read_rows(file) if tuple(row.values()) not in stored_rows]
        for row in new:
            append_row(target / file.name, row)
        print(f"{file.name}: {len(new)} rows added to {len(stored_rows)}")


def has_all(row: Row, metrics: Sequence[str]) -> bool:
    """Return whether a row has a value for each of the metrics."""
    return all(row[metric] for metric in metrics)


def shown(value: object) -> str:
    """Return a number with six digits, anything else as it is."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
