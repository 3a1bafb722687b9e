"""Single samples meet: nothing hangs, nothing raises, nothing is judged twice."""

import asyncio
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrm_reward.assembler import Assembler
from tests.support import clock
from tests.support.comparer import QualityJudge
from tests.test_arena import arena


def submit(assembler, slot, text, *, group="g", size=3):
    return asyncio.ensure_future(assembler.submit(group, slot, text, query="q", size=size))


def test_siblings_get_the_rewards_of_their_group():
    async def main():
        assembler = Assembler(arena(QualityJudge()))
        return await asyncio.gather(*(submit(assembler, k, f"0.{k} x") for k in (2, 0, 1)))

    best, worst, middle = clock.run(main())
    assert worst.reward < middle.reward < best.reward
    assert best.group_size == 3
    assert best.comparisons == 3
    assert best.group_mean == pytest.approx((worst.reward + middle.reward + best.reward) / 3)


def test_a_retried_submit_joins_once_before_and_after_the_result():
    judge = QualityJudge()

    async def main():
        assembler = Assembler(arena(judge))
        waiting = [submit(assembler, k, f"0.{k} x") for k in (0, 0, 1)]
        await asyncio.sleep(5)
        waiting += [submit(assembler, k, f"0.{k} x") for k in (1, 2, 2)]
        answers = await asyncio.gather(*waiting)
        again = await submit(assembler, 2, "0.2 x")
        return answers, again, assembler.counts

    answers, again, counts = clock.run(main())
    assert answers[0] == answers[1]
    assert answers[4] == answers[5] == again
    assert sum(judge.asked.values()) == 3
    assert counts["retries"] == 4


def test_a_partial_group_is_judged_after_the_last_news():
    async def main():
        assembler = Assembler(arena(QualityJudge()), member_timeout=60)
        first = submit(assembler, 0, "0.1 x")
        await asyncio.sleep(50)
        second = submit(assembler, 2, "0.9 x")
        answers = await asyncio.gather(first, second)
        return answers, asyncio.get_running_loop().time(), assembler.counts

    (worse, better), ended, counts = clock.run(main())
    assert worse.reward < better.reward
    assert ended == pytest.approx(110)
    assert counts["incomplete"] == 1


def test_asking_again_does_not_keep_an_absent_sibling_awaited():
    async def main():
        assembler = Assembler(arena(QualityJudge()), member_timeout=60)
        waiting = [submit(assembler, k, f"0.{k} x") for k in (0, 1)]
        for _ in range(10):
            await asyncio.sleep(20)
            waiting.append(submit(assembler, 0, "0.0 x"))
            if waiting[1].done():
                break
        await asyncio.gather(*waiting)
        return asyncio.get_running_loop().time()

    assert clock.run(main()) == pytest.approx(80)


def test_a_late_member_gets_the_mean_of_its_group_and_disturbs_nobody():
    async def main():
        assembler = Assembler(arena(QualityJudge()), member_timeout=60)
        early = await asyncio.gather(*(submit(assembler, k, f"0.{k} x") for k in (0, 1)))
        late = await submit(assembler, 2, "0.2 x")
        return early, late, assembler.counts

    early, late, counts = clock.run(main())
    assert math.isnan(late.reward)
    assert late.filled == late.group_mean == early[0].group_mean
    assert counts["late"] == 1


def test_a_failed_member_does_not_hold_up_its_siblings():
    async def main():
        assembler = Assembler(arena(QualityJudge()), member_timeout=1e9)
        waiting = [submit(assembler, k, f"0.{k} x") for k in (0, 2)]
        await asyncio.sleep(1)
        assembler.fail("g", 1, query="q", size=3)
        return await asyncio.gather(*waiting), asyncio.get_running_loop().time()

    (worse, better), ended = clock.run(main())
    assert worse.reward < better.reward
    assert ended < 10


def test_a_group_whose_members_all_failed_leaves_nothing_behind():
    async def main():
        assembler = Assembler(arena(QualityJudge()))
        for slot in range(3):
            assembler.fail("g", slot, query="q", size=3)
        return len(assembler._gathering)

    assert clock.run(main()) == 0


def test_a_size_that_a_sibling_brings_is_enough():
    async def main():
        assembler = Assembler(arena(QualityJudge()))
        sizes = (None, 3, None)
        return await asyncio.gather(
            *(submit(assembler, k, f"0.{k} x", size=size) for k, size in enumerate(sizes))
        )

    assert [answer.known for answer in clock.run(main())] == [True] * 3


def test_a_group_of_unknown_size_is_judged_when_no_news_come():
    async def main():
        assembler = Assembler(arena(QualityJudge()), member_timeout=30)
        waiting = [submit(assembler, k, f"0.{k} x", size=None) for k in range(4)]
        answers = await asyncio.gather(*waiting)
        return answers, asyncio.get_running_loop().time()

    answers, ended = clock.run(main())
    assert [answer.known for answer in answers] == [True] * 4
    assert ended == pytest.approx(31)


def test_another_text_in_a_taken_slot_gets_the_group_mean_and_is_counted():
    async def main():
        assembler = Assembler(arena(QualityJudge()))
        waiting = [submit(assembler, 0, "0.1 x"), submit(assembler, 0, "0.5 forged")]
        waiting += [submit(assembler, k, f"0.{k + 1} x") for k in (1, 2)]
        return await asyncio.gather(*waiting), assembler.counts

    answers, counts = clock.run(main())
    assert answers[0].known
    assert not answers[1].known
    assert answers[1].filled == answers[0].group_mean
    assert counts["conflicts"] == 1


@pytest.mark.parametrize("slot", [-1, 3, 99])
def test_a_slot_outside_the_group_is_answered_and_counted(slot):
    async def main():
        assembler = Assembler(arena(QualityJudge()))
        waiting = [submit(assembler, k, f"0.{k} x") for k in (0, 1, slot, 2)]
        return await asyncio.gather(*waiting), assembler.counts

    answers, counts = clock.run(main())
    assert [answer.known for answer in answers] == [True, True, False, True]
    assert counts["misplaced"] + counts["conflicts"] == 1


@pytest.mark.parametrize("size", [0, -1])
def test_a_size_that_cannot_be_is_answered_at_once(size):
    async def main():
        assembler = Assembler(arena(QualityJudge()))
        answer = await submit(assembler, 0, "0.1 x", size=size)
        return answer, assembler.counts, asyncio.get_running_loop().time()

    answer, counts, ended = clock.run(main())
    assert not answer.known
    assert counts == {"misplaced": 1}
    assert ended < 2


@pytest.mark.parametrize("sizes", [(3, 3, 3), (None, None, 3)])
def test_a_response_that_is_no_text_costs_its_siblings_nothing(sizes):
    async def main():
        assembler = Assembler(arena(QualityJudge()))
        texts = (None, "0.1 x", "0.2 x")
        waiting = [submit(assembler, k, text, size=sizes[k]) for k, text in enumerate(texts)]
        answers = await asyncio.gather(*waiting)
        return answers, assembler.counts, asyncio.get_running_loop().time()

    answers, counts, ended = clock.run(main())
    assert [answer.known for answer in answers] == [False, True, True]
    assert counts == {"textless": 1}
    assert ended < 10


def test_a_sibling_that_nobody_waits_for_any_more_is_still_compared():
    async def main():
        assembler = Assembler(arena(QualityJudge()))
        gone = submit(assembler, 0, "0.9 x")
        waiting = [submit(assembler, k, f"0.{k} x") for k in (1, 2)]
        await asyncio.sleep(0.001)
        gone.cancel()
        return await asyncio.gather(*waiting)

    answers = clock.run(main())
    assert [answer.comparisons for answer in answers] == [3, 3]


def test_a_finished_group_name_can_be_used_again_for_other_texts():
    async def main():
        assembler = Assembler(arena(QualityJudge()))
        first = await asyncio.gather(*(submit(assembler, k, f"0.{k} x") for k in range(3)))
        second = await asyncio.gather(*(submit(assembler, k, f"0.{5 - k} y") for k in range(3)))
        return first, second

    first, second = clock.run(main())
    assert [a.reward for a in first] == [a.reward for a in reversed(second)]


def test_memory_is_bounded_by_closing_the_oldest_group_and_forgetting_finished_ones():
    async def main():
        assembler = Assembler(arena(QualityJudge()), max_groups=2, remember=3)
        waiting = [submit(assembler, 0, "0.5 x", group=f"g{k}") for k in range(10)]
        await asyncio.sleep(0)
        open_groups = len(assembler._gathering)
        answered = sum(task.done() for task in waiting) if await asyncio.sleep(1) is None else 0
        assembler.close()
        await asyncio.gather(*waiting)
        return open_groups, answered, len(assembler._finished), assembler.counts

    open_groups, answered, finished, counts = clock.run(main())
    assert open_groups <= 2
    assert answered == 8 == counts["evicted"]
    assert finished == 3


def test_a_query_that_cannot_be_read_is_unknown_and_no_exception(caplog):
    async def main():
        assembler = Assembler(arena(QualityJudge()))
        return await asyncio.gather(
            *(assembler.submit("g", k, "0.1 x", query=[{"role": 3}], size=2) for k in range(2))
        ), len(assembler._gathering)

    answers, left = clock.run(main())
    assert [answer.known for answer in answers] == [False, False]
    assert left == 0
    assert "gets no reward" in caplog.text


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["submit", "submit", "submit", "fail", "wait"]),
        st.sampled_from(["g", "h"]),
        st.integers(-1, 4),
        st.integers(0, 3),
        st.sampled_from([None, 3, 4]),
    ),
    max_size=25,
)


@given(EVENTS)
@settings(max_examples=150, deadline=None)
def test_whatever_comes_every_submit_is_answered_in_bounded_time(events):
    async def main():
        judge = QualityJudge(latency=lambda a, b: 7.0)
        assembler = Assembler(arena(judge), member_timeout=60, max_groups=2, remember=1)
        waiting = []
        for what, group, slot, text, size in events:
            if what == "submit":
                waiting.append(submit(assembler, slot, f"0.{text} x", group=group, size=size))
            elif what == "fail":
                assembler.fail(group, slot, query="q", size=size)
            await asyncio.sleep(20 if what == "wait" else 0)
        return await asyncio.wait_for(asyncio.gather(*waiting), 10_000), assembler.counts

    answers, counts = clock.run(main())
    assert all(isinstance(answer.filled, float) and not math.isnan(answer.filled) for answer in answers)
    assert counts["errors"] == 0


def test_a_reward_brings_the_health_of_its_judge():
    async def main():
        players = arena(QualityJudge())
        assembler = Assembler(players)
        rewards = await asyncio.gather(*(submit(assembler, k, f"0.{k} x") for k in range(3)))
        return rewards, players.health.gauges()

    rewards, gauges = clock.run(main())
    assert gauges["rrm/first_share"] > 0
    for reward in rewards:
        assert reward.health == pytest.approx(gauges, nan_ok=True)


@pytest.mark.parametrize(("query", "size"), [("another", 2), ("q", 3)])
def test_a_finished_groups_name_with_another_query_or_size_is_a_new_group(query, size):
    judge = QualityJudge()

    async def main():
        assembler = Assembler(arena(judge))
        await asyncio.gather(*(submit(assembler, k, f"0.{k} x", size=2) for k in range(2)))
        later = [assembler.submit("g", k, f"0.{k} x", query=query, size=size) for k in range(size)]
        return await asyncio.gather(*later)

    assert [share.group_size for share in clock.run(main())] == [size] * size
