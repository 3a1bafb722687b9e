"""The ranking benchmark counts what it says it counts; its figures are in docs/ranking.md."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

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
from benchmarks.ranking import budgets, main, read, run_cell


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
    assert "2 cells, paired by group. In 1 both asked exactly the same" in page
    assert all(design.name in page for design in DESIGNS if design.schedule in ("adaptive", "round_robin"))
