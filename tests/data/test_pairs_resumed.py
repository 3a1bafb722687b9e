"""A run of `rrm-reward data pairs` that is killed, refused or repeated pays for nothing twice."""

import signal
import subprocess
import sys
import time
import tracemalloc
from collections import Counter

import pytest

from rrm_reward.data.pairs._collect import each
from rrm_reward.data.pairs._journal import Journal
from rrm_reward.errors import InputError
from tests.data.making_pairs import (
    SKYWORK_REWARD,
    TULU,
    good_and_bad,
    manifest_of,
    pairs,
    read,
    running_sampler,
    user,
    write,
)
from tests.support.running_judge import running_judge


def test_a_second_run_asks_for_nothing_and_writes_the_same_bytes(tmp_path):
    arguments = ("--source", f"tulu={write(tmp_path / 'rows.jsonl', TULU)}", "--val", "2")
    out = tmp_path / "out"
    with running_sampler(answers=good_and_bad) as sampler, running_judge() as judge:
        assert pairs(out, *arguments, sampler=sampler, labeller=judge) == 0
        before = [(out / name).read_bytes() for name in ("train.parquet", "val.parquet")]
        assert pairs(out, *arguments, sampler=sampler, labeller=judge) == 0
        assert len(sampler.questions) == 6
        assert judge.counts["requests"] == 12
    assert before == [(out / name).read_bytes() for name in ("train.parquet", "val.parquet")]
    assert manifest_of(out)["val"] == 2


def test_a_server_that_fails_some_costs_only_those_and_they_are_asked_again(tmp_path, capfd):
    arguments = ("--source", f"tulu={write(tmp_path / 'rows.jsonl', TULU)}")
    out = tmp_path / "out"
    with running_sampler(answers=good_and_bad) as sampler, running_judge() as judge:
        sampler.fail = lambda question: "Topic 3" in question
        assert pairs(out, *arguments, "--sampler-timeout", "20", sampler=sampler, labeller=judge) == 1
        assert "1 failed, run again" in capfd.readouterr().out
        assert manifest_of(out)["sources"]["tulu"]["dropped"] == {"server failed": 1}
        sampler.fail = lambda question: False
        sampler.questions.clear()
        assert pairs(out, *arguments, sampler=sampler, labeller=judge) == 0
        assert sampler.questions == ["Topic 3?"]
    assert len(read(out / "train.parquet")) == 6


def test_a_killed_run_has_lost_only_what_was_in_flight(tmp_path):
    total, width = 24, 3
    rows = [{"id": str(k), "messages": [user(f"Topic {k}?")], "source": "s"} for k in range(total)]
    out = tmp_path / "out"

    def slow_to_the_kill(question, n):
        if len(sampler.questions) >= total // 2 + width:
            sampler.latency = 1e6  # or all could be over before
        return good_and_bad(question, n)

    with running_sampler(answers=slow_to_the_kill, latency=0.05) as sampler, running_judge() as judge:
        command = [sys.executable, "-m", "rrm_reward.cli", "data", "pairs", str(out), "--val", "0"]
        command += ["--source", f"tulu={write(tmp_path / 'rows.jsonl', rows)}", "--concurrency", str(width)]
        command += ["--sampler", sampler.url, "--sampler-model", sampler.model]
        command += ["--labeller", judge.url, "--labeller-model", judge.model]
        run = subprocess.Popen(command)
        deadline = time.monotonic() + 300
        while len(sampler.questions) < total // 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        run.send_signal(signal.SIGKILL)
        run.wait()
        assert len(sampler.questions) < total, "the run was killed in the middle"
        assert not (out / "train.parquet").exists()
        sampler.answers, sampler.latency = good_and_bad, 0.0
        assert subprocess.run(command, check=False).returncode == 0
        counts = Counter(sampler.questions)
        labelled = judge.counts["requests"]
    assert len(counts) == total
    assert sum(counts.values()) <= total + width, "no response that came was asked for again"
    assert labelled <= 2 * (total + width), "no label that came was asked for again"
    assert len(read(out / "train.parquet")) == total


def test_a_line_that_was_cut_by_a_kill_is_forgotten_and_nothing_else(tmp_path):
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.put("a", [1])
        journal.put("b", [2])
    with path.open("ab") as file:
        file.write(b'{"key": "c", "val')
    with Journal(path) as journal:
        assert (journal.get("a"), journal.get("b"), journal.get("c")) == ([1], [2], None)
        journal.put("c", [3])
    with Journal(path) as journal:
        assert journal.get("c") == [3]
        assert len(journal) == 3


def test_a_journal_holds_places_in_memory_and_values_on_the_disk(tmp_path):
    path, value = tmp_path / "journal.jsonl", "x" * 100_000
    with Journal(path) as journal:
        for k in range(100):
            journal.put(f"{k}", [k, value])
    tracemalloc.start()
    with Journal(path) as journal:
        assert all(journal.get(f"{k}") == [k, value] for k in (0, 50, 99))
        _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def test_a_file_that_is_no_journal_is_not_cut(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_text('{"other": 1}\n')
    with pytest.raises(InputError, match="line 1"):
        Journal(path)
    assert path.read_text() == '{"other": 1}\n'


def test_rows_are_written_in_parts_of_one_schema(tmp_path, monkeypatch):
    monkeypatch.setattr("rrm_reward.data._files.ROWS_AT_ONCE", 7)
    out = tmp_path / "out"
    assert pairs(out, "--source", f"skywork-reward={write(tmp_path / 'rows.jsonl', SKYWORK_REWARD)}") == 0
    assert [row["extra_info"]["index"] for row in read(out / "train.parquet")] == list(range(20))


async def test_a_full_disk_is_told_as_what_it_is():
    async def work(item):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        await each([1, 2, 3], work, 2)
