"""What one sample gets of its group's result."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from rrm_reward.types import GroupResult


@dataclass(frozen=True, slots=True)
class SampleReward:
    """What one sample gets back; plain numbers that cross processes and loggers.

    Attributes:
        reward: on the scale of `rrm_reward.reward`; NaN where nothing is known.
        rating, stderr: behind the reward, NaN where unknown.
        group_mean: mean of the group's known rewards, 0.0 if there is none: what a trainer that cannot take NaN gives
            an unknown sample, so that its advantage is 0.
        group_size: members that came.
        group_spread: standard deviation of the group's known rewards: how far the judge told it apart.
        comparisons, missing, calls, completion_tokens: of the whole group.
        health: the judge's gauges when the group was closed, by the names of `rrm_reward.health.GAUGES`.
    """

    reward: float
    rating: float = math.nan
    stderr: float = math.nan
    group_mean: float = 0.0
    group_size: int = 0
    comparisons: int = 0
    missing: int = 0
    calls: int = 0
    completion_tokens: int = 0
    group_spread: float = 0.0
    health: Mapping[str, float] = field(default_factory=dict, compare=False)

    @property
    def known(self) -> bool:
        """Whether there is a reward."""
        return not math.isnan(self.reward)

    @property
    def filled(self) -> float:
        """The reward, or the group's mean where it is unknown."""
        return self.reward if self.known else self.group_mean


UNKNOWN = SampleReward(math.nan)


def shares_of(result: GroupResult, members: int, health: Mapping[str, float]) -> list[SampleReward]:
    """Every slot's part of its group's result."""
    known = result.rewards[~np.isnan(result.rewards)]
    mean, spread = (float(known.mean()), float(known.std())) if len(known) else (0.0, 0.0)
    columns = (result.rewards, result.ratings.value, result.ratings.stderr)
    return [
        SampleReward(
            *(reward, rating, stderr, mean, members),
            *(result.comparisons, result.missing, result.calls, result.completion_tokens),
            group_spread=spread,
            health=health,
        )
        for reward, rating, stderr in zip(*(column.tolist() for column in columns), strict=True)
    ]
