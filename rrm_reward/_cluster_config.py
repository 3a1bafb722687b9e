"""The section ``judge.cluster`` of the configuration: judge replicas on Ray (``docs/cluster.md``)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from rrm_reward._settings import setting
from rrm_reward.errors import ConfigError


@dataclass
class ClusterConfig:
    """Replicas, their place and their engine (judge.backend=ray)."""

    engine: str = setting("vllm", "vllm | transformers | package.module:function that makes an engine")
    replicas: int | None = setting(1, "how many; null: as many as there is room for now")
    tensor_parallel: int = setting(1, "GPUs that one copy of the model is split over")
    data_parallel: int = setting(1, "copies of the model in one replica")
    gpus: int | None = setting(
        None, "GPUs of one replica; null: tensor_parallel x data_parallel; 0: it runs on the CPU"
    )
    share: float = setting(1.0, "of each of these GPUs; below 1 others, such as the trainer, have the rest")
    cpus: float = setting(1.0, "CPUs of one replica")
    placement_groups: list[str] = setting(
        [], "names of existing placement groups of Ray whose GPUs are shared; none: one of its own"
    )
    nodes: list[str] = setting([], "addresses, host names or ids of the nodes to live on; none: wherever")
    sleep: int = setting(
        0, "between uses: 0 stays awake; 1 keeps the weights in the CPU's memory; 2 drops them"
    )
    engine_args: dict[str, Any] = setting({}, "further arguments of the engine (vLLM: AsyncEngineArgs)")
    python: str | None = setting(
        None,
        "interpreter of the replicas, on their nodes, where vLLM lives in another environment than the trainer",
    )
    start_timeout: float = setting(1800.0, "seconds a replica may take to load")
    hang_timeout: float = setting(180.0, "seconds without a token or an answer until a replica is replaced")
    address: str | None = setting(
        None, "Ray's address, where this process is in no Ray yet; null: RAY_ADDRESS, or a Ray of its own"
    )

    @property
    def gpus_of_replica(self) -> int:
        """GPUs of one replica."""
        return self.tensor_parallel * self.data_parallel if self.gpus is None else self.gpus


def validate_cluster(cluster: ClusterConfig) -> None:
    """Find every mistake that can be found without Ray.

    Raises:
        ConfigError: the first mistake, with key, value and fix.
    """
    for key, value, low in (
        ("replicas", 1 if cluster.replicas is None else cluster.replicas, 1),
        ("tensor_parallel", cluster.tensor_parallel, 1),
        ("data_parallel", cluster.data_parallel, 1),
        ("gpus", cluster.gpus_of_replica, 0),
        ("cpus", cluster.cpus, 0.0),
        ("start_timeout", cluster.start_timeout, 1.0),
        ("hang_timeout", cluster.hang_timeout, 1.0),
    ):
        if not low <= value < math.inf:
            raise ConfigError(f"judge.cluster.{key}", value, f"must be at least {low}, and finite")
    parallel = cluster.tensor_parallel * cluster.data_parallel
    if cluster.gpus_of_replica not in (0, parallel):
        fix = f"tensor_parallel x data_parallel is {parallel}: leave gpus out, or set 0 for the CPU"
        raise ConfigError("judge.cluster.gpus", cluster.gpus, fix)
    if not cluster.gpus_of_replica and not cluster.cpus:
        fix = "a replica without GPUs needs CPUs: set at least 1"
        raise ConfigError("judge.cluster.cpus", cluster.cpus, fix)
    if not 0 < cluster.share <= 1:
        raise ConfigError("judge.cluster.share", cluster.share, "must lie in (0, 1]")
    if cluster.data_parallel > 1 and (cluster.placement_groups or cluster.share < 1):
        fix = "vLLM wants the bundles of one copy: on GPUs that are shared set 1, and give more replicas instead"
        raise ConfigError("judge.cluster.data_parallel", cluster.data_parallel, fix)
    if cluster.placement_groups and cluster.nodes:
        fix = "placement_groups say already where: give one of the two"
        raise ConfigError("judge.cluster.nodes", cluster.nodes, fix)
    if cluster.sleep not in (0, 1, 2):
        raise ConfigError("judge.cluster.sleep", cluster.sleep, "choose one of 0, 1, 2")
