"""What adaptive promises beyond what all schedules do: it asks what tells most, and spends what others saved."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrm_reward.arena import Arena
from rrm_reward.rating import PositionBias, make_rating
from rrm_reward.rating._strength import CERTAIN, comparisons, maximise
from rrm_reward.reward import make_reward
from rrm_reward.tournament import Circumstances, Purse, Room, Schedule, make_tournament
from rrm_reward.tournament._information import Information
from rrm_reward.types import FloatArray, Group, Match, Outcome, PositionBelief, Verdict, Vote

from ..support import clock
from ..support.comparer import QualityJudge

moderate = settings(max_examples=40, deadline=None)


def judged(match: Match, i_wins: bool) -> Outcome:
    vote = Vote(True, Verdict(1 if i_wins else 2))
    return Outcome(match.i, match.j, float(i_wins), (vote,), match.round)


def play_all(tournament: Schedule, strength: FloatArray, rng: random.Random, bias: float = 0.0) -> Schedule:
    for i in range(tournament.n):
        tournament.add(i)
    while not tournament.done:
        for match in tournament.ready():
            logit = strength[match.i] - strength[match.j] + bias
            tournament.record(judged(match, rng.random() < 1 / (1 + math.exp(-logit))))
    return tournament


def adaptive(n: int, budget: int | None, **more: Any) -> Schedule:
    around = more.pop("circumstances", None)
    seed = more.pop("seed", 0)
    return make_tournament("adaptive", n, seed=seed, budget=budget, options=more, circumstances=around)


@given(
    st.integers(2, 6), st.integers(0, 10_000), st.sampled_from([0.0, 1.0]), st.floats(0, 2), st.floats(-2, 2)
)
@moderate
def test_gains_are_what_a_fresh_inverse_says_also_after_matches_were_chosen(
    n: int, seed: int, order: float, deviation: float, mean: float
) -> None:
    rng = np.random.default_rng(seed)
    drawn = [rng.choice(n, 2, replace=False) for _ in range(3 * n)]
    outcomes = [judged(Match(int(i), int(j)), bool(rng.random() < 0.5)) for i, j in drawn]
    posterior = maximise(n, comparisons(outcomes), 1.5, PositionBelief(mean, deviation))
    information = Information(posterior, order)
    free = n + (deviation > CERTAIN)
    precision = np.linalg.inv(posterior.covariance[:free, :free])
    centre = np.eye(n) - 1 / n
    weights = np.zeros((n, n))
    for k, m in itertools.combinations(range(n), 2):
        sd = math.sqrt(
            (posterior.covariance[k] - posterior.covariance[m]) @ (np.eye(n + 1)[k] - np.eye(n + 1)[m])
        )
        z = (posterior.strength[k] - posterior.strength[m]) / sd
        weights[k, m] = weights[m, k] = math.exp(-z * z / 2) / sd
    weights *= (n - 1) / weights.sum()

    def left() -> float:
        s = np.linalg.inv(precision)[:n, :n]
        return sum(
            weights[k, m] * (s[k, k] + s[m, m] - 2 * s[k, m]) for k, m in itertools.combinations(range(n), 2)
        )

    def direction(i: int, j: int) -> FloatArray:
        c = np.zeros(n + 1)
        c[i], c[j], c[n] = 1, -1, order
        return c[:free]

    at_first = np.linalg.inv(precision)

    def weight(c: FloatArray) -> float:
        margin = c @ np.append(posterior.strength, posterior.position.mean)[:free]
        if free == n:
            margin += order * mean
        q = 1 / (1 + np.exp(-margin / np.sqrt(1 + np.pi / 8 * c @ at_first @ c)))
        return float(q * (1 - q))

    for _ in range(3):
        covariance = np.linalg.inv(precision)[:n, :n]
        assert information.variance == pytest.approx(np.trace(centre @ covariance @ centre), abs=1e-8)
        gains, before = information.gains(), left()
        for i, j in itertools.permutations(range(n), 2):
            c = direction(i, j)
            kept = precision
            precision = kept + weight(c) * np.outer(c, c)
            assert gains[i, j] == pytest.approx(before - left(), abs=1e-8)
            precision = kept
        i, j = (int(k) for k in rng.choice(n, 2, replace=False))
        c = direction(i, j)
        step = weight(c)
        information.take(i, j)
        precision = precision + step * np.outer(c, c)


@given(st.integers(2, 7), st.integers(1, 60), st.integers(0, 1000), st.integers(1, 9))
@moderate
def test_a_pair_is_met_at_most_once_in_either_order(n: int, budget: int, seed: int, width: int) -> None:
    strength = np.random.default_rng(seed).normal(0, 2, n)
    tournament = play_all(
        adaptive(n, budget, seed=seed, width=width, settled=0.0), strength, random.Random(seed)
    )
    met = Counter((o.i, o.j) for o in tournament.outcomes)
    assert max(met.values()) == 1
    assert len(met) == min(budget, n * (n - 1))


@given(st.integers(0, 7), st.integers(0, 1000), st.integers(0, 2), st.booleans())
@moderate
def test_a_budget_for_all_matches_is_the_round_robin_in_both_orders_at_once_and_for_everybody(
    n: int, seed: int, more: int, both: bool
) -> None:
    """Nobody could use what is saved, and a rating of all matches cannot be worse than one of some."""
    around = Circumstances(both_orders=both)
    most = n * (n - 1) // (2 if both else 1)
    tournament = adaptive(n, most + more or 1, seed=seed, settled=9.0, circumstances=around)
    for i in range(n):
        tournament.add(i)
    asked = [(match.i, match.j) for match in tournament.ready()]
    pairs = {frozenset(pair) for pair in itertools.combinations(range(n), 2)}
    assert len(asked) == len(set(asked)) == most
    assert {frozenset(pair) for pair in asked} == pairs


def test_where_a_second_meeting_tells_nothing_every_pair_is_met_before_any_is_met_again() -> None:
    tournament = play_all(adaptive(7, 21, settled=0.0, repeat=0.0), np.arange(7.0), random.Random(0))
    assert len({frozenset((o.i, o.j)) for o in tournament.outcomes}) == 21
    eager = play_all(adaptive(7, 21, settled=0.0, repeat=1.0), np.arange(7.0), random.Random(0))
    assert len({frozenset((o.i, o.j)) for o in eager.outcomes}) < 21


@given(st.integers(4, 8), st.integers(0, 1000))
@moderate
def test_also_within_one_wide_round_nobody_is_met_again_before_everybody_is_met(n: int, seed: int) -> None:
    pairs = n * (n - 1) // 2
    strength = np.random.default_rng(seed).normal(0, 4, n)
    tournament = play_all(
        adaptive(n, pairs, seed=seed, width=pairs, settled=0.0, repeat=0.0), strength, random.Random(seed)
    )
    assert len({frozenset((o.i, o.j)) for o in tournament.outcomes}) == pairs


@given(st.integers(3, 9), st.integers(0, 1000), st.integers(1, 40))
@moderate
def test_also_within_one_wide_round_who_was_assistant_1_less_often_is_so_now(
    n: int, seed: int, width: int
) -> None:
    strength = np.random.default_rng(seed).normal(0, 2, n)
    pairs = n * (n - 1) // 2
    tournament = play_all(
        adaptive(n, pairs, seed=seed, width=width, settled=0.0), strength, random.Random(seed)
    )
    lead: Counter[int] = Counter()
    for number, outcome in enumerate(tournament.outcomes):  # in the order in which they were chosen
        assert number < n or lead[outcome.i] <= lead[outcome.j], "after the ring, which is drawn beforehand"
        lead[outcome.i] += 1
        lead[outcome.j] -= 1


def test_where_a_match_asks_both_orders_a_pair_is_met_once() -> None:
    around = Circumstances(both_orders=True)
    tournament = play_all(
        adaptive(6, 1000, settled=0.0, circumstances=around), np.arange(6.0), random.Random(0)
    )
    assert Counter(frozenset((o.i, o.j)) for o in tournament.outcomes) == Counter(
        map(frozenset, itertools.combinations(range(6), 2))
    )


def test_it_knows_more_than_a_round_robin_of_the_same_budget() -> None:
    rate = make_rating("bradley_terry")
    for budget in (14, 21, 28):
        errors: dict[str, list[float]] = {"adaptive": [], "round_robin": []}
        for seed in range(60):
            strength = np.random.default_rng(seed).normal(0, 2, 8)
            for name, found in errors.items():
                tournament = make_tournament(name, 8, seed=seed, budget=budget)
                outcomes = play_all(tournament, strength, random.Random(seed)).outcomes
                found.append(float(np.mean(rate(8, outcomes).stderr ** 2)))
        assert np.mean(errors["adaptive"]) < np.mean(errors["round_robin"])


def test_a_settled_group_leaves_its_calls_and_one_in_doubt_takes_them() -> None:
    purse = Purse()
    around = Circumstances(PositionBelief(0.0, 0.0), purse=purse)
    clear = play_all(adaptive(8, 40, settled=0.3, circumstances=around), np.arange(8.0) * 3, random.Random(0))
    saved = 40 - len(clear.outcomes)
    assert purse.saved == saved > 0
    doubtful = play_all(
        adaptive(8, 20, settled=0.0, circumstances=around, seed=1), np.zeros(8), random.Random(1)
    )
    assert len(doubtful.outcomes) == 20 + min(saved, 20)
    assert len(clear.outcomes) + len(doubtful.outcomes) + purse.saved == 60


def test_by_default_a_clear_group_stops_only_where_somebody_else_could_use_its_calls() -> None:
    def played(**more: Any) -> int:
        around = Circumstances(PositionBelief(0.0, 0.0), **more.pop("around", {}))
        tournament = adaptive(8, 40, circumstances=around, **more)
        return len(play_all(tournament, np.arange(8.0) * 3, random.Random(0)).outcomes)

    assert played(around={"purse": Purse()}) < 40
    assert played() == played(around={"purse": Purse()}, share=False) == 40
    assert played(settled=0.3) < 40


@pytest.mark.parametrize(
    ("budget", "expected"), [(20, 0.2), (28, 0.2), (42, 0.9 * 8 / 42), (52, 0.9 * 8 / 52)]
)
def test_the_larger_the_budget_the_less_must_be_in_doubt_before_the_rest_is_left(
    budget: int, expected: float
) -> None:
    """By default the least of 0.2 and 0.9 n / budget, as the change that n/2 matches bring falls with the budget."""

    def calls(seed: int, **more: float) -> int:
        strength = np.random.default_rng(seed).normal(0, 4, 8)
        tournament = adaptive(8, budget, seed=seed, circumstances=Circumstances(purse=Purse()), **more)
        return len(play_all(tournament, strength, random.Random(seed)).outcomes)

    by_default = [calls(seed) for seed in range(12)]
    assert by_default == [calls(seed, settled=expected) for seed in range(12)]
    other = max(0.2, 0.9 * 8 / budget)
    assert sum(calls(seed, settled=other) for seed in range(12)) < sum(by_default), (
        "the other would stop sooner"
    )


@given(st.integers(2, 9), st.integers(0, 60), st.integers(1, 4), st.booleans())
@moderate
def test_rounds_are_as_wide_as_the_judge_has_room_but_never_wider_than_the_group(
    n: int, slots: int, groups: int, share: bool
) -> None:
    room = Room(slots)
    room.groups = groups
    budget = n * (n - 1) - 1
    tournament = adaptive(n, budget, share=share, circumstances=Circumstances(room=room))
    width = min(n, max(n // 2, slots // groups)) if share else max(1, n // 2)
    for i in range(n):
        tournament.add(i)
    asked = 0
    while not tournament.done:
        matches = tournament.ready()
        if asked >= min(n, n * (n - 1) // 2):
            assert len(matches) == min(width, budget - asked)
        asked += len(matches)
        for match in matches:
            tournament.record(judged(match, match.i > match.j))
    assert asked == budget


def test_the_arena_says_how_much_room_each_open_group_has() -> None:
    room = Room()

    async def shares() -> list[int]:
        draw = lambda n, seed, position=None: make_tournament("adaptive", n, seed=seed)  # noqa: E731
        arena = Arena(
            QualityJudge(), draw, make_rating("bradley_terry"), make_reward(), concurrency=24, room=room
        )
        seen = [room.share]
        groups = []
        for k in range(3):
            groups.append(arena.open(str(k), "q", 4))
            seen.append(room.share)
        for group in groups[:2]:
            group.complete()
        seen.append(room.share)
        await arena.aclose()
        return [*seen, room.groups]

    assert clock.run(shares()) == [24, 24, 12, 8, 24, 0]


def test_what_is_not_shared_is_not_taken() -> None:
    purse = Purse()
    purse.give(100)
    around = Circumstances(purse=purse)
    alone = play_all(adaptive(8, 20, share=False, circumstances=around), np.zeros(8), random.Random(1))
    assert (len(alone.outcomes), purse.saved) == (20, 100)


@given(st.lists(st.tuples(st.integers(2, 7), st.integers(1, 30), st.floats(0, 0.6)), min_size=2, max_size=5))
@moderate
def test_all_groups_together_stay_within_the_sum_of_their_budgets(
    groups: list[tuple[int, int, float]],
) -> None:
    purse = Purse()
    around = Circumstances(purse=purse)
    played = planned = 0
    for seed, (n, budget, settled) in enumerate(groups):
        tournament = adaptive(n, budget, seed=seed, settled=settled, circumstances=around)
        play_all(tournament, np.random.default_rng(seed).normal(0, 3, n), random.Random(seed))
        played += len(tournament.outcomes)
        planned += tournament.planned
        assert len(tournament.outcomes) <= 2 * tournament.planned
        assert played + purse.saved == planned


def test_it_streams_its_first_round_and_ends_as_a_batch_does() -> None:
    """Whoever comes when: outcomes are the same, and judging does not wait for the last response."""

    async def judge_them(pause: float) -> tuple[list[Outcome], float]:
        arena = Arena(
            judge := QualityJudge(noise=0.4),
            lambda n, seed, position=None: make_tournament("adaptive", n, seed=seed),
            make_rating("bradley_terry"),
            make_reward(),
            position=PositionBias(),
        )
        rng = random.Random(0)
        texts = [f"{rng.random()} {k}" for k in range(8)]
        group = arena.open("g", "q", 8)
        for slot, text in enumerate(texts):
            group.add(slot, text)
            await asyncio.sleep(pause)
        result = await group.result()
        await arena.aclose()
        return list(result.outcomes), judge.begun[0][0]

    at_once, _ = clock.run(judge_them(0.0))
    streamed, began = clock.run(judge_them(10.0))
    assert streamed == at_once
    assert began < 70.0


def test_a_known_bias_sends_the_weaker_of_two_first() -> None:
    """At a bias that decides every match between equals, only orders that could surprise are informative."""
    posterior = maximise(2, None, 1.5, PositionBelief(3.0, 0.0))
    posterior.strength[:] = (1.5, -1.5)
    gains = Information(posterior).gains()
    assert gains[1, 0] > 3 * gains[0, 1]


def test_missing_verdicts_are_not_asked_again_and_end() -> None:
    tournament = adaptive(5, 30)
    for i in range(5):
        tournament.add(i)
    asked: list[tuple[int, int]] = []
    while not tournament.done:
        for match in tournament.ready():
            asked.append((match.i, match.j))
            tournament.record(Outcome(match.i, match.j, None, round=match.round))
    assert len(asked) == len(set(asked)) == 20


def test_groups_opened_through_the_arena_share_one_purse_and_one_belief() -> None:
    purse = Purse()
    seen: list[PositionBelief] = []

    def draw(n: int, seed: int, position: PositionBelief | None = None) -> Schedule:
        assert position is not None
        seen.append(position)
        around = Circumstances(position, purse=purse)
        return make_tournament("adaptive", n, seed=seed, budget=24, circumstances=around)

    async def judge_them() -> int:
        arena = Arena(
            QualityJudge(noise=0.3),
            draw,
            make_rating("bradley_terry"),
            make_reward(),
            position=PositionBias(),
        )
        rng = random.Random(1)
        groups = [Group(f"g{k}", f"q{k}", [f"{rng.random()} {k} {i}" for i in range(8)]) for k in range(10)]
        async with arena:
            return sum([r.comparisons async for _, r in arena.judge_all(groups, window=2)])

    played = clock.run(judge_them())
    assert played + purse.saved == 240
    assert seen[0] != seen[-1]
