"""The tables of a run log, and how the file is opened.

Numbers that are unknown are null. ``rewards``, ``ratings``, ``stderr`` (numbers by slot), ``standing`` (by slot: the
slot that stands for all members that look the same, null for one that never came), ``notes`` and ``position`` (mean and
deviation) are JSON. A match is ``late`` if its group was closed before, or did not need it in the end. Texts of
the judge are zlib-compressed blobs, or plain text with ``log.compress=false``.
"""

from __future__ import annotations

import sqlite3
import zlib
from pathlib import Path

from rrm_reward._sqlite import check_version, open_database
from rrm_reward.errors import ConfigError

VERSION = 2

SCHEMA = """
CREATE TABLE IF NOT EXISTS run (id INTEGER PRIMARY KEY, started REAL, config TEXT);
CREATE TABLE IF NOT EXISTS groups (
    run INTEGER, sequence INTEGER, id TEXT, query TEXT, messages INTEGER, size INTEGER, opened REAL, closed REAL,
    judged INTEGER, rewards TEXT, ratings TEXT, stderr TEXT, standing TEXT, position TEXT, notes TEXT, seconds REAL,
    PRIMARY KEY (run, sequence));
CREATE TABLE IF NOT EXISTS matches (
    key INTEGER PRIMARY KEY, run INTEGER, sequence INTEGER, i INTEGER, j INTEGER, round INTEGER,
    p REAL, calls INTEGER, seconds REAL, late INTEGER);
CREATE TABLE IF NOT EXISTS votes (
    match INTEGER, i_first INTEGER, choice INTEGER, reason TEXT, soft REAL, stored INTEGER,
    prompt_tokens INTEGER, completion_tokens INTEGER, text);
CREATE TABLE IF NOT EXISTS lost (run INTEGER, sequence INTEGER, UNIQUE (run, sequence));
CREATE INDEX IF NOT EXISTS matches_of_group ON matches (run, sequence);
CREATE INDEX IF NOT EXISTS votes_of_match ON votes (match);
"""


def open_for_writing(path: str | Path) -> sqlite3.Connection:
    """The file, created if it is not there; other processes may write to it too.

    Raises:
        ConfigError: it cannot be written, or is something else.
    """
    try:
        return open_database(path, SCHEMA, VERSION)
    except (sqlite3.Error, OSError) as error:
        fix = f"cannot be written as a run log of this version of rrm-reward ({error}); name another file"
        raise ConfigError("log.path", str(path), fix) from error


def open_for_reading(path: str | Path) -> sqlite3.Connection:
    """The file as it is, also while a run writes to it.

    Raises:
        ConfigError: there is no such log.
    """
    if not Path(path).is_file():
        raise ConfigError("log.path", str(path), "no such run log")
    database = sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True)
    try:
        check_version(database, VERSION)
    except sqlite3.DatabaseError as error:
        database.close()
        fix = f"cannot be read as a run log of this version of rrm-reward ({error})"
        raise ConfigError("log.path", str(path), fix) from error
    return database


def storable(text: str) -> str:
    """The text as UTF-8 takes it: half of a surrogate pair, which JSON lets through, becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def pack(text: str | None, compress: bool) -> str | bytes | None:
    """A text of the judge as it is stored."""
    if text is None:
        return None
    return zlib.compress(text.encode("utf-8", "replace")) if compress else storable(text)


def unpack(stored: str | bytes | None) -> str | None:
    """A text of the judge as it was."""
    return zlib.decompress(stored).decode() if isinstance(stored, bytes) else stored
