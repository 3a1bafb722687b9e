"""A run log gives the same rewards again, and those of another rating or schedule, without a call."""

import json
import random
import sqlite3

import numpy as np
import pytest

from rrm_reward import cli
from rrm_reward.rating import make_rating
from rrm_reward.record import LoggedGroup, RunLog, replay
from rrm_reward.reward import make_reward
from rrm_reward.tournament import make_tournament
from rrm_reward.types import GroupResult, Outcome, Ratings, Verdict, Vote
from tests.support.running_judge import running_judge

FIELDS = ("rewards", "ratings", "stderr", "missing")


def write_groups(path, n, size, twins=False):
    rng = random.Random(1)
    with path.open("w") as file:
        for g in range(n):
            texts = [f"quality={quality / 1000} of {g}" for quality in rng.sample(range(1000), size)]
            if twins:
                texts[size - 1], texts[1] = texts[0], None
            file.write(json.dumps({"id": f"g{g}", "query": f"question {g}", "responses": texts}) + "\n")


def run(capsys, *command):
    code = cli.main([str(part) for part in command])
    captured = capsys.readouterr()
    return code, [json.loads(line) for line in captured.out.splitlines()], captured.err


def rank(judge, capsys, groups, log, *options):
    command = ("rank", groups, "--judge", judge.url, "--model", judge.model, f"log.path={log}")
    code, rows, _ = run(capsys, *command, *options)
    assert code == 0
    return rows


@pytest.mark.parametrize("schedule", ["round_robin", "knockout", "swiss", "double_elimination", "anchor"])
def test_a_replay_under_the_same_settings_gives_the_same_numbers(schedule, tmp_path, capsys):
    groups, log = tmp_path / "in.jsonl", tmp_path / "run.sqlite"
    write_groups(groups, 6, 8, twins=True)
    with running_judge(noise=0.2) as judge:
        rows = rank(judge, capsys, groups, log, "--tournament", schedule)
        asked = judge.counts["requests"]
        for options in ((), ("--tournament", schedule)):
            code, replayed, _ = run(capsys, "replay", log, *options)
            assert code == 0
            for row, again in zip(rows, replayed, strict=True):
                assert again["id"] == row["id"]
                for name in FIELDS:
                    assert again[name] == pytest.approx(row[name], nan_ok=True), name
                assert (again["calls"], again["uncovered"]) == (0, 0)
        assert judge.counts["requests"] == asked


@pytest.mark.parametrize("rating", ["elo", "win_rate", "bradley_terry"])
def test_another_rating_is_what_a_run_with_it_would_have_given(rating, tmp_path, capsys):
    groups, log, other = tmp_path / "in.jsonl", tmp_path / "run.sqlite", tmp_path / "other.sqlite"
    write_groups(groups, 4, 6)
    with running_judge() as judge:
        rank(judge, capsys, groups, log, "--rating", "elo", "--concurrency", "1")
        rows = rank(judge, capsys, groups, other, "--rating", rating, "--concurrency", "1")
    _, replayed, _ = run(capsys, "replay", log, "--rating", rating)
    for row, again in zip(rows, replayed, strict=True):
        assert again["ratings"] == pytest.approx(row["ratings"], abs=1e-6)


def test_a_smaller_schedule_is_covered_by_a_round_robin(tmp_path, capsys):
    groups, log = tmp_path / "in.jsonl", tmp_path / "run.sqlite"
    write_groups(groups, 4, 8)
    with running_judge() as judge:
        rank(judge, capsys, groups, log)
        knockout = rank(judge, capsys, groups, tmp_path / "other.sqlite", "--tournament", "knockout")
    code, replayed, err = run(capsys, "replay", log, "--tournament", "knockout")
    assert code == 0
    assert [(row["comparisons"], row["uncovered"]) for row in replayed] == [(7, 0)] * 4
    assert [row["rewards"] for row in replayed] == [row["rewards"] for row in knockout]
    assert "28 of 28 matches are in the log" in err


def test_what_a_larger_schedule_lacks_is_missing_and_counted(tmp_path, capsys):
    groups, log = tmp_path / "in.jsonl", tmp_path / "run.sqlite"
    write_groups(groups, 3, 8)
    with running_judge() as judge:
        rank(judge, capsys, groups, log, "--tournament", "knockout")
    code, replayed, err = run(capsys, "replay", log, "--tournament", "round_robin")
    assert code == 0
    assert [(row["comparisons"], row["missing"], row["uncovered"]) for row in replayed] == [(28, 21, 21)] * 3
    assert "21 of 84 matches are in the log" in err


def test_groups_that_lost_rows_are_left_out_and_named(tmp_path, capsys):
    groups, log = tmp_path / "in.jsonl", tmp_path / "run.sqlite"
    write_groups(groups, 3, 4)
    with running_judge() as judge:
        rank(judge, capsys, groups, log)
    database = sqlite3.connect(log)
    with database:
        database.execute("DELETE FROM matches WHERE key = (SELECT min(key) FROM matches WHERE sequence = 1)")
    database.close()
    code, replayed, err = run(capsys, "replay", log)
    assert code == 1
    assert [row["id"] for row in replayed] == ["g0", "g2"]
    assert "1 groups lost rows" in err


def test_a_replay_refuses_what_it_has_no_use_for(tmp_path, capsys):
    log = tmp_path / "run.sqlite"
    groups = tmp_path / "in.jsonl"
    write_groups(groups, 1, 3)
    with running_judge() as judge:
        rank(judge, capsys, groups, log)
    for options, named in (
        (("judge.votes=3",), "asks no judge"),
        (("--rating", "elo2"), "rating.name"),
        (("--rating", "placement"), "placement"),
        (("reward.scale=nonsense",), "reward.scale"),
    ):
        code, rows, err = run(capsys, "replay", log, *options)
        assert (code, rows) == (2, [])
        assert named in err
    assert run(capsys, "replay", tmp_path / "absent")[0] == 2


def logged(*outcomes, size=3, standing=()):
    return LoggedGroup("g", "q", size, outcomes, None, standing=standing)


def test_a_match_in_the_other_order_serves_with_its_probability_turned_round():
    group = logged(Outcome(1, 0, 0.9, (Vote(True, Verdict(1)),)), size=2)
    tournament = make_tournament("round_robin", 2, seed=0)
    match = make_tournament("round_robin", 2, seed=0)
    for slot in range(2):
        match.add(slot)
    [asked] = match.ready()
    replayed = replay(group, make_rating("win_rate"), make_reward(), tournament=tournament)
    [outcome] = replayed.result.outcomes
    assert (outcome.i, outcome.j) == (asked.i, asked.j)
    assert outcome.p == pytest.approx(0.9 if asked.i == 1 else 0.1)
    assert outcome.votes[0].for_i == (asked.i == 1)


def test_a_lower_twin_that_came_late_inherits_what_was_played_for_it():
    group = logged(Outcome(1, 2, 1.0), standing=(0, 0, 2))
    result = replay(group, make_rating("win_rate"), make_reward()).result
    assert [(outcome.i, outcome.j) for outcome in result.outcomes] == [(0, 2)]
    assert result.rewards[0] == result.rewards[1] > result.rewards[2]


def test_groups_that_were_scored_and_not_compared_are_left_out_and_named(tmp_path, capsys):
    log = RunLog(tmp_path / "run.sqlite")
    scores = np.array([0.1, 0.9])
    log.opened(0, "g", "q", 2)
    log.closed(0, GroupResult("g", scores, Ratings(scores, scores), (), 0, 2, 0, standing=(0, 1)))
    log.close()
    code, rows, err = run(capsys, "replay", tmp_path / "run.sqlite")
    assert (code, rows) == (1, [])
    assert "nothing to rate again" in err


def test_a_pair_that_meets_more_often_than_in_the_log_is_counted_as_repeated(tmp_path, capsys):
    groups, log = tmp_path / "in.jsonl", tmp_path / "run.sqlite"
    write_groups(groups, 2, 2)
    with running_judge() as judge:
        rank(judge, capsys, groups, log)
    code, replayed, err = run(
        capsys, "replay", log, "--tournament", "adaptive", "tournament.budget=2", "--rating", "bradley_terry"
    )
    assert code == 0
    assert [(row["comparisons"], row["uncovered"], row["repeated"]) for row in replayed] == [(2, 0, 1)] * 2
    assert "2 of these repeat the verdict" in err
