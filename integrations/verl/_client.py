"""Calls to the hub that always come back.

Every remote call has a deadline. A call that fails is made again, to the restarted hub if need be; repeating is safe,
since every call carries its sample's token. When the hub has said nothing for ``hub_timeout`` seconds, samples get no
reward (NaN, which becomes the neutral reward), one attempt each, until it speaks again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable
from typing import Any, TypeVar

import ray
from ray.exceptions import ActorDiedError, RayError

from rrm_reward.assembler import UNKNOWN, SampleReward
from rrm_reward.errors import ConfigError
from rrm_reward.integrations.verl._hub import Hub
from rrm_reward.integrations.verl._sample import Sample
from rrm_reward.integrations.verl._settings import Settings

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

_PAUSE = 1.0
_START_SECONDS = 300.0
_START_ATTEMPTS = 3
_MAX_CONCURRENCY = 100_000


def hub_name() -> str:
    """One name a job, so that jobs on one cluster never share a hub."""
    return f"rrm_reward_hub_{ray.get_runtime_context().get_job_id()}"


def connect(settings: Settings) -> Any:
    """The job's hub, started by whoever comes first; it lives as long as the process that started it."""
    return (
        ray.remote(Hub)
        .options(
            name=hub_name(),
            get_if_exists=True,
            num_cpus=0,
            max_restarts=-1,
            # every rollout of a step waits in it; Ray's own limit is 1000
            max_concurrency=_MAX_CONCURRENCY,
        )
        .remote(settings.rrm, settings.verl.log)
    )


class HubClient:
    """The hub as the processes of verl see it.

    Args:
        settings: of the job.
        patience: seconds that a call waits in the hub before it is made again.
        grace: seconds beyond that until the hub counts as hanging.

    Attributes:
        counts: ``retries`` of calls, and calls that were ``lost``.

    Raises:
        ConfigError: the hub refuses the configuration.
    """

    def __init__(self, settings: Settings, *, patience: float = 60.0, grace: float = 30.0) -> None:
        self._settings = settings
        self._patience = patience
        self._grace = grace
        self._silent_since: float | None = None
        self.counts: Counter[str] = Counter()
        # Ray runs every __init__ of an actor outside its event loop's tasks: waiting is allowed here, once
        wrong = self._start()
        if wrong is not None:
            raise ConfigError(*wrong)

    def _start(self) -> tuple[str, object, str] | None:
        """Find the hub or start it; what is wrong with its settings."""
        judge = self._settings.rrm.judge
        loading = judge.cluster.start_timeout if judge.backend == "ray" else 0.0
        attempts = _START_ATTEMPTS
        while True:
            self._hub = connect(self._settings)
            try:
                return ray.get(self._hub.ready.remote(), timeout=_START_SECONDS + loading)
            except ActorDiedError:
                # the hub that bore the name was just going, with the process that had started it
                attempts -= 1
                if not attempts:
                    raise
                time.sleep(_PAUSE)

    async def submit(self, sample: Sample) -> SampleReward:
        """The sample's reward; unknown if the hub is lost. Never raises, waits for siblings as the assembler does."""
        answer = await self._ask("submit", sample, self._patience)
        return UNKNOWN if answer is None else answer

    async def compare(self, token: str, query: str, response: str, reference: str) -> float:
        """See `Hub.compare`; NaN also if the hub is lost."""
        answer = await self._ask("compare", token, query, response, reference, self._patience)
        return float("nan") if answer is None else float(answer)

    async def fail(self, group: str, slot: int, query: str, size: int) -> None:
        """See `Hub.fail`. If the word is lost, the siblings wait for the assembler's clock."""
        try:
            await asyncio.wait_for(
                _as_awaitable(self._hub.fail.remote(group, slot, query, size)), self._grace
            )
        except (RayError, TimeoutError) as error:
            self.counts["lost"] += 1
            logger.error("the hub does not hear that %s/%s failed: %s", group, slot, error)

    async def _ask(self, method: str, *arguments: Any) -> Any:
        """The answer, however often it takes; None if the hub is lost."""
        while True:
            try:
                call = getattr(self._hub, method).remote(*arguments)
                answer = await asyncio.wait_for(_as_awaitable(call), self._patience + self._grace)
            except Exception as error:
                # of whatever kind: a hub that answers with our own bug is as lost as one that is gone
                if not await self._again(method, error):
                    return None
            else:
                self._silent_since = None
                if answer is not None:
                    return answer

    async def _again(self, method: str, error: Exception) -> bool:
        """Whether to make a failed call again."""
        now = time.monotonic()
        if self._silent_since is None:
            self._silent_since = now
            logger.error("the hub does not answer (%s: %s); asking again", method, _first_line(error))
        if now - self._silent_since > self._settings.verl.hub_timeout:
            self.counts["lost"] += 1
            if self.counts["lost"].bit_count() == 1:
                logger.error(
                    "the hub is lost: %d samples so far get the neutral reward (%s)",
                    self.counts["lost"],
                    _first_line(error),
                )
            return False
        self.counts["retries"] += 1
        await asyncio.sleep(_PAUSE)
        try:
            # the hub dies for good with the process that started it; then the next to ask starts another
            self._hub = await asyncio.wait_for(asyncio.to_thread(connect, self._settings), self._grace)
        except Exception as failure:
            logger.error("no hub can be started: %s", _first_line(failure))
        return True


async def _as_awaitable(call: Awaitable[Answer]) -> Answer:
    """A coroutine, which `asyncio.wait_for` takes, from Ray's reference, which it does not."""
    return await call


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
