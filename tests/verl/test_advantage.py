"""The advantage estimator ``rrm``, as verl calls it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from verl.trainer.ppo import core_algos

from rrm_reward.errors import ConfigError
from rrm_reward.integrations.verl._settings import read_settings
from rrm_reward.integrations.verl.advantage import NAME, rrm_advantage
from rrm_reward.rating import make_rating
from rrm_reward.reward import make_reward
from rrm_reward.types import Outcome
from tests.verl.test_settings import verl_config


def as_verl_has_them(rewards: list[float], tokens: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """Rewards on the last token of responses of different lengths."""
    rows = torch.zeros(len(rewards), tokens)
    mask = torch.zeros(len(rewards), tokens)
    for row, reward in enumerate(rewards):
        length = 1 + row % tokens
        mask[row, :length] = 1
        rows[row, length - 1] = reward
    return rows, mask


def test_it_is_verls_own_grpo_without_the_division() -> None:
    rng = np.random.default_rng(0)
    index = np.array([f"uid-{k % 5}" for k in range(20)], dtype=object)
    rewards, mask = as_verl_has_them(rng.normal(size=20).tolist())
    ours, returns = core_algos.get_adv_estimator_fn(NAME)(
        token_level_rewards=rewards, response_mask=mask, index=index, config=None
    )
    theirs, _ = core_algos.compute_grpo_outcome_advantage(
        rewards.clone(), mask, index, norm_adv_by_std_in_grpo=False
    )
    torch.testing.assert_close(ours, theirs)
    assert returns is ours
    assert ours.shape == rewards.shape


def test_a_row_without_siblings_gets_nothing() -> None:
    rewards, mask = as_verl_has_them([3.0, 1.0, -1.0])
    advantages, _ = rrm_advantage(rewards, mask, ["alone", "g", "g"])
    assert advantages.sum(dim=1).tolist() == [0.0, 2.0, -3.0]


def test_undecided_groups_pull_less_than_under_grpo_and_decided_ones_as_much() -> None:
    """Two groups through ratings, rewards and both estimators: everybody met everybody, or almost nobody anybody."""
    rate, reward = make_rating("bradley_terry"), make_reward("decided")
    order = range(8)
    settled = [Outcome(i, j, 1.0) for _ in range(12) for i in order for j in order if i < j]
    one_match = [Outcome(i, (i + 1) % 8, float(i % 3 == 0)) for i in order]
    groups = [reward(rate, rate(8, outcomes)) for outcomes in (settled, one_match)]
    rewards, mask = as_verl_has_them([float(r) for group in groups for r in group])
    index = np.array(["settled"] * 8 + ["open"] * 8, dtype=object)
    ours, _ = rrm_advantage(rewards, mask, index)
    grpo, _ = core_algos.compute_grpo_outcome_advantage(rewards.clone(), mask, index)

    def size(advantages: torch.Tensor, rows: slice) -> float:
        return float(advantages[rows].abs().amax(dim=1).pow(2).mean().sqrt())

    settled_rows, open_rows = slice(0, 8), slice(8, 16)
    assert size(grpo, open_rows) == pytest.approx(size(grpo, settled_rows), rel=1e-3)
    assert size(ours, open_rows) < 0.75 * size(ours, settled_rows)
    assert size(ours, settled_rows) > 0.85


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"algorithm__adv_estimator": "rrm"}, "rrm.reward.scale"),
        ({"rrm__reward__scale": "decided"}, "algorithm.adv_estimator"),
    ],
)
def test_scale_and_estimator_must_belong_together(changes: dict[str, str], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_settings(verl_config(**changes))
    assert caught.value.key == key


@pytest.mark.parametrize(
    "changes",
    [
        {"algorithm__adv_estimator": "rrm"},
        {"algorithm__norm_adv_by_std_in_grpo": False},
        {"algorithm__adv_estimator": "rloo"},
    ],
)
def test_estimators_that_divide_by_nothing_take_decided_rewards(changes: dict[str, object]) -> None:
    assert read_settings(verl_config(rrm__reward__scale="decided", **changes)).rrm.reward.scale == "decided"
