"""CSV files of benchmarks that continue where they were stopped."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path


def read_rows(file: Path) -> list[list[str]]:
    """Return the rows of a file without its header; none if it does not exist."""
    if not file.exists():
        return []
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.reader(stream))[1:]


def append_row(file: Path, columns: Sequence[str], row: Sequence[object]) -> None:
    """Append a row at once, below a header of columns if the file is new."""
    is_new = not file.exists()
    with file.open("a", newline="", encoding="utf-8") as stream:
        csv.writer(stream, lineterminator="\n").writerows([columns, row] if is_new else [row])
