"""The actor: an engine, its votes one by one as they end, and its health.

Ray streams what `Replica.stream` yields to the caller at once. A caller that wants no more calls `Replica.abort`, which
cancels the votes in the engine; one whose replica dies has kept the votes that came and asks another for the rest.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast
from uuid import uuid4

from rrm_reward.cluster._devices import check_environment, detect_devices
from rrm_reward.cluster._engine import ContinuingEngine, EngineSpec, make_engine
from rrm_reward.cluster._guard import guard_descendants
from rrm_reward.errors import ConfigError
from rrm_reward.judge import Completion, Message, Sampling

_PROBE: list[Message] = [{"role": "user", "content": "Are you there?"}]


@dataclass(frozen=True, slots=True)
class Started:
    """What a replica says of itself once it is loaded.

    Attributes:
        context_tokens: of its engine.
        pid: of the actor's process.
        wrong: key, value and fix of a setting that cannot work here; then nothing is loaded.
        warnings: of `check_environment`, each with what to change.
    """

    context_tokens: int | None = None
    pid: int = 0
    wrong: tuple[str, object, str] | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Health:
    """How a replica is.

    Attributes:
        pending: votes being drawn.
        stalled: seconds since any of them made progress, 0 if there are none.
        failure: why the engine is dead; None while it lives.
    """

    pending: int
    stalled: float
    failure: str | None


class Replica:
    """The actor's class.

    Args:
        engine: name, see `make_engine`.
        spec: of the engine.
    """

    def __init__(self, engine: str, spec: EngineSpec) -> None:
        self._name = engine
        self._spec = spec
        self._running: dict[str, list[asyncio.Task[Completion]]] = {}
        self._pending = 0
        self._progressed = 0.0

    async def start(self) -> Started:
        """Load the engine and draw one token from it."""
        findings = check_environment(os.environ, detect_devices(), gpus=self._spec.gpus)
        try:
            for finding in findings:
                if finding.fatal:
                    raise ConfigError(finding.name, os.environ.get(finding.name), finding.fix)
            guard_descendants()
            self._engine = make_engine(self._name, self._spec)
            if self._spec.sleep:
                self._require_sleep()
            await self._engine.start()
        except ConfigError as error:
            return Started(wrong=(error.key, error.value, error.fix))
        prompt = await self._engine.prompt(_PROBE)
        await self._engine.vote(prompt, Sampling(temperature=0.0, max_tokens=1), "probe", self._progress)
        return Started(
            self._engine.context_tokens, os.getpid(), warnings=tuple(f"{f.name}: {f.fix}" for f in findings)
        )

    def _require_sleep(self) -> None:
        reason = self._engine.sleepless()
        if reason is not None:
            raise ConfigError(
                "judge.cluster.sleep",
                self._spec.sleep,
                f"{reason}; set it to 0 and give the judge its own GPUs",
            )

    async def stream(
        self, request: str, messages: Sequence[Message], n: int, sampling: Sampling
    ) -> AsyncIterator[Completion]:
        """n votes on one prompt, each when it ends.

        Raises:
            Declined: see `Engine.prompt`.
        """
        votes: list[asyncio.Task[Completion]] = []
        self._running[request] = votes
        if not self._pending:
            self._progress()
        self._pending += n
        try:
            prompt = await self._engine.prompt(messages)
            if request not in self._running:
                return
            for index in range(n):
                drawn = sampling if sampling.seed is None else replace(sampling, seed=sampling.seed + index)
                vote = self._engine.vote(prompt, drawn, f"{request}-{index}", self._progress)
                votes.append(asyncio.create_task(vote))
            for first, ended in enumerate(asyncio.as_completed(votes)):
                completion = await ended
                # the prompt is counted once a request
                yield replace(completion, prompt_tokens=0) if first else completion
        finally:
            self._pending -= n
            self._running.pop(request, None)
            for task in votes:
                task.cancel()

    async def abort(self, request: str) -> None:
        """Nobody waits for the rest of this request; one that is over already is no mistake."""
        for task in self._running.pop(request, ()):
            task.cancel()

    async def prepare(self, endings: list[str]) -> str | None:
        """See `ContinuingEngine.prepare`."""
        prepare = getattr(self._engine, "prepare", None)
        if prepare is None:
            return f"the engine {self._name} cannot do it; leave it at none"
        reason: str | None = await prepare(endings)
        return reason

    async def next_token(self, completion: Completion, ending: str) -> Mapping[str, float]:
        """See `ContinuingEngine.next_token`."""
        engine = cast(ContinuingEngine, self._engine)
        if not self._pending:
            self._progress()
        self._pending += 1
        try:
            return await engine.next_token(completion, ending, f"next-{uuid4().hex}")
        finally:
            self._pending -= 1
            self._progress()

    async def health(self) -> Health:
        """See `Health`. An answer that does not come is one, too."""
        stalled = time.monotonic() - self._progressed if self._pending else 0.0
        return Health(self._pending, stalled, await self._engine.failure())

    async def sleep(self, level: int) -> bool:
        """Abort everything and sleep. True if the engine says afterwards that it sleeps."""
        for request in list(self._running):
            await self.abort(request)
        await self._engine.sleep(level)
        return await self._engine.is_sleeping()

    async def wake(self) -> bool:
        """Wake. True if the engine says afterwards that it does not sleep."""
        await self._engine.wake()
        return not await self._engine.is_sleeping()

    async def aclose(self) -> None:
        """End the engine in good order."""
        await self._engine.aclose()

    def _progress(self) -> None:
        self._progressed = time.monotonic()
