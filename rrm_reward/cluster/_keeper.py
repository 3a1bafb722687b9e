"""Keeps one replica alive: starts it, wakes it and puts it to sleep as it is told, and starts it again when it is lost.

    OUT -> LAUNCHING -> AWAKE -> SLEEPING -> ASLEEP -> WAKING -> AWAKE ...
     ^         |          |         |          |         |
     +-- LOST <+----------+---------+----------+---------+

One task goes through this, and nobody else touches the replica: others say what they want (`Keeper.want`) or that
something looks wrong (`Keeper.suspect`), and look at `Keeper.phase`. Rules:

- Nothing is launched while the judge is to sleep: a trainer has the memory then.
- What has begun is ended first. A launch under way when the judge is to sleep is waited for and put to sleep, or a
  model that loads longer than a batch is judged would never come back.
- A replica that fails, in whatever phase, is killed: the memory of one that does not sleep is promised elsewhere.
- Pauses between launches that fail grow.

Ray is behind `Life`; nothing here knows it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import TypeVar

from rrm_reward._cluster_config import ClusterConfig
from rrm_reward.cluster._life import SETTLED, Gone, Life, Lost, Phase, said
from rrm_reward.cluster._replica import Started
from rrm_reward.cluster._routing import Member
from rrm_reward.errors import ConfigError
from rrm_reward.judge import Completion, Message, Sampling

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

SLEEP_SECONDS = 300.0
"""A replica that needs longer to give its memory back is killed: it only copies its weights, or drops them."""

_POLL_SECONDS = 2.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 60.0
_CLOSE_SECONDS = 10.0


class Keeper:
    """One replica, through all its lives.

    Args:
        member: its entry in the roster; present while the replica takes calls.
        launch: begins a life.
        config: timeouts, and the level of sleep.
        changed: called whenever phase or presence changed.

    Attributes:
        first: how the first launch went: what the replica said, or why there is none.
        counts: ``launches`` and ``losses``; to be closed is no loss.
        phase: see `Phase`.
    """

    def __init__(
        self, member: Member, launch: Callable[[], Life], config: ClusterConfig, changed: Callable[[], None]
    ) -> None:
        self.member = member
        self.first: asyncio.Future[Started] = asyncio.get_running_loop().create_future()
        self.counts: Counter[str] = Counter()
        self.phase = Phase.OUT
        self._launch = launch
        self._config = config
        self._changed = changed
        self._wanted = True
        self._doubted = False
        self._news = asyncio.Event()
        self._life: Life | None = None
        self._task = asyncio.create_task(self._keep(), name=f"keeper of {member.name}")

    @property
    def settled(self) -> bool:
        """Whether nothing is under way that has to be waited for."""
        return self.phase in SETTLED[self._wanted]

    def want(self, awake: bool) -> None:
        """Be awake, or asleep; at first awake. `settled` tells when it came true, or will not for now."""
        if awake is not self._wanted:
            self._wanted = awake
            self._news.set()

    def suspect(self) -> None:
        """A call failed there: look after it now and not at the next turn."""
        self._news.set()

    async def stream(
        self, request: str, messages: Sequence[Message], n: int, sampling: Sampling, seconds: float
    ) -> AsyncGenerator[Completion, None]:
        """Votes of this replica; leaving early aborts the rest.

        Raises:
            Declined: no replica can answer this.
            Gone: the replica died. No other call tries it until its health is known.
            TimeoutError: not all came within `seconds`.
            Exception: of Ray, or of the engine.
        """
        life = self._life
        if life is None:
            raise Gone(f"{self.member.name} is {self.phase.value}")
        try:
            async with aclosing(life.stream(request, messages, n, sampling, seconds)) as votes:
                async for completion in votes:
                    yield completion
        except Gone:
            self._doubt(life)
            raise

    async def prepare(self, endings: Sequence[str]) -> str | None:
        """Why verdicts cannot be forced here with these endings; None if they can, or nobody is there to say.

        A replica that dies over it, or says nothing for as long as a replica may, is nobody.
        """
        life = self._life
        if life is None:
            return None
        try:
            return await _within(self._config.hang_timeout, life.prepare(endings), "prepare")
        except (Gone, Lost) as error:
            logger.warning("%s is not asked about forced verdicts: %s", self.member.name, said(error))
            self._doubt(life)
            return None

    async def next_token(self, completion: Completion, ending: str, seconds: float) -> Mapping[str, float]:
        """See `ContinuingEngine.next_token`.

        Raises:
            Gone, TimeoutError, Exception: as in `stream`.
        """
        life = self._life
        if life is None:
            raise Gone(f"{self.member.name} is {self.phase.value}")
        try:
            async with asyncio.timeout(seconds):
                return await life.next_token(completion, ending)
        except Gone:
            self._doubt(life)
            raise

    def _doubt(self, life: Life) -> None:
        """No other call tries it until its health is known."""
        if life is self._life:
            self._doubted = True
            self._news.set()
            self._enter(self.phase)

    async def aclose(self) -> None:
        """End the replica for good."""
        self._task.cancel()
        await asyncio.wait([self._task])
        self.first.cancel()
        self._enter(Phase.CLOSED)

    async def _keep(self) -> None:
        failures = 0
        clock = asyncio.get_running_loop().time
        while True:
            self._enter(Phase.OUT)
            while not self._wanted:
                await self._news.wait()
                self._news.clear()
            began = clock()
            try:
                await self._live()
            except Exception as error:
                fruitless = self.phase is Phase.LAUNCHING
                if not self.first.done():
                    self.first.set_exception(error)
                    if isinstance(error, ConfigError):
                        # no later launch would do better; the group says so, if it still waits
                        logger.error("judge replica %s cannot work: %s", self.member.name, error)
                        self._enter(Phase.CLOSED)
                        return
                self.counts["losses"] += 1
                logger.error(
                    "judge replica %s is lost while %s, and will be started again: %s",
                    *(self.member.name, self.phase.value, said(error)),
                )
            self._enter(Phase.LOST)
            failures = failures + 1 if fruitless else 0
            await asyncio.sleep(pause_after(failures, clock() - began if self._config.sleep else 0.0))

    async def _live(self) -> None:
        """One life. It ends with an exception that says why, and with the process."""
        self.counts["launches"] += 1
        self._enter(Phase.LAUNCHING)
        self._doubted = False
        life = self._launch()
        try:
            await self._start(life)
            self._life = life
            awake = True
            while True:
                while awake is not self._wanted:
                    awake = await self._switch(life, self._wanted)
                self._enter(Phase.AWAKE if awake else Phase.ASLEEP)
                await self._watch(life)
        except asyncio.CancelledError:
            if self._life is not None:
                await self._end(life)
            raise
        finally:
            self._life = None
            life.kill()

    async def _start(self, life: Life) -> None:
        started = await _within(self._config.start_timeout, life.start(), "load")
        if started.wrong is not None:
            raise ConfigError(*started.wrong)
        for warning in started.warnings:
            logger.warning("%s: %s", self.member.name, warning)
        if not self.first.done():
            self.first.set_result(started)

    async def _switch(self, life: Life, awake: bool) -> bool:
        """Wake or sleep, and see whether it came true. At level 2 waking reads weights: it may last as a launch may."""
        if awake:
            self._enter(Phase.WAKING)
            done = await _within(self._config.start_timeout, life.wake(), "wake")
        else:
            self._enter(Phase.SLEEPING)
            done = await _within(SLEEP_SECONDS, life.sleep(self._config.sleep), "sleep")
        if not done:
            raise Lost("its engine answers, and is_sleeping says that nothing happened")
        self._doubted = False
        return awake

    async def _watch(self, life: Life) -> None:
        """See how it is, at the next news or the next poll.

        Raises:
            Exception: the replica is of no use.
        """
        patience = self._config.hang_timeout
        with contextlib.suppress(TimeoutError):
            # not `wait_for`, which in Python 3.11 may swallow that this task is cancelled
            async with asyncio.timeout(_POLL_SECONDS):
                await self._news.wait()
        self._news.clear()
        health = await _within(patience, life.health(), "answer")
        if health.failure is not None:
            raise Lost(health.failure)
        if health.stalled > patience:
            raise Lost(f"its engine has drawn no token of {health.pending} votes for {health.stalled:.0f} s")
        if not self._news.is_set():
            # no call has failed since it was asked
            self._doubted = False

    async def _end(self, life: Life) -> None:
        try:
            await _within(_CLOSE_SECONDS, life.aclose(), "end")
        except Exception as error:
            logger.info("%s does not end by itself: %s", self.member.name, said(error))

    def _enter(self, phase: Phase) -> None:
        present = phase is Phase.AWAKE and not self._doubted
        if (phase, present) != (self.phase, self.member.present):
            self.phase, self.member.present = phase, present
            self._changed()


def pause_after(failures: int, took: float) -> float:
    """Seconds until the next launch.

    Args:
        failures: launches in turn that failed; pauses double with each, up to a minute.
        took: seconds of the last one, where somebody waits for launches to end before the judge sleeps. The pause is at
            least as many times that, so that launches that never end cost less and less of the run.
    """
    if not failures:
        return _FIRST_PAUSE
    doubled = min(_FIRST_PAUSE * 2.0 ** min(failures - 1, 10), _LONGEST_PAUSE)
    return max(doubled, failures * took)


async def _within(seconds: float, call: Awaitable[Answer], what: str) -> Answer:
    try:
        async with asyncio.timeout(seconds) as limit:
            return await call
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise Lost(f"it did not {what} within {seconds:g} s") from error
