"""Bradley-Terry: strengths that explain who beat whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

import numpy as np

from rrm_reward.options import Option
from rrm_reward.rating._base import Rating
from rrm_reward.rating._strength import Comparisons, maximise, sigmoid
from rrm_reward.types import FloatArray, Outcome, Ratings

PRIOR: Final = 1.5
"""Default standard deviation of strengths in log-odds. The better of two responses drawn from it wins 79 % of
the time, E sigma(|d|) over d ~ N(0, 2 prior^2), about as often as a pairwise judge is right on mixed pairs;
and an unbeaten response among 16 gets 3.03 from a round robin, well inside the default clip of 5."""


class BradleyTerry(Rating):
    """Posterior mode of the strengths in log-odds against an average response of the group; mean 0.

    Takes opponents' strength into account, so it suits schedules in which responses meet different
    opponents. The model and its fit are in `_strength`.

    A position term: with ``position`` = b, Assistant 1 has b more log-odds in every vote. Where an
    outcome's votes say who was Assistant 1, b is taken off accordingly; an outcome without votes counts as
    balanced. If the votes' share is p, each order's votes enter with that order's share; if p was made from
    them otherwise (majority), p enters with their mean order.

    A match counts as one comparison, however many votes it had: votes of one judge on one pair share its
    misjudgement of that pair, and a reward's scale should not depend on how many re-asks it took. Where
    votes are closer to independent, ``vote_correlation`` = r < 1 lets k votes count as k / (1 + (k - 1) r)
    comparisons (Kish 1965, design effect).

    Standard errors are those of strengths less their mean, from the inverse Hessian S of the posterior at its
    mode (Laplace): with m rated responses, sqrt(S_ii - prior^2 / m).
    """

    unit = "log-odds"
    neutral = 0.0
    spread = 1.0
    OPTIONS: ClassVar = {
        "prior": Option(float, PRIOR, "standard deviation of strengths, in log-odds", above=0.0, high=100.0),
        "position": Option(float, 0.0, "log-odds that Assistant 1 has for being it", low=-100.0, high=100.0),
        "vote_correlation": Option(
            float, 1.0, "of votes on one match; 1: a match counts once", low=0.0, high=1.0
        ),
    }

    def __init__(self, *, prior: float = PRIOR, position: float = 0.0, vote_correlation: float = 1.0) -> None:
        self.prior = prior
        self.position = position
        self.vote_correlation = vote_correlation

    def expected(self, value: FloatArray) -> FloatArray:
        """sigma(value): average responses have strength 0."""
        return sigmoid(value)

    def __call__(self, n: int, outcomes: Sequence[Outcome], *, position: float | None = None) -> Ratings:
        """Rate responses 0 to n-1; see `Rating`.

        Args:
            n: number of responses.
            outcomes: of their matches.
            position: instead of the option, for one that is learnt while the run goes on.
        """
        bonus = self.position if position is None else position
        rows = [row for o in outcomes for row in self._rows(o, bonus)]
        value, stderr = np.full(n, np.nan), np.full(n, np.nan)
        if not rows:
            return Ratings(value, stderr)
        i, j, p, weight, offset = np.array(rows, dtype=np.float64).T
        columns = Comparisons(i.astype(np.intp), j.astype(np.intp), p, weight, offset)
        strength, covariance = maximise(n, columns, self.prior)
        known = np.bincount(np.concatenate([columns.i, columns.j]), minlength=n) > 0
        # Equal records must give equal rewards, whatever the last bit says; adding 0 turns -0 into 0.
        value[known] = np.round(strength[known], 10) + 0.0
        # The prior alone fixes the level, so the mean of m strengths has variance prior^2 / m and correlates
        # with no difference of strengths: centring takes exactly that off.
        stderr[known] = np.sqrt(np.diag(covariance)[known] - self.prior**2 / known.sum())
        return Ratings(value, stderr)

    def _rows(self, outcome: Outcome, bonus: float) -> list[tuple[int, int, float, float, float]]:
        """The outcome as rows of `Comparisons`, their weights summing to what the match counts as."""
        if outcome.p is None:
            return []
        i, j, p = outcome.i, outcome.j, outcome.p
        votes = [(vote.i_first, vote.for_i) for vote in outcome.votes if vote.for_i is not None]
        if not votes:
            return [(i, j, p, 1.0, 0.0)]
        count = len(votes)
        weight = count / (1 + (count - 1) * self.vote_correlation)
        if bonus == 0:
            return [(i, j, p, weight, 0.0)]
        if abs(sum(for_i for _, for_i in votes) / count - p) > 1e-9:
            mean_order = sum(1 if i_first else -1 for i_first, _ in votes) / count
            return [(i, j, p, weight, bonus * mean_order)]
        rows = []
        for order in (True, False):
            in_order = [for_i for i_first, for_i in votes if i_first == order]
            if in_order:
                share = len(in_order) / count
                rows.append((i, j, sum(in_order) / len(in_order), weight * share, bonus if order else -bonus))
        return rows
