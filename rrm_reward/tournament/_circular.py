"""A ring: each response meets its k nearest neighbours on it."""

from __future__ import annotations

from functools import lru_cache
from typing import ClassVar

from rrm_reward.options import Option
from rrm_reward.tournament._pairs import FixedPairs, Pair, orient


class Circular(FixedPairs):
    """Responses stand in a ring in seeded order; the one at place a meets those at a+1, ..., a+k/2.

    n k/2 matches, all independent of each other; k >= n-1 is the full round robin. With a smaller budget k
    shrinks by two at a time; the ring itself (k=2, n matches) is the least.
    """

    RATING = "bradley_terry"
    OPTIONS: ClassVar = {
        "k": Option(int, 4, "opponents of each response, an even number", low=2, multiple_of=2),
    }

    def __init__(self, n: int, *, seed: int, budget: int | None = None, k: int = 4) -> None:
        while budget is not None and len(circular_pairs(n, k)) > budget:
            # Beyond the full round robin a larger k means nothing, so shrink from there.
            k = min(k, n + n % 2) - 2
            if k < 2:
                self._refuse_budget(budget, len(circular_pairs(n, 2)), n)
        super().__init__(n, seed, circular_pairs(n, k))


@lru_cache(maxsize=1024)
def circular_pairs(n: int, k: int) -> tuple[Pair, ...]:
    """The pairs of places, oriented; groups of one size share the table.

    The round of a pair is its distance on the ring less one. At distance n/2 a pair would be met twice, so
    that round has half as many.
    """
    pairs: list[Pair] = []
    for distance in range(1, min(k // 2, n // 2) + 1):
        places = n // 2 if 2 * distance == n else n
        pairs += [(a, (a + distance) % n, distance - 1) for a in range(places)]
    return orient(n, pairs)
