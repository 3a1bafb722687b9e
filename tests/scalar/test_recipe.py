"""The recipe of the scalar baseline: its miniature learns, its 7B config is one that TRL and accelerate take."""

import asyncio
import os
from pathlib import Path

import pytest
from datasets import Dataset, concatenate_datasets

from recipes.scalar_rm.miniature import BASE, SETTINGS, accuracy, preference_pairs
from recipes.scalar_rm.train import main, read_pairs, read_settings, train

RECIPE = Path(__file__).parents[2] / "recipes" / "scalar_rm"


@pytest.mark.trainer
def test_the_miniature_learns_to_score_held_out_answers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pairs = preference_pairs(3000, 0, held_out=False)
    endless = [{**pairs[k], "rejected": [{"role": "assistant", "content": "1" * 300}]} for k in range(3)]
    pairs = concatenate_datasets([pairs, Dataset.from_list(endless)])
    metrics = train(str(BASE), pairs, "a folder/rm", {**SETTINGS, "seed": 0})
    held_out = preference_pairs(300, 0, held_out=True)
    share = asyncio.run(accuracy(tmp_path / "a folder" / "rm", held_out))
    print(f"held-out accuracy {share}", metrics)
    assert share > 0.8
    assert (metrics["pairs"], metrics["pairs_too_long"]) == (3003, 3), "TRL leaves them out without a word"


def test_pairs_put_the_right_answer_first_and_hold_out_whole_multisets(tmp_path):
    train_pairs, held_out = (preference_pairs(200, 0, held_out=side) for side in (False, True))
    for row in train_pairs:
        digits = row["prompt"][0]["content"][-3:]
        assert row["chosen"][0]["content"] == "".join(sorted(digits)) != row["rejected"][0]["content"]
    answers = [{row["chosen"][0]["content"] for row in side} for side in (train_pairs, held_out)]
    assert not answers[0] & answers[1]
    file = tmp_path / "pairs.parquet"
    train_pairs.to_parquet(str(file))
    assert read_pairs(str(file))[0] == train_pairs[0]


def test_the_7b_config_is_one_that_trl_takes():
    from trl import RewardConfig

    settings = read_settings(RECIPE / "rm_7b.yaml", ["learning_rate=2e-6", "bf16=false", "use_cpu=true"])
    config = RewardConfig(output_dir="unused", **settings)
    assert config.learning_rate == 2e-6
    batch = config.per_device_train_batch_size * config.gradient_accumulation_steps * 8
    assert batch == 128


def test_the_launcher_config_is_one_that_accelerate_takes():
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(RECIPE / "fsdp.yaml"))
    assert config.num_processes == 8
    assert config.fsdp_config["fsdp_version"] == 2
    assert os.access(RECIPE / "run_scalar_rm.sh", os.X_OK)


def test_settings_may_stand_before_between_and_after_the_options(tmp_path, monkeypatch):
    found = []
    monkeypatch.setattr("recipes.scalar_rm.train.train", lambda *given: found.append(given) or {})
    file = tmp_path / "pairs.parquet"
    preference_pairs(2, 0, held_out=False).to_parquet(str(file))
    main(["bf16=false", "--pairs", str(file), "max_length=9", "--model", "m", "--output", "o", "seed=3"])
    assert found[0][3] == {"bf16": False, "max_length": 9, "seed": 3}


@pytest.mark.parametrize("override", ["learning_rat=1e-5", "output_dir=/tmp/x", "noequals"])
def test_a_wrong_setting_of_the_recipe_is_named(override):
    with pytest.raises(SystemExit, match=override.partition("=")[0]):
        read_settings(None, [override])
