"""`rrm-reward rank --resume`: whatever kills the run, no verdict is paid for twice."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from rrm_reward import cli
from rrm_reward.config import JudgeConfig
from rrm_reward.judge import Sampling
from rrm_reward.judge._store import make_store
from tests.support.running_judge import running_judge
from tests.test_rank_faults import wait_for, write_groups

CONCURRENCY = 8
GROUPS, SIZE = 24, 5
REQUESTS = GROUPS * SIZE * (SIZE - 1) // 2
BUDGET = 8
ADAPTIVE = ("--tournament", "adaptive", f"tournament.budget={BUDGET}")
ALONE = ("position.learn=false",)
"""No group depends on another."""


class Runs:
    """Starts `rank` against one judge again and again, and knows what the judge answered and the store holds."""

    def __init__(self, judge, folder, settings=ALONE):
        self.judge = judge
        self.settings = settings
        self.groups, self.output = folder / "in.jsonl", folder / "out.jsonl"
        write_groups(self.groups, GROUPS, SIZE)
        self.answered = []
        self.lost = 0  # answers that a kill overtook on their way to the store
        self._messages = {}
        self._kill_at = None
        self._pid = None
        self._started = threading.Event()
        judge.answered_hook = self._hook

    def _hook(self, body):
        """In the judge's thread, for every request it has an answer to: the k-th of a run is its death."""
        prompt = body["messages"][-1]["content"]
        self._messages[prompt] = body["messages"]
        self.answered.append(prompt)
        if self._kill_at is not None and len(self.answered) == self._kill_at:
            self._started.wait()
            os.kill(self._pid, signal.SIGKILL)

    def run(self, kill_after=None):
        """One run, killed by the judge's count of answers; returns what was answered in it, and its exit code."""
        self._started.clear()
        before = len(self.answered)
        self._kill_at = None if kill_after is None else before + kill_after
        command = [sys.executable, "-m", "rrm_reward.cli", "rank", self.groups, "--judge", self.judge.url]
        command += ["--model", self.judge.model, "--output", self.output, "--resume", *self.settings]
        process = subprocess.Popen([*map(str, command), "--concurrency", str(CONCURRENCY)])
        self._pid = process.pid
        self._started.set()
        code = process.wait(300)
        wait_for(lambda: self.judge.in_flight == 0)
        return self.answered[before:], code

    async def stored(self, prompts):
        """Those of the prompts whose verdict is in the store."""
        store = make_store(
            JudgeConfig(model=self.judge.model, store=f"{self.output}.verdicts"), Sampling(0.6, 1.0, 8192)
        )
        store.open()
        found = [prompt for prompt in prompts if await store.get(store.key(self._messages[prompt]), 0, 1)]
        store.close()
        return set(found)


def kill_and_resume(tmp_path, kills, seed, settings=ALONE, requests=REQUESTS):
    """Kills a run as often, and ends it; nothing that was committed is asked again. Returns all that happened."""
    rng = random.Random(seed)
    with running_judge(latency=0.003, latency_sigma=1.0, bias=0.2) as judge:
        runs = Runs(judge, tmp_path, settings)
        durable = set()
        for kill in range(kills):
            after = rng.randint(1, (requests - 40) // kills)
            answered, code = runs.run(kill_after=after)
            assert code == -signal.SIGKILL, f"kill {kill}"
            assert len(answered) >= after
            assert not durable & set(answered), f"kill {kill}: what was in the store was asked for again"
            durable_before, durable = durable, asyncio.run(runs.stored(set(runs.answered)))
            assert durable_before <= durable
            # What the client had not committed yet was in flight for it: no more than its limit of requests.
            lost = set(answered) - durable
            assert len(lost) <= CONCURRENCY, f"kill {kill}"
            runs.lost += len(lost)
        answered, code = runs.run()
        assert code == 0
        assert not durable & set(answered)
        assert len(runs.answered) <= len(set(runs.answered)) + runs.lost
        judge.answered_hook = None
        reference = tmp_path / "reference.jsonl"
        asked = ["rank", str(runs.groups), "--judge", judge.url, "--model", judge.model]
        assert cli.main([*asked, "--output", str(reference), *settings]) == 0
    return runs, reference


def is_as_if_nothing_had_happened(runs, reference, requests):
    assert len(set(runs.answered)) == requests
    assert len(runs.answered) == requests + runs.lost
    assert runs.output.read_bytes() == reference.read_bytes()


def test_a_run_that_is_killed_pays_for_no_verdict_twice(tmp_path):
    is_as_if_nothing_had_happened(*kill_and_resume(tmp_path, kills=1, seed=0), REQUESTS)


@pytest.mark.trainer
def test_a_run_that_is_killed_at_20_random_points_pays_for_no_verdict_twice(tmp_path):
    """Not a trainer, but 21 processes."""
    is_as_if_nothing_had_happened(*kill_and_resume(tmp_path, kills=20, seed=1), REQUESTS)


@pytest.mark.trainer
def test_adaptive_goes_on_where_it_was_if_no_group_depends_on_another(tmp_path):
    """Which matches it chooses follows from those before: they come out of the store, and the choice is the same."""
    settings = (*ADAPTIVE, "tournament.options={share: false, settled: 0}", *ALONE)
    ended = kill_and_resume(tmp_path, 5, 2, settings, GROUPS * BUDGET)
    is_as_if_nothing_had_happened(*ended, GROUPS * BUDGET)


def test_adaptive_with_a_learnt_position_bias_pays_for_no_verdict_twice(tmp_path):
    """What a kill loses of the bias (5 s at most) may change which matches are chosen: ratings may differ a little."""
    runs, reference = kill_and_resume(tmp_path, 2, 3, ADAPTIVE, GROUPS * BUDGET)
    rows, others = (
        [json.loads(line) for line in path.read_text().splitlines()] for path in (runs.output, reference)
    )
    assert [row["id"] for row in rows] == [row["id"] for row in others]
    assert sum(row["comparisons"] for row in rows) <= GROUPS * BUDGET
    assert all(row["missing"] == 0 for row in rows)
    ours, theirs = ([value for row in some for value in row["rewards"]] for some in (rows, others))
    assert np.corrcoef(ours, theirs)[0, 1] > 0.9
    learnt = json.loads(runs.output.with_name("out.jsonl.position.json").read_text())
    assert learnt["mean"] > learnt["deviation"] > 0, "the judge prefers Assistant 1, and the run knows it"


def test_a_finished_run_asks_for_nothing_under_another_schedule_and_rating(tmp_path):
    with running_judge() as judge:
        groups, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
        write_groups(groups, 4, 4)
        asked = ["rank", str(groups), "--judge", judge.url, "--model", judge.model]
        store = f"judge.store={tmp_path / 'store'}"
        assert cli.main([*asked, store, "judge.order=both", "--output", str(output)]) == 0
        paid = judge.counts["requests"]
        other = tmp_path / "other.jsonl"
        again = [*asked, store, "--output", str(other), "--tournament", "knockout", "--rating", "elo"]
        assert cli.main(again) == 0
        assert judge.counts["requests"] == paid
        rows = [json.loads(line) for line in other.read_text().splitlines()]
        assert [row["comparisons"] for row in rows] == [3] * 4


def test_resuming_needs_a_place_for_the_verdicts(tmp_path, capsys):
    groups = tmp_path / "in.jsonl"
    write_groups(groups, 1, 2)
    asked = ["rank", str(groups), "--judge", "http://127.0.0.1:9/v1", "--model", "m", "--resume"]
    assert cli.main(asked) == 2
    assert "--output" in capsys.readouterr().err
