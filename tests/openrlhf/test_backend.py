"""A judge that the run starts itself: where there is room for it beside OpenRLHF, and where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rrm_reward.cluster import SharedJudge
from rrm_reward.config import load
from rrm_reward.errors import ConfigError
from rrm_reward.integrations.openrlhf._backend import engine_backend
from rrm_reward.integrations.openrlhf._settings import read_settings
from rrm_reward.integrations.openrlhf.check import check_flags, trainer_flags

ENOUGH = ["--rollout.n_samples_per_prompt", "8"]
TOGETHER = [*ENOUGH, "--train.colocate_all", "--vllm.gpu_memory_utilization", "0.5"]
SHARE = "share: 0.2, cpus: 0.2, sleep: 1, engine_args: {gpu_memory_utilization: 0.3}"


def check(folder: Path, cluster: str, *flags: str) -> None:
    file = folder / "rrm.yaml"
    file.write_text(f"rrm: {{judge: {{backend: ray, model: RRM-7B, cluster: {{{cluster}}}}}}}\n")
    check_flags(trainer_flags(flags), read_settings(file))


def test_a_judge_on_gpus_of_its_own_or_on_a_share_passes(tmp_path: Path) -> None:
    check(tmp_path, "replicas: 2, tensor_parallel: 2", *ENOUGH)
    check(tmp_path, SHARE, *TOGETHER)
    # without a reference model there is room for more
    check(tmp_path, SHARE.replace("share: 0.2", "share: 0.6"), *TOGETHER, "--algo.kl.init_coef", "0")


@pytest.mark.parametrize(
    ("cluster", "flags", "key"),
    [
        ("replicas: null", ENOUGH, "replicas"),
        (SHARE, ENOUGH, "share"),
        (SHARE, [*TOGETHER, "--train.async_enable"], "share"),
        (SHARE.replace("share: 0.2", "share: 0.5"), TOGETHER, "share"),
        (SHARE.replace("share: 0.2", "share: 0.3"), [*TOGETHER, "--critic.model_name_or_path", "c"], "share"),
        (SHARE.replace("cpus: 0.2, ", ""), TOGETHER, "cpus"),
        (SHARE, [*ENOUGH, "--train.colocate_all"], "engine_args.gpu_memory_utilization"),
    ],
)
def test_a_judge_for_which_there_is_no_room_is_refused(
    tmp_path: Path, cluster: str, flags: list[str], key: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        check(tmp_path, cluster, *flags)
    assert refused.value.key == f"rrm.judge.cluster.{key}"


def judge(**cluster: Any) -> Any:
    overrides = [f"judge.cluster.{key}={value}" for key, value in cluster.items()]
    return load(overrides=["judge.backend=ray", "judge.model=RRM-7B", *overrides]).judge


def test_a_shared_judge_is_not_started_with_the_engine_but_with_its_first_group() -> None:
    # in no Ray at all: had it asked Ray for anything, this would fail
    assert isinstance(engine_backend(judge(share=0.3, cpus=0.2)), SharedJudge)


def test_an_engine_refuses_a_judge_that_would_take_the_gpus_of_its_trainer() -> None:
    with pytest.raises(ConfigError, match=r"replicas=None: the judge would take GPUs"):
        engine_backend(judge(replicas="null"))
