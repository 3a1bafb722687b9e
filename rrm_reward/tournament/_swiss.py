"""Swiss: in every round, responses with equal scores meet."""

from __future__ import annotations

from itertools import groupby
from typing import ClassVar

from rrm_reward.options import Option
from rrm_reward.tournament._schedule import PRESENT, Schedule
from rrm_reward.types import Match


class Swiss(Schedule):
    """Rounds of n/2 matches; equal scores meet, neighbours in the table, and no pair meets twice.

    The table is ordered by score, then by the seeded draw, which alone decides the first round. An outcome
    counts p and 1 - p, a missing one 1/2 each, for it says nothing. With an odd number of players the lowest in
    the table who has not had one yet gets a bye, which counts 1 as in chess. Scores serve the pairing only;
    the rating sees outcomes.

    A round begins when every slot is known and the last one is over, so a Swiss tournament does not stream:
    the first round waits for the last response. With a smaller budget there are fewer rounds. There are two at
    least, so that a bye leaves nobody without a match; with more than n/2 some may have nobody left to meet.
    """

    RATING = "bradley_terry"
    OPTIONS: ClassVar = {
        "rounds": Option(int, None, "rounds, by default log2 n rounded up; at n-1 all have met", low=2),
    }

    def __init__(self, n: int, *, seed: int, budget: int | None = None, rounds: int | None = None) -> None:
        super().__init__(n, seed)
        pairs = n // 2
        most = n - 1 + n % 2 if n > 1 else 0
        rounds = min(max(n - 1, 1).bit_length() if rounds is None else rounds, most)
        if budget is not None and budget < rounds * pairs:
            least = min(2, most)
            rounds = budget // pairs
            if rounds < least:
                self._refuse_budget(budget, least * pairs, n)
        self.planned = rounds * pairs
        self._rounds = rounds
        self._round = 0
        self._rank = {slot: rank for rank, slot in enumerate(self._draw())}
        self._score = [0.0] * n
        self._met: set[tuple[int, int]] = set()
        self._had_bye: set[int] = set()
        self._advance()

    def _known(self, i: int) -> None:
        self._advance()

    def _cancelled(self, match: Match) -> None:
        for i in (match.i, match.j):
            if self._state[i] == PRESENT:
                self._bye(i)
        self._advance()

    def _recorded(self, match: Match, p: float | None) -> None:
        share = 0.5 if p is None else p
        self._score[match.i] += share
        self._score[match.j] += 1 - share
        self._advance()

    def _bye(self, i: int) -> None:
        self._score[i] += 1
        self._had_bye.add(i)

    def _advance(self) -> None:
        """Begin the next round, if nothing is left of this one."""
        if self._unknown or self._queue or self._playing or self._round == self._rounds:
            return
        table = [i for i in range(self.n) if self._state[i] == PRESENT]
        table.sort(key=lambda i: (-self._points(i), self._rank[i]))
        if len(table) % 2:
            bye = next((i for i in reversed(table) if i not in self._had_bye), table[-1])
            table.remove(bye)
            self._bye(bye)
        equals = [list(group) for _, group in groupby(table, key=self._points)]
        for a, b in neighbours(equals, self._met):
            self._met |= {(a, b), (b, a)}
            self._offer_in_turn(a, b, self._round, depth=self._rounds - self._round)
        self._round += 1

    def _points(self, i: int) -> float:
        """The score without its last bits: sums in another order differ there, which must not part equals."""
        return round(self._score[i], 9)


def neighbours(groups: list[list[int]], met: set[tuple[int, int]]) -> list[tuple[int, int]]:
    """Pair each with the next of its group whom it has not met; who is left over joins the next group.

    While everybody has half of the table still to meet, nobody is left over at the end: two whom `_break_up`
    cannot help have at most two meetings still open with each pair, n - 2 in all, and should have n. Where it
    cannot be helped, those left over sit this round out.

    Args:
        groups: players of equal scores, best first.
        met: pairs that have met, in both directions.
    """
    pairs: list[tuple[int, int]] = []
    over: list[int] = []
    for group in groups:
        waiting, over = over + group, []
        inside: list[tuple[int, int]] = []
        while waiting:
            a = waiting.pop(0)
            b = next((b for b in waiting if (a, b) not in met), None)
            if b is None:
                over.append(a)
            else:
                waiting.remove(b)
                inside.append((a, b))
        over = _break_up(inside, over, met)
        pairs += inside
    _break_up(pairs, over, met)
    return pairs


def _break_up(pairs: list[tuple[int, int]], over: list[int], met: set[tuple[int, int]]) -> list[int]:
    """Let two who are left over, x and y, part a pair (a, b) into (x, a) and (y, b), the latest that can be.

    Args:
        pairs: changed in place.
        over: players who have all met each other.
        met: pairs that have met.

    Returns:
        Who is left over still.
    """
    over = list(over)
    stuck: list[int] = []
    while len(over) > 1:
        y, x = over.pop(), over.pop()
        for at in reversed(range(len(pairs))):
            a, b = pairs[at]
            if (x, a) in met or (y, b) in met:
                a, b = b, a
            if (x, a) not in met and (y, b) not in met:
                pairs[at : at + 1] = [(x, a), (y, b)]
                break
        else:
            stuck += [x, y]
    return [*over, *stuck]
