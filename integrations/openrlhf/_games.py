"""What a group of rollouts is measured by: each other, or the reference answer of its row."""

from __future__ import annotations

import asyncio
import logging
import math
from typing import Protocol

import numpy as np

from rrm_reward._open_group import OpenGroup
from rrm_reward.arena import Arena
from rrm_reward.integrations.openrlhf._shares import UNKNOWN, Share, shares_of
from rrm_reward.types import Group, GroupResult, Query

logger = logging.getLogger(__name__)


class Game(Protocol):
    """A group of `size` rollouts, each of which is either added or withdrawn."""

    def add(self, slot: int, text: str) -> None:
        """The rollout in this slot has finished; judging begins at once."""
        ...

    def withdraw(self, slot: int) -> None:
        """The rollout in this slot failed. Nothing happens if it was added."""
        ...

    async def share(self, slot: int) -> Share:
        """What the slot gets, once the group is judged."""
        ...


class SiblingGame:
    """The rollouts are compared with each other.

    Args:
        group: of an arena.
    """

    def __init__(self, group: OpenGroup) -> None:
        self._group = group
        self._added: set[int] = set()
        self._shares: list[Share] | None = None

    def add(self, slot: int, text: str) -> None:
        """See `Game.add`."""
        self._added.add(slot)
        self._group.add(slot, text)

    def withdraw(self, slot: int) -> None:
        """See `Game.withdraw`."""
        if slot not in self._added:
            self._group.withdraw(slot)

    async def share(self, slot: int) -> Share:
        """See `Game.share`."""
        result = await self._group.result()
        if self._shares is None:
            self._shares = shares_of(result)
        return self._shares[slot]


class ReferenceGame:
    """Each rollout is compared with one reference answer; its reward is the probability that it beats it.

    The score is the reward, so that dynamic filtering drops what all rollouts win or all lose.

    Args:
        referee: an arena that asks both orders.
        query: what is answered.
        reference: the answer.
        size: number of rollouts.
    """

    def __init__(self, referee: Arena, query: Query, reference: str, size: int) -> None:
        self._referee = referee
        self._query = query
        self._reference = reference
        loop = asyncio.get_running_loop()
        self._results: list[asyncio.Future[GroupResult | None]] = [loop.create_future() for _ in range(size)]
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def add(self, slot: int, text: str) -> None:
        """See `Game.add`."""
        self._tasks[slot] = asyncio.ensure_future(self._compare(slot, text))

    def withdraw(self, slot: int) -> None:
        """See `Game.withdraw`."""
        if slot not in self._tasks and not self._results[slot].done():
            self._results[slot].set_result(None)

    async def share(self, slot: int) -> Share:
        """See `Game.share`; siblings are waited for, since an unknown reward becomes their mean."""
        results = await asyncio.gather(*(asyncio.shield(result) for result in self._results))
        rewards = np.array([_probability(result) for result in results])
        known = rewards[~np.isnan(rewards)]
        mean = float(known.mean()) if len(known) else 0.0
        result, reward = results[slot], float(rewards[slot])
        if result is None:
            return Share(reward=mean, score=mean, size=len(results))
        filled = mean if math.isnan(reward) else reward
        return Share(
            reward=filled,
            score=filled,
            known=not math.isnan(reward),
            rating=filled,
            missing=result.missing / max(len(result.outcomes), 1),
            judge_tokens=float(result.completion_tokens),
            size=len(results),
        )

    async def _compare(self, slot: int, text: str) -> None:
        result = None
        try:
            result = await self._referee.judge(Group("reference", self._query, [text, self._reference]))
        except Exception:
            logger.exception("a response cannot be compared with its reference; its reward is unknown")
        finally:
            self._results[slot].set_result(result)


class LostGame:
    """A group that could not be opened: nobody gets a reward of his own."""

    def add(self, slot: int, text: str) -> None:
        """See `Game.add`."""

    def withdraw(self, slot: int) -> None:
        """See `Game.withdraw`."""

    async def share(self, slot: int) -> Share:
        """See `Game.share`."""
        return UNKNOWN


def _probability(result: GroupResult | None) -> float:
    """That the first of two responses beats the second; NaN if nobody said so."""
    if result is None:
        return math.nan
    if not result.outcomes:
        # they are the same, word for word
        return math.nan if np.isnan(result.rewards).any() else 0.5
    outcome = result.outcomes[0]
    if outcome.p is None:
        return math.nan
    return outcome.p if outcome.i == 0 else 1.0 - outcome.p
