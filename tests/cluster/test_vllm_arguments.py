"""What vLLM is told by a replica, by where the replica lives; vLLM itself is not needed."""

from __future__ import annotations

from typing import Any

import pytest

from rrm_reward.cluster import EngineSpec
from rrm_reward.cluster._placement import Place
from rrm_reward.cluster._vllm import VLLMEngine
from rrm_reward.config import load
from rrm_reward.errors import ConfigError


def arguments(**spec: Any) -> dict[str, Any]:
    return VLLMEngine(EngineSpec("RRM", **spec))._arguments()


def test_one_gpu_needs_no_workers() -> None:
    assert "distributed_executor_backend" not in arguments(gpus=1)


@pytest.mark.parametrize("width", [{"tensor_parallel": 4}, {"data_parallel": 2}])
def test_several_gpus_that_a_replica_holds_itself_have_workers_without_ray(width: dict[str, int]) -> None:
    # vLLM would take Ray in any placement group, and then refuse a bundle of more than one GPU
    assert arguments(gpus=4, **width)["distributed_executor_backend"] == "mp"


def test_gpus_in_bundles_of_a_trainer_have_workers_of_ray() -> None:
    found = arguments(gpus=2, tensor_parallel=2, bundles=(0, 1), share=0.3)
    assert found["distributed_executor_backend"] == "ray"


def test_what_the_user_says_wins() -> None:
    given = {"distributed_executor_backend": "ray", "enable_prefix_caching": False, "dtype": "float16"}
    found = arguments(gpus=4, tensor_parallel=4, sleep=1, arguments=given)
    assert given.items() <= found.items()
    assert found["enable_sleep_mode"] is True


def test_replica_in_another_environment_is_started_with_its_interpreter() -> None:
    ours, theirs = Place(1.0, 1.0), Place(1.0, 1.0, python="/opt/vllm/bin/python")
    assert "py_executable" not in ours.options()["runtime_env"]
    assert theirs.options()["runtime_env"]["py_executable"] == "/opt/vllm/bin/python"
    assert theirs.options()["runtime_env"]["env_vars"] == ours.options()["runtime_env"]["env_vars"]


@pytest.mark.parametrize("shared", ["share=0.3", "placement_groups=[theirs]"])
def test_copies_of_a_model_within_one_replica_are_refused_on_shared_gpus(shared: str) -> None:
    overrides = ["judge.backend=ray", "judge.model=RRM", "judge.cluster.data_parallel=2"]
    load(overrides=overrides)
    with pytest.raises(ConfigError, match=r"data_parallel=2: .* give more replicas instead"):
        load(overrides=[*overrides, f"judge.cluster.{shared}"])
