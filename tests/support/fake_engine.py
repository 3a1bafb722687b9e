# ruff: noqa: ASYNC110, ASYNC220, ASYNC251  (a process that hangs is what is wanted; files are polled)
"""An engine for replicas without vLLM: it answers at once, or as a file says.

The folder in ``engine_args.orders`` holds orders: a file ``<name>`` applies to every replica, ``<name>-<pid>`` to the
one of that process. So a test reaches into replicas that Ray may have started anywhere, at any time.

    hang     votes make no progress
    deaf     the replica's event loop stands still
    broken   the engine says that it is dead
    memory   it cannot load
    load_slowly  it does not end loading
    insomnia sleep answers, and does nothing
    stuck    every third vote makes no progress
    no_wake  it cannot wake: out of memory

What happens is noted in ``engine_args.orders/log``, a line each: ``load PID``, ``sees PID DEVICES``, ``vote PID
REQUEST``, ``end PID REQUEST``.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
import time
import zlib
from pathlib import Path

from rrm_reward.cluster import Declined, EngineSpec
from rrm_reward.errors import ConfigError
from rrm_reward.judge import Completion


def stretches(orders: Path) -> list[str]:
    """What the replicas went through by the log in `orders`, one after the other, each stretch of the same once."""
    words = [line.split()[0] for line in (orders / "log").read_text().splitlines()]
    return [word for word, _ in itertools.groupby(word for word in words if word not in ("end", "sees"))]


class FakeEngine:
    """See the module's text.

    ``engine_args``: orders, seconds (of a vote), sleeps, child (a process of its own), prefers (see `_better`; without
    it Assistant 1 always wins).
    """

    def __init__(self, spec: EngineSpec) -> None:
        self.spec = spec
        self._orders = Path(spec.arguments["orders"])
        self._seconds = float(spec.arguments.get("seconds", 0.0))
        self._asleep = False
        self._votes = 0
        self.context_tokens = 65536

    def _told(self, order: str) -> bool:
        return any((self._orders / name).exists() for name in (order, f"{order}-{os.getpid()}"))

    def _note(self, *words: object) -> None:
        with (self._orders / "log").open("a") as log:
            log.write(" ".join(map(str, words)) + "\n")

    async def start(self) -> None:
        self._note("load", os.getpid(), self.spec.bundles, self.spec.gpus)
        self._note("sees", os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES", "all"))
        if self.spec.model == "unknown":
            raise ConfigError("judge.model", self.spec.model, "there is no such model")
        if self.spec.arguments.get("child"):
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            self._note("child", child.pid)
        if self._told("memory"):
            raise MemoryError("out of memory: 61 GiB were asked for")
        while self._told("load_slowly"):
            await asyncio.sleep(0.05)

    async def prompt(self, messages):
        if "too long" in messages[-1]["content"]:
            raise Declined("a prompt of 5000 tokens exceeds 4000")
        return messages[-1]["content"]

    async def vote(self, prompt, sampling, request, progress):
        if self._asleep:
            raise RuntimeError("a vote was asked of a sleeping engine")
        self._note("vote", os.getpid(), request)
        try:
            if self._told("deaf"):
                time.sleep(600)
            while self._told("hang"):
                await asyncio.sleep(0.05)
            if self._told("broken"):
                raise RuntimeError("EngineDeadError")
            if request != "probe":
                self._votes += 1
            while self._told("stuck") and self._votes % 3 == 0:
                await asyncio.sleep(0.05)
            # the first vote of a request is quick, so that some are there when others are not
            if request != "probe":
                await asyncio.sleep(self._seconds * (0.1 if request.endswith("-0") else 1.0))
            progress()
            if self.spec.arguments.get("cut"):
                said = [*map(ord, prompt[:40]), 0]
                return Completion(
                    "It is too", "length", 7, 3, sequence=(*said,) if sampling.continuable else ()
                )
            if self.spec.arguments.get("prefers"):
                return Completion(rf"\boxed{{Assistant {_better(prompt)}}}", "stop", 7, 3)
            return Completion(rf"\boxed{{Assistant 1}} {prompt[:40]} by {os.getpid()}", "stop", 7, 3)
        finally:
            self._note("end", os.getpid(), request)

    async def prepare(self, endings):
        return "cut is not set" if not self.spec.arguments.get("cut") else None

    async def next_token(self, completion, ending, request):
        self._note("next", os.getpid(), repr(ending))
        if self._told("broken"):
            raise RuntimeError("EngineDeadError")
        return {"1": -0.1, "2": -3.0}

    async def failure(self):
        return "the engine process is dead" if self._told("broken") else None

    def sleepless(self):
        return None if self.spec.arguments.get("sleeps") else "there is no sleep on this platform"

    async def sleep(self, level):
        self._note("sleep", os.getpid(), level)
        self._asleep = not self._told("insomnia")

    async def wake(self):
        self._note("wake", os.getpid())
        if self._told("no_wake"):
            raise MemoryError("out of memory: the trainer has it")
        self._asleep = False

    async def is_sleeping(self):
        return self._asleep

    async def aclose(self):
        self._note("close", os.getpid())


def _better(prompt):
    """The response whose text has the greater checksum: some babble is always better than other."""
    first, _, second = prompt.partition("### Assistant 1")[2].partition("### Assistant 2")
    first, second = (
        zlib.crc32(text.partition("## Analysis")[0].strip().encode()) for text in (first, second)
    )
    return 1 if first >= second else 2
