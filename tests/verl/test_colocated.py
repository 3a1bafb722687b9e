"""The colocated trainer's parts that need no trainer."""

from __future__ import annotations

from typing import Any

import pytest
from omegaconf import OmegaConf

from rrm_reward.errors import ConfigError
from rrm_reward.integrations.verl._settings import read_settings
from rrm_reward.integrations.verl.colocated import MODE, RRMColocatedTrainer, check_sharing, final_outputs
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
