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
decided             centred posterior mean / posterior spread, see below        [-sqrt(n-1), sqrt(n-1)]
==================  ==========================================================  =======================

**Judge noise.** With few comparisons a group's ratings differ mostly by chance, and dividing by their standard
deviation, as GRPO and ``zscore`` do, blows that chance up to full size: a group about which nothing is known pulls as
hard as one that is settled. Let m_i be the posterior means of the centred true ratings and v_i their posterior
variances. By the law of total variance the true ratings spread by sqrt(mean m^2 + mean v), so

    decided_i = m_i / sqrt(mean m^2 + mean v)

is the z-score's numerator and denominator, each as far as it is known. Its root mean square over the group is
sqrt(reliability), reliability = mean m^2 / (mean m^2 + mean v) in [0, 1]: 1 for a settled group (the z-score), 0 for
one of which nothing is known. A trainer must not divide by the standard deviation again; `docs/advantages.md` says how.

Bradley-Terry and Elo are posterior means already. A win rate is an estimate with an error u_i: by empirical Bayes
(Efron and Morris 1975) the true spread is t^2 = max(0, S^2 - mean u^2), S^2 the observed variance (n - 1 degrees), and
m = B (rate - mean), v = B mean u^2 with B = t^2 / S^2. One B for the whole group, so that no better rating gets less.
``shrink: stderr`` puts m (plus the mean) in place of an estimate under any other scale.

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

Scale = Callable[[Rating, FloatArray, FloatArray], FloatArray]
"""Rewards of the known ratings from values and standard errors, shape (m,) each, no NaN among the values; monotone."""


def posterior(rating: Rating, value: FloatArray, stderr: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Posterior means and variances of ratings, shape (m,) each; see the module's text.

    Args:
        rating: that gave them.
        value: known ratings.
        stderr: their standard errors; NaN counts as none.
    """
    variance = np.nan_to_num(stderr, nan=0.0) ** 2
    if rating.POSTERIOR or len(value) < 2:
        return value, variance
    observed, noise = float(value.var(ddof=1)), float(variance.mean())
    kept = max(0.0, 1 - noise / observed) if observed > (1e-9 * rating.spread) ** 2 else 0.0
    mean = float(value.mean())
    return mean + kept * (value - mean), np.full_like(value, kept * noise)


def _decided(rating: Rating, value: FloatArray, stderr: FloatArray) -> FloatArray:
    mean, variance = posterior(rating, value, stderr)
    centred: FloatArray = mean - mean.mean()
    spread = float(np.sqrt(np.mean(centred * centred) + variance.mean()))
    if spread <= 1e-9 * rating.spread:
        return np.zeros_like(value)
    return centred / spread


def _natural(rating: Rating, value: FloatArray, stderr: FloatArray) -> FloatArray:
    return np.asarray((value - rating.neutral) / rating.spread, dtype=np.float64)


def _win_probability(rating: Rating, value: FloatArray, stderr: FloatArray) -> FloatArray:
    return rating.expected(value)


def _zscore(rating: Rating, value: FloatArray, stderr: FloatArray) -> FloatArray:
    centred: FloatArray = value - value.mean()
    deviation = float(np.sqrt(np.mean(centred * centred)))
    # Differences of the size of rounding are none: dividing by them would turn noise into a reward of one.
    if deviation <= 1e-9 * rating.spread:
        return np.zeros_like(value)
    return centred / deviation


def _rank(rating: Rating, value: FloatArray, stderr: FloatArray) -> FloatArray:
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
    "decided": _decided,
}
"""Every scale by the name a user writes in ``reward.scale``."""


@dataclass(frozen=True, slots=True)
class Reward:
    """Maps a group's ratings to rewards; made by `make_reward`.

    Attributes:
        scale: the mapping.
        clip: rewards lie in [-clip, clip].
        shrink: put posterior means in place of estimates.
    """

    scale: Scale
    clip: float
    shrink: bool = False

    def __call__(self, rating: Rating, ratings: Ratings) -> FloatArray:
        """Rewards, shape (n,), NaN where the rating is NaN.

        Args:
            rating: the rating that gave the values; says what they mean.
            ratings: of one group.
        """
        rewards = np.full(len(ratings.value), np.nan)
        known = ~np.isnan(ratings.value)
        if known.any():
            value, stderr = ratings.value[known], ratings.stderr[known]
            if self.shrink and self.scale is not _decided:  # which shrinks by itself
                value, _ = posterior(rating, value, stderr)
            rewards[known] = np.clip(self.scale(rating, value, stderr), -self.clip, self.clip)
        return rewards


SHRINK: Final = ("none", "stderr")


def make_reward(scale: str = "natural", clip: float = 5.0, shrink: str = "none") -> Reward:
    """The mapping from a group's ratings to its rewards.

    Args:
        scale: a scale of `SCALES`.
        clip: largest absolute reward.
        shrink: ``none``, or ``stderr``: posterior means in place of estimates.

    Raises:
        ConfigError: ``reward.scale``, ``reward.clip`` or ``reward.shrink``.
    """
    if shrink not in SHRINK:
        raise ConfigError("reward.shrink", shrink, f"choose one of {', '.join(SHRINK)}")
    if not (isinstance(clip, int | float) and math.isfinite(clip) and clip > 0):
        raise ConfigError("reward.clip", clip, "must be a positive number")
    return Reward(pick("reward.scale", SCALES, scale), float(clip), shrink == "stderr")


def check_reward(scale: str, shrink: str, rating: Rating) -> None:
    """Find at start-up what a rating cannot give.

    Raises:
        ConfigError: ``reward.scale`` or ``reward.shrink`` needs standard errors, and the rating has none.
    """
    if not rating.knows_error:
        fix = "needs standard errors, which this rating does not have; take rating.name=bradley_terry"
        if scale == "decided":
            raise ConfigError("reward.scale", scale, fix)
        if shrink == "stderr":
            raise ConfigError("reward.shrink", shrink, fix)
