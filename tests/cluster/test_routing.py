"""Which replica gets a call."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from rrm_reward.cluster._routing import Roster, prefix_of
from rrm_reward.judge import build_messages


def roster(n, slack=1.25):
    found = Roster([f"judge-{i}" for i in range(n)], slack=slack)
    for member in found.members:
        member.present = True
    return found


def test_matches_of_a_group_share_their_prefix_and_groups_do_not():
    first = prefix_of(build_messages("What is 2 + 2?", "4", "5"))
    assert first == prefix_of(build_messages("What is 2 + 2?", "5", "4"))
    assert first != prefix_of(build_messages("What is 2 + 3?", "4", "5"))


def test_calls_of_one_prefix_go_to_one_replica_as_long_as_it_is_not_too_full():
    found = roster(4)
    chosen = set()
    for _ in range(20):
        member = found.acquire("a prefix")
        chosen.add(member.name)
        found.release(member)
    assert len(chosen) == 1


def test_prefixes_spread_over_all_replicas():
    found = roster(4)
    members = [found.acquire(f"prefix {i}") for i in range(400)]
    assert {member.name for member in members} == {f"judge-{i}" for i in range(4)}


@given(
    n=st.integers(1, 6),
    slack=st.floats(1.0, 3.0),
    prefixes=st.lists(st.integers(0, 3), min_size=1, max_size=60),
    lost=st.sets(st.integers(0, 5), max_size=5),
)
def test_no_replica_is_fuller_than_the_bound_whatever_is_popular(n, slack, prefixes, lost):
    found = roster(n, slack)
    for index in lost:
        if index < n:
            found.members[index].present = False
    present = [member for member in found.members if member.present]
    for calls, prefix in enumerate(prefixes, start=1):
        member = found.acquire(f"prefix {prefix}")
        assert (member is None) == (not present)
        if member is not None:
            assert member.present
            assert max(m.pending for m in present) <= math.ceil(slack * calls / len(present))


@given(prefix=st.text(max_size=20), lost=st.integers(0, 3))
def test_a_lost_replica_moves_only_its_own_prefixes(prefix, lost):
    before, after = roster(4), roster(4)
    after.members[lost].present = False
    home = before.acquire(prefix)
    if home.name != f"judge-{lost}":
        assert after.acquire(prefix).name == home.name


def test_a_replica_that_failed_a_call_gets_it_again_only_if_there_is_no_other():
    found = roster(2)
    failed = found.acquire("p")
    other = found.acquire("p", [failed])
    assert other is not failed
    other.present = False
    assert found.acquire("p", [failed, other]) is failed


def test_nobody_present_gets_nothing():
    found = Roster(["a", "b"])
    assert not found.available
    assert found.acquire("p") is None
