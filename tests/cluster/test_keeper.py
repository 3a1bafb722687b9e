"""One replica through its lives, without Ray and on a fake clock: what is lost is started again, in every phase."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrm_reward._cluster_config import ClusterConfig
from rrm_reward.cluster._keeper import SLEEP_SECONDS, Keeper, pause_after
from rrm_reward.cluster._life import Gone, Phase
from rrm_reward.cluster._routing import Member
from rrm_reward.errors import ConfigError
from rrm_reward.judge import Sampling
from tests.support.clock import run
from tests.support.fake_life import World

CONFIG = ClusterConfig(sleep=2, start_timeout=100.0, hang_timeout=20.0)
LONG = 400.0


def keep(world: World, config: ClusterConfig = CONFIG) -> Keeper:
    return Keeper(Member("judge-0"), world.launch, config, lambda: None)


async def settle(keeper: Keeper, awake: bool) -> float:
    """Seconds until nothing has to be waited for."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    keeper.want(awake)
    async with asyncio.timeout(10_000.0):
        while not keeper.settled:  # noqa: ASYNC110  (the clock is fake)
            await asyncio.sleep(0.1)
    return loop.time() - began


async def loaded(world: World, config: ClusterConfig = CONFIG) -> Keeper:
    keeper = keep(world, config)
    await keeper.first
    await settle(keeper, awake=True)
    return keeper


def states(world: World) -> list[str]:
    return [life.state for life in world.lives]


@pytest.mark.parametrize("fault", ["raise", "hang", "lie"])
@pytest.mark.parametrize("awake", [True, False])
def test_replica_that_does_not_wake_or_sleep_is_killed_and_started_again(awake, fault, caplog):
    async def main():
        world = World()
        keeper = await loaded(world)
        if awake:
            await settle(keeper, awake=False)
        world.faults["wake" if awake else "sleep"] = fault
        await settle(keeper, awake)
        assert keeper.phase is Phase.LOST
        assert not world.holding
        assert keeper.counts["losses"] == 1
        world.faults.clear()
        keeper.want(True)
        await asyncio.sleep(LONG)
        assert states(world) == ["killed", "awake"]
        assert keeper.member.present
        await keeper.aclose()

    run(main())
    assert f"is lost while {'waking' if awake else 'falling asleep'}" in caplog.text


@pytest.mark.parametrize(
    ("what", "fault"), [("health", "raise"), ("health", "hang"), ("health", "lie"), ("vote", "hang")]
)
def test_replica_that_is_dead_deaf_broken_or_draws_no_token_is_started_again(what, fault):
    async def main():
        world = World()
        keeper = await loaded(world)
        world.faults[what] = fault
        await asyncio.sleep(2 * CONFIG.hang_timeout)
        world.faults.clear()
        await asyncio.sleep(LONG)
        assert states(world)[0] == "killed"
        assert states(world)[-1] == "awake"
        assert keeper.member.present
        await keeper.aclose()

    run(main())


@pytest.mark.parametrize("fault", ["raise", "hang"])
@pytest.mark.parametrize("what", ["start", "launch"])
def test_launch_that_fails_is_told_of_at_once_and_tried_again(what, fault):
    async def main():
        world = World(faults={what: fault})
        keeper = keep(world)
        with pytest.raises(Exception, match=r"out of memory|within 100 s|node is gone"):
            await keeper.first
        world.faults.clear()
        await asyncio.sleep(LONG)
        assert keeper.member.present
        await keeper.aclose()

    run(main())


def test_setting_that_cannot_work_is_told_and_not_tried_again(caplog):
    async def main():
        world = World(faults={"start": "lie"})
        keeper = keep(world)
        with pytest.raises(ConfigError, match="there is none"):
            await keeper.first
        await asyncio.sleep(LONG)
        assert (len(world.lives), keeper.counts["losses"]) == (1, 0)
        assert "cannot work: judge.model" in caplog.text
        assert not world.holding
        assert keeper.settled
        await keeper.aclose()

    run(main())


def test_launch_under_way_is_waited_for_and_put_to_sleep_and_counts_as_no_loss():
    async def main():
        world = World()
        keeper = await loaded(world)
        world.lives[0].die()
        await asyncio.sleep(10.0)  # seen, and launched again
        assert keeper.phase is Phase.LAUNCHING
        assert keeper.settled  # a judge that is awake does not wait for it
        assert await settle(keeper, awake=False) > 15.0
        assert states(world)[1] == "asleep"
        assert await settle(keeper, awake=True) < 6.0
        assert keeper.member.present
        assert keeper.counts == {"launches": 2, "losses": 1}
        await keeper.aclose()

    run(main())


def test_launch_that_ends_while_the_judge_is_to_sleep_takes_no_call():
    async def main():
        world = World()
        shown = []
        keeper = Keeper(Member("judge-0"), world.launch, CONFIG, lambda: shown.append(keeper.member.present))
        await asyncio.sleep(10.0)
        await settle(keeper, awake=False)
        assert not any(shown)
        await keeper.aclose()

    run(main())


def test_replica_lost_in_its_sleep_is_not_launched_before_the_judge_is_to_wake():
    async def main():
        world = World()
        keeper = await loaded(world)
        await settle(keeper, awake=False)
        world.lives[0].die()
        await asyncio.sleep(LONG)
        assert (keeper.phase, len(world.lives)) == (Phase.OUT, 1)
        keeper.want(True)
        assert not keeper.settled  # it is about to be launched
        await settle(keeper, awake=True)
        assert keeper.phase is Phase.LAUNCHING
        await asyncio.sleep(40.0)
        assert keeper.member.present
        await keeper.aclose()

    run(main())


def test_waking_may_last_as_long_as_a_launch_and_falling_asleep_may_not():
    async def main():
        world = World()
        keeper = await loaded(world, replace(CONFIG, start_timeout=2 * SLEEP_SECONDS))
        world.seconds |= {"wake": 2 * SLEEP_SECONDS - 1.0, "sleep": SLEEP_SECONDS - 1.0}
        await settle(keeper, awake=False)
        await settle(keeper, awake=True)
        assert keeper.phase is Phase.AWAKE
        world.seconds["sleep"] = SLEEP_SECONDS + 1.0
        await settle(keeper, awake=False)
        assert keeper.phase is Phase.LOST
        assert not world.holding
        await keeper.aclose()

    run(main())


def test_wish_that_changes_while_it_is_carried_out_is_carried_out_afterwards():
    async def main():
        world = World()
        keeper = await loaded(world)
        keeper.want(False)
        await asyncio.sleep(0.5)
        assert keeper.phase is Phase.SLEEPING
        await settle(keeper, awake=True)
        assert (states(world), keeper.phase) == (["awake"], Phase.AWAKE)
        await keeper.aclose()

    run(main())


def test_replica_on_which_a_call_broke_takes_no_other_until_its_health_is_known():
    async def main():
        world = World()
        keeper = await loaded(world)
        world.lives[0].die()
        with pytest.raises(Gone):
            await anext(keeper.stream("1", [], 1, Sampling(), 60.0))
        assert not keeper.member.present
        assert keeper.phase is Phase.AWAKE
        await asyncio.sleep(0.1)  # not at the next poll: now
        assert keeper.phase is Phase.LOST
        await keeper.aclose()

    run(main())


@pytest.mark.parametrize("fault", ["die", "hang"])
def test_replica_that_cannot_say_whether_it_forces_verdicts_holds_nobody_up_and_is_looked_after(
    fault, caplog
):
    async def main():
        world = World()
        keeper = keep(world)
        assert await keeper.prepare(["}"]) is None  # nobody is there yet
        await settle(keeper, awake=True)
        await keeper.first
        await asyncio.sleep(1.0)
        began = asyncio.get_running_loop().time()
        if fault == "die":
            world.lives[0].die()
        else:
            world.faults["prepare"] = "hang"
        assert await keeper.prepare(["}"]) is None
        assert asyncio.get_running_loop().time() - began <= CONFIG.hang_timeout
        assert not keeper.member.present
        world.faults.clear()
        await asyncio.sleep(LONG)
        # one that is dead is started again, and one that only said nothing is believed when it says how it is
        assert states(world) == (["killed", "awake"] if fault == "die" else ["awake"])
        assert keeper.member.present
        await keeper.aclose()

    run(main())
    assert "judge-0 is not asked about forced verdicts" in caplog.text


def test_replica_that_forces_no_verdicts_says_why():
    async def main():
        world = World(faults={"prepare": "lie"})
        keeper = await loaded(world)
        assert await keeper.prepare(["}"]) == "it tells no probabilities"
        assert keeper.member.present
        await keeper.aclose()

    run(main())


def test_closing_ends_what_is_loaded_in_good_order_and_kills_what_loads(caplog):
    caplog.set_level(logging.INFO)

    async def main():
        world = World()
        keeper = await loaded(world)
        await keeper.aclose()
        loading = keep(world)
        await asyncio.sleep(1.0)
        await loading.aclose()
        assert states(world) == ["ended", "killed"]
        assert loading.first.cancelled()
        world.faults["aclose"] = "hang"
        deaf = await loaded(world)
        await deaf.aclose()
        assert states(world)[2] == "killed"
        assert all(k.counts["losses"] == 0 for k in (keeper, loading, deaf))
        assert all(k.phase is Phase.CLOSED and not k.member.present for k in (keeper, loading, deaf))

    run(main())
    assert "does not end by itself: it did not end within 10 s" in caplog.text


@given(st.integers(1, 2000), st.floats(0.0, 1800.0))
def test_launches_in_turn_that_fail_take_an_ever_smaller_share_of_the_time(failures, took):
    assert pause_after(0, took) == 0.5
    assert pause_after(failures, took) >= pause_after(failures - 1, took)
    assert pause_after(failures, took) >= failures * took
    assert pause_after(failures, 0.0) == (0.5 * 2 ** (failures - 1) if failures < 8 else 60.0)
