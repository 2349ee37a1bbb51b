"""CSV file that grows by one row at a time and survives a killed process.

Next to the CSV file of a survey stands a file with its records, with the suffix ``.jsonl``. A
record is written before its row.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hwnas.errors import InvalidInput
from hwnas.files import atomic_writer
from hwnas.profiling import measurement_log


class CsvLog:
    """CSV file with one header, whose rows are on the disk when `append` returns.

    Parameters
    ----------
    file
        The file; created with its header if it does not exist. An incomplete last line, left by a
        killed process, is removed.
    columns
        Header of the file.

    Attributes
    ----------
    rows
        Rows of the file, each a dictionary from column to string.

    Raises
    ------
    InvalidInput
        The file has another header, or a row with a wrong number of cells.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     log = CsvLog(Path(folder) / "log.csv", ["number", "reason"])
    ...     log.append({"number": 1})
    {'number': '1', 'reason': ''}
    """

    def __init__(self, file: Path, columns: Sequence[str]) -> None:
        self.file, self.columns = file, list(columns)
        self.rows: list[dict[str, str]] = []
        header = _format_line(self.columns)
        content = file.read_bytes() if file.exists() else b""
        # The file is new, or the process was killed while it wrote the header.
        if header.encode().startswith(content):
            self._write(self.columns, "w")
            return
        # Every complete row ends in a line break; a cell never contains one, see `append`.
        complete_lines = content[: content.rfind(b"\n") + 1]
        first_line, *lines = _parse_cells(file, complete_lines) or [[]]
        if first_line != self.columns:
            raise InvalidInput(f"{file}: line 1: expected {header.strip()}")
        for number, cells in enumerate(lines, start=2):
            if len(cells) != len(self.columns):
                raise InvalidInput(
                    f"{file}: line {number}: expected {len(self.columns)} cells, found {len(cells)}"
                )
        self.rows = [dict(zip(self.columns, cells, strict=True)) for cells in lines]
        if complete_lines != content:
            os.truncate(file, len(complete_lines))

    def append(self, row: Mapping[str, object]) -> dict[str, str]:
        """Append a row.

        None and missing values become empty cells. White space in a string, including line breaks,
        becomes single spaces.

        Returns
        -------
        dict
            The row as it is in the file.
        """
        cells = {name: _format_cell(row.get(name)) for name in self.columns}
        self._write(list(cells.values()), "a")
        self.rows.append(cells)
        return cells

    def _write(self, cells: Sequence[str], mode: str) -> None:
        """Write one line and wait until it is on the disk."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with open(self.file, mode, encoding="utf-8", newline="") as stream:
            stream.write(_format_line(cells))
            stream.flush()
            os.fsync(stream.fileno())


def open_log(
    file: Path, settings: Mapping[str, Any], header: Sequence[str], *, optional: str = ""
) -> CsvLog:
    """Open the log of a new survey, or of one that is to be continued.

    The first line of the records' file contains the settings. Records without a row are removed.

    Parameters
    ----------
    file
        The CSV file. Its records have the same name with the suffix ``.jsonl``.
    settings
        Settings, as JSON has them, that must be equal for a survey to continue.
    header
        Columns of the CSV file.
    optional
        Column that a file of an earlier version may lack; it is then continued without.

    Raises
    ------
    InvalidInput
        The files belong to a survey with other settings, or are not files of a survey.
    """
    records_file = file.with_suffix(".jsonl")
    records = measurement_log.read(records_file) if records_file.exists() else []
    # Refuse files that no survey wrote before anything is changed.
    if records_file.exists() and not (
        records
        and all(isinstance(record, dict) for record in records)
        and isinstance(records[0].get("asked"), dict)
        and all(isinstance(record.get("number"), int) for record in records[1:])
    ):
        raise InvalidInput(
            f"{records_file}: expected the records of a survey; choose another with --out"
        )
    if file.exists() and not records:
        raise InvalidInput(
            f"{file}: is there without {records_file.name}; choose another with --out"
        )
    # Compare the settings of the existing survey, if there is one, with those given.
    stored = records[0]["asked"] if records else settings
    differences = [
        f"{name} {stored.get(name)}, not {settings.get(name)}"
        for name in {**settings, **stored}
        if stored.get(name) != settings.get(name)
    ]
    if differences:
        raise InvalidInput(
            f"{file} contains a survey with {'; '.join(differences)}; use its settings, or choose "
            "another with --out"
        )
    if not records:
        _write_records(records_file, [{"asked": settings}])
        return CsvLog(file, header)
    earlier = _format_line([column for column in header if column != optional])
    if file.exists() and file.read_bytes().startswith(earlier.encode()):
        header = [column for column in header if column != optional]
    log = CsvLog(file, header)
    # A process that was killed between a record and its row left a record too many.
    n_rows = len(log.rows)
    recorded_rows = (record for record in records[1:] if record["number"] < n_rows)
    _write_records(records_file, [records[0], *recorded_rows])
    return log


def _parse_cells(file: Path, content: bytes) -> list[list[str]]:
    """Return the cells of each line of a CSV file."""
    try:
        return list(csv.reader(io.StringIO(content.decode("utf-8"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"{file}: expected a CSV: {error}") from None


def _format_line(cells: Sequence[str]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerow(cells)
    return stream.getvalue()


def _format_cell(value: object) -> str:
    return "" if value is None else " ".join(str(value).split())


def _write_records(file: Path, records: Sequence[Mapping[str, Any]]) -> None:
    with atomic_writer(file) as stream:
        stream.writelines(json.dumps(record).encode() + b"\n" for record in records)
