"""The unmodified ``openrlhf.cli.train_ppo_ray`` from start to end, rewarded by this package.

A random policy babbles on vLLM's CPU build, a judge prefers some babble to other, and DeepSpeed trains on it. The judge
is a server, or a replica that the run starts itself on a GPU of its own; once it is a reward model in a real vLLM, on a
share of the policy's GPU, and the policy is one that sorts digits now and then. Every promise is read from what
OpenRLHF logged and from what the executor and the replica wrote down.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from recipes.miniature.task import LONGEST_WRONG_ANSWER, QUERY_PREFIX, is_held_out, right_answer
from tests.openrlhf.assets import Assets, make_assets, question
from tests.openrlhf.miniature import miniature_assets, miniature_judge
from tests.openrlhf.runs import PATIENCE, PROMPTS_A_STEP, ROLLOUTS, Run, train
from tests.support.fake_engine import stretches
from tests.verl.runs import JudgeProcess

pytestmark = pytest.mark.trainer(minutes=2)

STEPS = 2
EVALUATION_ROWS, EVALUATION_ROLLOUTS = 2, 3
FILTERING = ["--train.async_enable", "--algo.dynamic_filtering_enable"]
RRM_7B = "model: RRM-7B, timeout: 300"
TENTH = 0.1
"""Calls that fail where a server is the judge."""


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Assets:
    return make_assets(tmp_path_factory.mktemp("openrlhf_assets"), rows=STEPS * PROMPTS_A_STEP)


def is_evaluation(sample: dict[str, Any]) -> bool:
    """Whether a sample answers a question that is not one of the training."""
    query = str(sample["query"])
    return query.startswith("How") or (query.startswith(QUERY_PREFIX) and is_held_out(query))


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


def assert_whole_groups(run: Run) -> list[str]:
    """Every group has exactly its n members, all of one prompt, each with a finite reward; what was asked."""
    groups = [samples for samples in run.groups().values() if not is_evaluation(samples[0])]
    assert len(groups) == STEPS * PROMPTS_A_STEP
    for samples in groups:
        assert sorted(sample["slot"] for sample in samples) == list(range(ROLLOUTS))
        assert {sample["size"] for sample in samples} == {ROLLOUTS}
        assert len({sample["query"] for sample in samples}) == 1
        assert all(math.isfinite(sample["reward"]) for sample in samples)
    return [samples[0]["query"] for samples in groups]


def assert_questions_are_kept_apart_and_talks_read(asked: list[str]) -> None:
    """Rows 0 and 1 ask the same, and stay two groups; the judge reads talks as talks."""
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


@contextmanager
def failing_server() -> Iterator[str]:
    """Settings of a judge that fails every tenth call."""
    with JudgeProcess("--http-500", str(TENTH)) as judge:
        yield f"urls: ['{judge.url}'], {RRM_7B}"


def replica(orders: Path, cluster: str) -> str:
    """Settings of a judge that the run starts itself: an engine that needs no vLLM and notes what happens to it."""
    orders.mkdir()
    engine = "engine: 'tests.support.fake_engine:FakeEngine'"
    arguments = f"engine_args: {{orders: '{orders}', prefers: true}}"
    return f"backend: ray, {RRM_7B}, cluster: {{{engine}, {arguments}, {cluster}}}"


def evaluating(assets: Assets) -> list[str]:
    """Arguments for an evaluation after the last step."""
    return [
        f"--eval.dataset={assets.evaluation}",
        f"--eval.n_samples_per_prompt={EVALUATION_ROLLOUTS}",
        f"--eval.steps={STEPS}",
        "--data.label_key=label",
    ]


def assert_it_evaluated(run: Run) -> None:
    """Once, against references."""
    evaluated = [sample for sample in run.samples() if is_evaluation(sample)]
    assert run.evaluations() == 1
    assert len(evaluated) == EVALUATION_ROWS * EVALUATION_ROLLOUTS
    assert {sample["size"] for sample in evaluated} == {EVALUATION_ROLLOUTS}
    assert all(0.0 <= sample["reward"] <= 1.0 for sample in evaluated)


def test_synchronous_with_evaluation_against_references_by_a_server_that_fails(
    tmp_path: Path, assets: Assets
) -> None:
    with failing_server() as judge:
        run = train(tmp_path, assets, judge, *evaluating(assets), openrlhf="label: reference,")
    assert_it_trained(run)
    assert_questions_are_kept_apart_and_talks_read(assert_whole_groups(run))
    assert_the_judge_failed(run, TENTH)
    assert_it_evaluated(run)


def test_synchronous_with_a_judge_in_a_real_vllm_on_a_share_of_the_policys_gpu(tmp_path: Path) -> None:
    miniature = miniature_assets(tmp_path, STEPS * PROMPTS_A_STEP, EVALUATION_ROWS)
    judge = miniature_judge(tmp_path / "orders", "share: 0.4, cpus: 0.2, sleep: 1", PATIENCE)
    # the judge has met no answers that are longer
    short = f"--rollout.max_new_tokens={LONGEST_WRONG_ANSWER}"
    shared = ["--train.colocate_all", short, *evaluating(miniature)]
    run = train(tmp_path, miniature, judge, *shared, openrlhf="label: reference,")
    assert_it_trained(run)
    assert_whole_groups(run)
    assert_the_judge_failed(run, 0.0)
    assert_it_evaluated(run)
    # loaded, put to sleep, awake for the rollouts of each step and of the evaluation, asleep at the end
    loaded, rest = stretches(tmp_path / "orders")[:3], stretches(tmp_path / "orders")[3:]
    assert loaded == ["load", "vote", "sleep"]
    assert rest[: 3 * (len(rest) // 3)] == ["wake", "vote", "sleep"] * (len(rest) // 3)
    assert len(rest) // 3 >= STEPS + 1
    assert len(rest) % 3 == 0
    # the judge knows right from wrong in 98 of 100 pairs, so rewards do
    by_truth: dict[bool, list[float]] = {True: [], False: []}
    for sample in run.samples():
        if not is_evaluation(sample):
            by_truth[sample["response"].strip() == right_answer(sample["query"])].append(sample["reward"])
    right, wrong = (math.fsum(rewards) / len(rewards) for rewards in by_truth.values())
    assert right > wrong


def test_asynchronous_with_dynamic_filtering_by_a_server_that_fails(tmp_path: Path, assets: Assets) -> None:
    with failing_server() as judge:
        run = train(tmp_path, assets, judge, *FILTERING)
    assert_it_trained(run)
    assert_questions_are_kept_apart_and_talks_read(assert_whole_groups(run))
    assert_the_judge_failed(run, TENTH)
    assert all(step["dynamic_filtering_pass_rate"] > 0 for step in run.steps())


def test_asynchronous_with_dynamic_filtering_and_the_judge_on_a_gpu_of_its_own(
    tmp_path: Path, assets: Assets
) -> None:
    judge = replica(tmp_path / "orders", "replicas: 1")
    run = train(tmp_path, assets, judge, *FILTERING)
    assert_it_trained(run)
    assert_whole_groups(run)
    assert_the_judge_failed(run, 0.0)
    assert all(step["dynamic_filtering_pass_rate"] > 0 for step in run.steps())
    assert stretches(tmp_path / "orders")[:2] == ["load", "vote"]
    assert "sleep" not in stretches(tmp_path / "orders")
