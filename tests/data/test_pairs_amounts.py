"""How many pairs a run makes and pays for, which of them are held out, and in which order they are shown."""

import itertools

import pytest

from rrm_reward import cli
from rrm_reward.data.pairs._build import balanced_orders, hold_out
from rrm_reward.data.pairs._overlap import Contamination
from rrm_reward.data.pairs._row import Pair
from rrm_reward.data.pairs._sources import INSTRUCTION, SOURCES
from rrm_reward.data.pairs._survey import Account, Survey
from rrm_reward.scoring._transformers import TransformersScorer
from tests.data.making_pairs import (
    SKYWORK_REWARD,
    TULU,
    every_second,
    manifest_of,
    pair,
    pairs,
    plus,
    read,
    running_sampler,
    sums,
    user,
    write,
)


def test_a_limit_is_of_pairs_and_nothing_is_sampled_when_there_are_enough(tmp_path):
    arguments = ["--source", f"webinstruct={write(tmp_path / 'rows.jsonl', sums(60))}"]
    arguments += ["--source", f"skywork-reward={write(tmp_path / 'pairs.jsonl', SKYWORK_REWARD)}"]
    arguments += ["--limit", "7", "--limit", "webinstruct=5", "--concurrency", "2"]
    out = tmp_path / "out"
    with running_sampler(answers=every_second) as sampler:
        assert pairs(out, *arguments, sampler=sampler) == 0
        paid = len(sampler.questions)
        written = (out / "train.parquet").read_bytes()
        assert pairs(out, *arguments, sampler=sampler) == 0
        assert len(sampler.questions) == paid, "the second run asks for nothing"
        assert (out / "train.parquet").read_bytes() == written
    sources = manifest_of(out)["sources"]
    assert (sources["webinstruct"]["pairs"], sources["skywork-reward"]["pairs"]) == (5, 7)
    for source, rows in (("webinstruct", 60), ("skywork-reward", 20)):
        assert sources[source]["pairs"] + sum(sources[source]["dropped"].values()) == rows
    none_wrong = sources["webinstruct"]["dropped"]["none wrong"]
    assert 5 < paid <= 5 + none_wrong + 1, "those in work at the end, at most"


def test_which_pairs_a_limit_takes_does_not_hang_on_how_many_are_in_work(tmp_path):
    source = ("--source", f"webinstruct={write(tmp_path / 'rows.jsonl', sums(60))}", "--limit", "5")
    with running_sampler(answers=every_second) as sampler:
        for width in (1, 16):
            assert pairs(tmp_path / f"{width}", *source, "--concurrency", width, sampler=sampler) == 0
    one, other = ({row["id"] for row in read(tmp_path / f"{w}/train_preferences.parquet")} for w in (1, 16))
    assert one == other


def test_a_dry_run_says_what_would_be_paid_and_pays_nothing(tmp_path, capfd):
    out = tmp_path / "out"
    sources = ["--source", f"webinstruct={write(tmp_path / 'rows.jsonl', [*sums(60), sums(1)[0]])}"]
    sources += ["--source", f"tulu={write(tmp_path / 'tulu.jsonl', TULU)}", "--limit", "tulu=2", "--dry-run"]
    with running_sampler() as sampler:
        assert pairs(out, *sources, sampler=sampler) == 0
        assert not sampler.questions
    told = capfd.readouterr().err
    assert "webinstruct: 60 of 61 rows can be used; at most 60 requests of 4 responses" in told
    assert "tulu: 6 of 6 rows can be used, until there are 2 pairs; at most 6 requests of 2 responses" in told
    assert "12 judgments" in told
    assert not out.exists()


def test_several_samplers_share_the_questions_and_none_is_asked_twice(tmp_path):
    out = tmp_path / "out"
    arguments = ["--source", f"webinstruct={write(tmp_path / 'rows.jsonl', sums(40))}"]
    with running_sampler(model="small") as small, running_sampler(model="large") as large:
        arguments += ["--sampler", large.url, "--sampler-model", large.model]
        assert pairs(out, *arguments, sampler=small) == 0
        asked = [len(sampler.questions) for sampler in (small, large)]
        assert sorted(small.questions + large.questions) == sorted(
            f"{plus(k, 1)}\n\n{INSTRUCTION}" for k in range(40)
        )
    assert min(asked) > 5
    assert manifest_of(out)["sources"]["webinstruct"]["pairs"] == 40


@pytest.mark.parametrize("kept", ["final", "full"])
def test_preferences_are_what_a_scalar_judge_reads_unless_thoughts_are_asked_for(tmp_path, kept):
    out = tmp_path / "out"
    thought = f"<think>{'Let me see. ' * 800}</think>\n\n"

    def answers(question, n):
        return [f"{thought}So \\boxed{{{3 + i % 2}}}<|im_end|>" for i in range(n)]

    source = ("--source", f"webinstruct={write(tmp_path / 'rows.jsonl', sums(3)[2:])}", "--preferences", kept)
    with running_sampler(answers=answers) as sampler:
        assert pairs(out, *source, sampler=sampler) == 0
    (row,) = read(out / "train_preferences.parquet")
    for name, answer in (("chosen", 3), ("rejected", 4)):
        raw = f"{thought}So \\boxed{{{answer}}}<|im_end|>"
        read_by_the_judge = TransformersScorer("any").view(raw)
        assert row[name][0]["content"] == (raw if kept == "full" else read_by_the_judge)
    (judged,) = read(out / "train.parquet")
    assert "Let me see" not in judged["prompt"][1]["content"]


def test_what_one_run_held_out_is_no_longer_there_when_the_next_one_trains_on_it(tmp_path):
    source = ("--source", f"skywork-reward={write(tmp_path / 'rows.jsonl', SKYWORK_REWARD)}")
    out = tmp_path / "out"
    assert pairs(out, *source, "--val", "5") == 0
    assert len(read(out / "val.parquet")) == len(read(out / "val_preferences.parquet")) == 5
    assert pairs(out, *source, "--val", "0") == 0
    assert len(read(out / "train.parquet")) == 20
    assert not (out / "val.parquet").exists()
    assert not (out / "val_preferences.parquet").exists()


def test_a_tenth_is_held_out_if_nobody_says_how_many(tmp_path):
    source = f"skywork-reward={write(tmp_path / 'rows.jsonl', SKYWORK_REWARD)}"
    assert cli.main(["data", "pairs", str(tmp_path / "out"), "--source", source]) == 0
    assert (manifest_of(tmp_path / "out")["train"], manifest_of(tmp_path / "out")["val"]) == (18, 2)


def test_a_source_that_is_named_twice_has_two_accounts_and_ids_of_its_own(tmp_path):
    out = tmp_path / "out"
    places = [
        write(tmp_path / "a.jsonl", SKYWORK_REWARD[:12]),
        write(tmp_path / "b.jsonl", SKYWORK_REWARD[10:]),
    ]
    given = [f"skywork-reward={place}" for place in places]
    assert pairs(out, "--source", given[0], "--source", given[1], "--val", "4") == 0
    sources = manifest_of(out)["sources"]
    assert [(sources[name]["read"], sources[name]["pairs"]) for name in given] == [(12, 12), (10, 8)]
    assert sources[given[1]]["dropped"] == {"duplicate": 2}
    assert sum(sources[name]["train"] for name in given) == 16
    rows = read(out / "train.parquet") + read(out / "val.parquet")
    assert len({row["extra_info"]["id"] for row in rows}) == 20


def test_a_question_that_two_kinds_of_sources_share_is_used_once(tmp_path):
    write(tmp_path / "rows.jsonl", sums(2))
    write(tmp_path / "tulu.jsonl", [{"id": "0", "messages": [user(plus(1, 1))], "source": "s"}])
    account = Account(SOURCES["tulu"], "tulu", str(tmp_path / "tulu.jsonl"))
    survey = Survey(Contamination(), 0)
    survey.look(Account(SOURCES["webinstruct"], "webinstruct", str(tmp_path / "rows.jsonl")))
    survey.look(account)
    assert account.dropped == {"duplicate": 1}


def test_a_question_with_our_instruction_is_held_out_with_the_one_without():
    same = [
        Pair("s", "0", "Why?", "a", "b"),
        Pair("t", "1", f"Why?\n\n{INSTRUCTION}", "c", "d"),
        pair(3),
        pair(4),
    ]
    for seed in range(5):
        train, _ = hold_out(same, 1, seed)
        assert len({one.id for one in train} & {"0", "1"}) in (0, 2)


def test_orders_are_balanced_in_every_source_and_follow_from_the_seed():
    many = [pair(k, source) for source in ("a", "b") for k in range(50)]
    orders = balanced_orders(many, seed=1)
    assert sum(orders[:50]) == sum(orders[50:]) == 25
    assert orders == balanced_orders(many, seed=1) != balanced_orders(many, seed=2)
    runs = sum(one != other for one, other in itertools.pairwise(orders))
    assert 30 < runs < 70, "neither in blocks nor in turn"


def test_no_query_is_trained_on_and_held_out():
    many = [Pair("s", str(k), f"query {k // 2}", f"b{k}", f"w{k}") for k in range(20)]
    train, held_out = hold_out(many, 5, seed=0)
    assert len(train) + len(held_out) == 20
    assert len(held_out) == 6
    assert not {one.query for one in train} & {one.query for one in held_out}
