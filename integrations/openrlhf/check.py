"""What can be checked of an OpenRLHF run before it is queued: ``python -m rrm_reward.integrations.openrlhf.check``.

Takes the arguments of ``openrlhf.cli.train_ppo_ray`` (dotted, or flat as up to 0.10.1), loads the agent file as an
engine would, reads the settings and asks the judge for one comparison. Needs no GPU, starts no Ray. Worth a line in
every job script: an engine whose executor refuses to start is noticed by OpenRLHF only when its weights are due, after
minutes of time-outs.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rrm_reward.build import build_arena
from rrm_reward.config import JudgeConfig, LogConfig
from rrm_reward.errors import ConfigError
from rrm_reward.integrations.openrlhf._backend import FEWEST_MODELS, check_places, is_shared
from rrm_reward.integrations.openrlhf._settings import Settings, find_config, read_settings
from rrm_reward.integrations.openrlhf._version import require_openrlhf
from rrm_reward.types import Group

_RESPONSES = ["<think>Two and two.</think>The answer is 4.", "<think>Two, two.</think>The answer is 22."]
"""As a policy that thinks writes them, so that no setting of the judge's view finds them empty."""

_MOST_MEMORY = 0.95
"""Of a GPU, for a rollout engine and a judge that are awake together."""

_AGENT = ("--train.agent_func_path", "--agent_func_path")


def trainer_flags(arguments: Sequence[str]) -> argparse.Namespace:
    """What matters to the reward among the arguments of ``train_ppo_ray``, with OpenRLHF's defaults."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(*_AGENT, dest="agent", default=None)
    parser.add_argument(
        "--rollout.n_samples_per_prompt", "--n_samples_per_prompt", dest="rollouts", type=int, default=1
    )
    parser.add_argument("--vllm.num_engines", "--vllm_num_engines", dest="engines", type=int, default=None)
    parser.add_argument(
        "--reward.clip_range", "--reward_clip_range", dest="clip", type=float, nargs=2, default=(-10.0, 10.0)
    )
    parser.add_argument("--data.label_key", "--label_key", dest="label_key", default=None)
    parser.add_argument("--algo.advantage.estimator", "--advantage_estimator", dest="estimator", default=None)
    parser.add_argument("--eval.dataset", "--eval_dataset", dest="evaluation", default=None)
    parser.add_argument(
        "--train.colocate_all", "--colocate_all_models", dest="colocated", action="store_true"
    )
    parser.add_argument("--train.async_enable", "--async_train", dest="asynchronous", action="store_true")
    parser.add_argument("--algo.kl.init_coef", "--init_kl_coef", dest="kl", type=float, default=0.01)
    parser.add_argument("--critic.model_name_or_path", "--critic_pretrain", dest="critic", default=None)
    parser.add_argument(
        "--vllm.gpu_memory_utilization",
        "--vllm_gpu_memory_utilization",
        dest="memory",
        type=float,
        default=0.95,
    )
    return parser.parse_known_args(arguments)[0]


def load_agent(file: Path) -> Any:
    """The class ``AgentExecutor`` of an agent file, found as OpenRLHF's engines find it.

    Raises:
        ConfigError: it is not there, or not one of ours.
    """
    if file.suffix != ".py" or not file.is_file():
        raise ConfigError(_AGENT[0], str(file), "name a Python file; recipes/openrlhf/rrm_agent.py is one")
    spec = importlib.util.spec_from_file_location("agent_module", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    from rrm_reward.integrations.openrlhf.executor import RRMAgentExecutor

    executor = getattr(module, "AgentExecutor", None)
    if not (isinstance(executor, type) and issubclass(executor, RRMAgentExecutor)):
        raise ConfigError(
            _AGENT[0], str(file), "holds no class AgentExecutor that inherits from RRMAgentExecutor"
        )
    return executor


def check_flags(flags: argparse.Namespace, settings: Settings) -> None:
    """Flags of the trainer under which a run would go on and learn nothing, or something else.

    Raises:
        ConfigError: with key, value and fix.
    """
    if flags.rollouts < 2:
        raise ConfigError(
            "--rollout.n_samples_per_prompt",
            flags.rollouts,
            "a group of one holds no comparison, so every reward would be 0; set at least 2, for example 8",
        )
    engines = settings.openrlhf.engines
    if flags.engines is not None and flags.engines != engines:
        raise ConfigError(
            "rrm_openrlhf.engines",
            engines,
            f"--vllm.num_engines is {flags.engines}, and each engine holds its part of rrm.arena.concurrency; write "
            f"{flags.engines}",
        )
    clip, reach = settings.rrm.reward.clip, min(-flags.clip[0], flags.clip[1])
    if 2 * clip > reach:
        raise ConfigError(
            "--reward.clip_range",
            tuple(flags.clip),
            f"would cut rewards, which differ from their group's mean by up to {2 * clip:g}; widen it, or set "
            f"rrm.reward.clip to {reach / 2:g}",
        )
    if settings.rrm.reward.scale == "decided" and flags.estimator == "group_norm":
        raise ConfigError(
            "--algo.advantage.estimator",
            flags.estimator,
            "it divides by the standard deviation again, which undoes rrm.reward.scale=decided: set dr_grpo",
        )
    if settings.openrlhf.label != "ignore" and flags.label_key is None:
        raise ConfigError(
            "rrm_openrlhf.label", settings.openrlhf.label, "needs labels: name a column by --data.label_key"
        )
    if settings.rrm.judge.backend == "ray":
        check_beside(flags, settings.rrm.judge)
    if flags.evaluation is not None and settings.openrlhf.label != "reference":
        print(
            "rrm-reward: note: evaluation rollouts are compared with each other, so their mean says nothing about the "
            "policy; give evaluation rows a reference answer and set rrm_openrlhf.label=reference"
        )


def check_beside(flags: argparse.Namespace, judge: JudgeConfig) -> None:
    """A judge that the run starts itself must find its GPUs, and its memory there.

    Raises:
        ConfigError: with key, value and fix.
    """
    if not is_shared(judge):
        check_places(judge)
        return
    if not flags.colocated or flags.asynchronous:
        fix = (
            "OpenRLHF's engines share their GPUs under --train.colocate_all without --train.async_enable only; add the "
            "one and drop the other, or set 1.0 for GPUs of its own"
        )
        raise ConfigError("rrm.judge.cluster.share", judge.cluster.share, fix)
    check_places(judge, FEWEST_MODELS + (flags.kl > 0) + (flags.critic is not None))
    if judge.cluster.engine == "vllm":
        key = "gpu_memory_utilization"
        mine = float(judge.cluster.engine_args.get(key, 0.9))
        if mine + flags.memory > _MOST_MEMORY:
            fix = f"--vllm.{key} is {flags.memory:g}, and both hold theirs at once: together at most {_MOST_MEMORY:g}"
            raise ConfigError(f"rrm.judge.cluster.engine_args.{key}", mine, fix)


async def _ask_once(settings: Settings) -> str:
    if settings.rrm.judge.backend == "ray":
        return "the run starts the judge itself, and it was not asked"
    async with build_arena(replace(settings.rrm, log=LogConfig())) as arena:
        result = await arena.judge(Group("check", "What is 2 + 2?", _RESPONSES))
    if result.missing or not result.calls:
        raise ConfigError(
            "rrm.judge.model",
            settings.rrm.judge.model,
            "it gives no verdict on a simple comparison: is it an RRM, served with its own chat template?",
        )
    first, second = result.rewards.tolist()
    return f"the judge answers: 4 gets {first:+.2f}, 22 gets {second:+.2f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what was found; 0 if the run can start."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if list(arguments) == ["--agent-file"]:
        print(Path(__file__).with_name("agent.py"))
        return 0
    if set(arguments) & {"-h", "--help"}:
        print(__doc__)
        return 0
    flags = trainer_flags(arguments)
    try:
        openrlhf = require_openrlhf()
        if flags.agent is None:
            raise ConfigError(_AGENT[0], None, "name the agent file; recipes/openrlhf/rrm_agent.py is one")
        settings = read_settings(find_config(load_agent(Path(flags.agent)).config_file))
        check_flags(flags, settings)
        answer = asyncio.run(_ask_once(settings))
    except (ConfigError, ImportError) as error:
        print(f"rrm-reward: {error}", file=sys.stderr)
        return 1
    print(f"OpenRLHF {openrlhf}, groups of {flags.rollouts}, {settings.rrm.tournament.name}; {answer}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
