"""What one group says about its rewards: pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from rrm_reward.rating import Rating
from rrm_reward.reward import posterior
from rrm_reward.types import FloatArray, Ratings


def length_correlation(rewards: FloatArray, lengths: Sequence[int]) -> float | None:
    """Pearson's correlation of reward and length in a group, in [-1, 1].

    Args:
        rewards: shape (n,), NaN where unknown.
        lengths: n numbers, 0 for a member that did not come.

    Returns:
        None with fewer than three members that have both, or where either is the same for all.
    """
    if len(lengths) != len(rewards):
        return None
    length = np.asarray(lengths, dtype=np.float64)
    use = np.isfinite(rewards) & (length > 0)
    if use.sum() < 3:
        return None
    x, y = rewards[use] - rewards[use].mean(), length[use] - length[use].mean()
    spread = math.sqrt(float(x @ x) * float(y @ y))
    return float(np.clip(x @ y / spread, -1.0, 1.0)) if spread > 1e-12 else None


def decided(ratings: Ratings, rating: Rating) -> float | None:
    """How much of the spread of a group's true ratings is known, in [0, 1]: the reliability of `rrm_reward.reward`.

    That is var(m) / (var(m) + mean(v)) of the posterior means m and variances v. Of ratings that are estimates with an
    error it is the separation reliability of Rasch models (Wright and Masters, 1982).

    Args:
        ratings: of the group.
        rating: that gave them.

    Returns:
        None with fewer than two ratings that have a standard error.
    """
    use = np.isfinite(ratings.value) & np.isfinite(ratings.stderr)
    if use.sum() < 2:
        return None
    mean, variance = posterior(rating, ratings.value[use], ratings.stderr[use])
    known = float(mean.var())
    spread = known + float(variance.mean())
    return known / spread if spread > (1e-9 * rating.spread) ** 2 else 0.0
