"""The page and its figures, from the runs' numbers alone: nothing on it is written by hand but what never changes."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from recipes.ablation.analysis import (
    ALARMS,
    FEWEST,
    Estimate,
    Run,
    collapse_began,
    estimate,
    final,
    paired,
    warned,
)
from recipes.ablation.rows import BUDGET, REFERENCE, ROWS

ENOUGH = 3
"""Seeds of a row without which the page calls itself incomplete."""

Table = dict[tuple[str, int], list[Run]]
"""Runs by row and group size, ordered by seed."""

_HEAD = """# Which reward trains best at one number of judge calls?

    make ablation               # judges, runs, this page; a second call goes on where the first ended
    python -m recipes.ablation --help

The miniature (`recipes/miniature`): a policy of 105,728 parameters learns in TRL to sort three digits, from prompts
without answers, with the reward of each row. TRL, because a run takes about 12 s of CPU there, and verl's start alone
takes longer; the rewards are the same, bit by bit (`tests/test_same_numbers.py`). {steps} GRPO steps of 64 rollouts;
accuracy is that of sampled answers to the 100 held-out queries, 10 each. Same seed, same prompts in the same
order: differences are paired by seed. Intervals are 95 % by Student's t.

Every row that can keeps to {budgets}; a ring of 8 plays 8 or 16 matches, so at 8 it plays 8. **What a group really cost
is in the table, and it is far less: identical answers are never compared**, and a policy this small often says the same
thing. A budgeted schedule draws its pairs beforehand, so a pair of twins is a comparison that is not made, and not
replaced. The scalar and the oracle score every response (n calls). Runs: {runs}; seconds of a run: {seconds} (mean; the
machine was shared).
"""

_TOY = """
What this cannot say: it is a toy. Judge and policy have two layers, answers have three digits, the RRM is right on
{broad} of held-out pairs, and nothing here is a statement about RRM-7B. Read it for the shape of the effects, and run
the same command with your own judge.
"""

_NARROW = """
## Judges that can be hacked

The narrow judges were trained on pairs whose wrong answers are never longer than a right one. Accuracy on 400 held-out
pairs, of the kind they know and of all kinds, and how often each preferred the right answer to what the policy it
trained said at the end:

| judge | narrow pairs | all pairs | final policy's mistakes | runs that collapsed | collapse began at step |
|---|---|---|---|---|---|
"""

_WARNED = """
## What would have warned

A run collapses if it falls to less than half of its best accuracy (at first only its end counted; the first run of a
hacked judge showed that to be too narrow). The collapse begins when it falls more than .1 below its best for the rest
of the run (measured every 5 steps). Only an alarm before that is a warning. The alarms' thresholds were set before the
runs. `prefers_correct` needs right answers: on a real task, a small labelled set beside the run.

| row | alarm | warned before / late / never, of the collapsed | false alarms, of the healthy |
|---|---|---|---|
"""


def write_page(runs: Sequence[Run], judges: Path, page: Path) -> None:
    """Write the Markdown page, and ``ablation-*.png`` beside it.

    Args:
        runs: as `recipes.ablation.grid.load_results` gives them.
        judges: ``judges.json``.
        page: the file to write.
    """
    table = _tabulate(runs)
    accuracies = json.loads(judges.read_text()) if judges.exists() else {}
    sizes = sorted({size for _, size in table})
    page.parent.mkdir(parents=True, exist_ok=True)
    parts = [_head(runs), _missing(table, sizes)]
    for size in sizes:
        figure = page.with_name(f"ablation-{size}.png")
        _draw(table, size, figure)
        parts.append(
            f"\n## Groups of {size}\n\n{_results(table, size)}\n\n![Learning curves]({figure.name})\n"
        )
    parts += [_surprises(table, sizes), _hacking(table, accuracies), _warnings(table)]
    parts.append(_TOY.format(broad=_accuracy(accuracies, "rrm", "broad")))
    page.write_text("".join(parts))


def _tabulate(runs: Sequence[Run]) -> Table:
    table: defaultdict[tuple[str, int], list[Run]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: run["seed"]):
        table[run["row"], run["group_size"]].append(run)
    return {
        (row, size): table[row, size]
        for size in sorted({k[1] for k in table})
        for row in ROWS
        if (row, size) in table
    }


def _head(runs: Sequence[Run]) -> str:
    sizes = sorted({run["group_size"] for run in runs})
    budgets = " and ".join(f"{BUDGET[size]} comparisons a group of {size}" for size in sizes)
    steps = "/".join(str(steps) for steps in sorted({run["steps"] for run in runs}))
    seconds = f"{fmean(run['seconds'] for run in runs):.0f}"
    return _HEAD.format(steps=steps, budgets=budgets, runs=len(runs), seconds=seconds)


def _missing(table: Table, sizes: Sequence[int]) -> str:
    """What the page lacks, said before anything else is read off it."""
    few = [
        f"{row} ({len(table.get((row, size), []))} at {size})"
        for size in sizes
        for row in ROWS
        if len(table.get((row, size), [])) < ENOUGH
    ]
    if not few:
        return ""
    return (
        f"\n**Incomplete: fewer than {ENOUGH} seeds of {', '.join(few)}.** With one seed nothing is told apart; run "
        "`make ablation` to fill it in.\n"
    )


def _results(table: Table, size: int) -> str:
    lines = [
        "| reward | seeds | accuracy at the end | against the reference, paired | calls a group | length at the end |",
        "|---|---|---|---|---|---|",
    ]
    reference = table.get((REFERENCE, size), [])
    for (row, its_size), runs in table.items():
        if its_size != size:
            continue
        end = estimate([final(run) for run in runs])
        difference = "reference" if row == REFERENCE else _interval(paired(runs, reference), sign=True)
        calls = fmean(run["judge_calls_per_group"] for run in runs)
        length = fmean(run["points"][-1]["length"] for run in runs)
        lines.append(
            f"| {ROWS[row].title} | {len(runs)} | {end.mean:.3f} (SE {_number(end.stderr)}) | {difference} "
            f"| {calls:.1f} | {length:.2f} |"
        )
    start = estimate(
        [run["points"][0]["accuracy"] for (_, s), runs in table.items() if s == size for run in runs]
    )
    return "\n".join(
        [
            *lines,
            "",
            f"Before training: {start.mean:.3f}, length 3.0.",
        ]
    )


def _surprises(table: Table, sizes: Sequence[int]) -> str:
    """What the numbers say about the questions that everybody asks, in words chosen by the numbers."""
    lines = ["\n## Read off the table\n"]
    for size in sizes:
        reference = table.get((REFERENCE, size), [])
        decided, open_ = [], []
        for (row, its_size), runs in table.items():
            if its_size == size and row != REFERENCE:
                difference = paired(runs, reference)
                if math.isnan(difference.half):
                    continue
                words = f"{ROWS[row].title} ({_interval(difference, sign=True)})"
                (decided if abs(difference.mean) > difference.half else open_).append(words)
        lines.append(
            f"- Groups of {size}: told apart from the reference by these seeds: {'; '.join(decided) or 'none'}. "
            f"Not told apart: {'; '.join(open_) or 'none'}."
        )
    return "\n".join(lines) + "\n"


def _hacking(table: Table, accuracies: Mapping[str, Any]) -> str:
    lines = []
    for name in ("rrm", "scalar", "narrow_rrm", "narrow_scalar", "base"):
        runs = [run for (row, _), some in table.items() if ROWS[row].judge == name for run in some]
        last = [run["points"][-1]["prefers_correct"] for run in runs if run["points"][-1]["pairs"] >= FEWEST]
        begun = [step for run in runs if (step := collapse_began(run)) is not None]
        lines.append(
            f"| {name.replace('_', ' ')} | {_accuracy(accuracies, name, 'narrow')} "
            f"| {_accuracy(accuracies, name, 'broad')} "
            f"| {f'{fmean(last):.2f}' if last else 'too few'} | {len(begun)} of {len(runs)} "
            f"| {', '.join(map(str, sorted(begun))) or '-'} |"
        )
    return _NARROW + "\n".join(lines) + "\n"


def _warnings(table: Table) -> str:
    lines = []
    for row in ROWS:
        runs = [run for (name, _), some in table.items() if name == row for run in some]
        for name, alarm in ALARMS.items():
            w = warned(runs, alarm)
            if w.collapsed or w.false:
                never = w.collapsed - w.before - w.late
                lines.append(
                    f"| {row} | {name} | {w.before} / {w.late} / {never} of {w.collapsed} "
                    f"| {w.false} of {w.healthy} |"
                )
    totals = []
    for name, alarm in ALARMS.items():
        w = warned([run for some in table.values() for run in some], alarm)
        totals.append(
            f"{name} warned before {w.before} of {w.collapsed} collapses, and falsely in {w.false} of {w.healthy} "
            "healthy runs"
        )
    rest = "Rows and alarms that are not listed: no collapse and no alarm. Over all rows: "
    return _WARNED + "\n".join([*lines, "", rest + "; ".join(totals) + "."]) + "\n"


def _accuracy(accuracies: Mapping[str, Any], judge: str, kind: str) -> str:
    return f"{accuracies[judge][kind]:.3f}" if judge in accuracies else "not made"


def _interval(value: Estimate, *, sign: bool = False) -> str:
    number = f"{value.mean:+.3f}" if sign else f"{value.mean:.3f}"
    return f"{number} ± {_number(value.half)}" if value.n else "-"


def _number(value: float) -> str:
    return "?" if math.isnan(value) else f"{value:.3f}"


def _draw(table: Table, size: int, file: Path) -> None:
    """Accuracy, length, and the judge's grip on the current policy, over steps; mean and range of the seeds."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 3, figsize=(17, 5), layout="constrained")
    columns = (
        ("accuracy", "accuracy, held out"),
        ("length", "length, tokens"),
        ("prefers_correct", "prefers_correct"),
    )
    colors = pyplot.get_cmap("tab20")
    for index, row in enumerate(ROWS):
        runs = table.get((row, size), [])
        for panel, (column, title) in zip(panels, columns, strict=True):
            steps = [point["step"] for point in runs[0]["points"]] if runs else []
            values = [
                [run["points"][k][column] for run in runs if run["points"][k][column] is not None]
                for k in range(len(steps))
            ]
            known = [(step, some) for step, some in zip(steps, values, strict=True) if some]
            if known:
                x = [step for step, _ in known]
                panel.plot(x, [fmean(some) for _, some in known], label=row, color=colors(index))
                panel.fill_between(
                    x,
                    [min(some) for _, some in known],
                    [max(some) for _, some in known],
                    color=colors(index),
                    alpha=0.12,
                )
            panel.set(title=title, xlabel="step")
    panels[0].legend(fontsize="small")
    figure.suptitle(f"Groups of {size}: mean and range over seeds")
    figure.savefig(file, dpi=90)
    pyplot.close(figure)
