"""The figures of ``docs/ranking.md``: tau by judge calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks._simulated import ADAPTIVE, JUDGES, ROUND_ROBIN, Design

Row = dict[str, Any]

LINES = (
    ADAPTIVE,
    ROUND_ROBIN,
    Design("round_robin", "win_rate"),
    Design("swiss", "bradley_terry", True, "most"),
    Design("knockout", "bradley_terry", True, "consolation"),
    Design("anchor", "bradley_terry", True, "most"),
)
"""What the plots show of all that was run."""


def half_width(row: Row, of: str = "vs") -> float:
    """Half of the 95 % interval of a row's mean over its groups, by Student's t."""
    return float(stats.t.ppf(0.975, row["groups"] - 1) * row[of][1])


def plot(rows: list[Row], docs: Path) -> str:
    """Write a figure a group size into `docs`; returns the Markdown that shows them."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = []
    for n in sorted({row["n"] for row in rows} & {8, 16, 32}):
        figure, axes = pyplot.subplots(2, 3, figsize=(12, 7), sharex=True, sharey=True)
        for axis, judge in zip(axes.flat, JUDGES, strict=True):
            for design in LINES:
                found = sorted(
                    (row["calls"], row["tau"][0], half_width(row, "tau"))
                    for row in rows
                    if (row["n"], row["judge"], row["design"]) == (n, judge, design.name)
                )
                if found:
                    calls, tau, half = np.array(found).T
                    axis.errorbar(calls, tau, half, marker=".", linewidth=1, label=design.name)
            axis.set_title(judge)
            axis.set_xscale("log", base=2)
            axis.grid(alpha=0.3)
        for axis in axes[1]:
            axis.set_xlabel("judge calls a group")
        for axis in axes[:, 0]:
            axis.set_ylabel("Kendall tau (bars: 95 %)")
        axes[0, 0].legend(fontsize=7)
        figure.suptitle(f"Groups of {n}")
        figure.tight_layout()
        name = f"ranking_{n}.png"
        figure.savefig(docs / name, dpi=80)
        pyplot.close(figure)
        shown.append(f"![tau by judge calls, groups of {n}]({name})\n")
    return "\n".join(shown)
