from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rrm_reward.integrations.openrlhf.executor import RRMAgentExecutor
from tests.openrlhf.assets import make_tokenizer
from tests.openrlhf.contract.scripted import write_config
from tests.support.loopback_judge import LoopbackJudge
from tests.support.running_judge import running_judge

Make = Callable[..., RRMAgentExecutor]


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    os.environ["HF_HUB_OFFLINE"] = "1"
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer(folder)
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture
def judge() -> Iterator[LoopbackJudge]:
    with running_judge(keep=True) as judge:
        yield judge


@pytest.fixture
async def make(judge: LoopbackJudge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Make]:
    """Makes an executor of the judge, with further lines of its YAML."""
    made = []

    def make_executor(rrm: str = "", openrlhf: str = "") -> RRMAgentExecutor:
        monkeypatch.setenv("RRM_CONFIG", str(write_config(tmp_path / "rrm.yaml", judge.url, rrm, openrlhf)))
        made.append(RRMAgentExecutor())
        return made[-1]

    yield make_executor
    for executor in made:
        await executor.rewarder.aclose()
