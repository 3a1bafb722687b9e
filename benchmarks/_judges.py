"""Judges and listeners that benchmarks of time share."""

from __future__ import annotations

import asyncio
import math
import random
from collections import defaultdict
from collections.abc import Callable

from rrm_reward._ahead import NOT_YET
from rrm_reward.judge import Judgment
from rrm_reward.types import GroupResult, Match, Query, Verdict, Vote


class PatientJudge:
    """Takes a lognormal time for each comparison, drawn from the texts: the same in whatever order it is asked.

    Args:
        seed: of the times.
        mean: seconds.
        sigma: of the logarithm.
    """

    width = 1

    def __init__(self, seed: int, mean: float = 1.0, sigma: float = 1.0) -> None:
        self._seed, self._mean, self._sigma = seed, mean, sigma

    async def start(self) -> None:
        pass

    async def aclose(self) -> None:
        pass

    def snapshot(self) -> dict[str, float]:
        return {}

    def view(self, response: str) -> str:
        return response

    async def compare(self, query: Query, a: str, b: str, *, seed: int = 0) -> Judgment:
        draw = random.Random(f"{self._seed} {query} {min(a, b)} {max(a, b)}")
        await asyncio.sleep(self._mean * math.exp(draw.gauss(-(self._sigma**2) / 2, self._sigma)))
        return Judgment(float(a > b), (Vote(True, Verdict(1 if a > b else 2)),), 1)


class Times:
    """A `Recorder` of what every match took and of what was lost.

    Args:
        now: the clock by which matches begin.

    Attributes:
        matches: by group, with their seconds.
        late, missing: verdicts that came too late or not at all.
        comparisons: all there were, those of use to nobody included.
        begun_first: when the matches of the first round began, by that clock.
    """

    def __init__(self, now: Callable[[], float] = lambda: 0.0) -> None:
        self._now = now
        self.matches: dict[int, list[tuple[Match, float]]] = defaultdict(list)
        self.late = self.missing = self.comparisons = 0
        self.begun_first: list[float] = []

    def opened(self, sequence: int, id: str, query: Query, size: int) -> None:
        pass

    def judged(self, sequence: int, match: Match, judgment: Judgment, seconds: float, *, late: bool) -> None:
        self.comparisons += 1
        if match.depth == NOT_YET:  # what is played ahead is no part of the bracket, and may be of no use
            return
        self.matches[sequence].append((match, seconds))
        if match.round == 0:
            self.begun_first.append(self._now() - seconds)
        self.late += late
        self.missing += judgment.p is None

    def closed(self, sequence: int, result: GroupResult) -> None:
        pass

    def close(self) -> None:
        pass

    def snapshot(self) -> dict[str, float]:
        return {}

    @property
    def work(self) -> float:
        """Seconds of all matches together."""
        return sum(seconds for matches in self.matches.values() for _, seconds in matches)

    @property
    def longest_chain(self) -> float:
        """Seconds of the longest chain of matches of which each needs a winner of the one before."""
        longest = 0.0
        for matches in self.matches.values():
            ends: dict[int, float] = defaultdict(float)
            for match, seconds in sorted(matches, key=lambda pair: pair[0].round):
                ends[match.i] = ends[match.j] = max(ends[match.i], ends[match.j]) + seconds
            longest = max(longest, *ends.values())
        return longest
