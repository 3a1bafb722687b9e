"""What `rrm-reward data pairs` reads, and what it refuses before anything is paid."""

import pytest

from rrm_reward import cli
from rrm_reward.data.pairs._overlap import Contamination
from rrm_reward.data.pairs._sources import SOURCES, Prompt, Question
from tests.data.making_pairs import (
    ROWS,
    RRM,
    SKYWORK_REWARD,
    assistant,
    manifest_of,
    pairs,
    user,
    verl_style,
    write,
)


def test_malformed_preferences_are_dropped_by_reason(tmp_path):
    good = SKYWORK_REWARD[0]
    rows = [
        good,
        {**good, "chosen": [user("Hm?"), assistant("0")]},
        {**good, "chosen": [user("Say 0."), assistant("not 0")]},
        {**good, "chosen": [user("Say 0."), assistant(" ")]},
        {**good, "chosen": [user("Say 0.")]},
    ]
    out = tmp_path / "out"
    assert pairs(out, "--source", f"skywork-reward={write(tmp_path / 'rows.jsonl', rows)}") == 0
    assert manifest_of(out)["sources"]["skywork-reward"]["dropped"] == {
        "prompts differ": 1,
        "identical responses": 1,
        "empty response": 1,
        "malformed": 1,
    }


def test_overlap_is_of_words_in_a_row_and_short_texts_are_compared_whole():
    evaluation = Contamination(n=4)
    evaluation.add("The quick brown fox jumps.")
    evaluation.add("Why not?")
    assert evaluation.found_in("I saw THE quick, brown fox today")
    assert not evaluation.found_in("The quick red fox jumps")
    assert evaluation.found_in("why NOT?")
    assert not evaluation.found_in("why not now")


def test_an_or1_truth_may_be_a_json_list_a_plain_answer_or_an_interval():
    reader = SOURCES["skywork-or1"].read
    for truth, answers in (
        ('["5", "6"]', ("5", "6")),
        ("5", ("5",)),
        ("[0, 1)", ("[0, 1)",)),
        ("[2]", ("2",)),
    ):
        item = reader(verl_style("Q?", truth))
        assert isinstance(item, Question)
        assert item.answers == answers
    assert reader(verl_style("Q?", "[]")) == "no answer"
    assert reader(verl_style("Q?", "")) == "no answer"


def test_a_conversation_is_cut_before_the_answer_that_is_to_be_sampled():
    item = SOURCES["tulu"].read({"messages": [user("a"), assistant("b"), user("c"), assistant("d")]})
    assert item == Prompt([user("a"), assistant("b"), user("c")])
    assert SOURCES["tulu"].read({"messages": [assistant("b")]}) == "malformed"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--source", "imagenet"], "--source='imagenet': choose one of skywork-reward"),
        (["--source", "dapo=ROWS"], "--sampler=None: dapo has no responses"),
        (["--source", "dapo=ROWS", "--sampler", "http://127.0.0.1:9/v1"], "--sampler-model=None"),
        (["--source", "dapo=ROWS", "--samples", "1"], "--samples=1: must be at least 2"),
        (["--source", "skywork-reward=ROWS"], "has no column 'chosen'"),
        (["--source", "dapo=ROWS", "--dry-run", "--exclude", "EVAL:nothing"], "--exclude='EVAL:nothing'"),
        (["--source", "dapo=ROWS", "--dry-run", "--exclude", "ROWS2"], "name its column"),
        (
            ["--source", "tulu=TULU", "--sampler", "http://127.0.0.1:9/v1"],
            "--labeller=None: tulu has no labels",
        ),
        (["--source", "dapo=ROWS", "--limit", "tulu=9"], "tulu is no --source of this run"),
        (["--source", "dapo=ROWS", "--limit", "dapo=0"], "--limit='dapo=0': write N or NAME=N"),
        (["--source", "dapo=ROWS", "--source", "dapo=ROWS", "--dry-run"], "is named twice"),
    ],
)
def test_what_cannot_work_is_named_before_anything_is_paid(tmp_path, monkeypatch, capfd, arguments, message):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "rows.jsonl", ROWS["dapo"])
    write(tmp_path / "eval.jsonl", [{"question": "Q?"}])
    write(tmp_path / "other.jsonl", [{"title": "Q?"}])
    names = {"ROWS2": "other.jsonl", "ROWS": "rows.jsonl", "TULU": "rows.jsonl", "EVAL": "eval.jsonl"}
    for name, file in names.items():
        arguments = [argument.replace(name, file) for argument in arguments]
        message = message.replace(name, file)
    assert cli.main(["data", "pairs", "out", *arguments]) == 2
    assert message in capfd.readouterr().err


def test_a_tokenizer_measures_prompts_in_tokens(tmp_path):
    out = tmp_path / "out"
    rows = [*SKYWORK_REWARD[:2], {**SKYWORK_REWARD[0], "chosen": [user("Say 0."), assistant("0" * 99)]}]
    source = f"skywork-reward={write(tmp_path / 'rows.jsonl', rows)}"
    tokenizer = ("--tokenizer", RRM, "--max-tokens", "80")
    assert pairs(out, "--source", source, *tokenizer) == 0
    assert manifest_of(out)["sources"]["skywork-reward"]["dropped"] == {"too long": 1}
