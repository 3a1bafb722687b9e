"""Matches that are played before it is certain that they are needed, while a group waits for its last members.

In a bracket nobody who might meet the missing member, or whoever beats it, can play on: when it comes at last, as many
matches in a row are left as the bracket has rounds. Most members lose early, though. So the bracket is played on as if
those who are still missing were to lose; half of the time the last one does at once, and then everything behind its
first match is known already. Whatever it does, outcomes are those of the bracket that was drawn: a verdict depends on
the two texts and their order, and one that turns out not to be needed counts nowhere but among the calls.

After the last arrival a bracket of 16 needs 1 + 1/2 + 1/4 + 1/8 matches in a row on average instead of 4 (if verdicts
are transitive), and what the missing one wins is what was played in vain: 1/2 + 1/4 + 1/8 calls more than 15.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from rrm_reward.tournament._base import Tournament
from rrm_reward.types import Match, Outcome

NOT_YET = 0
"""The depth of a match that is played ahead: every other one goes first."""


def matches_ahead(
    tournament: Tournament, missing: Collection[int], find: Callable[[Match], Outcome | None]
) -> list[Match]:
    """What could be played next if the missing lost all their matches.

    Args:
        tournament: drawn as the group's own, every slot added or withdrawn, the missing ones added.
        missing: slots that have not arrived.
        find: the outcome of a match between others, None where it is not known; called once a match.

    Returns:
        Matches without a known outcome, with a depth of `NOT_YET`.
    """
    ahead = []
    while matches := tournament.ready():
        for match in matches:
            if match.i in missing or match.j in missing:
                # Of two missing ones either may go on to lose the next.
                outcome = Outcome(match.i, match.j, float(match.i not in missing), (), match.round)
            else:
                found = find(match)
                if found is None:
                    ahead.append(replace(match, depth=NOT_YET))
                    continue
                outcome = found
            tournament.record(outcome)
    return ahead
