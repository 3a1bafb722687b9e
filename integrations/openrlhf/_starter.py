"""A start that many wait for: once if it succeeds, and anew if it fails, but not at once."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import Any

PAUSE_SECONDS = 10.0
"""From a start that failed to the next one: a judge that is away costs a group rewards, and not patience."""

_CLOSE_SECONDS = 10.0


class Starter:
    """One start at a time, in a task of its own: who waits for it and is cancelled leaves it to the others.

    Args:
        start: what has to succeed once. May fail in any way, and is called again then.
        failed: told of each failure.
    """

    def __init__(
        self, start: Callable[[], Coroutine[Any, Any, None]], failed: Callable[[BaseException], None]
    ) -> None:
        self._start = start
        self._failed = failed
        self._task: asyncio.Task[None] | None = None
        self._again_at = -math.inf
        self._closed = False

    async def attempt(self) -> None:
        """Return when the start has succeeded, or has failed, now or less than `PAUSE_SECONDS` ago. Raises nothing."""
        if self._task is None and not self._closed and asyncio.get_running_loop().time() >= self._again_at:
            self._task = asyncio.create_task(self._start())
            self._task.add_done_callback(self._ended)
        await self._over()

    async def aclose(self) -> None:
        """Start no more, and give up a start under way.

        Raises nothing, and leaves behind what does not let itself be given up. Whoever waits goes on.
        """
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await self._over(_CLOSE_SECONDS)

    async def _over(self, seconds: float | None = None) -> None:
        if self._task is not None and not self._task.done():
            # unlike `await`, neither cancels it nor raises what it raised
            await asyncio.wait([self._task], timeout=seconds)

    def _ended(self, task: asyncio.Task[None]) -> None:
        # a cancellation may also come from inside, as of a future that the start waited for
        error = asyncio.CancelledError("cancelled") if task.cancelled() else task.exception()
        if error is not None:
            self._task = None
            self._again_at = task.get_loop().time() + PAUSE_SECONDS
            self._failed(error)
