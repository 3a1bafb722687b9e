"""A group's outcomes depend on who its members are, not on when they came."""

from hypothesis import given, settings
from hypothesis import strategies as st

from rrm_reward._group import GroupState
from rrm_reward.judge import Judgment
from rrm_reward.tournament import SCHEDULES, make_tournament
from tests.support.comparer import share_of

SIZES = st.integers(0, 9)


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
