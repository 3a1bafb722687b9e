"""A judge that sleeps between uses, without Ray and on a fake clock: users who nest and are cancelled, and outages."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from rrm_reward._cluster_config import ClusterConfig
from rrm_reward.cluster._crew import Crew
from rrm_reward.judge import BackendError
from tests.support.clock import FakeClockLoop, run
from tests.support.fake_life import World

PATIENCE = 200.0
START = 100.0
HANG = 20.0


async def begun(world: World, replicas: int = 2, sleep: int = 1) -> Crew:
    """A crew that is loaded, and asleep where it sleeps."""
    config = ClusterConfig(sleep=sleep, start_timeout=START, hang_timeout=HANG)
    crew = Crew([world.launch] * replicas, config, patience=PATIENCE, counts=Counter())
    await crew.launch()
    await crew.begin()
    return crew


def now() -> float:
    return asyncio.get_running_loop().time()


async def waited(crew: Crew) -> float:
    """Seconds that a call with all the time in the world waits for a replica; it gets none."""
    began = now()
    with pytest.raises(BackendError, match="no replica came back in time"):
        await crew.until_available(began + 1e6)
    return now() - began


def states(world: World) -> list[str]:
    return [life.state for life in world.lives]


def test_the_first_to_enter_wakes_it_and_the_last_to_leave_puts_it_to_sleep():
    async def main():
        world = World()
        crew = await begun(world)
        assert crew.asleep == 2
        with pytest.raises(BackendError, match="the judge is asleep"):
            await crew.until_available(now() + 1.0)
        async with crew.awake(), crew.awake():
            async with crew.awake():
                pass
            assert states(world) == ["awake", "awake"]
            await crew.until_available(now())
        assert states(world) == ["asleep", "asleep"]
        with pytest.raises(ZeroDivisionError):
            async with crew.awake():
                raise ZeroDivisionError
        assert not world.holding
        assert crew._counts == {"wakes": 2, "sleeps": 3}
        await crew.aclose()

    run(main())


def test_replica_that_does_not_load_holds_up_the_start_only_for_the_hang_timeout_and_joins_later():
    async def main():
        world = World()
        config = ClusterConfig(start_timeout=1000.0, hang_timeout=HANG)

        def launch():
            life = world.launch()
            if len(world.lives) == 1:
                life.world = World()
                life.world.seconds["start"] = 500.0
            return life

        crew = Crew([launch] * 3, config, patience=PATIENCE, counts=Counter())
        first = await crew.launch()
        assert now() == 30.0 + HANG
        assert [isinstance(started, TimeoutError) for started in first] == [True, False, False]
        await crew.begin()
        assert [member.present for member in crew.roster.members] == [False, True, True]
        await asyncio.sleep(500.0)
        assert all(member.present for member in crew.roster.members)
        await crew.aclose()

    run(main())


def test_start_waits_for_everybody_while_nobody_works():
    async def main():
        world = World()
        world.faults["start"] = "hang"
        config = ClusterConfig(start_timeout=START, hang_timeout=HANG)
        crew = Crew([world.launch] * 2, config, patience=PATIENCE, counts=Counter())
        first = await crew.launch()
        assert now() == START
        assert [str(error) for error in first] == [f"it did not load within {START:g} s"] * 2
        await crew.aclose()

    run(main())


def test_without_sleep_nothing_sleeps_or_waits():
    async def main():
        world = World()
        crew = await begun(world, sleep=0)
        async with crew.awake():
            assert crew.roster.available
        assert states(world) == ["awake", "awake"]
        assert crew._counts == {}
        await crew.aclose()

    run(main())


@pytest.mark.parametrize("seconds", [0.0, 3.0, 5.5, 6.5])
def test_whoever_is_cancelled_while_it_wakes_or_falls_asleep_leaves_it_asleep_and_a_count_of_none(seconds):
    """Waking lasts 5 s, the user stays for 1 s, falling asleep lasts 2 s."""

    async def main():
        world = World()
        crew = await begun(world)

        async def use():
            async with crew.awake():
                await asyncio.sleep(1.0)

        user = asyncio.create_task(use())
        await asyncio.sleep(seconds)
        user.cancel()
        with pytest.raises(asyncio.CancelledError):
            await user
        # not when the others were told: when the memory is there
        assert not world.holding
        assert crew._users == 0
        async with crew.awake():
            assert len(world.holding) == 2
        assert not world.holding
        await crew.aclose()

    run(main())


def test_whoever_is_cancelled_twice_leaves_at_once_and_it_sleeps_without_him():
    async def main():
        world = World()
        world.seconds["sleep"] = 100.0
        crew = await begun(world)
        began = now()

        async def use():
            async with crew.awake():
                pass

        user = asyncio.create_task(use())
        await asyncio.sleep(10.0)  # leaving
        user.cancel()
        await asyncio.sleep(10.0)
        assert not user.done()
        user.cancel()
        with pytest.raises(asyncio.CancelledError):
            await user
        assert now() - began < 21.0
        await asyncio.sleep(100.0)
        assert (crew._users, crew.asleep) == (0, 2)
        await crew.aclose()

    run(main())


def test_whoever_comes_while_it_falls_asleep_finds_it_awake_and_the_leaving_need_not_wait_for_him():
    async def main():
        world = World()
        crew = await begun(world)
        order = []

        async def use(name, seconds):
            async with crew.awake():
                order.append((name, len(world.holding)))
                await asyncio.sleep(seconds)
            order.append((name, "out"))

        first = asyncio.create_task(use("first", 1.0))
        await asyncio.sleep(7.0)  # it is leaving
        second = asyncio.create_task(use("second", 50.0))
        await asyncio.gather(first, second)
        assert order == [("first", 2), ("first", "out"), ("second", 2), ("second", "out")]
        assert not world.holding
        await crew.aclose()

    run(main())


def test_when_nobody_wakes_it_is_an_outage_told_of_once_and_waited_for_once(caplog):
    async def main():
        world = World()
        crew = await begun(world)
        world.faults |= {"wake": "raise", "start": "raise"}
        async with crew.awake():
            assert "EVERY judge replica is lost" in caplog.text
            assert PATIENCE - 1.0 < await waited(crew) < PATIENCE + 1.0
            assert await waited(crew) < 0.1
        for _ in range(3):  # batches later, asleep in between: still the same outage
            await asyncio.sleep(50.0)
            async with crew.awake():
                assert await waited(crew) < 0.1
        assert crew._counts["outages"] == 1
        assert caplog.text.count("EVERY") == 1
        assert "is back" not in caplog.text
        world.faults.clear()
        await asyncio.sleep(500.0)  # a pause after launches that failed
        # calls fail at once, so the batch is over before it is loaded: it is loaded all the same
        async with crew.awake():
            assert await waited(crew) < 0.1
        async with crew.awake():
            await crew.until_available(now())
            assert "the judge is back" in caplog.text
        assert crew.asleep == 2
        await crew.aclose()

    run(main())


def test_replicas_that_load_longer_than_a_batch_is_judged_come_back():
    async def main():
        world = World()
        crew = await begun(world)
        world.seconds["start"] = 90.0
        for life in world.lives:
            life.die()
        await asyncio.sleep(60.0)
        for _ in range(2):
            async with crew.awake():
                await asyncio.sleep(30.0)
            assert not world.holding
        lives = sum((keeper.counts for keeper in crew.keepers.values()), Counter())
        assert lives == {"launches": 4, "losses": 2}
        async with crew.awake():
            assert len(world.holding) == 2
            assert crew.roster.available
        await crew.aclose()

    run(main())


def test_launch_that_never_ends_costs_a_run_ever_less():
    async def main():
        world = World()
        crew = await begun(world)
        world.faults |= {"wake": "raise", "start": "hang"}
        waits = []
        for _ in range(100):
            await asyncio.sleep(50.0)  # of training
            async with crew.awake():
                await asyncio.sleep(10.0)
                left = now()
            waits.append(now() - left)
        first, second = sum(waits[:50]), sum(waits[50:])
        assert second < 0.75 * first
        assert second < 0.2 * 50 * 60.0
        await crew.aclose()

    run(main())


def test_one_replica_that_wakes_slowly_holds_a_batch_up_for_the_hang_timeout_and_joins_later():
    async def main():
        world = World()
        crew = await begun(world, replicas=3)
        world.lives[2].world = World()
        world.lives[2].world.seconds["wake"] = START - 1.0
        began = now()
        async with crew.awake():
            assert HANG < now() - began < HANG + 10.0
            assert [member.present for member in crew.roster.members] == [True, True, False]
            await asyncio.sleep(START)
            assert all(member.present for member in crew.roster.members)
        await crew.aclose()

    run(main())


def test_slow_replica_holds_up_a_batch_once_however_many_users_come():
    async def main():
        world = World()
        crew = await begun(world, replicas=3)
        world.lives[2].world = World()
        world.lives[2].world.seconds["wake"] = START - 1.0
        async with crew.awake():
            began = now()
            for _ in range(3):
                async with crew.awake():
                    await asyncio.sleep(1.0)
            assert now() - began == 3.0
        # in the next batch it is waited for again
        began = now()
        async with crew.awake():
            assert HANG < now() - began < HANG + 10.0
        await crew.aclose()

    run(main())


def test_call_that_waits_for_a_replica_is_let_go_when_the_judge_closes():
    async def main():
        world = World()
        crew = await begun(world, sleep=0)
        world.faults["start"] = "raise"
        for life in world.lives:
            life.die()
        await asyncio.sleep(10.0)
        call = asyncio.create_task(crew.until_available(now() + 1e6))
        await asyncio.sleep(1.0)
        assert not call.done()
        await crew.aclose()
        await call
        with pytest.raises(BackendError, match="asleep"):
            await crew.until_available(now() + 1e6)

    run(main())


class Users(RuleBasedStateMachine):
    """Users come, leave and are cancelled while replicas die, hang, lie and run out of memory."""

    users = Bundle("users")

    def __init__(self) -> None:
        super().__init__()
        logging.disable(logging.ERROR)
        self.loop = FakeClockLoop()
        self.world = World()
        self.crew = self.loop.run_until_complete(begun(self.world))
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self.leaves: dict[int, asyncio.Event] = {}
        self.inside: set[int] = set()

    async def _use(self, user: int) -> None:
        async with self.crew.awake():
            self.inside.add(user)
            try:
                await self.leaves[user].wait()
            finally:
                self.inside.discard(user)

    @rule(target=users)
    def comes(self) -> int:
        user = len(self.tasks)
        self.leaves[user] = asyncio.Event()
        self.tasks[user] = self.loop.create_task(self._use(user))
        return user

    @rule(user=consumes(users))
    def leaves_it(self, user: int) -> None:
        self.leaves[user].set()

    @rule(user=consumes(users))
    def is_cancelled(self, user: int) -> None:
        self.tasks[user].cancel()

    @rule(seconds=st.sampled_from([0.0, 0.5, 2.0, 5.0, 40.0, 200.0]))
    def time_passes(self, seconds: float) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))

    @rule(
        what=st.sampled_from(["launch", "start", "wake", "sleep", "health", "vote"]),
        fault=st.sampled_from(["raise", "hang", "lie"]),
    )
    def something_goes_wrong(self, what: str, fault: str) -> None:
        self.world.faults[what] = fault

    @rule()
    def all_is_well_again(self) -> None:
        self.world.faults.clear()

    @rule(which=st.integers(0, 1))
    def one_dies(self, which: int) -> None:
        living = [life for life in self.world.lives if life.state in ("loading", "awake", "asleep")]
        if which < len(living):
            living[which].die()

    @invariant()
    def memory_is_held_only_for_users(self) -> None:
        if self.tasks and all(task.done() for task in self.tasks.values()):
            assert self.crew._users == 0
            assert not self.world.holding

    @invariant()
    def nobody_is_forgotten(self) -> None:
        assert len(self.inside) <= self.crew._users <= sum(not task.done() for task in self.tasks.values())

    @invariant()
    def a_place_has_one_life_at_most(self) -> None:
        assert sum(life.state in ("loading", "awake", "asleep") for life in self.world.lives) <= 2

    @invariant()
    def only_the_loaded_and_awake_take_calls(self) -> None:
        if self.crew.roster.available:
            assert any(life.state in ("awake", "dead") for life in self.world.lives)
            assert self.crew._down_since is None

    def teardown(self) -> None:
        logging.disable(logging.NOTSET)
        self.loop.run_until_complete(self._ends_well())
        self.loop.close()

    async def _ends_well(self) -> None:
        """Whatever happened, the judge comes back once nothing is wrong, and everybody gets out."""
        self.world.faults.clear()
        for leave in self.leaves.values():
            leave.set()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)
        assert not self.world.holding
        async with self.crew.awake():
            async with asyncio.timeout(20_000.0):
                while not all(member.present for member in self.crew.roster.members):  # noqa: ASYNC110
                    await asyncio.sleep(10.0)
        assert self.crew.asleep == 2
        await self.crew.aclose()


TestUsers = Users.TestCase
TestUsers.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
