"""CPU time of `rrm-reward serve` a sample, and the memory of samples that it holds.

    python -m benchmarks.service [--groups 256] [--size 16]

The service is a process of its own against the recording judge; its CPU time is user + system as the kernel accounts
it, start-up subtracted. `--groups` groups of `--size` responses of about 2 kB, with a knockout each, come sample by
sample in random order, every sample on a connection of its own. Then the same number of samples of groups that never
get complete is held, and the growth of the resident memory (connections included) is divided by them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.overhead import ROOT, WORDS, server

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of a running process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_bytes(pid: int) -> int:
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


def text(rng: random.Random, chars: int = 2000) -> str:
    words = f"quality={rng.random():.9f} "
    while len(words) < chars:
        words += rng.choice(WORDS) + " "
    return words


def request(name: str, slot: int, size: int, response: str) -> bytes:
    body = json.dumps({"group": name, "slot": slot, "size": size, "query": "q " + name, "response": response})
    raw = body.encode()
    head = f"POST /v1/samples HTTP/1.1\r\nHost: service\r\nContent-Length: {len(raw)}\r\nConnection: close\r\n\r\n"
    return head.encode() + raw


async def send(port: int, raw: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(raw)
    answer = await reader.read()
    writer.close()
    return answer


@contextmanager
def service(judge: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The process and its port."""
    command = [sys.executable, "-m", "rrm_reward.cli", "serve", "--port", "0", "--tournament", "knockout"]
    command += ["--judge", judge, "--model", "RRM-7B", "service.drain=0"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process, int(process.stdout.readline().rsplit(":", 1)[1])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(120)


async def hold(port: int, samples: list[bytes], pid: int) -> float:
    """Bytes of resident memory a sample that waits for its siblings."""
    before = resident_bytes(pid)
    waiting = [asyncio.create_task(send(port, raw)) for raw in samples]
    held = b""
    while f'"held": {2 * len(samples)}'.encode() not in held:
        await asyncio.sleep(0.2)
        held = await send(port, b"GET /health HTTP/1.1\r\nHost: service\r\nConnection: close\r\n\r\n")
    grown = resident_bytes(pid) - before
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    return grown / len(samples)


async def judge_all(port: int, samples: list[bytes]) -> None:
    answers = await asyncio.gather(*(send(port, raw) for raw in samples))
    if wrong := [answer for answer in answers if b" 200 OK" not in answer or b'"reward": null' in answer]:
        raise SystemExit(f"{len(wrong)} samples were not rewarded, for example {wrong[0]!r}")


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU a sample and memory of held samples of the service.")
    parser.add_argument("--groups", type=int, default=256)
    parser.add_argument("--size", type=int, default=16)
    arguments = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    rng, size = random.Random(0), arguments.size
    samples = [
        request(f"g{g}", slot, size, text(rng)) for g in range(arguments.groups) for slot in range(size)
    ]
    rng.shuffle(samples)
    with tempfile.TemporaryDirectory() as folder, server(Path(folder, "bodies"), 0.05) as (_, judge):
        with service(judge) as (process, port):
            warm = [request(f"warm{g}", slot, size, text(rng)) for g in range(4) for slot in range(size)]
            asyncio.run(judge_all(port, warm))
            began = cpu_seconds(process.pid)
            asyncio.run(judge_all(port, samples))
            spent = cpu_seconds(process.pid) - began
        with service(judge) as (process, port):
            alone = [request(f"alone{k}", 0, 2, text(rng)) for k in range(len(samples))]
            kept = asyncio.run(hold(port, alone, process.pid))
    matches = (size - 1) / size
    print(
        f"{len(samples)} samples of {sum(map(len, samples)) / len(samples):.0f} bytes, {matches:.2f} judge calls each"
    )
    print(f"CPU     {1000 * spent / len(samples):.2f} ms a sample, its judge calls included")
    print(f"memory  {kept / 1024:.1f} KiB a held sample, its connection and its text included")


if __name__ == "__main__":
    main()
