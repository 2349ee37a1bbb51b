"""Schema of ``trials.db``: its tables, its columns, and checks of those of a file."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hwnas.errors import InvalidInput

VERSION = 1
FIXED = (
    ("trial", "INTEGER PRIMARY KEY"),
    ("code", "BLOB NOT NULL"),
    ("repeat", "INTEGER NOT NULL"),
    ("fidelity", "INTEGER"),
    ("status", "TEXT NOT NULL"),
    ("reason", "TEXT NOT NULL"),
    ("evaluations", "INTEGER NOT NULL"),
    ("seconds", "REAL NOT NULL"),
    ("ask", "INTEGER NOT NULL"),
    ("tells_before", "INTEGER NOT NULL"),
    ("tell", "INTEGER NOT NULL"),
    ("elapsed", "REAL NOT NULL"),
)

CREATE_ASKS = """CREATE TABLE IF NOT EXISTS asks (
    ask INTEGER PRIMARY KEY, tells_before INTEGER NOT NULL, requested INTEGER NOT NULL,
    fidelity INTEGER, codes BLOB NOT NULL, accepted INTEGER NOT NULL
)"""

# Types of Python by the first word of a column's kind, and columns that count something.
_TYPES: dict[str, set[type]] = {
    "INTEGER": {int},
    "TEXT": {str},
    "REAL": {float, int},
    "BLOB": {bytes},
}
_COUNTS = ("repeat", "evaluations", "seconds", "ask", "tells_before", "tell", "elapsed")
_STATUSES = {"ok", "failed", "infeasible"}

_TABLES = {"trials", "meta", "recommendations"}
_OPTIONAL_TABLES = {"asks"}


def create_tables(db: sqlite3.Connection, measured: Sequence[str], meta: Mapping[str, str]) -> None:
    """Create the tables of an empty store.

    Parameters
    ----------
    db
        Connection to an empty database.
    measured
        Names of the values of a trial.
    meta
        Texts beside the trials.
    """
    columns = [f"{quoted(name)} {kind}" for name, kind in FIXED]
    columns += [f"{quoted(name)} REAL" for name in value_columns(measured)]
    db.execute(f"CREATE TABLE trials ({', '.join(columns)})")
    db.execute("CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
    db.execute("CREATE TABLE recommendations (trials INTEGER PRIMARY KEY, codes BLOB NOT NULL)")
    db.executemany("INSERT INTO meta VALUES (?, ?)", [("version", str(VERSION)), *meta.items()])


def check_version(db: sqlite3.Connection, path: Path) -> None:
    """Refuse a store of another version, which could be misread without an error.

    Raises
    ------
    InvalidInput
        Naming both versions.
    """
    version = db.execute("SELECT value FROM meta WHERE key = 'version'").fetchone()
    if version is None or version[0] != str(VERSION):
        actual = f"{version[0]!s:.20}" if version else "none"
        raise InvalidInput(f"{path}: expected store version {VERSION}, found {actual}")


def check_schema(db: sqlite3.Connection, path: Path) -> None:
    """Refuse a database that is no store of hwnas.

    A view in place of a table could be endless, and a trigger would change what is written.

    Raises
    ------
    InvalidInput
        A table is missing, the database has anything else, or the columns of trials are others.
    """
    entries = db.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
    tables = {name for kind, name, _ in entries if kind == "table"}
    foreign_entries = [f"{kind} {name}" for kind, name, _ in entries if kind in ("view", "trigger")]
    # The rows of a virtual table come from a module of SQLite.
    foreign_entries += [
        f"virtual table {n}" for _, n, sql in entries if "VIRTUAL" in (sql or "")[:20].upper()
    ]
    foreign_entries += [f"table {name}" for name in sorted(tables - _TABLES - _OPTIONAL_TABLES)]
    if foreign_entries:
        raise InvalidInput(
            f"{path}: expected a store of hwnas, found one with a {foreign_entries[0]}"
        )
    if missing := sorted(_TABLES - tables):
        raise InvalidInput(f"{path}: expected a store of hwnas, found none with {missing[0]}")
    names = [row[0] for row in db.execute("SELECT name FROM pragma_table_info('trials')")]
    fixed = [name for name, _ in FIXED]
    if names[: len(fixed)] != fixed or (len(names) - len(fixed)) % 2:
        raise InvalidInput(f"{path}: its trials have other columns than those of a store of hwnas")


def check_columns(columns: Mapping[str, Sequence[Any]], start: int) -> None:
    """Check the fixed columns of trials: SQLite stores values of any type in any column.

    Parameters
    ----------
    columns
        Columns by name, of equal lengths.
    start
        Number of the first trial.

    Raises
    ------
    ValueError
        A value is of another type than its column, negative or unknown, or a trial is missing.
    """
    for name, kind in FIXED:
        allowed = _TYPES[kind.split()[0]]
        if wrong := {*map(type, columns[name])} - allowed:
            names = sorted(cls.__name__ for cls in (*wrong, *allowed))
            raise ValueError(f"column {name}: expected {kind}, found values of {', '.join(names)}")
    for name in _COUNTS:
        if min(columns[name], default=0) < 0:
            raise ValueError(f"column {name}: expected 0 or more, found {min(columns[name])}")
    if unknown := {*columns["status"]} - _STATUSES:
        raise ValueError(f"column status: expected {sorted(_STATUSES)}, found {min(unknown)!r:.80}")
    if list(columns["trial"]) != list(range(start, start + len(columns["trial"]))):
        raise ValueError("column trial: expected every number from 0 on, but some are missing")


def check_asks(rows: Sequence[tuple[Any, ...]]) -> None:
    """Check rows of asks, as `check_columns` checks those of trials.

    Raises
    ------
    ValueError
        A number is none, or negative.
    """
    for ask, tells_before, requested, fidelity, _, accepted in rows:
        numbers = (ask, tells_before, requested, 0 if fidelity is None else fidelity, accepted)
        if any(type(number) is not int or number < 0 for number in numbers):
            raise ValueError(f"ask {ask!r:.80}: expected numbers of 0 or more")


def value_columns(measured: Sequence[str]) -> list[str]:
    """Return distinct names of the columns of values, then of their standard errors.

    SQLite ignores case, and a value may have the name of a fixed column.

    >>> value_columns(["seconds", "error", "Error"])[:3]
    ['value seconds', 'error', 'value Error']
    """
    columns: list[str] = []
    used_names = {name for name, _ in FIXED}
    for name in measured:
        while name.lower() in used_names:
            name = f"value {name}"
        used_names.add(name.lower())
        columns.append(name)
    return [*columns, *(f"std {column}" for column in columns)]


def quoted(name: str) -> str:
    """Return a name as an identifier of SQL, whatever it contains."""
    return '"' + name.replace('"', '""') + '"'
