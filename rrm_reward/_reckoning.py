"""From a group's outcomes to its rewards: the same whether they were just judged or come out of a log."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rrm_reward.rating import Rating
from rrm_reward.reward import Reward
from rrm_reward.types import FloatArray, Outcome, PositionBelief, Ratings


def reckon(
    rating: Rating,
    reward: Reward,
    n: int,
    outcomes: Sequence[Outcome],
    standing: Sequence[int | None],
    belief: PositionBelief | None,
) -> tuple[Ratings, FloatArray]:
    """Ratings, and rewards of shape (n,); twins get what the one that stands for them got.

    Args:
        rating: outcomes to ratings.
        reward: ratings to rewards.
        n: number of slots.
        outcomes: between slots that stand for themselves.
        standing: by slot, the slot that stands for it; None for a member that never came.
        belief: about the judge's position bias, or None.
    """
    present = [slot for slot, stands in enumerate(standing) if stands is not None]
    stand_for = [stands for stands in standing if stands is not None]
    judged = rating(n, outcomes, belief)
    value, stderr = np.full(n, np.nan), np.full(n, np.nan)
    value[present], stderr[present] = judged.value[stand_for], judged.stderr[stand_for]
    if len(set(stand_for)) == 1 and len(present) > 1:
        # Nobody was compared, yet something is known for certain: they are equal.
        value[present], stderr[present] = rating.neutral, 0.0
    ratings = Ratings(value, stderr)
    return ratings, reward(rating, ratings)
