"""How long a batch takes, against what no order of the matches could beat.

    python -m benchmarks.makespan [--seeds 20] [--http 2] [--json benchmarks/data/makespan.json]

128 groups of 16 by knockout, 1,920 comparisons, against a judge with 256 slots whose answers take lognormal times
(sigma 1: the slowest of a thousand takes 13 times the mean). The bound is the larger of two: the work of all
comparisons over the slots, and the longest chain of comparisons that wait for each other's winners, both from the times
that the comparisons of that very run took. Nobody can keep it who does not know beforehand which answers will be slow:
a chain that turns out to be the longest may have had to queue at its beginning. So the mean over runs is what counts.

How much of the ratio is due to that, `floor` says: to whoever cannot tell the 1,024 first matches apart, the longest
chain begins at a random one of them, and they wait for the slots, the longest-chain-first order being the one in which
they wait least. So no such order is expected to end before that mean wait and the longest chain are over.

First on a virtual clock, which knows no CPU; then over HTTP, against a server process and with everything of ours that
costs time. Exit code 1 if the mean of either is above `LIMIT`.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks._judges import PatientJudge, Times
from rrm_reward.arena import Arena
from rrm_reward.judge import Comparer, Judge, OpenAIBackend
from rrm_reward.rating import make_rating
from rrm_reward.reward import make_reward
from rrm_reward.tournament import make_tournament
from rrm_reward.types import Group
from tests.support import clock

LIMIT = 1.15
GROUPS, SIZE, SLOTS = 128, 16, 256
ROOT = Path(__file__).parent.parent


def make_arena(
    judge: Comparer,
    times: Times,
    *,
    seed: int,
    schedule: str = "knockout",
    slots: int = SLOTS,
    ahead: int = 0,
) -> Arena:
    return Arena(
        judge,
        lambda n, seed: make_tournament(schedule, n, seed=seed),
        make_rating("placement" if schedule == "knockout" else "win_rate"),
        make_reward("natural", 5.0),
        seed=seed,
        concurrency=slots,
        ahead=ahead,
        recorder=times,
    )


def make_groups(seed: int) -> list[Group]:
    return [
        Group(
            f"g{g}",
            f"query {seed} {g}",
            [f"quality=0.{(7919 * (g * SIZE + k)) % 99991:05d}" for k in range(SIZE)],
        )
        for g in range(GROUPS)
    ]


async def play(judge: Comparer, seed: int) -> tuple[float, Times]:
    """Seconds that the batch took on the loop's clock, and those of its matches."""
    times = Times(asyncio.get_running_loop().time)
    async with make_arena(judge, times, seed=seed) as arena:
        began = asyncio.get_running_loop().time()
        async for _ in arena.judge_all(make_groups(seed)):
            pass
        return asyncio.get_running_loop().time() - began, times


@contextmanager
def server(latency: float) -> Iterator[str]:
    """The loopback judge in a process of its own; its URL."""
    command = [
        sys.executable,
        "-m",
        "tests.support.loopback_judge",
        "--latency",
        str(latency),
        "--latency-sigma",
        "1",
    ]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()


def row(clock_name: str, seed: int, seconds: float, times: Times, cpu: float) -> dict[str, object]:
    share, chain = times.work / SLOTS, times.longest_chain
    # The first to begin began at once.
    waited = statistics.fmean(times.begun_first) - min(times.begun_first)
    return {
        "clock": clock_name,
        "seed": seed,
        "seconds": round(seconds, 3),
        "work_over_slots": round(share, 3),
        "longest_chain": round(chain, 3),
        "ratio": round(seconds / max(share, chain), 4),
        "floor": round((waited + chain) / max(share, chain), 4),
        "late": times.late,
        "missing": times.missing,
        "cpu_s": round(cpu, 2),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Makespan against its lower bound.")
    parser.add_argument("--seeds", type=int, default=20, help="runs on a virtual clock")
    parser.add_argument("--http", type=int, default=2, help="runs over HTTP, against real servers")
    parser.add_argument("--latency", type=float, default=2.0, help="mean seconds of an answer over HTTP")
    parser.add_argument("--json", type=Path, help="write the results there")
    arguments = parser.parse_args()
    runs = []
    for seed in range(arguments.seeds):
        cpu = time.process_time()
        seconds, times = clock.run(play(PatientJudge(seed), seed))
        runs.append(row("virtual", seed, seconds, times, time.process_time() - cpu))
    for seed in range(arguments.http):
        with server(arguments.latency) as url:
            cpu = time.process_time()
            seconds, times = asyncio.run(play(Judge(OpenAIBackend([url], "RRM-7B")), seed))
            runs.append(row("http", seed, seconds, times, time.process_time() - cpu))
    rows: list[dict[str, Any]] = []
    for name in ("virtual", "http"):
        ratios = [float(str(run["ratio"])) for run in runs if run["clock"] == name]
        if ratios:
            lost = sum(
                int(str(run["late"])) + int(str(run["missing"])) for run in runs if run["clock"] == name
            )
            rows.append(
                {
                    "clock": name,
                    "runs": len(ratios),
                    "mean_ratio": round(statistics.fmean(ratios), 3),
                    "standard_error": round(statistics.stdev(ratios) / len(ratios) ** 0.5, 3)
                    if ratios[1:]
                    else 0.0,
                    "mean_floor": round(
                        statistics.fmean(float(str(run["floor"])) for run in runs if run["clock"] == name), 3
                    ),
                    "worst_ratio": round(max(ratios), 3),
                    "runs_within_limit": sum(ratio <= LIMIT for ratio in ratios),
                    "verdicts_lost": lost,
                }
            )
    results.show(rows)
    kept = all(row["mean_ratio"] <= LIMIT and not row["verdicts_lost"] for row in rows)
    print(
        f"{GROUPS} groups of {SIZE}, {SLOTS} slots; mean ratio at most {LIMIT}: {'kept' if kept else 'FAILED'}"
    )
    results.write(arguments.json, rows, limit=LIMIT, every_run=runs)
    return int(not kept)


if __name__ == "__main__":
    raise SystemExit(main())
