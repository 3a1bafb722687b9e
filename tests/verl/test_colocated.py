"""The colocated trainer's parts that need no trainer."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf

from rrm_reward.errors import ConfigError
from rrm_reward.integrations.verl._settings import read_settings
from rrm_reward.integrations.verl.colocated import MODE, RRMColocatedTrainer, check_sharing, final_outputs
from tests.support.fake_engine import stretches
from tests.support.running_judge import running_judge
from tests.verl.assets import Assets
from tests.verl.test_settings import verl_config


def shared(free_cache_engine: bool = True, **cluster: Any) -> None:
    """Check a judge on the policy's GPUs."""
    judge = {"backend": "ray", "model": "RRM-7B", "cluster": {"share": 0.3, "sleep": 1, **cluster}}
    config = verl_config(rrm={"judge": judge})
    OmegaConf.update(config, "actor_rollout_ref.rollout.free_cache_engine", free_cache_engine, force_add=True)
    check_sharing(config, read_settings(config))


def test_verl_finds_the_trainer_by_its_mode() -> None:
    from verl.trainer.ppo.v1 import get_trainer_cls

    assert get_trainer_cls(MODE) is RRMColocatedTrainer


def test_a_judge_that_gives_its_memory_back_may_share_gpus() -> None:
    shared()
    shared(sleep=2, tensor_parallel=4)
    # nothing is shared: the CPU, nodes of its own
    shared(False, gpus=0, sleep=0, share=1.0)
    shared(False, nodes=["judge-1"], sleep=0, share=1.0)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"sleep": 0}, "rrm.judge.cluster.sleep"),
        ({"share": 1.0}, "rrm.judge.cluster.share"),
        ({"free_cache_engine": False}, "actor_rollout_ref.rollout.free_cache_engine"),
    ],
)
def test_who_keeps_memory_on_shared_gpus_is_refused(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as refused:
        shared(**changes)
    assert refused.value.key == key


def test_the_last_output_of_a_session_is_its_response() -> None:
    keys = ["u_1_0_0", "u_1_0_1", "u_1_1_0", "v_0_2", "v_0_10"]
    assert final_outputs(keys) == {"u_1_0": 1, "u_1_1": 2, "v_0": 4}


class Queue:
    """verl's TransferQueue as far as the trainer sees it: rows in, rows out, in verl's own containers."""

    def __init__(self, fields: dict[str, dict[str, Any]]) -> None:
        self.rows = fields

    def kv_batch_get(self, keys: list[str], partition_id: str, select_fields: list[str]) -> Any:
        from verl.utils.tensordict_utils import list_of_dict_to_tensordict

        return list_of_dict_to_tensordict(
            [{name: self.rows[k][name] for name in select_fields} for k in keys]
        )

    def kv_batch_put(self, keys: list[str], partition_id: str, fields: Any) -> None:
        for name in fields.keys():  # noqa: SIM118  (a TensorDict iterates over rows)
            for key, value in zip(
                keys, fields[name].unbind() if hasattr(fields[name], "unbind") else fields[name], strict=True
            ):
                self.rows[key][name] = getattr(value, "data", value)


async def gather(work: list[Any]) -> list[Any]:
    return list(await asyncio.gather(*work))


def row(tokenizer: Any, text: str) -> dict[str, Any]:
    """What verl's agent loop writes of a rollout."""
    import torch

    return {
        "responses": torch.tensor(tokenizer(text)["input_ids"]),
        "raw_prompt": [{"role": "user", "content": "Which is best?"}],
        "extra_fields": {"kept": 1},
        "data_source": "rrm/babble",
        "reward_model": {"ground_truth": "quality=0.5"},
        "extra_info": {"index": 0},
    }


@pytest.mark.parametrize("validate", [False, True])
def test_a_batch_is_judged_by_groups_and_written_as_verl_reads_it(
    assets: Assets, monkeypatch: pytest.MonkeyPatch, validate: bool
) -> None:
    from transformers import AutoTokenizer

    from rrm_reward.integrations.verl import colocated
    from rrm_reward.integrations.verl._local_hub import LocalHub
    from rrm_reward.integrations.verl._rewarder import Rewarder

    tokenizer = AutoTokenizer.from_pretrained(assets.tokenizer)
    qualities = {"u_0_0": 0.1, "u_1_0": 0.4, "u_2_0": 0.9, "v_0_0": 0.7, "v_0_1": 0.6, "v_1_0": 0.2}
    queue = Queue({key: row(tokenizer, f"quality={quality}") for key, quality in qualities.items()})
    monkeypatch.setattr(colocated, "tq", queue)
    with running_judge() as judge:
        settings = read_settings(verl_config(rrm={"judge": {"urls": [judge.url], "model": judge.model}}))
        trainer: Any = object.__new__(RRMColocatedTrainer)
        trainer.tokenizer, trainer.global_steps = tokenizer, 3
        trainer._hub = LocalHub(settings)
        trainer._hub.start()
        trainer._rewarder = Rewarder(settings, trainer._hub, None)
        batch = SimpleNamespace(keys=list(qualities), partition_id="val" if validate else "train")
        metrics: dict[str, Any] = {}
        assert trainer._compute_reward_colocate(batch, metrics) is batch
        trainer._hub.close()
    scores = {}
    for key, fields in queue.rows.items():
        assert fields["rm_scores"].shape == fields["responses"].shape
        assert not fields["rm_scores"][:-1].any()
        assert fields["extra_fields"]["kept"] == 1
        assert fields["extra_fields"]["reward_extra_info"]["rrm_known"] == 1.0
        scores[key] = float(fields["rm_scores"][-1])
    if validate:
        # against the reference, whose quality is 0.5
        assert scores == {"u_0_0": 0, "u_1_0": 0, "u_2_0": 1, "v_0_0": 1, "v_0_1": 1, "v_1_0": 0}
    else:
        assert scores["u_0_0"] < scores["u_1_0"] < scores["u_2_0"]
        # a session's outputs share the reward of its last one
        assert scores["v_0_0"] == scores["v_0_1"] > scores["v_1_0"]
        assert (metrics["rrm/groups"], metrics["rrm/comparisons"], metrics["rrm/missing"]) == (2, 4, 0)
        assert metrics["rrm/judge_s"] > 0


@pytest.mark.trainer
@pytest.mark.usefixtures("ray_cluster")
def test_a_replica_in_the_policys_bundle_is_awake_for_each_batch_and_sleeps_between(tmp_path: Path) -> None:
    """As the trainer does it: from a thread, by the name of verl's placement group."""
    import ray

    from rrm_reward.integrations.verl._local_hub import LocalHub
    from rrm_reward.integrations.verl._sample import Sample

    group = ray.util.placement_group([{"CPU": 1}], name="global_poolverl_group_1:0")
    ray.get(group.ready(), timeout=300)
    cluster = {
        "engine": "tests.support.fake_engine:FakeEngine",
        "replicas": None,
        "gpus": 0,
        "cpus": 0.5,
        "sleep": 1,
        "placement_groups": ["global_poolverl_group_1:0"],
        "engine_args": {"orders": str(tmp_path), "sleeps": True, "prefers": True},
    }
    hub = LocalHub(
        read_settings(verl_config(rrm={"judge": {"backend": "ray", "model": "fake", "cluster": cluster}}))
    )
    try:
        hub.start()
        for step in range(2):
            samples = [
                Sample(f"g{step}", slot, f"{step}-{slot}", "q", f"response {step} {slot}", 4)
                for slot in range(4)
            ]
            rewards, timing = hub.run_awake([hub.submit(sample) for sample in samples])
            assert all(reward.known for reward in rewards)
            metrics = hub.step_metrics(timing)
            assert (metrics["rrm/groups"], metrics["rrm/comparisons"], metrics["rrm/missing"]) == (1, 6, 0)
            assert metrics["rrm/judge_present"] == metrics["rrm/judge_losses"] == 0  # it sleeps again
            assert metrics["rrm/judge_sleeps"] == step + 2
        assert stretches(tmp_path) == ["load", "vote", "sleep", *["wake", "vote", "sleep"] * 2]
        # outside, nobody is answered, and the run goes on
        late = [hub.submit(Sample("late", slot, f"late-{slot}", "q", f"late {slot}", 2)) for slot in range(2)]
        lost = hub._run(gather(late))
        assert [(reward.known, reward.missing) for reward in lost] == [(False, 1)] * 2
    finally:
        hub.close()
        ray.util.remove_placement_group(group)
