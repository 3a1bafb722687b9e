"""The unmodified ``verl.trainer.main_ppo`` with a judge that lives in the run itself.

Once it shares the policy's GPU (the colocated trainer, a replica on Ray that sleeps between uses), once verl serves it
as its own reward model in a pool of its own.
"""

from __future__ import annotations

import math
from pathlib import Path

import pyarrow.parquet
import pytest

from recipes.miniature.data import row, write_data
from recipes.miniature.demo import CHECKPOINTS
from recipes.miniature.task import all_queries, right_answer
from recipes.miniature.verl_cpu.launch import CPURun
from tests.openrlhf.environment import PYTHON, VLLM_ON_CPU
from tests.support.fake_engine import stretches
from tests.verl.assets import Assets
from tests.verl.runs import PROMPTS_A_STEP, REWARD_MANAGER, ROLLOUTS, STEPS, TrainerRun
from tests.verl.test_trainer_runs import (
    assert_it_trained,
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


@pytest.fixture
def miniature(tmp_path: Path) -> Assets:
    """The policy of ``make demo``, which sorts one list of digits in three, and eight lists to sort.

    No policy says the references of the validation, so that the judge is asked about every row.
    """
    train, val = write_data(tmp_path / "data", training_prompts=STEPS * PROMPTS_A_STEP)
    held_out = all_queries(held_out=True)[:3]
    rows = [row(query, "val", i, answer=f"{right_answer(query)} 0") for i, query in enumerate(held_out)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), val)
    return Assets(CHECKPOINTS / "base", CHECKPOINTS / "base", train, val)


def test_judge_in_a_real_vllm_sleeps_while_the_policy_trains_and_judges_the_batch_in_between(
    tmp_path: Path, miniature: Assets, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = tmp_path / "orders"
    orders.mkdir()
    for name, value in VLLM_ON_CPU.items():
        monkeypatch.setenv(name, value)
    engine = f"{{orders:'{orders}',dtype:float32,enforce_eager:true,max_num_batched_tokens:32768}}"
    run = finished_run(
        tmp_path,
        miniature,
        "rrm_reward.integrations.verl.colocated",
        "trainer.v1.trainer_mode=rrm_colocated",
        "+rrm.judge.backend=ray",
        f"+rrm.judge.model={CHECKPOINTS / 'rrm'}",
        "+rrm.judge.max_tokens=64",
        "+rrm.judge.context_tokens=4096",
        # verl has no vLLM in its environment, and the judge's has no verl
        f"+rrm.judge.cluster.python={PYTHON}",
        "+rrm.judge.cluster.engine=tests.support.drowsy_vllm:DrowsyVLLM",
        "+rrm.judge.cluster.gpus=0",
        "+rrm.judge.cluster.cpus=0.5",
        "+rrm.judge.cluster.sleep=1",
        f"+rrm.judge.cluster.engine_args={engine}",
    )
    assert_it_trained(run)
    assert_whole_groups(run)
    assert len(run.validations()) == 2
    assert all(found["val-aux/sort_digits/rrm_known/mean@1"] == 1 for found in run.validations())
    # loaded, put to sleep, and then awake for two validations and for each step's batch, one after the other
    assert stretches(orders) == ["load", "vote", "sleep", *["wake", "vote", "sleep"] * (STEPS + 2)]
    pairs = ROLLOUTS * (ROLLOUTS - 1) // 2
    for step in run.step_metrics():
        assert step["rrm/groups"] == PROMPTS_A_STEP
        assert 0 < step["rrm/comparisons"] <= PROMPTS_A_STEP * pairs
        assert step["rrm/judge_losses"] == 0
        assert step["rrm/judge_present"] == 0  # it sleeps again
        assert step["rrm/judge_s"] > 0
        assert {"rrm/wake_s", "rrm/sleep_s"} <= set(step)
    # the judge knows right from wrong in 98 of 100 pairs, so rewards do
    by_truth: dict[bool, list[float]] = {True: [], False: []}
    for sample in run.samples():
        by_truth[sample["response"].strip() == right_answer(sample["query"])].append(sample["reward"])
    right, wrong = (math.fsum(rewards) / len(rewards) for rewards in by_truth.values())
    assert right > wrong


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
