"""What a scorer is: a judge that looks at one response at a time."""

from __future__ import annotations

import asyncio
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from rrm_reward.judge import Judgment
from rrm_reward.types import Query


@dataclass(frozen=True, slots=True)
class Score:
    """What a scorer says of one response.

    Attributes:
        value: log-odds, as of a Bradley-Terry reward model: the difference of two scores is the log-odds that the
            first response is better. None where nothing came back.
        prompt_tokens: read for it, 0 if unknown.
    """

    value: float | None
    prompt_tokens: int = 0


class Scorer(ABC):
    """A `Comparer` that scores: where two responses must be compared, their scores are.

    Attributes:
        width: requests that one `score` has in flight.
    """

    width: ClassVar[int] = 1

    @abstractmethod
    async def score(self, query: Query, response: str) -> Score:
        """Score one view of a response; every fault is a score of None. Never raises but for cancellation."""

    @abstractmethod
    def view(self, response: str) -> str:
        """See `Comparer.view`."""

    async def start(self) -> None:  # noqa: B027 - most have nothing to load
        """See `Comparer.start`."""

    async def aclose(self) -> None:  # noqa: B027
        """See `Comparer.aclose`."""

    def snapshot(self) -> dict[str, float]:
        """See `Comparer.snapshot`."""
        return {}

    async def compare(self, query: Query, a: str, b: str, *, seed: int = 0) -> Judgment:
        """See `Comparer.compare`: the probability that the scores give, for two calls and without a vote."""
        of_a, of_b = await asyncio.gather(self.score(query, a), self.score(query, b))
        if of_a.value is None or of_b.value is None:
            return Judgment(None, (), 2)
        return Judgment(win_probability(of_a.value - of_b.value), (), 2)


def win_probability(difference: float) -> float:
    """The logistic function of a difference of scores, in [0, 1]."""
    if difference < 0:
        return 1.0 - win_probability(-difference)
    return 1.0 / (1.0 + math.exp(-difference))
