"""The hub: one Ray actor a job, in which all siblings meet. It holds the arena and the assembler.

Ray restarts it if it dies. What it knew is gone then, and nobody minds: every caller asks again (`_client`), which
brings all waiting samples back.

A call never waits longer than the caller's patience: a sample whose siblings are still being rolled out gets None and
is asked about again. So a caller can tell a hub that waits from one that hangs.

Replicas of a judge on Ray (``judge.backend=ray``) are actors of their own, which it starts.

The actor asks for no CPU and no GPU: it needs none, for it only speaks HTTP. A judge in process
(``judge.backend=transformers``) would run here, beside the trainer: for the miniature, not for a cluster.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from typing import IO, Any, TypeVar

from rrm_reward.arena import Arena
from rrm_reward.assembler import Assembler, SampleReward
from rrm_reward.build import build_arena, build_assembler, build_referee
from rrm_reward.config import RRMConfig
from rrm_reward.errors import ConfigError
from rrm_reward.health import HEADLINES, plain_name
from rrm_reward.integrations.verl._sample import Sample
from rrm_reward.judge import Backend, make_backend
from rrm_reward.types import Group

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

_KEEP_SECONDS = 300.0
"""How long an answer is kept for a caller whose first call was lost."""

_REPORT_SECONDS = 60.0


class Hub:
    """The actor's class; every method runs in its one event loop.

    Args:
        config: of arena and assembler.
        log: JSONL file of samples and rewards, or None.
    """

    def __init__(self, config: RRMConfig, log: str | None = None) -> None:
        self._config = config
        self._starting = asyncio.Lock()
        self._referee_starting = asyncio.Lock()
        self._arena: Arena | None = None
        self._referee: Arena | None = None
        self._assembler: Assembler | None = None
        self._backend: Backend | None = None
        self._late: asyncio.Task[None] | None = None
        self._checked = self._closed = False
        self._answers: dict[str, asyncio.Future[Any]] = {}
        self._seats: OrderedDict[str, dict[str, int]] = OrderedDict()
        self._log: IO[str] | None = None
        self._wrong_log: ConfigError | None = None
        try:
            if log:
                self._log = open(log, "a", buffering=1)  # noqa: SIM115
        except OSError as error:
            # told by `ready`: what Ray makes of an exception here has no key and no fix
            fix = f"cannot be written on the hub's node ({error.strerror}); name a file in a folder that exists there"
            self._wrong_log = ConfigError("rrm_verl.log", log, fix)
        self._reported = (time.monotonic(), 0.0)
        self.counts: Counter[str] = Counter()

    async def ready(self) -> tuple[str, object, str] | None:
        """Start; None, or the key, value and fix of what is wrong with the configuration."""
        try:
            if self._wrong_log is not None:
                raise self._wrong_log
            await self._started()
        except ConfigError as error:
            return error.key, error.value, error.fix
        return None

    async def submit(self, sample: Sample, patience: float | None) -> SampleReward | None:
        """The sample's reward, or None if it takes longer than `patience` seconds: then ask again.

        Without a limit it always comes.
        """
        return await self._answer(sample.token, lambda: self._submit(sample), patience)

    async def fail(self, group: str, slot: int, query: str, size: int) -> None:
        """This member of the group will never come."""
        self.counts["failed"] += 1
        assembler = await self._assembler_now()
        assembler.fail(group, slot, query=query, size=size)

    async def compare(
        self, token: str, query: str, response: str, reference: str, patience: float | None
    ) -> float | None:
        """The judge's probability that `response` beats `reference`, both orders asked.

        NaN if the judge did not say; None if it takes longer than `patience`.
        """
        return await self._answer(token, lambda: self._compare(token, query, response, reference), patience)

    @asynccontextmanager
    async def awake(self) -> AsyncIterator[None]:
        """While anyone is inside, a judge that sleeps between uses is awake; others always are."""
        await self._assembler_now()
        async with getattr(self._backend, "awake", nullcontext)():
            yield

    async def snapshot(self) -> dict[str, float]:
        """Counters of arena, assembler, hub and replicas, by name."""
        replicas = self._backend.snapshot() if hasattr(self._backend, "snapshot") else {}
        arena = self._arena.snapshot() if self._arena else {}
        assembler = self._assembler.counts if self._assembler else {}
        return {
            **arena,
            **{f"assembler_{name}": float(count) for name, count in assembler.items()},
            **{f"hub_{name}": float(count) for name, count in self.counts.items()},
            **{f"judge_{name}": float(count) for name, count in replicas.items()},
        }

    async def pid(self) -> int:
        """Of the actor's process, for whoever wants to look at it."""
        return os.getpid()

    async def aclose(self) -> None:
        """Everyone who waits gets what is known; then the judge and the log are let go."""
        self._closed = True
        if self._assembler is not None:
            self._assembler.close()
        if self._late is not None:
            self._late.cancel()
            await asyncio.wait([self._late])
        for arena in filter(None, (self._arena, self._referee)):
            await arena.aclose()
        if self._log is not None:
            self._log.close()

    async def _answer(
        self, token: str, work: Callable[[], Awaitable[Answer]], patience: float | None
    ) -> Answer | None:
        """The result of the one task of this token.

        Waiting again must not look like news to the assembler, whose clock stands for siblings that are still to
        come; so a repeated call joins the task, and does not submit again.
        """
        task: asyncio.Future[Answer] | None = self._answers.get(token)
        if task is None:
            task = self._answers[token] = asyncio.ensure_future(work())
            task.add_done_callback(lambda _: self._forget_later(token))
        await asyncio.wait({task}, timeout=patience)
        return task.result() if task.done() else None

    def _forget_later(self, token: str) -> None:
        asyncio.get_running_loop().call_later(_KEEP_SECONDS, self._answers.pop, token, None)

    async def _submit(self, sample: Sample) -> SampleReward:
        assembler = await self._assembler_now()
        slot = self._seat(sample) if sample.slot is None else sample.slot
        reward = await assembler.submit(sample.group, slot, sample.text, query=sample.query, size=sample.size)
        self.counts["samples"] += 1
        self.counts["unknown"] += not reward.known
        self._write(sample, slot, reward)
        self._report()
        return reward

    def _seat(self, sample: Sample) -> int:
        """A slot for a sample that has none: the next one of its group, always the same for the same token."""
        seats = self._seats.setdefault(sample.group, {})
        slot = seats.setdefault(sample.token, len(seats))
        while len(self._seats) > self._config.assembler.max_groups:
            self._seats.popitem(last=False)
        return slot

    async def _compare(self, token: str, query: str, response: str, reference: str) -> float:
        referee = await self._referee_now()
        if self._config.judge.response_view == "final":
            # a reference is an answer without thoughts, which must not look like thoughts that were cut off
            reference = f"</think>{reference}"
        result = await referee.judge(Group(token, query, [response, reference]))
        self.counts["validation_comparisons"] += result.comparisons
        if not result.outcomes:
            # the response is the reference, word for word
            return 0.5 if not (result.comparisons or result.missing) else math.nan
        outcome = result.outcomes[0]
        if outcome.p is None:
            return math.nan
        return outcome.p if outcome.i == 0 else 1.0 - outcome.p

    async def _referee_now(self) -> Arena:
        """Compares with references; started once, so that prompts fit the judge's context here as well."""
        await self._assembler_now()
        async with self._referee_starting:
            if self._referee is None:
                referee = build_referee(self._config, self._backend)
                if self._checked:
                    # a start that fails closes the backend, which is the rollouts' as well
                    try:
                        await referee.start()
                    except Exception as error:
                        logger.error("the judge cannot be checked for validation, which goes on: %s", error)
                self._referee = referee
            return self._referee

    async def _started(self) -> Assembler:
        async with self._starting:
            return self._assembler or await self._start()

    async def _start(self) -> Assembler:
        arena = self._build_arena()
        await arena.start()
        self._arena, self._assembler = arena, build_assembler(self._config, arena)
        self._checked = True
        return self._assembler

    async def _assembler_now(self) -> Assembler:
        """The assembler, come what may: a hub that restarts while the judge is away goes on without its checks."""
        async with self._starting:
            # one of those who wait tries it, for all
            if self._assembler is not None:
                return self._assembler
            try:
                return await self._start()
            except Exception as error:
                logger.error("the restarted hub cannot check its judge, and goes on: %s", error)
            # made anew, for a start that failed has closed the last one
            self._arena = self._build_arena()
            if self._config.judge.backend == "ray" and not self._closed:
                # a server comes back by itself; replicas have to be started
                self._late = asyncio.create_task(self._start_late(self._arena))
            self._assembler = build_assembler(self._config, self._arena)
            return self._assembler

    async def _start_late(self, arena: Arena) -> None:
        while True:
            await asyncio.sleep(self._config.judge.cluster.hang_timeout)
            try:
                await arena.start()
                self._checked = True
                return
            except Exception as error:
                logger.error("the judge still cannot be started: %s", error)

    def _build_arena(self) -> Arena:
        """The arena; its backend is the referee's, too, for nobody has GPUs for two of them."""
        judge = self._config.judge
        self._backend = make_backend(judge) if judge.kind == "rrm" else None
        return build_arena(self._config, self._backend)

    def _write(self, sample: Sample, slot: int, reward: SampleReward) -> None:
        if self._log is None:
            return
        row = {
            "time": time.time(),
            "step": sample.step,
            "group": sample.group,
            "slot": slot,
            "size": sample.size,
            "query": sample.query,
            "response": sample.text,
            "reward": reward.reward if reward.known else None,
            "rating": None if math.isnan(reward.rating) else reward.rating,
            "group_size": reward.group_size,
            "comparisons": reward.comparisons,
            "missing": reward.missing,
            "health": {name: value for name, value in reward.health.items() if value == value},
        }
        try:
            self._log.write(json.dumps(row) + "\n")
        except OSError as error:
            # a full disk must not cost rewards
            logger.error("rrm_verl.log ends here: %s", error)
            self._log = None

    def _report(self) -> None:
        """A line of counters now and then; what a Ray actor prints, verl's console shows."""
        now, (then, groups_then) = time.monotonic(), self._reported
        if now - then < _REPORT_SECONDS or self._arena is None:
            return
        totals = self._arena.snapshot()
        self._reported = (now, totals["groups"])
        health = " ".join(
            f"{name} {totals[name]:.3g}" for name in map(plain_name, HEADLINES) if name in totals
        )
        print(
            f"rrm-reward: {totals['groups'] - groups_then:.0f} groups in {now - then:.0f} s, "
            f"{totals['groups']:.0f} in all; {totals['calls']:.0f} calls, {totals['missing_share']:.1%} of comparisons "
            f"missing, first preferred {totals['first_share']:.1%}, {self.counts['unknown']} rewards unknown; {health}",
            flush=True,
        )
