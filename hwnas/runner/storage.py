"""Trials on disk: one SQLite file a search, and the authority over everything else it leaves.

A trial is one evaluation of one network. It is committed before the optimizer is told of it, so
that a killed search can be replayed. With every trial stands the ask that proposed it and how many
tells came before that ask.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import InvalidInput
from hwnas.spaces import Codes

VERSION = 1
PATIENCE_S = 5.0  # how long to wait for another program that holds a store

_FIXED = (
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


@dataclass(frozen=True)
class Trials:
    """n trials, in the order in which they were asked for.

    Attributes
    ----------
    codes : (n, d) int8
    values, std : (n, q) float64
        What was measured, objectives then constraints, in raw units, and its standard errors. NaN
        where a trial failed; ``std`` is 0 where a value is exact.
    repeat : (n,)
        How often the same network had been evaluated before.
    fidelity : (n,)
        The fidelity it was measured at, -1 where there is only one.
    evaluations : (n,)
        What it cost, in evaluations.
    seconds : (n,)
        What it took.
    ask, tells_before, tell : (n,)
        The ask that proposed it, the number of tells before that, the tell that reported it.
    elapsed : (n,)
        Seconds since the search began, when it was told.
    status, reason : n strings
        ``"ok"``, ``"failed"`` or ``"infeasible"``, and why.
    """

    codes: Codes
    values: NDArray[np.float64]
    std: NDArray[np.float64]
    repeat: NDArray[np.int64]
    fidelity: NDArray[np.int64]
    evaluations: NDArray[np.int64]
    seconds: NDArray[np.float64]
    ask: NDArray[np.int64]
    tells_before: NDArray[np.int64]
    tell: NDArray[np.int64]
    elapsed: NDArray[np.float64]
    status: Sequence[str]
    reason: Sequence[str]

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, rows: slice) -> Trials:
        return Trials(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    @classmethod
    def joined(cls, parts: Sequence[Trials]) -> Trials:
        """Trials one behind the other; at least one part."""
        columns: dict[str, Any] = {}
        for field in fields(cls):
            pieces = [getattr(part, field.name) for part in parts]
            arrays = isinstance(pieces[0], np.ndarray)
            columns[field.name] = np.concatenate(pieces) if arrays else [*chain(*pieces)]
        return cls(**columns)

    @property
    def ok(self) -> NDArray[np.bool_]:
        """Which trials have all their values, (n,) bool."""
        return np.array([status == "ok" for status in self.status], dtype=bool)


class Store:
    """The trials of one search.

    Use `Store.create` or `Store.open`, as a context manager or with `close`.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.path = path
        self._db = connection
        rows = connection.execute("SELECT name FROM pragma_table_info('trials')").fetchall()
        names = [row[0] for row in rows]
        self._measured = [n for n in names[len(_FIXED) :] if not n.startswith("std ")]
        self._columns = ", ".join(_quoted(name) for name in names)
        self._insert = f"INSERT INTO trials VALUES ({', '.join('?' * len(names))})"

    @classmethod
    def create(cls, path: Path, measured: Sequence[str], meta: Mapping[str, str]) -> Store:
        """A new store.

        Parameters
        ----------
        path
            A file that does not exist yet.
        measured
            Names of the values of a trial: objectives, then constraints.
        meta
            Texts that go with the trials: the resolved experiment, the reference.
        """
        # Made under another name, so that no store is ever seen without its tables.
        draft = path.with_name(path.name + ".part")
        draft.unlink(missing_ok=True)
        columns = [f"{_quoted(name)} {kind}" for name, kind in _FIXED]
        columns += [f"{_quoted(name)} REAL" for name in measured]
        columns += [f"{_quoted('std ' + name)} REAL" for name in measured]
        with contextlib.closing(sqlite3.connect(draft)) as db, db:
            db.execute(f"CREATE TABLE trials ({', '.join(columns)})")
            db.execute("CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
            db.execute(
                "CREATE TABLE recommendations (trials INTEGER PRIMARY KEY, codes BLOB NOT NULL)"
            )
            db.executemany(
                "INSERT INTO meta VALUES (?, ?)", [("version", str(VERSION)), *meta.items()]
            )
        draft.replace(path)
        return cls(_connected(path), path)

    @classmethod
    def open(cls, path: Path) -> Store:
        """An existing store.

        Raises
        ------
        InvalidInput
            The file is missing, damaged, locked, or of another version of hwnas.
        """
        if not path.is_file():
            raise InvalidInput(f"{path}: no such file")
        try:
            with path.open("rb") as file:
                if file.read(16) != b"SQLite format 3\0":
                    raise InvalidInput(f"{path}: cannot be read as a trials.db: no SQLite file")
            db = _connected(path)
            version = db.execute("SELECT value FROM meta WHERE key = 'version'").fetchone()
            if version is None or version[0] != str(VERSION):
                found = version[0] if version else "none"
                raise InvalidInput(f"{path}: expected store version {VERSION}, found {found}")
            return cls(db, path)
        except (sqlite3.DatabaseError, OSError) as error:
            raise InvalidInput(f"{path}: cannot be read as a trials.db: {error}") from error

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; it can then be moved or removed."""
        self._db.close()

    @property
    def meta(self) -> dict[str, str]:
        """The texts that go with the trials."""
        return dict(self._db.execute("SELECT key, value FROM meta"))

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction, with an error that says what is in its way."""
        try:
            with self._db:
                yield
        except sqlite3.OperationalError as error:
            raise InvalidInput(f"{self.path}: cannot be written: {error}") from error

    def note(self, key: str, value: str) -> None:
        """Keep one more text."""
        with self._writing():
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def add(self, trials: Trials) -> None:
        """Append trials, in one transaction."""
        start = self._db.execute("SELECT count(*) FROM trials").fetchone()[0]
        lists: list[Sequence[Any]] = [
            range(start, start + len(trials)),
            [row.tobytes() for row in trials.codes],
            trials.repeat.tolist(),
            trials.fidelity.tolist(),
            trials.status,
            trials.reason,
            trials.evaluations.tolist(),
            trials.seconds.tolist(),
            trials.ask.tolist(),
            trials.tells_before.tolist(),
            trials.tell.tolist(),
            trials.elapsed.tolist(),
            *trials.values.T.tolist(),
            *trials.std.T.tolist(),
        ]
        with self._writing():
            self._db.executemany(self._insert, zip(*lists, strict=True))

    def recommend(self, trials: int, codes: Codes) -> None:
        """Keep what the optimizer recommends after so many trials, codes (k, d)."""
        with self._writing():
            row = (trials, codes.tobytes())
            self._db.execute("INSERT OR REPLACE INTO recommendations VALUES (?, ?)", row)

    def recommendations(self, width: int) -> list[tuple[int, Codes]]:
        """After how many trials the optimizer recommended which networks, codes (k, `width`)."""
        rows = self._db.execute("SELECT trials, codes FROM recommendations ORDER BY trials")
        return [(n, np.frombuffer(blob, dtype=np.int8).reshape(-1, width)) for n, blob in rows]

    def trials(self) -> Trials:
        """All trials.

        Raises
        ------
        InvalidInput
            The file is damaged.
        """
        try:
            query = f"SELECT {self._columns} FROM trials ORDER BY trial"
            rows = self._db.execute(query).fetchall()
        except sqlite3.DatabaseError as error:
            raise InvalidInput(f"{self.path}: cannot be read: {error}") from error
        n, q = len(rows), len(self._measured)
        columns = list(zip(*rows, strict=True)) or [()] * (len(_FIXED) + 2 * q)
        named = {name: columns[i] for i, (name, _) in enumerate(_FIXED)}
        measured = np.array(columns[len(_FIXED) :], dtype=np.float64).reshape(2, q, n)
        integers = {
            key: np.array(named[key], dtype=np.int64)
            for key in ("repeat", "fidelity", "evaluations", "ask", "tells_before", "tell")
        }
        width = len(named["code"][0]) if n else 0
        return Trials(
            codes=np.frombuffer(b"".join(named["code"]), dtype=np.int8).reshape(n, width),
            values=np.ascontiguousarray(measured[0].T),
            std=np.ascontiguousarray(measured[1].T),
            seconds=np.array(named["seconds"], dtype=np.float64),
            elapsed=np.array(named["elapsed"], dtype=np.float64),
            status=named["status"],
            reason=named["reason"],
            **integers,
        )


def _connected(path: Path) -> sqlite3.Connection:
    log = path.with_name(f"{path.name}-wal")
    merged = not log.exists() or log.stat().st_size == 0  # or the last trials are in it alone
    if merged and not os.access(path.parent, os.W_OK):  # somebody else's: to look at only
        return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
    db = sqlite3.connect(path, timeout=PATIENCE_S)
    # A write-ahead log survives a killed process at a third of the cost. Network file systems
    # cannot share its memory and answer with the mode they keep: a rollback journal, which is safe
    # too, once it is synchronised fully.
    mode = db.execute("PRAGMA journal_mode=WAL").fetchone()[0]
    db.execute(f"PRAGMA synchronous={'NORMAL' if mode == 'wal' else 'FULL'}")
    return db


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
