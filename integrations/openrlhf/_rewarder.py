"""The arena of one engine: groups in, shares out, and nothing that raises.

It belongs to the event loop of its engine actor and starts with the first group; a start that fails is tried again with
a later one. `check_judge` asks the judge before that, in a loop of its own, when a mistake can still be told as one.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import IO
from uuid import uuid4

from rrm_reward._once import Once
from rrm_reward.arena import Arena
from rrm_reward.build import build_arena, build_referee
from rrm_reward.config import LogConfig
from rrm_reward.errors import ConfigError
from rrm_reward.health import plain_name
from rrm_reward.integrations.openrlhf._backend import engine_backend
from rrm_reward.integrations.openrlhf._games import Game, LostGame, ReferenceGame, SiblingGame
from rrm_reward.integrations.openrlhf._settings import Settings
from rrm_reward.integrations.openrlhf._shares import Share
from rrm_reward.types import Query

logger = logging.getLogger(__name__)

_REPORT_SECONDS = 60.0
PAUSE_SECONDS = 10.0
"""From a start that failed to the next one. Groups in between do not wait; their comparisons are missing."""

_CHECKED = "openai"
"""The backend of a judge that was there when the engine started; others are loaded when the first group is judged."""


class Rewarder:
    """Opens groups, and keeps count of what became of them.

    Args:
        settings: of this engine.

    Attributes:
        counts: ``samples``, ``unknown`` (rewards that became the group's mean), ``failed`` (rollouts), ``alone``
            (groups of one), ``errors`` (our own), ``unstarted`` (starts of the judge that failed).
        wrong: why the judge that the run was to load cannot work: no reward will ever come, and the run should end.

    Raises:
        ConfigError: settings that cannot work, a log that cannot be written.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # the referee asks the same replicas, or the same model in process, which nobody has room for twice
        self._backend = engine_backend(settings.rrm.judge)
        self._arena = build_arena(settings.rrm, self._backend)
        self._started = Once(partial(self._start, self._arena), pause=PAUSE_SECONDS)
        # started as well, so that prompts fit the judge's context here too
        self._referee = build_referee(settings.rrm, self._backend)
        self._referee_started = Once(partial(self._start, self._referee), pause=PAUSE_SECONDS)
        self._log = _open_log(settings.openrlhf.log)
        self._reported = (time.monotonic(), 0.0)
        self.counts: Counter[str] = Counter()
        self.wrong: ConfigError | None = None
        self._ran = False

    async def open(self, query: Query, size: int, reference: str | None = None) -> Game:
        """A group of `size` rollouts that answer `query`.

        Args:
            query: what is asked.
            size: members, those that will fail included.
            reference: compare with this answer instead of with each other.
        """
        try:
            for started in [self._started] if reference is None else [self._started, self._referee_started]:
                if self.wrong is not None:
                    return LostGame()
                try:
                    await started()
                except Exception:
                    # `_start` tells of it; the group goes on without a judge
                    break
            if self.wrong is not None:
                return LostGame()
            if reference is not None:
                if self._settings.rrm.judge.response_view == "final":
                    # an answer without thoughts must not look like thoughts that were cut off
                    reference = f"</think>{reference}"
                return ReferenceGame(self._referee, query, reference, size)
            if size == 1:
                self.complain(
                    "alone",
                    "a group of one holds no comparison, and its reward is 0: set --rollout.n_samples_per_prompt "
                    "(--eval.n_samples_per_prompt, if this happens in evaluation) to at least 2",
                )
            return SiblingGame(self._arena.open(uuid4().hex, query, size))
        except Exception as error:
            self.complain("errors", "a group cannot be opened and gets no rewards", error)
            return LostGame()

    def awake(self) -> AbstractAsyncContextManager[None]:
        """While anyone of any engine is inside, a judge that sleeps between uses is awake; others always are."""
        awake: Callable[[], AbstractAsyncContextManager[None]] = getattr(self._backend, "awake", nullcontext)
        return awake()

    def settled(self, group: str, slot: int, query: str, text: str | None, share: Share) -> None:
        """A sample got its share: count it and write it down."""
        self.counts["samples"] += 1
        self.counts["unknown"] += not share.known
        if self._log is not None:
            row = {
                "time": time.time(),
                "group": group,
                "slot": slot,
                "size": share.size,
                "query": query,
                "response": text,
                "reward": share.reward,
                "score": share.score,
                **share.logs(),
                "health": self._arena.health.snapshot(),
            }
            try:
                self._log.write(json.dumps(row) + "\n")
            except OSError as error:
                # a full disk must not cost rewards
                logger.error("rrm_openrlhf.log ends here: %s", error)
                self._log = None
        self._report()

    def complain(self, what: str, message: str, error: BaseException | None = None) -> None:
        """Count, and log the 1st, 2nd, 4th, 8th ... of each kind."""
        self.counts[what] += 1
        if self.counts[what].bit_count() == 1:
            logger.error("%s (%d so far)", message, self.counts[what], exc_info=error)

    def health(self) -> dict[str, float]:
        """The judge's health for ``extra_logs``: ``rrm_health_...`` of `HEADLINES`, 0.0 while unknown."""
        return {f"rrm_{plain_name(name)}": value for name, value in self._arena.health.headlines().items()}

    def snapshot(self) -> dict[str, float]:
        """Counters of the arena and of this class, by name."""
        return {**self._arena.snapshot(), **{f"openrlhf_{name}": float(n) for name, n in self.counts.items()}}

    async def aclose(self) -> None:
        """Every open group gets what is known; the judge and the log are let go, whatever became of its start."""
        await self._started.aclose()
        await self._referee_started.aclose()
        await self._arena.aclose()
        await self._referee.aclose()
        if self._log is not None:
            self._log.close()

    async def _start(self, arena: Arena) -> None:
        try:
            await arena.start()
        except ConfigError as error:
            if self._settings.rrm.judge.backend != _CHECKED and not self._ran:
                self.wrong = error
            else:
                self._unstarted(error)
            raise
        except BaseException as error:
            self._unstarted(error)
            raise
        self._ran = True

    def _unstarted(self, error: BaseException) -> None:
        # comparisons are missing until it is there
        self.complain(
            "unstarted", "the judge cannot be started; the run goes on, and it is tried again", error
        )

    def _report(self) -> None:
        """A line of counters now and then; Ray shows what an actor prints."""
        now, (then, groups_then) = time.monotonic(), self._reported
        if now - then < _REPORT_SECONDS:
            return
        totals = self._arena.snapshot()
        self._reported = (now, totals["groups"])
        print(
            f"rrm-reward: {totals['groups'] - groups_then:.0f} groups in {now - then:.0f} s, "
            f"{totals['groups']:.0f} in all; {totals['calls']:.0f} calls, {totals['missing_share']:.1%} of comparisons "
            f"missing, first preferred {totals['first_share']:.1%}, {self.counts['unknown']} rewards unknown, "
            f"{self.counts['failed']} rollouts failed",
            flush=True,
        )


def check_judge(settings: Settings) -> None:
    """Ask the judge whether it is what the settings say; works with and without a running event loop.

    A judge in process (``judge.backend=transformers``) is not loaded twice to be checked, nor is one that the run
    starts itself (``judge.backend=ray``) there yet.

    Raises:
        ConfigError: with key, value and fix.
    """
    if settings.rrm.judge.backend != _CHECKED:
        return

    async def ask() -> None:
        async with build_arena(replace(settings.rrm, log=LogConfig())):
            pass

    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(ask())).result()


def _open_log(path: str | None) -> IO[str] | None:
    if path is None:
        return None
    try:
        return open(path, "a", buffering=1)
    except OSError as error:
        fix = f"cannot be written on this node ({error.strerror}); name a file in a folder that exists there"
        raise ConfigError("rrm_openrlhf.log", path, fix) from error
