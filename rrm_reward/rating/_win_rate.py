"""Win rate: the mean share of the votes over a response's matches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rrm_reward.rating._base import Rating
from rrm_reward.types import FloatArray, Outcome, PositionBelief, Ratings


class WinRate(Rating):
    """Mean of p over the matches of a response, in [0, 1].

    In a full round robin it orders responses as Bradley-Terry does and needs no model. Where responses meet
    different opponents it rewards an easy draw; `bradley_terry` does not.

    The textbook sqrt(w(1 - w)/m) is zero after one match won. The standard error here is the root mean square
    error of the win rate under the posterior of a Beta(2, 2) prior ("add two wins and two losses", Agresti and
    Coull 1998): with w wins in m matches, a = w + 2 and b = m - w + 2, the square root of

        a b / ((a + b)^2 (a + b + 1)) + (w / m - a / (a + b))^2

    That 1.96 of them cover the true rate about 95 % of the time in a round robin is what
    `tests/rating/test_single_ratings.py` asserts.
    """

    unit = "share of votes"
    neutral = 0.5
    spread = 0.5

    def expected(self, value: FloatArray) -> FloatArray:
        """The win rate itself."""
        return value

    def __call__(
        self, n: int, outcomes: Sequence[Outcome], position: PositionBelief | None = None
    ) -> Ratings:
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
        a, b = wins[known] + 2, (matches - wins)[known] + 2
        shrunk = a / (a + b)
        variance = shrunk * (1 - shrunk) / (a + b + 1)
        stderr[known] = np.sqrt(variance + (value[known] - shrunk) ** 2)
        return Ratings(value, stderr)
