"""The recipe composes with verl's own config, holds the paper's Table 7, and rewards nothing but the verdict."""

from __future__ import annotations

import subprocess

import pyarrow.parquet
import pytest
from omegaconf import DictConfig

from recipes.miniature.task import all_queries, right_answer
from recipes.train_rrm import miniature
from recipes.train_rrm.miniature import RECIPE, SOURCE, Setting
from rrm_reward.integrations.verl.check import compose_config
from rrm_reward.integrations.verl.verdict_log import VerdictLog, verdict_metrics
from rrm_reward.integrations.verl.verdict_reward import compute_score
from rrm_reward.judge import build_messages

SIZES = {
    "7b": ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", 1e-6),
    "32b": ("deepseek-ai/DeepSeek-R1-Distill-Qwen-32B", 5e-7),
}


@pytest.fixture(
    scope="module", params=[(size, hardware) for size in SIZES for hardware in ("cuda", "mi300x")]
)
def variant(request: pytest.FixtureRequest) -> tuple[str, DictConfig]:
    size, hardware = request.param
    return size, compose_config(RECIPE, "train_rrm", [f"size={size}", f"hardware={hardware}"])


def test_every_variant_passes_verls_checks(variant: tuple[str, DictConfig]) -> None:
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import validate_config

    _, config = variant
    validate_config(config, need_reference_policy(config), need_critic(config))


def test_every_variant_is_the_papers_table_7(variant: tuple[str, DictConfig]) -> None:
    size, config = variant
    actor, rollout, data = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout, config.data
    assert (config.actor_rollout_ref.model.path, actor.optim.lr) == SIZES[size]
    assert (config.algorithm.adv_estimator, rollout.n, rollout.temperature) == ("grpo", 16, 0.6)
    assert (data.train_batch_size, actor.ppo_mini_batch_size) == (128, 64)
    assert (data.max_prompt_length, data.max_response_length) == (4096, 8192)
    assert (actor.use_kl_loss, actor.kl_loss_coef) == (True, 1e-3)
    assert not config.algorithm.use_kl_in_reward
    assert actor.ppo_max_token_len_per_gpu >= data.max_prompt_length + data.max_response_length


def test_verl_loads_the_recipes_reward_and_log_by_their_paths(variant: tuple[str, DictConfig]) -> None:
    from verl.trainer.ppo.reward import get_custom_reward_fn
    from verl.utils.import_utils import load_extern_type

    _, config = variant
    reward = get_custom_reward_fn(config)
    assert reward("any", r"Hm.</think>\boxed{Assistant 2}", "2")["score"] == 1.0
    sampler = config.trainer.v1.sampler.custom_sampler
    # verl loads the file anew, so it is another class of the same name
    assert load_extern_type(sampler.path, sampler.name).__name__ == VerdictLog.__name__


def test_the_script_refuses_two_lists_of_amd_devices() -> None:
    done = subprocess.run(
        ["bash", RECIPE / "run_train_rrm.sh"],
        env={"PATH": "/usr/bin:/bin", "HIP_VISIBLE_DEVICES": "0", "ROCR_VISIBLE_DEVICES": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "unset ROCR_VISIBLE_DEVICES" in done.stderr


@pytest.mark.parametrize(
    ("completion", "score"),
    [
        (r"Because.</think>\boxed{Assistant 1}", 1.0),
        (r"Because.</think> The answer is \boxed{Assistant 1}.", 1.0),
        (r"Because.</think>\boxed{Assistant 2}", -1.0),
        (r"No reasoning worth its name</think>\boxed{Assistant 1}", 1.0),
        (r"Because.</think>I cannot say.", -1.0),
        (r"Because.</think>\boxed{Assistant 1} or \boxed{Assistant 2}", -1.0),
        ("", -1.0),
    ],
)
def test_the_reward_is_the_verdict_alone(completion: str, score: float) -> None:
    assert compute_score("s", completion, "1")["score"] == score


def test_a_box_inside_reasoning_that_never_ends_earns_nothing() -> None:
    cut = r"It must be \boxed{Assistant 1}"
    assert compute_score("s", cut, "1")["score"] == -1.0
    assert compute_score("s", cut, "1")["no_verdict"] == 1.0
    assert compute_score("s", cut, "1", thinks=False)["score"] == 1.0


def test_every_row_has_the_same_keys() -> None:
    keys = {
        tuple(compute_score("s", text, "2")) for text in ("", "x</think>\\boxed{Assistant 2}", "</think>")
    }
    assert len(keys) == 1


def test_rows_of_another_kind_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="ground_truth='42'"):
        compute_score("s", "", "42")


def judgment(choice: int, better: int) -> dict[str, float]:
    text = f"</think>\\boxed{{Assistant {choice}}}" if choice else "cut"
    return compute_score("s", text, str(better))


def test_the_log_tells_a_biased_judge_from_a_fair_one() -> None:
    biased = [judgment(1, better) for better in (1, 2, 1, 2)]
    assert verdict_metrics(biased, [5] * 4)["rrm/position_bias"] == 0.5
    fair = [judgment(better, better) for better in (1, 2, 1, 1)]
    assert verdict_metrics(fair, [5] * 4)["rrm/position_bias"] == 0.0
    assert verdict_metrics(fair, [5] * 4)["rrm/accuracy"] == 1.0


def test_missing_verdicts_are_counted_with_their_length_and_are_no_bias() -> None:
    metrics = verdict_metrics(
        [judgment(0, 1), judgment(0, 1), judgment(2, 2), judgment(1, 2)], [90, 70, 10, 30]
    )
    assert metrics == {
        "rrm/accuracy": 0.25,
        "rrm/no_verdict": 0.5,
        "rrm/position_bias": 0.5,
        "rrm/length": 50.0,
        "rrm/length_without_verdict": 80.0,
    }


def test_a_batch_that_knows_nothing_logs_nothing() -> None:
    assert verdict_metrics([{}, {}], [1, 2]) == {}


def test_the_miniature_asks_the_judges_own_prompt_and_holds_out_whole_multisets(tmp_path) -> None:
    setting = Setting(seed=3, steps=4, held_out=40)
    train, val = miniature.write_pairs(tmp_path, setting)
    rows = pyarrow.parquet.read_table(train).to_pylist()
    held_out = pyarrow.parquet.read_table(val).to_pylist()
    assert len(rows) == setting.steps * setting.pairs
    assert len(held_out) == setting.held_out
    answers = []
    for split in (rows, held_out):
        found = set()
        for row in split:
            query, first, second = texts(row["prompt"][1]["content"])
            assert row["prompt"] == build_messages(query, first, second)
            right = (first, second)[int(row["reward_model"]["ground_truth"]) - 1]
            assert right == right_answer(query)
            assert row["data_source"] == SOURCE
            found.add(right)
        answers.append(found)
    assert not answers[0] & answers[1]
    assert {row["reward_model"]["ground_truth"] for row in rows} == {"1", "2"}


def texts(user: str) -> tuple[str, str, str]:
    """The three texts of a prompt whose texts hold no line breaks."""
    lines = user.split("\n")
    query = next(
        line for line in lines if line in set(all_queries(held_out=False) + all_queries(held_out=True))
    )
    first = lines[lines.index("### Assistant 1") + 2]
    return query, first, lines[lines.index("### Assistant 2") + 2]
