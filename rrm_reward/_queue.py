"""Which match the judge gets next.

1. The one with the longest chain of matches waiting behind it: knockout finals must not be left for the end, when the
   judge would stand idle around them.
2. Of equals, one of a group whose members are all here: its trainer waits for nothing else, while a group that still
   waits for rollouts cannot end anyway.
3. Then that of the group that was opened first.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable

from rrm_reward._open_group import OpenGroup
from rrm_reward.types import Match


class MatchQueue:
    """Matches that wait for the judge, by the rule on top of this module.

    A group's matches move up when its last member arrives. They are pushed again then, and what is left in the old
    place is skipped when its turn comes.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[int, bool, int, int, OpenGroup, Match]] = []
        self._pushed = itertools.count()
        self._waiting: dict[int, dict[Match, None]] = {}  # in the order they came in
        self._moved_up: set[int] = set()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def put(self, sequence: int, group: OpenGroup, matches: Iterable[Match]) -> None:
        """Matches of a group, which is the `sequence`-th that was opened."""
        waiting = self._waiting.setdefault(sequence, {})
        if group.all_here and sequence not in self._moved_up:
            self._moved_up.add(sequence)
            self._push(sequence, group, waiting)
        before = len(waiting)
        matches = list(matches)
        waiting.update(dict.fromkeys(matches))
        self._length += len(waiting) - before
        self._push(sequence, group, matches)

    def pop(self) -> tuple[int, OpenGroup, Match]:
        """Take the next match: its group's sequence, its group, itself.

        Raises:
            IndexError: nothing waits.
        """
        while True:
            _, _, sequence, _, group, match = heapq.heappop(self._heap)
            waiting = self._waiting.get(sequence, {})
            if match in waiting:
                del waiting[match]
                self._length -= 1
                return sequence, group, match

    def drop(self, sequence: int) -> None:
        """The group is closed: what is left of it is not played."""
        self._length -= len(self._waiting.pop(sequence, ()))
        self._moved_up.discard(sequence)

    def _push(self, sequence: int, group: OpenGroup, matches: Iterable[Match]) -> None:
        for match in matches:
            entry = (-match.depth, not group.all_here, sequence, next(self._pushed), group, match)
            heapq.heappush(self._heap, entry)
