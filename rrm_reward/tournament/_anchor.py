"""Everybody meets the same few responses, the anchors."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import ClassVar

from rrm_reward.options import Option
from rrm_reward.tournament._schedule import GONE, PRESENT, Schedule
from rrm_reward.types import Match


class Anchor(Schedule):
    """The first k responses of the seeded draw are anchors; each other one meets them all.

    The anchors meet each other too: kn - k(k+1)/2 matches, n-1 with one anchor, all independent of each
    other. One anchor (BRPO) is the cheapest schedule there is, and tells nothing about two that lose to it.

    A withdrawn anchor is replaced by the next in the draw, so that one failed rollout does not leave a group
    without ratings; nobody plays more matches for it than it would have. With a smaller budget there are
    fewer anchors, one at least.
    """

    RATING = "bradley_terry"
    OPTIONS: ClassVar = {"anchors": Option(int, 1, "responses that everybody meets", low=1)}

    def __init__(self, n: int, *, seed: int, budget: int | None = None, anchors: int = 1) -> None:
        super().__init__(n, seed)
        anchors = max(1, min(anchors, n - 1))
        while budget is not None and _matches(n, anchors) > budget:
            anchors -= 1
            if not anchors:
                self._refuse_budget(budget, n - 1, n)
        self.planned = _matches(n, anchors)
        self._anchors = anchors
        self._draws = self._draw()
        self._place = {slot: place for place, slot in enumerate(self._draws)}
        self._met: list[set[int]] = [set() for _ in range(n)]

    def _known(self, i: int) -> None:
        if self._state[i] == GONE or i in self._current():
            self._match_up(self._draws)
        else:
            self._match_up([i])

    def _left(self, i: int) -> None:
        self._match_up(self._draws)

    def _cancelled(self, match: Match) -> None:
        for i, j in ((match.i, match.j), (match.j, match.i)):
            self._met[i].discard(j)

    def _recorded(self, match: Match, p: float | None) -> None:
        """Nobody waits for it."""

    def _current(self) -> list[int]:
        return list(islice((i for i in self._draws if self._state[i] != GONE), self._anchors))

    def _match_up(self, responses: Iterable[int]) -> None:
        anchors = self._current()
        for i in responses:
            if self._state[i] != PRESENT:
                continue
            for anchor in anchors:
                place, before = self._place[i], self._place[anchor]
                if before >= place or len(self._met[i]) >= self._anchors:
                    break
                if self._state[anchor] == PRESENT and anchor not in self._met[i]:
                    self._met[i].add(anchor)
                    # By parity of places, so that anchors and others are first in every other match.
                    pair = (anchor, i) if (place + before) % 2 else (i, anchor)
                    self._offer(*pair, round=0, depth=1)


def _matches(n: int, anchors: int) -> int:
    return sum(min(place, anchors) for place in range(n))
