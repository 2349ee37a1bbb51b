"""Storage of trials: one SQLite file a search, from which everything else can be rebuilt.

A trial is one evaluation of one architecture. It is committed before the optimizer is told, so
that a killed search can be replayed. Each trial has the number of the ask that proposed it and the
number of tells before that ask.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.errors import InvalidInput
from hwnas.runner.store_connection import connect
from hwnas.runner.store_schema import (
    CREATE_ASKS,
    FIXED,
    check_asks,
    check_columns,
    check_schema,
    check_version,
    create_tables,
    quoted,
)
from hwnas.typing import Array, BoolArray, Codes, IntArray

MAX_GB = 4  # of a file, for forty million trials
_COMPANIONS = ("-wal", "-shm", "-journal")  # files that SQLite makes beside a store
_ROWS = 20_000  # that are read at once: as Python objects they take five times their final size


@dataclass(frozen=True)
class Trials:
    """Columns of n trials, in the order in which they were stored.

    That is the order in which they were asked for or, where evaluations run in parallel, that in
    which they ended.

    Attributes
    ----------
    codes : (n, d) int8
    values, std : (n, q) float64
        Measured values, objectives then constraints, in raw units, and their standard errors. NaN
        where a trial failed; ``std`` is 0 where a value is exact.
    repeat : (n,)
        Number of earlier evaluations of the same code.
    fidelity : (n,)
        Fidelity of the measurement, -1 where there is only one.
    evaluations : (n,)
        Budget cost, in evaluations.
    seconds : (n,)
        Duration of the evaluation.
    ask, tells_before, tell : (n,)
        Number of the ask that proposed it, of tells before that, and of the tell of its result.
    elapsed : (n,)
        Seconds from the start of the search to the tell.
    status, reason : n strings
        ``"ok"``, ``"failed"`` or ``"infeasible"``, and the reason.
    """

    codes: Codes
    values: Array
    std: Array
    repeat: IntArray
    fidelity: IntArray
    evaluations: IntArray
    seconds: Array
    ask: IntArray
    tells_before: IntArray
    tell: IntArray
    elapsed: Array
    status: Sequence[str]
    reason: Sequence[str]

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, rows: slice) -> Trials:
        return Trials(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    @classmethod
    def concatenate(cls, parts: Sequence[Trials]) -> Trials:
        """Concatenate trials; at least one part."""
        # Numeric columns are arrays, texts are sequences of strings.
        columns: dict[str, Any] = {}
        for field in fields(cls):
            pieces = [getattr(part, field.name) for part in parts]
            arrays = isinstance(pieces[0], np.ndarray)
            columns[field.name] = np.concatenate(pieces) if arrays else [*chain(*pieces)]
        return cls(**columns)

    @property
    def ok(self) -> BoolArray:
        """Mask of the trials that have all their values, (n,) bool."""
        return np.array([status == "ok" for status in self.status], dtype=bool)


@dataclass(frozen=True)
class AskRecord:
    """One call of `ask` of a search whose evaluations run in parallel.

    Attributes
    ----------
    ask
        Its number.
    tells_before
        Number of tells before it.
    requested
        Number of codes that were asked for; 0 where codes of an earlier ask are taken over.
    fidelity
        Fidelity of the proposal, ``None`` where there is only one.
    codes : (k, d) int8
        The proposal; empty where the optimizer waits for results.
    accepted
        Number of its first codes that fit the budget and are evaluated.
    """

    ask: int
    tells_before: int
    requested: int
    fidelity: int | None
    codes: Codes
    accepted: int


class Store:
    """Trials of one search in a file.

    Use `Store.create` or `Store.open`, as a context manager or with `close`.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.path = path
        self._db = connection
        # Behind the fixed columns stand those of q values, then those of their standard errors.
        rows = connection.execute("SELECT name FROM pragma_table_info('trials')").fetchall()
        names = [row[0] for row in rows]
        self._n_values = (len(names) - len(FIXED)) // 2
        self._columns = ", ".join(quoted(name) for name in names)
        self._insert = f"INSERT INTO trials VALUES ({', '.join('?' * len(names))})"

    @classmethod
    def create(cls, path: Path, measured: Sequence[str], meta: Mapping[str, str]) -> Store:
        """Create a store.

        Parameters
        ----------
        path
            File that does not exist yet.
        measured
            Names of the values of a trial: objectives, then constraints.
        meta
            Texts beside the trials: the resolved experiment, the reference.

        Raises
        ------
        InvalidInput
            The file cannot be written, such as on a full disk; nothing of it is left.
        """
        # Created under another name, so that no store is ever seen without its tables.
        draft = path.with_name(path.name + ".part")
        draft.unlink(missing_ok=True)
        try:
            with contextlib.closing(sqlite3.connect(draft)) as db, db:
                create_tables(db, measured, meta)
            draft.replace(path)
            return cls(connect(path), path)
        except sqlite3.OperationalError as error:
            for file in (draft, path):
                for suffix in ("", *_COMPANIONS):
                    file.with_name(file.name + suffix).unlink(missing_ok=True)
            raise InvalidInput(f"{path}: cannot be written: {error}") from error

    @classmethod
    def open(cls, path: Path) -> Store:
        """Open an existing store.

        Raises
        ------
        InvalidInput
            The file is missing, damaged, locked, or of another version of hwnas.
        """
        if not path.is_file():
            raise InvalidInput(f"{path}: no such file")
        for entry in (path, *(path.with_name(path.name + suffix) for suffix in _COMPANIONS)):
            if entry.is_symlink():  # SQLite would write where it leads
                raise InvalidInput(f"{entry}: is a link, expected the file itself")
        if path.stat().st_size > MAX_GB * 1e9:
            raise InvalidInput(f"{path}: is larger than {MAX_GB} GB, the limit of a store")
        try:
            with path.open("rb") as file:
                if file.read(16) != b"SQLite format 3\0":
                    raise InvalidInput(f"{path}: cannot be read as a trials.db: no SQLite file")
            with contextlib.ExitStack() as on_error:
                db = connect(path)
                on_error.callback(db.close)
                check_version(db, path)
                check_schema(db, path)
                store = cls(db, path)
                on_error.pop_all()
                return store
        except (sqlite3.DatabaseError, UnicodeDecodeError, OSError) as error:
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
        """Texts stored beside the trials."""
        with self._reading():
            meta = dict(self._db.execute("SELECT key, value FROM meta"))
            if wrong_keys := [
                key for key, text in meta.items() if not type(key) is type(text) is str
            ]:
                raise ValueError(f"{wrong_keys[0]!r:.80} is no text in it")
            return meta

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """Turn an error of damaged content into one line that names the file."""
        try:
            yield
        except (sqlite3.DatabaseError, TypeError, ValueError, OverflowError) as error:
            raise InvalidInput(f"{self.path}: cannot be read: {error}") from error

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Run one transaction; an error becomes one line that names the file."""
        try:
            with self._db:
                yield
        except sqlite3.OperationalError as error:
            raise InvalidInput(f"{self.path}: cannot be written: {error}") from error

    def set_meta(self, key: str, value: str) -> None:
        """Store a text beside the trials."""
        with self._writing():
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def adopt(self, experiment: str, *, reopen: bool) -> None:
        """Replace the experiment, in one transaction.

        Parameters
        ----------
        experiment
            Its YAML.
        reopen
            Whether the search goes on: it is no longer finished, and its recommendation at the end
            is replaced by a later one.
        """
        with self._writing():
            self._db.execute("UPDATE meta SET value = ? WHERE key = 'experiment'", (experiment,))
            if reopen:
                self._db.execute(
                    "DELETE FROM meta WHERE key IN ('finished', 'exhausted', 'notes', 'within')"
                )
                self._db.execute(
                    "DELETE FROM recommendations WHERE trials = (SELECT count(*) FROM trials)"
                )

    def add(self, trials: Trials) -> None:
        """Append trials in one transaction."""
        # The largest number is found at once; counting would read the whole table.
        query = "SELECT coalesce(max(trial), -1) + 1 FROM trials"
        start = self._db.execute(query).fetchone()[0]
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
        # All or none: a kill never leaves a part of an evaluation.
        with self._writing():
            self._db.executemany(self._insert, zip(*lists, strict=True))

    def add_asks(self, asks: Sequence[AskRecord]) -> None:
        """Append calls of `ask`, before their proposals are evaluated."""
        rows = [
            (a.ask, a.tells_before, a.requested, a.fidelity, a.codes.tobytes(), a.accepted)
            for a in asks
        ]
        with self._writing():
            # Only searches with parallel evaluations have the table: others have none to create.
            self._db.execute(CREATE_ASKS)
            self._db.executemany("INSERT INTO asks VALUES (?, ?, ?, ?, ?, ?)", rows)

    def asks(self, n_columns: int) -> list[AskRecord]:
        """Read the calls of `ask`, in order; none of a search without parallel evaluations.

        Parameters
        ----------
        n_columns
            Number d of columns of a code.
        """
        query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'asks'"
        with self._reading():
            if self._db.execute(query).fetchone() is None:
                return []
            rows = self._db.execute("SELECT * FROM asks ORDER BY ask").fetchall()
            check_asks(rows)
            return [
                AskRecord(
                    ask, tells_before, requested, fidelity, _codes_of(codes, n_columns), accepted
                )
                for ask, tells_before, requested, fidelity, codes, accepted in rows
            ]

    def recommend(self, trials: int, codes: Codes) -> None:
        """Store the optimizer's recommendation after a number of trials, codes (k, d)."""
        with self._writing():
            row = (trials, codes.tobytes())
            self._db.execute("INSERT OR REPLACE INTO recommendations VALUES (?, ?)", row)

    def recommendations(self, n_columns: int) -> list[tuple[int, Codes]]:
        """Return numbers of trials and the recommendations after them, codes (k, `n_columns`)."""
        with self._reading():
            rows = self._db.execute("SELECT trials, codes FROM recommendations ORDER BY trials")
            return [(n, _codes_of(blob, n_columns)) for n, blob in rows]

    def statuses(self) -> set[str]:
        """Return the distinct statuses of all trials, without reading the rest of them."""
        with self._reading():
            return {status for (status,) in self._db.execute("SELECT DISTINCT status FROM trials")}

    def trials(self) -> Trials:
        """Read all trials.

        Raises
        ------
        InvalidInput
            The file is damaged.
        """
        query = f"SELECT {self._columns} FROM trials ORDER BY trial"
        parts: list[Trials] = []
        with self._reading():
            cursor = self._db.execute(query)
            while rows := cursor.fetchmany(_ROWS):
                parts.append(_trials_of(rows, self._n_values, sum(map(len, parts))))
            return Trials.concatenate(parts or [_trials_of([], self._n_values)])


def _trials_of(rows: Sequence[tuple[Any, ...]], q: int, start: int = 0) -> Trials:
    """Return rows of a store with q values as trials, the first of which has the number `start`."""
    n = len(rows)
    # From rows to columns; without rows they have length 0.
    columns = list(zip(*rows, strict=True)) or [()] * (len(FIXED) + 2 * q)
    by_name = {name: columns[i] for i, (name, _) in enumerate(FIXED)}
    check_columns(by_name, start)
    # Behind the fixed columns stand q values and then their q standard errors.
    measured = np.array(columns[len(FIXED) :], dtype=np.float64).reshape(2, q, n)
    integers = {
        key: np.array(by_name[key], dtype=np.int64)
        for key in ("repeat", "fidelity", "evaluations", "ask", "tells_before", "tell")
    }
    n_columns = len(by_name["code"][0]) if n else 0
    return Trials(
        codes=np.frombuffer(b"".join(by_name["code"]), dtype=np.int8).reshape(n, n_columns),
        values=np.ascontiguousarray(measured[0].T),
        std=np.ascontiguousarray(measured[1].T),
        seconds=np.array(by_name["seconds"], dtype=np.float64),
        elapsed=np.array(by_name["elapsed"], dtype=np.float64),
        status=_shared(by_name["status"]),
        reason=_shared(by_name["reason"]),
        **integers,
    )


def _shared(texts: Sequence[str]) -> list[str]:
    """Return the same texts, equal ones as one object: most trials share a few."""
    distinct: dict[str, str] = {}
    return [distinct.setdefault(text, text) for text in texts]


def _codes_of(blob: bytes, n_columns: int) -> Codes:
    return np.frombuffer(blob, dtype=np.int8).reshape(-1, n_columns)
