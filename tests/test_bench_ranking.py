"""The ranking benchmark counts what it says it counts; its figures are in docs/ranking.md."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmarks import results, sharing, width
from benchmarks._ranking_plots import half_width
from benchmarks._ranking_report import write
from benchmarks._simulated import (
    ADAPTIVE,
    DESIGNS,
    JUDGES,
    ROUND_ROBIN,
    Design,
    Group,
    JudgeModel,
    Player,
    correlation,
    kendall_tau,
    top_one,
)
from benchmarks.ranking import budgets, main, mean_and_error, read, run_cell
from rrm_reward.rating import RATINGS
from rrm_reward.tournament import SCHEDULES


def test_tau_is_that_of_scipy_where_nothing_ties() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.random(7), rng.random(7)
        assert kendall_tau(a, b) == pytest.approx(stats.kendalltau(a, b).statistic)
    assert kendall_tau(np.zeros(4), np.arange(4.0)) == 0.0
    assert correlation(np.zeros(4), np.arange(4.0)) == 0.0
    assert top_one(np.array([1.0, 1.0, 0.0]), np.array([0.0, 2.0, 1.0])) == 0.5


def test_a_perfect_judge_asked_everything_gives_the_true_order() -> None:
    for design in (ROUND_ROBIN, ADAPTIVE, Design("round_robin", "win_rate")):
        group = Group(JudgeModel(noise=0.0), 6, seed=3)
        value, calls = Player(design, 6, 15).play(group, 3)
        assert calls <= 15
        assert kendall_tau(value, group.quality) > 0.8
    value, calls = Player(ROUND_ROBIN, 6, 30).play(group, 3)
    assert (kendall_tau(value, group.quality), calls) == (1.0, 30)


def test_the_same_ordered_pair_gets_the_same_verdict_in_every_design() -> None:
    rows = {row["design"]: row for row in run_cell("biased", 8, 8, groups=5)}
    # up to a ring both ask the same, so they tie to the last digit
    assert rows[ADAPTIVE.name]["vs"] == [0.0, 0.0]
    assert rows[ADAPTIVE.name]["tau"] == rows[ROUND_ROBIN.name]["tau"]


def test_no_design_spends_more_than_its_cell_allows() -> None:
    for budget in budgets(5):
        for row in run_cell("missing", 5, budget, groups=2):
            assert row["calls"] <= budget


def test_a_budget_for_all_matches_makes_adaptive_and_the_round_robin_the_same() -> None:
    rows = {row["design"]: row for row in run_cell("biased", 5, 20, groups=5)}
    assert rows[ADAPTIVE.name]["calls"] == rows[ROUND_ROBIN.name]["calls"] == 20
    assert rows[ADAPTIVE.name]["vs"] == [0.0, 0.0]


def test_every_schedule_and_every_rating_is_in_the_grid() -> None:
    assert {design.schedule for design in DESIGNS} == set(SCHEDULES)
    assert {design.rating for design in DESIGNS} == set(RATINGS)


def test_intervals_are_those_of_student() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=9)
    mean, error = mean_and_error(values.tolist())
    low, high = stats.t.interval(0.95, 8, loc=values.mean(), scale=stats.sem(values))
    half = half_width({"groups": 9, "vs": [mean, error]})
    assert (mean - half, mean + half) == pytest.approx((low, high))


def test_sharing_is_compared_at_equal_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "GROUPS", 6)
    rows = sharing.run_cell("mixed", "biased", 6, 14, batches=2)
    assert [row["design"] for row in rows] == list(sharing.DESIGNS)
    assert all(row["calls"] <= 14 and set(row["by_spread"]) == {"0.3", "1.0", "3.0"} for row in rows)
    assert sharing.evenly(17, 5) == [4, 4, 3, 3, 3]
    assert rows[0]["mix"] in sharing.section(rows)


def test_width_is_measured_with_the_same_groups_and_calls(tmp_path: Path) -> None:
    rows = width.run_cell(5, 12, groups=3)
    assert [row["width"] for row in rows] == [1, 2, 5, 10, 7]
    assert rows[1]["tau"] == [0.0, 0.0]
    results.write(tmp_path / "width.json", rows)
    assert "| 5 | 12 | 3 | 2 | 5 | +0.000 ± 0.000 |" in width.section(tmp_path / "width.json")


def test_a_run_that_was_killed_in_the_middle_of_a_line_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "rows.jsonl"
    monkeypatch.setattr("benchmarks.ranking.SIZES", {4: 4})
    monkeypatch.setattr("benchmarks.ranking.budgets", lambda n: [2])
    monkeypatch.setattr("sys.argv", ["ranking", "--data", str(data)])
    rows = run_cell("unbiased", 4, 2, 4)
    data.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"judge": "bia')
    assert read(data) == rows
    main()
    assert read(data)[: len(rows)] == rows
    assert {row["judge"] for row in read(data)} == set(JUDGES)
    assert len(read(data)) == len(rows) * len(JUDGES)


def test_the_page_says_who_was_better_and_who_only_tied_by_construction(tmp_path: Path) -> None:
    rows = [*run_cell("biased", 4, 4, groups=3), *run_cell("biased", 4, 6, groups=3)]
    write(rows, tmp_path)
    page = (tmp_path / "ranking.md").read_text()
    said = " ".join(page.split())
    assert "130 of the 132 cells have not been played yet" in said
    assert (
        "2 cells, paired by group; ± is half of a 95 % interval (Student's t). In 1 both asked exactly"
        in said
    )
    assert all(design.name in page for design in DESIGNS if design.schedule in ("adaptive", "round_robin"))
