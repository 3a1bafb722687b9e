"""Which schedule orders responses best with how many judge calls: a grid of simulated judges.

    python -m benchmarks.ranking                 # fills in what is missing in benchmarks/data/ranking.jsonl
    python -m benchmarks.ranking --report        # writes docs/ranking.md and its plots from it

A cell is a judge, a group size and a budget of calls; all designs of a cell judge the same groups. Rows are appended
cell by cell, so that a run can be ended and gone on with at any time.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._simulated import (
    DESIGNS,
    JUDGES,
    ROUND_ROBIN,
    Group,
    Player,
    correlation,
    kendall_tau,
    plays,
    top_one,
)
from rrm_reward.seeding import derive_seed

DATA = Path(__file__).parent / "data" / "ranking.jsonl"
SIZES = {32: 60, 16: 60, 8: 100, 4: 100}
"""Group sizes, and how many groups each cell has: the dearest first."""


def budgets(n: int) -> list[int]:
    """From half a match a response to both orders of all pairs."""
    pairs = n * (n - 1) // 2
    between = [4 * n] if 4 * n < pairs else []
    return sorted({b for b in (n // 2, n, 2 * n, *between, pairs, 2 * pairs) if b <= 2 * pairs})


def cells(sizes: Sequence[int]) -> Iterator[tuple[str, int, int]]:
    for n in sizes:
        for budget in budgets(n):
            for judge in JUDGES:
                yield judge, n, budget


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Mean and its standard error."""
    found = np.asarray(values, dtype=np.float64)
    return float(found.mean()), float(found.std(ddof=1) / np.sqrt(len(found)))


def run_cell(judge: str, n: int, budget: int, groups: int) -> list[dict[str, Any]]:
    """One row a design; `vs` is the paired difference of tau to the round robin with the same rating."""
    seeds = [derive_seed(0, judge, n, k) for k in range(groups)]
    taus: dict[str, np.ndarray[Any, Any]] = {}
    rows = []
    for design in DESIGNS:
        if not plays(design, n, budget):
            continue
        player = Player(design, n, budget)
        found = []
        for seed in seeds:
            group = Group(JUDGES[judge], n, seed)
            value, calls = player.play(group, seed)
            truth = group.quality
            found.append((kendall_tau(value, truth), correlation(value, truth), top_one(value, truth), calls))
        columns = np.array(found).T
        taus[design.name] = columns[0]
        row: dict[str, Any] = {
            "judge": judge,
            "n": n,
            "budget": budget,
            "design": design.name,
            "groups": groups,
        }
        for name, column in zip(("tau", "correlation", "top"), columns, strict=False):
            row[name] = [round(x, 4) for x in mean_and_error(column)]
        row["calls"] = round(float(columns[3].mean()), 2)
        row["vs"] = [round(x, 4) for x in mean_and_error(taus[design.name] - taus[ROUND_ROBIN.name])]
        rows.append(row)
    return rows


def read(path: Path = DATA) -> list[dict[str, Any]]:
    """The rows that are there; half a line at the end, of a run that was killed, is none."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--report", action="store_true", help="write docs/ranking.md from the rows")
    parser.add_argument("--sizes", type=int, nargs="+", choices=SIZES, default=list(SIZES), help="of groups")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no cell after this long")
    parser.add_argument("--groups", type=float, default=1.0, help="share of the groups of every cell")
    arguments = parser.parse_args()
    if arguments.report:
        from benchmarks._ranking_report import write

        write(read(arguments.data))
        return
    arguments.data.parent.mkdir(parents=True, exist_ok=True)
    done = {(row["judge"], row["n"], row["budget"]) for row in read(arguments.data)}
    if arguments.data.exists() and not arguments.data.read_bytes().endswith(b"\n"):
        with arguments.data.open("a") as file:  # a run was killed in the middle of a line
            file.write("\n")
    began = time.monotonic()
    for judge, n, budget in cells(arguments.sizes):
        if (judge, n, budget) in done or time.monotonic() - began > arguments.seconds:
            continue
        rows = run_cell(judge, n, budget, max(4, round(SIZES[n] * arguments.groups)))
        with arguments.data.open("a") as file:
            file.write("".join(json.dumps(row) + "\n" for row in rows))
        print(
            f"{time.monotonic() - began:6.0f} s  {judge} n={n} budget={budget}: {len(rows)} designs",
            flush=True,
        )


if __name__ == "__main__":
    main()
