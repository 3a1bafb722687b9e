"""The unmodified ``openrlhf.cli.train_ppo_ray`` from start to end, rewarded by this package.

A random policy babbles on vLLM's CPU build, a judge prefers some babble to other, and DeepSpeed trains on it. The judge
is a server, or a replica that the run starts itself, on a share of the policy's GPU or on one of its own. Every promise
is read from what OpenRLHF logged and from what the executor and the replica wrote down.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.openrlhf.assets import Assets, make_assets, question
from tests.openrlhf.runs import PROMPTS_A_STEP, ROLLOUTS, Run, train
from tests.support.fake_engine import stretches
from tests.verl.runs import JudgeProcess

pytestmark = pytest.mark.trainer(minutes=2)

STEPS = 2
EVALUATION_ROWS, EVALUATION_ROLLOUTS = 2, 3
FILTERING = ["--train.async_enable", "--algo.dynamic_filtering_enable"]
TENTH = 0.1
"""Calls that fail where a server is the judge."""


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


@contextmanager
def failing_server() -> Iterator[str]:
    """Settings of a judge that fails every tenth call."""
    with JudgeProcess("--http-500", str(TENTH)) as judge:
        yield f"urls: ['{judge.url}']"


def replica(orders: Path, cluster: str) -> str:
    """Settings of a judge that the run starts itself: an engine that needs no vLLM and notes what happens to it."""
    orders.mkdir()
    engine = "engine: 'tests.support.fake_engine:FakeEngine'"
    arguments = f"engine_args: {{orders: '{orders}', sleeps: true, prefers: true}}"
    return f"backend: ray, cluster: {{{engine}, {arguments}, {cluster}}}"


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
    evaluated = [sample for sample in run.samples() if str(sample["query"]).startswith("How")]
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
    assert_whole_groups(run)
    assert_the_judge_failed(run, TENTH)
    assert_it_evaluated(run)


def test_synchronous_with_the_judge_on_a_share_of_the_policys_gpu(tmp_path: Path, assets: Assets) -> None:
    judge = replica(tmp_path / "orders", "share: 0.4, cpus: 0.2, sleep: 1")
    shared = ["--train.colocate_all", *evaluating(assets)]
    run = train(tmp_path, assets, judge, *shared, openrlhf="label: reference,")
    assert_it_trained(run)
    assert_whole_groups(run)
    assert_the_judge_failed(run, 0.0)
    assert_it_evaluated(run)
    # loaded, put to sleep, awake for the rollouts of each step and of the evaluation, asleep at the end
    loaded, rest = stretches(tmp_path / "orders")[:3], stretches(tmp_path / "orders")[3:]
    assert loaded == ["load", "vote", "sleep"]
    assert rest[: 3 * (len(rest) // 3)] == ["wake", "vote", "sleep"] * (len(rest) // 3)
    assert len(rest) // 3 >= STEPS + 1
    assert rest[3 * (len(rest) // 3) :] in ([], ["close"])


def test_asynchronous_with_dynamic_filtering_by_a_server_that_fails(tmp_path: Path, assets: Assets) -> None:
    with failing_server() as judge:
        run = train(tmp_path, assets, judge, *FILTERING)
    assert_it_trained(run)
    assert_whole_groups(run)
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
