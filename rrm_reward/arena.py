"""The arena drives the tournaments of many groups against one judge.

    async with build_arena(config) as arena:
        result = await arena.judge(Group("g1", "What is 2 + 2?", ["4", "5", "22"]))
        result.rewards

One limit on requests in flight holds for all groups; which match goes first, `rrm_reward._queue` says.

A group can be opened before its members exist (`open`): members are added as their rollouts finish and judging begins
with the first pair. Rewards do not depend on that (`rrm_reward._group`). A group is closed exactly once, with
whatever is known: when its tournament is done or its deadline is over. Later verdicts are logged and ignored.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from types import TracebackType
from typing import Self

from rrm_reward._group import Pairing
from rrm_reward._open_group import Draw, OpenGroup, Rules
from rrm_reward._queue import MatchQueue
from rrm_reward.health import Health
from rrm_reward.judge import Comparer, Judgment
from rrm_reward.metrics import ArenaMetrics
from rrm_reward.rating import PositionBias, Rating
from rrm_reward.record import Recorder
from rrm_reward.reward import Reward
from rrm_reward.tournament import Room
from rrm_reward.types import Group, GroupResult, Match, NoVerdict, Query, Verdict, Vote

logger = logging.getLogger(__name__)


class Arena:
    """Many groups, one judge.

    Args:
        judge: compares two texts; its faults are missing outcomes.
        schedule: draws a group's tournament.
        rating: outcomes to ratings.
        reward: ratings to rewards.
        seed: the one seed.
        concurrency: requests in flight at most, over all groups.
        group_timeout: seconds from a group's first match to its result at the latest; None: no limit but that of
            each request.
        position: learns the judge's position bias from every closed group, for the rating; None: nothing is learnt.
        ahead: members of a group that may be missing while its bracket is played on as if they were to lose, where the
            judge has room; costs calls. See `rrm_reward._ahead`.
        recorder: is told of every judgment and result; see `rrm_reward.record`.
        health: is told of them too, and warns; None takes one with the default thresholds.
        room: kept up to date for schedules that reckon with it; None: nobody does.

    Attributes:
        comparer, schedule, concurrency: as given; planning a run needs them.
        metrics: counters, see `snapshot`.
        health: gauges of what the judge did lately, see `rrm_reward.health`.
    """

    def __init__(
        self,
        judge: Comparer,
        schedule: Draw,
        rating: Rating,
        reward: Reward,
        *,
        seed: int = 0,
        concurrency: int = 256,
        group_timeout: float | None = None,
        position: PositionBias | None = None,
        ahead: int = 0,
        recorder: Recorder | None = None,
        health: Health | None = None,
        room: Room | None = None,
    ) -> None:
        self.comparer = judge
        self.schedule = schedule
        self.metrics = ArenaMetrics()
        self._rules = Rules(schedule, rating, reward, judge.view, seed, group_timeout, position, ahead)
        self._position = position
        self.health = health or Health()
        self.concurrency = max(concurrency, judge.width)
        self._spare = room or Room()
        self._spare.slots = self.concurrency // judge.width
        self._recorder = recorder
        self._open: dict[int, OpenGroup] = {}
        self._sequence = itertools.count()
        self._queue = MatchQueue()
        self._in_flight = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Check the judge; idempotent.

        Raises:
            ConfigError: with key, value and fix.
        """
        if self._position is not None and not self._position.groups:
            self._position.load()
        await self.comparer.start()

    async def aclose(self) -> None:
        """Close every open group with what is known, stop asking, release the judge; idempotent."""
        for group in list(self._open.values()):
            group.expire()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._position is not None:
            self._position.save()
        await self.comparer.aclose()
        if self._recorder is not None:
            self._recorder.close()

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def open(
        self, id: str, query: Query, size: int, on_result: Callable[[GroupResult], None] | None = None
    ) -> OpenGroup:
        """A group whose members are still to come.

        Args:
            id: names it in logs; need not be unique.
            query: all members answer it.
            size: number of slots.
            on_result: called once, in the moment the group is closed.

        Raises:
            InputError: a query that cannot be read.
            ConfigError: a budget that the schedule cannot keep for this size.
        """
        sequence = next(self._sequence)

        def ask(group: OpenGroup, matches: list[Match]) -> None:
            self._queue.put(sequence, group, matches)
            self._pump()

        def closed(result: GroupResult) -> None:
            del self._open[sequence]
            self._spare.groups = len(self._open)
            self._queue.drop(sequence)
            self.metrics.closed(result)
            self.health.closed(result, self._rules.rating)
            if self._recorder is not None:
                self._recorder.closed(sequence, result)
            if on_result is not None:
                on_result(result)

        group = self._make_group(id, query, size, ask, closed)
        self._open[sequence] = group
        self._spare.groups = len(self._open)
        if self._recorder is not None:
            self._recorder.opened(sequence, id, query, size)
        return group

    def _make_group(
        self,
        id: str,
        query: Query,
        size: int,
        ask: Callable[[OpenGroup, list[Match]], None],
        closed: Callable[[GroupResult], None],
    ) -> OpenGroup:
        """The group that `open` opens; an arena that does not compare has groups of its own."""
        return OpenGroup(self._rules, id, query, size, ask, closed)

    async def judge(self, group: Group) -> GroupResult:
        """Judge a whole group; a response that is None is a failed member.

        If the wait is cancelled, the group is closed and asks nothing more.

        Raises:
            InputError, ConfigError: as `open`.
        """
        opened = self.open(group.id, group.query, len(group.responses))
        for slot, response in enumerate(group.responses):
            if response is None:
                opened.withdraw(slot)
            else:
                opened.add(slot, response)
        opened.complete()
        try:
            return await opened.result()
        except asyncio.CancelledError:
            opened.expire()
            raise

    async def judge_all(
        self, groups: Iterable[Group], window: int = 1024
    ) -> AsyncIterator[tuple[int, GroupResult]]:
        """Judge many groups; yields (position in `groups`, result) as they finish.

        Args:
            groups: read lazily.
            window: groups open at once, which bounds memory.
        """
        source: Iterator[tuple[int, Group]] = enumerate(groups)
        waiting: dict[asyncio.Task[GroupResult], int] = {}
        exhausted = False
        try:
            while waiting or not exhausted:
                while not exhausted and len(waiting) < window:
                    try:
                        index, group = next(source)
                    except StopIteration:
                        exhausted = True
                    else:
                        waiting[asyncio.ensure_future(self.judge(group))] = index
                if waiting:
                    finished, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                    for task in sorted(finished, key=waiting.__getitem__):
                        yield waiting.pop(task), task.result()
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    def snapshot(self) -> dict[str, float]:
        """Counters and gauges of the arena, its judge and the judge's health, by name; health only where known."""
        gauges = {
            "in_flight": float(self._in_flight),
            "queued": float(len(self._queue)),
            "open_groups": float(len(self._open)),
        }
        learnt = self._position.snapshot() if self._position is not None else {}
        health = self.health.snapshot()
        log = self._recorder.snapshot() if self._recorder is not None else {}
        return {**self.metrics.snapshot(), **self.comparer.snapshot(), **learnt, **gauges, **health, **log}

    def _pump(self) -> None:
        """Begin what the judge has room for."""
        width = self.comparer.width
        while self._queue and self._in_flight + width <= self.concurrency:
            sequence, group, match = self._queue.pop()
            pairing = group.pairing(match)
            if group.wants(match):
                self._in_flight += width
                task = asyncio.get_running_loop().create_task(self._play(sequence, group, match, pairing))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _play(self, sequence: int, group: OpenGroup, match: Match, pairing: Pairing) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            judgment = await self.comparer.compare(group.query, *pairing, seed=group.seed(pairing))
        except Exception:
            # A judge never raises; if one does, that is a bug of ours and no reason to stop a training run.
            logger.exception("comparison in group %s failed; its outcome is missing", group.id)
            judgment = Judgment(None, (Vote(True, Verdict(None, NoVerdict.ERROR)),), 1)
        finally:
            self._in_flight -= self.comparer.width
        seconds, late = loop.time() - began, group.closed
        self.metrics.judged(judgment, seconds, late=late)
        self.health.judged(judgment, seconds, late=late)
        if self._recorder is not None:
            self._recorder.judged(sequence, match, judgment, seconds, late=late)
        group.record(pairing, judgment)
        self._pump()
