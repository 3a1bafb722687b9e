"""Everybody meets everybody, or as much of that as the budget allows.

A budget that is less than all pairs must not leave some responses with many matches and others with few, for
the former would be rated better than the latter. So the pairs come in rounds in which everybody plays equally
often, once for even n and twice for odd n, and only one round is played in part.
"""

from __future__ import annotations

from functools import lru_cache

from rrm_reward.tournament._pairs import FixedPairs, Pair, orient


class RoundRobin(FixedPairs):
    """All pairs: n(n-1)/2 matches, all independent of each other; what the RRM paper computes Elo from.

    With a smaller budget it is that many pairs; then the numbers of matches of two responses differ by one at
    most, and from n-1 pairs on, no two responses are incomparable.
    """

    RATING = "win_rate"

    def __init__(self, n: int, *, seed: int, budget: int | None = None) -> None:
        every = n * (n - 1) // 2
        super().__init__(n, seed, round_robin_pairs(n, every if budget is None else min(budget, every)))


@lru_cache(maxsize=1024)
def round_robin_pairs(n: int, budget: int) -> tuple[Pair, ...]:
    """That many pairs of places, oriented; groups of one size share the table.

    Args:
        n: number of places.
        budget: number of pairs, at most n(n-1)/2.
    """
    if budget == 0:
        return ()
    rounds = _rings(n) if n % 2 else _matchings(n)
    whole, rest = divmod(budget, len(rounds[0]))
    played = [*rounds[:whole], rounds[-1][:rest]]
    return orient(n, [(a, b, round) for round, pairs in enumerate(played) for a, b in pairs])


def _matchings(n: int) -> list[list[tuple[int, int]]]:
    """The circle method, for even n: one stays put, the others move on by one place each round.

    Any two rounds that follow each other, the last and the first included, make one ring of all places.
    """
    turn = n - 1
    return [[(turn, r), *(((r + t) % turn, (r - t) % turn) for t in range(1, n // 2))] for r in range(turn)]


def _rings(n: int) -> list[list[tuple[int, int]]]:
    """For odd n: each place with the place `step` further on, for each step up to (n-1)/2.

    The last step leads round all places in one ring (twice (n-1)/2 is one place back), so it can be played in
    part. Every other edge of that ring comes first: then no part of it touches one place twice and another
    not at all.
    """
    *steps, last = range(1, n // 2 + 1)
    along = [*range(0, n, 2), *range(1, n, 2)]
    rings = [[(a, (a + step) % n) for a in range(n)] for step in steps]
    return [*rings, [(t * last % n, (t + 1) * last % n) for t in along]]
