"""One run of what many wait for, and no second one at once after a failure."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")


class Once(Generic[Result]):
    """A coroutine that runs once, shared by everybody who waits for it; one that failed is run again later.

    It runs in a task of its own, so whoever is cancelled while he waits leaves it to the others. For some time after a
    failure everybody is told of it at once: else each of a thousand calls would try for itself, one after the other.

    Args:
        run: makes the coroutine.
        pause: seconds from a failure until the next run may begin.
    """

    def __init__(self, run: Callable[[], Coroutine[Any, Any, Result]], *, pause: float) -> None:
        self._run = run
        self._pause = pause
        self._task: asyncio.Task[Result] | None = None
        self._failed_at: float | None = None

    async def __call__(self) -> Result:
        """Its result.

        Raises:
            Exception: what the last run raised.
        """
        clock = asyncio.get_running_loop().time
        if self._task is None or (self._failed_at is not None and clock() - self._failed_at >= self._pause):
            self._failed_at = None
            self._task = asyncio.create_task(self._noted(clock))
        return await asyncio.shield(self._task)

    async def _noted(self, clock: Callable[[], float]) -> Result:
        try:
            return await self._run()
        except BaseException:
            self._failed_at = clock()
            raise
