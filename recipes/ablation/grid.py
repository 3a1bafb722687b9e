"""Many runs: one file each, written at once when the run is over. A second call goes on where the first ended.

A file holds the settings of its run. One that was run with others (fewer steps, another budget) is run anew.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from recipes.ablation.judges import make_judge_of
from recipes.ablation.rows import ROWS
from recipes.ablation.run import Plan, run


def plans(rows: Sequence[str], sizes: Sequence[int], seeds: Sequence[int], steps: int) -> list[Plan]:
    """The grid, seed by seed: what is finished is always whole tables of fewer seeds."""
    return [Plan(row, size, seed, steps) for seed in seeds for size in sizes for row in rows]


def file_of(plan: Plan, results: Path) -> Path:
    """Where a run's numbers are kept."""
    return results / f"{plan.name}.json"


def run_grid(todo: Iterable[Plan], results: Path, judges: Path, jobs: int, minutes: float | None) -> int:
    """Run what has no file yet; returns how many runs are still missing.

    Args:
        todo: the grid.
        results: folder of the files.
        judges: see `run`.
        jobs: processes at a time, a thread each.
        minutes: begin no run after that; None has no limit.
    """
    results.mkdir(parents=True, exist_ok=True)
    waiting = [plan for plan in todo if not _is_there(plan, results)]
    end = None if minutes is None else time.monotonic() + 60 * minutes
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        begun: set[Future[tuple[Plan, float, float]]] = set()
        while waiting or begun:
            while waiting and len(begun) < jobs and (end is None or time.monotonic() < end):
                begun.add(pool.submit(_run_and_keep, waiting.pop(0), results, judges))
            if not begun:
                break
            future = next(as_completed(begun))
            begun.remove(future)
            plan, accuracy, seconds = future.result()
            print(f"{plan.name}: {accuracy:.3f} in {seconds:.0f} s, {len(waiting)} to go", flush=True)
    return len(waiting)


def load_results(results: Path) -> list[dict[str, Any]]:
    """Every finished run, in the order of the files' names."""
    return [json.loads(file.read_text()) for file in sorted(results.glob("*-g*-s*.json"))]


def _is_there(plan: Plan, results: Path) -> bool:
    """Whether the run's file is there and was run with these settings."""
    file = file_of(plan, results)
    if not file.exists():
        return False
    kept, wanted = json.loads(file.read_text()), plan.settings()
    return {name: kept.get(name) for name in wanted} == wanted


def _run_and_keep(plan: Plan, results: Path, judges: Path) -> tuple[Plan, float, float]:
    make_judge_of(ROWS[plan.row].judge, plan.seed, judges)
    numbers = run(plan, judges)
    file = file_of(plan, results)
    half = file.with_suffix(f".{os.getpid()}.part")
    half.write_text(json.dumps(numbers, separators=(",", ":")) + "\n")
    half.replace(file)
    return plan, numbers["points"][-1]["accuracy"], numbers["seconds"]
