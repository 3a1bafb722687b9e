"""What wide rounds cost: adaptive with the same groups and calls, by the number of matches it chooses at a time.

    python -m benchmarks.width --json benchmarks/data/width.json

A biased judge whose bias is known; nothing is shared. `docs/ranking.md` shows the rows.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Final

import numpy as np
from scipy import stats

from benchmarks import results
from benchmarks._simulated import JUDGES, Group, correlation, kendall_tau
from rrm_reward.rating import make_rating
from rrm_reward.seeding import derive_seed
from rrm_reward.tournament import Circumstances, make_tournament
from rrm_reward.types import FloatArray, PositionBelief

DATA = Path(__file__).parent / "data" / "width.json"
BELIEF: Final = PositionBelief(2.4, 0.1)
"""What the position term comes to under this judge (docs/ranking.md)."""
CELLS: Final = ((8, 28, 120), (16, 64, 30))
"""Responses, budget, groups."""


_TITLE: Final = "## What wide rounds cost"


def widths(n: int, budget: int) -> tuple[int, ...]:
    """From half of what the default takes at least to everything after the ring at once."""
    return (max(1, n // 4), n // 2, n, 2 * n, budget - n)


def judge(n: int, budget: int, groups: int, width: int) -> FloatArray:
    """Tau and correlation of every group, shape (groups, 2)."""
    rate, rows = make_rating("bradley_terry"), []
    for k in range(groups):
        seed = derive_seed(0, "width", n, k)
        group = Group(JUDGES["biased"], n, seed)
        around = Circumstances(BELIEF)
        tournament = make_tournament(
            "adaptive", n, seed=seed, budget=budget, options={"width": width}, circumstances=around
        )
        for slot in range(n):
            tournament.add(slot)
        while not tournament.done:
            for match in tournament.ready():
                tournament.record(group.ask(match, both=False))
        outcomes = sorted(tournament.outcomes, key=lambda o: (o.round, o.i, o.j))
        value = rate(n, outcomes, BELIEF).value
        rows.append((kendall_tau(value, group.quality), correlation(value, group.quality)))
    return np.array(rows, dtype=np.float64)


def run_cell(n: int, budget: int, groups: int) -> list[dict[str, Any]]:
    """A row a width; `tau`, `correlation`: mean difference to width n/2, half of its 95 % interval."""
    usual, rows = judge(n, budget, groups, n // 2), []
    for width in widths(n, budget):
        less = judge(n, budget, groups, width) - usual
        half = stats.t.ppf(0.975, groups - 1) * less.std(axis=0, ddof=1) / np.sqrt(groups)
        row: dict[str, Any] = {"n": n, "budget": budget, "groups": groups, "width": width}
        row["rounds"] = 1 + -(-(budget - n) // width)
        row["tau"] = [round(float(x), 4) for x in (less[:, 0].mean(), half[0])]
        row["correlation"] = [round(float(x), 4) for x in (less[:, 1].mean(), half[1])]
        rows.append(row)
    return rows


def section(path: Path = DATA) -> str:
    """Of `docs/ranking.md`."""
    if not path.exists():
        return (
            f"{_TITLE}\n\nNot measured yet: `python -m benchmarks.width --json benchmarks/data/width.json`.\n"
        )
    record = json.loads(path.read_text())
    text = [
        f"{_TITLE}\n",
        "A biased judge; differences to rounds of n/2 with the same groups and calls, ± half of a 95 % interval",
        "(Student's t over groups).",
        f"`{record['command']}`, {record['date']}.\n",
        "| n | budget | groups | width | rounds | tau | correlation |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in record["rows"]:
        shown = [str(row[key]) for key in ("n", "budget", "groups", "width", "rounds")]
        shown += ["{:+.3f} ± {:.3f}".format(*row[key]) for key in ("tau", "correlation")]
        text.append(f"| {' | '.join(shown)} |")
    return "\n".join(text) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the rows there too")
    arguments = parser.parse_args()
    rows = [row for cell in CELLS for row in run_cell(*cell)]
    results.show(rows)
    results.write(arguments.json, rows)


if __name__ == "__main__":
    main()
