"""The page, from the runs' numbers alone: nothing on it is written by hand but what never changes."""

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
    MISTAKES,
    Estimate,
    Run,
    Warned,
    calls,
    collapse_began,
    estimate,
    final,
    fooled,
    on_the_way,
    paired,
    preferences,
    warned,
)
from recipes.ablation.figure import draw
from recipes.ablation.rows import BUDGET, CONTRASTS, REFERENCE, ROWS
from recipes.ablation.words import (
    HEAD,
    JUDGES,
    READ_OFF,
    TOY,
    WARNED,
    WATCHED,
)

ENOUGH = 3
"""Seeds of a row without which the page calls itself incomplete."""

Table = dict[tuple[str, int], list[Run]]
"""Runs by row and group size, ordered by seed."""


def write_page(runs: Sequence[Run], judges: Path, page: Path) -> None:
    """Write the Markdown page, and ``ablation-*.png`` beside it.

    Args:
        runs: as `recipes.ablation.grid.load_results` gives them.
        judges: ``judges.json``.
        page: the file to write.
    """
    page.parent.mkdir(parents=True, exist_ok=True)
    table = tabulate(runs)
    for size in sorted({size for _, size in table}):
        draw(table, size, page.with_name(f"ablation-{size}.png"))
    page.write_text(page_of(runs, json.loads(judges.read_text()) if judges.exists() else {}))


def page_of(runs: Sequence[Run], accuracies: Mapping[str, Mapping[str, float]]) -> str:
    """The page's text.

    Args:
        runs: as `recipes.ablation.grid.load_results` gives them.
        accuracies: what ``judges.json`` holds.
    """
    table = tabulate(runs)
    sizes = sorted({size for _, size in table})
    parts = [_head(runs), _missing(table, sizes)]
    for size in sizes:
        parts.append(f"\n## Groups of {size}\n\n{_results(table, size)}\n\n![Curves](ablation-{size}.png)\n")
    parts += [_read_off(table, sizes), _watched(table, sizes), _judges(table, accuracies), _warnings(table)]
    return "".join(parts) + TOY.format(broad=_accuracy(accuracies, "rrm", "broad"))


def tabulate(runs: Sequence[Run]) -> Table:
    """Runs by row and size, in the order of `ROWS`."""
    table: defaultdict[tuple[str, int], list[Run]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: run["seed"]):
        table[run["row"], run["group_size"]].append(run)
    sizes = sorted({size for _, size in table})
    return {(row, size): table[row, size] for size in sizes for row in ROWS if (row, size) in table}


def _head(runs: Sequence[Run]) -> str:
    sizes = sorted({run["group_size"] for run in runs})
    distinct = [run["logged"]["distinct"] for run in runs]
    return HEAD.format(
        steps="/".join(str(steps) for steps in sorted({run["steps"] for run in runs})),
        rollouts=runs[0]["rollouts"],
        budgets=" and ".join(f"{BUDGET[size]} comparisons a group of {size}" for size in sizes),
        runs=len(runs),
        seconds=f"{fmean(run['seconds'] for run in runs):.0f}",
        slowest=f"{max(run['seconds'] for run in runs):.0f}",
        first=f"{fmean(series[0] for series in distinct):.1f}",
        last=f"{fmean(series[-1] for series in distinct):.1f}",
    )


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
        "| reward | seeds | accuracy at the end | paired with the reference | mean on the way | paired "
        "| calls a group: first third, all | length at the end |",
        "|---|---|---|---|---|---|---|---|",
    ]
    reference = table.get((REFERENCE, size), [])
    for row, runs in _of(table, size).items():
        end, way = estimate([final(run) for run in runs]), estimate([on_the_way(run) for run in runs])
        differences = ["reference", "reference"]
        if row != REFERENCE:
            differences = [_interval(paired(runs, reference, figure)) for figure in (final, on_the_way)]
        first, every = (fmean(some) for some in zip(*map(calls, runs), strict=True))
        length = fmean(run["points"][-1]["length"] for run in runs)
        lines.append(
            f"| {ROWS[row].title} | {len(runs)} | {_with_error(end)} | {differences[0]} | {_with_error(way)} "
            f"| {differences[1]} | {first:.1f}, {every:.1f} | {length:.2f} |"
        )
    starts = [run["points"][0] for runs in _of(table, size).values() for run in runs]
    accuracy, length = (fmean(point[name] for point in starts) for name in ("accuracy", "length"))
    return "\n".join([*lines, "", f"Before training: accuracy {accuracy:.3f}, length {length:.2f}."])


def _read_off(table: Table, sizes: Sequence[int]) -> str:
    """What the numbers say, in words chosen by the numbers: a line for each difference that is told apart."""
    groups = {f"Groups of {size}": _of(table, size) for size in sizes}
    if len(sizes) > 1:
        rows = dict.fromkeys(row for row, _ in table)
        groups["Both sizes"] = {
            row: [run for size in sizes for run in table.get((row, size), [])] for row in rows
        }
    compared = [
        *((row, REFERENCE, ROWS[row].title) for row in ROWS if row != REFERENCE),
        *CONTRASTS,
    ]
    lines, tested = [], 0
    for where, rows_here in groups.items():
        undecided = []
        for row, other, title in compared:
            differences = [
                (paired(rows_here.get(row, ()), rows_here.get(other, ()), figure), name)
                for figure, name in ((final, "at the end"), (on_the_way, "on the way"))
            ]
            if differences[0][0].n < ENOUGH:
                continue
            tested += len(differences)
            found = [
                f"{_interval(difference)} {name}" for difference, name in differences if difference.told_apart
            ]
            if found:
                lines.append(f"- {where}, {title}: {', '.join(found)}.")
            else:
                undecided.append(title)
        if undecided:
            lines.append(f"- {where}, not told apart: {'; '.join(undecided)}.")
    return READ_OFF.format(tested=tested, chance=f"{0.05 * tested:.0f}") + "\n".join(lines) + "\n"


def _watched(table: Table, sizes: Sequence[int]) -> str:
    lines = []
    for size in sizes:
        for row, runs in _of(table, size).items():
            known = [some for run in runs if (some := preferences(run))]
            prefers = "too few mistakes"
            if known:
                least = min(min(some) for some in known)
                prefers = (
                    f"{fmean(map(fmean, known)):.2f}, {least:.2f}, {fmean(some[-1] for some in known):.2f}"
                )
            distinct = [run["logged"]["distinct"] for run in runs]
            shares = [run["logged"]["first_share"] for run in runs]
            first = "-"
            if shares[0][0] is not None:
                first = f"{fmean(_ends(shares)[0]):.2f}, {fmean(_ends(shares)[1]):.2f}"
            began, last = _ends(distinct)
            lines.append(
                f"| {size} | {ROWS[row].title} | {prefers} | {fmean(began):.1f}, {fmean(last):.1f} | {first} |"
            )
    return WATCHED + "\n".join(lines) + "\n"


def _ends(series: Sequence[Sequence[float | None]]) -> tuple[list[float], list[float]]:
    """The known values of the first five steps of every run, and of the last five."""
    ends = ([some[k] for some in series for k in part] for part in (range(5), range(-5, 0)))
    first, last = ([value for value in values if value is not None] for values in ends)
    return first, last


def _judges(table: Table, accuracies: Mapping[str, Mapping[str, float]]) -> str:
    lines = []
    for name in ("rrm", "scalar", "narrow_rrm", "narrow_scalar", "base"):
        runs = [run for (row, _), some in table.items() if ROWS[row].judge == name for run in some]
        known = [some for run in runs if (some := preferences(run))]
        begun = [step for run in runs if (step := collapse_began(run)) is not None]
        made = sum(judge == name or judge.startswith(f"{name}-") for judge in accuracies)
        lines.append(
            f"| {name.replace('_', ' ')} | {made} | {_accuracy(accuracies, name, 'narrow')} "
            f"| {_accuracy(accuracies, name, 'broad')} "
            f"| {f'{fmean(some[-1] for some in known):.2f}' if known else 'too few'} "
            f"| {len(begun)} of {len(runs)} | {', '.join(map(str, sorted(begun))) or '-'} |"
        )
    return JUDGES + "\n".join(lines) + "\n"


def _warnings(table: Table) -> str:
    """A line an alarm; runs of a judge that was never trained apart, for an alarm that rings at once is right there."""
    everything = [run for some in table.values() for run in some]
    trained = [run for run in everything if ROWS[run["row"]].judge != "base"]
    untrained = [run for run in everything if ROWS[run["row"]].judge == "base"]
    lines, useful = [], []
    for alarm in ALARMS:
        ours, theirs = warned(trained, alarm), warned(untrained, alarm)
        lines.append(
            f"| {alarm.title} | {_counts(ours)} | {ours.false} of {ours.healthy} "
            f"| {theirs.before + theirs.late + theirs.false} of {theirs.collapsed + theirs.healthy} |"
        )
        if alarm.live and ours.before and ours.before >= ours.collapsed / 2:
            useful.append(f"{alarm.title} ({ours.before} of {ours.collapsed})")
    collapsed = [run for run in trained if collapse_began(run) is not None]
    verdict = (
        "No run of a trained judge collapsed."
        if not collapsed
        else f"Of the metrics that need no right answers, before at least half of the collapses: {'; '.join(useful)}."
        if useful
        else "**No metric that needs no right answers warned before half of the collapses.**"
    )
    rows = sorted({f"{ROWS[run['row']].title}, groups of {run['group_size']}" for run in collapsed})
    where = f" The collapses were of: {'; '.join(rows)}." if rows else ""
    rung = [
        point["pairs"]
        for run in trained
        if collapse_began(run) is None and (step := fooled(run)) is not None
        for point in run["points"]
        if point["step"] == step
    ]
    why = ""
    if rung:
        why = (
            f" `prefers_correct` rang falsely when {fmean(rung):.0f} different mistakes were left on average "
            f"(at most {MISTAKES} are asked about): those that a judge cannot tell are the last to go."
        )
    return WARNED + "\n".join([*lines, "", verdict + where + why]) + "\n"


def _counts(w: Warned) -> str:
    if not w.collapsed:
        return "does not apply"
    return f"{w.before} / {w.late} / {w.collapsed - w.before - w.late} of {w.collapsed}"


def _of(table: Table, size: int) -> dict[str, list[Run]]:
    """The rows of one size."""
    return {row: runs for (row, its_size), runs in table.items() if its_size == size}


def _accuracy(accuracies: Mapping[str, Any], judge: str, kind: str) -> str:
    """Of one judge, or the range over those of several seeds."""
    values = [
        numbers[kind] for name, numbers in accuracies.items() if name == judge or name.startswith(f"{judge}-")
    ]
    if not values:
        return "not made"
    low, high = f"{min(values):.3f}", f"{max(values):.3f}"
    return low if low == high else f"{low} to {high}"


def _with_error(value: Estimate) -> str:
    return f"{value.mean:.3f} (SE {_number(value.stderr)})"


def _interval(value: Estimate) -> str:
    return f"{value.mean:+.3f} ± {_number(value.half)}" if value.n else "-"


def _number(value: float) -> str:
    return "?" if math.isnan(value) else f"{value:.3f}"
