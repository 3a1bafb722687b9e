"""The ablation: its arithmetic, its page, and one real row of it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from recipes.ablation.analysis import (
    ALARMS,
    biased,
    collapse_began,
    drifted,
    estimate,
    fooled,
    paired,
    warned,
)
from recipes.ablation.rows import BUDGET, ROWS
from rrm_reward.rating import check_rating
from rrm_reward.tournament import make_tournament


def a_run(accuracies: list[float], prefers: list[float] | None = None, **changes: Any) -> dict[str, Any]:
    """A run measured every five steps."""
    prefers = prefers or [1.0] * len(accuracies)
    points = [
        {"step": 5 * k, "accuracy": accuracy, "length": 3.0, "prefers_correct": prefer, "pairs": 40}
        for k, (accuracy, prefer) in enumerate(zip(accuracies, prefers, strict=True))
    ]
    steps = 5 * (len(accuracies) - 1)
    logged = {"train_length": [4.0] * steps, "first_share": [0.5] * steps}
    run = {
        **{"row": "elo", "group_size": 8, "seed": 0, "steps": steps, "seconds": 9.0, "points": points},
        **{"logged": logged, "judge_calls_per_group": 3.0},
    }
    return {**run, **changes}


HEALTHY = [0.4, 0.6, 0.8, 0.9]
COLLAPSED = [0.4, 0.6, 0.8, 0.3, 0.0]


def test_few_seeds_have_wide_intervals() -> None:
    # the 97.5 % quantile of Student's t with 2 degrees of freedom is 4.303 (any table)
    three = estimate([0.8, 0.9, 1.0])
    assert three.mean == pytest.approx(0.9)
    assert three.stderr == pytest.approx(0.1 / math.sqrt(3))
    assert three.half == pytest.approx(4.303 * three.stderr, rel=1e-3)
    assert math.isnan(estimate([0.8]).half)


def test_differences_are_paired_by_seed() -> None:
    ours = [a_run([0.4, 0.5 + seed / 10], seed=seed) for seed in range(3)]
    theirs = [a_run([0.4, 0.4 + seed / 10], seed=seed) for seed in (2, 1, 0, 7)]
    difference = paired(ours, theirs)
    assert difference.n == 3
    assert difference.mean == pytest.approx(0.1)
    assert difference.stderr == pytest.approx(0.0, abs=1e-9)


def test_a_collapse_begins_where_the_accuracy_falls_for_good() -> None:
    assert collapse_began(a_run(HEALTHY)) is None
    assert collapse_began(a_run(COLLAPSED)) == 15
    assert collapse_began(a_run([0.4, 0.2, 0.5, 0.8, 0.3, 0.1])) == 20
    assert collapse_began(a_run([0.4, 0.2, 0.1])) == 5
    # it need not be the end of the run
    assert collapse_began(a_run([0.4, 0.9, 0.8, 0.3, 0.6])) == 15


def test_only_an_alarm_before_the_collapse_is_a_warning() -> None:
    before = a_run(COLLAPSED, [1.0, 1.0, 0.5, 0.1, 0.0])
    late = a_run(COLLAPSED, [1.0, 1.0, 1.0, 0.1, 0.0])
    never, cried_wolf = a_run(COLLAPSED), a_run(HEALTHY, [1.0, 0.7, 1.0, 1.0])
    counts = warned([before, late, never, cried_wolf, a_run(HEALTHY)], fooled)
    assert (counts.collapsed, counts.before, counts.late) == (3, 1, 1)
    assert (counts.healthy, counts.false) == (2, 1)


def test_too_few_mistakes_to_judge_by_ring_no_alarm() -> None:
    run = a_run(HEALTHY, [1.0, 1.0, 1.0, 0.0])
    assert fooled(run) == 15
    run["points"][-1]["pairs"] = 3
    assert fooled(run) is None


def test_length_and_position_ring_when_five_steps_agree() -> None:
    run = a_run(HEALTHY)
    assert [alarm(run) for alarm in ALARMS.values()] == [None] * len(ALARMS)
    run["logged"]["train_length"][8:] = [5.0] * 7
    run["logged"]["first_share"][5:] = [0.9, None, 0.9, 0.9, 0.9, 0.9, 0.9, 0.5, 0.5, 0.5]
    assert drifted(run) == 11
    assert biased(run) == 12


@pytest.mark.parametrize("row", [row for row in ROWS.values() if row.compares], ids=lambda row: row.name)
@pytest.mark.parametrize("size", BUDGET)
def test_every_row_that_compares_keeps_to_the_budget(row: Any, size: int) -> None:
    check_rating(row.rating["name"], row.rating.get("options", {}), schedule=row.tournament["name"])
    budget = BUDGET[size] if row.budgeted else None
    planned = make_tournament(
        row.tournament["name"], size, seed=0, budget=budget, options=row.tournament.get("options", {})
    ).planned
    if row.budgeted:
        assert planned == budget or (row.name, size, planned) == ("circular", 8, 8)
    else:
        assert planned == size * (size - 1) // 2


def test_finished_runs_are_not_run_again(tmp_path: Path) -> None:
    from recipes.ablation.grid import file_of, load_results, plans, run_grid

    todo = plans(["elo", "oracle"], [8], range(2), 50)
    assert [(plan.row, plan.seed) for plan in todo] == [("elo", 0), ("oracle", 0), ("elo", 1), ("oracle", 1)]
    for plan in todo:
        file_of(plan, tmp_path).write_text(json.dumps(a_run(HEALTHY, row=plan.row, seed=plan.seed)))
    # no judge is there: beginning a run would fail
    assert run_grid(todo, tmp_path, tmp_path / "nowhere", jobs=1, minutes=None) == 0
    assert run_grid([*todo, *plans(["elo"], [8], [9], 50)], tmp_path, tmp_path / "x", jobs=1, minutes=0) == 1
    assert len(load_results(tmp_path)) == 4


def test_the_page_is_written_from_the_runs(tmp_path: Path) -> None:
    from recipes.ablation.report import write_page

    runs = [a_run(HEALTHY, row=row, seed=seed) for row in ("bradley_terry", "elo") for seed in range(3)]
    runs += [a_run(COLLAPSED, [1.0, 0.7, 0.5, 0.1, 0.0], row="narrow_scalar", seed=seed) for seed in range(3)]
    judges = {name: {"narrow": 0.99, "broad": 0.9} for name in ("rrm", "scalar", "base")}
    judges |= {f"narrow_{name}": {"narrow": 0.98, "broad": 0.6} for name in ("rrm", "scalar")}
    (tmp_path / "judges.json").write_text(json.dumps(judges))
    write_page(runs, tmp_path / "judges.json", tmp_path / "ablation.md")
    page = (tmp_path / "ablation.md").read_text()
    assert "| RRM, round robin, Elo (online, K = 32) | 3 | 0.900 (SE 0.000) | +0.000 ± 0.000 | 3.0 |" in page
    assert "| scalar trained on narrow pairs | 3 | 0.000 (SE 0.000) | -0.900 ± 0.000 |" in page
    assert "| narrow scalar | 0.980 | 0.600 | 0.00 | 3 of 3 | 15, 15, 15 |" in page
    assert "| narrow_scalar | `prefers_correct` < 0.8 | 3 / 0 / 0 of 3 | 0 of 0 |" in page
    assert (tmp_path / "ablation-8.png").stat().st_size > 1000
    assert "**Incomplete: fewer than 3 seeds of win_rate (0 at 8), knockout (0 at 8)" in page


@pytest.mark.trainer
def test_a_row_of_the_ablation_teaches_the_policy(tmp_path: Path) -> None:
    from recipes.ablation.grid import load_results, plans, run_grid

    todo = plans(["all_pairs"], [8], [0], 50)
    assert run_grid(todo, tmp_path, tmp_path, jobs=1, minutes=None) == 0
    (run,) = load_results(tmp_path)
    assert run["points"][0]["accuracy"] < 0.5
    assert run["points"][-1]["accuracy"] > 0.75
    assert 0 < run["judge_calls_per_group"] < 28
    assert run["points"][0]["prefers_correct"] > 0.8
    assert collapse_began(run) is None
