"""A group's outcomes depend on who its members are, not on when they came."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrm_reward._group import GroupState
from rrm_reward.arena import Arena
from rrm_reward.judge import Judgment
from rrm_reward.rating import make_rating
from rrm_reward.reward import make_reward
from rrm_reward.tournament import SCHEDULES, default_rating, make_tournament
from rrm_reward.types import GroupResult
from tests.support import clock
from tests.support.comparer import QualityJudge, share_of

SIZES = st.integers(0, 9)


def players(judge: QualityJudge, schedule: str, slots: int) -> Arena:
    return Arena(
        judge,
        lambda n, seed: make_tournament(schedule, n, seed=0),
        make_rating(default_rating(schedule)),
        make_reward(),
        concurrency=slots,
    )


def play(state: GroupState, steps: list[tuple[str, int, str]], shuffle) -> list[tuple[str, str]]:
    """Let members come in this order while verdicts come back in any order; returns what was asked."""
    asked, waiting, steps = [], [], list(steps)

    def hand_out() -> None:
        for match in state.ready():
            waiting.append(match)

    while steps or waiting:
        if steps and (not waiting or shuffle.random() < 0.5):
            what, slot, view = steps.pop(0)
            state.arrive(slot, view) if what == "arrive" else state.withdraw(slot)
            hand_out()
        else:
            match = waiting.pop(shuffle.randrange(len(waiting)))
            if state.wanted(match):
                pairing = (state.view(match.i), state.view(match.j))
                asked.append(pairing)
                share = share_of(*pairing)
                state.record(pairing, Judgment(None if share > 0.9 else float(share < 0.45), (), 1))
                hand_out()
    return asked


@given(
    schedule=st.sampled_from(sorted(SCHEDULES)),
    views=st.lists(st.sampled_from("abcdefgh"), max_size=9),
    failed=st.sets(st.integers(0, 8)),
    seed=st.integers(0, 99),
    shuffle=st.randoms(use_true_random=False),
)
@settings(max_examples=300, deadline=None)
def test_arrival_order_changes_no_outcome_also_with_twins_and_failures(
    schedule, views, failed, seed, shuffle
):
    steps = [("withdraw" if slot in failed else "arrive", slot, view) for slot, view in enumerate(views)]
    batch, stream = (
        GroupState(len(views), lambda n: make_tournament(schedule, n, seed=seed)) for _ in range(2)
    )
    for what, slot, view in steps:
        batch.arrive(slot, view) if what == "arrive" else batch.withdraw(slot)
    play(batch, [], shuffle) if not (first := batch.ready()) else play_on(batch, first, shuffle)
    shuffle.shuffle(steps)
    asked = play(stream, steps, shuffle)
    assert batch.done
    assert stream.done
    assert stream.outcomes() == batch.outcomes()
    assert all(a != b for a, b in asked), "identical responses are never compared"


def play_on(state: GroupState, matches, shuffle) -> None:
    waiting = list(matches)
    while waiting:
        match = waiting.pop(shuffle.randrange(len(waiting)))
        assert state.wanted(match)
        pairing = (state.view(match.i), state.view(match.j))
        share = share_of(*pairing)
        state.record(pairing, Judgment(None if share > 0.9 else float(share < 0.45), (), 1))
        waiting += state.ready()


def test_a_lower_twin_that_comes_late_costs_no_second_call_in_a_round_robin():
    state = GroupState(3, lambda n: make_tournament("round_robin", n, seed=0))
    asked = []
    for slot, view in ((2, "a"), (1, "b"), (0, "a")):
        state.arrive(slot, view)
        for match in state.ready():
            pairing = (state.view(match.i), state.view(match.j))
            asked.append(frozenset(pairing))
            assert state.wanted(match)
            state.record(pairing, Judgment(1.0, (), 1))
    assert state.done
    assert len(state.outcomes()) == 1
    assert state.representative(2) == 0


def test_a_queued_match_that_a_new_draw_dropped_is_not_played():
    state = GroupState(4, lambda n: make_tournament("round_robin", n, seed=0))
    state.arrive(3, "a")
    state.arrive(2, "b")
    (match,) = state.ready()
    pairing = (state.view(match.i), state.view(match.j))
    state.arrive(0, "a")
    (again,) = state.ready() or [None]
    if (
        again is None
    ):  # the new draw asks for the same two texts in the same order: the queued match serves it
        assert state.wanted(match)
    else:
        assert (state.view(again.i), state.view(again.j)) == pairing[::-1]
        assert not state.wanted(match)


def test_a_group_is_done_when_every_slot_is_known():
    state = GroupState(2, lambda n: make_tournament("round_robin", n, seed=0))
    state.arrive(0, "a")
    assert not state.done
    state.close()
    assert state.done
    assert state.outcomes() == []


@pytest.mark.parametrize("slots", [1, 99])
def test_a_dropped_match_is_unneeded_if_it_has_begun_and_costs_nothing_if_it_only_waited(slots: int):
    judge = QualityJudge(latency=lambda a, b: 1000.0)

    async def main() -> GroupResult:
        async with players(judge, "knockout", slots) as arena:
            other = arena.open("other", "q", 2)
            group = arena.open("g", "q", 6)
            for slot in range(2):
                other.add(slot, f"0.{slot} other")  # has the judge to itself, if that can do one at a time
            for slot in range(1, 6):
                group.add(slot, f"0.{slot} x")
            await asyncio.sleep(1)
            group.add(0, "0.5 x")  # the lower twin of slot 5: the bracket is drawn again
            await asyncio.sleep(1)
            group.expire()
            other.expire()
            return await group.result()

    result = clock.run(main())
    bracket = make_tournament("knockout", 6, seed=0)
    for slot in range(5):
        bracket.add(slot)
    bracket.withdraw(5)
    wanted = {(f"0.{m.i or 5} x", f"0.{m.j or 5} x") for m in bracket.ready()}
    begun = {(a, b) for _, a, b in judge.begun if "other" not in a}
    assert bool(begun - wanted) == (slots == 99), "the example is one"
    assert result.notes.get("unneeded", 0) == len(begun - wanted)


@given(
    schedule=st.sampled_from(sorted(SCHEDULES)),
    texts=st.lists(st.sampled_from([f"0.{k} x" for k in range(1, 8)] + [""]), min_size=2, max_size=9),
    slots=st.sampled_from([1, 2, 99]),
    shuffle=st.randoms(use_true_random=False),
)
@settings(max_examples=100, deadline=None)
def test_every_comparison_that_began_is_an_outcome_or_unneeded(schedule, texts, slots, shuffle):
    judge = QualityJudge(latency=lambda a, b: 1 + 9 * share_of(b, a), noise=1.0)
    arrivals = sorted((20 * shuffle.random(), slot, text) for slot, text in enumerate(texts))

    async def main() -> GroupResult:
        async with players(judge, schedule, slots) as arena:
            group = arena.open("g", "q", len(texts))
            for at, slot, text in arrivals:
                await asyncio.sleep(at - asyncio.get_running_loop().time())
                group.add(slot, text) if text else group.withdraw(slot)
            return await group.result()

    result = clock.run(main())
    assert len(judge.begun) == len(result.outcomes) + result.notes.get("unneeded", 0)
