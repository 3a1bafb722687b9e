"""Ray runs asynchronous actors, so OpenRLHF's engines, on uvloop: the judge's client must too."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import uvloop

from rrm_reward.integrations.openrlhf.executor import RRMAgentExecutor
from tests.openrlhf.contract.scripted import roll_out, write_config
from tests.support.loopback_judge import LoopbackJudge


def test_a_group_is_judged_on_uvloop(
    judge: LoopbackJudge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tokenizer: Any
) -> None:
    monkeypatch.setenv("RRM_CONFIG", str(write_config(tmp_path / "rrm.yaml", judge.url)))

    async def main() -> list[float]:
        executor = RRMAgentExecutor()
        outputs = await roll_out(executor, tokenizer, ["quality=0.2", "quality=0.9", "quality=0.4"])
        await executor.rewarder.aclose()
        return [output["reward"] for output in outputs]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(main()) == [-1.0, 1.0, 0.0]
