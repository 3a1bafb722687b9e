"""What OpenRLHF gets from the executor, by OpenRLHF's own classes: engine actor, samples, advantages."""

from __future__ import annotations

import asyncio
import json
import math
from pathlib import Path
from typing import Any

import pytest
from openrlhf.trainer.ppo_utils.samples_generator import SamplesGenerator
from openrlhf.trainer.ray.vllm_engine import _load_agent_executor
from vllm import SamplingParams

from rrm_reward.arena import Arena
from rrm_reward.build import build_arena
from rrm_reward.config import load
from rrm_reward.errors import ConfigError
from rrm_reward.health import HEADLINES, plain_name
from rrm_reward.integrations.openrlhf import agent
from rrm_reward.types import Group
from tests.openrlhf.assets import TALK
from tests.openrlhf.contract.conftest import Make
from tests.openrlhf.contract.scripted import ScriptedLLM, engine, roll_out, write_config
from tests.support.loopback_judge import Faults, LoopbackJudge
from tests.support.waiting import until

TEXTS = ["quality=0.2", "quality=0.9", "quality=0.4", "quality=0.7"]
LOGS = {"rrm_rating", "rrm_stderr", "rrm_missing", "rrm_judge_tokens", "rrm_known"}
LOGS |= {f"rrm_{plain_name(name)}" for name in HEADLINES}


def rewards(outputs: list[dict[str, Any]]) -> list[float]:
    return [output["reward"] for output in outputs]


def experiences(outputs: list[dict[str, Any]]) -> list[Any]:
    """As the trainer's own samples generator makes them; raises for what it cannot take."""
    generator = SamplesGenerator.__new__(SamplesGenerator)
    return [generator._process_response_into_experience(output, max_len=256) for output in outputs]


def assert_openrlhf_can_take(outputs: list[dict[str, Any]]) -> None:
    """Finite plain floats under the same names, and experiences that can be batched."""
    for output in outputs:
        assert type(output["reward"]) is type(output["scores"]) is float
        assert math.isfinite(output["reward"])
        assert -10 < output["reward"] < 10
        assert 0 <= output["scores"] < 1
        assert set(output["extra_logs"]) == LOGS
        assert all(type(value) is float and math.isfinite(value) for value in output["extra_logs"].values())
    made = experiences(outputs)
    together = type(made[0]).concat_experiences(made, 0)
    assert together.rewards.shape == together.scores.shape == (len(outputs),)
    assert together.action_mask.sum(-1).min() >= 1


async def test_a_group_is_ranked_and_its_size_is_inferred(make: Make, tokenizer: Any) -> None:
    executor = make()
    trained = await roll_out(executor, tokenizer, TEXTS)
    assert rewards(trained) == pytest.approx([-1.0, 1.0, -1 / 3, 1 / 3])
    assert_openrlhf_can_take(trained)
    evaluated = await roll_out(executor, tokenizer, TEXTS[:2])
    assert rewards(evaluated) == [-1.0, 1.0]


async def test_rewards_are_those_of_the_library(make: Make, tokenizer: Any, judge: LoopbackJudge) -> None:
    """Same texts, same judge, same seeds: what the arena says offline."""
    judge.bias = 0.2
    rrm = "tournament: {name: knockout}"
    outputs = await roll_out(make(rrm), tokenizer, TEXTS)
    config = load(overrides=[f"judge.urls=['{judge.url}']", "judge.model=RRM-7B", "tournament.name=knockout"])
    async with build_arena(config) as arena:
        offline = await arena.judge(Group("offline", "What is 2 plus 2?", TEXTS))
    assert rewards(outputs) == offline.rewards.tolist()


async def test_rows_with_the_same_prompt_at_the_same_time_stay_apart(make: Make, tokenizer: Any) -> None:
    executor = make()
    calls = [roll_out(executor, tokenizer, TEXTS[:2]), roll_out(executor, tokenizer, TEXTS[2:])]
    first, second = await asyncio.gather(*calls)
    assert rewards(first) == rewards(second) == [-1.0, 1.0]
    assert executor.rewarder.snapshot()["groups"] == 2


async def test_judging_starts_before_the_last_rollout_has_finished(
    make: Make, tokenizer: Any, judge: LoopbackJudge
) -> None:
    outputs = await roll_out(
        make(), tokenizer, TEXTS, gates={3: lambda: until(lambda: judge.counts["requests"] >= 3)}
    )
    assert rewards(outputs) == pytest.approx([-1.0, 1.0, -1 / 3, 1 / 3])


async def test_a_failed_rollout_costs_its_siblings_nothing_and_has_no_advantage(
    make: Make, tokenizer: Any
) -> None:
    executor = make()
    script = [RuntimeError("out of memory"), *TEXTS[:3]]
    outputs = await roll_out(executor, tokenizer, script)
    assert rewards(outputs[1:]) == [-1.0, 1.0, 0.0]
    assert outputs[0]["extra_logs"]["rrm_known"] == 0.0
    assert rewards(outputs)[0] - sum(rewards(outputs)) / 4 == 0.0
    assert_openrlhf_can_take(outputs)
    assert executor.rewarder.counts["failed"] == 1


@pytest.mark.parametrize("logprobs", [None, 1])
async def test_a_group_that_fails_as_a_whole_trains_nothing_and_raises_nothing(
    make: Make, tokenizer: Any, logprobs: int | None
) -> None:
    outputs = await roll_out(make(), tokenizer, [RuntimeError()] * 3, logprobs=logprobs)
    assert rewards(outputs) == [0.0, 0.0, 0.0]
    assert {output["scores"] for output in outputs} == {0.0}
    assert_openrlhf_can_take(outputs)
    for output in outputs:
        assert (output["rollout_log_probs"] is None) is (logprobs is None)


class Processor:
    """A processor of images that fails before the first token, as for an image that is not there."""

    image_processor = object()
    image_token_id = 7

    def __init__(self, tokenizer: Any) -> None:
        self.inner = self.tokenizer = tokenizer

    def __call__(self, **_: Any) -> Any:
        raise OSError("cannot identify image file")

    def decode(self, *arguments: Any, **settings: Any) -> str:
        return str(self.inner.decode(*arguments, **settings))


async def test_images_that_cannot_be_read_do_not_end_the_run(make: Make, tokenizer: Any) -> None:
    prompt = "What is 2" + tokenizer.decode([Processor.image_token_id])
    outputs = await roll_out(
        make(), Processor(tokenizer), ["", ""], prompt=prompt, images=["/no/such/image.png"]
    )
    assert_openrlhf_can_take(outputs)
    for output in outputs:
        assert output["mm_train_inputs"] is None
        assert Processor.image_token_id not in output["observation_tokens"]


async def test_a_dead_engine_ends_the_run_with_its_own_error(make: Make, tokenizer: Any) -> None:
    class EngineDeadError(Exception):
        pass

    with pytest.raises(EngineDeadError):
        await roll_out(make(), tokenizer, [EngineDeadError()] * 2)


async def test_a_cancelled_rollout_is_not_waited_for(make: Make, tokenizer: Any) -> None:
    """OpenRLHF cancels none; if a later one does, siblings must not hang."""
    executor = make()
    actor = engine(executor, ScriptedLLM(tokenizer, TEXTS[:2]))

    class Hanging:
        async def generate(self, *arguments: Any, **settings: Any) -> Any:
            await asyncio.Event().wait()

    params = SamplingParams(max_tokens=64)
    tasks = [
        asyncio.create_task(executor.execute("q", "", params, 256, tokenizer, llm))
        for llm in (actor, actor, Hanging())
    ]
    await until(lambda: executor.rewarder.snapshot()["comparisons"] == 1)
    tasks[2].cancel()
    outputs = await asyncio.wait_for(asyncio.gather(*tasks[:2]), 120)
    assert rewards(outputs) == [-1.0, 1.0]


@pytest.mark.parametrize(
    "faults",
    [Faults(http_500=1.0), Faults(no_verdict=1.0), Faults(truncated=1.0), Faults(disconnect=1.0)],
    ids=lambda faults: next(name for name, share in vars(faults).items() if share),
)
async def test_a_judge_that_says_nothing_costs_rewards_and_not_the_run(
    make: Make, tokenizer: Any, judge: LoopbackJudge, faults: Faults
) -> None:
    executor = make()
    judge.faults = faults
    outputs = await roll_out(executor, tokenizer, TEXTS)
    assert rewards(outputs) == [0.0] * 4
    assert {output["extra_logs"]["rrm_missing"] for output in outputs} == {1.0}
    assert {output["extra_logs"]["rrm_known"] for output in outputs} == {0.0}
    assert_openrlhf_can_take(outputs)
    assert executor.rewarder.counts["unknown"] == 4


async def test_a_judge_that_fails_now_and_then_leaves_every_reward_finite(
    make: Make, tokenizer: Any, judge: LoopbackJudge
) -> None:
    executor = make()
    judge.faults = Faults(http_500=0.1)
    for _ in range(5):
        outputs = await roll_out(executor, tokenizer, TEXTS)
        assert_openrlhf_can_take(outputs)
        assert max(rewards(outputs)) > min(rewards(outputs))


async def test_scores_tell_groups_that_teach_nothing_from_those_that_do(make: Make, tokenizer: Any) -> None:
    """By the rule of OpenRLHF's dynamic filtering: a group stays if 0 < mean of its scores < 1."""

    def stays(outputs: list[dict[str, Any]]) -> bool:
        scores = [experience.scores[0].item() for experience in experiences(outputs)]
        return 0 < sum(scores) / len(scores) < 1

    executor = make()
    assert stays(await roll_out(executor, tokenizer, TEXTS))
    assert not stays(await roll_out(executor, tokenizer, ["the same"] * 4))


async def test_a_truncated_rollout_is_judged_as_it_stands(make: Make, tokenizer: Any) -> None:
    outputs = await roll_out(make(), tokenizer, TEXTS[:2], truncated=[1])
    assert rewards(outputs) == [-1.0, 1.0]
    assert [experience.truncated.item() for experience in experiences(outputs)] == [False, True]


def asked(judge: LoopbackJudge) -> str:
    """The user message of the judge's last request."""
    return str(judge.bodies[-1]["messages"][-1]["content"])


@pytest.mark.parametrize(
    ("messages", "query"),
    [
        ([TALK[0]], "What is 2 plus 3?\n"),
        (TALK, "User: What is 2 plus 3?\n\nAssistant: 5\n\nUser: And plus 4?\n"),
        (
            [{"role": "system", "content": "Be brief."}, TALK[0]],
            "System: Be brief.\n\nUser: What is 2 plus 3?\n",
        ),
    ],
    ids=["one turn", "three turns", "system"],
)
async def test_the_judge_reads_the_question_and_not_the_template(
    make: Make, tokenizer: Any, judge: LoopbackJudge, messages: Any, query: str
) -> None:
    prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    await roll_out(make(), tokenizer, TEXTS[:2], prompt=prompt)
    assert query in asked(judge)
    assert "<|im_start|>" not in asked(judge)
    assert "quality=0.9" in asked(judge)


@pytest.mark.parametrize("label", ["How much?", [{"role": "user", "content": "How much?"}]])
async def test_a_label_may_hold_the_question(
    make: Make, tokenizer: Any, judge: LoopbackJudge, label: Any
) -> None:
    await roll_out(make(openrlhf="label: query"), tokenizer, TEXTS[:2], prompt="<template>", label=label)
    assert "How much?" in asked(judge)
    assert "template" not in asked(judge)


async def test_rows_with_a_reference_are_compared_with_it_and_others_with_their_siblings(
    make: Make, tokenizer: Any
) -> None:
    executor = make(openrlhf="label: reference")
    label = {"style": "rrm", "ground_truth": "quality=0.5"}  # as `rrm-reward data webinstruct` writes it
    evaluated = await roll_out(executor, tokenizer, [*TEXTS, RuntimeError()], label=label)
    assert rewards(evaluated) == [0.0, 1.0, 0.0, 1.0, 0.5]
    assert_openrlhf_can_take([{**output, "scores": 0.5} for output in evaluated])
    trained = await roll_out(executor, tokenizer, TEXTS, label={"style": "rrm", "ground_truth": ""})
    assert rewards(trained) == pytest.approx([-1.0, 1.0, -1 / 3, 1 / 3])


async def test_every_sample_is_written_down(make: Make, tokenizer: Any, tmp_path: Path) -> None:
    await roll_out(make(openrlhf=f"log: {tmp_path}/samples.jsonl"), tokenizer, TEXTS)
    rows = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert {row["group"] for row in rows} == {rows[0]["group"]}
    assert sorted((row["slot"], row["response"]) for row in rows) == list(enumerate(TEXTS))


async def test_a_group_of_one_is_complained_about(
    make: Make, tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    outputs = await roll_out(make(), tokenizer, TEXTS[:1])
    assert rewards(outputs) == [0.0]
    assert "n_samples_per_prompt" in caplog.text


async def test_our_own_fault_costs_a_group_its_rewards_and_not_the_run(
    make: Make, tokenizer: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    executor = make()

    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Arena, "open", broken)
    outputs = await roll_out(executor, tokenizer, TEXTS)
    assert_openrlhf_can_take(outputs)
    assert "ZeroDivisionError" in caplog.text


def test_openrlhf_loads_the_agent_file_with_the_settings_beside_it(
    tmp_path: Path, judge: LoopbackJudge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RRM_CONFIG", raising=False)
    file = tmp_path / "my_agent.py"
    file.write_text(
        "from pathlib import Path\n"
        "from rrm_reward.integrations.openrlhf.executor import RRMAgentExecutor\n"
        "class AgentExecutor(RRMAgentExecutor):\n"
        "    config_file = Path(__file__).with_name('mine.yaml')\n"
    )
    with pytest.raises(ConfigError, match=r"mine\.yaml"):
        _load_agent_executor(str(file))
    write_config(tmp_path / "mine.yaml", judge.url)
    assert _load_agent_executor(str(file)).rewarder.counts == {}


def test_the_agent_file_of_the_package_takes_the_variable(
    tmp_path: Path, judge: LoopbackJudge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RRM_CONFIG", str(write_config(tmp_path / "rrm.yaml", judge.url)))
    assert _load_agent_executor(agent.__file__).rewarder.counts == {}


@pytest.mark.parametrize(
    ("url", "rrm", "openrlhf", "message"),
    [
        ("http://127.0.0.1:9/v1", "", "", "judge.urls"),
        (None, "reward: {clip: 9}", "", "rrm.reward.clip"),
        (None, "tournament: {name: nockout}", "", "nockout"),
        (None, "", "label: answer", "rrm_openrlhf.label"),
        (None, "", "engine: 2", "rrm_openrlhf.engine"),
        (None, "", "log: /no/such/folder/samples.jsonl", "rrm_openrlhf.log"),
    ],
)
def test_a_mistake_is_told_when_the_engine_starts_and_on_the_console(
    judge: LoopbackJudge,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    url: str | None,
    rrm: str,
    openrlhf: str,
    message: str,
) -> None:
    file = write_config(tmp_path / "rrm.yaml", url or judge.url, rrm, openrlhf)
    monkeypatch.setenv("RRM_CONFIG", str(file))
    with pytest.raises(ConfigError, match=message):
        _load_agent_executor(agent.__file__)
    assert message in capsys.readouterr().err


async def test_a_comparison_with_a_reference_fits_the_judges_context(
    make: Make, tokenizer: Any, judge: LoopbackJudge
) -> None:
    judge.max_model_len, judge.keep = 12_000, True
    executor = make(openrlhf="label: reference")
    response = "quality=0.9 " + "and so on " * 10_000
    (output,) = await roll_out(executor, tokenizer, [response], label="quality=0.5")
    assert rewards([output]) == [1.0]
    assert all(len(body["messages"][-1]["content"]) < len(response) / 2 for body in judge.bodies)
