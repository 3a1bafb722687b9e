"""Opens an SQLite file that several processes may open, and create, at the same time."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

WAIT_MS = 30_000
"""How long one process waits for another that holds the file."""


def open_database(path: str | Path, schema: str, version: int) -> sqlite3.Connection:
    """The file in WAL mode, in autocommit, with its tables; created if it is not there.

    Args:
        path: of the file.
        schema: statements that end in a semicolon, without one inside; committed together with the version, so that
            nobody sees the tables without it.
        version: of the schema.

    Raises:
        sqlite3.Error, OSError: the file cannot be written, or is something else.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        database.execute(f"PRAGMA busy_timeout={WAIT_MS}")
        _use_wal(database)
        database.execute("PRAGMA synchronous=NORMAL")
        database.execute("BEGIN IMMEDIATE")
        check_version(database, version)
        for statement in schema.split(";"):
            database.execute(statement)
        database.execute(f"PRAGMA user_version={version}")
        database.execute("COMMIT")
    except BaseException:
        database.close()
        raise
    return database


def check_version(database: sqlite3.Connection, version: int) -> None:
    """Nothing, for an empty file or one of this version.

    Raises:
        sqlite3.DatabaseError: it is something else.
    """
    # In this order: who sees the tables sees their version, also where another process makes them right now.
    (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (found,) = database.execute("PRAGMA user_version").fetchone()
    if tables and found != version:
        raise sqlite3.DatabaseError(f"another kind of file, or another version of it: {version}, not {found}")


def _use_wal(database: sqlite3.Connection) -> None:
    """Changing the mode fails at once where another process does the same, whatever the timeout."""
    deadline = time.monotonic() + WAIT_MS / 1000
    while True:
        try:
            database.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(0.01)
