"""Memory of 8,192 rollouts in flight, in the process that holds them.

    python -m benchmarks.memory [--json benchmarks/data/memory.json]

512 groups of 16 responses of 8 kB are submitted to an assembler, sample by sample as trainers do, and judged over HTTP
with 1,024 requests in flight, by a server process that takes ten seconds an answer. The run is stopped when 1,024
comparisons are back: all rollouts still wait then, and all other matches that can be played are queued. What counts is
the peak of the resident memory of the whole process, interpreter and imports included (getrusage). Exit code 1 if it is
above `LIMIT` bytes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import results
from benchmarks.makespan import server

LIMIT = 10**9
GROUPS, SIZE, CHARS, SLOTS = 512, 16, 8000, 1024
ROOT = Path(__file__).parent.parent


async def hold(url: str, schedule: str) -> dict[str, object]:
    """Submit everything, wait; what it took."""
    from rrm_reward.assembler import Assembler
    from rrm_reward.build import build_arena
    from rrm_reward.config import load

    began, before = time.monotonic(), resident()
    overrides = [
        f"judge.urls=[{url}]",
        "judge.model=RRM-7B",
        f"tournament.name={schedule}",
        f"arena.concurrency={SLOTS}",
    ]
    rng = random.Random(0)
    async with build_arena(load(overrides=overrides)) as arena:
        assembler = Assembler(arena)
        waiting = []
        for g in range(GROUPS):
            for slot in range(SIZE):
                text = f"quality={rng.random():.9f} {rng.randbytes(CHARS // 2 - 10).hex()}"
                submit = assembler.submit(f"g{g}", slot, text, query=f"query {g}", size=SIZE)
                waiting.append(asyncio.ensure_future(submit))
        while arena.metrics.snapshot()["comparisons"] < SLOTS:  # noqa: ASYNC110 (there is no event for it)
            await asyncio.sleep(0.2)
        unanswered = sum(not task.done() for task in waiting)
        counts = arena.snapshot()
        assembler.close()
        await asyncio.gather(*waiting)
    return {
        "tournament": schedule,
        "rollouts_waiting": unanswered,
        "comparisons": int(counts["comparisons"]),
        "matches_queued": int(counts["queued"]),
        "missing": int(counts["missing"]),
        "imports_mb": round(before / 1e6),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6),
        "seconds": round(time.monotonic() - began, 1),
    }


def resident() -> int:
    """Bytes of resident memory now (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> int:
    parser = argparse.ArgumentParser(description="Memory of 8,192 rollouts in flight.")
    parser.add_argument("--json", type=Path, help="write the results there")
    parser.add_argument("--one", nargs=2, metavar=("URL", "SCHEDULE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(asyncio.run(hold(*arguments.one))))
        return 0
    rows = []
    for schedule in ("knockout", "round_robin"):
        with server(10.0) as url:
            # A process each: a peak is never given back.
            command = [sys.executable, "-m", "benchmarks.memory", "--one", url, schedule]
            told = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
        rows.append(json.loads(told.stdout))
    results.show(rows)
    peak = max(row["peak_mb"] for row in rows)
    print(f"{GROUPS * SIZE} rollouts of {CHARS} characters; peak {peak} MB (limit {LIMIT // 10**6})")
    results.write(arguments.json, rows, limit_mb=LIMIT // 10**6, peak_mb=peak)
    return int(peak * 10**6 > LIMIT)


if __name__ == "__main__":
    raise SystemExit(main())
