"""A CSV that grows by a row at a time and survives that its process is killed.

Beside it stand the records of a survey, the suffix ``.jsonl`` instead, which grow first.
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


class Sheet:
    """A CSV with one header and rows that are on the disk when `append` returns.

    Parameters
    ----------
    file
        Made with its header if it is not there. A last line that a killed process left unfinished
        is dropped from it.
    columns
        What its header is to be.

    Attributes
    ----------
    rows
        Its rows, each by column, as texts.

    Raises
    ------
    InvalidInput
        The file has another header, or a row with too many or too few cells.
    """

    def __init__(self, file: Path, columns: Sequence[str]) -> None:
        self.file, self.columns = file, list(columns)
        self.rows: list[dict[str, str]] = []
        header = _line(self.columns)
        whole = file.read_bytes() if file.exists() else b""
        if header.encode().startswith(whole):  # also a part of it, or nothing
            self._write(self.columns, "w")
            return
        finished = whole[: whole.rfind(b"\n") + 1]
        first, *rest = _cells(file, finished) or [[]]
        if first != self.columns:
            raise InvalidInput(f"{file}: line 1: expected {header.strip()}")
        for number, cells in enumerate(rest, start=2):
            if len(cells) != len(self.columns):
                raise InvalidInput(
                    f"{file}: line {number}: expected {len(self.columns)} cells, found {len(cells)}"
                )
        self.rows = [dict(zip(self.columns, cells, strict=True)) for cells in rest]
        if finished != whole:
            os.truncate(file, len(finished))

    def append(self, row: Mapping[str, object]) -> dict[str, str]:
        """Add a row; None and what is missing are empty cells, a text is brought to one line.

        Returns
        -------
        dict
            The row as it stands in the file.
        """
        texts = {name: _text(row.get(name)) for name in self.columns}
        self._write(list(texts.values()), "a")
        self.rows.append(texts)
        return texts

    def _write(self, cells: Sequence[str], mode: str) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with open(self.file, mode, encoding="utf-8", newline="") as stream:
            stream.write(_line(cells))
            stream.flush()
            os.fsync(stream.fileno())


def opened(file: Path, asked: Mapping[str, Any], header: Sequence[str]) -> Sheet:
    """The sheet of a survey, with whatever rows it has already, and the records beside it.

    The records' file begins with what was asked. Records without a row are dropped from it.

    Parameters
    ----------
    asked
        What must be the same for a survey to go on, as JSON has it.

    Raises
    ------
    InvalidInput
        Another survey stands there, or something else.
    """
    beside = file.with_suffix(".jsonl")
    found = measurement_log.read(beside) if beside.exists() else []
    if beside.exists() and not (found and isinstance(found[0], dict) and "asked" in found[0]):
        raise InvalidInput(f"{beside}: expected the records of a survey; give another --out")
    if file.exists() and not found:
        raise InvalidInput(f"{file} is there without {beside.name}; give another --out")
    there = found[0]["asked"] if found else asked
    differing = [
        f"{name} {there.get(name)}, not {asked.get(name)}"
        for name in {**asked, **there}
        if there.get(name) != asked.get(name)
    ]
    if differing:
        raise InvalidInput(
            f"{file} holds a survey with {'; '.join(differing)}; ask for what it has, or give "
            "another --out"
        )
    if not found:
        _write(beside, [{"asked": asked}])
        return Sheet(file, header)
    sheet = Sheet(file, header)
    n = len(sheet.rows)
    _write(beside, [found[0], *(record for record in found[1:] if record["number"] < n)])
    return sheet


def _cells(file: Path, content: bytes) -> list[list[str]]:
    try:
        return list(csv.reader(io.StringIO(content.decode("utf-8"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"{file}: expected a CSV: {error}") from None


def _line(cells: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def _text(value: object) -> str:
    return "" if value is None else " ".join(str(value).split())


def _write(file: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    with atomic_writer(file) as stream:
        stream.writelines(json.dumps(line).encode() + b"\n" for line in lines)
