"""What the verdict store promises by itself, without a judge around it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrm_reward._sqlite import open_database
from rrm_reward.judge import VerdictStore, _store
from rrm_reward.judge._backend import Message
from rrm_reward.types import NoVerdict, Verdict, Vote

FIRST, SECOND = Vote(True, Verdict(1)), Vote(True, Verdict(2))
KEY = b"question"

messages = st.lists(
    st.builds(
        lambda role, content: Message(role=role, content=content),
        st.sampled_from(["user", "system"]),
        st.lists(st.sampled_from(["a", "b", "user", "system"]), max_size=3).map("".join),
    ),
    max_size=3,
)


@asynccontextmanager
async def opened(path: Path, limit: int = 1000) -> AsyncIterator[VerdictStore]:
    store = VerdictStore(path, "judge", limit=limit)
    store.open()
    yield store
    store.close()


@given(messages, messages)
def test_questions_have_one_address_only_if_they_are_the_same(
    one: list[Message], other: list[Message]
) -> None:
    store = VerdictStore("never-opened", "judge")
    assert (store.key(one) == store.key(other)) == (one == other)


def test_what_is_cut_elsewhere_is_another_question() -> None:
    store = VerdictStore("never-opened", "judge")
    two = [Message(role="user", content="a"), Message(role="user", content="b")]
    assert store.key(two) != store.key([Message(role="user", content="auserb")])


async def test_a_failed_request_is_no_answer(tmp_path: Path) -> None:
    async with opened(tmp_path / "store") as store:
        await store.put(KEY, [(0, Vote(True, Verdict(None, NoVerdict.ERROR))), (1, SECOND)])
        assert list(await store.get(KEY, 0, 9)) == [1]


async def test_of_two_that_paid_for_the_same_the_first_answer_stays(tmp_path: Path) -> None:
    """Who has read it acted on it; who reads it later comes to the same."""
    async with opened(tmp_path / "store") as store:
        await store.put(KEY, [(0, FIRST)])
        await store.put(KEY, [(0, SECOND)])
        assert (await store.get(KEY, 0, 1))[0].verdict == FIRST.verdict


async def test_a_long_run_forgets_while_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_store, "_TIDY_EVERY", 10)
    async with opened(tmp_path / "store", limit=20) as store:
        for draw in range(100):
            await store.put(KEY, [(draw, FIRST)])
        with sqlite3.connect(tmp_path / "store") as database:
            (kept,) = database.execute("SELECT count(*) FROM votes").fetchone()
        assert 20 <= kept < 20 + 10
        assert 99 in await store.get(KEY, 0, 100)
        assert 0 not in await store.get(KEY, 0, 100)


async def test_what_is_looked_up_and_stored_at_once_is_not_lost_to_another_process(tmp_path: Path) -> None:
    """A transaction that began by reading cannot write any more once somebody else has."""
    store = VerdictStore(tmp_path / "store", "judge")
    database = open_database(store.path, _store._SCHEMA, _store._VERSION)
    other, draws = sqlite3.connect(store.path, timeout=0), itertools.count()
    waiting = asyncio.get_running_loop().create_future()
    jobs = [
        _store._Job(KEY, 0, 1, None, waiting),
        _store._Job(KEY, 0, 0, [_store._row(KEY, 0, FIRST)], waiting),
    ]

    class WithTheOther(list[_store._Job]):
        def __iter__(self) -> Iterator[_store._Job]:
            for job in super().__iter__():
                if job.rows is not None:
                    with contextlib.suppress(sqlite3.OperationalError):  # it waits for its turn
                        other.execute(_store._INSERT, _store._row(b"another", next(draws), SECOND))
                        other.commit()
                yield job

    assert store._transact(database, WithTheOther(jobs)) == [{}, {}]
    assert database.execute(_store._FIND, (KEY, 0, 1)).fetchone() is not None
    other.close()
    database.close()
