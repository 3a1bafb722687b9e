"""Real runs of TRL as a user starts them, in processes of their own."""

from __future__ import annotations

import asyncio
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from recipes.miniature.data import write_data
from recipes.miniature.evaluate import policy_accuracy
from recipes.miniature.make_checkpoints import CHECKPOINTS
from rrm_reward.build import build_arena
from rrm_reward.config import load
from rrm_reward.types import Group
from tests.support.running_judge import running_judge

pytestmark = pytest.mark.trainer

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def run(*arguments: str, folder: Path = ROOT, patience: float = 1500.0) -> str:
    """The output of a Python program that must succeed."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=ENVIRONMENT,
        timeout=patience,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def judged_offline(url: str, calls: list[dict[str, Any]], size: int) -> list[list[float]]:
    """The rewards that the library gives to the groups of these calls, without a trainer."""

    async def judge() -> list[list[float]]:
        config = load(overrides=[f"judge.urls=[{url}]", "judge.model=RRM-7B"])
        async with build_arena(config) as arena:
            results = []
            for call in calls:
                texts = [completion[-1]["content"] for completion in call["completions"]]
                for start in range(0, len(texts), size):
                    prompt = call["prompts"][start]
                    assert call["prompts"][start : start + size] == [prompt] * size
                    results.append(await arena.judge(Group("g", prompt, texts[start : start + size])))
            return [result.rewards.tolist() for result in results]

    return asyncio.run(judge())


def test_groups_that_straddle_two_processes_are_judged_once_and_as_in_one(tmp_path: Path) -> None:
    with running_judge() as judge:
        run(
            *("-m", "torch.distributed.run", "--nproc-per-node", "2", "--local-addr", "127.0.0.1"),
            *("--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"),
            *("-m", "tests.trl.runs", str(tmp_path), judge.url),
        )
        asked = judge.counts["requests"]
        ranks = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1)]
        calls = [
            {name: first[name] + second[name] for name in first}
            for first, second in zip(*(rank["calls"] for rank in ranks), strict=True)
        ]
        # 6 rollouts a process in groups of 4, then 3 in groups of 2: a group lies across both every time
        assert [len(call["rewards"]) for call in calls] == [12, 12, 6]
        judge.counts["requests"] = 0
        expected = judged_offline(judge.url, calls[:2], 4) + judged_offline(judge.url, calls[2:], 2)
        assert asked == judge.counts["requests"]
    rewards = [reward for call in calls for reward in call["rewards"]]
    assert rewards == [reward for group in expected for reward in group]
    assert len(set(rewards)) > 2
    # the numbers that TRL averages over processes are those of all groups, the same in both
    for line in (line for line in ranks[0]["log"] if "rrm/unknown_share" in line):
        assert line["rrm/unknown_share"] == 0.0


def test_a_judge_that_fails_a_tenth_of_its_calls_costs_comparisons_and_not_the_run(tmp_path: Path) -> None:
    from tests.trl.runs import Recorded, make_trainer, settings

    with running_judge() as judge:
        judge.faults.http_500 = judge.faults.no_verdict = 0.05
        rrm = {"judge": {"urls": [judge.url], "model": "RRM-7B", "retries": 0, "reasks": 0}}
        from rrm_reward.integrations.trl import RRMReward

        with RRMReward(rrm) as reward:
            recorded = Recorded(reward)
            trainer = make_trainer(recorded, settings(tmp_path, max_steps=8))
            trainer.train()
    log = [line for line in trainer.state.log_history if "loss" in line]
    assert len(log) == 8
    assert 0 < sum(line["rrm/missing_share"] for line in log) / 8 < 0.5
    assert all(math.isfinite(line["grad_norm"]) for line in log)
    assert any(line["grad_norm"] > 0 for line in log)
    given = [one for call in recorded.calls for one in call["rewards"]]
    known = [one for one in given if one is not None]
    assert all(math.isfinite(one) for one in known)
    # two answers that differ hang on one comparison, so more than a tenth is unknown
    assert 0.5 * len(given) < len(known)
    assert reward.counts["errors"] == 0


def test_the_example_trains_the_miniature_policy_on_prompts_without_answers(tmp_path: Path) -> None:
    write_data(tmp_path / "data")
    run(
        *("recipes/trl/grpo_rrm.py", "--config", "recipes/trl/miniature.yaml"),
        *("--data", str(tmp_path / "data/train.parquet"), "--output_dir", str(tmp_path / "policy")),
    )
    before = policy_accuracy(CHECKPOINTS / "base").sampled.mean
    after = policy_accuracy(tmp_path / "policy").sampled.mean
    assert before < 0.45
    assert after > 0.75
