"""Rates a logged group again: under another rating, or as if another schedule had been played.

Without a schedule, every logged outcome counts. With one, its tournament is drawn as the arena draws it, and each match
it asks for is looked up: a logged match of the same two members, in the same order if there is one, else in the other
(p becomes 1 - p); one that was played several times is used as often before it is used again. A match whose pair met
more often than in the log is *repeated*: it gets the verdict that the pair had last, as if the judge had said the same
again, which is less evidence than the rating makes of it, and counted. A match that was never played is *uncovered*:
missing for the tournament, and counted. So a part of a round robin is replayed in full, and a knockout from another
knockout's log in part.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rrm_reward._reckoning import reckon
from rrm_reward.rating import Rating
from rrm_reward.record._reader import LoggedGroup
from rrm_reward.reward import Reward
from rrm_reward.tournament import Tournament
from rrm_reward.types import GroupResult, Match, Outcome, PositionBelief


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay came to.

    Attributes:
        result: as the arena would give it; nothing was asked, so `calls` is 0.
        uncovered: matches that the schedule asked for and the log does not have.
        repeated: matches that got a verdict which another match of the same two had got already.
    """

    result: GroupResult
    uncovered: int
    repeated: int


def replay(
    group: LoggedGroup,
    rating: Rating,
    reward: Reward,
    *,
    tournament: Tournament | None = None,
    belief: PositionBelief | None = None,
) -> Replayed:
    """Rate a group from its log.

    Args:
        group: as logged.
        rating: outcomes to ratings.
        reward: ratings to rewards.
        tournament: fresh, for as many slots as the group has; None counts every outcome there is.
        belief: about the judge's position bias; see `GroupResult.position`.
    """
    standing = group.standing or tuple(range(group.size))
    logged = [_on_behalf(outcome, standing) for outcome in group.outcomes]
    uncovered = repeated = 0
    if tournament is not None:
        logged, uncovered, repeated = _play(tournament, logged, standing)
    outcomes = sorted(logged, key=lambda outcome: (outcome.round, outcome.i, outcome.j))
    ratings, rewards = reckon(rating, reward, group.size, outcomes, standing, belief)
    result = GroupResult(
        id=group.id,
        rewards=rewards,
        ratings=ratings,
        outcomes=tuple(outcomes),
        comparisons=len(outcomes),
        calls=0,
        missing=sum(outcome.p is None for outcome in outcomes),
        position=belief,
        standing=standing,
    )
    return Replayed(result, uncovered, repeated)


def _on_behalf(outcome: Outcome, standing: Sequence[int | None]) -> Outcome:
    """The outcome between those who stand for the two in the end: a lower twin may have come later."""
    i, j = standing[outcome.i], standing[outcome.j]
    return outcome if i is None or j is None else replace(outcome, i=i, j=j)


def _play(
    tournament: Tournament, logged: Sequence[Outcome], standing: Sequence[int | None]
) -> tuple[list[Outcome], int, int]:
    """The tournament's outcomes, and how many of its matches are not in the log and repeat another's verdict."""
    for slot, stands in enumerate(standing):
        if stands == slot:
            tournament.add(slot)
        else:
            tournament.withdraw(slot)
    known = _Known(logged)
    uncovered = 0
    while matches := tournament.ready():
        for match in matches:
            outcome = known.find(match)
            uncovered += outcome is None
            tournament.record(outcome or Outcome(match.i, match.j, None, (), match.round))
    return list(tournament.outcomes), uncovered, known.repeated


class _Known:
    """Logged outcomes by their two members; `repeated` counts those that were found again."""

    def __init__(self, logged: Sequence[Outcome]) -> None:
        self.repeated = 0
        self._fresh: dict[tuple[int, int], list[Outcome]] = defaultdict(list)
        self._used: dict[tuple[int, int], Outcome] = {}
        for outcome in logged:
            self._fresh[outcome.i, outcome.j].append(outcome)

    def find(self, match: Match) -> Outcome | None:
        """An outcome of this match, or None."""
        same, other = (match.i, match.j), (match.j, match.i)
        for pair in (same, other):
            if self._fresh[pair]:
                self._used[pair] = self._fresh[pair].pop(0)
                return _as(match, self._used[pair])
        for pair in (same, other):
            if pair in self._used:
                self.repeated += 1
                return _as(match, self._used[pair])
        return None


def _as(match: Match, outcome: Outcome) -> Outcome:
    if outcome.i == match.i:
        return replace(outcome, round=match.round)
    p = None if outcome.p is None else 1 - outcome.p
    votes = tuple(replace(vote, i_first=not vote.i_first) for vote in outcome.votes)
    return Outcome(match.i, match.j, p, votes, match.round)
