"""What was paid for once is never paid for again: not in another run, not in another process."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from rrm_reward.config import JudgeConfig
from rrm_reward.errors import ConfigError
from rrm_reward.judge import BackendError, Completion, Judge, VerdictStore
from rrm_reward.metrics import ArenaMetrics
from rrm_reward.types import NoVerdict, Verdict, Vote
from tests.judge.test_judge import NONE, TWO, Scripted
from tests.support.loopback_judge import Faults, LoopbackJudge
from tests.support.waiting import until

GOOD, BAD = "quality=0.9", "quality=0.1"


@asynccontextmanager
async def judging(server: LoopbackJudge, store: Path, **settings: Any) -> AsyncIterator[Judge]:
    config = JudgeConfig(urls=[server.url], model="RRM-7B", store=str(store), **settings)
    judge = Judge.from_config(config)
    await judge.start()
    yield judge
    await judge.aclose()


async def test_a_second_run_asks_for_nothing_and_comes_to_the_same(tmp_path: Path) -> None:
    async with LoopbackJudge(noise=2.0, faults=Faults(no_verdict=0.3)) as server:
        judgments = []
        for _ in range(2):
            async with judging(server, tmp_path / "store", votes=3, order="both") as judge:
                judgments.append(
                    [await judge.compare("q", f"quality={k / 10}", "quality=0.55") for k in range(10)]
                )
                paid = server.counts["requests"]
        assert server.counts["requests"] == paid
    first, second = judgments
    assert [judgment.p for judgment in first] == [judgment.p for judgment in second]
    assert not any(vote.stored for judgment in first for vote in judgment.votes)
    assert all(vote.stored for judgment in second for vote in judgment.votes)
    assert [v.verdict for j in first for v in j.votes] == [v.verdict for j in second for v in j.votes]
    assert judge.counts.stored == sum(judgment.calls for judgment in second) > 0
    metrics = ArenaMetrics()
    for judgment in second:
        metrics.judged(judgment, 0.0, late=False)
    totals = metrics.snapshot()
    assert (totals["prompt_tokens"], totals["completion_tokens"]) == (0, 0), (
        "what the store answers costs none"
    )


@pytest.mark.parametrize(
    "other",
    [
        {"temperature": 0.7},
        {"top_p": 0.9},
        {"max_tokens": 100},
        {"extra_body": {"top_k": 5}},
        {"force": "truncated"},
    ],
)
async def test_another_sampling_is_another_question(tmp_path: Path, other: dict[str, Any]) -> None:
    async with LoopbackJudge() as server:
        for settings in ({}, other):
            async with judging(server, tmp_path / "store", **settings) as judge:
                await judge.compare("q", GOOD, BAD)
        assert server.counts["requests"] == 2


async def test_order_query_and_responses_are_part_of_the_question(tmp_path: Path) -> None:
    async with LoopbackJudge() as server, judging(server, tmp_path / "store") as judge:
        for query, a, b in (("q", GOOD, BAD), ("q", BAD, GOOD), ("r", GOOD, BAD), ("q", GOOD, "other")):
            await judge.compare(query, a, b)
        assert server.counts["requests"] == 4
        assert (await judge.compare("q", BAD, GOOD)).p == 0.0
        assert server.counts["requests"] == 4


async def test_more_votes_ask_for_the_missing_ones_only(tmp_path: Path) -> None:
    async with LoopbackJudge(keep=True) as server:
        for votes in (2, 5):
            async with judging(server, tmp_path / "store", votes=votes) as judge:
                await judge.compare("q", GOOD, BAD)
        assert [body.get("n") for body in server.bodies] == [2, 3]


async def test_forced_verdicts_are_stored_with_their_probability(tmp_path: Path) -> None:
    async with LoopbackJudge(faults=Faults(truncated=1.0), sure=0.8) as server:
        for _ in range(2):
            async with judging(server, tmp_path / "store", force="truncated", keep_text=True) as judge:
                judgment = await judge.compare("q", GOOD, BAD)
        assert server.counts["forced"] == 1
    assert judgment.p == pytest.approx(0.8)
    assert judge.counts.forced == 1
    assert judgment.votes[0].text is not None
    assert judgment.votes[0].text.startswith("Assistant 1 and Assistant 2 both")


async def test_a_failed_request_is_not_stored_but_a_completion_without_a_verdict_is(tmp_path: Path) -> None:
    async def run(*answers: Any) -> tuple[Scripted, Any]:
        backend = Scripted(*answers)
        judge = Judge(backend, reasks=1, store=VerdictStore(tmp_path / "store", "judge"))
        await judge.start()
        judgment = await judge.compare("q", "a", "b")
        await judge.aclose()
        return backend, judgment

    _, failed = await run(BackendError("gone"))
    assert failed.p is None
    _, without = await run([NONE], BackendError("gone"))
    assert without.p is None
    backend, judgment = await run([TWO])
    assert judgment.p == 0.0
    assert [vote.verdict.reason for vote in judgment.votes] == [NoVerdict.UNPARSEABLE, None]
    assert [vote.stored for vote in judgment.votes] == [True, False]
    assert len(backend.asked) == 1


async def test_request_seeds_are_part_of_the_question(tmp_path: Path) -> None:
    async with (
        LoopbackJudge() as server,
        judging(server, tmp_path / "store", request_seed=True) as judge,
    ):
        for seed in (1, 2, 1):
            await judge.compare("q", GOOD, BAD, seed=seed)
        assert server.counts["requests"] == 2


async def test_two_users_of_one_file_share_what_they_paid_for(tmp_path: Path) -> None:
    async with (
        LoopbackJudge() as server,
        judging(server, tmp_path / "store") as one,
        judging(server, tmp_path / "store") as two,
    ):
        pairs = [(f"quality={k / 50}", f"quality={(k + 1) / 50}") for k in range(50)]
        await asyncio.gather(*(one.compare("q", *pair) for pair in pairs))
        await asyncio.gather(*(two.compare("q", *pair) for pair in pairs))
        assert server.counts["requests"] == 50
        assert two.counts.stored == 50


async def test_a_vote_is_durable_before_it_is_acted_on(tmp_path: Path) -> None:
    async with LoopbackJudge() as server, judging(server, tmp_path / "store") as judge:
        await judge.compare("q", GOOD, BAD)
        # A second connection sees what is committed and nothing else.
        database = sqlite3.connect(tmp_path / "store")
        assert database.execute("SELECT choice, draw FROM votes").fetchall() == [(1, 0)]
        database.close()


async def test_the_oldest_votes_go_when_the_store_is_full(tmp_path: Path) -> None:
    path = tmp_path / "store"
    store = VerdictStore(path, "judge")
    store.open()
    for number in range(30):
        await store.put(store.key([{"role": "user", "content": str(number)}]), [(0, Vote(True, Verdict(1)))])
    store.close()
    small = VerdictStore(path, "judge", limit=10)
    small.open()
    known = [await small.get(small.key([{"role": "user", "content": str(n)}]), 0, 1) for n in range(30)]
    small.close()
    assert [bool(votes) for votes in known] == [False] * 20 + [True] * 10


async def test_a_file_that_is_no_store_is_refused_at_the_start(tmp_path: Path) -> None:
    other = tmp_path / "other"
    database = sqlite3.connect(other)
    database.execute("CREATE TABLE votes (key)")
    database.close()
    text = tmp_path / "text"
    text.write_text("not a database, and long enough to be seen as none" * 10)
    for path in (other, text, tmp_path):
        judge = Judge(Scripted(), store=VerdictStore(path, "judge"))
        with pytest.raises(ConfigError, match=r"judge\.store"):
            await judge.start()


async def test_a_store_that_breaks_costs_the_store_and_not_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with LoopbackJudge() as server, judging(server, tmp_path / "store") as judge:
        database = sqlite3.connect(tmp_path / "store")
        database.execute("DROP TABLE votes")
        database.close()
        with caplog.at_level(logging.ERROR):
            judgments = [await judge.compare("q", GOOD, BAD) for _ in range(3)]
    assert [judgment.p for judgment in judgments] == [1.0] * 3
    assert caplog.text.count("paid for again") == 1


async def test_a_race_stores_each_vote_and_draws_none_twice(tmp_path: Path) -> None:
    async with LoopbackJudge() as server:
        settings: dict[str, Any] = {"votes": 3, "aggregate": "majority", "early_stop": "race"}
        for _ in range(2):
            async with judging(server, tmp_path / "store", **settings) as judge:
                assert (await judge.compare("q", GOOD, BAD)).p == 1.0
        assert server.counts["requests"] == 3


async def test_the_same_question_asked_at_the_same_time_is_paid_once(tmp_path: Path) -> None:
    async with LoopbackJudge(latency=0.05) as server, judging(server, tmp_path / "store") as judge:
        judgments = await asyncio.gather(*(judge.compare("q", GOOD, BAD) for _ in range(8)))
        assert server.counts["requests"] == 1
    assert [judgment.p for judgment in judgments] == [1.0] * 8
    assert judge.counts.stored == 7


async def test_who_waits_for_the_answer_to_a_question_that_is_cancelled_asks_it_himself(
    tmp_path: Path,
) -> None:
    async with LoopbackJudge(latency=0.2) as server, judging(server, tmp_path / "store") as judge:
        first = asyncio.create_task(judge.compare("q", GOOD, BAD))
        await until(lambda: server.in_flight == 1)
        second = asyncio.create_task(judge.compare("q", GOOD, BAD))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).p == 1.0


async def test_a_truncated_vote_is_stored_only_if_the_model_itself_would_not_say(tmp_path: Path) -> None:
    class Cut(Scripted):
        async def complete(self, messages: Any, n: int, sampling: Any) -> list[Completion]:
            self.asked.append((n, sampling))
            return [Completion("...", "length")]

        async def prepare(self, *args: Any) -> None: ...

        async def next_token(self, completion: Completion, ending: str) -> Any:
            answer = self.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

    async def run(*answers: Any) -> tuple[int, list[Vote]]:
        backend = Cut(*answers)
        judge = Judge(backend, reasks=0, force=True, store=VerdictStore(tmp_path / "store", "judge"))
        await judge.start()
        judgment = await judge.compare("q", "a", "b")
        await judge.aclose()
        return len(backend.asked), list(judgment.votes)

    assert (await run(BackendError("busy")))[1][0].soft is None
    asked, votes = await run({"3": 0.0})
    assert (asked, votes[0].soft, votes[0].stored) == (1, None, False)
    asked, votes = await run()
    assert (asked, votes[0].soft, votes[0].stored) == (0, None, True)


async def test_a_store_that_fails_is_left_alone_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = VerdictStore(tmp_path / "store", "judge")
    store.open()
    calls = []

    def locked(database: sqlite3.Connection, jobs: Any) -> Any:
        calls.append(1)
        raise sqlite3.OperationalError("database is locked")

    with monkeypatch.context() as patched:
        patched.setattr(store, "_transact", locked)
        for _ in range(3):
            assert await store.get(b"key", 0, 1) == {}
        await store.put(b"key", [(0, Vote(True, Verdict(1)))])
        assert len(calls) == 1
    store._retry_at = 0.0
    await store.put(b"key", [(0, Vote(True, Verdict(1)))])
    assert list(await store.get(b"key", 0, 1)) == [0]
    store.close()
