"""CPU of the HTTP client alone, against aiohttp's: the same request bodies, replies thrown away.

    python -m benchmarks.transport [--json benchmarks/data/transport.json]

8,000 requests of 6.5 kB, 256 at a time, answered with 1.6 kB by the loopback judge in a process of its own. CPU time of
this process (user + system), without imports and without the first 500 requests; the two take turns, and medians count.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp

from benchmarks import results
from benchmarks.makespan import server
from rrm_reward.judge._client import Client
from rrm_reward.judge._endpoint import Endpoint
from rrm_reward.judge._prompt import build_messages

REQUESTS, WARM, AT_ONCE = 8000, 500, 256


def body() -> bytes:
    messages = build_messages("q" * 400, "quality=0.1 " + "a" * 2000, "quality=0.9 " + "b" * 2000)
    return json.dumps({"model": "RRM-7B", "messages": messages, "max_tokens": 8192}).encode()


async def cpu_of(ask: Callable[[], Awaitable[bytes]]) -> float:
    """Milliseconds a request."""

    async def many(count: int) -> None:
        left = iter(range(count))

        async def work() -> None:
            for _ in left:
                assert b"choices" in await ask()

        await asyncio.gather(*(work() for _ in range(AT_ONCE)))

    await many(WARM)
    began = time.process_time()
    await many(REQUESTS)
    return 1000 * (time.process_time() - began) / REQUESTS


async def measure(url: str, payload: bytes) -> dict[str, float]:
    endpoint = Endpoint.parse(url)
    head = endpoint.head("POST", "/chat/completions") + b"Content-Type: application/json\r\nContent-Length: "
    client = Client()

    async def ours() -> bytes:
        reply = await client.exchange(endpoint, b"%b%d\r\n\r\n%b" % (head, len(payload), payload), 60.0)
        return reply.body

    connector = aiohttp.TCPConnector(limit=0)
    headers = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def theirs() -> bytes:
            async with session.post(f"{url}/chat/completions", data=payload) as response:
                return await response.read()

        found = {"rrm-reward": await cpu_of(ours), "aiohttp": await cpu_of(theirs)}
    await client.aclose()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="CPU of the HTTP client alone.")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the results there")
    arguments = parser.parse_args()
    with server(0.02) as url:
        runs = [asyncio.run(measure(url, body())) for _ in range(arguments.repeats)]
    rows = [
        {
            "client": name,
            "ms_a_request": round(statistics.median(run[name] for run in runs), 3),
            "runs": [round(run[name], 3) for run in runs],
        }
        for name in runs[0]
    ]
    results.show(rows)
    results.write(arguments.json, rows, requests=REQUESTS, at_once=AT_ONCE)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
