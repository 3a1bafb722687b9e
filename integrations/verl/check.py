"""Everything that can be checked of a verl run before it is queued: ``python -m rrm_reward.integrations.verl.check``.

Takes the arguments of ``verl.trainer.main_ppo`` (``--config-path``, ``--config-name``, overrides; verl's own config if
none is named), composes the config as hydra would, checks the settings and the data, and asks the judge for one
comparison. Needs no GPU, starts no Ray.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from rrm_reward.build import build_arena
from rrm_reward.config import LogConfig
from rrm_reward.errors import ConfigError
from rrm_reward.integrations.verl._settings import Settings, check_reward_manager, read_settings
from rrm_reward.integrations.verl._version import require_verl
from rrm_reward.types import Group

_RESPONSES = ["<think>Two and two.</think>The answer is 4.", "<think>Two, two.</think>The answer is 22."]
"""As a policy that thinks writes them, so that no setting of the judge's view finds them empty."""


def compose_config(folder: Path, name: str, overrides: Sequence[str]) -> DictConfig:
    """verl's config as ``main_ppo --config-path=folder --config-name=name overrides...`` would see it."""
    with initialize_config_dir(str(folder.resolve()), version_base=None):
        return compose(name, overrides=list(overrides))


def check_config(config: DictConfig) -> Settings:
    """The settings of a config, checked for the route it takes.

    Raises:
        ConfigError: with key, value and fix.
    """
    settings = read_settings(config)
    routes = []
    if config.reward.reward_manager.name == "RRMRewardManager":
        check_reward_manager(config, settings)
        routes.append("the reward manager")
    agent: Any = config.actor_rollout_ref.rollout.agent
    if str(agent.get("agent_loop_manager_class")).endswith(".RRMAgentLoopManager"):
        import rrm_reward.integrations.verl.agent_loop  # noqa: F401  (checks verl's signatures)

        routes.append("the agent-loop manager")
    if OmegaConf.select(config, "trainer.v1.trainer_mode") == "rrm_colocated":
        from rrm_reward.integrations.verl.colocated import check_sharing

        check_sharing(config, settings)
        routes.append("the colocated trainer")
    if len(routes) != 1:
        raise ConfigError(
            "reward.reward_manager.name",
            config.reward.reward_manager.name,
            f"the config takes {' and '.join(routes) or 'no route to this package'}; take one (docs/verl.md)",
        )
    return settings


async def _ask_once(settings: Settings) -> str:
    # a check leaves nothing behind
    rrm = replace(settings.rrm, position=replace(settings.rrm.position, path=None), log=LogConfig())
    async with build_arena(rrm) as arena:
        result = await arena.judge(Group("check", "What is 2 + 2?", _RESPONSES))
    if result.missing or not result.calls:
        raise ConfigError(
            "judge.model",
            settings.rrm.judge.model,
            "it gives no verdict on a simple comparison: is it an RRM, served with its own chat template?",
        )
    first, second = result.rewards.tolist()
    return f"the judge answers: 4 gets {first:+.2f}, 22 gets {second:+.2f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what was found; 0 if the run can start."""
    parser = argparse.ArgumentParser(prog="python -m rrm_reward.integrations.verl.check", description=__doc__)
    parser.add_argument("--config-path", type=Path, help="folder of the config (default: verl's own)")
    parser.add_argument("--config-name", default="ppo_trainer", help="its name, without .yaml")
    parser.add_argument("overrides", nargs="*", help="hydra overrides")
    options = parser.parse_args(arguments)
    try:
        verl = require_verl()
        folder = options.config_path or Path(str(files("verl.trainer") / "config"))
        settings = check_config(compose_config(folder, options.config_name, options.overrides))
        if settings.rrm.judge.backend in ("ray", "verl"):
            answer = "the judge starts with the run, and was not asked"
        else:
            answer = asyncio.run(_ask_once(settings))
    except (ConfigError, HydraException, ImportError) as error:
        print(f"rrm-reward: {error}", file=sys.stderr)
        return 1
    print(f"verl {verl}, groups of {settings.rollouts}, {settings.rrm.tournament.name}; {answer}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
