"""On while anyone is inside: the counting of one process that asks a judge shared by many (`SharedJudge`).

Both ways of switching may take minutes and must not be torn: memory that is half given back belongs to nobody. So a
switch that has begun runs to its end, whatever becomes of the one who caused it, and what the count says then is what
is done next.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager


class Switch:
    """A switch of many users.

    Args:
        turn_on, turn_off: what to do; neither is called while the other runs.
        is_on: at first, when there are no users; `settle` turns it off then.
    """

    def __init__(
        self,
        turn_on: Callable[[], Awaitable[None]],
        turn_off: Callable[[], Awaitable[None]],
        *,
        is_on: bool = True,
    ) -> None:
        self._turn_on = turn_on
        self._turn_off = turn_off
        self._users = 0
        self._is_on = is_on
        self._one_at_a_time = asyncio.Lock()
        self._running: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """On inside. The first to enter turns it on and the last to leave turns it off, whatever was raised inside."""
        self._users += 1
        try:
            await self.settle()
            yield
        finally:
            self._users -= 1
            await self.settle()

    async def settle(self) -> None:
        """On if there are users, off if there are none. Cancelling the call does not cancel what it began."""
        task = asyncio.create_task(self._settle())
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        await asyncio.shield(task)

    async def repeat(self) -> None:
        """Do again what was done last, for it may have come to nothing."""
        async with self._one_at_a_time:
            await (self._turn_on() if self._is_on else self._turn_off())

    async def _settle(self) -> None:
        async with self._one_at_a_time:
            if self._is_on != bool(self._users):
                self._is_on = not self._is_on
                await (self._turn_on() if self._is_on else self._turn_off())
