"""Does the judge contradict itself? Pure functions of one judgment or one group."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from rrm_reward.types import FloatArray, Outcome, Vote

_MOST = 256
"""Members of a group whose triads are looked at: beyond that a group has millions."""


def tally(votes: Iterable[Vote]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Verdicts for Assistant 1 and 2, with i first and with j first."""
    counts = ([0, 0], [0, 0])
    for vote in votes:
        if vote.verdict.choice is not None:
            counts[not vote.i_first][vote.verdict.choice - 1] += 1
    return (counts[0][0], counts[0][1]), (counts[1][0], counts[1][1])


def agreement(verdicts: tuple[int, int]) -> float | None:
    """The share of pairs of votes of one order that agree, in [0, 1]; None with fewer than two votes.

    A judge that flips coins comes to 0.5.
    """
    first, second = verdicts
    n = first + second
    if n < 2:
        return None
    return (first * (first - 1) + second * (second - 1)) / (n * (n - 1))


def flipped(votes: Sequence[Vote]) -> bool | None:
    """Whether swapping the order swapped the winner; None unless both orders have a majority.

    A judge that looks at places only flips always, one that looks at texts only never.
    """
    one, other = tally(votes)
    if one[0] == one[1] or other[0] == other[1]:
        return None
    # The same Assistant preferred in both orders is the other response.
    return (one[0] > one[1]) == (other[0] > other[1])


def flips_between_matches(outcomes: Iterable[Outcome]) -> list[bool]:
    """For each pair whose orders were asked in matches of their own: whether swapping them swapped the winner.

    Schedules that let a pair meet twice (adaptive, for one) turn it round the second time. A pair that had both orders
    within one match is left out: `flipped` has seen it.

    Args:
        outcomes: of a group's matches.
    """
    met: dict[tuple[int, int], list[Sequence[Vote]]] = defaultdict(list)
    for outcome in outcomes:
        i, j, votes = outcome.i, outcome.j, outcome.votes
        if i > j:
            i, j, votes = j, i, tuple(replace(vote, i_first=not vote.i_first) for vote in votes)
        met[i, j].append(votes)
    pairs = [
        flipped([vote for votes in matches for vote in votes])
        for matches in met.values()
        if len(matches) > 1 and all(flipped(votes) is None for votes in matches)
    ]
    return [flip for flip in pairs if flip is not None]


def triads(n: int, outcomes: Iterable[Outcome]) -> tuple[int, int]:
    """Circles i > j > k > i among the triples of a group in which all three matches have a winner.

    Outcomes of one pair are averaged; of a group of more than 256 only the first are looked at. Coins come to a circle
    in four triples (Kendall and Babington Smith, 1940).

    Args:
        n: members of the group.
        outcomes: of its matches.

    Returns:
        Number of circles, and of triples.
    """
    n = min(n, _MOST)
    margin: FloatArray = np.zeros((n, n))
    for i, j, p in _decided(n, outcomes):
        margin[i, j] += p - 0.5
        margin[j, i] -= p - 0.5
    beats = (margin > 1e-9).astype(np.float64)
    met = beats + beats.T
    # The number of closed walks of length 3 counts each circle from each of its three members, and each triple of
    # members who met in both directions too.
    circles = np.einsum("ij,ij->", beats @ beats, beats.T) / 3
    triples = np.einsum("ij,ij->", met @ met, met) / 6
    return round(float(circles)), round(float(triples))


def _decided(n: int, outcomes: Iterable[Outcome]) -> Iterator[tuple[int, int, float]]:
    for outcome in outcomes:
        if outcome.p is not None and outcome.i < n and outcome.j < n:
            yield outcome.i, outcome.j, outcome.p
