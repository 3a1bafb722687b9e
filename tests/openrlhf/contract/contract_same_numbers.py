"""The executor gives the numbers of `rank`, as every other hook does (``tests/test_same_numbers.py``)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rrm_reward.integrations.openrlhf.executor import RRMAgentExecutor
from tests.openrlhf.contract.scripted import roll_out
from tests.test_same_numbers import RECORDED, SETTINGS, Rewards, bits, chosen, rank, recorded_judge


async def through_executor(tokenizer: Any) -> Rewards:
    """What the trainer would get for every response; None for what is filled with the group's mean."""
    executor = RRMAgentExecutor()

    async def rewards(query: str, responses: Sequence[str | None]) -> list[float | None]:
        for text in responses:
            if text is not None:
                tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
                assert tokenizer.decode(tokens, skip_special_tokens=True) == text, text
        script = [RuntimeError("told to fail") if text is None else text for text in responses]
        outputs = await roll_out(executor, tokenizer, script, prompt=query, max_length=1_000_000)
        known = [output["extra_logs"]["rrm_known"] == 1.0 for output in outputs]
        return [output["reward"] if sure else None for output, sure in zip(outputs, known, strict=True)]

    found = await asyncio.gather(*(rewards(group["query"], group["responses"]) for group in RECORDED))
    await executor.rewarder.aclose()
    return list(found)


@pytest.mark.parametrize("name", SETTINGS)
def test_openrlhf_s_executor_gives_the_numbers_of_rank(
    name: str, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with recorded_judge() as judge:
        settings = chosen(name, judge)
        config = tmp_path / "executor.yaml"
        config.write_text(json.dumps({"rrm": settings}))  # JSON is YAML
        monkeypatch.setenv("RRM_CONFIG", str(config))
        assert bits(asyncio.run(through_executor(tokenizer))) == bits(rank(settings, tmp_path))
