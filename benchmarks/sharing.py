"""What it is worth that settled groups leave their calls to others: batches judged with and without, at equal cost.

    python -m benchmarks.sharing        # fills in what is missing in benchmarks/data/sharing.jsonl

A batch is 48 groups judged side by side, as those of a training step are. A mixed batch has as many easy, ordinary and
hard groups (qualities spread over 3, 1 and 0.3, before a judge whose noise is 0.2); an equal one only ordinary ones.
Every design is held against the same groups with ``settled: 0`` and the same TOTAL number of calls, dealt out evenly.
`docs/ranking.md` shows the rows (`python -m benchmarks.ranking --report`).
"""

from __future__ import annotations

import argparse
import json
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from scipy import stats

from benchmarks._simulated import JUDGES, Group, correlation, kendall_tau
from rrm_reward.rating import PositionBias, make_rating
from rrm_reward.seeding import derive_seed
from rrm_reward.tournament import Circumstances, Purse, make_tournament
from rrm_reward.types import FloatArray

DATA = Path(__file__).parent / "data" / "sharing.jsonl"
GROUPS: Final = 48
SPREADS: Final = {"mixed": (0.3, 1.0, 3.0), "equal": (1.0,)}
BATCHES: Final = {8: 12, 16: 5}
CELLS: Final = (
    ("mixed", "biased", 8, 28),
    ("mixed", "biased", 16, 120),
    ("mixed", "unbiased", 8, 28),
    ("equal", "biased", 8, 28),
    ("mixed", "unbiased", 16, 120),
    ("mixed", "biased", 16, 64),
    ("mixed", "unbiased", 16, 64),
)
"""Kind of batch, judge, responses of a group, budget of a group."""

DESIGNS: Final = {"given to others": True, "saved": False}
"""Values of ``share``: what becomes of the calls that a settled group leaves."""


_TITLE: Final = "## What it is worth that settled groups leave their calls to others"


def settled_by_default(n: int, budget: int) -> float:
    """What ``settled: null`` comes to."""
    tournament = make_tournament(
        "adaptive", n, seed=0, budget=budget, circumstances=Circumstances(purse=Purse())
    )
    return float(vars(tournament)["_settled"])


def judge_batch(
    groups: Sequence[Group],
    seeds: Sequence[int],
    budgets: Sequence[int],
    position: PositionBias,
    **options: Any,
) -> FloatArray:
    """Tau, correlation, calls and whether it stopped early, of every group: shape (groups, 4)."""
    n, purse, belief, rate = len(groups[0].quality), Purse(), position.belief, make_rating("bradley_terry")
    around = Circumstances(belief, purse=purse)
    tournaments = [
        make_tournament("adaptive", n, seed=seed, budget=budget, options=options, circumstances=around)
        for seed, budget in zip(seeds, budgets, strict=True)
    ]
    for tournament in tournaments:
        for slot in range(n):
            tournament.add(slot)
    going = list(range(len(groups)))
    while going:
        for k in going:
            for match in tournaments[k].ready():
                tournaments[k].record(groups[k].ask(match, both=False))
        going = [k for k in going if not tournaments[k].done]
    rows = []
    for tournament, group, budget in zip(tournaments, groups, budgets, strict=True):
        outcomes = sorted(tournament.outcomes, key=lambda o: (o.round, o.i, o.j))
        value = rate(n, outcomes, belief).value
        position.update(n, outcomes)
        truth = group.quality
        tau, agreement = kendall_tau(value, truth), correlation(value, truth)
        rows.append((tau, agreement, len(outcomes), len(outcomes) < budget))
    return np.array(rows, dtype=np.float64)


def evenly(total: int, groups: int) -> list[int]:
    """Budgets that differ by one at most and sum to `total`."""
    return [total // groups + (k < total % groups) for k in range(groups)]


def run_cell(mix: str, judge: str, n: int, budget: int, batches: int) -> list[dict[str, Any]]:
    """One row a design; `tau` and `correlation`: mean difference to the even deal, and half of its 95 % interval."""
    spreads, rows = SPREADS[mix], []
    settled = settled_by_default(n, budget)
    for name, share in DESIGNS.items():
        learnt, learnt_evenly = PositionBias(), PositionBias()
        shared, even = [], []
        for batch in range(batches):
            seeds = [derive_seed(0, "batch", judge, n, batch, k) for k in range(GROUPS)]
            groups = [Group(JUDGES[judge], n, s, spreads[k % len(spreads)]) for k, s in enumerate(seeds)]
            shared.append(judge_batch(groups, seeds, [budget] * GROUPS, learnt, settled=settled, share=share))
            total = int(shared[-1][:, 2].sum())
            dealt = evenly(total, GROUPS)
            even.append(judge_batch(groups, seeds, dealt, learnt_evenly, settled=0.0, share=False))
            assert int(even[-1][:, 2].sum()) == total, "not at equal cost"
        found, plain = np.array(shared), np.array(even)
        gain = (found - plain)[..., :2].mean(axis=1)
        half = stats.t.ppf(0.975, batches - 1) * gain.std(axis=0, ddof=1) / np.sqrt(batches)
        row: dict[str, Any] = {"mix": mix, "judge": judge, "n": n, "budget": budget, "batches": batches}
        row |= {"design": name, "settled": settled}
        row |= {
            "calls": round(float(found[..., 2].mean()), 2),
            "stopped": round(float(found[..., 3].mean()), 3),
        }
        for column, key in enumerate(("tau", "correlation")):
            row[key] = [round(float(x), 4) for x in (gain[:, column].mean(), half[column])]
            row[f"{key}_even"] = round(float(plain[..., column].mean()), 4)
        row["by_spread"] = {
            str(spread): [
                round(float(found[:, k :: len(spreads), 2].mean()), 1),
                *(round(float((found - plain)[:, k :: len(spreads), c].mean()), 4) for c in (0, 1)),
            ]
            for k, spread in enumerate(spreads)
        }
        rows.append(row)
    return rows


def read(path: Path = DATA) -> list[dict[str, Any]]:
    """The rows that are there."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def section(rows: list[dict[str, Any]]) -> str:
    """Of `docs/ranking.md`."""
    if not rows:
        return f"{_TITLE}\n\nNot measured yet: `python -m benchmarks.sharing`.\n"
    introduction = (
        f"Batches of {GROUPS} groups judged side by side (`python -m benchmarks.sharing`). *mixed*: as many easy, "
        "ordinary and hard groups (qualities spread over 3, 1 and 0.3 under the same noise); *equal*: only ordinary "
        "ones. Differences are to `settled: 0` with the same total number of calls, dealt out evenly; ± is half of a "
        "95 % interval (Student's t over batches). Calls that settled groups leave are *given to others* (the "
        "default), or *saved* (`share: false` with `settled` set)."
    )
    text = [
        f"{_TITLE}\n",
        textwrap.fill(introduction, 118) + "\n",
        "| batch | judge | n | budget | settled | calls left are | calls a group | stopped early | tau | correlation |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda r: (r["n"], r["budget"], r["mix"], r["judge"], r["design"])):
        tau, agreement = (f"{row[key][0]:+.3f} ± {row[key][1]:.3f}" for key in ("tau", "correlation"))
        shown = (row["mix"], row["judge"], row["n"], row["budget"], f"{row['settled']:.3f}", row["design"])
        text.append(
            f"| {' | '.join(map(str, shown))} | {row['calls']:.1f} | {row['stopped']:.0%} | {tau} | {agreement} |"
        )
    given = [row for row in rows if DESIGNS[row["design"]]]
    said = []
    for key, word in (("correlation", "correlation of advantages"), ("tau", "tau")):
        up = sum(row[key][0] > row[key][1] for row in given)
        down = sum(row[key][0] < -row[key][1] for row in given)
        mean = float(np.mean([row[key][0] for row in given]))
        said.append(
            f"{word} better in {up} of {len(given)} rows, worse in {down}, undecided in the others, mean {mean:+.3f}"
        )
    text += ["", textwrap.fill(f"Given to others, by 95 % intervals: {'; '.join(said)}.", 118), ""]
    text += [
        "Where the calls go: calls a group (change of tau, of correlation), by the spread of the qualities.\n"
    ]
    for row in given:
        if len(row["by_spread"]) > 1:
            parts = [f"{s}: {c} ({t:+.3f}, {r:+.3f})" for s, (c, t, r) in row["by_spread"].items()]
            text.append(f"- {row['judge']}, n = {row['n']}, budget {row['budget']}: {'; '.join(parts)}")
    return "\n".join(text) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--batches", type=int, help="of every cell, instead of those of the page")
    arguments = parser.parse_args()
    done = {(row["mix"], row["judge"], row["n"], row["budget"]) for row in read(arguments.data)}
    began = time.monotonic()
    for cell in CELLS:
        if cell in done:
            continue
        rows = run_cell(*cell, arguments.batches or BATCHES[cell[2]])
        with arguments.data.open("a") as file:
            file.write("".join(json.dumps(row) + "\n" for row in rows))
        print(f"{time.monotonic() - began:6.0f} s  {' '.join(map(str, cell))}", flush=True)


if __name__ == "__main__":
    main()
