"""CPU time of `rrm-reward rank` against a bare aiohttp client that asks the same server the same questions.

    python -m benchmarks.overhead [--repeats 5] [--json benchmarks/data/overhead.json]

16 groups of 16 responses of about 2 kB, all pairs: 1,920 calls, answered with about 1.5 kB each. Two baselines
(`_bare_client`): one reads the groups, builds the questions and parses the answers, without anything that makes a run
safe or a reward; the other only replays the bytes of our own requests. All are whole processes, start-up and imports
included; their CPU time is user + system as the kernel accounts it (wait4). Our modules are compiled beforehand, as pip
does when it installs them. The server is a process of its own and is not counted. The first pass records the bodies;
then the clients take turns with the same concurrency, and medians are compared. Exit code 1 if we need more than
`LIMIT` times the first baseline.
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

from benchmarks import results

LIMIT = 1.25
"""What the project promises."""

OURS, ASK, REPLAY = "rrm-reward rank", "aiohttp, asks and parses", "aiohttp, replays our bytes"

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


def write_frame(path: Path) -> None:
    """The prompt around the texts, for a program that does not know ours."""
    from rrm_reward.judge import _prompt

    parts = (
        _prompt.SYSTEM_PROMPT,
        _prompt._BEFORE_QUERY,
        _prompt._BEFORE_A,
        _prompt._BEFORE_B,
        _prompt._AFTER_B,
    )
    path.write_text(json.dumps(parts))


def measure(repeats: int, concurrency: int, latency: float) -> tuple[int, int, dict[str, list[float]]]:
    """Calls, their bytes, and the CPU seconds of every run of every client."""
    with tempfile.TemporaryDirectory() as folder:
        groups, bodies, frame = (
            Path(folder, name) for name in ("groups.jsonl", "bodies.jsonl", "frame.json")
        )
        pairs = write_groups(groups)
        write_frame(frame)
        with server(bodies, latency) as (process, url):
            bare = [sys.executable, "benchmarks/_bare_client.py"]
            rank = [str(Path(sys.executable).with_name("rrm-reward")), "rank", str(groups), "--judge", url]
            rank += ["--model", "RRM-7B", "--concurrency", str(concurrency)]
            commands = {
                OURS: rank,
                ASK: [*bare, "ask", url, str(concurrency), str(groups), str(frame)],
                REPLAY: [*bare, "replay", url, str(concurrency), str(bodies)],
            }
            cpu_seconds(rank)
            if (calls := recorded(process)) != pairs:
                raise SystemExit(f"{calls} calls were made, not {pairs}")
            times: dict[str, list[float]] = {name: [] for name in commands}
            for _ in range(repeats):
                for name, command in commands.items():
                    times[name].append(cpu_seconds(command))
            return pairs, bodies.stat().st_size, times


def main() -> int:
    parser = argparse.ArgumentParser(description="CPU time of `rrm-reward rank` against bare aiohttp.")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--concurrency", type=int, default=256)
    parser.add_argument("--latency", type=float, default=0.05, help="seconds an answer takes")
    parser.add_argument("--json", type=Path, help="write the results there")
    arguments = parser.parse_args()
    compileall.compile_dir(ROOT / "rrm_reward", quiet=2)
    pairs, size, times = measure(arguments.repeats, arguments.concurrency, arguments.latency)
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    ratio = medians[OURS] / medians[ASK]
    rows = [
        {
            "client": name,
            "cpu_s": round(median, 3),
            "ms_a_call": round(1000 * median / pairs, 3),
            "ours_to_it": round(medians[OURS] / median, 3),
            "runs": [round(seconds, 3) for seconds in times[name]],
        }
        for name, median in medians.items()
    ]
    results.show(rows)
    print(f"{pairs} calls, {size / pairs:.0f} bytes a body, ratio {ratio:.2f} (limit {LIMIT})")
    results.write(
        arguments.json,
        rows,
        calls=pairs,
        concurrency=arguments.concurrency,
        limit=LIMIT,
        ratio=round(ratio, 3),
    )
    return int(ratio > LIMIT)


if __name__ == "__main__":
    raise SystemExit(main())
