"""`RRMRewardManager` on rows as verl makes them, against a real hub and a loopback judge."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rrm_reward.errors import ConfigError
from tests.support.loopback_judge import LoopbackJudge
from tests.support.running_judge import running_judge
from tests.verl.assets import Assets
from tests.verl.test_settings import verl_config

pytestmark = pytest.mark.usefixtures("ray_cluster")

PADDING = 3


@pytest.fixture
def judge() -> Iterator[LoopbackJudge]:
    with running_judge() as judge:
        yield judge


@pytest.fixture(scope="module")
def tokenizer(assets: Assets) -> Any:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(assets.tokenizer)


@pytest.fixture
def make_manager(judge: LoopbackJudge, tokenizer: Any) -> Iterator[Callable[..., Any]]:
    """Managers of groups of two, and afterwards no hub."""
    import ray

    from rrm_reward.integrations.verl._client import hub_name
    from rrm_reward.integrations.verl.reward_manager import RRMRewardManager

    def make(compute_score: Any = None, **changes: Any) -> RRMRewardManager:
        config = verl_config(
            actor_rollout_ref__rollout__n=2,
            rrm__judge__urls=[judge.url],
            rrm__judge__timeout=60.0,
            rrm__assembler__member_timeout=60.0,
            **changes,
        )
        return RRMRewardManager(config, tokenizer, compute_score)

    yield make
    with contextlib.suppress(ValueError):
        ray.kill(ray.get_actor(hub_name()), no_restart=True)


def row(tokenizer: Any, text: str, **fields: Any) -> Any:
    """One row as verl's agent loop hands it to a reward worker."""
    import numpy as np
    import torch
    from tensordict import TensorDict
    from verl import DataProto

    prompt = torch.tensor([tokenizer("What is 1 plus 3?").input_ids])
    tokens = [*tokenizer(text).input_ids, tokenizer.eos_token_id]
    response = torch.tensor([tokens + [tokenizer.pad_token_id] * PADDING])
    mask = torch.ones(1, prompt.shape[1] + response.shape[1], dtype=torch.long)
    mask[:, -PADDING:] = 0
    extra_info = {"split": fields.pop("split", "train"), "index": 0}
    messages = [{"role": "user", "content": "What is 1 plus 3?"}]
    values = {"uid": "u", "data_source": "x", "extra_info": extra_info, "raw_prompt": messages, **fields}
    arrays = {}
    for name, value in values.items():
        arrays[name] = np.empty(1, dtype=object)
        arrays[name][0] = value
    batch = TensorDict({"prompts": prompt, "responses": response, "attention_mask": mask}, batch_size=1)
    return DataProto(batch=batch, non_tensor_batch=arrays)


async def test_siblings_are_judged_together_with_and_without_session_ids(
    make_manager: Callable[..., Any], tokenizer: Any
) -> None:
    manager = make_manager()
    for fields in ({"session_id": [0, 1], "global_steps": [1, 1]}, {}):
        rows = [
            row(
                tokenizer,
                f"quality={i}",
                uid=str(fields),
                **{name: values[i] for name, values in fields.items()},
            )
            for i in range(2)
        ]
        worse, better = await asyncio.wait_for(asyncio.gather(*map(manager.run_single, rows)), 300)
        assert worse["reward_score"] < better["reward_score"]
        assert better["reward_extra_info"]["rrm_group_size"] == 2.0


async def test_the_judge_sees_the_text_without_padding_and_special_tokens(
    make_manager: Callable[..., Any], tokenizer: Any, judge: LoopbackJudge
) -> None:
    judge.keep = True
    manager = make_manager()
    rows = [row(tokenizer, f"answer {i}", session_id=i) for i in range(2)]
    await asyncio.gather(*map(manager.run_single, rows))
    prompt = judge.bodies[0]["messages"][-1]["content"]
    assert "What is 1 plus 3?" in prompt
    assert "answer 0" in prompt
    assert "answer 1" in prompt
    assert "<|" not in prompt


async def test_validation_compares_with_the_reference_and_waits_for_nobody(
    make_manager: Callable[..., Any], tokenizer: Any
) -> None:
    manager = make_manager()

    async def score(text: str, answer: str | None) -> float:
        one = row(tokenizer, text, uid=text, split="test", reward_model={"ground_truth": answer})
        result = await asyncio.wait_for(manager.run_single(one), 300)
        return float(result["reward_score"])

    assert await score("quality=2", "quality=1") == 1.0
    assert await score("quality=0", "quality=1") == 0.0
    assert await score("quality=2", None) == 0.0
    assert await score("quality=2", " ") == 0.0


async def test_validation_by_rule_reports_accuracy(make_manager: Callable[..., Any], tokenizer: Any) -> None:
    from rrm_reward.integrations.verl.exact_match import compute_score

    manager = make_manager(compute_score, rrm_verl={"validation": "rule"})
    for answer, accuracy in (("4", 1.0), ("5", 0.0)):
        one = row(tokenizer, "4", split="val", reward_model={"ground_truth": answer})
        result = await manager.run_single(one)
        assert result["reward_score"] == accuracy
        assert result["reward_extra_info"]["acc"] == accuracy


async def test_a_rule_that_says_score_and_accuracy_is_believed_in_both(
    make_manager: Callable[..., Any], tokenizer: Any
) -> None:
    from verl.utils.reward_score import default_compute_score

    manager = make_manager(default_compute_score, rrm_verl={"validation": "rule"})
    for answer, score, accuracy in (("4", 1.0, 1.0), ("5", -1.0, 0.0)):
        one = row(
            tokenizer,
            "Answer: 4",
            split="val",
            data_source="math_dapo",
            reward_model={"ground_truth": answer},
        )
        result = await manager.run_single(one)
        assert result["reward_score"] == score
        assert result["reward_extra_info"]["acc"] == accuracy


async def test_the_health_of_the_judge_travels_with_every_row(
    make_manager: Callable[..., Any], tokenizer: Any, judge: LoopbackJudge
) -> None:
    judge.bias = math.inf
    manager = make_manager()
    rows = [row(tokenizer, f"quality={i}", session_id=i) for i in range(2)]
    for result in await asyncio.gather(*map(manager.run_single, rows)):
        assert result["reward_extra_info"]["rrm_health_first_share"] == 1.0
        assert result["reward_extra_info"]["rrm_health_flip_rate"] == 0.0
    validated = await manager.run_single(row(tokenizer, "4", split="val"))
    assert validated["reward_extra_info"]["rrm_health_first_share"] == 1.0, "as heard of in training"


@pytest.mark.parametrize("policy", ["reference", "rule", "zero"])
@pytest.mark.parametrize("samples", [1, 4])
async def test_every_row_of_a_split_brings_the_same_finite_numbers(
    make_manager: Callable[..., Any], tokenizer: Any, judge: LoopbackJudge, policy: str, samples: int
) -> None:
    manager = make_manager(
        lambda **_: 1 / 0,
        rrm_verl={"validation": policy},
        actor_rollout_ref__rollout__val_kwargs={"n": samples},
    )
    training = [row(tokenizer, f"quality={i}", session_id=i) for i in range(2)]
    results = await asyncio.gather(*map(manager.run_single, training))
    validation = []
    for answer in ("4", None):
        one = row(tokenizer, "4", split="val", reward_model={"ground_truth": answer})
        validation.append(await manager.run_single(one))
    validation.append(await manager.run_single(row(tokenizer, "4", split="val", raw_prompt=17)))
    results.append(await manager.run_single(row(tokenizer, "4", raw_prompt=17)))
    judge.faults.no_verdict = 1.0
    lost = [row(tokenizer, f"quality={i}", uid="lost", session_id=i) for i in range(2)]
    results += await asyncio.gather(*map(manager.run_single, lost))
    for rows in (results, validation):
        assert len({tuple(result["reward_extra_info"]) for result in rows}) == 1
    # of several samples verl draws a thousand bootstraps of every number of every prompt
    assert len(validation[0]["reward_extra_info"]) <= 3 or samples == 1
    for result in results + validation:
        assert all(type(value) is float for value in result["reward_extra_info"].values())
        assert all(math.isfinite(value) for value in result["reward_extra_info"].values())
        assert type(result["reward_score"]) is float
        assert math.isfinite(result["reward_score"])
    assert [result["reward_extra_info"]["rrm_known"] for result in results[-3:]] == [0.0, 0.0, 0.0]
    assert [result["reward_score"] for result in results[-3:]] == [0.0, 0.0, 0.0]


def test_a_wrong_setting_is_said_where_verl_would_hide_it(
    make_manager: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match="tournament"):
        make_manager(rrm__tournament={"name": "melee"})
    assert "rrm-reward: the configuration cannot work: tournament.name='melee'" in capsys.readouterr().err
