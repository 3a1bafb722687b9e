"""The actor that holds the replicas of a `SharedJudge`, and counts who needs them awake.

It may be a second life, in the middle of a run: then calls wait for its replicas as long as a start may take, once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

from rrm_reward._once import Once
from rrm_reward.cluster._group import JudgeGroup
from rrm_reward.cluster._keeper import SLEEP_SECONDS
from rrm_reward.cluster._life import said
from rrm_reward.config import JudgeConfig
from rrm_reward.errors import ConfigError
from rrm_reward.judge import BackendError, Completion, Message, Sampling


class Host:
    """The actor's class.

    Args:
        config: of the judge.
        placement_groups: existing ones whose GPUs are shared; none: as configured.
    """

    def __init__(self, config: JudgeConfig, placement_groups: Sequence[Any] = ()) -> None:
        self._config = config
        self._groups = placement_groups
        self._group: JudgeGroup | None = None
        self._started = Once(self._begin, pause=config.cluster.hang_timeout)
        self._failure: Exception | None = None
        self._waited_since: float | None = None
        self._held: dict[str, AsyncExitStack] = {}

    async def start(self) -> tuple[int | None, tuple[str, object, str] | None]:
        """Start the replicas, once; the context length, or key, value and fix of what cannot work."""
        try:
            return (await self._started()).context_tokens, None
        except ConfigError as error:
            return None, (error.key, error.value, error.fix)

    async def complete(self, messages: Sequence[Message], n: int, sampling: Sampling) -> list[Completion]:
        """See `JudgeGroup.complete`; awake meanwhile, whoever holds it."""
        group = await self._ready()
        async with group.awake():
            return await group.complete(messages, n, sampling)

    async def prepare(self, endings: Sequence[str]) -> tuple[str, object, str] | None:
        """See `JudgeGroup.prepare`; key, value and fix of what cannot work."""
        try:
            await (await self._started()).prepare(endings)
        except ConfigError as error:
            return error.key, error.value, error.fix
        return None

    async def next_token(self, completion: Completion, ending: str) -> Mapping[str, float]:
        """See `JudgeGroup.next_token`."""
        group = await self._ready()
        async with group.awake():
            return await group.next_token(completion, ending)

    async def hold(self, holder: str) -> None:
        """Awake until this holder lets go."""
        group = await self._ready()
        if holder in self._held:
            return
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(group.awake())
            # only now, for the holder may have been cancelled; and once, for he may have asked twice
            if holder not in self._held:
                self._held[holder] = stack.pop_all()

    async def release(self, holder: str) -> None:
        """The holder needs it no more; asleep on return, if that was the last."""
        stack = self._held.pop(holder, None)
        if stack is not None:
            await stack.aclose()
        if self._config.cluster.sleep:
            # replicas that load take memory like those that are awake, until they sleep
            await self._started.settled()

    async def snapshot(self) -> dict[str, float]:
        """See `JudgeGroup.snapshot`; empty before the start."""
        return {} if self._group is None else self._group.snapshot()

    async def _begin(self) -> JudgeGroup:
        group = JudgeGroup.from_config(self._config, placement_groups=self._groups)
        try:
            await group.start()
        except Exception as error:
            self._failure = error
            raise
        self._group = group
        return group

    async def _ready(self) -> JudgeGroup:
        """The group, for whoever is in the middle of a run.

        Raises:
            BackendError: it cannot be started, or not within the time of a start since somebody first waited.
        """
        if self._group is not None:
            return self._group
        clock = asyncio.get_running_loop().time
        if self._waited_since is None:
            self._waited_since = clock()
        try:
            async with asyncio.timeout_at(self._waited_since + launch_seconds(self._config)):
                return await self._started()
        except Exception as error:
            raise BackendError(f"the judge is not started: {said(self._failure or error)}") from error


def launch_seconds(config: JudgeConfig) -> float:
    """After which a start has failed: it waits for GPUs, for replicas that load there, and perhaps for their sleep."""
    cluster = config.cluster
    return 2 * cluster.start_timeout + cluster.hang_timeout + (SLEEP_SECONDS if cluster.sleep else 0.0)
