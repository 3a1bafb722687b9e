"""One judge for many processes of a job: they find the same replicas, and it sleeps when none of them needs it."""

from __future__ import annotations

import asyncio

import pytest

from rrm_reward.cluster import SharedJudge
from rrm_reward.config import load
from rrm_reward.errors import ConfigError
from rrm_reward.judge import Sampling
from tests.cluster.conftest import ENGINE
from tests.support.waiting import until

pytestmark = [pytest.mark.trainer, pytest.mark.usefixtures("cluster")]

PATIENT = 300.0
ALL_GPUS = ("replicas=2", "tensor_parallel=4")
"""Of the cluster: none is left for anybody else."""


class Asker:
    """A process of a trainer, as an actor."""

    def __init__(self, judge):
        self._judge = SharedJudge(judge)
        self._leave = asyncio.Event()
        self._inside = asyncio.Event()

    async def ask(self, text):
        await self._judge.start()
        (completion,) = await self._judge.complete([{"role": "user", "content": text}], 1, Sampling())
        return completion.text

    async def enter(self):
        async def stay():
            async with self._judge.awake():
                self._inside.set()
                await self._leave.wait()

        self._stay = asyncio.create_task(stay())
        await self._inside.wait()

    async def leave(self):
        self._leave.set()
        await self._stay

    async def begin(self):
        self._call = asyncio.create_task(self.ask("cancelled"))

    async def cancel(self):
        self._call.cancel()
        await asyncio.wait([self._call])
        return self._call.cancelled()

    async def wrong(self):
        try:
            await self._judge.start()
        except ConfigError as error:
            return error.key
        return None


@pytest.fixture
def askers(orders):
    """Makes a judge's askers; the first of them starts its host, which dies with it."""
    import ray

    made = []

    def make(*settings, count=2, **engine):
        judge = load(
            overrides=[
                "judge.backend=ray",
                "judge.model=RRM",
                "judge.timeout=60",
                f"judge.cluster.engine={ENGINE}",
                f"judge.cluster.engine_args.orders={orders.folder}",
                *(f"judge.cluster.engine_args.{key}={value}" for key, value in engine.items()),
                *(f"judge.cluster.{setting}" for setting in settings),
            ]
        ).judge
        made.extend(ray.remote(Asker).options(num_cpus=0).remote(judge) for _ in range(count))
        return made

    yield make
    for asker in made:
        ray.kill(asker)
    wait_until_nameless()


def wait_until_nameless():
    """A host is gone a little later than the process that started it."""
    import time

    from ray.util import list_named_actors

    for _ in range(1200):
        if not list_named_actors():
            return
        time.sleep(0.1)
    raise AssertionError("the judge's host outlives the process that started it")


async def test_all_processes_of_a_job_ask_the_same_replicas(askers, orders):
    first, second = askers("replicas=2")
    texts = await asyncio.gather(*(asker.ask.remote(f"p{i}") for i in range(20) for asker in (first, second)))
    assert len({text.rsplit(" ", 1)[1] for text in texts}) == 2
    assert len(orders.log("load")) == 2


async def test_it_sleeps_only_when_nobody_in_any_process_needs_it(askers, orders):
    first, second = askers("sleep=1", sleeps=True)
    await first.ask.remote("p")
    # loaded and asleep, awake for the one call, asleep again when it was answered
    assert (len(orders.log("wake")), len(orders.log("sleep"))) == (1, 2)
    await first.enter.remote()
    await second.enter.remote()
    await asyncio.gather(first.ask.remote("p"), second.ask.remote("q"))
    await first.leave.remote()
    await second.ask.remote("r")
    assert (len(orders.log("wake")), len(orders.log("sleep"))) == (2, 2)
    await second.leave.remote()
    assert (len(orders.log("wake")), len(orders.log("sleep"))) == (2, 3)


async def test_call_that_is_cancelled_in_one_process_is_cancelled_in_the_engine(askers, orders):
    (asker,) = askers(count=1, seconds=600.0)
    await asker.begin.remote()
    await until(lambda: len(orders.votes()) == 1, PATIENT)
    assert await asker.cancel.remote()
    await until(lambda: len(orders.votes("end")) == 1, PATIENT)


async def test_what_cannot_work_is_told_to_every_process(askers):
    first, second = askers("replicas=9")
    assert await first.wrong.remote() == await second.wrong.remote() == "judge.cluster.replicas"


async def asked_until_loaded_again(asker, orders):
    """Every question has an answer; the first perhaps of the old host, for Ray kills a little later than it says."""
    async with asyncio.timeout(PATIENT):
        while len(orders.log("load")) < 4:
            assert "by " in await asker.ask.remote("q")
    assert "by " in await asker.ask.remote("q")
    assert len(orders.log("load")) == 4


async def test_host_that_dies_is_started_again_on_the_gpus_that_it_had(askers, orders):
    import ray
    from ray.util import list_named_actors

    (asker,) = askers(*ALL_GPUS, count=1)
    await asker.ask.remote("p")
    (name,) = list_named_actors()
    ray.kill(ray.get_actor(name), no_restart=False)
    await asked_until_loaded_again(asker, orders)


async def test_host_dies_with_the_process_that_started_it_and_another_process_starts_the_next(askers, orders):
    import ray

    first, second = askers(*ALL_GPUS)
    await first.ask.remote("p")
    await second.ask.remote("p")
    ray.kill(first)
    await asked_until_loaded_again(second, orders)
