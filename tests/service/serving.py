"""A service in process: a judge that reads nothing but the texts, and a live server on 127.0.0.1."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from rrm_reward.arena import Arena
from rrm_reward.config import RRMConfig
from rrm_reward.judge import Judgment
from rrm_reward.rating import make_rating
from rrm_reward.reward import make_reward
from rrm_reward.service import Service, make_app
from rrm_reward.service._run import _listen, _Server
from rrm_reward.tournament import make_tournament
from rrm_reward.types import Query, Verdict, Vote
from tests.support.comparer import share_of
from tests.support.waiting import until


class AnyTextJudge:
    """Prefers one of two texts, always the same; counts how often each pair was asked.

    Judging waits while `gate` is cleared.
    """

    width = 1

    def __init__(self) -> None:
        self.asked: Counter[tuple[str, str]] = Counter()
        self.gate = asyncio.Event()
        self.gate.set()

    async def start(self) -> None:
        pass

    async def aclose(self) -> None:
        pass

    def snapshot(self) -> dict[str, float]:
        return {}

    def view(self, response: str) -> str:
        return response

    async def compare(self, query: Query, a: str, b: str, *, seed: int = 0) -> Judgment:
        self.asked[a, b] += 1
        await self.gate.wait()
        first = share_of(a) >= share_of(b)
        return Judgment(float(first), (Vote(True, Verdict(1 if first else 2), 10, 5),), 1)


def service(judge=None, **limits) -> Service:
    config = RRMConfig()
    for name, value in limits.items():
        setattr(config.service, name, value)
    arena = Arena(
        judge or AnyTextJudge(),
        lambda n, seed: make_tournament("round_robin", n, seed=seed),
        make_rating("elo"),
        make_reward(),
    )
    return Service(config, arena)


def client(served: Service) -> httpx.AsyncClient:
    """Speaks to the application without a network."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(make_app(served)), base_url="http://in-process")


@asynccontextmanager
async def live(served: Service) -> AsyncIterator[str]:
    """A real server for this service; gives its URL."""
    listening = _listen("127.0.0.1", 0)
    server = _Server(served)
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        await until(lambda: server.started)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        server.force_exit = True
        await asyncio.wait_for(task, 60)


def sample(slot: int, response: str | None = None, *, group: str = "g", size: int = 3, query="q") -> dict:
    text = f"response {slot}" if response is None else response
    return {"group": group, "slot": slot, "size": size, "query": query, "response": text}
