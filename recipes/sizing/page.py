"""The page: a table of the documented runs, what the command says of each, and of some others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recipes.sizing.documented import Run
from rrm_reward.cluster import _sizing as sizing
from rrm_reward.cluster._shapes import GIB, SHAPES
from rrm_reward.cluster._size_options import parse
from rrm_reward.cluster._size_report import estimate, make_plan, report

TEMPLATE = Path(__file__).parent / "page.md"

OTHERS = {
    "RRM-32B in its pool, by knockout": "--judge 32B --gpus 4xMI300X --judge-gpus 4xMI300X --tournament knockout",
    "RRM-32B on the policy's own eight MI300X": "--judge 32B --gpus 8xMI300X",
    "Groups of sixteen, by knockout": "--gpus 8xMI300X --rollouts 16 --tournament knockout",
    "What does not fit: RRM-32B on two A100 that train": "--judge 32B --gpus 2xA100",
}
"""Titles and commands beside those of the recipes."""


def make_page(runs: Sequence[Run]) -> str:
    """The text of ``docs/sizing.md``."""
    sections = [_section(f"`{run.line}`", run.size) for run in runs]
    others = [_section(title, command.split()) for title, command in OTHERS.items()]
    numbers = {
        "usable": f"{sizing.USABLE:.0%}",
        "decode": f"{sizing.DECODE_EFFICIENCY:.0%}",
        "prefill": f"{sizing.PREFILL_EFFICIENCY:.0%}",
        "engine": f"{sizing.ENGINE_BYTES / GIB:.0f}",
        "state": str(sizing.STATE_BYTES),
        "gradient": str(sizing.GRADIENT_BYTES),
        "reference": str(sizing.REFERENCE_BYTES),
    }
    for size in ("7B", "32B"):
        shape = SHAPES[size]
        numbers |= {
            f"weights_{size}": f"{shape.weight_bytes / GIB:.1f} GiB",
            f"kv_{size}": f"{shape.kv_bytes:,}",
            f"sixteen_{size}": f"{16 * 8192 * shape.kv_bytes / GIB:.1f} GiB",
        }
    return TEMPLATE.read_text().format(
        **numbers,
        table="\n".join(_row(run) for run in runs),
        runs="\n".join(sections),
        others="\n".join(others),
    )


def _row(run: Run) -> str:
    arguments = parse(run.size)
    plan = make_plan(arguments)
    found = estimate(arguments, plan)
    minutes = (found.decoding + found.reading) / 60
    return (
        f"| `{run.line}` | {arguments.judge}: {plan.replicas} of {plan.width} | {plan.load.calls} | "
        f"{found.sequences * plan.replicas} | {minutes:.0f} min |"
    )


def _section(title: str, command: Sequence[str]) -> str:
    text, _ = report(parse(command))
    return f"## {title}\n```\n$ rrm-reward size {' '.join(command)}\n{text}\n```\n"
