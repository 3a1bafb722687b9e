"""Placement groups of an actor outlive its process, and belong to its next life."""

from __future__ import annotations

import asyncio
import os

import pytest

from rrm_reward._cluster_config import ClusterConfig
from tests.support.waiting import until

pytestmark = [
    pytest.mark.trainer,
    pytest.mark.xdist_group("fake cluster"),
    pytest.mark.usefixtures("cluster"),
]

PATIENT = 300.0


class Process:
    async def pid(self):
        return os.getpid()


class Taker(Process):
    """A process that takes groups of GPUs, waits until it has them, and keeps them."""

    def __init__(self) -> None:
        self._groups = {}

    async def take(self, count, make_count=None):
        from rrm_reward.cluster._own_group import take_group

        group = take_group({"GPU": 1}, count, lambda: count or make_count)
        await group.ready()
        self._groups[group.id.hex()] = group
        return group.id.hex(), group.bundle_count

    async def free(self, name):
        from rrm_reward.cluster._own_group import free_group

        free_group(self._groups.pop(name))


class Placer(Process):
    """A process that places replicas."""

    async def place(self, config):
        from rrm_reward.cluster._placement import find_places

        places = (await find_places(config)).places
        return len(places), places[0].group.id.hex()


async def restarted(actor):
    """Its process is another: Ray kills a little later than it says."""
    import ray

    before = await actor.pid.remote()
    ray.kill(actor, no_restart=False)
    async with asyncio.timeout(PATIENT):
        while await actor.pid.remote() == before:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


def tables():
    from ray.util import placement_group_table

    return placement_group_table().values()


def free_all():
    from ray.util import get_placement_group, remove_placement_group

    for group in tables():
        if group["state"] != "REMOVED":
            remove_placement_group(get_placement_group(group["name"]))


@pytest.fixture
def make_taker():
    import ray

    made = []

    def make(**options):
        made.append(ray.remote(Taker).options(num_cpus=0, **options).remote())
        return made[-1]

    yield make
    for taker in made:
        ray.kill(taker)
    free_all()


@pytest.fixture
def taker(make_taker):
    return make_taker(max_restarts=-1, max_task_retries=-1)


async def test_next_life_of_an_actor_takes_its_groups_over_one_by_one(taker):

    first = await taker.take.remote(3)
    second = await taker.take.remote(5)
    assert (first[1], second[1]) == (3, 5)
    await restarted(taker)
    # no GPU of the cluster is free for another group
    assert await taker.take.remote(3) == first
    assert await taker.take.remote(None) == second


async def test_group_that_was_given_back_is_not_found_again(taker):
    name, _ = await taker.take.remote(8)
    await taker.free.remote(name)
    again, _ = await taker.take.remote(8)
    assert again != name


async def test_group_of_another_shape_makes_room(taker):

    name, _ = await taker.take.remote(6)
    await restarted(taker)
    other, count = await taker.take.remote(4)
    assert (other != name, count) == (True, 4)


async def test_groups_of_two_actors_are_two(make_taker):
    first, second = make_taker(), make_taker()
    assert (await first.take.remote(4))[0] != (await second.take.remote(4))[0]


async def test_actor_that_replaces_one_of_its_name_takes_its_groups_over(make_taker):
    import ray

    first = make_taker(name="the judge")
    name, _ = await first.take.remote(8)
    ray.kill(first)
    await until(lambda: "the judge" not in ray.util.list_named_actors(), PATIENT)
    second = make_taker(name="the judge")
    assert await second.take.remote(8) == (name, 8)


async def test_node_that_is_lost_with_an_actor_costs_it_only_the_places_there(cluster):
    import ray

    node = cluster.add_node(num_cpus=4, num_gpus=2)
    cluster.wait_for_nodes()
    placer = ray.remote(Placer).options(num_cpus=0, max_restarts=-1, max_task_retries=-1).remote()
    try:
        config = ClusterConfig(replicas=10, cpus=0.5, start_timeout=3000.0)
        placed = await placer.place.remote(config)
        assert placed[0] == 10
        await asyncio.to_thread(cluster.remove_node, node)
        await until(lambda: "RESCHEDULING" in [group["state"] for group in tables()], PATIENT)
        await restarted(placer)
        async with asyncio.timeout(300.0):
            assert await placer.place.remote(config) == placed
    finally:
        ray.kill(placer)
        free_all()
