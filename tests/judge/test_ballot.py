"""Early stop never changes a majority, and asks for as few votes as can decide one."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrm_reward.judge._ballot import Ballot
from rrm_reward.types import NoVerdict, Verdict, Vote

TRUNCATED = Verdict(None, NoVerdict.TRUNCATED)


def vote(order: bool, said: str) -> Vote:
    if said == "missing":
        return Vote(order, TRUNCATED)
    if said.startswith("soft"):
        return Vote(order, TRUNCATED, soft=float(said.removeprefix("soft")))
    return Vote(order, Verdict(int(said)))


SAYINGS = st.sampled_from(["1", "2", "missing", "soft0.9", "soft0.2"])


@given(st.data())
def test_a_decided_majority_is_the_same_whatever_the_other_votes_say_or_miss(data: st.DataObject) -> None:
    k = data.draw(st.integers(1, 5))
    orders = data.draw(st.sampled_from([(True,), (False,), (True, False)]))
    ballot = Ballot(k, orders, majority=True)
    slots = [order for order in orders for _ in range(k)]
    votes = [vote(order, data.draw(SAYINGS)) for order in slots]
    kept = data.draw(st.sets(st.sampled_from(range(len(slots)))))
    early = [votes[index] for index in sorted(kept)]
    if ballot.decided(early):
        assert ballot.share(early) == ballot.share(votes) in (0.0, 1.0)


@pytest.mark.parametrize("orders", [(True,), (False,), (True, False)])
@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
def test_a_majority_that_is_not_decided_could_still_change(k: int, orders: tuple[bool, ...]) -> None:
    """By trying every continuation: the bound is not only safe, it is exact for full verdicts."""
    ballot = Ballot(k, orders, majority=True)
    slots = [order for order in orders for _ in range(k)]
    for seen in range(len(slots) + 1):
        for said in itertools.product("12", repeat=seen):
            early = [vote(order, choice) for order, choice in zip(slots, said, strict=False)]
            ends = {
                ballot.share([*early, *(vote(o, c) for o, c in zip(slots[seen:], rest, strict=True))])
                for rest in itertools.product("12", repeat=len(slots) - seen)
            }
            if not ballot.decided(early):
                assert len(ends) > 1 or ends == {0.5} or seen == len(slots)
            else:
                assert len(ends) == 1


def test_without_a_majority_every_vote_counts() -> None:
    ballot = Ballot(3, (True,), majority=False)
    assert not ballot.decided([vote(True, "1")] * 2)


@pytest.mark.parametrize(
    ("k", "orders", "said", "wave"),
    [
        (1, (True,), "", 1),
        (3, (True,), "", 2),
        (3, (True,), "12", 1),
        (5, (True,), "", 3),
        (5, (True,), "112", 1),
        (5, (False,), "111", 2),  # decided already; whoever asks all the same gets the rest
        (4, (True,), "12", 2),
        (3, (True, False), "", 2),
    ],
)
def test_a_wave_is_the_fewest_votes_that_can_decide(
    k: int, orders: tuple[bool, ...], said: str, wave: int
) -> None:
    ballot = Ballot(k, orders, majority=True)
    votes = [vote(orders[0], choice) for choice in said]
    if ballot.decided(votes):
        return
    assert ballot.wave(votes, len(said)) == wave


def test_a_forced_verdict_counts_by_its_probability_in_either_order() -> None:
    ballot = Ballot(2, (True, False), majority=False)
    assert ballot.share([vote(True, "soft0.9")]) == pytest.approx(0.9)
    assert ballot.share([vote(False, "soft0.9")]) == pytest.approx(0.1)
    assert ballot.share([vote(True, "1"), vote(True, "soft0.2")]) == pytest.approx(0.6)
    assert ballot.share([vote(True, "missing")]) is None
