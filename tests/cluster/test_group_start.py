"""What a start that does not end well leaves behind: nothing. Without Ray."""

from __future__ import annotations

import asyncio
import threading

import pytest

from rrm_reward._cluster_config import ClusterConfig
from rrm_reward.cluster import EngineSpec, JudgeGroup, _group
from rrm_reward.cluster._placement import Place, Places
from rrm_reward.errors import ConfigError
from rrm_reward.judge import BackendError, Sampling
from tests.support.fake_life import World
from tests.support.waiting import until


@pytest.fixture
def world(monkeypatch):
    """Replicas that load for 30 s; places that are freed are noted."""
    world = World()
    world.freed = []

    async def find_places(config, groups):
        return Places((Place(1.0, 1.0),) * config.replicas, own="GPUs")

    monkeypatch.setattr(_group, "join_ray", lambda address, gpus: False)
    monkeypatch.setattr(_group, "find_places", find_places)
    monkeypatch.setattr(_group, "leave_ray", lambda places, owns_ray: world.freed.append(places.own))
    monkeypatch.setattr(_group, "Actor", lambda place, engine, spec: world.launch())
    return world


def make_group(**settings):
    return JudgeGroup(ClusterConfig(replicas=3, **settings), EngineSpec("RRM"))


async def begun(group, world):
    """Its start, with every replica loading."""
    starting = asyncio.create_task(group.start())
    await until(lambda: len(world.lives) == 3, 60.0)
    return starting


async def test_start_that_is_cancelled_leaves_no_replica_and_no_gpu(world):
    group = make_group()
    starting = await begun(group, world)
    starting.cancel()
    await asyncio.wait([starting])
    assert starting.cancelled()
    assert not world.holding
    assert world.freed == ["GPUs"]


async def test_start_that_is_cancelled_can_be_made_again(world):
    group = make_group()
    starting = await begun(group, world)
    starting.cancel()
    await asyncio.wait([starting])
    world.seconds["start"] = 0.0
    await group.start()
    assert [member.present for member in group.replicas] == [True] * 3
    await group.aclose()
    assert not world.holding


async def test_start_that_fails_by_surprise_leaves_no_gpu_taken(world, monkeypatch):
    def refuse(*arguments, **more):
        raise RuntimeError("surprise")

    monkeypatch.setattr(_group, "Crew", refuse)
    with pytest.raises(RuntimeError, match="surprise"):
        await make_group().start()
    assert world.freed == ["GPUs"]


async def test_two_who_start_it_at_once_start_it_once(world):
    world.seconds["start"] = 0.0
    group = make_group()
    await asyncio.gather(group.start(), group.start())
    assert len(world.lives) == 3
    await group.aclose()
    assert world.freed == ["GPUs"]


async def test_ray_that_was_joined_when_the_start_was_cancelled_already_is_left_all_the_same(
    world, monkeypatch
):
    joining, may_join, left = threading.Event(), threading.Event(), []

    def join(address, gpus):
        joining.set()
        may_join.wait(60.0)
        return True

    monkeypatch.setattr(_group, "join_ray", join)
    monkeypatch.setattr(_group, "leave_ray", lambda places, owns_ray: left.append(owns_ray))
    starting = asyncio.create_task(make_group().start())
    await asyncio.to_thread(joining.wait, 60.0)
    starting.cancel()
    await asyncio.sleep(0)
    may_join.set()
    await asyncio.wait([starting])
    assert starting.cancelled()
    assert left == [True]


async def test_group_that_is_closed_while_it_looks_for_places_takes_none(world, monkeypatch):
    looking, found = asyncio.Event(), asyncio.Event()

    async def find_places(config, groups):
        looking.set()
        await found.wait()
        return Places((Place(1.0, 1.0),) * 3, own="GPUs")

    monkeypatch.setattr(_group, "find_places", find_places)
    group = make_group()
    starting = asyncio.create_task(group.start())
    await looking.wait()
    await group.aclose()
    found.set()
    with pytest.raises(BackendError, match="closed while it started"):
        await starting
    assert not world.lives
    assert world.freed == [None, "GPUs"]


async def test_calls_during_a_start_do_not_wait_for_it(world):
    group = make_group()
    starting = await begun(group, world)
    with pytest.raises(BackendError, match="not started"):
        await group.complete([{"role": "user", "content": "q"}], 1, Sampling())
    starting.cancel()
    await asyncio.wait([starting])


async def test_start_of_a_group_that_is_closed_meanwhile_fails_and_is_not_cancelled(world):
    group = make_group()
    starting = await begun(group, world)
    await group.aclose()
    with pytest.raises(ConfigError, match="the judge was closed"):
        await starting
