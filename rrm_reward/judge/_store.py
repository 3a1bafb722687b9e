"""The verdict store: what a judge said once is not paid for twice.

Content-addressed: a vote is found by everything that its answer depends on, which is the model and its sampling (the
*identity* of the store's user), the prompt, whose order of responses is part of it, and the number of the draw. So it
survives restarts, is shared by processes (SQLite in WAL mode), and never answers for another judge, prompt or
temperature. A model whose weights change under the same name needs a store of its own.

Stored is what was read from a completion, not the completion: verdict or reason, token counts, and the text only
where texts are kept. That is about 120 bytes a vote. Requests that failed are not stored, and neither is a
truncated vote whose forcing failed: they may succeed next time.

A thread does all reading and writing, in one transaction for whatever has come in meanwhile, so that the event loop
never waits for a disk. `put` returns when the vote is committed: a SIGKILL a moment later loses nothing (a power
failure may lose the last seconds). A store that breaks in the middle of a run costs the store, never the run.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import queue
import sqlite3
import threading
import time
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from rrm_reward._sqlite import open_database
from rrm_reward.config import JudgeConfig
from rrm_reward.errors import ConfigError
from rrm_reward.judge._backend import Message, Sampling
from rrm_reward.types import NoVerdict, Verdict, Vote

LIMIT = 10_000_000
"""Votes kept by default: beyond that the oldest are forgotten. About 1.2 GB without texts."""

logger = logging.getLogger(__name__)

_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS votes (
    key BLOB, draw INTEGER, choice INTEGER, reason TEXT, soft REAL,
    prompt_tokens INTEGER, completion_tokens INTEGER, text BLOB, UNIQUE (key, draw));
"""
_FIND = (
    "SELECT draw, choice, reason, soft, prompt_tokens, completion_tokens, text FROM votes "
    "WHERE key = ? AND draw >= ? AND draw < ?"
)
_INSERT = "INSERT OR IGNORE INTO votes VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_FORGET = "DELETE FROM votes WHERE rowid <= (SELECT max(rowid) FROM votes) - ?"
_TIDY_EVERY = 10_000
_BATCH = 1024
_RETRY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class _Job:
    """One look-up (`rows` is None) or one insertion."""

    key: bytes
    first: int
    n: int
    rows: list[tuple[Any, ...]] | None
    future: asyncio.Future[dict[int, Vote]]


def make_store(config: JudgeConfig, sampling: Sampling) -> VerdictStore | None:
    """The store of a configuration, if it has one.

    Args:
        config: names file and judge.
        sampling: what it comes to.
    """
    if config.store is None:
        return None
    identity = (
        *(config.backend, config.model, config.tokenizer, config.extra_body, config.force),
        *(sampling.temperature, sampling.top_p, sampling.max_tokens),
    )
    return VerdictStore(config.store, json.dumps(identity, sort_keys=True), limit=config.store_limit)


class VerdictStore:
    """Votes by question and draw, in a file.

    Args:
        path: of the file, created if it is not there; other processes may use it too.
        identity: everything about the judge that its answers depend on, beside the prompt.
        limit: votes kept; the oldest go first.
    """

    def __init__(self, path: str | Path, identity: str, *, limit: int = LIMIT) -> None:
        self.path = Path(path)
        self._limit = limit
        self._identity = hashlib.blake2b(identity.encode(), digest_size=16)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._database: sqlite3.Connection | None = None
        self._thread: threading.Thread | None = None
        self._turns: WeakValueDictionary[tuple[bytes, int], asyncio.Lock] = WeakValueDictionary()
        self._until_tidy = _TIDY_EVERY
        self._failed = False
        self._retry_at = 0.0

    def open(self) -> None:
        """Open the file; idempotent.

        Raises:
            ConfigError: it cannot be written, or is no store of ours.
        """
        if self._thread is not None:
            return
        try:
            database = open_database(self.path, _SCHEMA, _VERSION)
            database.execute(_FORGET, (self._limit,))
        except (sqlite3.Error, OSError) as error:
            fix = f"cannot be used as a verdict store ({error}); name another file"
            raise ConfigError("judge.store", str(self.path), fix) from error
        self._database = database
        self._thread = threading.Thread(target=self._serve, name="rrm verdict store", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Finish what was asked for and close the file; idempotent."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
            self._thread = None

    def key(self, messages: Sequence[Message], seed: int | None = None) -> bytes:
        """The address of a question; `seed` is that of its requests, where they have one."""
        digest = self._identity.copy()
        for message in messages:
            for text in (message["role"], message["content"]):
                piece = text.encode("utf-8", "surrogatepass")
                digest.update(len(piece).to_bytes(8, "big"))
                digest.update(piece)
        if seed is not None:
            digest.update(seed.to_bytes(16, "big", signed=True))
        return digest.digest()

    def turn(self, key: bytes, first: int) -> asyncio.Lock:
        """To be held while these draws are looked up and asked for: who wants the same meanwhile finds the answer."""
        lock = self._turns.get((key, first))
        if lock is None:
            lock = self._turns[key, first] = asyncio.Lock()
        return lock

    async def get(self, key: bytes, first: int, n: int) -> dict[int, Vote]:
        """Stored votes by draw, of draws [first, first + n); their `i_first` means nothing."""
        return await self._job(key, first, n, None)

    async def put(self, key: bytes, votes: Iterable[tuple[int, Vote]]) -> None:
        """Store votes by draw; returns when they are durable. Votes of failed requests are left out."""
        rows = [_row(key, draw, vote) for draw, vote in votes if vote.verdict.reason is not NoVerdict.ERROR]
        if rows:
            await self._job(key, 0, 0, rows)

    async def _job(
        self, key: bytes, first: int, n: int, rows: list[tuple[Any, ...]] | None
    ) -> dict[int, Vote]:
        if self._thread is None:
            return {}
        future: asyncio.Future[dict[int, Vote]] = asyncio.get_running_loop().create_future()
        self._jobs.put(_Job(key, first, n, rows, future))
        return await future

    def _serve(self) -> None:
        """In the thread: job after job, all that wait in one transaction, until told to end."""
        assert self._database is not None
        ended = False
        while not ended:
            jobs = [self._jobs.get()]
            while len(jobs) < _BATCH and not self._jobs.empty():
                jobs.append(self._jobs.get())
            ended = None in jobs
            work = [job for job in jobs if job is not None]
            try:
                found = self._attempt(self._database, work)
            except Exception:
                # sqlite3.Error mostly: a full disk, another process that holds the file for too long.
                if not self._failed:
                    logger.exception(
                        "the verdict store %s fails; what it should hold is paid for again", self.path
                    )
                self._failed = True
                self._retry_at = time.monotonic() + _RETRY_SECONDS
                with contextlib.suppress(sqlite3.Error):
                    if self._database.in_transaction:
                        self._database.execute("ROLLBACK")
                found = [{} for _ in work]
            _answer(work, found)
        self._database.close()

    def _attempt(self, database: sqlite3.Connection, jobs: Sequence[_Job]) -> list[dict[int, Vote]]:
        """Nothing found and nothing stored for a while after a failure: each try may cost `WAIT_MS`."""
        if time.monotonic() < self._retry_at:
            return [{} for _ in jobs]
        return self._transact(database, jobs)

    def _transact(self, database: sqlite3.Connection, jobs: Sequence[_Job]) -> list[dict[int, Vote]]:
        writes = any(job.rows for job in jobs)
        database.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
        found: list[dict[int, Vote]] = []
        for job in jobs:
            if job.rows is None:
                rows = database.execute(_FIND, (job.key, job.first, job.first + job.n))
                found.append({draw: _vote(rest) for draw, *rest in rows})
            else:
                database.executemany(_INSERT, job.rows)
                self._until_tidy -= len(job.rows)
                found.append({})
        if self._until_tidy <= 0:
            self._until_tidy = _TIDY_EVERY
            database.execute(_FORGET, (self._limit,))
        database.execute("COMMIT")
        return found


def _answer(jobs: Sequence[_Job], found: Sequence[dict[int, Vote]]) -> None:
    """Resolve the futures, with one wake-up for each event loop."""
    loops = {job.future.get_loop() for job in jobs}
    for loop in loops:
        mine = [
            (job.future, votes)
            for job, votes in zip(jobs, found, strict=True)
            if job.future.get_loop() is loop
        ]
        if not loop.is_closed():
            loop.call_soon_threadsafe(_resolve, mine)


def _resolve(answers: Sequence[tuple[asyncio.Future[dict[int, Vote]], dict[int, Vote]]]) -> None:
    for future, votes in answers:
        if not future.done():
            future.set_result(votes)


def _row(key: bytes, draw: int, vote: Vote) -> tuple[Any, ...]:
    verdict = vote.verdict
    text = None if vote.text is None else zlib.compress(vote.text.encode("utf-8", "surrogatepass"), 1)
    reason = None if verdict.reason is None else verdict.reason.value
    return key, draw, verdict.choice, reason, vote.soft, vote.prompt_tokens, vote.completion_tokens, text


def _vote(row: Sequence[Any]) -> Vote:
    choice, reason, soft, prompt, completion, text = row
    verdict = Verdict(choice, None if reason is None else NoVerdict(reason))
    kept = None if text is None else zlib.decompress(text).decode("utf-8", "surrogatepass")
    return Vote(True, verdict, prompt, completion, kept, soft=soft, stored=True)
