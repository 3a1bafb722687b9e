"""A group's result as what OpenRLHF takes of each sample: finite floats, under the same names for every sample."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from rrm_reward.types import GroupResult


@dataclass(frozen=True, slots=True)
class Share:
    """What one rollout gets; every number is finite.

    Attributes:
        reward: the group's mean where nothing is known, so that the advantage is 0; 0.0 in a group without any reward.
        score: what dynamic filtering averages over the group; see `decidedness`.
        known: whether the reward is the rollout's own.
        rating, stderr: behind the reward, 0.0 where unknown.
        missing: share of the group's comparisons without an outcome.
        judge_tokens: what the judge wrote for the group, by its number of members.
        size: members of the group, failed ones included.
    """

    reward: float = 0.0
    score: float = 0.0
    known: bool = False
    rating: float = 0.0
    stderr: float = 0.0
    missing: float = 0.0
    judge_tokens: float = 0.0
    size: int = 0

    def logs(self) -> dict[str, float]:
        """``extra_logs`` of OpenRLHF, which averages them over a batch."""
        return {
            "rrm_rating": self.rating,
            "rrm_stderr": self.stderr,
            "rrm_missing": self.missing,
            "rrm_judge_tokens": self.judge_tokens,
            "rrm_known": float(self.known),
        }


UNKNOWN = Share()


def decidedness(rewards: np.ndarray) -> float:
    """How far the judge told a group apart: s / (1 + s) of the rewards' standard deviation s.

    OpenRLHF's dynamic filtering keeps a group whose mean score lies strictly between 0 and 1. The mean reward of a
    comparison is the same for every group (a round robin's win rates average 1/2) and would filter nothing; this is 0
    where all responses are worth the same and nothing can be learned, and below 1 however clear the verdicts are.

    Args:
        rewards: shape (n,), NaN where unknown.
    """
    known = rewards[~np.isnan(rewards)]
    spread = float(known.std()) if len(known) else 0.0
    # what rounding leaves of equal rewards is no spread
    return spread / (1.0 + spread) if spread > 1e-9 else 0.0


def shares_of(result: GroupResult) -> list[Share]:
    """Every slot's share of a group that was judged."""
    rewards = result.rewards
    known = ~np.isnan(rewards)
    mean = float(rewards[known].mean()) if known.any() else 0.0
    score, size = decidedness(rewards), len(rewards)
    missing = result.missing / max(len(result.outcomes), 1)
    tokens = result.completion_tokens / max(size, 1)
    return [
        Share(
            reward=reward if is_known else mean,
            score=score,
            known=is_known,
            rating=_finite(rating),
            stderr=_finite(stderr),
            missing=missing,
            judge_tokens=tokens,
            size=size,
        )
        for reward, is_known, rating, stderr in zip(
            rewards.tolist(),
            known.tolist(),
            result.ratings.value.tolist(),
            result.ratings.stderr.tolist(),
            strict=True,
        )
    ]


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0
