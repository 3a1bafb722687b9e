"""The arena on a fake clock: limits, deadlines, priorities, late verdicts, streams."""

import asyncio
import gc
import itertools
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrm_reward._open_group import OpenGroup
from rrm_reward.arena import Arena
from rrm_reward.rating import make_rating
from rrm_reward.reward import make_reward
from rrm_reward.tournament import SCHEDULES, default_rating, make_tournament
from rrm_reward.types import Group
from tests.support import clock
from tests.support.comparer import QualityJudge, share_of

TEXTS = [f"0.{k} words" for k in (3, 9, 1, 7, 5, 2, 8, 4)]


def arena(judge, schedule="round_robin", **options) -> Arena:
    return Arena(
        judge,
        lambda n, seed: make_tournament(schedule, n, seed=seed),
        make_rating(default_rating(schedule)),
        make_reward("natural", 5.0),
        **options,
    )


@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
def test_every_schedule_runs_in_the_arena_and_a_perfect_judge_puts_the_best_above_the_worst(schedule):
    async def main():
        return await arena(QualityJudge(), schedule).judge(Group("g", "q", TEXTS))

    result = clock.run(main())
    assert result.rewards[TEXTS.index("0.9 words")] > result.rewards[TEXTS.index("0.1 words")]
    assert result.missing == 0
    assert result.comparisons == len(result.outcomes) == result.calls


def test_identical_responses_get_one_reward_and_are_never_compared():
    judge = QualityJudge()

    async def main():
        return await arena(judge).judge(Group("g", "q", ["0.1 a", "0.9 b", "0.1 a", "<think>x</think>0.9 b"]))

    result = clock.run(main())
    assert sum(judge.asked.values()) == 1
    assert result.rewards[0] == result.rewards[2] < result.rewards[1] == result.rewards[3]
    assert result.notes["duplicates"] == 2


def test_a_group_of_identical_responses_is_a_draw_without_a_call():
    judge = QualityJudge()

    async def main():
        return await arena(judge).judge(Group("g", "q", ["0.5 a"] * 4))

    result = clock.run(main())
    assert not judge.asked
    assert result.rewards.tolist() == [0.0] * 4


@pytest.mark.parametrize("responses", [[], ["0.5 a"], [None, None], ["0.5 a", None]])
def test_a_group_that_cannot_be_compared_ends_at_once_with_unknown_rewards(responses):
    async def main():
        return await arena(QualityJudge()).judge(Group("g", "q", responses))

    result = clock.run(main())
    assert result.rewards.shape == (len(responses),)
    assert np.isnan(result.rewards).all()


def test_a_failed_member_is_unknown_and_its_siblings_are_not():
    async def main():
        return await arena(QualityJudge()).judge(Group("g", "q", ["0.1 a", None, "0.9 b"]))

    result = clock.run(main())
    assert np.isnan(result.rewards[1])
    assert result.rewards[0] < result.rewards[2]


def test_a_missing_outcome_is_neither_a_loss_nor_a_tie():
    judge = QualityJudge(missing=lambda a, b: "0.5" in (a[:3], b[:3]))

    async def main():
        return await arena(judge).judge(Group("g", "q", ["0.5 a", "0.1 b", "0.9 c"]))

    result = clock.run(main())
    assert np.isnan(result.rewards[0])
    assert result.rewards[1] < result.rewards[2]
    assert result.missing == 2


@pytest.mark.parametrize(("width", "concurrency"), [(1, 5), (2, 5), (2, 1)])
def test_requests_in_flight_stay_under_the_limit_over_all_groups(width, concurrency):
    judge = QualityJudge(width=width)

    async def main():
        players = arena(judge, concurrency=concurrency)
        await asyncio.gather(*(players.judge(Group(str(k), f"q{k}", TEXTS)) for k in range(3)))

    clock.run(main())
    assert judge.most_in_flight == max(concurrency // width * width, width)


def test_the_longest_chain_is_served_first():
    """With one slot, both groups' first rounds go before either's second: neither final is left for the very end."""
    judge = QualityJudge()
    groups = [Group(name, f"query {name}", [f"{text} of {name}" for text in TEXTS]) for name in ("a", "b")]

    async def main():
        players = arena(judge, "knockout", concurrency=1)
        return await asyncio.gather(*(players.judge(group) for group in groups))

    clock.run(main())
    served = "".join(text[-1] for _, text, _ in judge.begun)
    assert len(served) == 14
    assert served[:8].count("a") == served[:8].count("b") == 4
    assert served[8:12].count("a") == served[8:12].count("b") == 2


def test_a_deadline_closes_a_group_with_what_is_known_and_late_verdicts_are_ignored():
    judge = QualityJudge(latency=lambda a, b: 100.0 if "0.1" in (a[:3], b[:3]) else 1.0)

    async def main():
        players = arena(judge, group_timeout=10.0)
        result = await players.judge(Group("g", "q", ["0.1 a", "0.5 b", "0.9 c"]))
        ended = asyncio.get_running_loop().time()
        await asyncio.sleep(200)
        return result, ended, players.snapshot()

    result, ended, snapshot = clock.run(main())
    assert ended == 10.0
    assert np.isnan(result.rewards[0])
    assert result.rewards[1] < result.rewards[2]
    assert result.notes["expired"] == 1
    assert snapshot["late"] == 2
    assert snapshot["groups"] == 1
    assert snapshot["in_flight"] == snapshot["queued"] == snapshot["open_groups"] == 0


def test_a_judge_that_raises_costs_one_outcome(caplog):
    class Broken(QualityJudge):
        async def compare(self, query, a, b, *, seed=0):
            if "0.1" in (a[:3], b[:3]):
                raise RuntimeError("a bug")
            return await super().compare(query, a, b, seed=seed)

    async def main():
        return await arena(Broken()).judge(Group("g", "q", ["0.1 a", "0.5 b", "0.9 c"]))

    result = clock.run(main())
    assert result.missing == 2
    assert result.rewards[1] < result.rewards[2]
    assert "a bug" in caplog.text


def test_a_rating_that_raises_leaves_nobody_waiting(caplog):
    async def main():
        players = arena(QualityJudge())
        group = players.open("g", "q", 2)
        group._rules.rating.__class__.__call__, kept = None, group._rules.rating.__class__.__call__
        try:
            group.add(0, "0.1 a")
            group.add(1, "0.2 b")
            return await group.result()
        finally:
            group._rules.rating.__class__.__call__ = kept

    assert np.isnan(clock.run(main()).rewards).all()
    assert "cannot be rated" in caplog.text


def test_judge_all_reads_lazily_and_yields_every_group_with_its_position():
    drawn = []

    def source():
        for k in range(20):
            drawn.append(k)
            yield Group(str(k), f"q{k}", TEXTS[: 2 + k % 5])

    async def main():
        seen, ahead = {}, 0
        async for index, result in arena(QualityJudge(), concurrency=3).judge_all(source(), window=4):
            seen[index] = result.id
            ahead = max(ahead, len(drawn) - len(seen))
        return seen, ahead

    seen, ahead = clock.run(main())
    assert seen == {k: str(k) for k in range(20)}
    assert ahead <= 4


def test_a_cancelled_wait_asks_nothing_more():
    judge = QualityJudge()

    async def main():
        players = arena(judge, concurrency=1)
        waiting = asyncio.ensure_future(players.judge(Group("g", "q", TEXTS)))
        await asyncio.sleep(1.5)
        waiting.cancel()
        await asyncio.sleep(100)
        return players.snapshot()

    snapshot = clock.run(main())
    assert sum(judge.asked.values()) == 2
    assert snapshot["open_groups"] == snapshot["in_flight"] == 0


def test_closing_the_arena_answers_everybody():
    async def main():
        async with arena(QualityJudge(latency=lambda a, b: 1e9)) as players:
            waiting = asyncio.ensure_future(players.judge(Group("g", "q", TEXTS)))
            await asyncio.sleep(1)
        return await waiting

    assert np.isnan(clock.run(main()).rewards).all()


@given(
    schedule=st.sampled_from(sorted(SCHEDULES)),
    n=st.integers(2, 8),
    twins=st.booleans(),
    shuffle=st.randoms(use_true_random=False),
)
@settings(max_examples=80, deadline=None)
def test_a_stream_gives_the_rewards_of_a_batch_bit_by_bit(schedule, n, twins, shuffle):
    texts = [f"{share_of(str(k), str(n)):.3f} x" for k in range(n)]
    if twins:
        texts[shuffle.randrange(n)] = texts[shuffle.randrange(n)]
    arrivals = [(shuffle.random() * 30, slot) for slot in range(n)]

    def judge():
        return QualityJudge(latency=lambda a, b: 1 + 9 * share_of(b, a), noise=1.0)

    async def batch():
        return await arena(judge(), schedule, seed=7).judge(Group("one name", "q", texts))

    async def stream():
        group = arena(judge(), schedule, seed=7).open("another name", "q", n)
        now = 0.0
        for at, slot in sorted(arrivals):
            await asyncio.sleep(at - now)
            now = at
            group.add(slot, texts[slot])
        return await group.result()

    first, second = clock.run(batch()), clock.run(stream())
    assert first.rewards.tobytes() == second.rewards.tobytes()
    assert first.ratings.stderr.tobytes() == second.ratings.stderr.tobytes()
    assert first.outcomes == second.outcomes


def test_a_closed_group_leaves_no_texts_behind_for_the_garbage_collector():
    def opened(players, seen: list[weakref.ref[OpenGroup]]) -> OpenGroup:
        holder: list[
            OpenGroup
        ] = []  # as an assembler's group, which holds the arena's and is told of its end
        group = players.open("g", "q", len(TEXTS), lambda result: seen.append(weakref.ref(holder[0])))
        holder.append(group)
        return group

    async def main():
        async with arena(QualityJudge(), group_timeout=50) as players:
            seen: list[weakref.ref[OpenGroup]] = []
            group = opened(players, seen)
            for slot, text in enumerate(TEXTS):
                group.add(slot, text)
            await group.result()
            del group
            await asyncio.sleep(1)
            return seen[0]()

    gc.collect()
    gc.disable()
    try:
        assert clock.run(main()) is None
    finally:
        gc.enable()


def test_judging_overlaps_with_rollouts():
    """A group whose members come one a second is settled one comparison after the last, not a tournament after."""

    async def main():
        group = arena(QualityJudge(), "round_robin", concurrency=8).open("g", "q", 8)
        for slot, text in enumerate(TEXTS):
            await asyncio.sleep(1.0)
            group.add(slot, text)
        last = asyncio.get_running_loop().time()
        await group.result()
        return asyncio.get_running_loop().time() - last

    assert clock.run(main()) == pytest.approx(1.0)


def test_every_response_of_a_round_robin_stands_first_about_equally_often():
    judge = QualityJudge()

    async def main():
        await arena(judge).judge(Group("g", "q", TEXTS))

    clock.run(main())
    for text in TEXTS:
        first = sum(count for (a, _), count in judge.asked.items() if a == text)
        assert first in (3, 4)
    assert set(map(frozenset, judge.asked)) == set(map(frozenset, itertools.combinations(TEXTS, 2)))


def test_a_group_whose_members_are_all_here_is_served_before_one_that_waits_for_rollouts():
    judge = QualityJudge()

    async def main():
        players = arena(judge, concurrency=1)
        early, late = players.open("early", "q early", 4), players.open("late", "q late", 2)
        for slot in range(3):
            early.add(slot, f"0.{slot} early")
        for slot in range(2):
            late.add(slot, f"0.{slot} late")
        await late.result()
        early.complete()
        await early.result()

    clock.run(main())
    order = [a.split()[1] for _, a, _ in judge.begun]
    assert order == ["early", "late", "early", "early"]
