"""A reward model that verl serves: `tests.support.loopback_judge` in the place of vLLM.

verl finds it under ``reward.reward_model.rollout.name=loopback`` when this module is in ``VERL_USE_EXTERNAL_MODULES``.
As with vLLM's, requests to a replica that sleeps are never answered.
"""

from __future__ import annotations

import asyncio
import importlib
from typing import Any


class Server:
    """The Ray actor of one replica."""

    async def __init__(self, model: str) -> None:
        from tests.support.loopback_judge import LoopbackJudge

        self._judge = LoopbackJudge(model=model)
        await self._judge.start()

    async def address(self) -> str:
        return self._judge.url.removeprefix("http://").removesuffix("/v1")

    async def sleep(self) -> None:
        self._judge.latency = 3600.0

    async def wake_up(self) -> None:
        self._judge.latency = 0.0


def _replica() -> type[Any]:
    import ray

    base = importlib.import_module("verl.workers.rollout.replica").RolloutReplica

    class Replica(base):  # type: ignore[misc, valid-type]
        async def init_colocated(self, resource_pool: Any) -> None:
            server = ray.remote(Server).options(num_cpus=0).remote(self.model_config.path)
            self.servers, self._server_handle = [server], server
            self._server_address = await server.address.remote()

        async def launch_servers(self) -> None:
            raise NotImplementedError("only as a reward model")

        async def wake_up(self) -> None:
            await asyncio.gather(*(server.wake_up.remote() for server in self.servers))

        async def sleep(self) -> None:
            await asyncio.gather(*(server.sleep.remote() for server in self.servers))

    return Replica


importlib.import_module("verl.workers.rollout.replica").RolloutReplicaRegistry.register("loopback", _replica)
