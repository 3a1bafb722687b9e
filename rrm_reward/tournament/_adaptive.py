"""Matches chosen by what they would tell."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from rrm_reward.options import Option
from rrm_reward.rating import BRADLEY_TERRY_PRIOR
from rrm_reward.rating._strength import Comparisons, comparisons, joined, maximise
from rrm_reward.tournament._circumstances import Circumstances
from rrm_reward.tournament._information import Information
from rrm_reward.tournament._pairs import Pair
from rrm_reward.tournament._round_robin import round_robin_pairs
from rrm_reward.tournament._schedule import PRESENT, Schedule
from rrm_reward.types import FloatArray, Match, Outcome

_EXHAUSTED = -1.0
_EQUAL = 1e-9
_SETTLED = 0.2
_SETTLED_AT_END = 0.9


class Adaptive(Schedule):
    """Each match is the one that is expected to tell most about the ratings, given all that came before.

    It begins with a ring (n matches, two for everybody, drawn beforehand and so judged while rollouts still arrive).
    After it, rounds of ``width`` matches are chosen by `Information` from the Bradley-Terry posterior with the
    position term; each choice reckons with those before it in the round. A round begins when the last one is over. It
    is n/2 wide, and up to n where the judge has room for that (``share``): wide rounds end sooner, and choose knowing
    less (docs/ranking.md: what wide rounds cost).

    Each pair can be met twice, once in either order (once, where the judge asks both orders anyway), so n(n-1) matches
    are the most there are. The order is that which keeps everybody first about as often as second. What a judge makes
    of a pair by mistake it makes of it again, so the second meeting counts ``repeat`` times what the model says it
    tells: 1 suits a judge whose errors are those of single votes; one whose errors stay with the pair is then asked in
    vain.

    With ``share`` it stops before its budget when it is settled: when the expected change of the advantages by a
    further n/2 matches, as root mean square in units of the group's standard deviation (E|x| <= sqrt(E x^2)), is less
    than ``settled``. What is left goes to the run's purse, from which groups that are not settled at the end of their
    budget take up to as much again. The change that n/2 matches bring falls as n / budget, so the default, 0.9 times
    that, does too. 0.2 is the most, for with few calls a group is easily thought settled (docs/ranking.md: what it
    brings at the same number of calls). Without others to leave calls to, none is saved unless ``settled`` says so.

    Sharing makes groups depend on each other, and on which of them was faster; ``share: false`` does not.

    A budget for all matches plays them all, everything at once: no other group could use what it would save. Without a
    budget it plays n log2 n matches, rounded up, or all pairs if that is less.
    """

    RATING = "bradley_terry"
    CIRCUMSTANCES = True
    OPTIONS: ClassVar = {
        "width": Option(int, None, "matches of a round, by default n/2 to n, as the judge has room", low=1),
        "settled": Option(
            float, None, "stop when n/2 matches would move advantages by less standard deviations", low=0.0
        ),
        "repeat": Option(
            float, 0.6, "what a pair's second meeting tells, of what its first did", low=0.0, high=1.0
        ),
        "share": Option(bool, True, "share calls and room of the judge with the other groups of the run"),
    }

    def __init__(
        self,
        n: int,
        *,
        seed: int,
        budget: int | None = None,
        width: int | None = None,
        settled: float | None = None,
        repeat: float = 0.6,
        share: bool = True,
        circumstances: Circumstances = Circumstances(),  # noqa: B008 - a frozen value
    ) -> None:
        super().__init__(n, seed)
        pairs = n * (n - 1) // 2
        self._most = pairs if circumstances.both_orders else 2 * pairs
        if budget is None:
            budget = min(pairs, n * max(n - 1, 0).bit_length())
        self.planned = self._limit = min(budget, self._most)
        self._fixed_width = width
        self._repeat = repeat
        self._circumstances = circumstances
        self._purse = circumstances.purse if share else None
        self._room = circumstances.room if share else None
        if settled is None and self._purse is not None and self._limit > 0:
            settled = min(_SETTLED, _SETTLED_AT_END * n / self._limit)
        self._settled = settled or 0.0
        # Everything below is by place in the draw, so that slots have no favourites where gains are equal.
        self._slot = self._draw()
        self._place = {slot: place for place, slot in enumerate(self._slot)}
        self._open = ~np.eye(n, dtype=bool)
        self._strength: FloatArray | None = None
        self._heard: list[Comparisons] = []
        self._counted = 0  # outcomes that are among those
        self._first = round_robin_pairs(n, min(self._limit, n, pairs))
        if self._limit == self._most:
            self._first = round_robin_pairs(n, pairs)
            rounds = 1 + max((round for *_, round in self._first), default=0)
            if not circumstances.both_orders:
                self._first += tuple((b, a, rounds + round) for a, b, round in self._first)
        self._round = 1 + max((round for *_, round in self._first), default=0)
        self._over = False

    def _known(self, i: int) -> None:
        if self._state[i] == PRESENT:
            for a, b, round in self._first:
                if self._place[i] in (a, b) and self._is_present(a) and self._is_present(b):
                    self._play((a, b, round), len(self._first))
        self._advance()

    def _left(self, i: int) -> None:
        self._advance()

    def _cancelled(self, match: Match) -> None:
        """One of the two has gone, so nobody chooses this pair again."""

    def _recorded(self, match: Match, p: float | None) -> None:
        self._advance()

    def _is_present(self, place: int) -> bool:
        return self._state[self._slot[place]] == PRESENT

    def _play(self, pair: Pair, played: int) -> None:
        """Offer a match between places; `played`: matches up to the end of its round."""
        a, b, round = pair
        self._open[a, b] = False
        if self._circumstances.both_orders:
            self._open[b, a] = False
        rounds_after = -(-max(0, self._limit - played) // self._narrowest)
        self._offer(self._slot[a], self._slot[b], round, depth=1 + rounds_after)

    @property
    def _narrowest(self) -> int:
        """Matches of a round where the judge has no room for more."""
        return max(1, self.n // 2) if self._fixed_width is None else self._fixed_width

    @property
    def _width(self) -> int:
        """Matches of the round that begins now."""
        if self._fixed_width is not None or self._room is None:
            return self._narrowest
        return max(self._narrowest, min(self.n, self._room.share))

    def _advance(self) -> None:
        """Begin the next round, if nothing is left of this one."""
        if self._over or self._unknown or self._queue or self._playing:
            return
        played = len(self._outcomes)
        room = self._limit - played
        if room <= 0 and self._purse is not None:
            # Asking first would take what is not needed.
            width = min(self._width, self._most - played, 2 * self.planned - played)
            chosen = self._choose(width) if width > 0 else []
            chosen = chosen[: self._purse.take(len(chosen))]
            self._limit += len(chosen)
        else:
            chosen = self._choose(min(self._width, room)) if room > 0 else []
        if not chosen:
            self._over = True
            if self._purse is not None and room > 0:
                self._purse.give(room)
            return
        for a, b in chosen:
            self._play((a, b, self._round), played + len(chosen))
        self._round += 1

    def _choose(self, count: int) -> list[tuple[int, int]]:
        """At most that many matches between places; none if the group is settled or nobody is left to meet."""
        here = np.array([self._is_present(place) for place in range(self.n)])
        free = self._open & here[:, None] & here[None, :]
        if not free.any():
            return []
        lead = np.array([self._lead[slot] for slot in self._slot])
        tells = np.where(free.T, 1.0, self._repeat)
        information = self._information()
        before = information.variance
        chosen: list[tuple[int, int]] = []
        for _ in range(count):
            # Whoever was Assistant 1 less often is so now, as long as there is such a match.
            allowed = free & (lead[:, None] <= lead[None, :])
            if not allowed.any():
                allowed = free
            if not free.any():
                break
            gains = np.where(allowed, information.gains() * tells, _EXHAUSTED)
            # The first of those that differ in the last digits of another machine's arithmetic.
            a, b = divmod(int((gains >= gains.max() - _EQUAL).argmax()), self.n)
            information.take(a, b)
            free[a, b] = False
            tells[b, a] = self._repeat
            if self._circumstances.both_orders:
                free[b, a] = False
            lead[a] += 1
            lead[b] -= 1
            chosen.append((a, b))
        gain = (before - information.variance) / max(1, len(chosen))
        return [] if self._is_settled(gain, here) else chosen

    def _information(self) -> Information:
        """Where the group stands after all its rounds."""
        new = [
            Outcome(self._place[o.i], self._place[o.j], o.p, o.votes, o.round)
            for o in self._outcomes[self._counted :]
        ]
        self._counted = len(self._outcomes)
        # A round begins when all before it are over, so this order is the same whoever was faster.
        rows = comparisons(sorted(new, key=lambda o: (o.round, o.i, o.j)))
        if rows is not None:
            self._heard.append(rows)
        position = self._circumstances.position
        posterior = maximise(self.n, joined(self._heard), BRADLEY_TERRY_PRIOR, position, start=self._strength)
        self._strength = posterior.strength
        return Information(posterior, 0.0 if self._circumstances.both_orders else 1.0)

    def _is_settled(self, gain: float, here: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> bool:
        """Whether n/2 matches would move no advantage that matters; gain: of one, in squared change of the ratings."""
        assert self._strength is not None
        spread = float(self._strength[here].std())
        return bool(np.sqrt(max(gain, 0.0) / 2) < self._settled * spread)
