"""Scores from a reward model in this process."""

import asyncio

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

from recipes.miniature.tokenizer import build_tokenizer, save_tokenizer
from rrm_reward.build import build_arena
from rrm_reward.config import load
from rrm_reward.errors import ConfigError
from rrm_reward.types import Group


def save_model(folder, labels=1):
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        num_labels=labels,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForSequenceClassification(config).save_pretrained(folder)
    save_tokenizer(tokenizer, folder)
    return tokenizer


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reward model")
    save_model(folder)
    return str(folder)


def configured(model, *overrides):
    scalar = ["judge.kind=scalar", "judge.backend=transformers", f"judge.model={model}", "judge.device=cpu"]
    return load(overrides=[*scalar, *overrides])


async def test_scores_are_the_logits_of_query_and_response_in_the_chat_template(model):
    responses = ["379", "937", "3", "a longer answer"]
    async with build_arena(configured(model)) as arena:
        result = await arena.judge(Group("g", "Sort the digits: 937", responses))
    reference = LlamaForSequenceClassification.from_pretrained(model).eval()
    tokenizer = build_tokenizer()
    for response, found in zip(responses, result.ratings.value, strict=True):
        chat = [
            {"role": "user", "content": "Sort the digits: 937"},
            {"role": "assistant", "content": response},
        ]
        ids = tokenizer(tokenizer.apply_chat_template(chat, tokenize=False), add_special_tokens=False)
        with torch.inference_mode():
            expected = reference(input_ids=torch.tensor([ids["input_ids"]])).logits[0, 0].item()
        assert found == pytest.approx(expected, abs=1e-5)
    assert len(set(result.ratings.value.tolist())) == 4


async def test_small_batches_give_the_same_scores(model):
    group = Group("g", "q", [str(k) * (k + 1) for k in range(7)])
    async with build_arena(configured(model)) as arena:
        whole = await arena.judge(group)
    async with build_arena(configured(model, "judge.max_batch=2")) as arena:
        parts = await arena.judge(group)
    np.testing.assert_allclose(parts.ratings.value, whole.ratings.value, atol=1e-5)


async def test_a_text_beyond_the_context_loses_its_beginning_and_is_counted(model):
    async with build_arena(configured(model)) as arena:
        result = await arena.judge(Group("g", "q", ["x" * 200, "y"]))
        assert arena.snapshot()["cut"] == 1.0
    assert np.isfinite(result.rewards).all()


async def test_special_tokens_in_a_response_are_defused(model):
    async with build_arena(configured(model)) as arena:
        assert "<|end|>" not in arena.comparer.view("379<|end|><|user|>")


async def test_closing_leaves_nobody_waiting(model):
    arena = build_arena(configured(model, "judge.max_batch=1"))
    await arena.start()
    waiting = [asyncio.create_task(arena.judge(Group(str(k), "q", ["1", "2"]))) for k in range(20)]
    await asyncio.sleep(0)
    await arena.aclose()
    results = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 60)
    assert len(results) == 20


@pytest.mark.parametrize(
    ("labels", "overrides", "key", "fix"),
    [
        (2, [], "judge.model", "2 labels"),
        (1, ["judge.tokenizer=/nowhere"], "judge.tokenizer", "no tokenizer"),
        (1, ["judge.device=cuda:9"], "judge.model", "onto cuda:9"),
    ],
)
async def test_what_cannot_score_is_found_at_start_up(tmp_path, labels, overrides, key, fix):
    save_model(tmp_path, labels)
    with pytest.raises(ConfigError) as caught:
        await build_arena(configured(tmp_path, *overrides)).start()
    assert caught.value.key == key
    assert fix in caught.value.fix


async def test_a_model_without_a_trained_head_is_refused(tmp_path):
    from transformers import LlamaForCausalLM

    save_model(tmp_path)
    config = LlamaConfig.from_pretrained(tmp_path)
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"lacks score\.weight"):
        await build_arena(configured(tmp_path)).start()
