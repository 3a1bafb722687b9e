"""One judge of a whole Ray job, asked by many of its processes.

    judge = SharedJudge(config)         # in each of a trainer's rollout engines
    await judge.start()                 # the first starts the replicas, all others find them
    async with judge.awake(): ...

The group of replicas lives in an actor of its own, the host, which is found by its name. It sleeps when nobody in any
process is inside `SharedJudge.awake`, and holds no GPU itself. It dies with the process that started it, as a trainer's
engine does at the end of the job, and its replicas with it; if it dies alone, Ray starts it again, and it starts
replicas anew on the GPUs that it had.

Whatever becomes of it, calls wait for an answer as long as one may take, once: then they fail at once, and comparisons
are missing, until it is heard again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import uuid4

from rrm_reward._once import Once
from rrm_reward.cluster._group import PATIENCE, JudgeGroup
from rrm_reward.cluster._life import said
from rrm_reward.cluster._switch import Switch
from rrm_reward.config import JudgeConfig
from rrm_reward.errors import ConfigError
from rrm_reward.judge import BackendError, Completion, Message, Sampling

logger = logging.getLogger(__name__)

_MAX_CONCURRENCY = 100_000
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0


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

    async def snapshot(self) -> dict[str, float]:
        """See `JudgeGroup.snapshot`; empty before the start."""
        return {} if self._group is None else self._group.snapshot()

    async def _begin(self) -> JudgeGroup:
        group = JudgeGroup.from_config(self._config, placement_groups=self._groups)
        await group.start()
        self._group = group
        return group

    async def _ready(self) -> JudgeGroup:
        """The group, for whoever is in the middle of a run.

        Raises:
            BackendError: it cannot be started, or not within the time of one launch since somebody first waited.
        """
        if self._group is not None:
            return self._group
        clock = asyncio.get_running_loop().time
        if self._waited_since is None:
            self._waited_since = clock()
        seconds = self._config.cluster.start_timeout + self._config.cluster.hang_timeout
        try:
            async with asyncio.timeout_at(self._waited_since + seconds):
                return await self._started()
        except Exception as error:
            raise BackendError(f"the judge is not started: {said(error)}") from error


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
        self._listening: asyncio.Task[None] | None = None
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
        """See `Backend.start`: finds the judge, or starts it."""
        try:
            tokens, wrong = await self._ask("start", seconds=self._launch)
        except Exception as error:
            fix = f"the judge's host cannot be started: {said(error)}"
            raise ConfigError("judge.backend", self._config.backend, fix) from error
        if wrong is not None:
            raise ConfigError(*wrong)
        self._context_tokens = self._context_tokens or tokens

    @property
    def _launch(self) -> float:
        """Seconds after which a start has failed: it waits for GPUs, and then for the replicas that load there."""
        return 2 * self._config.cluster.start_timeout + self._config.cluster.hang_timeout

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
        if (wrong := await self._ask("prepare", list(endings), seconds=self._launch)) is not None:
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
            BackendError: none came in time; or nobody is there since a call before, for which one wait is enough.
        """
        import ray
        from ray.exceptions import RayActorError

        if self._silent:
            raise BackendError("the judge's host does not answer")
        call, pause, reason = None, _FIRST_PAUSE, "it says nothing"
        try:
            async with asyncio.timeout(seconds) as limit:
                while True:
                    try:
                        call = getattr(self._host(), method).remote(*arguments)
                        return await _answer(call)
                    except RayActorError as error:
                        reason = said(error)
                        logger.error("the judge's host is lost, and is asked again: %s", reason)
                        # it is gone for good with the process that started it: then this one starts another
                        self._handle = None
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, _LONGEST_PAUSE)
        except asyncio.CancelledError:
            if call is not None:
                ray.cancel(call)
            raise
        except TimeoutError as error:
            if not limit.expired():
                raise
            if call is not None:
                ray.cancel(call)
            if self._listening is None:
                self._listening = asyncio.create_task(self._listen())
            raise BackendError(f"no answer of the judge's host within {seconds:g} s: {reason}") from error

    async def _listen(self) -> None:
        """Whether nobody is there, or the call was only long; if nobody is, until somebody is."""
        pause = _FIRST_PAUSE
        try:
            while True:
                try:
                    async with asyncio.timeout(self._config.cluster.hang_timeout):
                        await _answer(self._host().snapshot.remote())
                        return
                except Exception as error:
                    self._silent, self._handle = True, None
                    logger.error("the judge's host is silent, and comparisons are missing: %s", said(error))
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
        finally:
            self._silent, self._listening = False, None

    async def _hold(self) -> None:
        await self._tell("hold")

    async def _release(self) -> None:
        await self._tell("release")

    async def _tell(self, method: str) -> None:
        """Whatever goes wrong here, calls wake the judge for themselves."""
        try:
            await self._ask(method, self._name, seconds=self._launch)
        except Exception as error:
            logger.error("the judge does not hear %s: %s", method, said(error))


async def _answer(call: Any) -> Any:
    """A coroutine, which asyncio can wait for and cancel, from Ray's reference."""
    return await call
