"""512 groups of 16, sample by sample in random order, every twentieth request cut: nothing lost, nothing paid twice."""

import asyncio
import json
import random
import resource
import signal
import subprocess
import sys
from collections import Counter

import pytest

from tests.support.running_judge import running_judge

GROUPS, SIZE, CUT = 512, 16, 0.05
SCHEDULE = ["--tournament", "knockout", "--rating", "elo", "position.learn=false"]
RULE = {"noise": 0.5, "bias": 0.1}
"""The judge's noise depends on how often a pair was asked: a verdict that is paid twice gives another reward."""


def groups():
    rng = random.Random(0)
    return [
        {
            "id": f"g{g}",
            "query": f"question {g}",
            "responses": [f"quality={rng.random():.6f} answer {rng.random()}" for _ in range(SIZE)],
        }
        for g in range(GROUPS)
    ]


def request_of(group, slot):
    body = {
        "group": group["id"],
        "slot": slot,
        "size": SIZE,
        "query": group["query"],
        "response": group["responses"][slot],
    }
    raw = json.dumps(body).encode()
    head = f"POST /v1/samples HTTP/1.1\r\nHost: service\r\nContent-Length: {len(raw)}\r\nConnection: close\r\n\r\n"
    return head.encode() + raw


async def post(port, raw, rng, tallies):
    """Send one sample until it is answered; returns the answer.

    A cut request is cut for good: its socket is reset, in the middle of the body or while the service holds the sample.
    """
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        tallies["requests"] += 1
        if rng.random() < CUT:
            tallies["cut"] += 1
            half = rng.random() < 0.3
            writer.write(raw[: rng.randrange(1, len(raw))] if half else raw)
            await writer.drain()
            await asyncio.sleep(rng.random() * 0.5)
            writer.transport.abort()
            continue
        writer.write(raw)
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.read()
        writer.close()
        tallies[head.split(b" ", 2)[1].decode()] += 1
        return json.loads(body)


async def send_all(port, offline):
    """Every sample once, all at the same time, in random order; answers by group and slot."""
    rng = random.Random(1)
    order = [(group, slot) for group in offline for slot in range(SIZE)]
    rng.shuffle(order)
    tallies = Counter()
    tasks = {}
    for k, (group, slot) in enumerate(order):
        work = post(port, request_of(group, slot), random.Random(k), tallies)
        tasks[group["id"], slot] = asyncio.create_task(work)
        if k % 64 == 63:
            await asyncio.sleep(0)
    await asyncio.gather(*tasks.values())
    return {key: task.result() for key, task in tasks.items()}, tallies


@pytest.mark.trainer
def test_a_batch_that_comes_sample_by_sample_over_bad_connections_gets_the_rewards_of_rank(tmp_path):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
    given = groups()
    source = tmp_path / "groups.jsonl"
    source.write_text("".join(json.dumps(group) + "\n" for group in given))
    program = [sys.executable, "-m", "rrm_reward.cli"]
    with running_judge(**RULE) as judge:
        common = ["--judge", judge.url, "--model", judge.model, *SCHEDULE]
        ranked = subprocess.run(
            [*program, "rank", str(source), *common], stdout=subprocess.PIPE, timeout=1500, check=True
        )
        paid_offline = judge.counts["votes"]
    with running_judge(**RULE) as judge:
        common = ["--judge", judge.url, "--model", judge.model, *SCHEDULE]
        served = subprocess.Popen([*program, "serve", "--port", "0", *common], stdout=subprocess.PIPE)
        try:
            port = int(served.stdout.readline().rsplit(b":", 1)[1])
            answers, tallies = asyncio.run(asyncio.wait_for(send_all(port, given), 1500))
            served.send_signal(signal.SIGTERM)
            assert served.wait(300) == 0
        finally:
            served.kill()
            served.stdout.close()
        assert judge.counts["votes"] == paid_offline
    print(dict(tallies), "judge calls", paid_offline)
    assert tallies["200"] == GROUPS * SIZE
    assert tallies["requests"] == tallies["200"] + tallies["cut"]
    assert tallies["cut"] > 0.8 * CUT * GROUPS * SIZE
    for row in map(json.loads, ranked.stdout.splitlines()):
        for answer_key, column in (("reward", "rewards"), ("rating", "ratings"), ("stderr", "stderr")):
            assert [answers[row["id"], slot][answer_key] for slot in range(SIZE)] == row[column]
