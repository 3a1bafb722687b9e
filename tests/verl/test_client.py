"""The hub as a real Ray actor that dies, hangs and comes back: samples get rewards, or the neutral one, in time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from rrm_reward.config import load
from rrm_reward.errors import ConfigError
from rrm_reward.integrations.verl._client import HubClient, connect
from rrm_reward.integrations.verl._sample import Sample
from rrm_reward.integrations.verl._settings import Settings, VerlConfig
from tests.support.loopback_judge import LoopbackJudge
from tests.support.running_judge import running_judge

pytestmark = pytest.mark.usefixtures("ray_cluster")


def settings_for(url: str, hub_timeout: float = 60.0) -> Settings:
    rrm = load(overrides=[f"judge.urls=[{url}]", "judge.model=RRM-7B", "judge.timeout=60"])
    return Settings(rrm, VerlConfig(hub_timeout=hub_timeout), rollouts=2)


@pytest.fixture
def judge() -> Iterator[LoopbackJudge]:
    """A judge, and afterwards no hub: every test starts its own."""
    import ray

    with running_judge() as judge:
        yield judge
        ray.kill(connect(settings_for(judge.url)), no_restart=True)


def sample(i: int, group: str = "g") -> Sample:
    return Sample(group, i, f"{group}-{i}", "a query", f"response quality={i}", 2)


async def rewards_of(client: HubClient, group: str = "g") -> list[float]:
    answers = await asyncio.gather(*(client.submit(sample(i, group)) for i in range(2)))
    return [answer.reward for answer in answers]


async def test_every_process_finds_the_same_hub(judge: LoopbackJudge) -> None:
    one, other = HubClient(settings_for(judge.url)), HubClient(settings_for(judge.url))
    answers = await asyncio.gather(one.submit(sample(0)), other.submit(sample(1)))
    assert [answer.group_size for answer in answers] == [2, 2]
    assert answers[0].reward < answers[1].reward


@pytest.mark.parametrize("for_good", [False, True])
async def test_a_hub_that_dies_gives_its_waiting_samples_their_rewards_all_the_same(
    judge: LoopbackJudge, for_good: bool
) -> None:
    import ray

    client = HubClient(settings_for(judge.url))
    first = asyncio.create_task(client.submit(sample(0)))
    await asyncio.sleep(0.3)
    # for good: as if the process that started it had died
    ray.kill(connect(settings_for(judge.url)), no_restart=for_good)
    await asyncio.sleep(0.3)
    second = await asyncio.wait_for(client.submit(sample(1)), 300)
    assert second.known
    assert (await asyncio.wait_for(first, 300)).reward < second.reward
    assert client.counts["retries"] >= 1


async def test_a_hub_that_is_just_going_is_no_reason_not_to_start(
    judge: LoopbackJudge, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    from rrm_reward.integrations.verl import _client

    found = []

    def dead_at_first(settings: Settings) -> Any:
        found.append(connect(settings))
        if len(found) == 1:
            ray.get(found[0].ready.remote())
            ray.kill(found[0], no_restart=True)
        return found[-1]

    monkeypatch.setattr(_client, "connect", dead_at_first)
    rewards = await asyncio.wait_for(rewards_of(HubClient(settings_for(judge.url)), "started"), 300)
    assert rewards[0] < rewards[1]
    assert len(found) == 2


async def test_a_hub_that_hangs_costs_rewards_and_not_the_run(judge: LoopbackJudge) -> None:
    import ray

    client = HubClient(settings_for(judge.url, hub_timeout=1.0), patience=0.5, grace=0.5)
    pid = ray.get(client._hub.pid.remote())
    os.kill(pid, signal.SIGSTOP)
    try:
        lost = await asyncio.wait_for(client.submit(sample(0)), 120)
        assert not lost.known
        assert lost.filled == 0.0
        assert client.counts["lost"] == 1
        assert await asyncio.wait_for(client.compare("t", "q", "a", "b"), 120) != 0.5
    finally:
        with contextlib.suppress(ProcessLookupError):  # Ray may have given it up by itself
            os.kill(pid, signal.SIGCONT)
    # one that is patient, or a busy machine would cost rewards again
    patient = HubClient(settings_for(judge.url))
    rewards = await asyncio.wait_for(rewards_of(patient, "later"), 300)
    assert rewards[0] < rewards[1]


def test_a_wrong_setting_stops_the_start_with_its_key(judge: LoopbackJudge) -> None:
    settings = settings_for(judge.url)
    settings.rrm.judge.model = "RRM-32B"
    with pytest.raises(ConfigError) as caught:
        HubClient(settings)
    assert caught.value.key == "judge.model"
    assert "RRM-7B" in caught.value.fix
