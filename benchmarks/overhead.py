"""CPU time of `rrm-reward rank` against a bare aiohttp client that sends the same bodies to the same server.

    python -m benchmarks.overhead [--repeats 5]

16 groups of 16 responses of about 2 kB, all pairs: 1,920 calls, answered with about 1.5 kB each. Both clients
are whole processes, start-up and imports included; their CPU time is user + system as the kernel accounts it
(wait4). Our modules are compiled beforehand, as pip does when it installs them. The server is a process of
its own and is not counted. The first pass records the bodies; then both clients take turns with the same
concurrency, and the medians are compared. Exit code 1 if the ratio is above `LIMIT`.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

LIMIT = 1.5
"""What the project promises."""

GROUPS, RESPONSES, RESPONSE_CHARS = 16, 16, 2000
ROOT = Path(__file__).parent.parent
TEXT = (
    "the sum of both sides gives therefore we find that x equals seven and hence $\\frac{a}{b}$ so by "
    "symmetry this “integral” converges \n\n**Step** 2: note that naïve bounds fail, because é ≤ π"
)
WORDS = TEXT.split(" ")


def write_groups(path: Path) -> int:
    """Groups of distinct responses; returns the number of pairs."""
    rng = random.Random(0)
    with path.open("w") as file:
        for g in range(GROUPS):
            responses = []
            for _ in range(RESPONSES):
                text = f"quality={rng.random():.9f} "
                while len(text) < RESPONSE_CHARS:
                    text += rng.choice(WORDS) + " "
                responses.append(text)
            query = " ".join(rng.choices(WORDS, k=60))
            file.write(json.dumps({"id": f"g{g}", "query": query, "responses": responses}) + "\n")
    return GROUPS * RESPONSES * (RESPONSES - 1) // 2


def cpu_seconds(command: Sequence[str]) -> float:
    """Run a process to its end; user and system time of it and of nobody else."""
    with tempfile.TemporaryFile() as messages:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=messages)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            messages.seek(0)
            raise SystemExit(f"{' '.join(command)}\n{messages.read().decode()}")
    return usage.ru_utime + usage.ru_stime


@contextmanager
def server(bodies: Path, latency: float) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The recording judge and its URL."""
    command = [sys.executable, "-m", "benchmarks._recording_judge", str(bodies), str(latency)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()


def recorded(process: subprocess.Popen[str]) -> int:
    """Let the server write what it got; number of bodies."""
    assert process.stdout is not None
    process.send_signal(signal.SIGUSR1)
    return int(process.stdout.readline())


def main() -> int:
    parser = argparse.ArgumentParser(description="CPU time of `rrm-reward rank` against bare aiohttp.")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--concurrency", type=int, default=256)
    parser.add_argument("--latency", type=float, default=0.05, help="seconds an answer takes")
    arguments = parser.parse_args()
    compileall.compile_dir(ROOT / "rrm_reward", quiet=2)
    with tempfile.TemporaryDirectory() as folder:
        groups, bodies = Path(folder, "groups.jsonl"), Path(folder, "bodies.jsonl")
        pairs = write_groups(groups)
        with server(bodies, arguments.latency) as (process, url):
            concurrency = str(arguments.concurrency)
            program = Path(sys.executable).with_name("rrm-reward")
            rank = [str(program), "rank", str(groups), "--judge", url]
            rank += ["--model", "RRM-7B", "--concurrency", concurrency]
            bare = [sys.executable, "benchmarks/_bare_client.py", url, str(bodies), concurrency]
            cpu_seconds(rank)
            if (calls := recorded(process)) != pairs:
                raise SystemExit(f"{calls} calls were made, not {pairs}")
            bare_times, rank_times = [], []
            for _ in range(arguments.repeats):
                bare_times.append(cpu_seconds(bare))
                rank_times.append(cpu_seconds(rank))
            ours, theirs = statistics.median(rank_times), statistics.median(bare_times)
            size = bodies.stat().st_size / pairs
    for name, median, times in (("bare aiohttp", theirs, bare_times), ("rrm-reward", ours, rank_times)):
        per_call = f"{1000 * median / pairs:.2f} ms a call"
        print(f"{name:13} {median:.2f} s CPU  {per_call}  ({', '.join(f'{t:.2f}' for t in times)})")
    print(f"{pairs} calls, {size:.0f} bytes a body, ratio {ours / theirs:.2f} (limit {LIMIT})")
    return int(ours / theirs > LIMIT)


if __name__ == "__main__":
    raise SystemExit(main())
