"""Where samples are held until their group is judged: each once, however often it is sent.

A sample is a task of its own, which no broken connection ends; requests wait for the task. What contradicts a sibling
(another size, another query, another text in the same slot) is refused, for a group that is half of one thing and half
of another would be judged and its rewards believed.

Room is taken for a whole group when its first sample comes. So a full desk refuses new groups and never a member of an
open one: nobody waits for a sibling that is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rrm_reward.assembler import UNKNOWN, Assembler, SampleReward
from rrm_reward.errors import RRMRewardError
from rrm_reward.judge import render_query
from rrm_reward.service._errors import Refused
from rrm_reward.service._reading import Sample
from rrm_reward.types import Query

_SWEEP_SECONDS = 1.0


@dataclass(slots=True)
class _Held:
    """An open group: what its siblings said of it, and each slot's text (hashed) and task."""

    size: int
    query: int
    texts: dict[int, int] = field(default_factory=dict)
    tasks: dict[int, asyncio.Task[SampleReward]] = field(default_factory=dict)


class Desk:
    """Holds samples of open groups; lives in the arena's event loop.

    Args:
        assembler: judges the groups.
        room: responses of open groups at most.
        patience: seconds after which a refused client may come again, asked when it is told.

    Attributes:
        held: responses of open groups, members still to come included.
        draining: no new group is taken any more.
        counts: ``joined`` requests for a sample that was held already, ``conflicts``, ``turned_away`` for want of room.
    """

    def __init__(self, assembler: Assembler, room: int, patience: Callable[[], int] = lambda: 1) -> None:
        self._assembler = assembler
        self._room = room
        self._patience = patience
        self._open: dict[str, _Held] = {}
        self._empty = asyncio.Event()
        self._empty.set()
        self.held = 0
        self.draining = False
        self.counts: Counter[str] = Counter()

    async def submit(self, sample: Sample) -> SampleReward:
        """Wait for the reward of a sample; cancelling the wait does not take the sample back.

        Raises:
            Refused: 409 if it contradicts a sibling, 429 if there is no room, 503 if the service is ending.
        """
        group = self._open.get(sample.group)
        if group is None:
            if self._assembler.remembers(
                sample.group, sample.slot, sample.response, query=sample.query, size=sample.size
            ):
                self.counts["joined"] += 1
                return await self._hand_in(sample)
            fresh = _Held(sample.size, _mark(sample.query))
            self._take(sample.size)
            group = self._open[sample.group] = fresh
        self._check(group, sample)
        if sample.slot in group.texts:
            self.counts["joined"] += 1
        else:
            group.texts[sample.slot] = hash(sample.response)
            if sample.response is None:
                return self._fail(group, sample)
            task = group.tasks[sample.slot] = asyncio.create_task(self._hand_in(sample))
            task.add_done_callback(lambda _: self._close(sample.group, group))
        if sample.response is None:
            return UNKNOWN
        return await asyncio.shield(group.tasks[sample.slot])

    def withdraw(self, sample: Sample) -> None:
        """A member will never come; its siblings go on without it."""
        group = self._open.get(sample.group)
        if group is not None and sample.slot not in group.texts:
            group.texts[sample.slot] = hash(None)
            self._fail(group, sample)

    @contextmanager
    def place(self, size: int) -> Iterator[None]:
        """Room for a group that comes whole.

        Raises:
            Refused: 429 if there is no room, 503 if the service is ending.
        """
        self._take(size)
        try:
            yield
        finally:
            self._give_back(size)

    async def empty(self) -> None:
        """Wait until no group is open."""
        while self.held:
            self._sweep()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), _SWEEP_SECONDS)

    @property
    def groups(self) -> int:
        """Open groups that come sample by sample."""
        return len(self._open)

    def _check(self, group: _Held, sample: Sample) -> None:
        """Refuse what contradicts a sibling."""
        name, slot = sample.group, sample.slot
        if sample.size != group.size:
            self._conflict(
                f"size must be {group.size}, as a sibling in group {name!r} said, not {sample.size}"
            )
        if _mark(sample.query) != group.query:
            self._conflict(
                f"query must be that of the siblings in group {name!r}; give another query another group"
            )
        if group.texts.get(slot, hash(sample.response)) != hash(sample.response):
            self._conflict(
                f"slot {slot} of group {name!r} holds another response; give each sample its own slot"
            )

    def _conflict(self, message: str) -> None:
        self.counts["conflicts"] += 1
        raise Refused(409, message)

    async def _hand_in(self, sample: Sample) -> SampleReward:
        text = sample.response
        if text is None:
            return UNKNOWN
        return await self._assembler.submit(
            sample.group, sample.slot, text, query=sample.query, size=sample.size
        )

    def _fail(self, group: _Held, sample: Sample) -> SampleReward:
        self._assembler.fail(sample.group, sample.slot, query=sample.query, size=sample.size)
        if sample.group not in self._assembler:
            self._close(sample.group, group)
        return UNKNOWN

    def _take(self, size: int) -> None:
        if self.draining:
            raise Refused(503, "the service is ending and takes no new groups; send this to another one", 1)
        if self.held + size > self._room:
            self._sweep()
        if self.held + size > self._room:
            self.counts["turned_away"] += 1
            raise Refused(
                429,
                f"{self.held} responses wait for their judgment, and service.max_waiting={self._room}; "
                "send this again after the seconds of Retry-After",
                self._patience(),
            )
        self.held += size
        self._empty.clear()

    def _give_back(self, size: int) -> None:
        self.held -= size
        if not self.held:
            self._empty.set()

    def _close(self, name: str, group: _Held) -> None:
        """The group is finished; each of its tasks says so."""
        if self._open.get(name) is group:
            del self._open[name]
            self._give_back(group.size)

    def _sweep(self) -> None:
        """Let go of groups that ended while nobody waited: all who came had failed, and the others never came."""
        for name, group in list(self._open.items()):
            if name not in self._assembler and not any(not task.done() for task in group.tasks.values()):
                self._close(name, group)


def _mark(query: Query) -> int:
    try:
        return hash(render_query(query))
    except RRMRewardError as error:
        raise Refused(422, str(error)) from error
