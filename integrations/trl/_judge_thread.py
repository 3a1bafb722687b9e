"""The arena in an event loop of its own.

A judge belongs to the loop it was started in (its connections do, and so does its queue). TRL calls a plain reward
function from the trainer's thread, where no loop runs, and an async one in a loop that lives as long as one trainer.
So the arena has a thread, which serves any number of calls from any thread until it is closed.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import threading
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from rrm_reward.build import build_arena
from rrm_reward.config import RRMConfig
from rrm_reward.types import Group, GroupResult

Result = TypeVar("Result")

_PATIENCE = 30.0


class JudgeThread:
    """Judges groups for callers of any thread.

    Args:
        config: of the arena.

    Raises:
        ConfigError: the configuration cannot work, or the judge is not there.
    """

    def __init__(self, config: RRMConfig) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="rrm-reward", daemon=True)
        self._thread.start()
        try:
            self._arena = self._wait(_made(config))
        except BaseException:
            self._end()
            raise
        atexit.register(self.close)

    def judge(self, groups: Sequence[Group]) -> list[GroupResult | None]:
        """The results of the groups, all judged at once; None for one that could not be judged."""
        return self._wait(self._judge(groups)) if groups else []

    def snapshot(self) -> dict[str, float]:
        """See `Arena.snapshot`."""
        return self._arena.snapshot()

    def health(self) -> dict[str, float]:
        """See `Health.gauges`."""
        return self._arena.health.gauges()

    def close(self) -> None:
        """Give up what is open, release the judge, end the thread; idempotent."""
        if self._loop.is_closed():
            return
        atexit.unregister(self.close)
        with contextlib.suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(self._arena.aclose(), self._loop).result(_PATIENCE)
        self._end()

    async def _judge(self, groups: Sequence[Group]) -> list[GroupResult | None]:
        results = await asyncio.gather(*map(self._arena.judge, groups), return_exceptions=True)
        return [result if isinstance(result, GroupResult) else None for result in results]

    def _wait(self, work: Coroutine[Any, Any, Result]) -> Result:
        if self._loop.is_closed():
            work.close()
            raise RuntimeError("the reward function is closed")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE)
        if not self._thread.is_alive():
            self._loop.close()


async def _made(config: RRMConfig) -> Any:
    arena = build_arena(config)
    try:
        await arena.start()
    except BaseException:
        await arena.aclose()
        raise
    return arena
