"""Figures and page of the scaling curves, from nothing but the measured JSON."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

from recipes.scaling.measure import paired

NAMES = {
    "base": "base (SFT only)",
    "early": "RRM, stopped early",
    "rrm": "RRM",
}


def name_of(judge: str) -> str:
    """How a judge is called in figure and page."""
    return NAMES.get(judge, judge)


def as_json(results: dict[str, Any]) -> str:
    """The results for their file, a list of numbers on one line."""
    text = json.dumps(results, indent=1)
    return re.sub(r"\[[\s\d.,e-]+\]", lambda found: " ".join(found[0].split()), text) + "\n"


def draw_curves(results: dict[str, Any], file: Path) -> None:
    """Two panels: accuracy over votes, accuracy over the cap; bars are one standard error each way."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (parallel, sequential) = plt.subplots(1, 2, figsize=(11, 4.2), sharey=True, layout="constrained")
    for index, (name, judge) in enumerate(results["judges"].items()):
        colour = f"C{index}"
        for key, style, suffix in (("votes", "o-", "one order"), ("both_orders", "s--", "both orders")):
            points = judge[key]
            parallel.errorbar(
                [point["x"] for point in points],
                [point["accuracy"] for point in points],
                [point["stderr"] for point in points],
                fmt=style,
                color=colour,
                capsize=2,
                markersize=4,
                label=f"{name_of(name)}, {suffix}",
            )
        capped = [point for point in judge["caps"] if point["x"] is not None]
        free = next(point for point in judge["caps"] if point["x"] is None)
        sequential.errorbar(
            [point["x"] for point in capped],
            [point["accuracy"] for point in capped],
            [point["stderr"] for point in capped],
            fmt="o-",
            color=colour,
            capsize=2,
            markersize=4,
            label=name_of(name),
        )
        sequential.axhline(
            free["accuracy"], color=colour, linestyle=":", linewidth=1, label=f"{name_of(name)}, no cap"
        )
    parallel.set(xscale="log", xlabel="votes of a comparison (calls)", ylabel="accuracy on held-out pairs")
    ticks = sorted(
        {
            point["x"]
            for judge in results["judges"].values()
            for key in ("votes", "both_orders")
            for point in judge[key]
        }
    )
    parallel.set_xticks(ticks, [str(tick) for tick in ticks], fontsize="small")
    parallel.minorticks_off()
    sequential.set(xlabel="cap on tokens before the verdict is forced")
    for axis in (parallel, sequential):
        axis.axhline(0.5, color="grey", linewidth=0.5)
        axis.legend(fontsize="x-small")
    figure.savefig(file, dpi=120, metadata={"Software": None})
    plt.close(figure)


def _percent(point: dict[str, Any]) -> str:
    return f"{100 * point['accuracy']:.1f} ± {100 * point['stderr']:.1f}"


def _table(judges: dict[str, Any], key: str, head: str) -> str:
    xs = [point["x"] for point in next(iter(judges.values()))[key]]
    rows = [f"| {head} | " + " | ".join("no cap" if x is None else str(x) for x in xs) + " |"]
    rows.append("|---" * (len(xs) + 1) + "|")
    rows += [
        f"| {name_of(name)} | " + " | ".join(map(_percent, judge[key])) + " |"
        for name, judge in judges.items()
    ]
    return "\n".join(rows)


def _difference(one: dict[str, Any], other: dict[str, Any]) -> str:
    mean, error = paired(one["by_pair"], other["by_pair"])
    return f"{100 * mean:+.1f} ± {100 * error:.1f}"


def _differences(judges: dict[str, Any], key: str, head: str, column: int) -> str:
    """Every judge less the first one, and every column less that one, pair by pair."""
    (base, first), *others = judges.items()
    xs = ["no cap" if point["x"] is None else str(point["x"]) for point in first[key]]
    rows = [f"| {head} | " + " | ".join(xs) + " |", "|---" * (len(xs) + 1) + "|"]
    for name, judge in others:
        cells = map(_difference, judge[key], first[key])
        rows.append(f"| {name_of(name)}, less {name_of(base)} | " + " | ".join(cells) + " |")
    for name, judge in judges.items():
        points = judge[key]
        cells = ("" if point is points[column] else _difference(point, points[column]) for point in points)
        rows.append(f"| {name_of(name)}, less its own {xs[column]} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def dips(points: list[dict[str, Any]]) -> list[str]:
    """Where a curve falls by more than two standard errors of the paired difference from one point to the next."""
    found = []
    for before, after in itertools.pairwise(points):
        fall, error = paired(before["by_pair"], after["by_pair"])
        if fall > 2 * error:
            x = "no cap" if after["x"] is None else after["x"]
            change = f"{_percent(before)} to {_percent(after)}, {_difference(after, before)}"
            found.append(f"from {before['x']} to {x}: {change}")
    return found


def _surprises(judges: dict[str, Any]) -> str:
    lines = [
        f"- {name_of(name)}, {what}, {dip}."
        for name, judge in judges.items()
        for key, what in (
            ("votes", "votes in one order"),
            ("both_orders", "votes in both orders"),
            ("caps", "cap"),
        )
        for dip in dips(judge[key])
    ]
    return (
        "\n".join(lines)
        or "None: no curve falls by more than two standard errors from one point to the next."
    )


def _caps(judges: dict[str, Any]) -> str:
    caps = next(iter(judges.values()))["caps"]
    lines = ["| cap | " + " | ".join(map(name_of, judges)) + " |", "|---" * (len(judges) + 1) + "|"]
    for index, point in enumerate(caps):
        told = (judge["caps"][index] for judge in judges.values())
        cells = (f"{one['tokens']:.1f} / {one['forced']:.0%} / {one['no_verdict']:.1%}" for one in told)
        lines.append(f"| {'none' if point['x'] is None else point['x']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write_page(results: dict[str, Any], remarks: str) -> str:
    """The page, as Markdown.

    Args:
        results: as measured.
        remarks: what a human has to say of them.
    """
    judges = results["judges"]
    return f"""# Votes and thinking tokens

How much better does a judge get if it is asked more often (parallel scaling), or may think longer (sequential scaling)?
Measured in the miniature ("Sort the digits: 937"): {results["pairs"]} pairs of a right and a wrong answer to
held-out queries, each in both orders, temperature {results["temperature"]}, through the library's own judge.
Accuracy in percent, ± one standard error over pairs; a tie or a missing verdict counts half.

    {results["command"]}

![Accuracy over votes and over the cap](scaling.png)

## Votes

Majority of k votes in one order (`judge.votes=k judge.aggregate=majority`):

{_table(judges, "votes", "votes")}

All cells are of the same pairs, so differences are taken pair by pair: here and below, points of accuracy ± one
standard error of their mean. Two cells above may overlap and still differ.

{_differences(judges, "votes", "votes", 0)}

Half of the votes in each order (`judge.order=both`), at the number of calls that this takes:

{_table(judges, "both_orders", "calls")}

{_differences(judges, "both_orders", "calls", 0)}

## Thinking tokens

One vote, whose verdict is forced when it has taken so many tokens (`judge.force=truncated
judge.thinking_tokens=N`). Forcing ends the thought and reads the probability of each assistant, and that probability
is what counts here. "No cap" is none: no forcing, and room for {results["longest"]} tokens.

{_table(judges, "caps", "cap")}

{_differences(judges, "caps", "cap", -1)}

What the caps did (mean tokens of a vote / verdicts forced / no verdict even so):

{_caps(judges)}

## What the curves show

{remarks.strip()}

Dips, found by a rule (a fall by more than two standard errors of the paired difference):

{_surprises(judges)}

Figures: [scaling.json](scaling.json). "RRM, stopped early" is the base after {results["early_steps"]} GRPO steps
of `recipes/miniature/train_rrm.py` (the RRM had {results["rrm_steps"]}), made by the same command.
The same of your own judge, on the pairs that `rrm-reward data pairs` held out:

    python -m recipes.scaling --judge http://host:8000/v1 --model RRM-7B --pairs ~/data/rrm_pairs/val.parquet
"""


def write_own_page(results: dict[str, Any]) -> str:
    """The page of a judge of one's own, as Markdown: figures without remarks."""
    judges = results["judges"]
    return f"""# Votes and thinking tokens: {", ".join(judges)}

{results["pairs"]} labelled pairs of {results["place"]}, each in both orders, temperature {results["temperature"]}.
Accuracy in percent, ± one standard error over pairs; a tie or a missing verdict counts half.

Majority of k votes in one order:

{_table(judges, "votes", "votes")}

Differences, pair by pair, in points of accuracy ± one standard error of their mean:

{_differences(judges, "votes", "votes", 0)}

Half of the votes in each order, at the number of calls that this takes:

{_table(judges, "both_orders", "calls")}

{_differences(judges, "both_orders", "calls", 0)}

One vote, whose verdict is forced when it has taken so many tokens
("no cap": nothing forced, {results["longest"]} at most):

{_table(judges, "caps", "cap")}

{_differences(judges, "caps", "cap", -1)}

What the caps did (mean tokens of a vote / verdicts forced / no verdict even so):

{_caps(judges)}

Falls by more than two standard errors of the paired difference:

{_surprises(judges)}
"""
