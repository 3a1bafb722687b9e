"""One judge of a whole Ray job, asked by many of its processes.

    judge = SharedJudge(config)         # in each of a trainer's rollout engines
    await judge.start()                 # the first starts the replicas, all others find them
    async with judge.awake(): ...

The group of replicas lives in an actor of its own, the host, which is found by its name. It sleeps when nobody in any
process is inside `SharedJudge.awake`, and holds no GPU itself. It dies with the process that started it, as a trainer's
engine does at the end of the job, and its replicas with it; if it dies alone, Ray starts it again, and it starts
replicas anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import uuid4

from rrm_reward.cluster._group import PATIENCE, JudgeGroup
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
        self._starting = asyncio.Lock()
        self._held: dict[str, AsyncExitStack] = {}

    async def start(self) -> tuple[int | None, tuple[str, object, str] | None]:
        """Start the replicas, once; the context length, or key, value and fix of what cannot work."""
        try:
            return (await self._started()).context_tokens, None
        except ConfigError as error:
            return None, (error.key, error.value, error.fix)

    async def complete(self, messages: Sequence[Message], n: int, sampling: Sampling) -> list[Completion]:
        """See `JudgeGroup.complete`; awake meanwhile, whoever holds it."""
        group = await self._started()
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
        group = await self._started()
        async with group.awake():
            return await group.next_token(completion, ending)

    async def hold(self, holder: str) -> None:
        """Awake until this holder lets go."""
        group = await self._started()
        if holder not in self._held:
            stack = self._held[holder] = AsyncExitStack()
            await stack.enter_async_context(group.awake())

    async def release(self, holder: str) -> None:
        """The holder needs it no more; asleep on return, if that was the last."""
        stack = self._held.pop(holder, None)
        if stack is not None:
            await stack.aclose()

    async def snapshot(self) -> dict[str, float]:
        """See `JudgeGroup.snapshot`; empty before the start."""
        return {} if self._group is None else self._group.snapshot()

    async def _started(self) -> JudgeGroup:
        async with self._starting:
            if self._group is None:
                group = JudgeGroup.from_config(self._config, placement_groups=self._groups)
                await group.start()
                self._group = group
        return self._group


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
        self._switch = Switch(self._hold, self._release, is_on=False)

    @property
    def context_tokens(self) -> int | None:
        """The judge's context length; known after `start`."""
        return self._context_tokens

    @property
    def patience(self) -> float:
        """Seconds after which a request has an answer or has given up."""
        return PATIENCE * self._config.timeout

    async def start(self) -> None:
        """See `Backend.start`: finds the judge, or starts it."""
        try:
            tokens, wrong = await self._ask("start")
        except Exception as error:
            fix = f"the judge's host cannot be started ({type(error).__name__}: {str(error).splitlines()[0]})"
            raise ConfigError("judge.backend", self._config.backend, fix) from error
        if wrong is not None:
            raise ConfigError(*wrong)
        self._context_tokens = self._context_tokens or tokens

    def begin(self) -> None:
        """Have the host load the judge now; what is wrong with it is told by `start`."""
        self._host().start.remote()

    async def complete(self, messages: Sequence[Message], n: int, sampling: Sampling) -> list[Completion]:
        """See `Backend.complete`. A call that is cancelled here is cancelled in the engine."""
        completions: list[Completion] = await self._ask("complete", list(messages), n, sampling)
        return completions

    async def prepare(self, endings: Sequence[str]) -> None:
        """See `ContinuingBackend.prepare`."""
        if (wrong := await self._ask("prepare", list(endings))) is not None:
            raise ConfigError(*wrong)

    async def next_token(self, completion: Completion, ending: str) -> Mapping[str, float]:
        """See `ContinuingBackend.next_token`."""
        found: Mapping[str, float] = await self._ask("next_token", completion, ending)
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

    async def _ask(self, method: str, *arguments: Any) -> Any:
        """The host's answer; a host that is lost is asked again, until Ray has restarted it."""
        import ray
        from ray.exceptions import RayActorError

        loop = asyncio.get_running_loop()
        deadline, pause = loop.time() + self.patience, _FIRST_PAUSE
        while True:
            call = getattr(self._host(), method).remote(*arguments)
            try:
                return await _answer(call)
            except asyncio.CancelledError:
                ray.cancel(call)
                raise
            except RayActorError as error:
                if loop.time() + pause > deadline:
                    raise BackendError(f"the judge's host is lost ({type(error).__name__})") from error
                logger.error("the judge's host is lost, and is asked again: %s", type(error).__name__)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _hold(self) -> None:
        await self._tell("hold")

    async def _release(self) -> None:
        await self._tell("release")

    async def _tell(self, method: str) -> None:
        """Whatever goes wrong here, calls wake the judge for themselves."""
        try:
            await _answer(getattr(self._host(), method).remote(self._name))
        except Exception as error:
            logger.error("the judge does not hear %s: %s", method, error)


async def _answer(call: Any) -> Any:
    """A coroutine, which asyncio can wait for and cancel, from Ray's reference."""
    return await call
