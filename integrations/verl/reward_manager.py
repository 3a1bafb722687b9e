"""The reward manager: works unchanged on verl 0.8 and 0.9.

    reward:
      reward_manager:
        source: importlib
        name: RRMRewardManager
        module: {path: pkg://rrm_reward.integrations.verl.reward_manager}

verl runs it in ``reward.num_workers`` processes and calls `run_single` with one finished rollout; it waits there, in
the hub, until its siblings have come and are judged. verl passes neither the size of the group (taken from
``rollout.n``) nor whether it validates (read from the row, see `rrm_reward.integrations.verl._settings`), and it does
not say when a rollout failed: its siblings wait for ``rrm.assembler.member_timeout``. On verl 0.9 the agent-loop
manager knows all three.
"""

from __future__ import annotations

import sys
from typing import Any

from rrm_reward.integrations.verl._version import require_verl

require_verl()

from verl import DataProto  # noqa: E402
from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase  # noqa: E402

from rrm_reward.errors import ConfigError  # noqa: E402
from rrm_reward.integrations.verl._client import HubClient  # noqa: E402
from rrm_reward.integrations.verl._rewarder import Rewarder  # noqa: E402
from rrm_reward.integrations.verl._sample import read_query, read_sample  # noqa: E402
from rrm_reward.integrations.verl._settings import check_reward_manager, read_settings  # noqa: E402


class RRMRewardManager(RewardManagerBase):
    """Scores one rollout by judging its whole group; made by verl.

    Args:
        config: verl's whole config.
        tokenizer: of the policy.
        compute_score: verl's reward function; scores validation rows under ``rrm_verl.validation=rule``.
        reward_router_address: where verl serves its reward model, for ``rrm.judge.backend=verl``.
        reward_model_tokenizer: of that model; not used.

    Raises:
        ConfigError: with key, value and fix.
    """

    def __init__(
        self,
        config: Any,
        tokenizer: Any,
        compute_score: Any = None,
        reward_router_address: str | None = None,
        reward_model_tokenizer: Any = None,
    ) -> None:
        super().__init__(config, tokenizer, compute_score)
        try:
            self._settings = read_settings(config, reward_router_address)
            check_reward_manager(config, self._settings)
            self._rewarder = Rewarder(self._settings, HubClient(self._settings), compute_score)
        except ConfigError as error:
            # verl makes its reward workers without looking whether they live, and reports the first call instead
            print(f"rrm-reward: the configuration cannot work: {error}", file=sys.stderr, flush=True)
            raise

    async def run_single(self, data: DataProto) -> dict[str, Any]:
        """Reward of the last sequence in `data`: ``reward_score`` and ``reward_extra_info``."""
        item = data[-1:][0]
        row = item.non_tensor_batch
        validating = self._settings.is_validation(row)
        try:
            query, text = self._read(item)
            if validating:
                return await self._rewarder.validate(row, query, text)
            return await self._rewarder.train(read_sample(row, text, query, self._settings.rollouts))
        except Exception as error:
            return self._rewarder.nothing("verl's row cannot be read", error, validating=validating)

    def _read(self, item: Any) -> tuple[str, str]:
        """Query and response of one row as text.

        verl says how many tokens are not padding; where it does not (rewards after the rollout, 0.8), the mask does,
        which covers prompt and response together.
        """
        row, mask = item.non_tensor_batch, item.batch["attention_mask"]
        prompt, response = item.batch["prompts"], item.batch["responses"]
        length = int(row.get("response_len", mask[-response.shape[-1] :].sum()))
        text = self._decode(response[:length])
        query = read_query(row)
        if query is None:
            query = self._decode(prompt[mask[: prompt.shape[-1]].bool()])
        return query, text

    def _decode(self, tokens: Any) -> str:
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True))
