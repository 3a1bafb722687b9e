"""What one group says about its rewards: pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

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


def decided(ratings: Ratings) -> float | None:
    """How much of the spread of a group's ratings is not the judge's noise, in [0, 1].

    That is 1 - (mean of squared standard errors) / (variance of the ratings), and 0 where the errors are larger: the
    separation reliability of Rasch models (Wright and Masters, 1982).

    Returns:
        None with fewer than two ratings that have a standard error.
    """
    use = np.isfinite(ratings.value) & np.isfinite(ratings.stderr)
    if use.sum() < 2:
        return None
    variance = float(ratings.value[use].var())
    noise = float(np.mean(ratings.stderr[use] ** 2))
    return max(0.0, 1.0 - noise / variance) if variance > 1e-12 else 0.0
