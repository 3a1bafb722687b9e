"""What is gained by judging while rollouts still arrive.

    python -m benchmarks.streaming [--seeds 20] [--json benchmarks/data/streaming.json]

Groups of 16 whose members finish at different times (lognormal, as lengths are: sigma 0.5, mean 20 times that of a
comparison; comparisons: lognormal, sigma 1). Waited is from a group's last arrival to its rewards, on a virtual clock;
the same groups and times are judged twice, once as members come and once from the last arrival on. The judge is as wide
as it must be (``wide``), or has 256 slots for 128 groups (``slots``), where judging at the end also queues. The rewards
of both must be the same bit by bit, and no verdict may come too late or get lost. Exit code 1 if the ratio of the mean
waits is above `LIMIT`, or something is lost.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import statistics
from pathlib import Path

import numpy as np

from benchmarks import results
from benchmarks._judges import PatientJudge, Times
from benchmarks.makespan import SIZE, make_arena
from rrm_reward.arena import Arena
from rrm_reward.types import GroupResult
from tests.support import clock

LIMIT = 0.6
GENERATION, SPREAD = 20.0, 0.5
SETTINGS = {"wide": (32, 10**6), "slots": (128, 256)}


async def gather(arena: Arena, group: int, seed: int, *, streamed: bool) -> tuple[float, GroupResult]:
    """Judge one group; seconds from its last arrival, and what it came to."""
    draw = random.Random(f"{seed} {group}")
    times = [GENERATION * math.exp(draw.gauss(-(SPREAD**2) / 2, SPREAD)) for _ in range(SIZE)]
    texts = [f"0.{draw.randrange(10**9):09d} of {group}" for _ in range(SIZE)]
    opened = arena.open(f"g{group}", f"query {seed} {group}", SIZE)

    async def arrive(slot: int) -> None:
        await asyncio.sleep(times[slot] if streamed else max(times))
        opened.add(slot, texts[slot])

    arrivals = [asyncio.ensure_future(arrive(slot)) for slot in range(SIZE)]
    result = await opened.result()
    await asyncio.gather(*arrivals)
    return asyncio.get_running_loop().time() - max(times), result


async def play(
    schedule: str, setting: str, seed: int, *, streamed: bool
) -> tuple[list[float], list[GroupResult], Times]:
    groups, slots = SETTINGS[setting]
    times = Times()
    async with make_arena(PatientJudge(seed), times, seed=seed, schedule=schedule, slots=slots) as arena:
        ended = await asyncio.gather(*(gather(arena, g, seed, streamed=streamed) for g in range(groups)))
    return [wait for wait, _ in ended], [result for _, result in ended], times


def compare(schedule: str, setting: str, seeds: int) -> dict[str, object]:
    waits: dict[bool, list[float]] = {True: [], False: []}
    ratios, lost, different = [], 0, 0
    for seed in range(seeds):
        rewards = {}
        for streamed in (True, False):
            waited, ended, times = clock.run(play(schedule, setting, seed, streamed=streamed))
            waits[streamed].append(statistics.fmean(waited))
            rewards[streamed] = np.array([result.rewards for result in ended])
            lost += times.late + times.missing + int(np.isnan(rewards[streamed]).sum())
        different += not np.array_equal(rewards[True], rewards[False])
        ratios.append(waits[True][-1] / waits[False][-1])
    return {
        "tournament": schedule,
        "judge": setting,
        "runs": seeds,
        "waited": round(statistics.fmean(waits[True]), 2),
        "waited_at_the_end": round(statistics.fmean(waits[False]), 2),
        "ratio": round(statistics.fmean(waits[True]) / statistics.fmean(waits[False]), 3),
        "standard_error": round(statistics.stdev(ratios) / math.sqrt(seeds), 4) if seeds > 1 else 0.0,
        "verdicts_lost": lost,
        "runs_with_other_rewards": different,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Waiting after the last arrival, streamed and not.")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--json", type=Path, help="write the results there")
    arguments = parser.parse_args()
    # A bracket has an eighth of the comparisons of a round robin: more runs of it tell as much.
    rows = [
        compare(schedule, setting, arguments.seeds * runs)
        for schedule, runs in (("knockout", 4), ("round_robin", 1))
        for setting in SETTINGS
    ]
    results.show(rows)
    failed = [
        row
        for row in rows
        if float(str(row["ratio"])) > LIMIT or row["verdicts_lost"] or row["runs_with_other_rewards"]
    ]
    print(f"waits in mean times of a comparison; limit {LIMIT}: {'FAILED' if failed else 'kept'}")
    results.write(arguments.json, rows, limit=LIMIT)
    return int(bool(failed))


if __name__ == "__main__":
    raise SystemExit(main())
