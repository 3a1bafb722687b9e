"""Judges the lines of a stream: enough groups at once to keep the judge busy, and no more than that."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from functools import cache

from rrm_reward.arena import Arena
from rrm_reward.errors import RRMRewardError
from rrm_reward.rank._lines import Line, error_row, parse_line, result_row
from rrm_reward.rank._output import Output
from rrm_reward.rank._reader import NumberedLine
from rrm_reward.rank._tally import Tally

logger = logging.getLogger(__name__)

AHEAD = 4
"""Groups are opened until their comparisons would fill the judge this many times over: a schedule with rounds
has few comparisons ready at a time, and more groups only delay the first result and lose more in a crash."""

HELD = 4096
"""Most finished lines that wait for an earlier one; then no group is opened until that one is finished."""


async def rank(
    arena: Arena,
    source: AsyncIterator[NumberedLine],
    output: Output,
    finished: Callable[[Tally], None] = lambda tally: None,
) -> Tally:
    """Judge every line of the source, write every result as soon as its turn has come.

    Args:
        arena: started.
        source: numbered lines; see `rrm_reward.rank._reader.stream`.
        output: see `rrm_reward.rank._output`.
        finished: is called after each finished line, with the sums so far.

    Returns:
        The sums; `Tally.malformed` lines were named in the log.

    Raises:
        InputError: the output belongs to another input.
        OSError: the output cannot be written.
    """
    run = _Run(arena, output, finished)
    try:
        async with asyncio.TaskGroup() as tasks:
            position = 0
            async for number, raw in source:
                line = parse_line(number, raw)
                if not run.settled(position, line):
                    load = await run.room(line)
                    tasks.create_task(run.judge(position, line, load))
                position += 1
            output.complete(position)
    except BaseExceptionGroup as group:
        # Whatever came first is the cause; the rest was cancelled for it.
        raise group.exceptions[0] from None
    return run.tally


class _Run:
    """The state of one `rank`: what is open, what is counted."""

    def __init__(self, arena: Arena, output: Output, finished: Callable[[Tally], None]) -> None:
        self.tally = Tally()
        self._arena = arena
        self._output = output
        self._finished = finished
        self._load = 0
        self._room = asyncio.Event()
        self._planned = cache(self._plan)

    def settled(self, position: int, line: Line) -> bool:
        """True if this line needs no judge: an earlier run finished it, or it is malformed."""
        row = self._output.recall(position, line)
        if row is not None:
            self.tally.earlier += 1
            if "error" in row:
                self._refuse(f"{row['error']} (in an earlier run)")
        elif line.group is None:
            self._refuse(line.error)
            self._output.put(position, error_row(line.id, line.error))
        else:
            return False
        self._finish()
        return True

    async def room(self, line: Line) -> int:
        """Wait until this group may be opened, and take room for it; returns how much, for `judge`."""
        assert line.group is not None
        while self._load >= AHEAD * self._arena.concurrency or self._output.held >= HELD:
            self._room.clear()
            await self._room.wait()
        load = self._planned(len(line.group.responses))
        self._load += load
        return load

    async def judge(self, position: int, line: Line, load: int) -> None:
        """Judge one group and write it; a group that cannot be judged is a malformed line, not the end."""
        assert line.group is not None
        try:
            result = await self._arena.judge(line.group)
        except RRMRewardError as error:
            reason = f"line {line.number}: {error}"
            self._refuse(reason)
            self._output.put(position, error_row(line.id, reason))
        else:
            self.tally.add(result)
            self._output.put(position, result_row(line.id, result))
        finally:
            self._load -= load
            self._room.set()
        self._finish()

    def _finish(self) -> None:
        self.tally.finished += 1
        self._finished(self.tally)

    def _refuse(self, reason: str) -> None:
        self.tally.malformed += 1
        logger.error("%s", reason)

    def _plan(self, n: int) -> int:
        """Requests that a group of n will want; 1 for one that cannot be judged."""
        try:
            return max(1, self._arena.schedule(n, 0).planned * self._arena.comparer.width)
        except RRMRewardError:
            return 1
