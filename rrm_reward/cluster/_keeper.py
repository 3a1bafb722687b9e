"""Keeps one replica alive: starts it, watches it, kills it when it is of no use, and starts it again.

    permitted --> launch --(loaded, one token drawn)--> in --(dead, hanging)--> killed --> pause --> permitted

The permission is withdrawn while the judge sleeps: a replica that was lost then must not load its weights beside a
trainer that has the memory. A launch that is under way when the judge goes to sleep is waited for, and put to sleep
like the others: else a model that loads longer than a batch is judged would never come back. Pauses double up to a
limit, and begin anew after a launch that succeeded.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from rrm_reward._cluster_config import ClusterConfig
from rrm_reward.cluster._engine import EngineSpec
from rrm_reward.cluster._placement import Place
from rrm_reward.cluster._replica import Health, Replica, Started
from rrm_reward.cluster._routing import Member
from rrm_reward.errors import ConfigError
from rrm_reward.judge import Completion, Message, Sampling

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

_POLL_SECONDS = 2.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 60.0
_SLEEP_SECONDS = 300.0
"""A replica that needs longer to give its memory back is killed; it only copies its weights, or drops them."""

_CLOSE_SECONDS = 10.0
_LONGEST_LINE = 300
_MAX_CONCURRENCY = 100_000


class Keeper:
    """One replica, through all its lives.

    Args:
        member: its entry in the roster; present while the replica takes calls.
        place: where it lives.
        config: engine, start and hang timeouts.
        spec: of the engine.
        permitted: set while a replica may hold memory.
        changed: called when the member came or went.

    Attributes:
        loaded: whether it holds an engine, awake or asleep.
        first: how the first launch went: what the replica said, or why there is none.
        counts: ``launches`` and ``losses``.
    """

    def __init__(
        self,
        member: Member,
        place: Place,
        config: ClusterConfig,
        spec: EngineSpec,
        permitted: asyncio.Event,
        changed: Callable[[], None],
    ) -> None:
        self.member = member
        self.first: asyncio.Future[Started] = asyncio.get_running_loop().create_future()
        self.counts: Counter[str] = Counter()
        self._place = place
        self._config = config
        self._spec = replace(spec, bundles=place.bundles)
        self._permitted = permitted
        self._changed = changed
        self._handle: Any = None
        self.loaded = False
        self._awake = False
        self._idle = asyncio.Event()
        self._suspected = asyncio.Event()
        self._task = asyncio.create_task(self._keep(), name=f"keeper of {member.name}")

    async def stream(
        self, request: str, messages: Sequence[Message], n: int, sampling: Sampling, seconds: float
    ) -> AsyncGenerator[Completion, None]:
        """Votes of this replica; leaving early aborts the rest.

        Raises:
            Declined: no replica can answer this.
            RayError: the replica is lost, or its engine failed.
            TimeoutError: not all came within `seconds`.
        """
        from ray.exceptions import RayActorError

        loop, handle = asyncio.get_running_loop(), self._handle
        deadline = loop.time() + seconds
        references = handle.stream.remote(request, list(messages), n, sampling)
        over = False
        try:
            while True:
                try:
                    completion = await asyncio.wait_for(_next(references), deadline - loop.time())
                except StopAsyncIteration:
                    over = True
                    return
                except RayActorError:
                    # gone, or out of reach: no other call shall try, until its health is known
                    over = True
                    if handle is self._handle:
                        self._leave()
                    raise
                yield completion
        finally:
            if not over:
                handle.abort.remote(request)

    def suspect(self) -> None:
        """A call failed there: look after it now and not at the next turn."""
        self._suspected.set()

    async def sleep(self, level: int) -> None:
        """Give the memory back; a replica that does not is killed, for the memory is promised to somebody else.

        A launch that is under way is waited for; no other may begin meanwhile.
        """
        self._awake = False
        self._leave()
        await self._idle.wait()
        self._awake = False
        self._leave()
        if self.loaded:
            await self._switch("sleep", _SLEEP_SECONDS, level)

    async def wake(self) -> None:
        """Take calls again, if the replica is loaded; if it is not, its launch is under way.

        After sleep of level 2 weights are read anew, so it has as long as a launch.
        """
        if self.loaded and await self._switch("wake", self._config.start_timeout):
            self._awake = True
            self._join()

    async def aclose(self) -> None:
        """End the replica for good."""
        self._task.cancel()
        await asyncio.wait([self._task])
        self._idle.set()
        self._leave()
        if self.loaded:
            try:
                await asyncio.wait_for(_answer(self._handle.aclose.remote()), _CLOSE_SECONDS)
            except Exception as error:
                logger.info("%s does not end by itself: %s", self.member.name, said(error))
        self._kill(self._handle, None)

    async def _switch(self, method: str, seconds: float, *arguments: Any) -> bool:
        """Sleep or wake, and see whether it came true; a replica that fails is killed, and `_watch` learns of it."""
        handle = self._handle
        try:
            call = getattr(handle, method).remote(*arguments)
            if await asyncio.wait_for(_answer(call), seconds):
                return self._handle is handle
            reason = f"its engine answers to {method}, and is_sleeping says that nothing happened"
        except Exception as error:
            reason = f"it cannot {method}: {said(error)}"
        self._kill(handle, reason)
        return False

    async def _keep(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            self._idle.set()
            while not self._permitted.is_set():
                await self._permitted.wait()
            self._idle.clear()
            try:
                started = await self._launch()
                pause = _FIRST_PAUSE
                self._idle.set()
                if not self.first.done():
                    self.first.set_result(started)
                reason = await self._watch(self._handle)
            except Exception as error:
                reason = said(error)
                if not self.first.done():
                    self.first.set_exception(error)
                    if isinstance(error, ConfigError):
                        # no later launch would do better, and the group says so
                        self._kill(self._handle, None)
                        self._idle.set()
                        return
            self._kill(self._handle, reason)
            self._idle.set()
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _launch(self) -> Started:
        """The replica, loaded; it takes calls from here on.

        Raises:
            ConfigError: it says that a setting cannot work.
            RayError: it died.
            TimeoutError: it did not load in time.
        """
        import ray

        self.counts["launches"] += 1
        self._suspected.clear()
        self._handle = (
            ray.remote(Replica)
            .options(max_restarts=0, max_concurrency=_MAX_CONCURRENCY, **self._place.options())
            .remote(self._config.engine, self._spec)
        )
        call = _answer(self._handle.start.remote())
        started: Started = await asyncio.wait_for(call, self._config.start_timeout)
        if started.wrong is not None:
            raise ConfigError(*started.wrong)
        for warning in started.warnings:
            logger.warning("%s: %s", self.member.name, warning)
        self.loaded = self._awake = True
        self._join()
        return started

    async def _watch(self, handle: Any) -> str | None:
        """Until the replica is of no use; says why, or None if it was killed already."""
        import ray

        patience = self._config.hang_timeout
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._suspected.wait(), _POLL_SECONDS)
            self._suspected.clear()
            if self._handle is not handle:
                return None
            try:
                health: Health = await asyncio.wait_for(_answer(handle.health.remote()), patience)
            except TimeoutError:
                return f"it has not answered for {patience:g} s"
            except ray.exceptions.RayError as error:
                return said(error)
            if health.failure is not None:
                return health.failure
            if health.stalled > patience:
                return f"its engine has drawn no token of {health.pending} votes for {health.stalled:.0f} s"
            self._join()

    def _join(self) -> None:
        if self._awake and self._permitted.is_set() and self.loaded and not self.member.present:
            self.member.present = True
            self._changed()

    def _leave(self) -> None:
        if self.member.present:
            self.member.present = False
            self._changed()

    def _kill(self, handle: Any, reason: str | None) -> None:
        """End this process; calls in flight there fail at once. Loudly, if there is a reason."""
        import ray

        if handle is None or handle is not self._handle:
            return
        self._leave()
        self.loaded = self._awake = False
        self._handle = None
        self._suspected.set()
        if reason is not None:
            self.counts["losses"] += 1
            logger.error("judge replica %s is lost and will be started again: %s", self.member.name, reason)
        try:
            ray.kill(handle, no_restart=True)
        except Exception as error:
            logger.info("%s cannot be killed, so it is gone: %s", self.member.name, said(error))


async def _next(references: Any) -> Completion:
    """The next vote. Exceptions of the replica come as Ray raises them: of their own class and of Ray's."""
    completion: Completion = await (await anext(references))
    return completion


async def _answer(call: Awaitable[Answer]) -> Answer:
    """A coroutine, which `asyncio.wait_for` takes, from Ray's reference, which it does not."""
    return await call


def said(error: BaseException) -> str:
    """One line of an exception. Ray's begin with its own stack, end with the cause, and go on about common ones."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    cause = lines[-1].partition(" Some common causes include")[0] if lines else ""
    return f"{type(error).__name__}: {cause[:_LONGEST_LINE]}"
