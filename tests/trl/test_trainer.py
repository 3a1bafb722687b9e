"""The real `GRPOTrainer`, in this process: what it passes is what `RRMReward` expects."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from rrm_reward.errors import ConfigError
from rrm_reward.integrations.trl import RRMReward
from tests.support.running_judge import running_judge


def judged_by(url: str, **options: Any) -> RRMReward:
    return RRMReward({"judge": {"urls": [url], "model": "RRM-7B"}}, **options)


def test_training_and_evaluation_are_judged_in_groups_of_their_own_sizes(tmp_path: Path) -> None:
    from tests.trl.runs import Recorded, make_trainer, prompts, settings

    with running_judge() as judge, judged_by(judge.url) as reward:
        recorded = Recorded(reward)
        args = settings(tmp_path, num_generations_eval=2, per_device_eval_batch_size=6, max_steps=1)
        trainer = make_trainer(recorded, args, eval_dataset=prompts(3))
        trainer.train()
        trainer.evaluate()
    training, evaluation = recorded.calls
    assert len(training["rewards"]) == 12
    assert len(evaluation["rewards"]) == 6
    assert reward.counts["groups"] == 3 + 3
    assert reward.counts["misgrouped"] == reward.counts["errors"] == 0
    for call, size in ((training, 4), (evaluation, 2)):
        said = [completion[-1]["content"] for completion in call["completions"]]
        for start in range(0, len(said), size):
            assert call["prompts"][start : start + size] == [call["prompts"][start]] * size
            group = dict(zip(said[start : start + size], call["rewards"][start : start + size], strict=True))
            # win rates of a round robin, scaled: zero on average over the distinct responses of every group
            assert math.isclose(sum(group.values()), 0.0, abs_tol=1e-9)
    logged = trainer.state.log_history
    assert any("rrm/judge_calls" in line and "rewards/rrm/mean" in line for line in logged)
    assert any("eval_rrm/judge_calls" in line for line in logged)


def test_a_group_size_that_is_not_the_trainers_stops_the_first_step(tmp_path: Path) -> None:
    from tests.trl.runs import make_trainer, settings

    with running_judge() as judge, judged_by(judge.url, num_generations=6) as reward:
        trainer = make_trainer(reward, settings(tmp_path))
        with pytest.raises(ConfigError, match="num_generations=6: the trainer rolls out 4"):
            trainer.train()


def test_a_judge_that_is_gone_does_not_stop_the_run(tmp_path: Path) -> None:
    from tests.trl.runs import make_trainer, settings

    with running_judge() as judge:
        reward = judged_by(judge.url)
        judge.faults.status = 500
        with reward:
            trainer = make_trainer([reward.concurrent], settings(tmp_path, max_steps=1))
            trainer.train()
    assert trainer.state.global_step == 1
    # but for groups whose members all say the same, who are equal without a judge
    assert 0 < reward.counts["unknown"] <= 12
    assert reward.counts["errors"] == 0


def test_the_recipe_is_what_trl_s_own_parser_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    from trl import GRPOConfig, TrlParser

    from recipes.trl.grpo_rrm import Run
    from rrm_reward.config import load

    # what TRL refuses on a machine without a GPU is not the recipe
    arguments = ["--config", "recipes/trl/webinstruct.yaml", "--bf16", "false", "--use_cpu", "true"]
    monkeypatch.chdir(Path(__file__).parents[2])
    run, args = TrlParser((Run, GRPOConfig)).parse_args_and_config(arguments)
    assert args.num_generations == 8
    assert 8 * args.generation_batch_size == 1024  # one process here, eight GPUs there
    assert load(run.rrm).judge.model == "Reward-Reasoning/RRM-7B"
