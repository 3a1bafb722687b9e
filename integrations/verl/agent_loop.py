"""The agent-loop manager of verl 0.9: knows the group, where the reward manager has to guess.

    actor_rollout_ref:
      rollout:
        agent:
          agent_loop_manager_class: rrm_reward.integrations.verl.agent_loop.RRMAgentLoopManager

In verl 0.9 one agent-loop worker runs all rollouts of a prompt. This worker is verl's, with a reward of ours: it knows
how many rollouts a prompt has (a dataset column ``__rollout_n__`` included) and whether verl validates, and when a
rollout fails it tells the hub at once, so that its siblings do not wait. Configurations are checked in the trainer's
own process, which therefore stops at once on a mistake.

It replaces three methods of verl that are not documented. Their signatures are checked when this module is imported;
the reward manager (`rrm_reward.integrations.verl.reward_manager`) uses documented interfaces only.
"""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rrm_reward.integrations.verl._version import require_verl

_VERL = require_verl()
_INSTEAD = (
    "use the reward manager, which works with verl 0.8 and 0.9: reward.reward_manager.source=importlib "
    "reward.reward_manager.name=RRMRewardManager "
    "reward.reward_manager.module.path=pkg://rrm_reward.integrations.verl.reward_manager"
)

try:
    import ray
    from verl.trainer.ppo.reward import get_custom_reward_fn
    from verl.trainer.ppo.v1 import AgentLoopManagerTQ, AgentLoopWorkerTQ
    from verl.utils.reward_score import default_compute_score
except ImportError as error:
    raise ImportError(
        f"the agent-loop manager needs verl 0.9, and this is {_VERL} ({error}); {_INSTEAD}"
    ) from error

from rrm_reward.integrations.verl._client import HubClient  # noqa: E402
from rrm_reward.integrations.verl._rewarder import Rewarder  # noqa: E402
from rrm_reward.integrations.verl._sample import read_query, read_sample  # noqa: E402
from rrm_reward.integrations.verl._settings import read_settings  # noqa: E402

logger = logging.getLogger(__name__)

_SIGNATURES = {
    "_run_prompt": ["self", "prompt", "sampling_params", "trajectory", "trace"],
    "_run_agent_loop": ["self", "sampling_params", "trajectory", "agent_name", "trace", "kwargs"],
    "_compute_score": ["self", "outputs", "kwargs"],
}
"""The methods that are replaced, as verl 0.9.1 has them."""


def _plain_class(actor_class: Any) -> type[Any]:
    """The Python class behind a Ray actor class."""
    modified = actor_class.__ray_metadata__.modified_class
    plain: type[Any] = getattr(modified, "__ray_actor_class__", modified)
    return plain


def check_signatures(worker: type[Any]) -> None:
    """Refuse a verl whose worker has changed.

    Raises:
        ImportError: naming the method, and what to do instead.
    """
    for name, expected in _SIGNATURES.items():
        method: Callable[..., Any] | None = getattr(worker, name, None)
        parameters = inspect.signature(method).parameters if method is not None else ()
        # Ray adds one of its own to every method of an actor
        found = [parameter for parameter in parameters if not parameter.startswith("_ray_")]
        if found != expected:
            raise ImportError(
                f"verl {_VERL}: {worker.__name__}.{name} takes {found}, not {expected} as in 0.9.1; {_INSTEAD}"
            )


_Worker = _plain_class(AgentLoopWorkerTQ)
check_signatures(_Worker)


@dataclass
class _Prompt:
    """The rollouts of one prompt while they run."""

    size: int
    validate: bool
    submitted: set[int] = field(default_factory=set)


class RRMAgentLoopWorker(_Worker):  # type: ignore[misc, valid-type]
    """verl's agent-loop worker, with the reward of the hub in place of that of a reward worker."""

    def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        settings = read_settings(config)
        self._rollouts = settings.rollouts
        self._hub = HubClient(settings)
        self._rewarder = Rewarder(settings, self._hub, get_custom_reward_fn(config) or default_compute_score)
        self._prompts: dict[str, _Prompt] = {}

    async def _run_prompt(
        self, prompt: Any, sampling_params: Any, trajectory: Any, trace: bool = False
    ) -> None:
        """All rollouts of one prompt."""
        rollout, validate = self.config.actor_rollout_ref.rollout, bool(trajectory["validate"])
        try:
            size = int(prompt.get("__rollout_n__", rollout.val_kwargs.n if validate else rollout.n))
        except (TypeError, ValueError):
            # verl fails the prompt over such a column and says so; an exception of ours would leave it waiting
            size = 0
        self._prompts[prompt["uid"]] = _Prompt(size, validate)
        try:
            await super()._run_prompt(prompt, sampling_params, trajectory, trace)
        finally:
            self._prompts.pop(prompt["uid"], None)

    async def _run_agent_loop(
        self, sampling_params: Any, trajectory: Any, *, agent_name: str, trace: bool = True, **kwargs: Any
    ) -> Any:
        """One rollout. If it ends without a submitted sample, its siblings hear of it."""
        try:
            return await super()._run_agent_loop(
                sampling_params, trajectory, agent_name=agent_name, trace=trace, **kwargs
            )
        finally:
            prompt, session = self._prompts[kwargs["uid"]], int(kwargs["session_id"])
            if not prompt.validate and session not in prompt.submitted:
                await self._hub.fail(str(kwargs["uid"]), session, self._query(kwargs), prompt.size)

    async def _compute_score(self, outputs: Any, kwargs: Any) -> None:
        """Set the reward of the last output, as verl's own method does.

        An agent loop that brought its own reward keeps it, as in verl, and is no member of its group.
        """
        final = outputs[-1]
        if final.reward_score is not None:
            return
        began = time.monotonic()
        row = await self._reward(final, kwargs)
        final.reward_score = row["reward_score"]
        final.extra_fields["reward_extra_info"] = row["reward_extra_info"]
        final.metrics.compute_score = time.monotonic() - began

    async def _reward(self, output: Any, row: dict[str, Any]) -> dict[str, Any]:
        prompt = self._prompts[row["uid"]]
        try:
            query = self._query(row)
            text = self.tokenizer.decode(output.response_ids, skip_special_tokens=True)
            if prompt.validate:
                return await self._rewarder.validate(row, query, text)
            sample = read_sample({**row, "__rollout_n__": prompt.size}, text, query, self._rollouts)
            prompt.submitted.add(int(row["session_id"]))
            return await self._rewarder.train(sample)
        except Exception as error:
            return self._rewarder.nothing("verl's row cannot be read", error, validating=prompt.validate)

    def _query(self, row: dict[str, Any]) -> str:
        try:
            return read_query(row) or ""
        except Exception:
            logger.exception("a prompt cannot be read")
            return ""


class RRMAgentLoopManager(AgentLoopManagerTQ):
    """verl's agent-loop manager with workers of ours; made by verl.

    Raises:
        ConfigError: with key, value and fix.
    """

    def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)  # type: ignore[no-untyped-call]
        # the trainer's process starts the hub, which lives as long as it does
        self._hub = HubClient(read_settings(config))
        self.agent_loop_workers_class = ray.remote(RRMAgentLoopWorker)
