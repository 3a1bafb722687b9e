"""The figure of a group size: a panel a row, for eleven curves in one cannot be told apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from recipes.ablation.analysis import FEWEST, Run
from recipes.ablation.rows import REFERENCE, ROWS

_COLUMNS = 4
_RIGHT = 3.0
"""Tokens of a right answer."""


def draw(table: Mapping[tuple[str, int], Sequence[Run]], size: int, file: Path) -> None:
    """Accuracy, `prefers_correct` and length of every row over the steps: mean, and range over the seeds.

    Args:
        table: runs by row and group size.
        size: of the groups.
        file: a PNG.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [row for row in ROWS if (row, size) in table]
    height = -(-len(rows) // _COLUMNS)
    figure, grid = pyplot.subplots(
        height, _COLUMNS, figsize=(16, 3.1 * height), layout="constrained", squeeze=False, sharey=True
    )
    for panel in grid.flat[len(rows) :]:
        panel.axis("off")
    reference = _curve(table.get((REFERENCE, size), ()), "accuracy")
    for panel, row in zip(grid.flat, rows, strict=False):
        runs = table[row, size]
        panel.plot(*reference[:2], color="0.6", linewidth=1, label=f"accuracy of {REFERENCE}")
        for column, color, label in (
            ("accuracy", "C0", "accuracy, held out"),
            ("prefers_correct", "C3", "prefers_correct"),
        ):
            steps, means, lows, highs = _curve(runs, column)
            panel.plot(steps, means, color=color, label=label)
            panel.fill_between(steps, lows, highs, color=color, alpha=0.2, linewidth=0)
        panel.set(title=ROWS[row].title, ylim=(0, 1.02), xlabel="step")
        panel.title.set_fontsize(9)
        steps, means, lows, highs = _curve(runs, "length")
        other = panel.twinx()
        other.plot(steps, means, color="C2", linestyle="--", label="length, tokens (right axis)")
        other.fill_between(steps, lows, highs, color="C2", alpha=0.2, linewidth=0)
        other.set_ylim(0, 2.7 * _RIGHT)
    lines = [line for axis in (grid[0, 0], other) for line in axis.get_legend_handles_labels()[0]]
    figure.legend(handles=lines, loc="outside lower center", ncols=len(lines), fontsize="small")
    figure.suptitle(f"Groups of {size}: mean, and range over the seeds")
    figure.savefig(file, dpi=80)
    pyplot.close(figure)


def _curve(runs: Sequence[Run], column: str) -> tuple[list[int], list[float], list[float], list[float]]:
    """Steps, mean, least and largest of a column, where it is known (`prefers_correct`: of enough pairs)."""
    values: dict[int, list[Any]] = {}
    for run in runs:
        for point in run["points"]:
            enough = column != "prefers_correct" or point["pairs"] >= FEWEST
            if point[column] is not None and enough:
                values.setdefault(point["step"], []).append(point[column])
    steps = sorted(values)
    return (
        steps,
        [fmean(values[step]) for step in steps],
        [min(values[step]) for step in steps],
        [max(values[step]) for step in steps],
    )
