"""Schedules whose pairs are known beforehand: each is played as soon as both responses are there."""

from __future__ import annotations

from collections.abc import Sequence

from rrm_reward.tournament._schedule import PRESENT, Schedule
from rrm_reward.types import Match

Pair = tuple[int, int, int]
"""First response, second response, round."""


class FixedPairs(Schedule):
    """Plays a list of pairs of positions; the seed decides which response takes which position."""

    def __init__(self, n: int, seed: int, pairs: Sequence[Pair]) -> None:
        super().__init__(n, seed)
        self.planned = len(pairs)
        slot = self._draw()
        self._pairs_of: list[list[Pair]] = [[] for _ in range(n)]
        for a, b, round in pairs:
            pair = (slot[a], slot[b], round)
            self._pairs_of[slot[a]].append(pair)
            self._pairs_of[slot[b]].append(pair)

    def _known(self, i: int) -> None:
        if self._state[i] == PRESENT:
            for a, b, round in self._pairs_of[i]:
                if self._state[a] == PRESENT and self._state[b] == PRESENT:
                    self._offer(a, b, round, depth=1)

    def _cancelled(self, match: Match) -> None:
        """Nobody waits for it."""

    def _recorded(self, match: Match, p: float | None) -> None:
        """Nobody waits for it."""


def orient(n: int, pairs: Sequence[Pair]) -> tuple[Pair, ...]:
    """Turn the pairs so that every response is first as often as second, give or take one.

    Every set of edges can be directed so that in- and out-degree differ by at most one everywhere: join the
    vertices of odd degree through an extra vertex, and walk along closed trails until no edge is left
    (Euler). A response loses its balance only by one edge, the one to the extra vertex.

    Args:
        n: number of positions.
        pairs: of positions, each (a, b, round), a != b.

    Returns:
        The same pairs in the same order, some of them turned.
    """
    ends = [(a, b) for a, b, _ in pairs]
    degree = [0] * n
    for a, b in ends:
        degree[a] += 1
        degree[b] += 1
    ends += [(n, v) for v in range(n) if degree[v] % 2]
    edges_of: list[list[int]] = [[] for _ in range(n + 1)]
    for edge, (a, b) in enumerate(ends):
        edges_of[a].append(edge)
        edges_of[b].append(edge)
    first = [-1] * len(ends)
    for start in range(n + 1):
        here = start
        while edges_of[here]:  # with even degrees everywhere, a trail ends where it began
            edge = edges_of[here].pop()
            if first[edge] < 0:
                first[edge] = here
                a, b = ends[edge]
                here = b if here == a else a
    return tuple((a, b, r) if first[edge] == a else (b, a, r) for edge, (a, b, r) in enumerate(pairs))
