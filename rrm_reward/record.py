"""The run log: every judgment in SQLite, as soon as it was paid for.

Ratings can be recomputed from it under another rating without asking the judge again:

    for logged in read_groups("run.sqlite"):
        make_rating("bradley_terry")(logged.size, logged.outcomes, logged.position)

SQLite because one file survives a crash in the middle of a write (write-ahead log), is read while it is written, and
needs no library that Python does not bring. Rows are written `FLUSH_SECONDS` after they come: what a SIGKILL can lose.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rrm_reward.errors import ConfigError
from rrm_reward.judge import Judgment
from rrm_reward.redaction import redacted_settings
from rrm_reward.types import GroupResult, Match, NoVerdict, Outcome, PositionBelief, Query, Verdict, Vote

FLUSH_SECONDS = 0.5

logger = logging.getLogger(__name__)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS run (id INTEGER PRIMARY KEY, started REAL, config TEXT);
CREATE TABLE IF NOT EXISTS groups (
    run INTEGER, sequence INTEGER, id TEXT, query TEXT, size INTEGER, opened REAL, closed REAL,
    rewards TEXT, ratings TEXT, stderr TEXT, notes TEXT, position TEXT, PRIMARY KEY (run, sequence));
CREATE TABLE IF NOT EXISTS matches (
    key INTEGER PRIMARY KEY, run INTEGER, sequence INTEGER, i INTEGER, j INTEGER, round INTEGER,
    p REAL, calls INTEGER, seconds REAL, late INTEGER);
CREATE TABLE IF NOT EXISTS votes (
    match INTEGER, i_first INTEGER, choice INTEGER, reason TEXT,
    prompt_tokens INTEGER, completion_tokens INTEGER, text TEXT);
CREATE INDEX IF NOT EXISTS matches_of_group ON matches (run, sequence);
CREATE INDEX IF NOT EXISTS votes_of_match ON votes (match);
"""


class Recorder(Protocol):
    """What the arena tells whoever writes things down; must not raise and must be quick."""

    def opened(self, sequence: int, id: str, query: Query, size: int) -> None:
        """A group was opened; `sequence` is unique in this arena, `id` need not be."""
        ...

    def judged(self, sequence: int, match: Match, judgment: Judgment, seconds: float, *, late: bool) -> None:
        """A comparison came back; `late` if its group was closed already."""
        ...

    def closed(self, sequence: int, result: GroupResult) -> None:
        """A group got its result."""
        ...

    def close(self) -> None:
        """Write what is left; idempotent."""
        ...


@dataclass(frozen=True, slots=True)
class LoggedGroup:
    """A group as the run log knows it: `outcomes` in the order of their verdicts, late ones left out.

    `position` is what the ratings believed of the judge's position bias (see `GroupResult`): with it they come out as
    they did.
    """

    id: str
    query: str
    size: int
    outcomes: tuple[Outcome, ...]
    rewards: tuple[float | None, ...] | None
    position: PositionBelief | None = None


class RunLog:
    """Writes a run log; several runs may share one file.

    A write that fails (full disk) is reported once on the logger and costs the log, never the run.

    Raises:
        ConfigError: the file cannot be created or is no run log.
    """

    def __init__(self, path: str | Path, config: Any = None) -> None:
        self._path = str(path)
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, isolation_level=None)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")
            self._database.executescript(_SCHEMA)
            cursor = self._database.execute(
                "INSERT INTO run (started, config) VALUES (?, ?)",
                (time.time(), json.dumps(redacted_settings(config))),
            )
        except (sqlite3.Error, OSError) as error:
            raise ConfigError("log.path", str(path), f"cannot be written as a run log ({error})") from error
        self._run = cursor.lastrowid or 0
        self._next_key = self._run << 40  # runs that write at the same time never meet
        self._rows: list[tuple[str, tuple[Any, ...]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._failed = False
        self._open = True

    def opened(self, sequence: int, id: str, query: Query, size: int) -> None:
        """See `Recorder.opened`."""
        text = query if isinstance(query, str) else json.dumps(list(query), default=_plain)
        self._add(
            "INSERT INTO groups (run, sequence, id, query, size, opened) VALUES (?, ?, ?, ?, ?, ?)",
            (self._run, sequence, _storable(id), _storable(text), size, time.time()),
        )

    def judged(self, sequence: int, match: Match, judgment: Judgment, seconds: float, *, late: bool) -> None:
        """See `Recorder.judged`."""
        key, self._next_key = self._next_key, self._next_key + 1
        self._add(
            "INSERT INTO matches VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(key, self._run, sequence, match.i, match.j, match.round),
                *(judgment.p, judgment.calls, seconds, int(late)),
            ),
        )
        for vote in judgment.votes:
            verdict = vote.verdict
            self._add(
                "INSERT INTO votes VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    *(key, int(vote.i_first), verdict.choice, verdict.reason and verdict.reason.value),
                    *(vote.prompt_tokens, vote.completion_tokens, vote.text and _storable(vote.text)),
                ),
            )

    def closed(self, sequence: int, result: GroupResult) -> None:
        """See `Recorder.closed`."""
        arrays = (result.rewards, result.ratings.value, result.ratings.stderr)
        self._add(
            "UPDATE groups SET closed = ?, rewards = ?, ratings = ?, stderr = ?, notes = ?, position = ? "
            "WHERE run = ? AND sequence = ?",
            (
                time.time(),
                *(json.dumps([None if x != x else x for x in array.tolist()]) for array in arrays),
                json.dumps(dict(result.notes)),
                result.position and json.dumps([result.position.mean, result.position.deviation]),
                *(self._run, sequence),
            ),
        )

    def close(self) -> None:
        """Write what is left and close the file; idempotent."""
        if self._open:
            if self._timer is not None:
                self._timer.cancel()
            self._flush()
            self._open = False
            self._database.close()

    def _add(self, statement: str, row: tuple[Any, ...]) -> None:
        if not self._open:
            return
        self._rows.append((statement, row))
        if self._timer is None:
            try:
                self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._flush)
            except RuntimeError:  # nobody would come back for the row later
                self._flush()

    def _flush(self) -> None:
        self._timer = None
        rows, self._rows = self._rows, []
        try:
            self._database.execute("BEGIN")
            for statement, row in rows:
                self._database.execute(statement, row)
            self._database.execute("COMMIT")
        except Exception:
            # sqlite3.Error mostly; a value that it cannot store is an OverflowError or a TypeError.
            if not self._failed:
                logger.exception("the run log %s cannot be written; the run goes on without it", self._path)
            self._failed = True
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")


def _plain(value: object) -> object:
    """What JSON does not know of a message: Parquet readers give NumPy arrays of parts, everything else is text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _storable(text: str) -> str:
    """The text as UTF-8 takes it: half of a surrogate pair, which JSON lets through, becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def read_groups(path: str | Path) -> Iterator[LoggedGroup]:
    """Every group of a run log, oldest first; also of a run that crashed or is still going on.

    Raises:
        ConfigError: there is no such log.
    """
    if not Path(path).is_file():
        raise ConfigError("log.path", str(path), "no such run log")
    database = sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True)
    try:
        groups = database.execute(
            "SELECT run, sequence, id, query, size, rewards, position FROM groups ORDER BY run, sequence"
        )
        for run, sequence, id, query, size, rewards, position in groups.fetchall():
            matches = database.execute(
                "SELECT key, i, j, round, p FROM matches WHERE run = ? AND sequence = ? AND NOT late ORDER BY key",
                (run, sequence),
            )
            outcomes = tuple(
                Outcome(i, j, p, _votes(database, key), round) for key, i, j, round, p in matches.fetchall()
            )
            yield LoggedGroup(
                *(id, query, size, outcomes, None if rewards is None else tuple(json.loads(rewards))),
                None if position is None else PositionBelief(*json.loads(position)),
            )
    except sqlite3.DatabaseError as error:
        raise ConfigError("log.path", str(path), f"cannot be read as a run log ({error})") from error
    finally:
        database.close()


def _votes(database: sqlite3.Connection, key: int) -> tuple[Vote, ...]:
    rows = database.execute(
        "SELECT i_first, choice, reason, prompt_tokens, completion_tokens, text FROM votes WHERE match = ?",
        (key,),
    )
    return tuple(
        Vote(bool(first), Verdict(choice, reason and NoVerdict(reason)), prompt, completion, text)
        for first, choice, reason, prompt, completion, text in rows
    )
