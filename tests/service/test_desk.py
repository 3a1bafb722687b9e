"""The desk: each sample is held once, and nobody waits for a sibling that was refused."""

import asyncio

import pytest

from rrm_reward.assembler import Assembler
from rrm_reward.service._desk import Desk
from rrm_reward.service._errors import Refused
from rrm_reward.service._reading import Sample
from tests.support import clock
from tests.support.comparer import QualityJudge
from tests.test_arena import arena


def desk(judge=None, room=100, **options):
    return Desk(Assembler(arena(judge or QualityJudge()), **options), room)


def sample(slot, text, *, group="g", size=3, query="q"):
    return Sample(group, slot, size, query, text)


def submit(at, *arguments, **options):
    return asyncio.ensure_future(at.submit(sample(*arguments, **options)))


async def refused(at, *arguments, **options):
    with pytest.raises(Refused) as caught:
        await at.submit(sample(*arguments, **options))
    return caught.value


def test_a_sample_sent_again_waits_for_the_same_reward_and_costs_nothing():
    judge = QualityJudge()

    async def main():
        at = desk(judge)
        first = [submit(at, k, f"0.{k} x") for k in (0, 1, 2)]
        again = [submit(at, k, f"0.{k} x") for k in (0, 1, 2)]
        rewards = await asyncio.gather(*first, *again)
        late = await asyncio.gather(*(submit(at, k, f"0.{k} x") for k in (0, 1, 2)))
        assert at.held == 0
        return rewards, late

    rewards, late = clock.run(main())
    assert rewards[:3] == rewards[3:] == late
    assert set(judge.asked.values()) == {1}


def test_a_wait_that_is_given_up_leaves_the_sample_in_its_group():
    judge = QualityJudge()

    async def main():
        at = desk(judge)
        gone = submit(at, 0, "0.9 x")
        await asyncio.sleep(0.1)
        gone.cancel()
        others = await asyncio.gather(submit(at, 1, "0.1 x"), submit(at, 2, "0.5 x"))
        again = await at.submit(sample(0, "0.9 x"))
        return again, others

    again, others = clock.run(main())
    assert again.reward > max(other.reward for other in others)
    assert again.group_size == 3
    assert sum(judge.asked.values()) == 3


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ((1, "0.1 x", {"size": 4}), "size must be 3"),
        ((1, "0.1 x", {"query": "another"}), "query must be that of the siblings"),
        ((0, "0.1 x", {}), "slot 0 of group 'g' holds another response"),
        ((0, None, {}), "slot 0 of group 'g' holds another response"),
    ],
)
def test_what_contradicts_a_sibling_is_refused_and_the_group_goes_on(other, message):
    async def main():
        at = desk()
        first = submit(at, 0, "0.9 x")
        await asyncio.sleep(0)
        *arguments, options = other
        error = await refused(at, *arguments, **options)
        rest = await asyncio.gather(submit(at, 1, "0.2 x"), submit(at, 2, "0.3 x"), first)
        return error, rest

    error, rest = clock.run(main())
    assert error.status == 409
    assert message in error.message
    assert all(reward.known for reward in rest)


def test_a_full_desk_refuses_new_groups_and_never_a_member_of_an_open_one():
    async def main():
        at = desk(room=6)
        waiting = [submit(at, 0, "0.1 x", group=name) for name in "ab"]
        await asyncio.sleep(0)
        error = await refused(at, 0, "0.1 x", group="c")
        assert (error.status, error.retry_after) == (429, 1)
        waiting += [submit(at, k, f"0.{k}5 x", group=name) for name in "ab" for k in (1, 2)]
        assert all(reward.known for reward in await asyncio.gather(*waiting))
        waiting = [submit(at, k, f"0.{k} x", group="c") for k in range(3)]
        assert all(reward.known for reward in await asyncio.gather(*waiting))
        assert at.held == 0

    clock.run(main())


def test_a_retry_of_a_finished_group_is_answered_by_a_full_and_by_an_ending_desk():
    async def main():
        at = desk(room=3)
        rewards = await asyncio.gather(*(submit(at, k, f"0.{k} x") for k in range(3)))
        open_group = submit(at, 0, "0.1 x", group="other")
        await asyncio.sleep(0)
        at.draining = True
        assert await at.submit(sample(1, "0.1 x")) == rewards[1]
        assert (await refused(at, 0, "0.1 x", group="new")).status == 503
        await asyncio.gather(*(submit(at, k, f"0.{k}2 x", group="other") for k in (1, 2)), open_group)
        await asyncio.wait_for(at.empty(), 1)

    clock.run(main())


def test_members_that_failed_cost_their_siblings_nothing_and_leave_no_trace():
    async def main():
        at = desk()
        failed = await at.submit(sample(0, None))
        assert not failed.known
        assert not (await at.submit(sample(0, None))).known
        rewards = await asyncio.gather(submit(at, 1, "0.1 x"), submit(at, 2, "0.5 x"))
        assert rewards[0].reward < rewards[1].reward
        for k in range(3):
            await at.submit(sample(k, None, group="all failed"))
        assert (at.held, at.groups) == (0, 0)

    clock.run(main())


def test_a_group_whose_members_failed_or_never_came_does_not_hold_its_room_for_ever():
    async def main():
        at = desk(room=3, member_timeout=10)
        await at.submit(sample(0, None, group="abandoned"))
        assert (await refused(at, 0, "0.1 x")).status == 429
        await asyncio.sleep(11)
        rewards = await asyncio.gather(*(submit(at, k, f"0.{k} x") for k in range(3)))
        assert all(reward.known for reward in rewards)

    clock.run(main())


def test_a_group_whose_only_members_failed_is_let_go_at_the_end():
    async def main():
        at = desk(member_timeout=60)
        await at.submit(sample(0, None))
        assert at.held == 3
        async with asyncio.timeout(120):
            await at.empty()
        return at.held

    assert clock.run(main()) == 0
