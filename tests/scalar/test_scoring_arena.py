"""An arena of scores: one call a response, the same groups, deadlines and twins as any other."""

import asyncio
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrm_reward.assembler import Assembler
from rrm_reward.reward import make_reward
from rrm_reward.scoring import Score, Scorer, ScoringArena
from rrm_reward.types import Group
from tests.support import clock


class NumberScorer(Scorer):
    """Scores a text by the number that it begins with, after `seconds`."""

    def __init__(self, seconds=1.0):
        self.seconds = seconds
        self.asked = []
        self.in_flight = self.most = 0

    def view(self, response):
        return response.strip()

    async def score(self, query, response):
        self.asked.append(response)
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        await asyncio.sleep(self.seconds)
        self.in_flight -= 1
        if response.startswith("none"):
            return Score(None)
        if response.startswith("raise"):
            raise RuntimeError("told to")
        return Score(float(response.split()[0]), 7)


def judge(responses, scorer=None, scale="natural", **options):
    async def main():
        arena = ScoringArena(scorer or NumberScorer(), make_reward(scale), **options)
        async with arena:
            return await arena.judge(Group("g", "q", responses)), arena.snapshot()

    return clock.run(main())


def test_rewards_are_log_odds_against_the_groups_average_and_ratings_the_raw_scores():
    result, totals = judge(["10", "12", "11"])
    assert result.ratings.value.tolist() == [10.0, 12.0, 11.0]
    assert result.rewards.tolist() == [-1.0, 1.0, 0.0]
    assert np.isnan(result.ratings.stderr).all()
    assert (result.comparisons, result.calls, result.missing, result.prompt_tokens) == (0, 3, 0, 21)
    assert (totals["calls"], totals["comparisons"], totals["groups"]) == (3.0, 0.0, 1.0)


def test_outcomes_say_what_the_scores_say_of_a_pair():
    result, _ = judge(["1", "3"])
    (outcome,) = result.outcomes
    assert (outcome.i, outcome.j) == (0, 1)
    assert outcome.p == pytest.approx(1 / (1 + math.e**2))


def test_identical_responses_are_scored_once_and_rewarded_alike():
    scorer = NumberScorer()
    result, _ = judge(["2", " 2 ", "4", None], scorer)
    assert sorted(scorer.asked) == ["2", "4"]
    assert result.rewards[0] == result.rewards[1] < result.rewards[2]
    assert np.isnan(result.rewards[3])
    assert (result.calls, result.notes) == (2, {"duplicates": 1, "failed": 1})


@pytest.mark.parametrize("bad", ["none", "raise"])
def test_a_response_that_cannot_be_scored_costs_its_own_reward_only(bad):
    result, totals = judge(["1", bad, "3"])
    assert result.rewards[[0, 2]].tolist() == [-1.0, 1.0]
    assert np.isnan(result.rewards[1])
    assert (result.missing, totals["missing"]) == (1, 1.0)


def test_a_deadline_closes_the_group_with_what_is_known():
    result, _ = judge(["1", "2", "3"], NumberScorer(seconds=1.0), concurrency=2, group_timeout=1.5)
    assert np.isnan(result.rewards).tolist() == [False, False, True]
    assert result.notes["expired"] == 1


def test_concurrency_bounds_the_calls_in_flight_over_all_groups():
    scorer = NumberScorer()

    async def main():
        async with ScoringArena(scorer, make_reward(), concurrency=3) as arena:
            groups = [Group(str(k), "q", [f"{k}.{i}" for i in range(4)]) for k in range(4)]
            return [result async for _, result in arena.judge_all(groups)]

    results = clock.run(main())
    assert len(results) == 4
    assert scorer.most == 3


def test_a_group_of_one_and_a_group_of_equals_are_worth_nothing_above_average():
    assert judge(["7"])[0].rewards.tolist() == [0.0]
    assert judge(["7", "7"])[0].rewards.tolist() == [0.0, 0.0]
    assert np.isnan(judge([None, None])[0].rewards).all()


def test_single_samples_meet_in_an_assembler_as_with_any_judge():
    async def main():
        async with ScoringArena(NumberScorer(), make_reward()) as arena:
            assembler = Assembler(arena, member_timeout=10)
            two = [assembler.submit("g", k, f"{k}", query="q", size=3) for k in (0, 2)]
            return await asyncio.gather(*two)

    low, high = clock.run(main())
    assert (low.reward, high.reward, low.group_size) == (-1.0, 1.0, 2)


@given(st.lists(st.none() | st.integers(-50, 50), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_order_of_arrival_changes_nothing(numbers, rng):
    def texts():
        return [None if number is None else str(number) for number in numbers]

    async def main(order):
        async with ScoringArena(NumberScorer(), make_reward("zscore")) as arena:
            group = arena.open("g", "q", len(numbers))
            for slot in order:
                if texts()[slot] is None:
                    group.withdraw(slot)
                else:
                    group.add(slot, texts()[slot])
                await asyncio.sleep(rng.choice((0.0, 2.0)))
            return await group.result()

    order = list(range(len(numbers)))
    expected = clock.run(main(order))
    rng.shuffle(order)
    found = clock.run(main(order))
    np.testing.assert_array_equal(found.rewards, expected.rewards)
    assert found.outcomes == expected.outcomes


async def test_a_scorer_compares_by_its_scores():
    scorer = NumberScorer(seconds=0.0)
    judgment = await scorer.compare("q", "1", "3")
    assert judgment.p == pytest.approx(1 / (1 + math.e**2))
    assert judgment.calls == 2
    assert (await scorer.compare("q", "900", "-900")).p == 1.0
    assert (await scorer.compare("q", "none", "1")).p is None
