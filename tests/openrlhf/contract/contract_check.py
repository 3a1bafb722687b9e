"""The check finds before the job is queued what would hurt it, and says what to write."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rrm_reward.integrations.openrlhf import agent
from rrm_reward.integrations.openrlhf.check import main
from tests.openrlhf.contract.scripted import write_config
from tests.support.loopback_judge import Faults, LoopbackJudge

AGENT = ["--train.agent_func_path", agent.__file__]
DOTTED = [*AGENT, "--rollout.n_samples_per_prompt", "8", "--vllm.num_engines=1", "--some.other", "flag"]
FLAT = ["--agent_func_path", agent.__file__, "--n_samples_per_prompt", "8", "--vllm_num_engines", "1"]


@pytest.fixture
def config(tmp_path: Path, judge: LoopbackJudge, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = write_config(tmp_path / "rrm.yaml", judge.url)
    monkeypatch.setenv("RRM_CONFIG", str(file))
    return file


@pytest.mark.parametrize("arguments", [DOTTED, FLAT], ids=["dotted", "flat"])
def test_a_sound_run_passes(config: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    assert "groups of 8, round_robin; the judge answers" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (AGENT, "n_samples_per_prompt=1: a group of one holds no comparison"),
        (DOTTED[2:], "train.agent_func_path=None"),
        ([*DOTTED, "--vllm.num_engines", "4"], "rrm_openrlhf.engines=1.*write 4"),
        ([*DOTTED, "--reward.clip_range", "-5", "5"], "rrm.reward.clip to 2.5"),
        ([*DOTTED, "--train.agent_func_path", __file__], "no class AgentExecutor"),
        ([*DOTTED, "--train.agent_func_path", "no_such_file.py"], "name a Python file"),
    ],
)
def test_a_flag_that_would_hurt_is_named_with_the_fix(
    config: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize("flag", ["--algo.advantage.estimator", "--advantage_estimator"])
def test_rewards_that_know_their_noise_are_not_divided_again(
    config: Path, judge: LoopbackJudge, flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*DOTTED, flag, "group_norm"]) == 0
    write_config(config, judge.url, "reward: {scale: decided}")
    assert main([*DOTTED, flag, "group_norm"]) == 1
    assert "set dr_grpo" in capsys.readouterr().err
    assert main([*DOTTED, flag, "dr_grpo"]) == 0


def test_labels_that_nobody_brings_are_missed(
    config: Path, judge: LoopbackJudge, capsys: pytest.CaptureFixture[str]
) -> None:
    write_config(config, judge.url, openrlhf="label: reference")
    assert main(DOTTED) == 1
    assert "--data.label_key" in capsys.readouterr().err
    assert main([*DOTTED, "--data.label_key", "answer"]) == 0


def test_evaluation_without_references_is_noted(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*DOTTED, "--eval.dataset", "val.parquet"]) == 0
    assert "says nothing about the policy" in capsys.readouterr().out


def test_a_judge_that_gives_no_verdict_is_no_judge(
    config: Path, judge: LoopbackJudge, capsys: pytest.CaptureFixture[str]
) -> None:
    judge.faults = Faults(no_verdict=1.0)
    assert main(DOTTED) == 1
    assert "is it an RRM" in capsys.readouterr().err


def test_the_agent_file_of_the_package_can_be_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--agent-file"]) == 0
    assert capsys.readouterr().out.strip() == agent.__file__
