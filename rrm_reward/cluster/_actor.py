"""The Ray side of a replica: an actor from launch to death, its methods as coroutines."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rrm_reward.cluster._engine import EngineSpec
from rrm_reward.cluster._life import Gone, said
from rrm_reward.cluster._placement import Place
from rrm_reward.cluster._replica import Health, Replica, Started
from rrm_reward.judge import Completion, Message, Sampling

logger = logging.getLogger(__name__)

_MAX_CONCURRENCY = 100_000


class Actor:
    """See `Life`.

    Args:
        place: where it lives.
        engine: name, see `make_engine`.
        spec: of the engine; its bundles are those of the place.

    Raises:
        ConfigError: the place is no more.
    """

    def __init__(self, place: Place, engine: str, spec: EngineSpec) -> None:
        import ray

        self._handle: Any = (
            ray.remote(Replica)
            .options(max_restarts=0, max_concurrency=_MAX_CONCURRENCY, **place.options())
            .remote(engine, replace(spec, bundles=place.bundles))
        )

    async def start(self) -> Started:
        """See `Life.start`."""
        started: Started = await self._handle.start.remote()
        return started

    async def stream(
        self, request: str, messages: Sequence[Message], n: int, sampling: Sampling, seconds: float
    ) -> AsyncGenerator[Completion, None]:
        """See `Life.stream`."""
        from ray.exceptions import RayActorError

        deadline = asyncio.get_running_loop().time() + seconds
        references = self._handle.stream.remote(request, list(messages), n, sampling)
        over = False
        try:
            while True:
                try:
                    async with asyncio.timeout_at(deadline):
                        completion = await _next(references)
                except StopAsyncIteration:
                    over = True
                    return
                except RayActorError as error:
                    over = True
                    raise Gone(said(error)) from error
                yield completion
        finally:
            if not over:
                self._handle.abort.remote(request)

    async def prepare(self, endings: Sequence[str]) -> str | None:
        """See `Life.prepare`."""
        from ray.exceptions import RayActorError

        try:
            reason: str | None = await self._handle.prepare.remote(list(endings))
        except RayActorError as error:
            raise Gone(said(error)) from error
        return reason

    async def next_token(self, completion: Completion, ending: str) -> Mapping[str, float]:
        """See `Life.next_token`."""
        from ray.exceptions import RayActorError

        try:
            found: Mapping[str, float] = await self._handle.next_token.remote(completion, ending)
        except RayActorError as error:
            raise Gone(said(error)) from error
        return found

    async def health(self) -> Health:
        """See `Life.health`."""
        health: Health = await self._handle.health.remote()
        return health

    async def sleep(self, level: int) -> bool:
        """See `Life.sleep`."""
        return bool(await self._handle.sleep.remote(level))

    async def wake(self) -> bool:
        """See `Life.wake`."""
        return bool(await self._handle.wake.remote())

    async def aclose(self) -> None:
        """See `Life.aclose`."""
        await self._handle.aclose.remote()

    def kill(self) -> None:
        """See `Life.kill`."""
        import ray

        try:
            ray.kill(self._handle, no_restart=True)
        except Exception as error:
            logger.info("an actor cannot be killed, so it is gone: %s", said(error))


async def _next(references: Any) -> Completion:
    """The next vote. Exceptions of the replica come as Ray raises them: of their own class and of Ray's."""
    completion: Completion = await (await anext(references))
    return completion
