"""The ablation: its arithmetic, its judges and wordings, its page, and one real row of it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recipes.ablation.analysis import (
    ALARMS,
    biased,
    biased_from_the_start,
    calls,
    collapse_began,
    drifted,
    estimate,
    fooled,
    on_the_way,
    paired,
    pays_length,
    preferences,
    shipped,
    warned,
)
from recipes.ablation.rows import BUDGET, ROWS
from rrm_reward.config import load
from rrm_reward.rating import check_rating
from rrm_reward.scoring import make_judge
from rrm_reward.tournament import make_tournament

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "recipes" / "ablation" / "results"
FOOLED = ALARMS[0]


def a_run(accuracies: list[float], prefers: list[float] | None = None, **changes: Any) -> dict[str, Any]:
    """A run measured every five steps."""
    prefers = prefers or [1.0] * len(accuracies)
    points = [
        {"step": 5 * k, "accuracy": accuracy, "length": 3.0, "prefers_correct": prefer, "pairs": 40}
        for k, (accuracy, prefer) in enumerate(zip(accuracies, prefers, strict=True))
    ]
    steps = 5 * (len(accuracies) - 1)
    always = {
        **{"train_length": 4.0, "judge_calls": 12.0, "distinct": 3.0, "length_correlation": -0.2},
        **{"first_share": 0.5, "first_share_low": 0.45, "first_share_high": 0.55},
    }
    run = {
        **{"row": "elo", "group_size": 8, "seed": 0, "steps": steps, "rollouts": 48, "seconds": 9.0},
        **{"points": points, "warnings": [], "logged": {k: [v] * steps for k, v in always.items()}},
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
    assert paired([a_run([0, 0.2, 0.6])], [a_run([1, 0.1, 0.5])], on_the_way).mean == pytest.approx(0.1)


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
    counts = warned([before, late, never, cried_wolf, a_run(HEALTHY)], FOOLED)
    assert (counts.collapsed, counts.before, counts.late) == (3, 1, 1)
    assert (counts.healthy, counts.false) == (2, 1)


def test_an_alarm_does_not_count_for_a_run_that_has_nothing_it_looks_at() -> None:
    scored = a_run(COLLAPSED)
    scored["logged"]["first_share_low"] = [None] * 20
    by_verdicts = [alarm for alarm in ALARMS if alarm.needs == "first_share_low"]
    assert len(by_verdicts) == 2
    for alarm in by_verdicts:
        assert warned([scored], alarm).collapsed == 0
        assert warned([a_run(COLLAPSED)], alarm).collapsed == 1


def test_too_few_mistakes_to_judge_by_say_nothing() -> None:
    run = a_run(HEALTHY, [1.0, 1.0, 1.0, 0.0])
    assert fooled(run) == 15
    run["points"][-1]["pairs"] = 3
    assert fooled(run) is None
    assert preferences(run) == [1.0, 1.0, 1.0]


def test_every_alarm_rings_at_its_step_and_not_before() -> None:
    run = a_run(HEALTHY)
    assert [alarm.rang(run) for alarm in ALARMS] == [None] * len(ALARMS)
    logged = run["logged"]
    logged["train_length"][8:] = [5.0] * 7
    assert drifted(run) == 11
    logged["first_share_low"][9:] = [0.7] * 6
    assert biased(run) == 10
    assert biased_from_the_start(run) is None
    logged["first_share_high"][4] = 0.3
    assert biased_from_the_start(run) == biased(run) == 5
    logged["length_correlation"][:7] = [0.9, None, None, None, None, 0.2, 0.4]
    assert pays_length(run) == 7
    run["warnings"] = [[4, "position_bias"], [9, "length_drift"]]
    assert shipped(run) == 9


def test_calls_are_shown_for_the_first_third_and_for_all() -> None:
    run = a_run(HEALTHY)
    run["logged"]["judge_calls"] = [12.0] * 5 + [6.0] * 10
    assert calls(run) == (12.0, 8.0)


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


def test_a_wording_tells_equal_answers_apart_and_no_judge_reads_it() -> None:
    from recipes.ablation.wording import plain, worded, wordless_tokenizer
    from recipes.miniature.tokenizer import build_tokenizer

    responses = [worded("379", number) for number in range(48)]
    assert len(set(responses)) == 48
    assert {plain(response) for response in responses} == {"379"}
    read = {tuple(wordless_tokenizer().encode(f"<|user|>{response}<|end|>")) for response in responses}
    assert read == {tuple(build_tokenizer().encode("<|user|>379<|end|>"))}


async def test_the_oracles_know_the_answer_in_any_wording() -> None:
    from recipes.ablation.judges import settings
    from recipes.ablation.wording import worded

    right, wrong = worded("379", 0), worded("397", 1)
    query = "Sort the digits: 937"
    for name in ("oracle", "oracle_judge"):
        judge = make_judge(load(tree={"judge": settings(name, 0, Path("nowhere"))}).judge)
        shares = [(await judge.compare(query, *pair)).p for pair in ((right, wrong), (wrong, right))]
        assert shares[0] is not None
        assert shares[0] > 0.5 > (shares[1] or 0.0)
        assert (await judge.compare(query, right, worded("379", 2))).p == 0.5


def test_finished_runs_are_not_run_again(tmp_path: Path) -> None:
    from recipes.ablation.grid import file_of, load_results, plans, run_grid

    todo = plans(["elo", "oracle"], [8], range(2), 50)
    assert [(plan.row, plan.seed) for plan in todo] == [("elo", 0), ("oracle", 0), ("elo", 1), ("oracle", 1)]
    for plan in todo:
        file_of(plan, tmp_path).write_text(json.dumps({**a_run(HEALTHY), **plan.settings()}))
    # no judge is there: beginning a run would fail
    assert run_grid(todo, tmp_path, tmp_path / "nowhere", jobs=1, minutes=None) == 0
    assert run_grid([*todo, *plans(["elo"], [8], [9], 50)], tmp_path, tmp_path / "x", jobs=1, minutes=0) == 1
    assert len(load_results(tmp_path)) == 4


def test_a_run_with_other_settings_is_another_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from recipes.ablation import run
    from recipes.ablation.grid import file_of, plans, run_grid

    (plan,) = plans(["elo"], [8], [0], 50)
    file_of(plan, tmp_path).write_text(json.dumps({**a_run(HEALTHY), **plan.settings()}))

    def missing(wanted: Any) -> int:
        return run_grid([wanted], tmp_path, tmp_path / "nowhere", jobs=1, minutes=0)

    assert missing(plan) == 0
    assert missing(replace(plan, steps=10)) == 1
    monkeypatch.setitem(run.BUDGET, 8, 8)
    assert missing(plan) == 1


def test_a_judge_is_there_when_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from recipes.ablation import judges

    def dies(judge: str, seed: int, folder: Path) -> None:
        (folder / "config.json").write_text("{}")
        raise KeyboardInterrupt

    monkeypatch.setattr(judges, "_make", dies)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            judges.make_judge_of("scalar", 3, tmp_path)
        assert not (tmp_path / "scalar-3").exists()


def test_the_page_is_written_from_the_runs(tmp_path: Path) -> None:
    from recipes.ablation.report import write_page

    runs = [a_run(HEALTHY, row=row, seed=seed) for row in ("bradley_terry", "elo") for seed in range(3)]
    runs += [a_run(COLLAPSED, [1.0, 0.7, 0.5, 0.1, 0.0], row="narrow_scalar", seed=seed) for seed in range(3)]
    judges = {name: {"narrow": 0.99, "broad": 0.9} for name in ("rrm", "base")}
    judges |= {f"narrow_scalar-{seed}": {"narrow": 0.98, "broad": 0.6 + seed / 100} for seed in range(3)}
    (tmp_path / "judges.json").write_text(json.dumps(judges))
    write_page(runs, tmp_path / "judges.json", tmp_path / "ablation.md")
    page = (tmp_path / "ablation.md").read_text()
    elo = "| RRM, balanced pairs, Elo | 3 | 0.900 (SE 0.000) | +0.000 ± 0.000 | 0.767 (SE 0.000) | +0.000 ± 0.000 "
    assert elo + "| 12.0, 12.0 | 3.00 |" in page
    assert "- Groups of 8, scalar trained on narrow pairs: -0.900 ± 0.000 at the end" in page
    assert "- Groups of 8, not told apart: RRM, balanced pairs, Elo." in page
    assert "| 8 | scalar trained on narrow pairs | 0.46, 0.00, 0.00 | 3.0, 3.0 | 0.50, 0.50 |" in page
    assert "| narrow scalar | 3 | 0.980 | 0.600 to 0.620 | 0.00 | 3 of 3 | 15, 15, 15 |" in page
    assert "| `prefers_correct` < 0.8 (needs right answers) | 3 / 0 / 0 of 3 | 0 of 6 | 0 of 0 |" in page
    assert "**No metric that needs no right answers warned before half of the collapses.**" in page
    assert (tmp_path / "ablation-8.png").stat().st_size > 1000
    assert "**Incomplete: fewer than 3 seeds of elo_all (0 at 8), win_rate (0 at 8)" in page


def test_the_committed_page_is_what_the_committed_runs_say() -> None:
    from recipes.ablation.grid import load_results
    from recipes.ablation.report import page_of

    accuracies = json.loads((RESULTS / "judges" / "judges.json").read_text())
    assert (ROOT / "docs" / "ablation.md").read_text() == page_of(load_results(RESULTS / "runs"), accuracies)


@pytest.mark.trainer
def test_a_row_of_the_ablation_teaches_the_policy_at_its_budget(tmp_path: Path) -> None:
    from recipes.ablation.grid import load_results, plans, run_grid

    todo = plans(["bradley_terry"], [8], [0], 50)
    assert run_grid(todo, tmp_path, tmp_path / "judges", jobs=1, minutes=None) == 0
    (run,) = load_results(tmp_path)
    assert run["points"][0]["accuracy"] < 0.5
    assert run["points"][-1]["accuracy"] > 0.7
    # equal answers are compared too; a verdict that cannot be read is asked for once more
    assert all(12 <= calls < 13 for calls in run["logged"]["judge_calls"])
    assert min(run["logged"]["distinct"]) < 4
    assert run["points"][0]["prefers_correct"] > 0.8
    assert collapse_began(run) is None
    assert json.loads((tmp_path / "judges" / "judges.json").read_text())["rrm"]["broad"] > 0.9
