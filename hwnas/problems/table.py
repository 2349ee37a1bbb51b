"""The backend ``table``, which looks configurations up in a CSV file, and the space of its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.backends import Backend, Evaluation, Status, closed_form_values, is_closed_form
from hwnas.errors import InvalidInput
from hwnas.fronts import Front
from hwnas.objectives import Metric, Objective, constraint_violations
from hwnas.problems.csv_table import CsvTable, parse_value, read_csv
from hwnas.spaces import SearchSpace
from hwnas.spaces.choices import Value
from hwnas.typing import Array, Codes, IndexArray


class TableSpace(SearchSpace):
    """Search space of the values in some columns of a CSV file.

    Numbers are increasing choices, ``true`` and ``false`` are bools, everything else is a text. The
    space has all combinations of the values; those without a row cannot be evaluated.

    Parameters
    ----------
    name
        Name of the space.
    file
        The file: a line of names, then rows, with commas between columns.
    choices
        Names of the columns that are choices; the others can be metrics.

    Raises
    ------
    InvalidInput
        The file cannot be read, or a column is missing or has more than 127 values.
    """

    def __init__(self, name: str, *, file: str, choices: list[str]) -> None:
        table = read_csv(Path(file))
        if not isinstance(choices, list | tuple) or not choices:
            raise InvalidInput(
                f"choices: expected the names of the columns that are choices, of "
                f"{', '.join(table.columns)}, found {choices!r}"
            )
        self.table = table
        try:
            super().__init__(name, {column: table.values(column) for column in choices})
        except InvalidInput as error:
            raise InvalidInput(f"{file}: {error}") from None

    def to_dict(self) -> dict[str, Any]:
        """Return what `hwnas.space` makes the same space of."""
        return {
            "family": "table",
            "name": self.name,
            "file": str(self.table.path),
            "choices": list(self.choices),
        }


class Table(Backend):
    """Backend that looks configurations up in a CSV file of measured ones.

    The file has a column for each column of the space, with the value of the choice or an empty
    cell where a configuration has none, and columns of numbers, which are the metrics; a name such
    as ``latency@h100`` has a device. A configuration without a row is a failed trial, and so is one
    whose value is NaN or empty. Fronts are exact.

    Parameters
    ----------
    file
        The file; by default that of a space of the family ``table``. In a YAML relative to it.
    units
        Units of metrics by name.

    Raises
    ------
    InvalidInput
        The file cannot be read, lacks a column of the space, has no row of it, or two of the same
        configuration.
    """

    def __init__(
        self, space: SearchSpace, *, file: str | None = None, units: dict[str, str] | None = None
    ) -> None:
        super().__init__(space)
        self.table = _table_of(space, file)
        columns = self.table.columns
        for column in space.columns:
            if column not in columns:
                raise InvalidInput(
                    f"{self.table.path}: expected a column for each of {', '.join(space.columns)}, "
                    f"found none for {column}"
                )
        metrics = [column for column in columns if column not in space.columns]
        numbers = self.table.numbers
        self.metrics = {
            name: Metric((units or {}).get(name, ""), "free") for name in metrics if name in numbers
        }
        # Columns of texts are no metrics; a metric that is asked for may have a misspelled number.
        self.missing = {
            name: f"{self.table.path}, line {line} has {cell!r}"
            for name in metrics
            if name not in numbers
            for line, cell in [self.table.first_text(name)]
        }
        self._codes, self._rows = _codes_of(self.table, space)  # in the order of the file
        self._row_of = _row_by_code(self.table, self._codes, self._rows)
        if len(self._rows) == 0:
            raise InvalidInput(f"{self.table.path}: no row is a configuration of {space.name}")

    def evaluate(
        self,
        codes: Codes,
        objectives: Sequence[Objective],
        *,
        seeds: NDArray[np.uint64],
        fidelity: int | None = None,
    ) -> Evaluation:
        """Look configurations up; see `hwnas.Backend`."""
        rows = np.array([self._row_of.get(code.tobytes(), -1) for code in codes], dtype=np.intp)
        columns = [self.table.numbers[objective.key] for objective in objectives]
        values = np.stack([column[rows] for column in columns], axis=1)
        values[rows < 0] = np.nan
        status: list[Status] = ["ok"] * len(codes)
        reasons = [""] * len(codes)
        for i in np.flatnonzero(~np.isfinite(values).all(axis=1)).tolist():
            status[i] = "failed"
            reasons[i] = self._reason(int(rows[i]), values[i], objectives)
        return Evaluation(values, None, status, None, reasons)

    def front(
        self, objectives: Sequence[Objective], constraints: Sequence[Objective] = ()
    ) -> Front:
        """Return the exact front of the rows whose values are all finite."""
        columns = [self._column(objective) for objective in (*objectives, *constraints)]
        values = np.stack(columns, axis=1)
        m = len(objectives)
        feasible = constraint_violations(tuple(constraints), values[:, m:]) <= 0
        mask = np.flatnonzero(np.isfinite(values).all(axis=1) & feasible.all(axis=1))
        return Front.of(self._codes[mask], values[mask, :m], tuple(objectives))

    def data_hash(self) -> str:
        """Return the SHA-256 of the file."""
        return self.table.sha256

    def _column(self, objective: Objective) -> Array:
        """Return an objective of all rows (n,); over several devices the worst ratio."""
        if is_closed_form(self.space, objective):
            return closed_form_values(self, objective, self._codes)
        columns = [self.table.numbers[key][self._rows] for key in objective.keys]
        if len(columns) == 1:
            return columns[0]
        # The smallest value of each device is that of the whole table.
        scales = [1 / column[np.isfinite(column)].min() for column in columns]
        ratios = [column * scale for column, scale in zip(columns, scales, strict=True)]
        return np.asarray(np.max(ratios, axis=0))

    def _reason(self, row: int, values: Array, objectives: Sequence[Objective]) -> str:
        """Return why a configuration has no values."""
        if row < 0:
            return f"{self.table.path} has no row of this configuration"
        names = [
            o.key for o, value in zip(objectives, values, strict=True) if not np.isfinite(value)
        ]
        return f"{self.table.path}, line {self.table.lines[row]}: no finite {', '.join(names)}"


def _table_of(space: SearchSpace, file: str | None) -> CsvTable:
    """Return the table of a file, or that of its space, which is not read again."""
    table = getattr(space, "table", None)
    if isinstance(table, CsvTable) and (file is None or Path(file) == table.path):
        return table
    if file is None:
        raise InvalidInput("file: expected a CSV file, because the space is not of family table")
    return read_csv(Path(file))


def _codes_of(table: CsvTable, space: SearchSpace) -> tuple[Codes, IndexArray]:
    """Return the codes (n, d) of the rows that are configurations of a space, and their indices.

    A row with a value that the space does not offer is left out.
    """
    choices = _choices_by_column(space)
    codes = np.zeros((len(table.rows), len(space.columns)), dtype=np.int64)
    is_empty = np.zeros(codes.shape, dtype=bool)
    for j, column in enumerate(space.columns):
        cells = table.cells(column)
        index: dict[str, int] = {"": 0}
        for cell in {*cells} - {""}:
            value = parse_value(cell, choices[column])
            index[cell] = -1 if value is None else choices[column].index(value)
        codes[:, j] = [index[cell] for cell in cells]
        is_empty[:, j] = [not cell for cell in cells]
    is_known = (codes >= 0).all(axis=1)
    canonical = space.canonical(np.maximum(codes, 0))
    rows = np.flatnonzero(is_known)
    # Only what does not exist may be left out.
    is_missing = is_empty[rows] & space.active(canonical[rows])
    if is_missing.any():
        i, j = np.argwhere(is_missing)[0].tolist()
        raise InvalidInput(
            f"{table.path}, line {table.lines[rows[i]]}: expected a value of {space.columns[j]}, "
            "found an empty cell"
        )
    return canonical[rows], rows


def _choices_by_column(space: SearchSpace) -> Mapping[str, tuple[Value, ...]]:
    """Return the values of each column of a space."""
    n_layers = len(space.layer_columns)
    layers = {
        f"{name}_{i}": values for i in range(n_layers) for name, values in space.layers.items()
    }
    return {**space.choices, **layers}


def _row_by_code(table: CsvTable, codes: Codes, rows: IndexArray) -> dict[bytes, int]:
    """Return the row of each code.

    Raises
    ------
    InvalidInput
        Two rows are of the same configuration.
    """
    row_of: dict[bytes, int] = {}
    for code, row in zip(codes, rows.tolist(), strict=True):
        key = code.tobytes()
        if key in row_of:
            first, second = table.lines[row_of[key]], table.lines[row]
            raise InvalidInput(
                f"{table.path}: lines {first} and {second} are of the same configuration; "
                "expected each once"
            )
        row_of[key] = row
    return row_of
