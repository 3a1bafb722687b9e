"""The unmodified ``openrlhf.cli.train_ppo_ray`` from start to end, rewarded by this package.

A random policy babbles on vLLM's CPU build, a loopback judge prefers some babble to other, and DeepSpeed trains on it.
Every promise is read from what OpenRLHF logged and from what the executor wrote down.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.openrlhf.assets import Assets, make_assets, question
from tests.openrlhf.runs import PROMPTS_A_STEP, ROLLOUTS, Run, train
from tests.verl.runs import JudgeProcess

pytestmark = pytest.mark.trainer(minutes=2)

STEPS = 2
EVALUATION_ROWS, EVALUATION_ROLLOUTS = 2, 3
FAILING = pytest.mark.parametrize("failing", [0.0, 0.1], ids=["sound_judge", "tenth_call_fails"])


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Assets:
    return make_assets(tmp_path_factory.mktemp("openrlhf_assets"), rows=STEPS * PROMPTS_A_STEP)


def assert_it_trained(run: Run) -> None:
    """Exit code 0, every step logged, and a gradient in each."""
    assert run.code == 0, run.tail()
    steps = run.steps()
    assert len(steps) == STEPS, run.tail()
    for step in steps:
        assert math.isfinite(step["actor_grad_norm"])
        assert step["actor_grad_norm"] > 1e-3
        assert math.isfinite(step["reward"])
        assert step["group_reward_std"] > 0
        assert 0 < step["score"] < 1
        assert step["rrm_judge_tokens"] > 0


def training(run: Run) -> list[list[dict[str, object]]]:
    """The groups that were trained on: a question of ours, so not one of the evaluation."""
    return [samples for samples in run.groups().values() if not str(samples[0]["query"]).startswith("How")]


def assert_whole_groups(run: Run) -> None:
    """Every group has exactly its n members, all of one prompt, each with a finite reward."""
    groups = training(run)
    assert len(groups) == STEPS * PROMPTS_A_STEP
    for samples in groups:
        assert sorted(sample["slot"] for sample in samples) == list(range(ROLLOUTS))
        assert {sample["size"] for sample in samples} == {ROLLOUTS}
        assert len({sample["query"] for sample in samples}) == 1
        assert all(math.isfinite(sample["reward"]) for sample in samples)
    asked = [samples[0]["query"] for samples in groups]
    # rows 0 and 1 ask the same, and stay two groups; the judge reads talks as talks
    assert asked.count(question(0)) == 2
    assert "User: What is 2 plus 3?\n\nAssistant: 5\n\nUser: And plus 4?" in asked


def assert_the_judge_failed(run: Run, share: float) -> None:
    """Comparisons are missing if calls failed, and only then."""
    steps = run.steps()
    if share:
        # which of the judge's calls fail is fixed by its seed, and some of the first are among them
        assert any(step["rrm_missing"] > 0 for step in steps)
    else:
        assert all(step["rrm_known"] == 1 and step["rrm_missing"] == 0 for step in steps)


@FAILING
def test_synchronous_with_evaluation_against_references(
    tmp_path: Path, assets: Assets, failing: float
) -> None:
    evaluation = [
        f"--eval.dataset={assets.evaluation}",
        f"--eval.n_samples_per_prompt={EVALUATION_ROLLOUTS}",
        f"--eval.steps={STEPS}",
        "--data.label_key=label",
    ]
    with JudgeProcess("--http-500", str(failing)) as judge:
        run = train(tmp_path, assets, judge.url, *evaluation, openrlhf="label: reference,")
    assert_it_trained(run)
    assert_whole_groups(run)
    assert_the_judge_failed(run, failing)
    evaluated = [sample for sample in run.samples() if str(sample["query"]).startswith("How")]
    assert run.evaluations() == 1
    assert len(evaluated) == EVALUATION_ROWS * EVALUATION_ROLLOUTS
    assert {sample["size"] for sample in evaluated} == {EVALUATION_ROLLOUTS}
    assert all(0.0 <= sample["reward"] <= 1.0 for sample in evaluated)


@FAILING
def test_asynchronous_with_dynamic_filtering(tmp_path: Path, assets: Assets, failing: float) -> None:
    filtering = ["--train.async_enable", "--algo.dynamic_filtering_enable"]
    with JudgeProcess("--http-500", str(failing)) as judge:
        run = train(tmp_path, assets, judge.url, *filtering)
    assert_it_trained(run)
    assert_whole_groups(run)
    assert_the_judge_failed(run, failing)
    assert all(step["dynamic_filtering_pass_rate"] > 0 for step in run.steps())
