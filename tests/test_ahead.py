"""Matches that are played ahead of the last arrivals: the same outcomes sooner, for calls that are counted."""

import asyncio
import sqlite3
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrm_reward._ahead import NOT_YET, matches_ahead
from rrm_reward._group import GroupState
from rrm_reward.arena import Arena
from rrm_reward.build import build_arena, build_referee
from rrm_reward.config import load
from rrm_reward.errors import ConfigError
from rrm_reward.judge import Judgment
from rrm_reward.rating import make_rating
from rrm_reward.record import RunLog, read_groups, replay
from rrm_reward.reward import make_reward
from rrm_reward.tournament import SCHEDULES, default_rating, make_tournament
from rrm_reward.types import Group, GroupResult, Outcome
from tests.support import clock
from tests.support.comparer import QualityJudge, share_of

BRACKETS = sorted(name for name, kind in SCHEDULES.items() if kind.AHEAD)


def arena(judge: QualityJudge, schedule: str = "knockout", **options) -> Arena:
    return Arena(
        judge,
        lambda n, seed: make_tournament(schedule, n, seed=seed),
        make_rating(default_rating(schedule)),
        make_reward(),
        **options,
    )


def stream(arrivals: list[tuple[float, int | None, str]], players: Arena) -> tuple[float, GroupResult]:
    """Open a group whose members come, or fail, at these times; seconds from the last to the result."""

    async def main() -> tuple[float, GroupResult]:
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with players:
            group = players.open("g", "q", len(arrivals))
            for at, slot, text in sorted(arrivals):
                if at > loop.time() - began:
                    await asyncio.sleep(at - loop.time() + began)
                group.add(slot, text) if text else group.withdraw(slot)
            result = await group.result()
            waited = loop.time() - began - max(at for at, _, _ in arrivals)
            await asyncio.sleep(1000)  # what is still being judged for nobody comes back
            return waited, result

    return clock.run(main())


@given(
    schedule=st.sampled_from(BRACKETS),
    texts=st.lists(st.sampled_from([f"0.{k} x" for k in range(30)] + [""]), min_size=2, max_size=9),
    ahead=st.integers(1, 4),
    slots=st.sampled_from([1, 3, 99]),
    shuffle=st.randoms(use_true_random=False),
)
@settings(max_examples=150, deadline=None)
def test_outcomes_are_those_of_the_bracket_as_it_was_drawn(schedule, texts, ahead, slots, shuffle) -> None:
    """With twins, failed members, an intransitive judge that sometimes says nothing, and few or many slots."""

    def judge() -> QualityJudge:
        return QualityJudge(
            latency=lambda a, b: 1 + 9 * share_of(b, a), noise=1.0, missing=lambda a, b: share_of(a, b) > 0.9
        )

    arrivals = [(60 * shuffle.random(), slot, text) for slot, text in enumerate(texts)]
    looking = judge()
    players = arena(looking, schedule, seed=7, concurrency=slots, ahead=ahead)
    _, found = stream(arrivals, players)
    _, expected = stream(arrivals, arena(judge(), schedule, seed=7, concurrency=slots))
    assert found.outcomes == expected.outcomes
    assert found.rewards.tobytes() == expected.rewards.tobytes()
    assert sum(looking.asked.values()) == players.snapshot()["comparisons"]
    if schedule == "knockout":
        assert max(looking.asked.values(), default=1) == 1, "no two texts are compared twice"
    late = players.snapshot()["late"]
    assert sum(looking.asked.values()) - late == found.comparisons
    assert found.comparisons + late == len(found.outcomes) + found.notes.get("unneeded", 0)


@given(n=st.integers(2, 17), last=st.integers(0, 16), ahead=st.integers(1, 3), slots=st.sampled_from([1, 99]))
@settings(max_examples=60, deadline=None)
def test_a_last_member_that_loses_at_once_is_waited_for_one_match_and_costs_no_call(
    n: int, last: int, ahead: int, slots: int
) -> None:
    last %= n
    texts = [f"0.{50 + k} x" for k in range(n)]
    texts[last] = "0.0 x"
    arrivals = [(1000.0 if slot == last else 0.0, slot, text) for slot, text in enumerate(texts)]
    waited, result = stream(arrivals, arena(QualityJudge(), ahead=ahead, concurrency=slots))
    assert waited == pytest.approx(1.0)
    assert result.comparisons == n - 1
    assert "unneeded" not in result.notes
    if n > 8:
        assert stream(arrivals, arena(QualityJudge()))[0] >= 3.0


@given(order=st.permutations(range(8)), ahead=st.integers(1, 8))
@settings(max_examples=60, deadline=None)
def test_it_is_never_slower_with_a_judge_that_has_room(order: list[int], ahead: int) -> None:
    arrivals = [(4.0 * place, slot, f"0.{slot} x") for place, slot in enumerate(order)]

    def judge() -> QualityJudge:
        return QualityJudge(latency=lambda a, b: 1 + 9 * share_of(min(a, b), max(a, b)))

    soon, _ = stream(arrivals, arena(judge(), ahead=ahead))
    later, _ = stream(arrivals, arena(judge()))
    assert soon <= later + 1e-9


@pytest.mark.parametrize("schedule", BRACKETS)
def test_a_group_that_is_there_at_once_costs_no_call_more(schedule: str) -> None:
    group = Group("g", "q", [f"0.{k} x" for k in range(20, 36)])

    async def main(ahead: int) -> int:
        async with arena(QualityJudge(), schedule, ahead=ahead) as players:
            return (await players.judge(group)).calls

    assert clock.run(main(8)) == clock.run(main(0))


def test_it_waits_until_few_enough_are_missing() -> None:
    arrivals = [(0.0 if slot < 5 else 100.0, slot, f"0.{slot + 1} x") for slot in range(8)]
    begun = {}
    for ahead in (0, 2, 3):
        judge = QualityJudge()
        stream(arrivals, arena(judge, ahead=ahead, seed=1))
        begun[ahead] = sum(at < 100.0 for at, _, _ in judge.begun)
    assert begun[0] == begun[2] < begun[3]


def test_what_is_certain_to_be_needed_goes_first() -> None:
    """One slot: a group that still waits for a member gets it when nobody else wants it."""
    judge = QualityJudge()

    async def main() -> None:
        async with arena(judge, concurrency=1, ahead=1) as players:
            waiting = players.open("waiting", "q", 8)
            for slot in range(1, 8):
                waiting.add(slot, f"0.{slot} waiting")
            whole = asyncio.ensure_future(
                players.judge(Group("whole", "r", [f"0.{k} whole" for k in range(8)]))
            )
            await asyncio.sleep(100)
            waiting.add(0, "0.0 waiting")
            await asyncio.gather(waiting.result(), whole)

    clock.run(main())
    groups = ["whole" in a for _, a, _ in judge.begun]
    certain_of_waiting = 4  # three pairs of the first round that are complete, and one that they lead to
    first_ahead = [k for k, whole in enumerate(groups) if not whole][certain_of_waiting]
    assert first_ahead >= groups.count(True) + certain_of_waiting


def test_the_missing_lose_in_turn_whoever_they_meet() -> None:
    tournament = make_tournament("knockout", 4, seed=0)
    for slot in range(4):
        tournament.add(slot)
    asked = matches_ahead(tournament, {0, 1, 2}, lambda match: None)
    assert asked == []
    assert Counter(o.i in (0, 1, 2) and o.j in (0, 1, 2) for o in tournament.outcomes)[False] == 2
    assert tournament.done
    champion = max(
        range(4),
        key=lambda k: sum((o.i == k) == (o.p == 1.0) for o in tournament.outcomes if k in (o.i, o.j)),
    )
    assert champion == 3
    fresh = make_tournament("knockout", 4, seed=0)
    for slot in range(4):
        fresh.add(slot)
    assert [match.depth for match in matches_ahead(fresh, {0}, lambda match: None)] == [NOT_YET]


@pytest.mark.parametrize("schedule", BRACKETS)
def test_the_run_log_knows_what_counted(schedule: str, tmp_path) -> None:
    path = tmp_path / "run.sqlite"
    texts = [f"0.{k} x" for k in (4, 2, 7, 1, 5, 3, 8, 6)]
    texts[7] = texts[6]
    arrivals = [(30.0 * (slot != 5) + slot * (slot == 0), slot, text) for slot, text in enumerate(texts)]
    arrivals[6] = (400.0, 6, texts[6])  # the lower of twins comes last, and wins
    judge = QualityJudge(noise=0.3)
    players = arena(judge, schedule, seed=3, ahead=2, recorder=RunLog(path))
    _, result = stream(arrivals, players)
    assert result.notes["unneeded"] > 0
    (group,) = read_groups(path)
    assert not group.lost
    assert len(group.outcomes) == len(result.outcomes) < sum(judge.asked.values())
    again = replay(group, make_rating(default_rating(schedule)), make_reward())
    np.testing.assert_array_equal(again.result.rewards, result.rewards)
    assert [(o.i, o.j, o.p, o.round) for o in again.result.outcomes] == [
        (o.i, o.j, o.p, o.round) for o in result.outcomes
    ]
    rows = sqlite3.connect(path).execute("SELECT count(*) FROM matches").fetchone()
    assert rows == (sum(judge.asked.values()),)


@pytest.mark.parametrize(("schedule", "ahead"), [("round_robin", 1), ("adaptive", 2), ("knockout", -1)])
def test_where_nothing_waits_for_a_winner_it_is_refused(schedule: str, ahead: int) -> None:
    settings_ = [
        "judge.model=m",
        "judge.urls=[http://h/v1]",
        f"arena.ahead={ahead}",
        f"tournament.name={schedule}",
    ]
    with pytest.raises(ConfigError) as caught:
        build_arena(load(overrides=settings_))
    assert caught.value.key == "arena.ahead"


def test_outcomes_that_are_known_lead_on() -> None:
    tournament = make_tournament("knockout", 8, seed=2)
    for slot in range(8):
        tournament.add(slot)
    asked = matches_ahead(tournament, {0}, lambda m: Outcome(m.i, m.j, float(m.i > m.j), (), m.round))
    assert asked == []
    assert tournament.done


def test_a_match_that_waits_ahead_and_becomes_certain_is_judged_once() -> None:
    state = GroupState(4, lambda n: make_tournament("knockout", n, seed=0), ahead=1)
    draw = make_tournament("knockout", 4, seed=0)
    for slot in range(4):
        draw.add(slot)
    last = draw.ready()[0].i
    for slot in {0, 1, 2, 3} - {last}:
        state.arrive(slot, str(slot))
    (pair,) = state.ready()
    assert state.wanted(pair)
    state.record((str(pair.i), str(pair.j)), Judgment(1.0, (), 1))
    assert state.ready() == []
    (queued,) = state.ahead()
    assert queued.depth == NOT_YET
    state.withdraw(last)
    (final,) = state.ready()
    assert {final.i, final.j} == {queued.i, queued.j}
    if (final.i, final.j) == (queued.i, queued.j):
        assert state.wanted(final)
    assert not state.wanted(queued)


def test_the_referee_of_a_run_that_plays_ahead_plays_as_always():
    config = load(
        overrides=[
            "judge.urls=[http://127.0.0.1:1/v1]",
            "judge.model=m",
            "tournament.name=knockout",
            "arena.ahead=1",
        ]
    )
    build_arena(config)
    build_referee(config)
