"""One group's way from members to outcomes: a state machine without IO.

`GroupState` knows which members have arrived, which failed and which are identical, and feeds a tournament. The arena
asks it what can be played and tells it what came back; nobody here knows a clock, a task or a judge.

Two promises make it more than a wrapper around the tournament:

*Identical members are never compared and share one fate.* The member with the lowest slot stands for all that look
the same to the judge; the others are withdrawn from the tournament.

*Arrival order changes nothing.* Judging starts as members arrive, yet who stands for a set of twins must not depend on
who was faster. So when a lower twin arrives late, the tournament is drawn again with the right one in it, and what was
already judged is replayed by content: a verdict depends on the two texts and their order, not on slots. Full overlap
with the rollouts, and the result of a batch. (Twins are rare among long responses, and replay costs no judge call
unless the bracket itself changed.) By the same means matches can be played ahead of the last arrivals
(`rrm_reward._ahead`).
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable

from rrm_reward._ahead import NOT_YET, matches_ahead
from rrm_reward.judge._base import Judgment
from rrm_reward.tournament._base import Tournament
from rrm_reward.types import Match, Outcome

Pairing = tuple[str, str]
"""Two views in the order of their match: what a verdict depends on."""


class GroupState:
    """Members, twins, tournament and outcomes of one group of n slots.

    Args:
        n: number of slots.
        draw: gives a fresh tournament for n slots, the same one every time it is called.
        ahead: how many members may be missing while matches are played as if those were to lose.
    """

    def __init__(self, n: int, draw: Callable[[int], Tournament], ahead: int = 0) -> None:
        self.n = n
        self._draw = draw
        self._may_miss = ahead
        self._ahead: set[Pairing] = set()  # handed out ahead, and not begun
        self._tournament = draw(n)
        self._views: dict[int, str] = {}
        self._failed: set[int] = set()
        self._stands_for: dict[str, int] = {}
        self._playing: dict[Pairing, deque[Match]] = defaultdict(deque)
        self._orphans: dict[Pairing, int] = defaultdict(int)
        self._in_flight: dict[Pairing, int] = defaultdict(int)
        self._judged: dict[Pairing, list[Judgment]] = defaultdict(list)

    @property
    def known(self) -> int:
        """Slots that have arrived or failed."""
        return len(self._views) + len(self._failed)

    @property
    def present(self) -> list[int]:
        """Slots that have arrived, ascending."""
        return sorted(self._views)

    @property
    def failed(self) -> int:
        """Members that will never come."""
        return len(self._failed)

    @property
    def done(self) -> bool:
        """True once every slot is known and nothing is left to play."""
        return self.known == self.n and self._tournament.done

    @property
    def unneeded(self) -> int:
        """Judgments, paid for or in flight, that belong to no match. What only waits for the judge has cost nothing."""
        in_vain = sum(
            max(0, begun - len(self._playing[pairing])) for pairing, begun in self._in_flight.items()
        )
        return in_vain + sum(map(len, self._judged.values()))

    def view(self, slot: int) -> str:
        """What the judge sees of an arrived member."""
        return self._views[slot]

    def representative(self, slot: int) -> int:
        """The slot that stands for all members identical to this one (often itself)."""
        return self._stands_for[self._views[slot]]

    def arrive(self, slot: int, view: str) -> None:
        """A member has arrived. A slot that is known already stays as it is.

        Raises:
            IndexError: slot is not in [0, n).
        """
        if self._is_known(slot):
            return
        self._views[slot] = view
        standing = self._stands_for.get(view)
        if standing is None:
            self._stands_for[view] = slot
            self._tournament.add(slot)
        elif standing < slot:
            self._tournament.withdraw(slot)
        else:
            self._stands_for[view] = slot
            self._draw_again()

    def withdraw(self, slot: int) -> None:
        """A member failed and will never come. A slot that is known already stays as it is.

        Raises:
            IndexError: slot is not in [0, n).
        """
        if self._is_known(slot):
            return
        self._failed.add(slot)
        self._tournament.withdraw(slot)

    def close(self) -> None:
        """Whoever has not come by now will not."""
        for slot in range(self.n):
            self.withdraw(slot)

    def ready(self) -> list[Match]:
        """Matches to be judged now, each handed out once (again only after `wanted` declined it)."""
        playable = []
        while matches := self._tournament.ready():
            for match in matches:
                pairing = (self._views[match.i], self._views[match.j])
                if self._judged[pairing]:
                    self._tournament.record(_outcome(match, self._judged[pairing].pop(0)))
                elif self._orphans[pairing]:
                    self._orphans[pairing] -= 1
                    self._playing[pairing].append(match)
                else:
                    self._ahead.discard(pairing)
                    self._playing[pairing].append(match)
                    playable.append(match)
        return playable

    def ahead(self) -> list[Match]:
        """Matches to be judged ahead (`rrm_reward._ahead`), each handed out once; the rest is forgotten."""
        missing = {slot for slot in range(self.n) if not self._is_known(slot)}
        before, self._ahead = self._ahead, set()
        if not 0 < len(missing) <= self._may_miss:
            return []
        known = {pairing: list(judgments) for pairing, judgments in self._judged.items()}
        for outcome in self._tournament.outcomes:
            pairing = (self._views[outcome.i], self._views[outcome.j])
            known.setdefault(pairing, []).append(Judgment(outcome.p, outcome.votes, len(outcome.votes)))

        def find(match: Match) -> Outcome | None:
            judgments = known.get((self._views[match.i], self._views[match.j]))
            return _outcome(match, judgments.pop(0)) if judgments else None

        tournament = self._drawn()
        for slot in missing:
            tournament.add(slot)
        matches = []
        for match in matches_ahead(tournament, missing, find):
            pairing = (self._views[match.i], self._views[match.j])
            if not self._playing[pairing] and not self._orphans[pairing]:
                self._ahead.add(pairing)
                if pairing not in before:
                    matches.append(match)
        return matches

    def wanted(self, match: Match) -> bool:
        """Whether a match that was handed out is still to be judged; asked once, just before it begins.

        Between `ready` and a free judge a new draw may have dropped it; then it is forgotten and never recorded.
        """
        pairing = (self._views[match.i], self._views[match.j])
        if match.depth == NOT_YET:
            if pairing not in self._ahead:
                return False
            self._ahead.remove(pairing)
            self._orphans[pairing] += 1
            self._in_flight[pairing] += 1
            return True
        if self._playing[pairing]:
            self._in_flight[pairing] += 1
            return True
        self._orphans[pairing] -= 1
        return False

    def record(self, pairing: Pairing, judgment: Judgment) -> None:
        """A match of these two views came to this.

        After a new draw the pairing may belong to another match than the one it was started for, or to none yet.
        """
        self._in_flight[pairing] -= 1
        if self._playing[pairing]:
            self._tournament.record(_outcome(self._playing[pairing].popleft(), judgment))
        else:
            self._orphans[pairing] -= 1
            self._judged[pairing].append(judgment)

    def outcomes(self) -> list[Outcome]:
        """Every recorded outcome by representative slots, in an order that no timing can change."""
        return sorted(self._tournament.outcomes, key=lambda o: (o.round, o.i, o.j))

    def _is_known(self, slot: int) -> bool:
        if not 0 <= slot < self.n:
            raise IndexError(f"slot {slot} of a group of {self.n}")
        return slot in self._views or slot in self._failed

    def _draw_again(self) -> None:
        for outcome in self._tournament.outcomes:
            pairing = (self._views[outcome.i], self._views[outcome.j])
            self._judged[pairing].append(Judgment(outcome.p, outcome.votes, len(outcome.votes)))
        for pairing, matches in self._playing.items():
            self._orphans[pairing] += len(matches)
        self._playing.clear()
        self._tournament = self._drawn()

    def _drawn(self) -> Tournament:
        """A fresh draw that knows who has come and who failed."""
        tournament = self._draw(self.n)
        for slot, view in self._views.items():
            if self._stands_for[view] == slot:
                tournament.add(slot)
            else:
                tournament.withdraw(slot)
        for slot in self._failed:
            tournament.withdraw(slot)
        return tournament


def _outcome(match: Match, judgment: Judgment) -> Outcome:
    return Outcome(match.i, match.j, judgment.p, judgment.votes, match.round)
