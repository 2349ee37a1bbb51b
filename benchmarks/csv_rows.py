"""CSV files of benchmarks that continue where they were stopped."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path


def read_rows(file: Path) -> list[list[str]]:
    """Return the rows of a file without its header; none if it does not exist."""
    if not file.exists():
        return []
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.reader(stream))[1:]


def append_row(file: Path, columns: Sequence[str], row: Sequence[object]) -> None:
    """Append a row at once, below a header of columns if the file is new or empty."""
    file.parent.mkdir(parents=True, exist_ok=True)
    content = file.read_bytes() if file.exists() else b""
    with file.open("a", newline="", encoding="utf-8") as stream:
        if content and not content.endswith(b"\n"):  # a killed process has cut its last row
            stream.write("\n")
        csv.writer(stream, lineterminator="\n").writerows([row] if content else [columns, row])


def append_fields(file: Path, columns: Sequence[str], row: Mapping[str, object]) -> None:
    """Append a row of named fields, empty where it has none.

    Raises
    ------
    ValueError
        The row has a field that is no column.
    """
    if unknown_fields := row.keys() - set(columns):
        raise ValueError(
            f"{file}: expected the columns {','.join(columns)}, found {unknown_fields}"
        )
    append_row(file, columns, [row.get(column, "") for column in columns])
