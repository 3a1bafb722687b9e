"""A start that many wait for: once if it succeeds, and anew if it fails, but not at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")

_CLOSE_SECONDS = 10.0


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
        self._closed = False

    async def __call__(self) -> Result:
        """Its result.

        Raises:
            RuntimeError: the last run was cancelled, from inside or by `aclose`.
            Exception: what the last run raised.
        """
        now = asyncio.get_running_loop().time()
        failed = self._failed_at is not None and now - self._failed_at >= self._pause
        if not self._closed and (self._task is None or failed):
            self._failed_at = None
            self._task = asyncio.create_task(self._run())
            self._task.add_done_callback(self._ended)
        task = self._task
        if task is not None:
            # unlike `await`, does not cancel it
            await asyncio.wait([task])
        if task is None or task.cancelled():
            raise RuntimeError("it was given up")
        return task.result()

    async def settled(self) -> None:
        """Return when no run is under way; begins none."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def aclose(self) -> None:
        """Run no more, and give up a run under way; whoever waits for it goes on. Raises nothing.

        Leaves behind what does not let itself be given up.
        """
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=_CLOSE_SECONDS)

    def _ended(self, task: asyncio.Task[Result]) -> None:
        # looked at here, for perhaps nobody waits any more
        if task.cancelled() or task.exception() is not None:
            self._failed_at = task.get_loop().time()
