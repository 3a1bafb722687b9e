"""One judge of a whole Ray job, asked by many of its processes.

    judge = SharedJudge(config)         # in each of a trainer's rollout engines
    await judge.start()                 # the first starts the replicas, all others find them
    async with judge.awake(): ...

The group of replicas lives in an actor of its own, the host, which is found by its name. It sleeps when nobody in any
process is inside `SharedJudge.awake`, and holds no GPU itself. It dies with the process that started it, as a trainer's
engine does at the end of the job, and its replicas with it; if it dies alone, Ray starts it again, and it starts
replicas anew on the GPUs that it had.

Whatever becomes of it, calls come back: while it says nothing they fail, and comparisons are missing; an answer that
does not come is waited for as long as one may take, and a start once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from rrm_reward.cluster._group import PATIENCE
from rrm_reward.cluster._host import Host, launch_seconds
from rrm_reward.cluster._life import said
from rrm_reward.cluster._switch import Switch
from rrm_reward.config import JudgeConfig
from rrm_reward.errors import ConfigError
from rrm_reward.judge import BackendError, Completion, Message, Sampling

logger = logging.getLogger(__name__)

_MAX_CONCURRENCY = 100_000
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
_DEATHS = 3
"""Of hosts in a row, after which it is not the process that started them that died, but something wrong with them."""

_SILENT = "the judge's host does not answer"


class _Stillborn(BackendError):
    """Every host dies as it begins."""


class SharedJudge:
    """A `Backend`: the judge of the job as one of its processes sees it. Needs to run inside the job.

    Args:
        config: of the judge; the first process to start it decides.
        placement_groups: gives existing ones whose GPUs are shared; called when the judge is started.
    """

    def __init__(self, config: JudgeConfig, placement_groups: Callable[[], Sequence[Any]] = tuple) -> None:
        self._config = config
        self._groups = placement_groups
        self._handle: Any = None
        self._context_tokens = config.context_tokens
        self._name = uuid4().hex
        self._waiting: set[asyncio.Task[Any]] = set()
        self._listening: asyncio.Task[None] | None = None
        self._repeating: asyncio.Task[None] | None = None
        self._silent = False
        self._switch = Switch(self._hold, self._release, is_on=False)

    @property
    def context_tokens(self) -> int | None:
        """The judge's context length; known after `start`."""
        return self._context_tokens

    @property
    def patience(self) -> float:
        """Seconds after which a request has an answer or has given up."""
        return PATIENCE * self._config.timeout + self._config.cluster.hang_timeout

    async def start(self) -> None:
        """See `Backend.start`: finds the judge, or starts it.

        Raises:
            ConfigError: it cannot work; what the host says.
            BackendError: the host says nothing.
        """
        try:
            tokens, wrong = await self._ask("start", seconds=launch_seconds(self._config))
        except _Stillborn as error:
            raise ConfigError("judge.backend", self._config.backend, str(error)) from error
        except BackendError:
            raise
        except Exception as error:
            fix = f"the judge's host cannot start it: {said(error)}"
            raise ConfigError("judge.backend", self._config.backend, fix) from error
        if wrong is not None:
            raise ConfigError(*wrong)
        self._context_tokens = self._context_tokens or tokens

    def begin(self) -> None:
        """Have the host load the judge now; what is wrong with it is told by `start`."""
        self._host().start.remote()

    async def complete(self, messages: Sequence[Message], n: int, sampling: Sampling) -> list[Completion]:
        """See `Backend.complete`. A call that is cancelled here is cancelled in the engine."""
        arguments = list(messages), n, sampling
        completions: list[Completion] = await self._ask("complete", *arguments, seconds=self.patience)
        return completions

    async def prepare(self, endings: Sequence[str]) -> None:
        """See `ContinuingBackend.prepare`."""
        wrong = await self._ask("prepare", list(endings), seconds=launch_seconds(self._config))
        if wrong is not None:
            raise ConfigError(*wrong)

    async def next_token(self, completion: Completion, ending: str) -> Mapping[str, float]:
        """See `ContinuingBackend.next_token`."""
        found: Mapping[str, float] = await self._ask("next_token", completion, ending, seconds=self.patience)
        return found

    @asynccontextmanager
    async def awake(self) -> AsyncIterator[None]:
        """See `JudgeGroup.awake`: counted over all processes of the job."""
        if not self._config.cluster.sleep:
            yield
            return
        async with self._switch.held():
            yield

    async def aclose(self) -> None:
        """See `Backend.aclose`: the judge goes on for the others."""
        for task in filter(None, (self._listening, self._repeating)):
            task.cancel()
        self._listening, self._silent = None, False

    def _host(self) -> Any:
        """The actor, started by whoever comes first."""
        import ray
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        if self._handle is None:
            options = {
                "name": f"rrm_reward_judge_{ray.get_runtime_context().get_job_id()}",
                "get_if_exists": True,
                "num_cpus": 0,
                "max_restarts": -1,
                "max_concurrency": _MAX_CONCURRENCY,
                # not in the group of whoever starts it, nor its replicas
                "scheduling_strategy": PlacementGroupSchedulingStrategy(placement_group=None),
            }
            self._handle = ray.remote(Host).options(**options).remote(self._config, tuple(self._groups()))
        return self._handle

    async def _ask(self, method: str, *arguments: Any, seconds: float) -> Any:
        """The host's answer; a host that is lost is asked again, until there is another.

        Raises:
            BackendError: none came in time, nobody is there, or no host lives long enough to answer.
            Exception: what the host raised.
        """
        from ray.exceptions import ActorDiedError, RayActorError

        pause, deaths, reason = _FIRST_PAUSE, 0, "it has not ended"
        try:
            async with asyncio.timeout(seconds) as limit:
                while True:
                    try:
                        return await self._answer(method, arguments)
                    except RayActorError as error:
                        reason = said(error)
                        deaths += isinstance(error, ActorDiedError)
                    if deaths == _DEATHS:
                        raise _Stillborn(f"the judge's host dies whenever it is started: {reason}")
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, _LONGEST_PAUSE)
        except TimeoutError as error:
            if limit.expired():
                raise BackendError(f"{method} had no answer within {seconds:g} s: {reason}") from error
            raise BackendError(said(error)) from error

    async def _answer(self, method: str, arguments: tuple[Any, ...]) -> Any:
        """Of one call, while anybody is there. What comes to nothing here is cancelled there."""
        import ray
        from ray.exceptions import RayActorError

        if self._silent:
            raise BackendError(_SILENT)
        handle = self._host()
        call = getattr(handle, method).remote(*arguments)
        answer = asyncio.create_task(_awaited(call))
        self._waiting.add(answer)
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen())
        try:
            return await answer
        except asyncio.CancelledError:
            ray.cancel(call)
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # not this task was cancelled, but its answer, by `_listen`
            raise BackendError(_SILENT) from None
        except RayActorError as error:
            # a host that only cannot be reached would answer later, and be asked twice
            ray.cancel(call)
            self._lose(handle, error)
            raise
        finally:
            self._waiting.discard(answer)
            answer.cancel()

    async def _listen(self) -> None:
        """While calls wait: is anybody there? What they ask may take long, but not that.

        A host that is not heard for twice the hang timeout is silent: no call waits for it until it is heard again.
        """
        hang = self._config.cluster.hang_timeout
        clock = asyncio.get_running_loop().time
        heard, pause = clock(), hang
        try:
            while self._waiting or self._silent:
                await asyncio.sleep(pause)
                handle = None
                try:
                    async with asyncio.timeout(hang):
                        handle = self._host()
                        await _awaited(handle.snapshot.remote())
                except Exception as error:
                    self._lose(handle, error)
                    pause = min(hang, _LONGEST_PAUSE)
                    if not self._silent and clock() - heard >= 2 * hang:
                        self._silent = True
                        logger.error("%s: comparisons are missing until it does", _SILENT)
                        for answer in list(self._waiting):
                            answer.cancel()
                else:
                    heard, pause = clock(), hang
                    if self._silent:
                        self._silent = False
                        logger.error("the judge's host answers again")
                        # it may not have heard who holds it, or does no more; aside, for it may be silent again
                        self._repeating = asyncio.create_task(self._switch.repeat())
        finally:
            if self._listening is asyncio.current_task():
                self._listening = None

    def _lose(self, handle: Any, error: Exception) -> None:
        """The next call looks the host up, and starts another if it is gone with the process that started it."""
        if handle is self._handle:
            self._handle = None
            logger.error("the judge's host is lost, and is asked again: %s", said(error))

    async def _hold(self) -> None:
        await self._tell("hold")

    async def _release(self) -> None:
        await self._tell("release")

    async def _tell(self, method: str) -> None:
        """Whatever goes wrong here, calls wake the judge for themselves."""
        try:
            await self._ask(method, self._name, seconds=launch_seconds(self._config))
        except Exception as error:
            logger.error("the judge does not hear %s: %s", method, said(error))


async def _awaited(call: Any) -> Any:
    """A coroutine, which asyncio can wait for and cancel, from Ray's reference."""
    return await call
