"""From ratings to what the trainer gets.

A rating has its own unit (a win rate, Elo points, log-odds); a trainer wants numbers of order one.
Group-relative algorithms (GRPO, RLOO) subtract the group's mean, and GRPO divides by its standard deviation,
so for them the scales differ in shape alone: ``natural`` keeps the distances of the rating, ``rank`` nothing
but the order. Algorithms with a learned critic (PPO) see the absolute number; ``natural`` and
``win_probability`` mean the same from group to group.

==================  ==========================================================  =======================
scale               reward                                                      range before clipping
==================  ==========================================================  =======================
natural             (rating - neutral) / spread, see `Rating`: 2w - 1 for        win_rate, placement
                    win_rate and placement, (R - initial) / 400 for elo,         [-1, 1]; others finite
                    log-odds against an average response for bradley_terry
win_probability     expected score against an average response of the group     [0, 1]
zscore              (rating - group mean) / group standard deviation; 0 where   [-sqrt(n-1), sqrt(n-1)]
                    all are equal
rank                mid-rank, best 1, worst -1; equal ratings share the mean    [-1, 1]
==================  ==========================================================  =======================

Whatever the scale: NaN stays NaN and takes part in no mean, a better rating never gets a smaller reward,
equal ratings get equal rewards, and rewards lie in [-clip, clip]. The default clip of 5 keeps them inside
OpenRLHF's own +-10.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from rrm_reward.errors import ConfigError
from rrm_reward.options import pick
from rrm_reward.rating import Rating
from rrm_reward.types import FloatArray, Ratings

Scale = Callable[[Rating, FloatArray], FloatArray]
"""Rewards of the known ratings, shape (m,), no NaN among them; monotone in the values."""


def _natural(rating: Rating, value: FloatArray) -> FloatArray:
    return np.asarray((value - rating.neutral) / rating.spread, dtype=np.float64)


def _win_probability(rating: Rating, value: FloatArray) -> FloatArray:
    return rating.expected(value)


def _zscore(rating: Rating, value: FloatArray) -> FloatArray:
    centred: FloatArray = value - value.mean()
    deviation = float(np.sqrt(np.mean(centred * centred)))
    # Differences of the size of rounding are none: dividing by them would turn noise into a reward of one.
    if deviation <= 1e-9 * rating.spread:
        return np.zeros_like(value)
    return centred / deviation


def _rank(rating: Rating, value: FloatArray) -> FloatArray:
    if len(value) == 1:
        return np.zeros(1)
    ordered = np.sort(value)
    below = np.searchsorted(ordered, value, side="left")
    not_above = np.searchsorted(ordered, value, side="right")
    return (below + not_above - 1) / (len(value) - 1) - 1.0


SCALES: Final[dict[str, Scale]] = {
    "natural": _natural,
    "win_probability": _win_probability,
    "zscore": _zscore,
    "rank": _rank,
}
"""Every scale by the name a user writes in ``reward.scale``."""


@dataclass(frozen=True, slots=True)
class Reward:
    """Maps a group's ratings to rewards; made by `make_reward`.

    Attributes:
        scale: the mapping.
        clip: rewards lie in [-clip, clip].
    """

    scale: Scale
    clip: float

    def __call__(self, rating: Rating, ratings: Ratings) -> FloatArray:
        """Rewards, shape (n,), NaN where the rating is NaN.

        Args:
            rating: the rating that gave the values; says what they mean.
            ratings: of one group.
        """
        rewards = np.full(len(ratings.value), np.nan)
        known = ~np.isnan(ratings.value)
        if known.any():
            rewards[known] = np.clip(self.scale(rating, ratings.value[known]), -self.clip, self.clip)
        return rewards


def make_reward(scale: str = "natural", clip: float = 5.0) -> Reward:
    """The mapping from a group's ratings to its rewards.

    Args:
        scale: a scale of `SCALES`.
        clip: largest absolute reward.

    Raises:
        ConfigError: ``reward.scale`` or ``reward.clip``.
    """
    if not (isinstance(clip, int | float) and math.isfinite(clip) and clip > 0):
        raise ConfigError("reward.clip", clip, "must be a positive number")
    return Reward(pick("reward.scale", SCALES, scale), float(clip))
