"""Mistakes in a verl config are found at start-up, with the key and the fix."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from omegaconf import DictConfig, OmegaConf

from rrm_reward.errors import ConfigError
from rrm_reward.integrations.verl._settings import check_reward_manager, is_validation, read_settings


def verl_config(**changes: Any) -> DictConfig:
    """The part of verl's config that is read, with changes by dotted key."""
    config = OmegaConf.create(
        {
            "algorithm": {"adv_estimator": "grpo"},
            "actor_rollout_ref": {"rollout": {"n": 8}},
            "data": {"train_batch_size": 64, "gen_batch_size": None, "train_files": [], "val_files": []},
            "reward": {"num_workers": 8},
            "trainer": {"test_freq": 10, "val_before_train": True},
            "rrm": {"judge": {"urls": ["http://127.0.0.1:1/v1"], "model": "RRM-7B"}},
        }
    )
    for key, value in changes.items():
        OmegaConf.update(config, key.replace("__", "."), value, force_add=True)
    return config


def parquet_of(folder: Path, row: Mapping[str, Any]) -> str:
    file = folder / "rows.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([dict(row)]), file)
    return str(file)


def checked(config: DictConfig) -> None:
    check_reward_manager(config, read_settings(config))


def test_a_plain_config_passes() -> None:
    settings = read_settings(verl_config())
    assert settings.rollouts == 8
    assert settings.rrm.judge.model == "RRM-7B"
    assert settings.verl.validation == "reference"


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"rrm": None}, "rrm"),
        ({"rrm__judge__urls": []}, "judge.urls"),
        ({"rrm__judge__modle": "RRM-7B"}, "judge.modle"),
        ({"rrm_verl": {"validaton": "zero"}}, "rrm_verl.validaton"),
        ({"rrm_verl": {"validation": "accuracy"}}, "rrm_verl.validation"),
        ({"rrm_verl": {"hub_timeout": 0}}, "rrm_verl.hub_timeout"),
        ({"rrm_verl": {"hub_timeout": "soon"}}, "rrm_verl"),
        ({"algorithm__adv_estimator": "remax"}, "algorithm.adv_estimator"),
        ({"actor_rollout_ref__rollout__n": 1}, "actor_rollout_ref.rollout.n"),
        ({"reward__reward_model": {"enable": True}}, "reward.reward_model.enable"),
        ({"algorithm__filter_groups": {"enable": True, "metric": "acc"}}, "algorithm.filter_groups.metric"),
    ],
)
def test_a_mistake_is_named_by_its_key(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_settings(verl_config(**changes))
    assert caught.value.key == key


@pytest.mark.parametrize(
    "changes",
    [
        {"actor_rollout_ref__rollout__n": 1, "trainer__val_only": True},
        {"algorithm__filter_groups": {"enable": True, "metric": "reward"}},
        {"algorithm__filter_groups": {"enable": False, "metric": "acc"}},
        {"reward__reward_model": {"enable": False}},
    ],
)
def test_settings_of_verl_that_can_work_are_let_through(changes: dict[str, Any]) -> None:
    read_settings(verl_config(**changes))


@pytest.mark.parametrize(
    ("changes", "rollouts"),
    [
        ({}, 1200),
        ({"data__gen_batch_size": 1}, 1200),
        ({"data__gen_batch_size": 300}, 2400),
        ({"trainer__v1": {"trainer_mode": "sync"}}, 1200),
        ({"trainer__v1": {"trainer_mode": "colocate_async"}}, 2400),
        (
            {"trainer__v1": {"trainer_mode": "separate_async", "separate_async": {"num_warmup_batches": 2}}},
            3600,
        ),
        (
            {"algorithm__filter_groups": {"enable": True, "metric": "reward", "max_inflight_gen_batches": 4}},
            4800,
        ),
    ],
)
def test_reward_workers_are_counted_for_all_rollouts_that_can_wait_at_once(
    changes: dict[str, Any], rollouts: int
) -> None:
    config = verl_config(data__train_batch_size=150, reward__num_workers=1, **changes)
    with pytest.raises(ConfigError, match=rf"up to {rollouts} rollouts wait"):
        checked(config)


def test_siblings_that_would_wait_for_each_other_for_ever_are_refused() -> None:
    config = verl_config(data__train_batch_size=512, actor_rollout_ref__rollout__n=16)
    with pytest.raises(ConfigError, match=r"reward\.num_workers=8.*at least 10"):
        checked(config)
    config.reward.num_workers = 10
    checked(config)


@pytest.mark.parametrize(
    ("row", "validation"),
    [
        ({"extra_info": {"split": "test"}}, True),
        ({"extra_info": {"split": "Validation"}}, True),
        ({"extra_info": {"split": "train"}}, False),
        ({"extra_info": {}}, False),
        ({"extra_info": None}, False),
        ({}, False),
        ({"data_source": "gpqa", "extra_info": {"index": 3}}, True),
    ],
)
def test_a_row_says_whether_it_is_for_validation(row: dict[str, Any], validation: bool) -> None:
    settings = read_settings(verl_config(rrm_verl={"validation_sources": ["gpqa"]}))
    assert is_validation(row, settings.verl) is validation


def test_unmarked_validation_rows_are_refused_unless_nobody_validates(tmp_path: Path) -> None:
    file = parquet_of(tmp_path, {"data_source": "x", "extra_info": {"index": 1}})
    config = verl_config(data__val_files=file)
    with pytest.raises(ConfigError, match=r"data\.val_files.*extra_info\.split=val"):
        checked(config)
    checked(verl_config(data__val_files=[file], rrm_verl={"validation_sources": ["x"]}))
    checked(verl_config(data__val_files=file, trainer__test_freq=-1, trainer__val_before_train=False))


def test_training_rows_that_are_marked_as_validation_are_refused(tmp_path: Path) -> None:
    file = parquet_of(tmp_path, {"data_source": "x", "extra_info": {"split": "test"}})
    with pytest.raises(ConfigError, match=r"data\.train_files.*extra_info\.split=train"):
        checked(verl_config(data__train_files=file))


def test_a_group_size_that_verl_hides_is_refused(tmp_path: Path) -> None:
    row = {"data_source": "x", "extra_info": {"split": "train"}, "__rollout_n__": 4}
    with pytest.raises(ConfigError, match="agent-loop manager"):
        checked(verl_config(data__train_files=parquet_of(tmp_path, row)))


def served_by_verl(**changes: Any) -> DictConfig:
    """A config whose judge verl serves itself."""
    model = {
        "enable": True,
        "enable_resource_pool": True,
        "model_path": "RRM-7B",
        "rollout": {"free_cache_engine": False, "response_length": 8192},
    }
    settings = {
        "rrm": {"judge": {"backend": "verl"}},
        "reward__reward_model": model,
        "reward__custom_reward_function": {"path": "pkg://rrm_reward.integrations.verl.exact_match"},
        "reward__reward_manager": {"name": "RRMRewardManager"},
    }
    return verl_config(**{**settings, **changes})


def test_a_judge_that_verl_serves_is_found_where_verl_says() -> None:
    judge = read_settings(served_by_verl(), "10.0.0.7:8123").rrm.judge
    assert (judge.backend, judge.urls, judge.model) == ("openai", ["http://10.0.0.7:8123/v1"], "RRM-7B")
    assert read_settings(served_by_verl()).rrm.judge.backend == "verl"


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("reward_model__enable", False, "for verl to serve it"),
        ("reward_model__enable_resource_pool", False, "verl hides the group"),
        ("reward_model__rollout__free_cache_engine", True, "never wake it"),
        ("reward_model__rollout__response_length", 2048, "caps every request"),
        ("custom_reward_function__path", None, "as a classifier"),
        ("reward_manager__name", "naive", "only RRMRewardManager"),
    ],
)
def test_what_verl_does_to_its_reward_model_is_refused_with_the_reason(
    key: str, value: Any, reason: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        read_settings(served_by_verl(**{f"reward__{key}": value}))
    assert refused.value.key == f"reward.{key.replace('__', '.')}"
    assert reason in refused.value.fix


def test_a_reward_model_that_nobody_asks_is_refused() -> None:
    with pytest.raises(ConfigError, match="a model that nobody asks"):
        read_settings(verl_config(reward__reward_model={"enable": True}))
