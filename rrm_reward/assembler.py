"""From single samples to groups: the meeting point of a prompt's rollouts.

Trainers hand a reward function one sample at a time, on different processes, and want its reward back; the reward
needs all siblings. `submit` brings a sample to its group and waits for the group's judgment:

    reward = await assembler.submit("uid-7", slot=3, text="379", query="Sort the digits: 937", size=8)

It is safe to call from a training run: it never raises, never returns None and never waits for ever.

- A retried submit (same group, slot and text) joins the first one, also after the group is finished.
- A member that fails (`fail`) or never comes (`member_timeout` without news of its group) costs its siblings nothing.
- Memory is bounded: `max_groups` open groups, `remember` finished ones.
- Nothing is refused silently: every sample that gets no reward is counted in `counts` and logged.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rrm_reward._open_group import OpenGroup
from rrm_reward._share import UNKNOWN, SampleReward, shares_of
from rrm_reward.arena import Arena
from rrm_reward.types import GroupResult, Query

__all__ = ["UNKNOWN", "Assembler", "SampleReward"]

logger = logging.getLogger(__name__)


class _Gathering:
    """A group that is being gathered: texts wait here until its size is known, then go to the arena."""

    def __init__(self, query: Query) -> None:
        self.query = query
        self.marks: dict[int, int] = {}
        self.texts: dict[int, str] = {}
        self.failed: set[int] = set()
        self.opened: OpenGroup | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.rewards: asyncio.Future[_Rewards] = asyncio.get_running_loop().create_future()


@dataclass(frozen=True, slots=True)
class _Rewards:
    """A finished group: the reward of every slot, and a hash of the text that stood in it."""

    marks: dict[int, int]
    shares: Sequence[SampleReward]
    query: int

    def is_of(self, query: Query, size: int | None) -> bool:
        """Whether a sample with this query, in a group of this size, can be one of its members."""
        return self.query == _mark(query) and (not self.shares or size in (None, len(self.shares)))

    def of(self, slot: int) -> SampleReward:
        return self.shares[slot] if 0 <= slot < len(self.shares) else UNKNOWN


class Assembler:
    """Gathers samples into groups and has an arena judge them; lives in the arena's event loop.

    Args:
        arena: judges the groups.
        member_timeout: seconds without news of a group before it is judged as it stands.
        max_groups: groups being gathered or judged at most; one more, and the oldest is closed with what is known.
        remember: finished groups whose rewards are kept for retried and late submits.

    Attributes:
        counts: ``incomplete`` groups judged without all members, ``retries``, ``conflicts`` (another text in a slot
            that is taken), ``late`` (after the group was judged), ``misplaced`` (a slot outside the group),
            ``textless`` (a response that is no string), ``evicted`` groups, ``errors``.
    """

    def __init__(
        self, arena: Arena, *, member_timeout: float = 1800.0, max_groups: int = 16384, remember: int = 4096
    ) -> None:
        self._arena = arena
        self._member_timeout = member_timeout
        self._max_groups = max_groups
        self._remember = remember
        self._gathering: OrderedDict[str, _Gathering] = OrderedDict()
        self._finished: OrderedDict[str, _Rewards] = OrderedDict()
        self.counts: Counter[str] = Counter()

    async def submit(
        self, group_id: str, slot: int, text: str, *, query: Query, size: int | None = None
    ) -> SampleReward:
        """Bring one sample to its group and wait for its reward.

        Args:
            group_id: unique per group; every sibling says the same.
            slot: 0-based position in the group.
            text: the response.
            query: what it answers; the first sibling's counts.
            size: members of the group, or None if the caller does not know: then the group is judged as soon as a
                sibling says it, or `member_timeout` after the last news.

        Returns:
            The sample's reward; NaN where it cannot be had.
        """
        try:
            if slot < 0 or (size is not None and size < 1):
                self._count("misplaced", "slot %s/%s of a group of %s does not exist", group_id, slot, size)
                return UNKNOWN
            if not isinstance(text, str):
                # To the siblings a member without a text is one that failed, and nobody to wait for.
                self._count("textless", "sample %s/%s is no text but %r", group_id, slot, type(text).__name__)
                self.fail(group_id, slot, query=query, size=size)
                return UNKNOWN
            finished = self._finished.get(group_id)
            if finished is not None and finished.is_of(query, size):
                if slot not in finished.marks and slot < len(finished.shares):
                    self._count("late", "sample %s/%s came after its group was judged", group_id, slot)
                    return finished.of(slot)
                if finished.marks.get(slot) == hash(text):
                    self.counts["retries"] += 1
                    return finished.of(slot)
            # Another query, size or text under a finished group's name: the caller uses the name for a new group.
            self._finished.pop(group_id, None)
            group = self._gathering.get(group_id) or self._gather(group_id, query)
            mine = self._join(group_id, group, slot, text, size)
            rewards = await asyncio.shield(group.rewards)
            if not mine:
                return replace(rewards.of(slot), reward=math.nan, rating=math.nan, stderr=math.nan)
            if slot >= len(rewards.shares) > 0:
                self._count("misplaced", "slot %s/%s of a group of %d", group_id, slot, len(rewards.shares))
            return rewards.of(slot)
        except Exception:
            # Whatever this is, it is our bug, and no reason to stop a training run.
            self.counts["errors"] += 1
            logger.exception("sample %s/%s gets no reward", group_id, slot)
            return UNKNOWN

    def fail(self, group_id: str, slot: int, *, query: Query, size: int | None = None) -> None:
        """The member in this slot failed and will never come; its siblings go on without it. Idempotent."""
        try:
            if group_id in self._finished:
                return
            group = self._gathering.get(group_id) or self._gather(group_id, query)
            if slot < 0 or (group.opened is not None and slot >= group.opened.size):
                self._count("misplaced", "failed slot %s/%s is outside its group", group_id, slot)
            elif slot not in group.marks:
                group.failed.add(slot)
                if group.opened is not None:
                    group.opened.withdraw(slot)
            self._news(group_id, group, size)
        except Exception:
            self.counts["errors"] += 1
            logger.exception("failed member %s/%s could not be withdrawn", group_id, slot)

    def __contains__(self, group_id: object) -> bool:
        """Whether a group of this name is being gathered or judged."""
        return group_id in self._gathering

    def remembers(
        self, group_id: str, slot: int, text: str | None, *, query: Query, size: int | None = None
    ) -> bool:
        """Whether `submit` of this sample would be answered from a finished group."""
        known = self._finished.get(group_id)
        return (
            known is not None and known.is_of(query, size) and known.marks.get(slot, hash(text)) == hash(text)
        )

    def close(self) -> None:
        """Judge nothing more: every open group gets its rewards from what is known. Idempotent."""
        for group_id in list(self._gathering):
            self._expire(group_id)

    def _gather(self, group_id: str, query: Query) -> _Gathering:
        while len(self._gathering) >= self._max_groups:
            oldest = next(iter(self._gathering))
            self._count("evicted", "%s is closed early: %d groups are open", oldest, len(self._gathering))
            self._expire(oldest)
        group = self._gathering[group_id] = _Gathering(query)
        return group

    def _join(self, group_id: str, group: _Gathering, slot: int, text: str, size: int | None) -> bool:
        """Put a text into its slot; False if the slot is another's."""
        mark = group.marks.get(slot)
        if mark is None and slot not in group.failed:
            group.marks[slot] = hash(text)
            if group.opened is None:
                group.texts[slot] = text
            elif slot < group.opened.size:
                group.opened.add(slot, text)
        elif mark == hash(text):
            # No news of the group: a caller that keeps asking must not keep an absent sibling awaited.
            self.counts["retries"] += 1
            return True
        else:
            self._count("conflicts", "slot %s/%s is taken; the first response counts", group_id, slot)
            return False
        self._news(group_id, group, size)
        return True

    def _news(self, group_id: str, group: _Gathering, size: int | None) -> None:
        """Open the group once its size is known, and set the clock back."""
        if group.opened is None and size is not None and group_id in self._gathering:
            self._open(group_id, group, size)
        if group.timer is not None:
            group.timer.cancel()
        if not group.rewards.done():
            loop = asyncio.get_running_loop()
            group.timer = loop.call_later(self._member_timeout, self._complete, group_id)

    def _open(self, group_id: str, group: _Gathering, size: int) -> None:
        try:
            group.opened = self._arena.open(
                group_id, group.query, size, lambda result: self._finish(group_id, group, result)
            )
        except Exception:
            self._finish(group_id, group, None)
            raise
        group.failed = {slot for slot in group.failed if slot < size}
        for slot in group.failed:
            group.opened.withdraw(slot)
        for slot, text in group.texts.items():
            if slot < size:
                group.opened.add(slot, text)
        group.texts.clear()

    def _complete(self, group_id: str) -> None:
        """Judge the group as it stands."""
        group = self._gathering.get(group_id)
        if group is None:
            return
        if group.opened is None:
            self._open(group_id, group, max(group.marks.keys() | group.failed, default=-1) + 1)
        assert group.opened is not None
        absent = group.opened.size - len(group.marks) - len(group.failed)
        if absent > 0:
            self._count("incomplete", "group %s is judged without %d of its members", group_id, absent)
        group.opened.complete()

    def _expire(self, group_id: str) -> None:
        """Close the group now, with what is known."""
        group = self._gathering[group_id]
        if group.opened is None:
            self._finish(group_id, group, None)
        else:
            group.opened.expire()

    def _finish(self, group_id: str, group: _Gathering, result: GroupResult | None) -> None:
        if group.timer is not None:
            group.timer.cancel()
        health = self._arena.health.gauges()
        shares = () if result is None else shares_of(result, len(group.marks), health)
        rewards = _Rewards(group.marks, shares, _mark(group.query))
        group.rewards.set_result(rewards)
        self._gathering.pop(group_id, None)
        self._finished[group_id] = rewards
        while len(self._finished) > self._remember:
            self._finished.popitem(last=False)

    def _count(self, what: str, message: str, *values: object) -> None:
        self.counts[what] += 1
        logger.warning(message, *values)


def _mark(query: Query) -> int:
    """What equal queries share, of one caller."""
    return hash(query if isinstance(query, str) else repr(list(query)))
