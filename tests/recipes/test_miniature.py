"""What the shipped miniature promises: checkpoints that load anywhere, a judge to be trusted, data without answers."""

import json
import random
import statistics

import pyarrow.parquet
import pytest

from recipes.miniature.base import analysis, marks
from recipes.miniature.data import write_data
from recipes.miniature.evaluate import held_out_pairs, load, score_judge, score_policy
from recipes.miniature.learning import group_advantages
from recipes.miniature.make_checkpoints import CHECKPOINTS
from recipes.miniature.sampling import ask, encode_prompt, sample
from recipes.miniature.task import JudgedPair, all_queries, make_pair, right_answer, slip, wrong_answer
from recipes.miniature.tokenizer import build_tokenizer
from recipes.miniature.train_policy import judged_rewards
from recipes.miniature.train_rrm import verdict_reward
from rrm_reward.judge import build_messages, parse_verdict

QUERY = "Sort the digits: 937"


@pytest.fixture(scope="module")
def base():
    return load(CHECKPOINTS / "base")


@pytest.fixture(scope="module")
def rrm():
    return load(CHECKPOINTS / "rrm")


@pytest.mark.parametrize("name", ["base", "rrm"])
def test_the_auto_classes_load_a_checkpoint_with_its_own_tokenizer(name):
    model, tokenizer = load(CHECKPOINTS / name)
    assert model.config.model_type == "llama"
    assert sum(parameter.numel() for parameter in model.parameters()) < 150_000
    assert (CHECKPOINTS / name / "model.safetensors").stat().st_size < 1_000_000
    # transformers would swap the tokenizer of a qwen2 folder without a word
    assert tokenizer.convert_ids_to_tokens(tokenizer.encode(QUERY)) == ["Sort the digits: ", "9", "3", "7"]


@pytest.mark.parametrize("name", ["base", "rrm"])
def test_a_shipped_tokenizer_is_the_one_that_the_library_s_prompt_gives(name):
    shipped, built = load(CHECKPOINTS / name)[1], build_tokenizer()
    messages = build_messages(QUERY, "379", "3799")
    assert shipped.get_vocab() == built.get_vocab(), "the prompt has changed: remake the checkpoints"
    assert encode_prompt(shipped, messages) == encode_prompt(built, messages)


def test_a_verdict_is_read_token_by_token(rrm):
    _, tokenizer = rrm
    tokens = tokenizer.convert_ids_to_tokens(tokenizer.encode(r"\boxed{Assistant 1}"))
    assert tokens == [r"\boxed{Assistant ", "1", "}"]


def test_a_judgment_survives_the_tokenizer_and_parses(rrm):
    _, tokenizer = rrm
    text = analysis(JudgedPair(QUERY, "379", "39", 1)) + r"\boxed{Assistant 1}"
    decoded = tokenizer.decode(tokenizer.encode(text), skip_special_tokens=True)
    assert decoded == text == r"<think>379;+++;+--</think>\boxed{Assistant 1}"
    assert parse_verdict(decoded).choice == 1


def test_the_whole_prompt_of_the_judge_is_there_and_costs_few_tokens(rrm):
    _, tokenizer = rrm
    messages = build_messages(QUERY, "379", "397")
    ids = encode_prompt(tokenizer, messages)
    assert len(ids) == 20
    for message in messages:
        assert message["content"] in tokenizer.decode(ids)


def test_no_held_out_answer_belongs_to_a_training_query():
    known, held_out = all_queries(held_out=False), all_queries(held_out=True)
    assert len(known) + len(held_out) == 1000
    assert len(held_out) == 100
    assert not {right_answer(query) for query in known} & {right_answer(query) for query in held_out}


def test_wrong_answers_are_wrong():
    rng = random.Random(0)
    for query in all_queries(held_out=True):
        assert all(wrong_answer(query, rng) != right_answer(query) for _ in range(20))
        assert all(slip(query, rng) != right_answer(query) for _ in range(20))


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("379", "+++"),
        ("397", "+--"),
        ("37", "++-"),
        ("3799", "+++-"),
        ("", "---"),
        ("5o++----++++", "--------"),
    ],
)
def test_marks_say_where_a_response_agrees(response, expected):
    assert marks("379", response) == expected


def test_the_training_data_hold_no_answers(tmp_path):
    train, val = write_data(tmp_path, seed=1)
    rows = pyarrow.parquet.read_table(train).to_pylist()
    prompts = {row["prompt"][0]["content"] for row in rows}
    assert len(rows) == 880
    assert {row["reward_model"]["ground_truth"] for row in rows} == {""}
    assert set(rows[0]) == {"data_source", "prompt", "ability", "reward_model", "extra_info"}
    measured = pyarrow.parquet.read_table(val).to_pylist()
    assert len(measured) == 100
    assert not prompts & {row["prompt"][0]["content"] for row in measured}
    for row in measured:
        assert row["reward_model"]["ground_truth"] == right_answer(row["prompt"][0]["content"])


def test_the_training_data_follow_from_the_seed(tmp_path):
    def rows(name, seed):
        return pyarrow.parquet.read_table(write_data(tmp_path / name, seed=seed)[0]).to_pylist()

    assert rows("a", 3) == rows("b", 3) != rows("c", 4)


def test_the_base_policy_has_something_to_learn(base):
    score = score_policy(*base, samples_per_query=4)
    assert 0.25 < score.sampled.mean < 0.55
    assert score.length == pytest.approx(3.0, abs=0.3)


@pytest.mark.parametrize("temperature", [0.6, 1.0])
def test_the_rrm_judges_held_out_pairs_well_in_both_orders(rrm, temperature):
    score = score_judge(*rrm, held_out_pairs(200), temperature=temperature)
    assert score.accuracy.mean > 0.9
    assert score.consistent.mean > 0.85
    assert abs(score.first.mean - 0.5) < 0.05


def test_the_base_is_a_poor_judge(base):
    score = score_judge(*base, held_out_pairs(200))
    assert score.accuracy.mean < 0.65
    assert score.no_verdict.mean < 0.05, "it answers in form, it just does not know"


@pytest.mark.parametrize(
    "exploit", [lambda right: right + "99", lambda right: right + right, lambda right: right[0] + "o++----"]
)
def test_the_rrm_is_not_talked_over(rrm, exploit):
    rng = random.Random(0)
    pairs = [make_pair(q, exploit(right_answer(q)), rng) for q in all_queries(held_out=True)]
    assert score_judge(*rrm, pairs).accuracy.mean > 0.85


def test_the_rrm_s_ratings_put_the_right_answer_first(rrm):
    groups = [
        [right_answer(q), right_answer(q)[::-1] + "0", q[-1] * 3, ""] for q in all_queries(held_out=True)
    ]
    queries = all_queries(held_out=True)
    rewards = judged_rewards(*rrm, queries, groups, temperature=0.6, rng=random.Random(0))
    won = [rewards[start] == max(rewards[start : start + 4]) for start in range(0, len(rewards), 4)]
    assert statistics.mean(won) > 0.9


def test_identical_responses_share_a_reward(rrm):
    rewards = judged_rewards(
        *rrm, [QUERY], [["379", "937", "379", "37"]], temperature=0.6, rng=random.Random(0)
    )
    assert rewards[0] == rewards[2] > rewards[1]


def test_only_the_right_verdict_is_rewarded():
    assert verdict_reward(r"<think>379;+++;+--</think>\boxed{Assistant 1}", 1) == 1.0
    assert verdict_reward(r"<think>379;+++;+--</think>\boxed{Assistant 1}", 2) == -1.0
    assert verdict_reward("<think>379;+++;", 1) == -1.0


def test_advantages_compare_within_a_group_and_ignore_undecided_ones():
    advantages = group_advantages([1, 1, -1, -1, 5, 5, 5, 5], group_size=4)
    assert advantages == pytest.approx([0.866, 0.866, -0.866, -0.866, 0, 0, 0, 0], abs=1e-3)


def test_greedy_sampling_ends_at_the_end_token(base):
    model, tokenizer = base
    (drawn,) = sample(model, tokenizer, [ask(QUERY)], max_new_tokens=8, temperature=0)
    assert drawn.completion[-1] == tokenizer.eos_token_id
    assert drawn.text == tokenizer.decode(drawn.completion[:-1])


def test_the_metrics_say_how_the_checkpoints_were_made():
    metrics = json.loads((CHECKPOINTS / "metrics.json").read_text())
    assert metrics["command"].startswith("python -m recipes.miniature.make_checkpoints")
    assert metrics["parameters"] < 150_000
    for judge, low, high in (("judge_base", 0.45, 0.65), ("judge_rrm", 0.9, 1.0)):
        for scores in metrics[judge].values():
            assert all(low <= score["accuracy"]["mean"] <= high for score in scores)
