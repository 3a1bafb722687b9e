"""Win rate: the mean share of the votes over a response's matches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rrm_reward.rating._base import Rating
from rrm_reward.types import FloatArray, Outcome, Ratings


class WinRate(Rating):
    """Mean of p over the matches of a response, in [0, 1].

    In a full round robin it orders responses as Bradley-Terry does and needs no model. Where responses meet
    different opponents it rewards an easy draw; `bradley_terry` does not.

    The standard error is the posterior standard deviation of a win probability under Jeffreys' prior
    Beta(1/2, 1/2) (Brown, Cai, DasGupta 2001, "Interval Estimation for a Binomial Proportion"): with w wins
    in m matches and a = w + 1/2, b = m - w + 1/2, sqrt(a b / ((a + b)^2 (a + b + 1))). One match won does
    not make it zero, as w(1 - w)/m would. It takes the matches as alike; where opponents differ in strength
    the true error is smaller (Hoeffding 1956), so this is on the safe side.
    """

    unit = "share of votes"
    neutral = 0.5
    spread = 0.5

    def expected(self, value: FloatArray) -> FloatArray:
        """The win rate itself."""
        return value

    def __call__(self, n: int, outcomes: Sequence[Outcome]) -> Ratings:
        """Rate responses 0 to n-1; see `Rating`."""
        played = [(o.i, o.j, o.p) for o in outcomes if o.p is not None]
        i, j, p = np.array(played, dtype=np.float64).reshape(-1, 3).T
        players = np.concatenate([i, j]).astype(np.intp)
        matches = np.bincount(players, minlength=n).astype(np.float64)
        wins = np.bincount(players, np.concatenate([p, 1 - p]), minlength=n)
        known = matches > 0
        value = np.full(n, np.nan)
        stderr = np.full(n, np.nan)
        # Sums of shares differ in the last bit with their order; equal records must give equal rewards.
        value[known] = np.round(wins[known] / matches[known], 12)
        a, b = wins + 0.5, matches - wins + 0.5
        stderr[known] = np.sqrt(a * b / ((a + b) ** 2 * (a + b + 1)))[known]
        return Ratings(value, stderr)
