"""Placement: how far a response came in a knockout.

A cohort is a set of responses with the same record so far; it holds consecutive places. In each round its
winners take the upper ones and its losers the lower ones; without consolation matches the losers play no
more and share the mean of their places. A bye counts as the round it leads to. Two cases need care, for
nobody may lose by a verdict that is missing:

- a response that plays no more though it never lost was put out by a coin after a missing or tied match, or
  withdrawn. All that is known is that it belongs to this cohort, so it gets the mean place of the cohort (a
  censored observation);
- the others of the cohort then move apart to make room: if c of the cohort's s responses stand anywhere
  with equal probability, the one at rank q of the other s - c is expected at rank q (s + 1) / (s - c + 1).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rrm_reward.rating._base import Rating
from rrm_reward.types import FloatArray, Outcome, PositionBelief, Ratings

Record = dict[int, float]
"""Results by round: 1 won, 0 lost, 0.5 tied or missing."""


class Placement(Rating):
    """Expected place on a scale from 0 (last) to 1 (first).

    That is (m - place) / (m - 1) for the m responses that played. For knockouts, with or without consolation
    matches, whose outcomes carry their round. A response all of whose matches are missing is NaN. Standard
    errors are NaN: a place says nothing about how clear the matches were.
    """

    SCHEDULES = ("knockout",)
    unit = "place, from 0 (last) to 1 (first)"
    neutral = 0.5
    spread = 0.5

    @property
    def knows_error(self) -> bool:
        """No."""
        return False

    def expected(self, value: FloatArray) -> FloatArray:
        """The value: the share of the group that the response is placed above."""
        return value

    def __call__(
        self, n: int, outcomes: Sequence[Outcome], position: PositionBelief | None = None
    ) -> Ratings:
        """Rate responses 0 to n-1; see `Rating`."""
        records: dict[int, Record] = {}
        known = np.zeros(n, dtype=bool)
        for o in outcomes:
            won = 0.5 if o.p is None or o.p == 0.5 else float(o.p > 0.5)
            records.setdefault(o.i, {})[o.round] = won
            records.setdefault(o.j, {})[o.round] = 1 - won
            known[[o.i, o.j]] |= o.p is not None
        value = np.full(n, np.nan)
        last = max((o.round for o in outcomes), default=-1)
        for i, place in _ranks(records, list(records), 0, last).items():
            value[i] = (len(records) - place) / (len(records) - 1)
        value[~known] = np.nan
        return Ratings(np.round(value, 12), np.full(n, np.nan))


def _ranks(records: dict[int, Record], cohort: list[int], round: int, last: int) -> dict[int, float]:
    """Expected ranks, from 1, within a cohort of equal records up to this round."""
    middle = (len(cohort) + 1) / 2
    if len(cohort) < 2 or round > last:
        return dict.fromkeys(cohort, middle)
    winners, losers, censored = [], [], []
    for i in cohort:
        result = records[i].get(round)
        plays_on = max(records[i]) > round
        if result == 1 or (plays_on and result in (None, 0.5)):
            winners.append(i)
        elif result == 0:
            losers.append(i)
        else:
            censored.append(i)
    upper = _ranks(records, winners, round + 1, last)
    lower = _ranks(records, losers, round + 1, last)
    room = (len(cohort) + 1) / (len(cohort) - len(censored) + 1)
    ranks = {i: rank * room for i, rank in upper.items()}
    ranks |= {i: (len(winners) + rank) * room for i, rank in lower.items()}
    return ranks | dict.fromkeys(censored, middle)
