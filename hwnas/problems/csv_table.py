"""CSV files with named columns: reading them, and faults that a user can mend."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from hwnas.errors import InvalidInput, UnknownName
from hwnas.files import read_bounded, unreadable
from hwnas.spaces.choices import Value
from hwnas.typing import Array

MAX_MB = 256  # of a file; as Python objects it takes ten times as much
_SEPARATORS = {";": "a semicolon", "\t": "a tab", "|": "a bar", ":": "a colon", " ": "a blank"}
_END = "end"  # line behind the last one
_MAX_LENGTH = 1000  # characters of the value of a choice
_BOOLS = {"true": True, "false": False}


@dataclass(frozen=True)
class CsvTable:
    """Content of a CSV file, as texts.

    Attributes
    ----------
    path
        The file.
    columns
        Names of the columns.
    rows
        One list of cells for each row.
    lines
        Line of the file on which each row ends.
    sha256
        Hash of the file.
    """

    path: Path
    columns: tuple[str, ...]
    rows: list[list[str]]
    lines: list[int]
    sha256: str

    def cells(self, column: str) -> list[str]:
        """Return the cells of a column, top to bottom.

        Raises
        ------
        UnknownName
            There is no such column.
        """
        if column not in self.columns:
            raise UnknownName(f"column of {self.path}:", column, self.columns)
        j = self.columns.index(column)
        return [row[j] for row in self.rows]

    def values(self, column: str) -> tuple[Value, ...]:
        """Return the distinct values of a column: bools, numbers or texts; empty cells have none.

        Raises
        ------
        UnknownName
            There is no such column.
        InvalidInput
            A value is longer than any choice.
        """
        texts = [cell for cell in dict.fromkeys(self.cells(column)) if cell]
        if (longest := max(map(len, texts), default=0)) > _MAX_LENGTH:
            raise InvalidInput(
                f"{self.path}: column {column}: expected values of at most {_MAX_LENGTH} "
                f"characters, found one of {longest}"
            )
        if all(text.lower() in _BOOLS for text in texts):
            return tuple(dict.fromkeys(_BOOLS[text.lower()] for text in texts))
        if all(re.fullmatch(r"[+-]?\d+", text) for text in texts):
            return tuple(dict.fromkeys(map(int, texts)))
        numbers = [_number(text) for text in texts]
        if all(number is not None and math.isfinite(number) for number in numbers):
            return tuple(dict.fromkeys(number for number in numbers if number is not None))
        return tuple(texts)

    @cached_property
    def numbers(self) -> dict[str, Array]:
        """Columns (n,) whose cells are all numbers, NaN or empty, by name."""
        columns = {}
        for column in self.columns:
            numbers = [_number(cell) if cell else math.nan for cell in self.cells(column)]
            if None not in numbers:
                columns[column] = np.array(numbers, dtype=np.float64)
        return columns

    def first_text(self, column: str) -> tuple[int, str]:
        """Return line and cell of the first cell of a column that is no number."""
        cells = zip(self.lines, self.cells(column), strict=True)
        return next((line, cell) for line, cell in cells if cell and _number(cell) is None)


def read_csv(path: Path) -> CsvTable:
    """Read a CSV file: a line of names, then rows; cells are stripped of blanks.

    Raises
    ------
    InvalidInput
        The file cannot be read, is no UTF-8 text, has no rows or another separator, or a row has
        more or fewer cells than there are names.
    """
    try:
        content = read_bounded(path, MAX_MB)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise InvalidInput(unreadable(path, error)) from None
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"{path}: expected a CSV file, a text in UTF-8: {error.reason}"
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InvalidInput(f"{path}, line {line}: expected a text, found a NUL character")
    rows: list[list[str]] = []
    lines: list[int] = []
    reader = csv.reader(io.StringIO(f"{text}\n{_END}", newline=""), skipinitialspace=True)
    try:
        for row in reader:
            if row:
                rows.append([cell.strip() for cell in row])
                lines.append(reader.line_num)
    except csv.Error as error:
        raise InvalidInput(f"{path}, line {reader.line_num}: {error}") from None
    # A quote that is left open takes up all that follows it.
    if rows.pop() != [_END]:
        line = 1 + (lines[-2] if len(lines) > 1 else 0)
        raise InvalidInput(f"{path}, line {line}: a quote is open, expected another one")
    lines.pop()
    if len(rows) < 2:
        raise InvalidInput(f"{path}: expected a line of names and at least one row")
    names = rows[0]
    _check_names(path, names)
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(names):
            raise InvalidInput(
                f"{path}, line {line}: expected {len(names)} cells, as names, found {len(row)}"
            )
    sha256 = hashlib.sha256(content).hexdigest()
    return CsvTable(path, tuple(names), rows[1:], lines[1:], sha256)


def parse_value(text: str, choices: Sequence[Value]) -> Value | None:
    """Return the choice that a cell stands for; ``None`` if it is none of them.

    >>> parse_value("1e-2", (0.01, 0.1)), parse_value("True", (False, True)), parse_value("x", (1,))
    (0.01, True, None)
    """
    if isinstance(choices[0], str):
        value: Value | None = text
    elif isinstance(choices[0], bool):
        value = _BOOLS.get(text.lower())
    else:
        value = _number(text)
    return next((choice for choice in choices if choice == value), None)


def _check_names(path: Path, names: Sequence[str]) -> None:
    """Check that names of columns are distinct texts, separated by commas."""
    for separator, description in _SEPARATORS.items():
        if len(names) == 1 and separator in names[0]:
            raise InvalidInput(
                f"{path}: expected commas between columns, found {description} in the first line"
            )
    for name in names:
        if names.count(name) > 1:
            raise InvalidInput(f"{path}: expected distinct names of columns, found two {name!r}")
        if not name:
            raise InvalidInput(f"{path}: a column has no name in the first line")


def _number(text: str) -> float | None:
    try:
        return float(text) if "_" not in text else None
    except ValueError:
        return None
