"""Counting votes: what they come to, when nothing can change that any more, and how many to ask for next. Pure.

A vote counts for a by 1 or 0; one whose verdict was forced out of a truncated completion counts by its probability
(`Vote.share_for_i`). In each order, p is the share of a among the votes that count. Where both orders were asked, it is
the mean of the two shares, which cancels a position bias even if one order lost votes; if one order has no vote that
counts, it is the share of the other. The aggregate ``majority`` then rounds p to 0, 1, or 0.5 on a tie.

A majority is decided when it is the same whatever the votes still to come say, and whether they come or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rrm_reward.types import Verdict, Vote


@dataclass(frozen=True, slots=True)
class Ballot:
    """The rules of one match's vote.

    Attributes:
        k: votes in each order.
        orders: those asked: True for "a first".
        majority: whether p is rounded.
    """

    k: int
    orders: tuple[bool, ...]
    majority: bool

    def share(self, votes: Sequence[Vote]) -> float | None:
        """p for a, in [0, 1]; None if no vote counts."""
        return share(votes, majority=self.majority)

    def decided(self, votes: Sequence[Vote]) -> bool:
        """True if no further vote could change p. Never so without a majority: there, every vote counts."""
        if not self.majority:
            return False
        least = most = 0.0
        for order in self.orders:
            won, cast = _count(votes, order)
            least += won / self.k
            most += (won + max(0, self.k - cast)) / self.k
        half = len(self.orders) / 2
        return least > half or most < half

    def wave(self, votes: Sequence[Vote], asked: int) -> int:
        """Votes to ask for next in each order: the fewest that could decide, if they agree with the leader.

        Args:
            votes: so far.
            asked: votes that were asked for in each order so far, less than k.
        """
        p = share(votes, majority=False)
        a_leads = p is None or p >= 0.5
        for more in range(1, self.k - asked):
            hoped = [Vote(order, Verdict(1 if order == a_leads else 2)) for order in self.orders] * more
            if self.decided([*votes, *hoped]):
                return more
        return self.k - asked


def share(votes: Sequence[Vote], *, majority: bool) -> float | None:
    """p by the rules on top of this module; orders without a vote that counts are left out."""
    shares = [won / cast for won, cast in (_count(votes, True), _count(votes, False)) if cast]
    if not shares:
        return None
    p = sum(shares) / len(shares)
    return p if not majority or p == 0.5 else float(p > 0.5)


def _count(votes: Sequence[Vote], order: bool) -> tuple[float, int]:
    """Votes for a, and votes that count, in one order."""
    won, cast = 0.0, 0
    for vote in votes:
        if vote.i_first == order and (share := vote.share_for_i) is not None:
            won += share
            cast += 1
    return won, cast
