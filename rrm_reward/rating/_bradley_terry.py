"""Bradley-Terry: strengths that explain who beat whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from rrm_reward.options import Option
from rrm_reward.rating._base import Rating
from rrm_reward.rating._strength import PRIOR, Model, comparisons, maximise, sigmoid
from rrm_reward.types import FloatArray, Outcome, PositionBelief, Ratings


class BradleyTerry(Rating):
    """Posterior mode of the strengths in log-odds against an average response of the group; mean 0.

    Takes opponents' strength into account, so it suits schedules in which responses meet different
    opponents. The model and its fit are in `_strength`.

    A position term b: Assistant 1 has b more log-odds in every vote. A belief that is learnt over many groups
    (`PositionBias`) is its prior, and the group's own outcomes are weighed against it: a certain belief
    fixes b, a vague one leaves it to the group. The option ``position``, where a user gives it, fixes b and nothing is
    learnt; 0 is a model without the term.

    A match counts as one comparison, however many votes it had: votes of one judge on one pair share its
    misjudgement of that pair, and a reward's scale should not depend on how many re-asks it took. Where
    votes are closer to independent, ``vote_correlation`` = r < 1 lets k votes count as k / (1 + (k - 1) r)
    comparisons (Kish 1965, design effect).

    Standard errors are those of strengths less their mean, from the inverse Hessian S of the posterior at its
    mode (Laplace): with m rated responses, sqrt(S_ii - prior^2 / m).
    """

    POSTERIOR = POSITION = True
    unit = "log-odds"
    neutral = 0.0
    spread = 1.0
    OPTIONS: ClassVar = {
        "prior": Option(float, PRIOR, "standard deviation of strengths, in log-odds", above=0.0, high=100.0),
        "position": Option(
            float, 0.0, "log-odds that Assistant 1 has for being it; if given, fixed", low=-100.0, high=100.0
        ),
        "vote_correlation": Option(
            float, 1.0, "of votes on one match; 1: a match counts once", low=0.0, high=1.0
        ),
    }

    def __init__(self, *, prior: float = PRIOR, position: float = 0.0, vote_correlation: float = 1.0) -> None:
        self.prior = prior
        self.position = position
        self.vote_correlation = vote_correlation

    @property
    def model(self) -> Model:
        """Its own options."""
        return Model(self.prior, self.vote_correlation)

    def expected(self, value: FloatArray) -> FloatArray:
        """sigma(value): average responses have strength 0."""
        return sigmoid(value)

    def __call__(
        self, n: int, outcomes: Sequence[Outcome], position: PositionBelief | None = None
    ) -> Ratings:
        """Rate responses 0 to n-1; see `Rating`."""
        value, stderr = np.full(n, np.nan), np.full(n, np.nan)
        rows = comparisons(outcomes, self.vote_correlation)
        if rows is None:
            return Ratings(value, stderr)
        fit = maximise(n, rows, self.prior, position or PositionBelief(self.position))
        known = np.bincount(np.concatenate([rows.i, rows.j]), minlength=n) > 0
        # Equal records must give equal rewards, whatever the last bit says; adding 0 turns -0 into 0.
        value[known] = np.round(fit.strength[known], 10) + 0.0
        # The prior alone fixes the level, so the mean of m strengths has variance prior^2 / m and correlates
        # with no difference of strengths, nor with the position term: centring takes exactly that off.
        variance = np.diag(fit.covariance)[:n]
        stderr[known] = np.sqrt(variance[known] - self.prior**2 / known.sum())
        return Ratings(value, stderr)
