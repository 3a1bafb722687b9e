"""verl's own reward model as the judge: ``rrm.judge.backend=verl``.

verl then serves the RRM itself, on GPUs of its own pool, and tells its reward manager where. From there on it is an
OpenAI-compatible server like any other. Three things of verl 0.9.1 stand in the way and are checked here, for each of
them would only show as a run that hangs or learns nothing:

- replicas in their own pool are put to sleep when they are made, and only the colocated path wakes them again;
- without a custom reward function verl takes the model for a classifier and never calls the reward manager;
- ``rollout.response_length`` caps every request, whatever its ``max_tokens`` (it becomes ``max_new_tokens`` of the
  generation config that is served).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from omegaconf import DictConfig, OmegaConf

from rrm_reward.config import RRMConfig, load
from rrm_reward.errors import ConfigError

_NODE = "reward.reward_model"


def read_judge(config: DictConfig, router: str | None = None) -> RRMConfig:
    """The node ``rrm`` of a verl config; a judge that verl serves is named and found there.

    Args:
        config: verl's whole config.
        router: address of verl's reward model, as verl hands it to its reward manager; None before it is known.

    Raises:
        ConfigError: with key, value and fix.
    """
    tree: Any = config.rrm
    if OmegaConf.select(tree, "judge.backend") == "verl":
        model = OmegaConf.select(config, f"{_NODE}.model_path")
        tree = OmegaConf.merge({"judge": {"model": model or "of verl"}}, tree)
    rrm = load(tree=tree)
    if rrm.judge.backend != "verl":
        if OmegaConf.select(config, f"{_NODE}.enable"):
            fix = (
                "verl would serve a model that nobody asks; set it to false and serve the RRM at rrm.judge.urls, or "
                "set rrm.judge.backend=verl"
            )
            raise ConfigError(f"{_NODE}.enable", True, fix)
        return rrm
    _check(config, rrm)
    if router is None:
        return rrm
    served = config.reward.reward_model.model_path
    judge = replace(rrm.judge, backend="openai", urls=[f"http://{router}/v1"], model=served)
    return replace(rrm, judge=judge)


def _check(config: DictConfig, rrm: RRMConfig) -> None:
    def refuse(key: str, fix: str) -> None:
        raise ConfigError(f"reward.{key}", OmegaConf.select(config, f"reward.{key}"), fix)

    model: Any = config.reward.reward_model
    if not model.enable or not model.model_path:
        refuse(
            "reward_model.enable",
            "set it to true, and reward_model.model_path to the RRM, for verl to serve it",
        )
    if not model.enable_resource_pool:
        refuse(
            "reward_model.enable_resource_pool",
            "on the trainer's GPUs verl hides the group from the reward: set it to true with GPUs of its own, or use "
            "trainer.v1.trainer_mode=rrm_colocated with rrm.judge.backend=ray",
        )
    if model.rollout.free_cache_engine:
        refuse(
            "reward_model.rollout.free_cache_engine",
            "verl would put the model to sleep and never wake it: set it to false",
        )
    if int(model.rollout.response_length) < rrm.judge.max_tokens:
        refuse(
            "reward_model.rollout.response_length",
            f"caps every request, and rrm.judge.max_tokens is {rrm.judge.max_tokens}: set at least that",
        )
    if not OmegaConf.select(config, "reward.custom_reward_function.path"):
        refuse(
            "custom_reward_function.path",
            "verl would use the model as a classifier: name any function, for example "
            "pkg://rrm_reward.integrations.verl.exact_match (it scores only rrm_verl.validation=rule)",
        )
    if config.reward.reward_manager.name != "RRMRewardManager":
        refuse(
            "reward_manager.name", "only RRMRewardManager is told where the model is served: take that route"
        )
