"""The least that a program on aiohttp can do for the same answers.

    python benchmarks/_bare_client.py ask URL CONCURRENCY GROUPS.jsonl FRAME.json
    python benchmarks/_bare_client.py replay URL CONCURRENCY BODIES.jsonl

``ask`` reads the groups, puts every pair of responses into the prompt, sends it and reads the verdict out of the
answer: no retries, no limits, no ratings, no output. ``replay`` sends bodies that another program made.
"""

import asyncio
import itertools
import json
import re
import sys
from collections.abc import Iterator

import aiohttp

BOXED = re.compile(r"\\boxed\{Assistant (1|2)\}")


def questions(groups: str, frame: str) -> Iterator[bytes]:
    """One body a pair, made when it is wanted."""
    with open(frame) as file:
        system, before_query, before_a, before_b, after_b = json.load(file)
    with open(groups) as file:
        for line in file:
            group = json.loads(line)
            for a, b in itertools.combinations(group["responses"], 2):
                text = before_query + group["query"] + before_a + a + before_b + b + after_b
                messages = [{"role": "system", "content": system}, {"role": "user", "content": text}]
                body = {"model": "RRM-7B", "messages": messages, "temperature": 0.6, "top_p": 1.0}
                yield json.dumps(body | {"max_tokens": 8192}).encode()


def recorded(bodies: str) -> Iterator[bytes]:
    with open(bodies, "rb") as file:
        yield from file.read().splitlines()


async def send(url: str, bodies: Iterator[bytes], concurrency: int) -> list[int]:
    """How often Assistant 1 and 2 were preferred."""
    wins = [0, 0]
    headers = {"Content-Type": "application/json"}
    connector = aiohttp.TCPConnector(limit=concurrency)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def work() -> None:
            for body in bodies:
                async with session.post(url, data=body) as response:
                    answer = json.loads(await response.read())
                    verdict = BOXED.findall(answer["choices"][0]["message"]["content"])[-1]
                    wins[int(verdict) - 1] += 1

        await asyncio.gather(*(work() for _ in range(concurrency)))
    return wins


if __name__ == "__main__":
    make = questions if sys.argv[1] == "ask" else recorded
    print(*asyncio.run(send(sys.argv[2] + "/chat/completions", make(*sys.argv[4:]), int(sys.argv[3]))))
