"""A judge of many replicas as one backend.

    group = JudgeGroup.from_config(config.judge)
    await group.start()
    completions = await group.complete(messages, 4, Sampling())
    async with group.awake():              # where the judge sleeps between uses
        ...

What a call goes through:

    prefix -> the replica that knows it, unless that is too full -> votes one by one -> the rest elsewhere if it dies

A vote that came is kept, and only what is missing is asked of another replica, so no vote counts twice. A request
that was there when `retries` replicas died is given up, for it may be what kills them. When no replica is left, calls
wait for one as long as one call may last, once, and then fail at once until one is back: the run goes on.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from importlib.util import find_spec
from typing import Any

from rrm_reward._cluster_config import ClusterConfig
from rrm_reward.cluster._actor import Actor
from rrm_reward.cluster._crew import Crew
from rrm_reward.cluster._engine import EngineSpec
from rrm_reward.cluster._life import said
from rrm_reward.cluster._placement import Places, find_places, join_ray, leave_ray
from rrm_reward.cluster._request import Request
from rrm_reward.cluster._routing import Member, prefix_of
from rrm_reward.config import JudgeConfig
from rrm_reward.errors import ConfigError
from rrm_reward.judge import BackendError, Completion, Message, Sampling

logger = logging.getLogger(__name__)

_COUNTS = ("moved", "aborted", "outages", "sleeps", "wakes", "launches", "losses")
_WRITERS = 10_000
PATIENCE = 3
"""Timeouts that one request may last in all, as for servers over HTTP."""


class JudgeGroup:
    """A `Backend`. Belongs to the event loop in which it is started.

    Args:
        config: replicas, their place and their engine.
        spec: of each engine; `bundles` is filled in by the place.
        timeout: seconds of one try; a request and its retries may take `PATIENCE` times that.
        retries: replicas that may die under one request.
        placement_groups: existing ones of Ray whose GPUs are shared, in place of names in the configuration.

    Attributes:
        counts: ``moved`` calls, ``aborted`` ones, ``outages`` of the whole judge, ``sleeps`` and ``wakes``.
    """

    def __init__(
        self,
        config: ClusterConfig,
        spec: EngineSpec,
        *,
        timeout: float = 600.0,
        retries: int = 3,
        placement_groups: Sequence[Any] = (),
    ) -> None:
        self._config = config
        self._spec = spec
        self._timeout = timeout
        self._retries = retries
        self._groups = placement_groups
        self._places = Places(())
        self._crew: Crew | None = None
        self._numbers = itertools.count()
        self._writers: dict[int, Member] = {}
        self._context_tokens = spec.context_tokens
        self._owns_ray = False
        self._starting = asyncio.Lock()
        self._begun = False
        self._closed = 0
        self.counts: Counter[str] = Counter()

    @classmethod
    def from_config(cls, config: JudgeConfig, *, placement_groups: Sequence[Any] = ()) -> JudgeGroup:
        """The group of a configuration; nothing is started."""
        return cls(
            config.cluster,
            EngineSpec.from_config(config),
            timeout=config.timeout,
            retries=config.retries,
            placement_groups=placement_groups,
        )

    @property
    def context_tokens(self) -> int | None:
        """The judge's context length; known after `start`."""
        return self._context_tokens

    @property
    def patience(self) -> float:
        """Seconds after which a request has an answer or has given up."""
        return PATIENCE * self._timeout

    @property
    def replicas(self) -> tuple[Member, ...]:
        """Every replica: its name, its calls, and whether it takes any."""
        return tuple(self._crew.roster.members) if self._crew else ()

    async def start(self) -> None:
        """See `Backend.start`: places every replica and waits for its first launch. One that works is enough."""
        async with self._starting:
            if self._crew:
                return
            try:
                await self._start()
            except BaseException:
                # also one who is cancelled leaves no replica and no GPU behind
                await self.aclose()
                raise

    async def _start(self) -> None:
        closed = self._closed
        await self._join()
        self._places = await find_places(self._config, self._groups)
        if self._closed != closed:
            raise BackendError("the judge was closed while it started")
        launches = [partial(Actor, place, self._config.engine, self._spec) for place in self._places.places]
        self._crew = crew = Crew(launches, self._config, patience=self.patience, counts=self.counts)
        self._check_first(await crew.launch())
        await crew.begin()
        if self._config.sleep and not crew.asleep:
            fix = "no replica sleeps when it is told to; set it to 0 and give the judge its own GPUs"
            raise ConfigError("judge.cluster.sleep", self._config.sleep, fix)
        self._begun = True

    async def _join(self) -> None:
        joining = asyncio.ensure_future(asyncio.to_thread(join_ray, self._config.address, self._spec.gpus))
        try:
            await asyncio.shield(joining)
        finally:
            # a thread goes on when its waiter is cancelled, and then this process is in Ray all the same
            await asyncio.wait([joining])
            self._owns_ray = joining.exception() is None and joining.result()

    def _check_first(self, first: Sequence[Any]) -> None:
        errors = [error for error in first if isinstance(error, BaseException)]
        for error in errors:
            if isinstance(error, ConfigError):
                raise error
        if len(errors) == len(first):
            fix = f"no replica starts; the first says: {said(errors[0])}"
            raise ConfigError("judge.cluster.replicas", len(first), fix) from errors[0]
        if errors:
            logger.error("%d of %d replicas do not start yet: %s", len(errors), len(first), said(errors[0]))
        told = [started.context_tokens for started in first if not isinstance(started, BaseException)]
        self._context_tokens = self._context_tokens or min(filter(None, told), default=None)

    async def aclose(self) -> None:
        """See `Backend.aclose`. Calls in flight fail."""
        self._begun = False
        self._closed += 1
        crew, self._crew = self._crew, None
        places, self._places = self._places, Places(())
        owns_ray, self._owns_ray = self._owns_ray, False
        try:
            if crew:
                await crew.aclose()
        finally:
            await asyncio.to_thread(leave_ray, places, owns_ray)

    async def complete(self, messages: Sequence[Message], n: int, sampling: Sampling) -> list[Completion]:
        """See `Backend.complete`. Votes that came before all retries were spent are returned, fewer than n."""
        completions: list[Completion] = []
        async with aclosing(self.stream(messages, n, sampling)) as votes:
            try:
                async for completion in votes:
                    completions.append(completion)
            except BackendError:
                if not completions:
                    raise
        return completions

    async def stream(
        self, messages: Sequence[Message], n: int, sampling: Sampling
    ) -> AsyncGenerator[Completion, None]:
        """n votes, each when it ends; leaving early (`contextlib.aclosing`) aborts the rest in the engine.

        Raises:
            BackendError: the rest will not come.
        """
        request, missing = self._request(prefix_of(messages)), n
        while missing:
            async with request.attempt(missing) as (keeper, seconds):
                name = f"{os.getpid()}-{id(self):x}-{next(self._numbers)}"
                async with aclosing(keeper.stream(name, messages, missing, sampling, seconds)) as votes:
                    async for completion in votes:
                        missing -= 1
                        if completion.sequence and request.member is not None:
                            self._remember(completion, request.member)
                        yield completion
                if missing:
                    raise TimeoutError("the replica broke off")

    async def prepare(self, endings: Sequence[str]) -> None:
        """See `ContinuingBackend.prepare`; asks every replica that is there, asleep or awake."""
        keepers = self._crew.keepers.values() if self._crew else ()
        for reason in await asyncio.gather(*(keeper.prepare(endings) for keeper in keepers)):
            if reason is not None:
                raise ConfigError("judge.force", "truncated", reason)

    async def next_token(self, completion: Completion, ending: str) -> Mapping[str, float]:
        """See `ContinuingBackend.next_token`; asked of the replica that wrote the completion, while it is there."""
        request = self._request("", self._writers.pop(hash(completion.sequence), None))
        while True:
            async with request.attempt(1) as (keeper, seconds):
                return await keeper.next_token(completion, ending, seconds)

    def _request(self, prefix: str, prefer: Member | None = None) -> Request:
        if self._crew is None or not self._begun:
            raise BackendError("the judge is closed, or is not started")
        return Request(
            self._crew,
            prefix,
            timeout=self._timeout,
            patience=self.patience,
            retries=self._retries,
            counts=self.counts,
            prefer=prefer,
        )

    def _remember(self, completion: Completion, writer: Member) -> None:
        """Whose cache holds this completion, until it is continued; the oldest are forgotten."""
        self._writers[hash(completion.sequence)] = writer
        while len(self._writers) > _WRITERS:
            del self._writers[next(iter(self._writers))]

    @asynccontextmanager
    async def awake(self) -> AsyncIterator[None]:
        """While anyone is inside, the judge is awake; with ``sleep: 0`` it always is.

        The first to enter wakes it, and the last to leave waits until it sleeps, whatever was raised inside. See
        `Crew.awake`.
        """
        if self._crew is None or not self._begun:
            yield
            return
        async with self._crew.awake():
            yield

    def snapshot(self) -> dict[str, float]:
        """Counters, always of the same names: of the group, and of the lives of its replicas."""
        keepers = self._crew.keepers.values() if self._crew else ()
        lives = sum((keeper.counts for keeper in keepers), Counter[str]())
        totals = {
            **dict.fromkeys(_COUNTS, 0),
            **self.counts,
            **lives,
            "replicas": len(keepers),
            "present": sum(keeper.member.present for keeper in keepers),
        }
        return {name: float(count) for name, count in totals.items()}


def judge_group(config: JudgeConfig) -> JudgeGroup:
    """What ``judge.backend=ray`` is; without Ray a `ConfigError`."""
    if find_spec("ray") is None:
        raise ConfigError("judge.backend", config.backend, "needs Ray: pip install ray, or use openai")
    return JudgeGroup.from_config(config)
