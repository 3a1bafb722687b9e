"""The hub as a plain object, against a loopback judge: what is promised inside one process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from rrm_reward.config import AssemblerConfig, RRMConfig, load
from rrm_reward.errors import ConfigError
from rrm_reward.integrations.verl import _hub
from rrm_reward.integrations.verl._hub import Hub
from rrm_reward.integrations.verl._sample import Sample
from rrm_reward.judge import BackendError, Completion
from rrm_reward.judge._openai import OpenAIBackend
from tests.support.loopback_judge import LoopbackJudge


@pytest.fixture
async def judge() -> AsyncIterator[LoopbackJudge]:
    async with LoopbackJudge() as judge:
        yield judge


MakeHub = Callable[..., Hub]


@pytest.fixture
async def make_hub(judge: LoopbackJudge) -> AsyncIterator[MakeHub]:
    """Hubs that ask `judge`, closed at the end."""
    async with AsyncExitStack() as stack:

        def make(member_timeout: float = 60.0, log: str | None = None) -> Hub:
            hub = Hub(config_for(judge, member_timeout), log)
            stack.push_async_callback(hub.aclose)
            return hub

        yield make


def config_for(judge: LoopbackJudge, member_timeout: float = 60.0) -> RRMConfig:
    config = load(overrides=[f"judge.urls=[{judge.url}]", "judge.model=RRM-7B", "judge.timeout=60"])
    return replace(config, assembler=AssemblerConfig(member_timeout=member_timeout))


def sample(i: int, *, slot: int | None = None, size: int = 3, group: str = "g") -> Sample:
    return Sample(group, slot, f"{group}-{i}", "a query", f"response quality={i}", size)


async def test_siblings_get_rewards_in_the_order_of_their_quality(make_hub: MakeHub) -> None:
    hub = make_hub()
    answers = await asyncio.gather(*(hub.submit(sample(i, slot=i), 120.0) for i in range(3)))
    rewards = [answer.reward for answer in answers if answer is not None]
    assert len(rewards) == 3
    assert rewards == sorted(rewards)
    assert rewards[0] < rewards[2]


async def test_two_groups_of_the_same_prompt_stay_two(make_hub: MakeHub) -> None:
    hub = make_hub()
    samples = [sample(i, slot=i, size=2, group=group) for group in "ab" for i in range(2)]
    answers = await asyncio.gather(*(hub.submit(one, 120.0) for one in samples))
    assert [answer.group_size for answer in answers if answer is not None] == [2, 2, 2, 2]
    assert (await hub.snapshot())["groups"] == 2


async def test_a_sample_that_waits_longer_than_its_caller_is_patient_is_asked_about_again(
    make_hub: MakeHub,
) -> None:
    hub = make_hub()
    assert await hub.submit(sample(0, slot=0, size=2), 0.05) is None
    late = asyncio.create_task(hub.submit(sample(1, slot=1, size=2), 120.0))
    first = await hub.submit(sample(0, slot=0, size=2), 120.0)
    again = await hub.submit(sample(0, slot=0, size=2), 120.0)
    assert first is not None
    assert first.known
    assert again == first
    assert await late is not None
    assert hub.counts["samples"] == 2


async def test_asking_again_is_no_news_of_siblings_that_never_come(make_hub: MakeHub) -> None:
    hub = make_hub(member_timeout=0.5)
    present = [sample(i, slot=i) for i in range(2)]

    async def ask_often(one: Sample) -> float:
        while (answer := await hub.submit(one, 0.05)) is None:
            pass
        return answer.reward

    # with the clock set back by every question, this would never end
    rewards = await asyncio.wait_for(asyncio.gather(*map(ask_often, present)), 120)
    assert rewards[0] < rewards[1]


async def test_samples_without_a_slot_get_one_each_and_keep_it(make_hub: MakeHub) -> None:
    hub = make_hub()
    assert await hub.submit(sample(5), 0.02) is None
    assert await hub.submit(sample(5), 0.02) is None
    answers = await asyncio.gather(*(hub.submit(sample(i), 120.0) for i in (5, 7, 6)))
    assert [answer.group_size for answer in answers if answer is not None] == [3, 3, 3]
    rewards = [answer.reward for answer in answers if answer is not None]
    assert rewards[0] < rewards[2] < rewards[1]


async def test_a_failed_member_costs_its_siblings_nothing(make_hub: MakeHub) -> None:
    hub = make_hub()
    waiting = [asyncio.create_task(hub.submit(sample(i, slot=i), 120.0)) for i in range(2)]
    await asyncio.sleep(0.05)
    await hub.fail("g", 2, "a query", 3)
    answers = await asyncio.wait_for(asyncio.gather(*waiting), 120)
    assert [answer.known for answer in answers if answer is not None] == [True, True]


async def test_a_response_is_compared_with_its_reference_in_both_orders(
    make_hub: MakeHub, judge: LoopbackJudge
) -> None:
    hub = make_hub()
    assert await hub.compare("1", "q", "quality=2", "quality=1", 120.0) == 1.0
    assert await hub.compare("2", "q", "quality=1", "quality=2", 120.0) == 0.0
    assert await hub.compare("3", "q", "the same", "the same", 120.0) == 0.5
    judge.bias = float("inf")
    assert await hub.compare("4", "q", "quality=1", "quality=2", 120.0) == 0.5
    judge.faults.no_verdict = 1.0
    unknown = await hub.compare("5", "q", "quality=1", "quality=2", 120.0)
    assert unknown is not None
    assert unknown != unknown


async def test_a_reference_is_no_cut_off_thought_to_a_judge_of_policies_that_always_think(
    judge: LoopbackJudge,
) -> None:
    config = config_for(judge)
    config.judge.always_thinks = True
    hub = Hub(config)
    try:
        assert await hub.compare("1", "q", "thoughts</think>quality=1", "quality=2", 120.0) == 0.0
        assert await hub.compare("2", "q", "thoughts</think>the same", "the same", 120.0) == 0.5
        assert await hub.compare("3", "q", "cut off thoughts quality=9", "quality=2", 120.0) != 0.5
    finally:
        await hub.aclose()


async def test_a_hub_that_restarts_while_the_judge_is_away_waits_for_it(
    make_hub: MakeHub, judge: LoopbackJudge
) -> None:
    await judge.stop()
    hub = make_hub()
    asked = asyncio.gather(*(hub.submit(sample(i, slot=i), 120.0) for i in range(3)))
    await asyncio.sleep(1.0)
    await judge.start()
    answers = await asked
    assert all(answer is not None for answer in answers)


async def test_validation_while_the_judge_is_away_does_not_close_it_for_the_rollouts(
    make_hub: MakeHub, judge: LoopbackJudge
) -> None:
    await judge.stop()
    hub = make_hub()
    asked = asyncio.gather(*(hub.submit(sample(i, slot=i), 120.0) for i in range(3)))
    validated = asyncio.create_task(hub.compare("1", "q", "quality=1", "quality=2", 120.0))
    await asyncio.sleep(1.0)
    await judge.start()
    assert all(answer is not None for answer in await asyncio.gather(asked, validated))
    later = (hub.submit(sample(i, slot=i, group="later"), 120.0) for i in range(3))
    assert [answer is not None and answer.known for answer in await asyncio.gather(*later)] == [True] * 3


async def test_a_wrong_setting_is_told_by_key_value_and_fix(judge: LoopbackJudge) -> None:
    config = config_for(judge)
    config.tournament.name = "melee"
    wrong = await Hub(config).ready()
    assert wrong is not None
    key, value, fix = wrong
    assert (key, value) == ("tournament.name", "melee")
    assert "knockout" in fix


async def test_a_log_that_cannot_be_written_is_told_by_its_key(make_hub: MakeHub, tmp_path: Path) -> None:
    wrong = await make_hub(log=str(tmp_path / "no such folder/samples.jsonl")).ready()
    assert wrong is not None
    key, _, fix = wrong
    assert key == "rrm_verl.log"
    assert "a folder that exists there" in fix


async def test_every_sample_is_written_down(make_hub: MakeHub, tmp_path: Path) -> None:
    log = tmp_path / "samples.jsonl"
    hub = make_hub(log=str(log))
    await asyncio.gather(*(hub.submit(sample(i, slot=i), 120.0) for i in range(3)))
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert rows[-1]["health"]["rrm/no_verdict"] == 0.0
    assert sorted(row["slot"] for row in rows) == [0, 1, 2]
    assert {row["group"] for row in rows} == {"g"}
    assert all(isinstance(row["reward"], float) for row in rows)


async def test_a_validation_comparison_fits_the_judges_context(
    judge: LoopbackJudge, make_hub: MakeHub
) -> None:
    judge.max_model_len, judge.keep = 12_000, True
    response = "quality=2 " + "and so on " * 10_000
    assert await make_hub().compare("1", "q", response, "quality=1", 120.0) == 1.0
    assert all(len(body["messages"][-1]["content"]) < len(response) / 2 for body in judge.bodies)


async def test_a_hub_that_restarts_while_no_replica_can_be_started_starts_them_later(
    judge: LoopbackJudge, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = 0
    faults = iter([ConfigError("judge.cluster.replicas", 1, "no GPU is free"), OSError("Ray is busy")])

    class Replicas(OpenAIBackend):
        """A server in place of Ray, which refuses two starts."""

        ready = False

        async def start(self) -> None:
            nonlocal starts
            starts += 1
            await asyncio.sleep(0.1)
            if (fault := next(faults, None)) is not None:
                raise fault
            self.ready = True

        async def complete(self, *arguments: Any) -> list[Completion]:
            if not self.ready:
                raise BackendError("never started")
            return await super().complete(*arguments)

    config = load(
        overrides=[
            "judge.backend=ray",
            "judge.model=RRM-7B",
            "judge.timeout=5",
            "judge.reasks=0",
            "judge.cluster.hang_timeout=5",
        ]
    )
    monkeypatch.setattr(_hub, "make_backend", lambda config: Replicas([judge.url], "RRM-7B"))
    hub = Hub(config)
    try:
        # the run goes on, without rewards, and one start was tried for all
        first = await asyncio.gather(*(hub.submit(sample(i, slot=i), 30.0) for i in range(3)))
        assert [answer.known for answer in first if answer is not None] == [False] * 3
        assert starts == 1

        async def judged() -> bool:
            group = uuid4().hex
            answers = (hub.submit(sample(i, slot=i, group=group), 30.0) for i in range(3))
            return all(answer is not None and answer.known for answer in await asyncio.gather(*answers))

        async with asyncio.timeout(60.0):
            while not await judged():
                pass
    finally:
        await hub.aclose()
