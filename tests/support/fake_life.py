"""Replicas without Ray and without engines: lives (`rrm_reward.cluster._life.Life`) that go as a test says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field

from rrm_reward.cluster._life import Gone
from rrm_reward.cluster._replica import Health, Started
from rrm_reward.judge import Completion, Message, Sampling


@dataclass
class World:
    """How lives go.

    Attributes:
        seconds: that a method takes; `start`, `wake`, `sleep`, `prepare`, `health` or `vote`.
        faults: of methods: it may "raise", "hang" for ever, or "lie", that is, do nothing and say so.
        lives: all that were ever launched.
    """

    seconds: dict[str, float] = field(
        default_factory=lambda: {"start": 30.0, "wake": 5.0, "sleep": 2.0, "vote": 1.0}
    )
    faults: dict[str, str] = field(default_factory=dict)
    lives: list[FakeLife] = field(default_factory=list)

    def launch(self) -> FakeLife:
        if self.faults.get("launch"):
            raise OSError("the node is gone")
        life = FakeLife(self)
        self.lives.append(life)
        return life

    @property
    def holding(self) -> list[FakeLife]:
        """Lives that hold a GPU's memory."""
        return [life for life in self.lives if life.state in ("loading", "awake")]


class FakeLife:
    """One of them. `state` is loading, awake, asleep, dead (by itself), killed, or ended (in good order)."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.state = "loading"
        self._died = asyncio.Event()

    def die(self) -> None:
        """As of a signal."""
        self._end("dead")

    def kill(self) -> None:
        if self.state != "ended":
            self._end("killed")

    def _end(self, state: str) -> None:
        self.state = state
        self._died.set()

    async def _do(self, what: str) -> bool:
        """Whether it does anything; it takes its time."""
        fault = self.world.faults.get(what)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if fault == "hang" else self.world.seconds.get(what, 0.0)):
                await self._died.wait()
        if self._died.is_set():
            raise Gone("the actor died")
        if fault == "raise":
            raise MemoryError(f"out of memory at {what}")
        return fault != "lie"

    async def start(self) -> Started:
        done = await self._do("start")
        self.state = "awake"
        return Started(4096) if done else Started(wrong=("judge.model", "x", "there is none"))

    async def stream(
        self, request: str, messages: Sequence[Message], n: int, sampling: Sampling, seconds: float
    ) -> AsyncGenerator[Completion, None]:
        for _ in range(n):
            await self._do("vote")
            yield Completion("1", "stop", 1, 1)

    async def prepare(self, endings: Sequence[str]) -> str | None:
        return None if await self._do("prepare") else "it tells no probabilities"

    async def health(self) -> Health:
        if not await self._do("health"):
            return Health(0, 0.0, "the engine is dead")
        return Health(1, 1e6, None) if self.world.faults.get("vote") == "hang" else Health(0, 0.0, None)

    async def sleep(self, level: int) -> bool:
        assert self.state == "awake"
        if await self._do("sleep"):
            self.state = "asleep"
        return self.state == "asleep"

    async def wake(self) -> bool:
        assert self.state == "asleep"
        self.state = "awake"
        return await self._do("wake")

    async def aclose(self) -> None:
        await self._do("aclose")
        self._end("ended")
