"""``docs/ranking.md`` and its plots, from the rows of `benchmarks.ranking` and `benchmarks.adaptive_rank`."""

from __future__ import annotations

import json
import textwrap
from collections import defaultdict
from pathlib import Path

import numpy as np

from benchmarks import sharing, width
from benchmarks._ranking_plots import Row, half_width, plot
from benchmarks._simulated import ADAPTIVE, JUDGES, Design

DOCS = Path(__file__).parents[1] / "docs"
THROUGH_RANK = Path(__file__).parent / "data" / "adaptive_rank.json"

_HEAD = """# Which schedule, at which budget

Everything here is written by `python -m benchmarks.ranking --report` (`make bench-ranking`) from `benchmarks/data/`.
Judges are formulas: Assistant 1 wins if q1 - q2 + bias + effect of the pair + N(0, noise) >= 0, qualities uniform on
[0, 1]. What a real RRM errs like is somewhere among them.

| judge | bias | noise | effect of the pair | missing |
|---|---|---|---|---|
"""

_MEASURES = """
*tau*: Kendall's, ties count 0. *correlation*: of advantages with the true qualities. *top-1*: how often the best
response is rated best. *learnt*: the position term is learnt over the groups of the cell, from nothing. ± is half of a
95 % interval over groups (Student's t). `elo` without *online* is `bradley_terry` on another scale. All designs of a
cell judge the same groups and hear the same verdict on the same ordered pair, so that differences are paired.
"""


def write(rows: list[Row], docs: Path = DOCS) -> None:
    """Write the page and the plots.

    Raises:
        SystemExit: there are no rows yet.
    """
    if not rows:
        raise SystemExit("no rows yet: run python -m benchmarks.ranking first")
    parts = [_HEAD + "\n".join(_judge(name) for name in JUDGES) + "\n" + _MEASURES]
    parts += [
        _still_missing(rows),
        _recommendation(rows),
        _against_round_robin(rows),
        sharing.section(sharing.read()),
    ]
    parts += [width.section()]
    parts += [_through_rank(), plot(rows, docs)]
    parts += [_table(rows, n) for n in sorted({row["n"] for row in rows})]
    (docs / "ranking.md").write_text("\n".join(filter(None, parts)))


def _still_missing(rows: list[Row]) -> str:
    """Which cells of the grid have not been played, if any: the page must not look complete before it is."""
    from benchmarks.ranking import SIZES, cells

    every, have = list(cells(list(SIZES))), {(row["judge"], row["n"], row["budget"]) for row in rows}
    lack = [cell for cell in every if cell not in have]
    if not lack:
        return ""
    sizes = sorted({(n, budget) for _, n, budget in lack})
    named = ", ".join(f"n = {n} with budget {budget}" for n, budget in sizes)
    return (
        textwrap.fill(
            f"{len(lack)} of the {len(every)} cells have not been played yet (some judges of {named}); "
            f"`make bench-ranking` plays them.",
            118,
        )
        + "\n"
    )


def _judge(name: str) -> str:
    judge = JUDGES[name]
    effect = []
    if judge.intransitive:
        effect.append(f"N(0, {judge.intransitive}), the same whenever it is asked")
    if judge.length:
        effect.append(f"N(0, {judge.length}) for each response: its length")
    return f"| {name} | {judge.bias} | {judge.noise} | {', '.join(effect) or '-'} | {judge.missing:.0%} |"


def _means(rows: list[Row]) -> dict[tuple[int, int, str], Row]:
    """Over the judges, by (n, budget, design): tau, half its interval, correlation, top-1, calls, judges."""
    cells: dict[tuple[int, int, str], list[Row]] = defaultdict(list)
    for row in rows:
        cells[row["n"], row["budget"], row["design"]].append(row)
    return {
        key: {
            "tau": float(np.mean([r["tau"][0] for r in found])),
            "half": float(np.sqrt(sum(half_width(r, "tau") ** 2 for r in found)) / len(found)),
            "correlation": float(np.mean([r["correlation"][0] for r in found])),
            "top": float(np.mean([r["top"][0] for r in found])),
            "calls": float(np.mean([r["calls"] for r in found])),
            "judges": len(found),
        }
        for key, found in cells.items()
    }


def _recommendation(rows: list[Row]) -> str:
    means = _means(rows)
    text = [
        "## What we recommend\n",
        "Best and second by mean tau over the judges, of what plays within the budget (calls a group):\n",
        "| n | budget | best | tau | second | tau | round robin, win rate |",
        "|---|---|---|---|---|---|---|",
    ]
    for n, budget in sorted({(row["n"], row["budget"]) for row in rows}):
        found = sorted(
            ((m["tau"], m["half"], d) for (k, b, d), m in means.items() if (k, b) == (n, budget)),
            reverse=True,
        )
        (tau, half, best), (tau2, half2, second) = found[:2]
        plain = means[n, budget, Design("round_robin", "win_rate").name]["tau"]
        text.append(
            f"| {n} | {budget} | {best} | {tau:.3f} ± {half:.3f} | {second} | {tau2:.3f} ± {half2:.3f} | {plain:.3f} |"
        )
    advice = (Path(__file__).parent / "_ranking_advice.md").read_text()
    return "\n".join(text) + "\n\n" + advice.replace("{best_of_n}", _best_of_n(means))


def _best_of_n(means: dict[tuple[int, int, str], Row]) -> str:
    """Who finds the best response most often at n and at 2n calls."""
    text = [
        "  | n | budget | finds the best most often | top-1 | calls | second | top-1 |",
        "  |---|---|---|---|---|---|---|",
    ]
    for n in sorted({n for n, *_ in means}):
        for budget in (n, 2 * n):
            here = [(m, d) for (k, b, d), m in means.items() if (k, b) == (n, budget)]
            if len(here) > 1:
                (best, name), (next_best, second) = sorted(here, key=lambda item: -item[0]["top"])[:2]
                text.append(
                    f"  | {n} | {budget} | {name} | {best['top']:.2f} | {best['calls']:.1f} | {second} | "
                    f"{next_best['top']:.2f} |"
                )
    return "\n".join(text)


def _asked_the_same(row: Row) -> bool:
    """Up to a ring nothing can be chosen, and with both orders of all pairs nothing is left out."""
    return bool(row["budget"] <= row["n"] or row["budget"] == row["n"] * (row["n"] - 1))


def _against_round_robin(rows: list[Row]) -> str:
    """Paired differences of adaptive to the round robin with the same rating, counted honestly."""
    compared = [row for row in rows if row["design"] == ADAPTIVE.name]
    ties = [row for row in compared if _asked_the_same(row)]
    real = [row for row in compared if not _asked_the_same(row)]
    better = [row for row in real if row["vs"][0] > half_width(row)]
    worse = [row for row in real if row["vs"][0] < -half_width(row)]
    lowest = min(real, key=lambda row: row["vs"][0] - half_width(row))
    smallest = min(real, key=lambda row: row["vs"][0])
    undecided = [row for row in real if row not in better and row not in worse]

    def said(row: Row) -> str:
        return f"{row['judge']}, n = {row['n']}, budget {row['budget']}: {row['vs'][0]:+.3f} ± {half_width(row):.3f}"

    mean = float(np.mean([row["vs"][0] for row in real]))
    widest = max((abs(row["vs"][0]) for row in ties), default=0.0)
    low, chance = lowest["vs"][0] - half_width(lowest), 0.025 * len(real)
    said_of_all = (
        f"{len(compared)} cells, paired by group; ± is half of a 95 % interval (Student's t). In {len(ties)} both "
        f"asked exactly the same (budgets up to a ring, and for both orders of all pairs): a tie by construction; "
        f"there the means differ by {widest:.3f} at most, by how two missing orders of a pair are weighed. Of the "
        f"other {len(real)}, adaptive is better in {len(better)}, worse in {len(worse)}, and in {len(undecided)} the "
        f"interval holds 0. The mean difference of tau over the {len(real)} is {mean:+.3f}. The smallest estimate is "
        f"{said(smallest)}; the lowest lower limit is {low:+.3f} ({said(lowest)}). Of {len(real)} comparisons of "
        f"equals, about {chance:.0f} would look worse by chance; an interval that holds 0 does not say that there is "
        f"no difference."
    )
    title = "## adaptive against the round robin of the same budget and rating\n"
    text = [title, textwrap.fill(said_of_all, 118) + "\n"]
    if worse:
        text += ["Worse, by the 95 % interval:\n", *(f"- {said(row)}" for row in worse), ""]
    text += [
        "| n | budget | groups | cells | better | worse | neither | mean difference of tau | lowest 95 % limit |"
    ]
    text += ["|---|---|---|---|---|---|---|---|---|"]
    for n, budget in sorted({(row["n"], row["budget"]) for row in real}):
        cell = [row for row in real if (row["n"], row["budget"]) == (n, budget)]
        up = sum(row in better for row in cell)
        down = sum(row in worse for row in cell)
        low = min(row["vs"][0] - half_width(row) for row in cell)
        text.append(
            f"| {n} | {budget} | {cell[0]['groups']} | {len(cell)} | {up} | {down} | {len(cell) - up - down} | "
            f"{np.mean([row['vs'][0] for row in cell]):+.3f} | {low:+.3f} |"
        )
    return "\n".join([*text, "", *_by_judge(real)]) + "\n"


def _by_judge(real: list[Row]) -> list[str]:
    """What adaptive brings before each judge, over the cells in which it can choose."""
    text = ["| judge | cells | mean difference of tau, 95 % | adaptive |", "|---|---|---|---|"]
    for judge in JUDGES:
        sizes = [
            [row for row in real if (row["judge"], row["n"]) == (judge, n)]
            for n in sorted({r["n"] for r in real})
        ]
        cells = [row for size in sizes for row in size]
        if cells:
            mean = float(np.mean([row["vs"][0] for row in cells]))
            # Cells of a size judge the same groups: as if wholly dependent. Sizes have groups of their own.
            half = float(np.sqrt(sum(sum(map(half_width, size)) ** 2 for size in sizes)) / len(cells))
            word = "gains" if mean > half else "loses a little" if mean < -half else "neither gains nor loses"
            text.append(f"| {judge} | {len(cells)} | {mean:+.3f} ± {half:.3f} | {word} |")
    return text


def _through_rank() -> str:
    if not THROUGH_RANK.exists():
        return ""
    record = json.loads(THROUGH_RANK.read_text())
    text = [
        "## Through `rrm-reward rank` and HTTP\n",
        "400 groups of 8, Assistant 1 wins if q1 - q2 + bias + N(0, 0.2) >= 0. The whole way: file, command line,",
        "loopback server, verdicts, ratings, file; the position bias is learnt on the way. Here ± is one",
        "standard error.",
        f"`{record['command']}`, {record['date']}.\n",
        "| bias | schedule | rating | position | budget | calls a group | tau | correlation |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in record["rows"]:
        tau = f"{row['tau']:.3f} ± {row['tau_error']:.3f}"
        shown = (
            row["bias"],
            row["schedule"],
            row["rating"],
            "learnt" if row["position"] else "none",
            row["budget"],
        )
        text.append(
            "| "
            + " | ".join(map(str, (*shown, f"{row['calls']:.2f}", tau, f"{row['correlation']:.3f}")))
            + " |"
        )
    text.append("")
    for row in record["rows"]:
        if row["learnt_less_none"]:
            mean, error = row["learnt_less_none"]
            text.append(
                f"- bias {row['bias']}, budget {row['budget']}: what the learnt term is worth, paired by group: "
                f"{mean:+.3f} ± {error:.3f} of tau."
            )
    return "\n".join(text) + "\n"


def _table(rows: list[Row], n: int) -> str:
    means = _means(rows)
    groups = sorted({row["groups"] for row in rows if row["n"] == n})
    text = [
        f"## Groups of {n}\n",
        f"Means over the judges, {'/'.join(map(str, groups))} groups each. By judge: benchmarks/data/ranking.jsonl.\n",
        "| budget | design | calls | tau | correlation | top-1 |",
        "|---|---|---|---|---|---|",
    ]
    for budget in sorted({row["budget"] for row in rows if row["n"] == n}):
        found = [(m, d) for (k, b, d), m in means.items() if (k, b) == (n, budget)]
        for m, design in sorted(found, key=lambda item: -item[0]["tau"]):
            text.append(
                f"| {budget} | {design} | {m['calls']:.1f} | {m['tau']:.3f} ± {m['half']:.3f} | "
                f"{m['correlation']:.3f} | {m['top']:.2f} |"
            )
    return "\n".join(text) + "\n"
