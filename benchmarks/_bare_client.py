"""The least that a program on aiohttp can do: send the bodies of a file, read and parse the answers.

python benchmarks/_bare_client.py URL BODIES.jsonl CONCURRENCY
"""

import asyncio
import json
import sys

import aiohttp


async def send(url: str, bodies: list[bytes], concurrency: int) -> int:
    waiting = iter(bodies)
    characters = 0
    headers = {"Content-Type": "application/json"}
    connector = aiohttp.TCPConnector(limit=concurrency)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def work() -> None:
            nonlocal characters
            for body in waiting:
                async with session.post(url, data=body) as response:
                    answer = json.loads(await response.read())
                    characters += len(answer["choices"][0]["message"]["content"])

        await asyncio.gather(*(work() for _ in range(concurrency)))
    return characters


if __name__ == "__main__":
    with open(sys.argv[2], "rb") as file:
        lines = file.read().splitlines()
    print(asyncio.run(send(sys.argv[1] + "/chat/completions", lines, int(sys.argv[3]))))
