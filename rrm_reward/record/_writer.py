"""Writes a run log without ever holding up the run.

The event loop puts what happened into a bounded queue; a thread makes rows of it and commits them, all that came within
`FLUSH_SECONDS` in one transaction. So that is what a SIGKILL can lose.

A disk that cannot keep up costs the log, never the run: where the queue is full, what happened is dropped and counted.
Half a group would be worse than none, for its ratings would look right: a group of which anything was dropped is marked
as lost, nothing more of it is written, its end neither, and readers leave it out. The number of matches that a group
had is stored with its end too, so that rows which are missing for whatever reason are noticed.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rrm_reward.judge import Judgment
from rrm_reward.record._schema import open_for_writing, pack, storable
from rrm_reward.redaction import redacted_settings
from rrm_reward.types import FloatArray, GroupResult, Match, Query

FLUSH_SECONDS = 0.1
QUEUE = 8192
"""Things that may wait to be written: a second or two of the largest run."""

_CLOSE_SECONDS = 30.0

logger = logging.getLogger(__name__)

_Rows = list[tuple[str, tuple[Any, ...]]]
_Entry = tuple[int, Callable[..., _Rows], tuple[Any, ...]]


class RunLog:
    """A `Recorder` into a file; several runs may share one, also at the same time.

    Args:
        path: of the file.
        config: the settings of the run, stored without secrets.
        compress: whether texts of the judge are compressed.
        queue_size: see `QUEUE`.

    Attributes:
        dropped: things that could not be written so far.

    Raises:
        ConfigError: the file cannot be created or is no run log.
    """

    def __init__(
        self, path: str | Path, config: Any = None, *, compress: bool = True, queue_size: int = QUEUE
    ) -> None:
        self.dropped = 0
        self._path = str(path)
        self._compress = compress
        self._database = open_for_writing(path)
        settings = json.dumps(redacted_settings(config))
        row = (time.time(), settings)
        cursor = self._database.execute("INSERT INTO run (started, config) VALUES (?, ?)", row)
        self._run = cursor.lastrowid or 0
        self._next_key = self._run << 40  # runs that write at the same time never meet
        self._queue: queue.Queue[_Entry | None] = queue.Queue(queue_size)
        self._lost: set[int] = set()
        self._marks: deque[int] = deque()
        self._judged: Counter[int] = Counter()
        self._next_report = 1
        self._failed = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._write, name="rrm run log", daemon=True)
        self._thread.start()

    def opened(self, sequence: int, id: str, query: Query, size: int) -> None:
        """See `Recorder.opened`."""
        text = query if isinstance(query, str) else json.dumps(list(query), default=_plain)
        row = (id, text, not isinstance(query, str), size, time.time())
        self._put((sequence, self._opened_rows, (sequence, *row)))

    def judged(self, sequence: int, match: Match, judgment: Judgment, seconds: float, *, late: bool) -> None:
        """See `Recorder.judged`."""
        if not late:
            self._judged[sequence] += 1
        self._put((sequence, self._judged_rows, (sequence, match, judgment, seconds, late)))

    def closed(self, sequence: int, result: GroupResult) -> None:
        """See `Recorder.closed`."""
        judged = self._judged.pop(sequence, 0)
        if result.notes.get("unneeded"):
            judged = len(result.outcomes)
        self._put((sequence, self._closed_rows, (sequence, result, judged, time.time())))
        self._lost.discard(sequence)

    def snapshot(self) -> dict[str, float]:
        """See `Recorder.snapshot`: ``log_dropped``."""
        return {"log_dropped": float(self.dropped)}

    def close(self) -> None:
        """Write what is left and close the file; idempotent."""
        if not self._closing.is_set():
            self._closing.set()
            try:
                self._queue.put(None, timeout=_CLOSE_SECONDS)
            except queue.Full:
                logger.error("the run log %s cannot be written to its end", self._path)
                return
            self._thread.join(_CLOSE_SECONDS)

    def _put(self, entry: _Entry) -> None:
        if self._closing.is_set():
            return
        if entry[0] not in self._lost:
            try:
                self._queue.put_nowait(entry)
                return
            except queue.Full:
                self._lost.add(entry[0])
                self._marks.append(entry[0])
        self.dropped += 1
        if self.dropped >= self._next_report:
            self._next_report = 10 * self.dropped
            logger.error(
                "the run log %s is too slow: %d things were not written so far, and their groups are left out of it",
                *(self._path, self.dropped),
            )

    def _write(self) -> None:
        """In the thread: what waits, in one transaction, until told to end."""
        ended = False
        while not ended:
            entries = [self._queue.get()]
            if entries[0] is not None:
                self._closing.wait(FLUSH_SECONDS)
            while not self._queue.empty():
                entries.append(self._queue.get_nowait())
            ended = None in entries
            self._commit([entry for entry in entries if entry is not None])
        self._database.close()

    def _commit(self, entries: Sequence[_Entry]) -> None:
        try:
            self._transact(entries)
        except Exception:
            # sqlite3.Error mostly (full disk); a value that it cannot store is an OverflowError or a TypeError.
            if not self._failed:
                logger.exception("the run log %s cannot be written; the run goes on without it", self._path)
            self._failed = True
            if len(entries) == 1:
                self.dropped += 1
                self._marks.append(entries[0][0])
            else:
                # Perhaps it is one of them.
                for entry in entries:
                    self._commit([entry])

    def _transact(self, entries: Sequence[_Entry]) -> None:
        rows = [row for _, build, arguments in entries for row in build(*arguments)]
        marks = list(self._marks)
        rows += [("INSERT OR IGNORE INTO lost VALUES (?, ?)", (self._run, sequence)) for sequence in marks]
        try:
            self._database.execute("BEGIN IMMEDIATE")
            for statement, row in rows:
                self._database.execute(statement, row)
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise
        for _ in marks:
            self._marks.popleft()

    def _opened_rows(
        self, sequence: int, id: str, query: str, messages: bool, size: int, now: float
    ) -> _Rows:
        return [
            (
                "INSERT INTO groups (run, sequence, id, query, messages, size, opened) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (self._run, sequence, storable(id), storable(query), int(messages), size, now),
            )
        ]

    def _judged_rows(
        self, sequence: int, match: Match, judgment: Judgment, seconds: float, late: bool
    ) -> _Rows:
        key, self._next_key = self._next_key, self._next_key + 1
        place = (key, self._run, sequence, match.i, match.j, match.round)
        rows: _Rows = [
            (
                "INSERT INTO matches VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*place, judgment.p, judgment.calls, seconds, int(late)),
            )
        ]
        for vote in judgment.votes:
            verdict, text = vote.verdict, pack(vote.text, self._compress)
            said = (verdict.choice, verdict.reason and verdict.reason.value, vote.soft, int(vote.stored))
            cost = (vote.prompt_tokens, vote.completion_tokens, text)
            rows.append(
                (
                    "INSERT INTO votes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (key, int(vote.i_first), *said, *cost),
                )
            )
        return rows

    def _closed_rows(self, sequence: int, result: GroupResult, judged: int, now: float) -> _Rows:
        position = result.position and json.dumps([result.position.mean, result.position.deviation])
        return [
            *(self._needed_rows(sequence, result) if result.notes.get("unneeded") else ()),
            (
                "UPDATE groups SET closed = ?, judged = ?, rewards = ?, ratings = ?, stderr = ?, standing = ?, "
                "position = ?, notes = ?, seconds = ? WHERE run = ? AND sequence = ?",
                (
                    *(now, judged, _json(result.rewards), _json(result.ratings.value)),
                    *(_json(result.ratings.stderr), json.dumps(result.standing), position),
                    *(json.dumps(dict(result.notes)), result.seconds, self._run, sequence),
                ),
            ),
        ]

    def _needed_rows(self, sequence: int, result: GroupResult) -> _Rows:
        """Of a group of which more was judged than its outcomes tell: those that no outcome tells of count as late."""
        group = (self._run, sequence)
        rows: _Rows = [("UPDATE matches SET late = 1 WHERE run = ? AND sequence = ?", group)]
        for outcome in result.outcomes:
            # They were played by whoever stood for the two at that time.
            i, j = (_who(result.standing, slot) for slot in (outcome.i, outcome.j))
            rows.append(
                (
                    "UPDATE matches SET late = 0, round = ? WHERE key = (SELECT min(key) FROM matches WHERE run = ? "
                    "AND sequence = ? AND late AND p IS ? AND i IN (SELECT value FROM json_each(?)) AND "
                    "j IN (SELECT value FROM json_each(?)))",
                    (outcome.round, *group, outcome.p, json.dumps(i), json.dumps(j)),
                )
            )
        return rows


def _who(standing: Sequence[int | None], slot: int) -> list[int]:
    return [k for k, stands in enumerate(standing) if stands == slot]


def _plain(value: object) -> object:
    """What JSON does not know of a message: Parquet readers give NumPy arrays of parts, everything else is text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _json(values: FloatArray) -> str:
    return json.dumps([None if value != value else value for value in values.tolist()])
