"""The unmodified ``verl.trainer.main_ppo`` with a judge that lives in the run itself.

Once it shares the policy's GPU (the colocated trainer, a replica on Ray that sleeps between uses), once verl serves it
as its own reward model in a pool of its own.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from recipes.miniature.verl_cpu.launch import CPURun
from tests.verl.assets import Assets
from tests.verl.runs import PROMPTS_A_STEP, REWARD_MANAGER, ROLLOUTS, STEPS, TrainerRun
from tests.verl.test_trainer_runs import (
    assert_it_trained,
    assert_same_prompt_stays_two_groups,
    assert_validation_did_not_wait,
    assert_whole_groups,
)

pytestmark = pytest.mark.trainer(minutes=1)


def finished_run(folder: Path, assets: Assets, module: str, *overrides: str) -> TrainerRun:
    """A run from start to end."""
    cpu = CPURun(
        folder,
        assets.model,
        assets.tokenizer,
        assets.train,
        assets.val,
        steps=STEPS,
        prompts=PROMPTS_A_STEP,
        rollouts=ROLLOUTS,
        validate_every=STEPS,
        modules=(module,),
    )
    samples = folder / "samples.jsonl"
    with cpu.start([f"+rrm_verl.log={samples}", *overrides]) as process:
        run = TrainerRun(cpu, samples, process)
        run.wait()
    return run


def test_judge_sleeps_while_the_policy_rolls_out_and_trains_and_judges_the_batch_in_between(
    tmp_path: Path, assets: Assets
) -> None:
    orders = tmp_path / "orders"
    orders.mkdir()
    run = finished_run(
        tmp_path,
        assets,
        "rrm_reward.integrations.verl.colocated",
        "trainer.v1.trainer_mode=rrm_colocated",
        "+rrm.judge.backend=ray",
        "+rrm.judge.model=fake",
        "+rrm.judge.cluster.engine=tests.support.fake_engine:FakeEngine",
        "+rrm.judge.cluster.gpus=0",
        "+rrm.judge.cluster.cpus=0.5",
        "+rrm.judge.cluster.sleep=1",
        f"+rrm.judge.cluster.engine_args={{orders:'{orders}',sleeps:true,prefers:true}}",
    )
    assert_it_trained(run)
    assert_whole_groups(run)
    assert_same_prompt_stays_two_groups(run)
    assert_validation_did_not_wait(run)
    # loaded, put to sleep, and then awake for two validations and for each step's batch, one after the other
    events = [line.split()[0] for line in (orders / "log").read_text().splitlines()]
    phases = [word for word, _ in itertools.groupby(word for word in events if word != "end")]
    assert phases == ["load", "vote", "sleep", *["wake", "vote", "sleep"] * (STEPS + 2)]
    pairs = ROLLOUTS * (ROLLOUTS - 1) // 2
    for row in run.step_metrics():
        assert row["rrm/groups"] == PROMPTS_A_STEP
        assert row["rrm/comparisons"] <= PROMPTS_A_STEP * pairs
        assert row["rrm/comparisons"] > 0
        assert row["rrm/missing"] == row["rrm/unknown_rewards"] == row["rrm/judge_losses"] == 0
        assert row["rrm/judge_present"] == 0  # it sleeps again
        assert row["rrm/judge_s"] > 0
        assert {"rrm/wake_s", "rrm/sleep_s"} <= set(row)


def test_reward_model_that_verl_serves_in_a_pool_of_its_own_is_the_judge(
    tmp_path: Path, assets: Assets
) -> None:
    run = finished_run(
        tmp_path,
        assets,
        "tests.verl.served_model",
        *REWARD_MANAGER,
        "+rrm.judge.backend=verl",
        "+rrm.judge.max_tokens=1024",
        "reward.custom_reward_function.path=pkg://rrm_reward.integrations.verl.exact_match",
        "reward.reward_model.enable=True",
        "reward.reward_model.enable_resource_pool=True",
        "reward.reward_model.n_gpus_per_node=1",
        "reward.reward_model.nnodes=1",
        f"reward.reward_model.model_path={assets.model}",
        "reward.reward_model.rollout.name=loopback",
        "reward.reward_model.rollout.tensor_model_parallel_size=1",
        "reward.reward_model.rollout.free_cache_engine=False",
        "++ray_kwargs.ray_init.num_gpus=2",
    )
    assert_it_trained(run)
    assert_whole_groups(run)
    assert_validation_did_not_wait(run)
