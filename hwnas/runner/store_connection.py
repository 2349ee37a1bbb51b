"""Connection to the file of a store."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

PATIENCE_S = 5.0  # seconds to wait for another program that locks a store


def connect(path: Path) -> sqlite3.Connection:
    """Open a database for writing, or read-only in a directory of somebody else's."""
    log = path.with_name(f"{path.name}-wal")
    # Trials of a log that is not merged would be missed by a connection that ignores it.
    log_is_merged = not log.exists() or log.stat().st_size == 0
    if log_is_merged and not os.access(path.parent, os.W_OK):
        return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
    # Another process may hold the lock for a moment: wait before giving up.
    db = sqlite3.connect(path, timeout=PATIENCE_S)
    with contextlib.ExitStack() as on_error:
        on_error.callback(db.close)
        db.execute("PRAGMA trusted_schema=OFF")  # a file of others may name functions in it
        # A write-ahead log survives a killed process at a third of the cost. Network file systems
        # cannot share its memory and answer with the mode they keep: a rollback journal, which is
        # safe too, once it is synchronised fully.
        mode = db.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        db.execute(f"PRAGMA synchronous={'NORMAL' if mode == 'wal' else 'FULL'}")
        on_error.pop_all()
    return db
