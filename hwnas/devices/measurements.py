"""Measurements of a device in CSV files: those of ``hwnas profile``, or anyone's.

A row is an architecture, in the column ``arch``. A column whose name is a metric that is measured
on devices, such as ``latency``, ``tpot.serve`` or ``tpot.serve@cuda``, has its values in the
metric's unit, and ``tpot.serve std`` their standard errors. Empty cells and rows with the status
``failed`` have no value. ``protocol``, ``card`` or ``device_name``, ``date`` or ``time`` and
versions of software tell of the measurements; all other columns are left out. Where metrics are
asked for by name, their columns are read, whatever else there is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwnas.errors import HwnasError, InvalidInput, describe_value
from hwnas.objectives import Objective
from hwnas.problems.csv_table import CsvTable, read_csv
from hwnas.spaces import SearchSpace
from hwnas.spaces import space as named_space
from hwnas.spaces.arch_input import parse_architecture
from hwnas.surrogates.device_file import metric_key, quantity_of
from hwnas.surrogates.layer_layout import LayerLayout
from hwnas.typing import Array, Codes
from hwnas.workloads import Workload

_STD = " std"
_CARD = ("card", "device_name")
_DATE = ("date", "time")
_PROTOCOL = ("protocol", "mode", "threads")
_OF_FORWARD_PASS = ("precision", "batch_size", "tokens", "forward")  # workloads define theirs
_VERSIONS = ("hwnas", "torch", "cuda", "driver")
_MAX_TEXT = 400
# "64 x (896 + 128) bfloat16", as this project writes the workload of a column.
_REQUESTS = re.compile(r"(\d+) x \((\d+) \+ (\d+)\) (\w+)")


@dataclass(frozen=True, eq=False)
class Measurements:
    """Values of one metric of architectures of one space.

    Attributes
    ----------
    space, quantity
        Their space; metric and workload, with a device where it was asked for with one.
    codes : (n, d) int8
        The architectures; one may occur several times.
    values : (n,)
        Values in the metric's unit, positive.
    std : (n,), optional
        Standard errors; ``None`` where a value has none.
    workload
        Definition of the workload; ``None`` without one.
    texts
        Protocol, card, date, versions and unit; empty where unknown.
    """

    space: SearchSpace
    quantity: str
    codes: Codes
    values: Array
    std: Array | None
    workload: Workload | None
    texts: Mapping[str, str]


def read_measurements(
    path: Path,
    space: SearchSpace | None,
    workloads: Mapping[str, Workload],
    metrics: Sequence[str] = (),
) -> list[Measurements]:
    """Read all measurements in a CSV file, or those of some metrics.

    Parameters
    ----------
    path
        The file.
    space
        Space of all architectures; ``None`` for those that they name.
    workloads
        Workloads that columns may name.
    metrics
        Metrics by name, each of any kind; those of them that the file lacks are left out. By
        default all that are measured on devices, without the device.

    Returns
    -------
    list
        One entry for each space, metric and card.

    Raises
    ------
    InvalidInput
        The file is malformed; the text names file, line and column.
    """
    table = read_csv(path)
    if "arch" not in table.columns:
        raise InvalidInput(
            f"{path}, line 1: expected a column arch with architectures, found "
            f"{describe_value(', '.join(table.columns))}"
        )
    columns = _columns_of(table, metrics) if metrics else _metric_columns(table)
    definitions = {quantity: _workload(table, quantity, workloads) for quantity in columns.values()}
    # 1. Architectures by their spaces and cards, in the order of the file.
    rows: dict[tuple[str, str], list[int]] = {}
    spaces: dict[str, SearchSpace] = {}
    codes: dict[int, Codes] = {}
    for i, text in enumerate(table.cells("arch")):
        if _is_failed(table, i):
            continue
        row_space, codes[i] = _architecture(table, i, text, space, spaces)
        rows.setdefault((row_space.name, _card(table, i)), []).append(i)
    # 2. Columns of numbers, those of each space apart.
    out = []
    for column, quantity in columns.items():
        values, std = _numbers(table, column), None
        if column + _STD in table.columns:
            std = _numbers(table, column + _STD, is_error=True)
        for (name, _), indices in rows.items():
            usable = [i for i in indices if i in values]
            if not usable:
                continue
            errors = None
            if std is not None and all(i in std for i in usable):
                errors = np.array([std[i] for i in usable])
            out.append(
                Measurements(
                    spaces[name],
                    quantity,
                    np.concatenate([codes[i] for i in usable]),
                    np.array([values[i] for i in usable]),
                    errors,
                    definitions[quantity],
                    _texts(table, usable[0], definitions[quantity]),
                )
            )
    if not out and columns:
        raise InvalidInput(f"{path}: expected rows with values, found none")
    return out


def _columns_of(table: CsvTable, metrics: Sequence[str]) -> dict[str, str]:
    """Return the metrics that a file has a column of, by the column's name.

    A metric on a device, ``tpot.serve@mine``, is also that of a column without one.
    """
    columns: dict[str, str] = {}
    for metric in metrics:
        key = metric_key(metric)
        column = key if key in table.columns else Objective.parse(key).quantity
        if column in columns:
            raise InvalidInput(f"{key} and {columns[column]}: both are the column {column}")
        if column in table.columns:
            columns[column] = key
    return columns


def _metric_columns(table: CsvTable) -> dict[str, str]:
    """Return metric and workload of each column that has values, by the column's name."""
    columns: dict[str, str] = {}
    for column in table.columns:
        try:
            quantity = quantity_of(column)
        except InvalidInput:
            continue  # a column of another kind
        if quantity in columns.values():
            raise InvalidInput(
                f"{table.path}, line 1, column {column}: {quantity} has two columns; a device has "
                "one, expected the other one in a file of its own"
            )
        columns[column] = quantity
    if not columns:
        raise InvalidInput(
            f"{table.path}, line 1: expected a column of a metric, such as latency or tpot.serve, "
            f"found {describe_value(', '.join(table.columns), 200)}"
        )
    return columns


def _workload(table: CsvTable, quantity: str, workloads: Mapping[str, Workload]) -> Workload | None:
    """Return the workload of a metric: the known one of its name, or that of a column so named."""
    name = Objective.parse(quantity).workload
    if name is None:
        return None
    workload, written = workloads.get(name), None
    texts = {text for text in table.cells(name) if text} if name in table.columns else set()
    for text in texts:
        if match := _REQUESTS.fullmatch(text):
            batch, prompt, generate = map(int, match.groups()[:3])
            written = Workload(prompt, generate, batch, match[4])
            if (workload := workload or written) != written:
                raise InvalidInput(
                    f"{table.path}, column {name}: the workload {name} is {workload.meaning}; "
                    f"found {text!r}"
                )
    if workload is None:
        raise InvalidInput(
            f"{table.path}, line 1, column {quantity}: unknown workload {name!r}; define it under "
            "workloads: in a YAML and give that with --workload-file"
        )
    return workload


def _architecture(
    table: CsvTable,
    i: int,
    text: str,
    space: SearchSpace | None,
    spaces: dict[str, SearchSpace],
) -> tuple[SearchSpace, Codes]:
    """Return the space of a row's architecture and its code (1, d)."""
    try:
        arch = parse_architecture(text, space)
        name = arch.space if isinstance(arch.space, str) else arch.space.name
        if name not in spaces:
            chosen_space = named_space(name) if space is None else space
            LayerLayout(chosen_space)  # what has no tables is refused here
            spaces[name] = chosen_space
        return spaces[name], spaces[name].encode([arch])
    except HwnasError as error:
        raise InvalidInput(f"{table.path}, line {table.lines[i]}, column arch: {error}") from None


def _numbers(table: CsvTable, column: str, *, is_error: bool = False) -> dict[int, float]:
    """Return the numbers of a column by row; rows that failed and empty cells have none."""
    numbers = {}
    for i, text in enumerate(table.cells(column)):
        if not text or _is_failed(table, i):
            continue
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number) or number < 0 or (number == 0 and not is_error):
            expected = "a number of at least 0" if is_error else "a positive number"
            raise InvalidInput(
                f"{table.path}, line {table.lines[i]}, column {column}: expected {expected} or an "
                f"empty cell, found {describe_value(text)}"
            )
        numbers[i] = number
    return numbers


def _is_failed(table: CsvTable, i: int) -> bool:
    return "status" in table.columns and table.rows[i][table.columns.index("status")] == "failed"


def _texts(table: CsvTable, i: int, workload: Workload | None) -> dict[str, str]:
    """Return what the columns of a row tell of its measurements."""
    protocol = (*_PROTOCOL, *(() if workload else _OF_FORWARD_PASS))
    return {
        "protocol": _cells(table, i, protocol, prefix=True),
        "card": _card(table, i),
        "date": _cells(table, i, [name for name in _DATE if name in table.columns][:1]),
        "versions": _cells(table, i, _VERSIONS, prefix=True),
    }


def _card(table: CsvTable, i: int) -> str:
    """Return the card of a row; empty where it is unknown."""
    return _cells(table, i, [name for name in _CARD if name in table.columns][:1])


def _cells(table: CsvTable, i: int, names: Sequence[str], *, prefix: bool = False) -> str:
    """Return the cells of a row in some columns as one text, with the columns' names or without."""
    pairs = [(n, table.rows[i][table.columns.index(n)]) for n in names if n in table.columns]
    texts = [f"{name} {text}" if prefix else text for name, text in pairs if text]
    return "".join(c for c in ", ".join(texts) if c.isprintable())[:_MAX_TEXT]
