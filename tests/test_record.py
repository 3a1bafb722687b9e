"""Nothing that was paid for is lost: the run log outlives a crash and can be rated again."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from rrm_reward._sqlite import open_database
from rrm_reward.errors import ConfigError
from rrm_reward.judge import Judgment, _store
from rrm_reward.rating import make_rating
from rrm_reward.record import RunLog, _schema, count_lost, read_groups
from rrm_reward.types import Group, Match, NoVerdict, Verdict, Vote
from tests.support import clock
from tests.support.comparer import QualityJudge
from tests.test_arena import TEXTS, arena


def judge_and_log(path, groups=3):
    async def main():
        async with arena(QualityJudge(), recorder=RunLog(path, {"seed": 0})) as players:
            return [await players.judge(Group(f"g{k}", f"query {k}", TEXTS)) for k in range(groups)]

    return clock.run(main())


def test_ratings_can_be_recomputed_from_the_log_without_the_judge(tmp_path):
    path = tmp_path / "run.sqlite"
    results = judge_and_log(path)
    logged = list(read_groups(path))
    assert [(g.id, g.query, g.size) for g in logged] == [(f"g{k}", f"query {k}", 8) for k in range(3)]
    for group, result in zip(logged, results, strict=True):
        assert sorted(group.outcomes, key=lambda o: (o.i, o.j)) == sorted(
            result.outcomes, key=lambda o: (o.i, o.j)
        )
        assert group.rewards == tuple(result.rewards)
        again = make_rating("win_rate")(group.size, group.outcomes)
        assert np.argmax(again.value) == np.argmax(result.rewards)


def test_a_verdict_that_came_too_late_is_kept_but_rates_nobody(tmp_path):
    path = tmp_path / "run.sqlite"
    slow = QualityJudge(latency=lambda a, b: 100.0 if "0.1" in (a[:3], b[:3]) else 1.0)

    async def main():
        async with arena(slow, recorder=RunLog(path), group_timeout=10.0) as players:
            result = await players.judge(Group("g", "q", ["0.1 a", "0.5 b", "0.9 c"]))
            await asyncio.sleep(200)
        return result

    result = clock.run(main())
    (group,) = read_groups(path)
    assert len(group.outcomes) == len(result.outcomes) == 1
    database = sqlite3.connect(path)
    assert database.execute("SELECT late FROM matches ORDER BY key").fetchall() == [(0,), (1,), (1,)]
    database.close()


def test_several_runs_share_one_file(tmp_path):
    path = tmp_path / "run.sqlite"
    judge_and_log(path, 1)
    judge_and_log(path, 2)
    assert [group.id for group in read_groups(path)] == ["g0", "g0", "g1"]
    assert all(len(group.outcomes) == 28 for group in read_groups(path))


def test_verdicts_survive_a_kill(tmp_path):
    path = tmp_path / "run.sqlite"
    program = textwrap.dedent(
        f"""
        import asyncio, sys
        from rrm_reward.record import RunLog
        from rrm_reward.types import Group
        from tests.support.comparer import QualityJudge
        from tests.test_arena import TEXTS, arena

        async def main():
            judge = QualityJudge(latency=lambda a, b: 0.01 if a != TEXTS[7] and b != TEXTS[7] else 1e6)
            players = arena(judge, recorder=RunLog({str(path)!r}))
            asyncio.ensure_future(players.judge(Group("g", "q", TEXTS)))
            await asyncio.sleep(5)
            print("paid", flush=True)
            await asyncio.sleep(600)

        asyncio.run(main())
        """
    )
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "paid\n"
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    (group,) = read_groups(path)
    assert len(group.outcomes) == 21
    assert group.rewards is None


def test_a_log_that_cannot_be_written_is_refused_at_the_start(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a database, and long enough to be seen as none" * 10)
    with pytest.raises(ConfigError, match=r"log\.path"):
        RunLog(blocked)
    with pytest.raises(ConfigError, match="no such run log"):
        list(read_groups(tmp_path / "absent"))


def test_a_log_that_breaks_later_costs_the_log_and_not_the_run(tmp_path, caplog):
    path = tmp_path / "run.sqlite"
    log = RunLog(path)
    other = sqlite3.connect(path)
    other.execute("DROP TABLE matches")
    other.close()

    async def main():
        async with arena(QualityJudge(), recorder=log) as players:
            return await players.judge(Group("g", "q", TEXTS))

    assert not np.isnan(clock.run(main()).rewards).any()
    assert caplog.text.count("the run goes on without it") == 1


def test_texts_that_utf_8_or_json_do_not_know_are_logged_all_the_same(tmp_path, caplog):
    path = tmp_path / "run#1 100%.sqlite"
    parts = np.array([{"type": "text", "text": "q"}], dtype=object)
    queries = ["half a pair: \ud800", [{"role": "user", "content": parts}], "plain"]

    async def main():
        async with arena(QualityJudge(), recorder=RunLog(path)) as players:
            for query in queries:
                await players.judge(Group("\udfff", query, TEXTS))

    clock.run(main())
    assert not caplog.records
    logged = list(read_groups(path))
    assert [group.id for group in logged] == ["?", "?", "?"]
    assert [group.query for group in logged] == [
        "half a pair: ?",
        '[{"role": "user", "content": [{"type": "text", "text": "q"}]}]',
        "plain",
    ]
    assert all(len(group.outcomes) == 28 for group in logged)


def test_what_sqlite_cannot_store_costs_the_log_and_not_the_run(tmp_path, caplog):
    log = RunLog(tmp_path / "run.sqlite")

    async def main():
        async with arena(QualityJudge(), recorder=log) as players:
            log.opened(99, "g", "q", 2**64)
            return await players.judge(Group("g", "q", TEXTS))

    assert not np.isnan(clock.run(main()).rewards).any()
    assert caplog.text.count("the run goes on without it") == 1


def test_a_file_that_is_no_run_log_is_named_when_it_is_read(tmp_path):
    path = tmp_path / "file"
    path.write_text("not a database, and long enough to be seen as none" * 10)
    with pytest.raises(ConfigError, match="cannot be read as a run log"):
        list(read_groups(path))


class Gate:
    """Holds a log's thread back, as a disk that does not answer."""

    def __init__(self, log):
        self.open = threading.Event()
        self._transact = log._transact
        log._transact = self

    def __call__(self, entries):
        self.open.wait()
        self._transact(entries)


def test_a_disk_that_cannot_keep_up_costs_groups_of_the_log_and_never_half_of_one(tmp_path, caplog):
    path = tmp_path / "run.sqlite"
    log = RunLog(path, queue_size=40)
    gate = Gate(log)

    async def main():
        async with arena(QualityJudge(), recorder=log) as players:
            results = [await players.judge(Group(f"g{k}", f"query {k}", TEXTS)) for k in range(4)]
            dropped = players.snapshot()["log_dropped"]
            gate.open.set()
            return results, dropped

    results, dropped = clock.run(main())
    assert len(results) == 4
    assert not any(np.isnan(result.rewards).any() for result in results)
    assert dropped > 0
    assert "too slow" in caplog.text
    groups = list(read_groups(path))
    kept = [group for group in groups if not group.lost]
    assert 1 <= len(kept) < 4
    assert all(len(group.outcomes) == 28 and group.rewards is not None for group in kept)
    for group in groups:
        if group.lost:
            assert (group.outcomes, group.rewards) == ((), None)
    assert len(groups) + count_lost(path) == 4


def test_a_log_is_never_waited_for_while_the_run_goes_on(tmp_path):
    log = RunLog(tmp_path / "run.sqlite")
    gate = Gate(log)

    async def main():
        async with arena(QualityJudge(), recorder=log) as players:
            result = await players.judge(Group("g", "q", TEXTS))  # the disk has not answered once
            gate.open.set()
            return result

    assert not np.isnan(clock.run(main()).rewards).any()


def test_a_group_whose_rows_are_missing_for_whatever_reason_counts_as_lost(tmp_path):
    path = tmp_path / "run.sqlite"
    judge_and_log(path, 2)
    database = sqlite3.connect(path)
    with database:
        database.execute("DELETE FROM matches WHERE key = (SELECT max(key) FROM matches)")
    database.close()
    whole, holed = read_groups(path)
    assert (whole.lost, len(whole.outcomes)) == (False, 28)
    assert (holed.lost, holed.outcomes, holed.rewards) == (True, (), None)


def test_one_value_that_cannot_be_stored_costs_its_group_alone(tmp_path):
    path = tmp_path / "run.sqlite"
    log = RunLog(path)

    async def main():
        async with arena(QualityJudge(), recorder=log) as players:
            await players.judge(Group("before", "q", TEXTS))
            log.opened(99, "broken", "q", 2**64)
            await players.judge(Group("after", "q", TEXTS))

    clock.run(main())
    assert [(group.id, len(group.outcomes)) for group in read_groups(path)] == [("before", 28), ("after", 28)]
    assert count_lost(path) == 1


@pytest.mark.parametrize("compress", [True, False])
def test_a_vote_is_read_as_it_was_written(tmp_path, compress):
    path = tmp_path / "run.sqlite"
    votes = (
        Vote(True, Verdict(1), 100, 7, "so </think>\\boxed{Assistant 1} \ud800", stored=True),
        Vote(False, Verdict(None, NoVerdict.TRUNCATED), 0, 9, "so " * 400, soft=0.75),
        Vote(True, Verdict(None, NoVerdict.ERROR)),
    )
    log = RunLog(path, compress=compress)
    log.opened(0, "g", "q", 2)
    log.judged(0, Match(0, 1), Judgment(0.6, votes, 4), 1.5, late=False)
    log.close()
    (group,) = read_groups(path)
    assert group.outcomes[0].votes == (
        replace(votes[0], text=votes[0].text.replace("\ud800", "?")),
        *votes[1:],
    )
    database = sqlite3.connect(path)
    ((kind, size, seconds, calls),) = database.execute(
        "SELECT typeof(text), length(text), matches.seconds, calls FROM votes JOIN matches ON match = key "
        "WHERE soft NOTNULL"
    )
    database.close()
    assert kind == ("blob" if compress else "text")
    assert (size < 100) == compress
    assert (seconds, calls) == (1.5, 4)


def test_a_log_of_another_version_is_named(tmp_path):
    path = tmp_path / "old.sqlite"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE run (id)")
    database.close()
    for use in (RunLog, lambda path: list(read_groups(path))):
        with pytest.raises(ConfigError, match="of this version"):
            use(path)


@pytest.mark.parametrize("schema", [_schema.SCHEMA, _store._SCHEMA])
def test_several_may_create_the_same_file_at_once(schema, tmp_path):
    for attempt in range(10):
        path, start = tmp_path / str(attempt), threading.Barrier(6)

        def open_it(path=path, start=start):
            start.wait()
            open_database(path, schema, 2).close()

        with ThreadPoolExecutor(6) as threads:
            for future in [threads.submit(open_it) for _ in range(6)]:
                future.result()
