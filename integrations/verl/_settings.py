"""The trainer's config as this package reads it, and every mistake in it that can be found at start-up.

Two nodes stand beside verl's own:

    rrm:        # what to compare and how: `rrm_reward.config`, the same tree everywhere
      judge: {urls: [http://judge:8000/v1], model: Reward-Reasoning/RRM-7B}
    rrm_verl:   # what only verl needs: `VerlConfig`; may be left out
      validation: reference
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rrm_reward.config import RRMConfig
from rrm_reward.errors import ConfigError
from rrm_reward.integrations.verl._reward_model import read_judge

VALIDATION_POLICIES = ("reference", "rule", "zero")

_CALLS_PER_WORKER = 1000
"""Calls that an asynchronous Ray actor takes at once, of which verl makes its reward workers."""

_FILTER_METRICS = ("reward", "rrm_rating", "seq_reward", "seq_final_reward")
"""What DAPO's group filter can look at: verl 0.9 reads the first two, trainers in the style of DAPO the last two."""


@dataclass
class VerlConfig:
    """The node ``rrm_verl``.

    Attributes:
        validation: what a validation row is worth. ``reference``: the judge's probability that the response beats the
            row's reference answer (``reward_model.ground_truth``), both orders asked. ``rule``: what verl's own
            reward function says (``reward.custom_reward_function``, or verl's rule for the data source). ``zero``.
        validation_splits: values of ``extra_info.split`` that mark a validation row.
        validation_sources: values of ``data_source`` that mark one, for data without splits.
        hub_timeout: seconds without any answer from the hub until samples get the neutral reward.
        log: JSONL file of every sample and its reward, on the hub's node; null: none.
    """

    validation: str = "reference"
    validation_splits: list[str] = field(
        default_factory=lambda: ["val", "valid", "validation", "dev", "test", "eval"]
    )
    validation_sources: list[str] = field(default_factory=list)
    hub_timeout: float = 120.0
    log: str | None = None


@dataclass(frozen=True)
class Settings:
    """What a process of the run needs to know.

    Attributes:
        rrm: the judge, the tournament, the rating.
        verl: see `VerlConfig`.
        rollouts: members of a training group.
        validation_samples: of a row of validation.
    """

    rrm: RRMConfig
    verl: VerlConfig
    rollouts: int
    validation_samples: int = 1

    def is_validation(self, row: Mapping[str, Any]) -> bool:
        """Whether a row of the data is for validation. verl does not say it to a reward manager; its rows must."""
        return is_validation(row, self.verl)


def is_validation(row: Mapping[str, Any], verl: VerlConfig) -> bool:
    """See `Settings.is_validation`."""
    extra = row.get("extra_info")
    split = extra.get("split") if isinstance(extra, Mapping) else None
    return str(split).lower() in verl.validation_splits or row.get("data_source") in verl.validation_sources


def read_settings(config: DictConfig, router: str | None = None) -> Settings:
    """The settings in a verl config, checked.

    Args:
        config: verl's whole config.
        router: address of verl's own reward model, where verl tells it.

    Raises:
        ConfigError: with key, value and fix.
    """
    if config.get("rrm") is None:
        raise ConfigError(
            "rrm", None, "add the node to your verl config; recipes/verl/webinstruct_rrm.yaml has one"
        )
    rrm = read_judge(config, router)
    folder = OmegaConf.select(config, "trainer.default_local_dir")
    if rrm.position.path is None and folder:
        # with the checkpoints, so that a run that is resumed knows its judge
        rrm.position.path = str(Path(folder).absolute() / "rrm_position.json")
    verl = _read_verl(config.get("rrm_verl"))
    _check_trainer(config)
    rollout = config.actor_rollout_ref.rollout
    return Settings(rrm, verl, int(rollout.n), int(OmegaConf.select(rollout, "val_kwargs.n") or 1))


def check_reward_manager(config: DictConfig, settings: Settings) -> None:
    """What matters to the reward manager only, since verl tells it so little.

    Raises:
        ConfigError: siblings that would wait for each other for ever, or data whose split cannot be told.
    """
    waiting, workers = _prompts_in_flight(config) * settings.rollouts, int(config.reward.num_workers)
    # verl draws a worker at random for each rollout, so the fullest gets more than its share
    needed = math.ceil(1.2 * waiting / _CALLS_PER_WORKER) if waiting > _CALLS_PER_WORKER else 1
    if workers < needed:
        raise ConfigError(
            "reward.num_workers",
            workers,
            f"up to {waiting} rollouts wait in reward workers for their siblings, and each worker takes "
            f"{_CALLS_PER_WORKER}: set at least {needed}",
        )
    trainer = config.trainer
    validates = (
        trainer.test_freq > 0 or trainer.get("val_before_train", True) or trainer.get("val_only", False)
    )
    for key, expected in (("train_files", False), ("val_files", True)):
        if expected and not validates:
            continue
        for file in _files(config.data.get(key)):
            _check_rows(f"data.{key}", file, settings.verl, expected=expected)


def _check_trainer(config: DictConfig) -> None:
    """verl's own settings under which a run would go on and learn nothing, or learn from another reward."""
    if config.algorithm.adv_estimator == "remax":
        raise ConfigError(
            "algorithm.adv_estimator",
            "remax",
            "its baseline is a rollout without siblings; choose grpo or rloo",
        )
    _check_advantages(config)
    rollouts = int(config.actor_rollout_ref.rollout.n)
    if rollouts < 2 and not OmegaConf.select(config, "trainer.val_only"):
        raise ConfigError(
            "actor_rollout_ref.rollout.n",
            rollouts,
            "a group of one holds no comparison, so every reward would be unknown; set at least 2, for example 8",
        )
    metric = OmegaConf.select(config, "algorithm.filter_groups.metric")
    if OmegaConf.select(config, "algorithm.filter_groups.enable") and metric not in _FILTER_METRICS:
        raise ConfigError(
            "algorithm.filter_groups.metric",
            metric,
            "unknown of training rows, so verl would stop or filter every group; choose reward",
        )


def _prompts_in_flight(config: DictConfig) -> int:
    """Prompts whose rollouts can be in the reward workers at the same time."""
    data, mode = config.data, OmegaConf.select(config, "trainer.v1.trainer_mode")
    # on 0.9 gen_batch_size is a chunk of the batch (which verl itself sets to 1 at times), elsewhere a larger batch
    prompts = max(int(data.train_batch_size), int(data.get("gen_batch_size") or 0))
    batches = 1.0
    if mode not in (None, "sync"):
        ahead = OmegaConf.select(config, f"trainer.v1.{mode}.num_warmup_batches")
        batches += 1.0 if ahead is None else float(ahead)
    if OmegaConf.select(config, "algorithm.filter_groups.enable"):
        batches = max(
            batches, float(OmegaConf.select(config, "algorithm.filter_groups.max_inflight_gen_batches") or 1)
        )
    return math.ceil(prompts * batches)


def _check_advantages(config: DictConfig) -> None:
    """Whoever scales rewards by their noise must not have them divided by a standard deviation again."""
    estimator = str(config.algorithm.adv_estimator)
    decided = OmegaConf.select(config, "rrm.reward.scale") == "decided"
    if estimator == "rrm" and not decided:
        raise ConfigError(
            "rrm.reward.scale",
            OmegaConf.select(config, "rrm.reward.scale"),
            "algorithm.adv_estimator=rrm centres rewards and divides by nothing: set decided (docs/advantages.md)",
        )
    if decided and estimator == "grpo" and config.algorithm.get("norm_adv_by_std_in_grpo", True):
        raise ConfigError(
            "algorithm.adv_estimator",
            estimator,
            "it divides by the standard deviation again, which undoes rrm.reward.scale=decided: set rrm, or "
            "algorithm.norm_adv_by_std_in_grpo=False",
        )


def _read_verl(node: DictConfig | None) -> VerlConfig:
    schema = OmegaConf.structured(VerlConfig)
    known = [f.name for f in fields(VerlConfig)]
    given: dict[str, Any] = {} if node is None else {str(key): value for key, value in node.items()}
    for key, value in given.items():
        if key not in known:
            raise ConfigError(f"rrm_verl.{key}", value, f"unknown setting; known: {', '.join(known)}")
    try:
        verl = cast(VerlConfig, OmegaConf.to_object(OmegaConf.merge(schema, given)))
    except OmegaConfBaseException as error:
        raise ConfigError("rrm_verl", given, str(error).splitlines()[0]) from error
    if verl.validation not in VALIDATION_POLICIES:
        raise ConfigError(
            "rrm_verl.validation", verl.validation, f"choose one of {', '.join(VALIDATION_POLICIES)}"
        )
    if not verl.hub_timeout > 0:
        raise ConfigError("rrm_verl.hub_timeout", verl.hub_timeout, "must be positive")
    return verl


def _files(value: Any) -> Sequence[str]:
    return [str(value)] if isinstance(value, str) else [str(file) for file in value or ()]


def _check_rows(key: str, file: str, verl: VerlConfig, *, expected: bool) -> None:
    """The first rows of a local parquet file must be told from those of the other split."""
    if not file.endswith(".parquet") or not Path(file).is_file():
        return
    import pyarrow.parquet

    parquet = pyarrow.parquet.ParquetFile(file)
    if "__rollout_n__" in parquet.schema_arrow.names:
        raise ConfigError(
            key,
            file,
            "verl hides the column __rollout_n__ from reward managers, so a group's size is unknown; drop the column, "
            "or use the agent-loop manager (docs/verl.md)",
        )
    columns = [name for name in ("data_source", "extra_info") if name in parquet.schema_arrow.names]
    for batch in parquet.iter_batches(batch_size=256, columns=columns):
        for row in batch.to_pylist():
            if is_validation(row, verl) != expected:
                _refuse_row(key, file, row, expected=expected)
        return


def _refuse_row(key: str, file: str, row: Mapping[str, Any], *, expected: bool) -> None:
    extra = row.get("extra_info") or {}
    seen = f"data_source={row.get('data_source')!r}, extra_info.split={extra.get('split')!r}"
    if expected:
        fix = (
            f"a row ({seen}) is not marked as validation, and verl does not tell a reward manager that it validates: "
            "write extra_info.split=val, or name the data_source in rrm_verl.validation_sources, or use the "
            "agent-loop manager (docs/verl.md)"
        )
    else:
        fix = (
            f"a training row ({seen}) is marked as validation, so it would not be compared with its siblings: write "
            "extra_info.split=train, or set rrm_verl.validation_splits"
        )
    raise ConfigError(key, file, fix)
