"""Brackets: matches whose players are the winners and losers of other matches.

A `Plan` is the drawing on the wall: nodes in order of rounds, each fed by places of the draw, winners or
losers of earlier nodes. It depends on n alone and is shared by all groups of that size. A `BracketSchedule`
plays it:

- a node is open once both of its entrants are decided. Nothing else is waited for, so a bracket streams: a
  match of round 2 may be played before the last response has arrived;
- an entrant may be nobody (a place without a response, a withdrawn response, the loser of a match that was
  not played). Then the other goes on without a match, a bye; two nobodies make nobody;
- a winner who has been withdrawn goes on as nobody: the next opponent gets a bye, the loser does not come
  back;
- a match that came back missing or tied has no loser. One of the two has to go on: the one who is still
  there, or a coin derived from (seed, round, node) decides. The other one gets no loss; where it goes then,
  see `_UNDECIDED`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final, NamedTuple

from rrm_reward.seeding import derive_seed
from rrm_reward.tournament._schedule import GONE, PRESENT, Schedule
from rrm_reward.types import Match

NOBODY: Final = -1
UNDECIDED: Final = -2


class Source(NamedTuple):
    """Where an entrant comes from: ``place`` of the draw, ``winner`` or ``loser`` of a node."""

    kind: str
    at: int


@dataclass
class Plan:
    """A bracket for n places.

    Attributes:
        n: places of the draw that are taken; sources of kind ``place`` beyond are nobody.
        entrants: of each node, two sources.
        rounds: of each node, one more than the later of the nodes it waits for, from 0.
        goes_to: where a source's entrant goes, (node, side).
        depth: of each node, the longest chain of real matches that begins with it.
        matches: nodes with two players if nobody withdraws.
    """

    n: int
    entrants: list[tuple[Source, Source]] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)
    goes_to: dict[Source, tuple[int, int]] = field(default_factory=dict)
    depth: list[int] = field(default_factory=list)
    matches: int = 0

    def meet(self, a: Source, b: Source) -> tuple[Source, Source]:
        """Add a node; returns its winner and its loser."""
        node = len(self.entrants)
        self.entrants.append((a, b))
        self.goes_to[a], self.goes_to[b] = (node, 0), (node, 1)
        self.rounds.append(1 + max((self.rounds[s.at] for s in (a, b) if s.kind != "place"), default=-1))
        return Source("winner", node), Source("loser", node)

    def finish(self) -> Plan:
        """Work out `depth` and `matches`; call it when all nodes are there."""
        exists: dict[Source, bool] = {}
        real = []
        for node, sources in enumerate(self.entrants):
            there = [s.at < self.n if s.kind == "place" else exists[s] for s in sources]
            exists[Source("winner", node)], exists[Source("loser", node)] = any(there), all(there)
            real.append(all(there))
        self.depth = [0] * len(real)
        for node in reversed(range(len(real))):
            after = [self.goes_to.get(Source(kind, node)) for kind in ("winner", "loser")]
            self.depth[node] = real[node] + max((self.depth[to[0]] for to in after if to), default=0)
        self.matches = sum(real)
        return self


def places(n: int) -> list[Source]:
    """The first round's places, a power of two, byes spread evenly; consecutive places meet."""
    if n < 2:
        return []
    size = 1 << (n - 1).bit_length()
    pairs, byes = size // 2, size - n
    taken, empty = iter(range(n)), iter(range(n, size))
    order = []
    for pair in range(pairs):
        bye = (pair + 1) * byes // pairs > pair * byes // pairs
        order += [Source("place", next(taken)), Source("place", next(empty if bye else taken))]
    return order


class BracketSchedule(Schedule):
    """Plays a plan; the seed decides which response stands at which place."""

    AHEAD = True
    _UNDECIDED: ClassVar[str]
    """Where the one goes whom a coin has put out: ``out`` (nowhere) or ``loser`` (as a loser would)."""

    def __init__(self, n: int, seed: int, plan: Plan) -> None:
        super().__init__(n, seed)
        self.planned = plan.matches
        self._plan = plan
        self._place = {slot: place for place, slot in enumerate(self._draw())}
        self._entrants = [[UNDECIDED, UNDECIDED] for _ in plan.entrants]
        self._node_of: dict[tuple[int, int, int], int] = {}
        for source in plan.goes_to:
            if source.kind == "place" and source.at >= n:
                self._send(source, NOBODY)

    def _known(self, i: int) -> None:
        self._send(Source("place", self._place[i]), i if self._state[i] == PRESENT else NOBODY)

    def _send(self, source: Source, who: int) -> None:
        """The source's entrant is decided."""
        if source in self._plan.goes_to:
            node, side = self._plan.goes_to[source]
            self._entrants[node][side] = who
            if UNDECIDED not in self._entrants[node]:
                self._open(node)

    def _open(self, node: int) -> None:
        """Both entrants are decided: a match, or a bye."""
        there = [who for who in self._entrants[node] if who != NOBODY and self._state[who] != GONE]
        if len(there) == 2:
            self._offer_in_turn(there[0], there[1], self._plan.rounds[node], self._plan.depth[node])
            match = self._queue[-1]
            self._node_of[match.i, match.j, match.round] = node
        else:
            self._close(node, there[0] if there else NOBODY, NOBODY)

    def _close(self, node: int, winner: int, loser: int) -> None:
        self._send(Source("winner", node), winner)
        self._send(Source("loser", node), loser)

    def _cancelled(self, match: Match) -> None:
        self._open(self._node_of[match.i, match.j, match.round])

    def _recorded(self, match: Match, p: float | None) -> None:
        node = self._node_of[match.i, match.j, match.round]
        if p is None or p == 0.5:
            # By side of the node, not by i and j: who was shown first must not matter.
            there = [who for who in self._entrants[node] if self._state[who] != GONE]
            coin = derive_seed(self._seed, "coin", match.round, node) & 1
            winner = there[0] if len(there) == 1 else self._entrants[node][coin]
            loser = match.j if winner == match.i else match.i
            self._close(node, winner, loser if self._UNDECIDED == "loser" else NOBODY)
        else:
            self._close(node, *((match.i, match.j) if p > 0.5 else (match.j, match.i)))


def knockout_rounds(
    plan: Plan, entrants: Sequence[Source], *, consolation: bool
) -> tuple[Source, list[list[Source]]]:
    """Add rounds in which winners meet winners until one is left.

    Args:
        plan: nodes are added to it.
        entrants: a power of two of them; consecutive ones meet.
        consolation: also let each round's losers play on among themselves, down to the last place.

    Returns:
        The last winner, and each round's losers.
    """
    losers_of: list[list[Source]] = []
    while len(entrants) > 1:
        results = [plan.meet(entrants[k], entrants[k + 1]) for k in range(0, len(entrants), 2)]
        entrants = [winner for winner, _ in results]
        losers_of.append([loser for _, loser in results])
    if consolation:
        for losers in losers_of:
            knockout_rounds(plan, losers, consolation=True)
    return entrants[0], losers_of
