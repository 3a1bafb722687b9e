"""Which match is next: the rule, against the plainest way to keep it."""

from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrm_reward._queue import MatchQueue
from rrm_reward.types import Match

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 3), st.integers(1, 3)),
        st.tuples(st.sampled_from(["complete", "drop"]), st.integers(0, 3), st.just(0)),
        st.tuples(st.just("pop"), st.just(0), st.just(0)),
    ),
    max_size=60,
)


@settings(max_examples=200)
@given(STEPS)
def test_the_next_match_is_the_first_by_the_rule(steps) -> None:
    """The twin sorts all that waits, every time. A group is noticed to be complete when it puts something."""
    queue, groups = MatchQueue(), [SimpleNamespace(all_here=False) for _ in range(4)]
    waiting: list[tuple[int, int, Match]] = []
    noticed, dropped, number = set(), set(), 0
    for step, sequence, depth in steps:
        if step == "complete":
            groups[sequence].all_here = True
        elif step == "drop":
            queue.drop(sequence)
            waiting = [entry for entry in waiting if entry[0] != sequence]
            dropped.add(sequence)
        elif step == "put" and sequence not in dropped:
            number += 1
            match = Match(number, 0, depth=depth)
            queue.put(sequence, groups[sequence], [match])
            waiting.append((sequence, number, match))
            if groups[sequence].all_here:
                noticed.add(sequence)
        elif step == "pop" and waiting:
            waiting.sort(key=lambda entry: (-entry[2].depth, entry[0] not in noticed, entry[0], entry[1]))
            found, group, match = queue.pop()
            assert (found, match) == (waiting[0][0], waiting[0][2])
            assert group is groups[found]
            del waiting[0]
        assert len(queue) == len(waiting)


def test_nothing_waits_in_an_empty_queue() -> None:
    queue = MatchQueue()
    queue.put(0, SimpleNamespace(all_here=True), [Match(0, 1)])
    queue.drop(0)
    assert not queue
    with pytest.raises(IndexError):
        queue.pop()
