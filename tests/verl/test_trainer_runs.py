"""The unmodified ``verl.trainer.main_ppo`` from start to end, rewarded by this package.

A random policy babbles, a loopback judge prefers some babble to other, and verl trains on it. Every promise is read
from what verl logged and from what the hub wrote down.
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import numpy as np
import pytest

from tests.verl.assets import PROMPTS, Assets, question, validation_question
from tests.verl.failing_loop import FAILING_SESSION
from tests.verl.runs import (
    AGENT_LOOP,
    MEMBER_TIMEOUT,
    PROMPTS_A_STEP,
    REWARD_MANAGER,
    ROLLOUTS,
    STEPS,
    JudgeProcess,
    TrainerRun,
    trainer_run,
)

pytestmark = pytest.mark.trainer(minutes=1)


def assert_it_trained(run: TrainerRun, steps: int = STEPS) -> None:
    """Exit code 0, every step logged, and a gradient in each."""
    assert run.code == 0, run.tail()
    metrics = run.step_metrics()
    assert [row["training/global_step"] for row in metrics] == list(range(1, steps + 1))
    for row in metrics:
        assert math.isfinite(row["actor/grad_norm"]), row["actor/grad_norm"]
        assert row["actor/grad_norm"] > 1e-3
        assert math.isfinite(row["critic/score/mean"])
        assert row["critic/score/max"] > row["critic/score/min"]


def assert_validation_did_not_wait(run: TrainerRun) -> None:
    """Before training and at its end, with scores in [0, 1], never through a group and so without a wait for one."""
    validations = run.validations()
    assert len(validations) == 2, run.tail()
    for row in validations:
        assert 0.0 <= row["val-aux/rrm/babble/rrm_rating/mean@1"] <= 1.0
        assert row["val-aux/rrm/babble/rrm_known/mean@1"] == 1.0
    assert validations[-1]["timing_s/testing"] < MEMBER_TIMEOUT / 6
    validation_queries = {validation_question(i) for i in range(PROMPTS)}
    assert not validation_queries & {sample["query"] for sample in run.samples()}


def assert_whole_groups(run: TrainerRun, steps: int = STEPS) -> None:
    """Every training group has exactly n members, all of one prompt, and every member a finite reward."""
    groups = run.groups()
    assert len(groups) == steps * PROMPTS_A_STEP
    for samples in groups.values():
        assert sorted(sample["slot"] for sample in samples) == list(range(ROLLOUTS))
        assert {sample["size"] for sample in samples} == {ROLLOUTS}
        assert len({sample["query"] for sample in samples}) == 1
        assert all(math.isfinite(sample["reward"]) for sample in samples)


def assert_advantages_are_rewards_less_their_groups_mean(run: TrainerRun) -> None:
    """As verl logged it over all steps: the estimator `rrm` divides by nothing."""
    rewards = [np.array([sample["reward"] for sample in samples]) for samples in run.groups().values()]
    centred = np.concatenate([group - group.mean() for group in rewards])
    metrics = run.step_metrics()
    assert max(row["critic/advantages/max"] for row in metrics) == pytest.approx(centred.max(), abs=1e-3)
    assert min(row["critic/advantages/min"] for row in metrics) == pytest.approx(centred.min(), abs=1e-3)
    assert all(0 < np.mean(group**2) < 1 for group in rewards)


def assert_same_prompt_stays_two_groups(run: TrainerRun) -> None:
    """Rows 0 and 1 ask the same; an epoch sees both."""
    asked = [samples[0]["query"] for samples in run.groups().values()]
    assert asked.count(question(0)) == 2
    assert len(asked) == PROMPTS


def test_reward_manager_on_verl_09_whose_judge_is_killed_and_comes_back_loses_no_step_and_no_reward(
    tmp_path: Path, assets: Assets
) -> None:
    noise_aware = [
        "+rrm.rating.name=bradley_terry",
        "+rrm.reward.scale=decided",
        "algorithm.adv_estimator=rrm",
    ]
    # 2 s for each of the 6 comparisons of a group: the judge dies in the middle of some
    with (
        JudgeProcess("--latency", "0.5") as judge,
        trainer_run(tmp_path, assets, judge, REWARD_MANAGER, *noise_aware) as run,
    ):
        while not run.samples() and run.process.poll() is None:
            time.sleep(0.05)
        # the first group is judged, its neighbours are being judged
        judge.kill()
        time.sleep(5.0)
        judge.start()
        run.wait()
    assert_it_trained(run)
    assert_whole_groups(run)
    assert_advantages_are_rewards_less_their_groups_mean(run)
    position = json.loads((tmp_path / "checkpoints" / "rrm_position.json").read_text())
    assert 1 <= position["groups"] <= len(run.groups())
    assert_same_prompt_stays_two_groups(run)
    assert_validation_did_not_wait(run)


def test_reward_manager_on_verl_08(
    tmp_path: Path, assets: Assets, judge_process: JudgeProcess, verl08: Path
) -> None:
    by_rule = [
        "+rrm_verl.validation=rule",
        "reward.custom_reward_function.path=pkg://rrm_reward.integrations.verl.exact_match",
    ]
    with trainer_run(tmp_path, assets, judge_process, REWARD_MANAGER, *by_rule, python=verl08) as run:
        run.wait()
    assert_it_trained(run)
    assert_whole_groups(run)
    assert_same_prompt_stays_two_groups(run)
    assert_validation_did_not_wait(run)
    # babble is no right answer, and verl reports it under the name of an accuracy
    assert [row["val-core/rrm/babble/acc/mean@1"] for row in run.validations()] == [0.0, 0.0]


def test_agent_loop_on_verl_09_goes_on_without_rollouts_that_fail(
    tmp_path: Path, assets: Assets, judge_process: JudgeProcess
) -> None:
    loops = tmp_path / "loops.yaml"
    loops.write_text("- name: failing\n  _target_: tests.verl.failing_loop.FailingLoop\n")
    failing = [
        f"actor_rollout_ref.rollout.agent.agent_loop_config_path={loops}",
        "actor_rollout_ref.rollout.agent.default_agent_loop=failing",
    ]
    with trainer_run(tmp_path, assets, judge_process, AGENT_LOOP, *failing) as run:
        run.wait()
    assert_it_trained(run)
    assert_same_prompt_stays_two_groups(run)
    assert_validation_did_not_wait(run)
    survivors = sorted(set(range(ROLLOUTS)) - {FAILING_SESSION})
    slots = [sorted(sample["slot"] for sample in samples) for samples in run.groups().values()]
    assert sorted(slots) == sorted([survivors] * (PROMPTS // 2) + [list(range(ROLLOUTS))] * (PROMPTS // 2))
    assert all(math.isfinite(sample["reward"]) for sample in run.samples())
