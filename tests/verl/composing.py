"""A recipe composed with verl's own config, and checked by verl and by us."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recipes.miniature.verl_cpu.launch import ROOT
from rrm_reward.integrations.verl.check import check_config, compose_config

RECIPES = ROOT / "recipes/verl"
VARIANTS = {
    (): ["Reward-Reasoning/RRM-7B", "round_robin", "elo", 8],
    ("rrm/judge=rrm_32b",): ["Reward-Reasoning/RRM-32B", "round_robin", "elo", 8],
    ("rrm/schedule=knockout",): ["Reward-Reasoning/RRM-7B", "knockout", "placement", 8],
    ("rrm/judge=rrm_32b", "rrm/schedule=knockout"): ["Reward-Reasoning/RRM-32B", "knockout", "placement", 8],
    ("actor_rollout_ref.rollout.n=16",): ["Reward-Reasoning/RRM-7B", "round_robin", "elo", 16],
}


def compose_and_check(folder: str | Path, overrides: Sequence[str]) -> list[object]:
    """Model, schedule, rating and group size of a variant, after verl's checks of a whole config and ours.

    verl runs its checks in the trainer's first second, before any GPU is looked for.
    """
    from verl.experimental.reward_loop.reward_loop import migrate_legacy_reward_impl
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import validate_config

    config = compose_config(Path(folder), "webinstruct_rrm", overrides)
    if "reward_model" in config:
        config = migrate_legacy_reward_impl(config)
    validate_config(config, need_reference_policy(config), need_critic(config))
    settings = check_config(config)
    rrm = settings.rrm
    return [rrm.judge.model, rrm.tournament.name, rrm.rating.name, settings.rollouts]
