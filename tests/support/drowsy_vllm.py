"""A real vLLM engine that sleeps where no vLLM can: on a CPU it keeps its memory, and refuses to work until it wakes.

``engine_args.orders`` names a folder; what happens is noted in its file ``log``, a line each, as
`tests.support.fake_engine` does. The other ``engine_args`` are vLLM's.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from rrm_reward.cluster import EngineSpec
from rrm_reward.cluster._vllm import VLLMEngine


class DrowsyVLLM(VLLMEngine):
    def __init__(self, spec: EngineSpec) -> None:
        arguments = dict(spec.arguments)
        self._log = Path(arguments.pop("orders")) / "log"
        self._asleep = False
        super().__init__(replace(spec, sleep=0, arguments=arguments))

    def _note(self, *words: object) -> None:
        with self._log.open("a") as log:
            log.write(" ".join(map(str, words)) + "\n")

    async def start(self):
        await super().start()
        self._note("load", os.getpid())

    async def vote(self, prompt, sampling, request, progress):
        if self._asleep:
            raise RuntimeError("a vote was asked of a sleeping engine")
        self._note("vote", os.getpid(), request)
        return await super().vote(prompt, sampling, request, progress)

    def sleepless(self):
        return None

    async def sleep(self, level):
        self._note("sleep", os.getpid(), level)
        self._asleep = True

    async def wake(self):
        self._note("wake", os.getpid())
        self._asleep = False

    async def is_sleeping(self):
        return self._asleep
