"""What is gained by judging while rollouts still arrive.

    python -m benchmarks.streaming [--seeds 20] [--json benchmarks/data/streaming.json]

Groups of 16 whose members finish at different times, 20 mean times of a comparison on average; those times and the
comparisons' are lognormal with sigma 1. Waited is from a group's last arrival to its rewards, on a virtual clock; the
same groups and times are judged twice, once as members come and once from the last arrival on. The judge is as wide as
it must be (``wide``), or has 256 slots for 128 groups (``slots``), where judging at the end also queues. The rewards of
both must be the same bit by bit, and no verdict may come too late or get lost.

Knockout is played as it is by default, and with ``arena.ahead=1``, which plays the bracket on while the last member is
missing and costs calls: those made more than at the end are counted. A bracket that asks for nothing in vain cannot do
better than its rounds in a row after the last arrival, `floor` of what the whole bracket takes.

Exit code 1 if the ratio of the mean waits is above `LIMIT` in any row but those of the default knockout, whose floor is
so near that limit that the rows only show which side of it they are on, and of sigma 0.5, which show what is left when
the last rollouts come close together; or if something is lost.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import statistics
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import results
from benchmarks._judges import PatientJudge, Times
from benchmarks.makespan import SIZE, make_arena
from rrm_reward.arena import Arena
from rrm_reward.types import GroupResult
from tests.support import clock

LIMIT = 0.6
GENERATION = 20.0
SETTINGS = {"wide": (64, 10**6), "slots": (128, 256)}
CASES = (
    # A bracket has an eighth of the comparisons of a round robin: more runs of it tell as much.
    *(("knockout", 0, setting, 1.0, 6) for setting in SETTINGS),
    *(("knockout", 1, setting, 1.0, 2) for setting in SETTINGS),
    *(("round_robin", 0, setting, 1.0, 1) for setting in SETTINGS),
    *(("knockout", ahead, "wide", 0.5, 2) for ahead in (0, 1, 2)),
    ("round_robin", 0, "wide", 0.5, 1),
)
"""Schedule, members ahead of which it is played, judge, sigma of the rollouts' times, and runs a seed."""


async def gather(
    arena: Arena, group: int, seed: int, sigma: float, *, streamed: bool
) -> tuple[float, GroupResult]:
    """Judge one group; seconds from its last arrival, and what it came to."""
    draw = random.Random(f"{seed} {group}")
    times = [GENERATION * math.exp(draw.gauss(-(sigma**2) / 2, sigma)) for _ in range(SIZE)]
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
    schedule: str, ahead: int, setting: str, sigma: float, seed: int, *, streamed: bool
) -> tuple[list[float], list[GroupResult], Times]:
    groups, slots = SETTINGS[setting]
    times = Times()
    judge = PatientJudge(seed)
    async with make_arena(judge, times, seed=seed, schedule=schedule, slots=slots, ahead=ahead) as arena:
        ended = await asyncio.gather(
            *(gather(arena, g, seed, sigma, streamed=streamed) for g in range(groups))
        )
    return [wait for wait, _ in ended], [result for _, result in ended], times


def compare(schedule: str, ahead: int, setting: str, sigma: float, runs: int) -> dict[str, Any]:
    waits: dict[bool, list[float]] = {True: [], False: []}
    comparisons = {True: 0, False: 0}
    lost, different = 0, 0
    for seed in range(runs):
        rewards = {}
        for streamed in (True, False):
            waited, ended, times = clock.run(play(schedule, ahead, setting, sigma, seed, streamed=streamed))
            waits[streamed].append(statistics.fmean(waited))
            rewards[streamed] = np.array([result.rewards for result in ended])
            comparisons[streamed] += times.comparisons
            lost += times.late + times.missing + int(np.isnan(rewards[streamed]).sum())
        different += not np.array_equal(rewards[True], rewards[False])
    ratios = [streamed / batch for streamed, batch in zip(waits[True], waits[False], strict=True)]
    return {
        "tournament": schedule,
        "ahead": ahead,
        "judge": setting,
        "sigma": sigma,
        "groups": runs * SETTINGS[setting][0],
        "waited": round(statistics.fmean(waits[True]), 2),
        "waited_at_the_end": round(statistics.fmean(waits[False]), 2),
        "ratio": round(statistics.fmean(waits[True]) / statistics.fmean(waits[False]), 3),
        "standard_error": round(statistics.stdev(ratios) / math.sqrt(runs), 4) if runs > 1 else 0.0,
        "calls_more": f"{comparisons[True] / comparisons[False] - 1:.1%}",
        "verdicts_lost": lost,
        "other_rewards": different,
    }


def held(row: dict[str, Any]) -> bool:
    """Whether the row must keep the limit."""
    return bool(row["sigma"] == 1.0 and (row["tournament"] != "knockout" or row["ahead"]))


def bracket_seconds(brackets: int = 100_000) -> float:
    """The mean time of a whole bracket with such times of a comparison, if it waits for nothing."""
    draw = np.random.default_rng(0)
    ends = np.zeros((brackets, SIZE))
    while ends.shape[1] > 1:
        times = draw.lognormal(-0.5, 1.0, (brackets, ends.shape[1] // 2))
        ends = np.maximum(ends[:, 0::2], ends[:, 1::2]) + times
    return float(ends.mean())


def ratios(rows: list[dict[str, Any]], ahead: int) -> str:
    """Those of the knockout, sigma 1, for the page."""
    of = [row for row in rows if (row["tournament"], row["ahead"], row["sigma"]) == ("knockout", ahead, 1.0)]
    return " and ".join(f"{row['ratio']} ± {row['standard_error']}" for row in of)


def main() -> int:
    parser = argparse.ArgumentParser(description="Waiting after the last arrival, streamed and not.")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--json", type=Path, help="write the results there")
    arguments = parser.parse_args()
    rows = [compare(*case, runs * arguments.seeds) for *case, runs in CASES]
    results.show(rows)
    kept = not any(row["verdicts_lost"] or row["other_rewards"] for row in rows)
    kept = kept and all(row["ratio"] <= LIMIT for row in rows if held(row))
    print(f"waits in mean times of a comparison; limit {LIMIT}: {'kept' if kept else 'FAILED'}")
    whole = bracket_seconds()
    results.write(
        arguments.json,
        rows,
        limit=LIMIT,
        rounds=round(math.log2(SIZE)),
        whole=round(whole, 1),
        floor=round(math.log2(SIZE) / whole, 3),
        default=ratios(rows, 0),
        ahead=ratios(rows, 1),
    )
    return int(not kept)


if __name__ == "__main__":
    raise SystemExit(main())
