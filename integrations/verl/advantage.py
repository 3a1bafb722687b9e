"""An advantage estimator for verl that leaves a group's advantages as large as they are known.

    rrm: {reward: {scale: decided}, rating: {name: bradley_terry}}
    algorithm: {adv_estimator: rrm}

and, as verl imports what registers estimators by this variable only, in the environment of the job

    VERL_USE_EXTERNAL_MODULES=rrm_reward.integrations.verl.advantage

GRPO divides a group's centred rewards by their standard deviation. Where the judge was asked little, that deviation is
mostly its noise, and a group about which nothing is known gets gradients as large as one that is settled. The scale
``decided`` (`rrm_reward.reward`) has divided already, by the spread that the *true* ratings are believed to have, so
that the root mean square of a group's rewards is the square root of its reliability. All that verl shows an estimator
is rewards and groups; so the rewards carry what is known of the noise, and the estimator does what is left:

    advantage_i = reward_i - mean of its group,    on every token of the response

A row without siblings gets 0: its reward says nothing against anybody.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from verl.trainer.ppo.core_algos import register_adv_est

NAME = "rrm"


@register_adv_est(NAME)
def rrm_advantage(
    token_level_rewards: torch.Tensor,
    response_mask: torch.Tensor,
    index: Sequence[Any],
    config: Any = None,
    **_: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Advantages and returns, shape (rows, tokens) each; they are the same.

    Args:
        token_level_rewards: shape (rows, tokens); their sum is a row's reward.
        response_mask: 1 where the policy wrote the token.
        index: the group of every row.
        config: verl's ``algorithm``; not used.
    """
    with torch.no_grad():
        scores = token_level_rewards.sum(dim=-1)
        _, group = np.unique(np.asarray(index, dtype=str), return_inverse=True)
        group_of = torch.as_tensor(group, device=scores.device)
        groups = int(group_of.max()) + 1 if len(group_of) else 0
        sums = torch.zeros(groups, dtype=scores.dtype, device=scores.device).index_add_(0, group_of, scores)
        sizes = torch.bincount(group_of, minlength=groups).to(scores.dtype)
        advantages = (scores - (sums / sizes)[group_of]).unsqueeze(-1) * response_mask
    return advantages, advantages
