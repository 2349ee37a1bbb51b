"""Trials of runs as a CSV or a Parquet file, which grows with the run."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwnas.errors import InvalidInput, MissingExtra
from hwnas.exports.trial_columns import Columns, trial_columns, units
from hwnas.files import atomic_writer, write_csv
from hwnas.runner.results import Result


@dataclass(frozen=True, slots=True)
class Exported:
    """Numbers of trials at a place: in all, and of those the ones that an export added.

    >>> str(Exported("runs/x/trials.csv", 30, 10))
    'runs/x/trials.csv: 30 trials, 10 of them new'
    """

    place: str
    n_trials: int
    n_new: int

    def __str__(self) -> str:
        if self.n_new == 0:
            return f"{self.place}: {self.n_trials} trials, all there already"
        new = "" if self.n_new == self.n_trials else f", {self.n_new} of them new"
        return f"{self.place}: {self.n_trials} trials{new}"


def export_csv(results: Sequence[Result], file: Path) -> Exported:
    """Write the trials of runs as a CSV file.

    Parameters
    ----------
    results
        One run, or those of a sweep.
    file
        The file. One that holds an earlier export is replaced.

    Raises
    ------
    InvalidInput
        The file holds something else.
    """
    columns = trial_columns(results)
    n_old = 0
    if file.exists():
        n_old = _count_csv(file)
    write_csv(file, [*columns], zip(*columns.values(), strict=True))
    return _exported(file, columns, n_old)


def export_parquet(results: Sequence[Result], file: Path) -> Exported:
    """Write the trials of runs as a Parquet file, with the units of metrics in its schema.

    Parameters
    ----------
    results, file
        As for `export_csv`.

    Raises
    ------
    InvalidInput
        The file holds something else.
    MissingExtra
        pyarrow is not installed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtra("export --to parquet", "pyarrow", "parquet") from error
    columns = trial_columns(results)
    n_old = 0
    if file.exists():
        try:
            schema = parquet.read_schema(file)
            n_old = parquet.read_metadata(file).num_rows
        except (pyarrow.ArrowException, OSError):
            raise _foreign(file) from None
        _check_names(file, schema.names)
    unit_of = {name: unit for result in results for name, unit in units(result).items()}
    arrays = [pyarrow.array(_one_type(values)) for values in columns.values()]
    fields = [
        pyarrow.field(
            name, array.type, metadata={"unit": unit_of[name]} if name in unit_of else None
        )
        for name, array in zip(columns, arrays, strict=True)
    ]
    table = pyarrow.Table.from_arrays(arrays, schema=pyarrow.schema(fields))
    with atomic_writer(file) as stream:
        parquet.write_table(table, stream)
    return _exported(file, columns, n_old)


def _one_type(values: list[Any]) -> list[Any]:
    """Return values of one type, as texts where a column of a sweep mixes numbers and texts."""
    types = {type(value) for value in values if value is not None}
    if len(types) <= 1:
        return values
    if types == {int, float}:
        return [None if value is None else float(value) for value in values]
    return [None if value is None else str(value) for value in values]


def _exported(file: Path, columns: Columns, n_old: int) -> Exported:
    n = len(columns["trial"])
    return Exported(str(file), n, max(0, n - n_old))


def _count_csv(file: Path) -> int:
    """Return the number of trials in an earlier export."""
    try:
        with open(file, encoding="utf-8", newline="") as stream:
            reader = csv.reader(stream)
            _check_names(file, next(reader, []))
            return sum(1 for _ in reader)
    except (UnicodeDecodeError, csv.Error):
        raise _foreign(file) from None


def _check_names(file: Path, names: Sequence[str]) -> None:
    if not {"run", "optimizer", "seed", "trial", "status", "arch"} <= set(names):
        raise _foreign(file)


def _foreign(file: Path) -> InvalidInput:
    return InvalidInput(f"{file}: is no export of trials; choose another file with --out")
